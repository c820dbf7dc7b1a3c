"""What the watcher tests share: logs that tell what was asked of them, and a handler that can be waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from execstore.watcher import MemoryEventLog, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.watcher import Event

__all__ = ["PATIENCE_SECONDS", "Gate", "Recorder", "WatchedLog", "fill"]

PATIENCE_SECONDS = 30.0
"""How long a test waits for what must happen before it fails; it never decides the outcome of one that passes."""


class WatchedLog(MemoryEventLog):
    """A log in memory that keeps account of its reads and waits. ``on_wait`` is called in place of waiting."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 1_000)
        self.reads: list[tuple[int, int]] = []
        self.waits: list[tuple[int, float]] = []
        self.waiting = threading.Event()
        self.on_wait: Callable[[], int] | None = None

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        self.reads.append((first, maximum))
        return super().read(first, maximum)

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        self.waits.append((after, timeout_seconds))
        self.waiting.set()
        if self.on_wait is not None:
            return self.on_wait()
        return super().wait(after, timeout_seconds, interrupted)


def fill(log: MemoryEventLog, operations: Sequence[str], object_type: str = "Plain") -> None:
    """Append an event for each operation; its object is ``{"n": <its number>}``."""
    for operation in operations:
        log.append(Operation(operation), object_type, b'{"n":%d}' % (log.latest() + 1))


class Recorder:
    """A handler that keeps what it is given; ``failures`` says how often it raises for which event."""

    def __init__(self, failures: dict[int, int] | None = None) -> None:
        self.failures = dict(failures or {})
        self.calls: list[int] = []
        self.handled: list[Event] = []
        self.threads: set[threading.Thread] = set()
        self._changed = threading.Condition()

    def handle_event(self, event: Event) -> None:
        with self._changed:
            self.calls.append(event.seq_num)
            self.threads.add(threading.current_thread())
            self._changed.notify_all()
            if self.failures.get(event.seq_num, 0) > 0:
                self.failures[event.seq_num] -= 1
                raise ValueError(f"no {event.seq_num}")
            self.handled.append(event)
            self._changed.notify_all()

    @property
    def numbers(self) -> list[int]:
        return [event.seq_num for event in self.handled]

    def wait_for_number(self, number: int) -> None:
        """Wait until this event was handled."""
        self._wait(lambda: number in self.numbers, f"event {number} handled")

    def wait_for_count(self, count: int) -> None:
        """Wait until so many events were handled."""
        self._wait(lambda: len(self.handled) >= count, f"{count} events handled")

    def wait_for_calls(self, count: int) -> None:
        """Wait until it was called so many times."""
        self._wait(lambda: len(self.calls) >= count, f"{count} calls")

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(reached, PATIENCE_SECONDS):
                raise AssertionError(f"not reached: {what}; calls {self.calls}, handled {self.numbers}")


class Gate:
    """A handler that stays inside each event until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()
        self.numbers: list[int] = []

    def __call__(self, event: Event) -> None:
        self.entered.set()
        if not self.release.wait(PATIENCE_SECONDS):
            raise AssertionError("never let go")
        self.numbers.append(event.seq_num)

    def wait_until_entered(self) -> None:
        """Wait until it is inside its first event."""
        if not self.entered.wait(PATIENCE_SECONDS):
            raise AssertionError("never called")
