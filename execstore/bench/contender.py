"""A contender's process, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from execstore.bench.adapters import command_line, environment
from execstore.bench.adapters.base import Unavailable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Contender", "ContenderError"]


class ContenderError(Exception):
    """A contender failed at its work; the message is its own."""


class Contender:
    """One process on a contender's store, see ``execstore.bench.worker``. A context manager that ends it."""

    def __init__(self, name: str, folder: str) -> None:
        """Start it and wait until its store is open. Raises `Unavailable`, `ContenderError`."""
        self.name = name
        os.makedirs(folder, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 - this very Python or our own program
            command_line(name, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            self._answer()
        except ContenderError as error:
            self.stop()
            raise Unavailable(str(error)) from None

    def ask(self, do: str, numbers: list[int], argument: str = "", **more: Any) -> dict[str, Any]:
        """Have a batch done. Raises `ContenderError`."""
        self.send(do, numbers, argument, **more)
        return self.receive()

    def send(self, do: str, numbers: list[int], argument: str = "", **more: Any) -> None:
        """Ask for a batch, and let `receive` wait for it."""
        request = {"do": do, "numbers": numbers, "argument": argument} | more
        if self._process.stdin is None:
            raise ContenderError(f"{self.name} has no pipe")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContenderError(f"{self.name} ended by itself; what it said is above") from None

    def receive(self) -> dict[str, Any]:
        """What became of the batch. Raises `ContenderError`."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise ContenderError(f"{self.name} ended by itself; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("error"):
            raise ContenderError(f"{self.name}: {answer['error']}")
        return answer

    def dirtied_bytes(self) -> int:
        """How much it has had the kernel write, by the page; 0 where the system doesn't say."""
        return self._number("io", "write_bytes")

    def peak_memory_bytes(self) -> int:
        """The most memory it had; 0 where the system doesn't say."""
        return self._number("status", "VmHWM") * 1024

    def forget_peak_memory(self) -> None:
        """Let the peak be that of what comes from now on, where the system can."""
        with contextlib.suppress(OSError), open(f"/proc/{self._process.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def _number(self, file_name: str, field: str) -> int:
        try:
            with open(f"/proc/{self._process.pid}/{file_name}", encoding="ascii", errors="replace") as file:
                for line in file:
                    name, _, value = line.partition(":")
                    if name == field:
                        return int(value.split()[0])
        except OSError:
            pass
        return 0

    def stop(self) -> None:
        """End it. It closes its store when its input ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
