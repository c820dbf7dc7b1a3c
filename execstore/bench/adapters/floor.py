"""What the disk takes for as many bytes: no store at all."""

from __future__ import annotations

import os
from typing import Final

from execstore.bench.adapters.base import Adapter
from execstore.bench.workloads import payload_bytes

__all__ = ["FloorAdapter"]

_SIZE: Final = 16 << 20


class FloorAdapter(Adapter):
    """``pwrite`` and ``fdatasync`` of as many bytes as the operation has to bring to the disk, on a prefilled file.

    It has no reads, and each thread or process of several takes its turn like everybody's.
    """

    only = frozenset({"create", "update", "add_event", "delete"})

    def open(self) -> None:
        path = os.path.join(self.folder, f"floor.{os.getpid()}")
        with open(path, "wb") as file:
            file.writelines(b"\n" * (1 << 20) for _ in range(_SIZE >> 20))
            file.flush()
            os.fsync(file.fileno())
        self._descriptor = os.open(path, os.O_WRONLY)
        self._position = 0
        self._payloads = {name: b"x" * payload_bytes(name) for name in self.only}

    def close(self) -> None:
        os.close(self._descriptor)

    def fill(self, count: int) -> None:
        """Nothing: its size makes no difference."""

    def _write(self, name: str) -> int:
        data = self._payloads[name]
        position, self._position = self._position, self._position + len(data)
        if self._position > _SIZE:
            position, self._position = 0, len(data)
        os.pwrite(self._descriptor, data, position)  # type: ignore[attr-defined, unused-ignore]
        os.fdatasync(self._descriptor)  # type: ignore[attr-defined, unused-ignore]
        return 1

    def create(self, number: int, state: str) -> int:  # noqa: ARG002
        return self._write("create")

    def update(self, number: int, state: str) -> int:  # noqa: ARG002
        return self._write("update")

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        return self._write("add_event")

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        return self._write("delete")

    def get(self, number: int, argument: str) -> int:
        raise NotImplementedError("the floor reads nothing")

    list_job = live = events = watch = get

    def count(self, number: int, state: str) -> int:
        return self.get(number, state)
