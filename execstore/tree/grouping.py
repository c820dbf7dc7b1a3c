"""Group commit: how long who is about to flush waits for others to come along.

A flush makes everything durable that is staged by then, so with several writers the question is who catches it. Without
a pause they fall into two groups that miss each other: while one is flushed, the other stages, and so on, each flush
for half of them. Where flushes are slow (an SD card's take milliseconds) it pays to wait a little for those who were
just let go to come back with their next change. Who writes alone never waits, and where a flush takes less than a
sleep, nobody does. (PostgreSQL's ``commit_delay`` and MySQL's ``binlog_group_commit_sync_delay`` are the same idea with
numbers that a person sets; these here follow from what was measured.)
"""

from __future__ import annotations

__all__ = ["Grouping"]

# Sleeping for less takes nearly as long: the kernel's timers are late by some 60 us.
_SHORTEST_FLUSH_NS = 500_000
_SHARE_OF_FLUSH = 0.1  # if nobody came within this share of a flush, no more is waited
_SHORTEST_LOOK_NS = 100_000
_LOOKS = 3  # how often one looks in that time, where it isn't too short for that
_LONGEST_PAUSE_NS = 1_000_000
_MOST_OF_FLUSH = 0.5  # and all pauses before one flush take no more than this share
_WEIGHT = 8  # of so many flushes, the average goes
_MEMORY = 16  # flushes without company after which a writer counts as alone


class Grouping:
    """What a handle learned of its flushes. Used under the flush lock."""

    def __init__(self) -> None:
        self._flush_ns = 0
        self._expected = 1
        self._company = 0

    def note_company(self) -> None:
        """Somebody else has or had the flush lock, or left staged changes: there are other writers."""
        self._company = _MEMORY

    @property
    def is_alone(self) -> bool:
        """Whether nobody else wrote lately."""
        return self._company == 0

    def note_flush(self, duration_ns: int, records: int, left: int) -> None:
        """A flush took so long and was for so many changes; ``left`` were staged meanwhile."""
        self._flush_ns += (duration_ns - self._flush_ns) // (_WEIGHT if self._flush_ns else 1)
        self._company = _MEMORY if records + left > 1 else max(self._company - 1, 0)
        # The most that came along lately; it sinks slowly, since who is late once may be in time again.
        self._expected = max(records + left, self._expected - 1) if self._company else 1

    def pause_ns(self, staged: int, waited_ns: int, quiet_ns: int = 0) -> int:
        """How long to wait once more before a flush for so many changes, having waited so long; 0: flush now.

        ``quiet_ns``: how much of it since the last one came.
        """
        if self.is_alone or self._flush_ns < _SHORTEST_FLUSH_NS or (staged > 1 and staged >= self._expected):
            return 0
        share_ns = min(int(self._flush_ns * _SHARE_OF_FLUSH), _LONGEST_PAUSE_NS)
        if quiet_ns >= share_ns or waited_ns >= self._flush_ns * _MOST_OF_FLUSH:
            return 0
        look_ns = share_ns // _LOOKS
        return look_ns if look_ns >= _SHORTEST_LOOK_NS else share_ns
