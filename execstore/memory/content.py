"""What a store in memory holds, shared by all its handles; and the log, by segments as in every engine."""

from __future__ import annotations

import os
import secrets
import threading
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["SEGMENT_BYTES", "Content", "Outcome", "Segment"]

SEGMENT_BYTES: Final = 1 << 20

Key = tuple[str, str]
"""A collection and a key."""
Mark = tuple[str, str, str]
"""An index, a group and a key."""


class Segment(NamedTuple):
    """A run of lines of the log, without their newlines. ``size_bytes`` counts the newlines."""

    first: int
    lines: Sequence[bytes]
    size_bytes: int

    def extended(self, more: Sequence[bytes]) -> Segment:
        """The same with lines behind it."""
        size_bytes = self.size_bytes + sum(map(len, more)) + len(more)
        return Segment(self.first, [*self.lines, *more], size_bytes)


class Outcome(NamedTuple):
    """What a change leaves behind. ``None`` stands for what is gone; a mark is set or not."""

    records: Mapping[Key, bytes | None]
    lines: Mapping[Key, bytes | None]
    marks: Mapping[Mark, bool]
    segments: tuple[Segment, ...]
    values: Mapping[str, Any]


class Content:
    """All that the store holds. ``lock`` is had by who reads or applies a change, ``writing`` by who makes one.

    ``segments`` and ``values`` are replaced, never changed, so that whoever took one has it for good.
    """

    def __init__(self, path: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.path = path
        self.segment_bytes = segment_bytes
        self.store_id = secrets.token_hex(16)
        self.process_id = os.getpid()
        self.lock = threading.RLock()  # a look may look again
        self.writing = threading.Lock()
        self.records: dict[str, dict[str, bytes]] = {}
        self.lines: dict[str, dict[str, bytes]] = {}
        self.indexes: dict[str, dict[str, dict[str, None]]] = {}
        self.segments: tuple[Segment, ...] = ()
        self.values: Mapping[str, Any] = {}
        self.transaction = 0
        self.waiting: list[Callable[[], None]] = []

    def apply(self, outcome: Outcome) -> None:
        """Show a change, whole, and wake those who wait for one."""
        with self.lock:
            for kept, changed in ((self.records, outcome.records), (self.lines, outcome.lines)):
                for (collection, key), data in changed.items():
                    if data is None:
                        kept.get(collection, {}).pop(key, None)
                    else:
                        kept.setdefault(collection, {})[key] = data
            for (index, group, key), is_set in outcome.marks.items():
                groups = self.indexes.setdefault(index, {})
                if is_set:
                    groups.setdefault(group, {})[key] = None
                else:
                    members = groups.get(group, {})
                    members.pop(key, None)
                    if not members:
                        groups.pop(group, None)
            self.segments = outcome.segments
            self.values = outcome.values
            self.transaction += 1
            for wake in self.waiting:
                wake()

    def read_log(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        """Up to ``maximum`` lines from number ``first`` on, or from the oldest one, with their numbers."""
        segments = self.segments
        found: list[tuple[int, bytes]] = []
        if segments:
            first = max(first, segments[0].first)
            place = bisect_right(segments, first, key=lambda segment: segment.first) - 1
            for segment in segments[place:]:
                start = max(first - segment.first, 0)
                lines = segment.lines[start : start + maximum - len(found)]
                found += enumerate(lines, segment.first + start)
                if len(found) >= maximum:
                    break
        return found
