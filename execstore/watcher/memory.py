"""An event log in memory: the seam's smallest true implementation, for tests and experiments."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from execstore.errors import StoreClosedError
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.watcher.events import Operation

__all__ = ["MemoryEventLog"]


class MemoryEventLog:
    """An ``EventLog`` that is gone with the process. ``clock`` gives nanoseconds since the epoch."""

    path = "memory"
    on_news: Callable[[int], None] | None = None  # never called: nothing is read quicker than from here

    def __init__(self, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._oldest = 1
        self._checkpoints: dict[str, int] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def close(self) -> None:
        """Refuse everything from now on, and let those who wait return. Twice is fine."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def latest(self) -> int:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            return self._latest()

    def oldest(self) -> int:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            return self._oldest

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            first = max(first, self._oldest)
            start = first - self._oldest
            return list(enumerate(self._lines[start : start + maximum], first))

    def append(self, operation: Operation, object_type: str, object_json: bytes) -> int:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            seq_num = self._latest() + 1
            self._lines.append(encode_line(seq_num, operation, object_type, object_json, self._clock()))
            self._changed.notify_all()
            return seq_num

    def append_line(self, line: bytes) -> int:
        """Commit any bytes as the next line, to see what readers make of a damaged one."""
        with self._changed:
            self._check_open()
            self._lines.append(line)
            self._changed.notify_all()
            return self._latest()

    def collect(self, oldest: int) -> None:
        """Drop all events below number ``oldest``."""
        with self._changed:
            self._check_open()
            oldest = min(max(oldest, self._oldest), self._latest() + 1)
            del self._lines[: oldest - self._oldest]
            self._oldest = oldest

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        """See ``EventLog``."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest() > after or self._closed or interrupted(), timeout_seconds)
            return self._latest() if self._latest() > after and not self._closed else 0

    def wake(self) -> None:
        """See ``EventLog``."""
        with self._changed:
            self._changed.notify_all()

    def get_checkpoint(self, watcher_id: str) -> int | None:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            return self._checkpoints.get(watcher_id)

    def store_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            self._checkpoints[watcher_id] = sequence_number

    def remove_checkpoint(self, watcher_id: str) -> bool:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            return self._checkpoints.pop(watcher_id, None) is not None

    def list_checkpoints(self) -> dict[str, int]:
        """See ``EventLog``."""
        with self._changed:
            self._check_open()
            return dict(self._checkpoints)

    def _latest(self) -> int:
        return self._oldest + len(self._lines) - 1

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(self.path)
