"""The seam between watchers and whatever keeps the events: a numbered log, and a few numbers beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.watcher.events import Operation

__all__ = ["EventLog"]


class EventLog(Protocol):
    """An append-only log of lines (see ``lines``), numbered from 1 without gaps, collected from its beginning on.

    Every method may be called from any thread. A line that was once read never changes and its number is never given
    to another. What ``latest`` says is there can be read, by ``read`` as by any other reader. Once it is closed, every
    method but ``close``, ``wake`` and ``wait`` raises ``StoreClosedError``.
    """

    on_news: Callable[[int], None] | None
    """If somebody sets it, it may be called, with the newest number, by the thread that finds that there is news,
    before those who ``wait`` for it are woken. It doesn't raise."""

    @property
    def path(self) -> str:
        """What to call it in messages."""

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called, here or by the store that it belongs to."""

    def latest(self) -> int:
        """The number of the newest event that is committed, or was before it was collected; 0 if there never was one.

        It never goes back.
        """

    def oldest(self) -> int:
        """The lowest number that can still be read; ``latest() + 1`` if none can. It never goes back."""

    def read(self, first: int, maximum: int) -> Sequence[tuple[int, bytes]]:
        """Up to ``maximum`` lines (at least 1 is asked for) with their numbers, in order, from ``first`` on.

        It gives at least one, unless ``first`` is above ``latest()``; it may give fewer than asked for. Lines that were
        collected in the meantime are left out, and the caller notices. A damaged line is given as it is. Raises
        ``StoreCorruptedError`` where there is nothing to give.
        """

    def append(self, operation: Operation, object_type: str, object_json: bytes) -> int:
        """Commit one event, wake those who wait for it, and return its number. ``object_json`` has no raw newline."""

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        """Wait until ``latest()`` is above ``after``; return the number of an event above it that is committed.

        It returns 0 after ``timeout_seconds``, when ``interrupted()`` is true, and when the log is closed. Any other
        number up to ``after``, such as ``True``, says that there may be news: the caller looks. So that no wake-up is
        lost, ``interrupted`` is called after the waiter has become visible to ``wake`` (under the lock that ``wake``
        takes) and again after every ``wake``.
        """

    def wake(self) -> None:
        """Make every ``wait`` of this process look at its ``interrupted`` again, at once."""

    def get_checkpoint(self, watcher_id: str) -> int | None:
        """The checkpoint stored for this watcher, ``None`` if there is none."""

    def store_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        """Store a watcher's checkpoint durably; it may go back, and beyond the newest event."""

    def remove_checkpoint(self, watcher_id: str) -> bool:
        """Forget a watcher's checkpoint, so that it holds the log no longer; return whether there was one."""

    def list_checkpoints(self) -> Mapping[str, int]:
        """The stored checkpoints by watcher."""
