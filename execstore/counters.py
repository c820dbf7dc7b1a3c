"""What a handle counts of its own doing, cheaply: it happens on every commit."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Final, NamedTuple

from execstore.errors import (
    ExecStoreError,
    ExecutionAlreadyExistsError,
    ExecutionAlreadyTerminalError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
)

__all__ = ["CONFLICTS", "FLUSH_BOUNDS_NS", "CounterSnapshot", "Counters"]

CONFLICTS: Final[dict[str, tuple[type[ExecStoreError], ...]]] = {
    "create_execution": (ExecutionAlreadyExistsError,),
    "update_execution_state": (
        ExecutionAlreadyTerminalError,
        InvalidExecutionRevisionError,
        InvalidExecutionStateError,
    ),
}
"""By method, the errors that say: what is stored is not as the caller expected it to be."""

FLUSH_BOUNDS_NS: Final = tuple(
    microseconds * 1000
    for microseconds in (100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
)
"""The upper bounds of the classes of flush times: from a good solid state disk to an SD card that is being tidied."""


class CounterSnapshot(NamedTuple):
    """One moment of the counters. ``flushes`` has a number for each of ``FLUSH_BOUNDS_NS``, and one for all above."""

    commits: int
    conflicts: int
    flushes: tuple[int, ...]
    flush_ns: int


class Counters:
    """Safe for many threads. Not for a forked child, which counts anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Python's += on an attribute isn't one step
        self._commits = 0
        self._conflicts = 0
        self._flushes = [0] * (len(FLUSH_BOUNDS_NS) + 1)
        self._flush_ns = 0

    def add_commit(self) -> None:
        """A change of this handle was committed."""
        with self._lock:
            self._commits += 1

    def add_conflict(self) -> None:
        """A call was refused because of what is stored."""
        with self._lock:
            self._conflicts += 1

    def add_flush(self, elapsed_ns: int) -> None:
        """This handle flushed the journal, for itself and whoever had staged a change."""
        with self._lock:
            self._flushes[bisect_left(FLUSH_BOUNDS_NS, elapsed_ns)] += 1
            self._flush_ns += elapsed_ns

    def snapshot(self) -> CounterSnapshot:
        """All of them at one moment."""
        with self._lock:
            return CounterSnapshot(self._commits, self._conflicts, tuple(self._flushes), self._flush_ns)
