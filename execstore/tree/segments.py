"""The log: numbered lines in segments of bounded size.

Invariants:

- A segment is named by the number of its first line, and its lines are numbered one by one. So the line numbered ``n``
  is line ``n - first`` of the segment with the greatest ``first`` that isn't over ``n``.
- Lines are only ever appended to the newest segment; a published line never changes.
- What the head says of the log (`LogState`) is part of every transaction, so numbers are never given twice.
- Segments are only removed whole, the oldest first, by the same transaction that tells the head so. The oldest line is
  therefore always the first of its segment; if all are gone, the oldest number is the one that comes next.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.errors import StoreCorruptedError
from execstore.tree.paths import segment_first, segment_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from execstore.tree.reader import Reader

__all__ = ["LOG_VALUE", "LogReader", "LogState", "Rotation"]

LOG_VALUE = "log"  # the log's state among the head's values


class Rotation(NamedTuple):
    """When a new segment is begun: at this size (0: the store's), and at this age of the newest one's first line."""

    segment_bytes: int = 0
    segment_age_ns: int | None = None

    def within(self, store_bytes: int) -> Rotation:
        """The same with the size that holds in a store whose segments may become ``store_bytes`` large."""
        return Rotation(min(self.segment_bytes or store_bytes, store_bytes), self.segment_age_ns)


class LogState(NamedTuple):
    """``latest`` and ``oldest`` are line numbers (``oldest`` is ``latest + 1`` if there is no line), ``segment`` the
    first number of the newest segment, ``bytes`` its size, ``since_ns`` when its first line was written."""

    latest: int = 0
    oldest: int = 1
    segment: int = 1
    bytes: int = 0
    since_ns: int = 0

    @staticmethod
    def of(values: Mapping[str, Any]) -> LogState:
        """The log's state among a head's values."""
        found = values.get(LOG_VALUE)
        return LogState._make(found) if found else _EMPTY_LOG

    def to_value(self) -> list[int]:
        return list(self)

    @property
    def is_empty(self) -> bool:
        """Whether there is no line, since none was written yet or all were removed."""
        return self.latest < self.oldest

    def after(
        self, line_bytes: int, time_ns: int, segment_bytes: int, segment_age_ns: int | None = None
    ) -> tuple[LogState, int]:
        """The state once another line of this size is there, and the offset it goes to; 0 starts a new segment.

        A new one is begun when the newest would become larger than ``segment_bytes``, and when its first line is
        ``segment_age_ns`` old: where little is written, no segment would ever be old as a whole otherwise.
        """
        number = self.latest + 1
        is_old = segment_age_ns is not None and time_ns - self.since_ns >= segment_age_ns
        if self.latest < self.segment or self.bytes + line_bytes > segment_bytes or is_old:
            return LogState(number, self.oldest, number, line_bytes, time_ns), 0
        return LogState(number, self.oldest, self.segment, self.bytes + line_bytes, self.since_ns), self.bytes

    def without_segments(self, firsts: Sequence[int], number: int) -> tuple[LogState, list[int]]:
        """The state once every segment is gone all of whose lines are below ``number``, and which segments these are.

        ``firsts`` are the first numbers of all segments, in order.
        """
        ends = [*(first - 1 for first in firsts[1:]), self.latest]
        dropped = [first for first, last in zip(firsts, ends, strict=False) if last < number]
        if not dropped:
            return self, []
        if len(dropped) < len(firsts):
            return LogState(self.latest, firsts[len(dropped)], self.segment, self.bytes, self.since_ns), dropped
        # The next line starts a segment of its own; its number is the one after the latest, as ever.
        return LogState(self.latest, self.latest + 1, self.latest + 1), dropped


_EMPTY_LOG: Final = LogState()


class _Segment:
    """What was read of one segment: its bytes, and where each line starts (one more entry ends the last line)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.starts = array("Q", [0])

    def extend(self, more: bytes) -> None:
        position = len(self.data)
        self.data += more
        find = self.data.find
        newline = find(b"\n", max(position, self.starts[-1]))
        while newline >= 0:
            self.starts.append(newline + 1)
            newline = find(b"\n", newline + 1)


class LogReader:
    """Reads lines by number. It keeps the segments it read last, so following the log reads each byte once."""

    def __init__(self, log: str, root: str, kept_segments: int = 2) -> None:
        self._log = log
        self._root = root
        self._kept = kept_segments
        self._lock = threading.Lock()
        self._segments: OrderedDict[int, _Segment] = OrderedDict()
        self._firsts: tuple[tuple[int, int], list[int]] = ((-1, -1), [])

    def forget(self) -> None:
        """Drop what was read: the files may have been replaced."""
        with self._lock:
            self._segments.clear()
            self._firsts = ((-1, -1), [])

    def read(self, reader: Reader, first: int, maximum: int) -> list[tuple[int, bytes]]:
        """Up to ``maximum`` lines from number ``first`` on, as (number, line without newline).

        The caller sees to it that ``first`` is at least the oldest.

        Raises:
            StoreCorruptedError: a segment is missing or lacks lines.
        """
        state = LogState.of(reader.values)
        end = min(state.latest, first + maximum - 1)
        lines: list[tuple[int, bytes]] = []
        with self._lock:
            while first <= end:
                firsts = self._segment_firsts(reader, state)
                position = bisect_right(firsts, first) - 1
                path = segment_path(self._log, firsts[position] if position >= 0 else first)
                if position < 0:
                    raise StoreCorruptedError(f"{self._root}/{path}", f"the segment with event {first} is missing")
                segment_start = firsts[position]
                is_newest = position + 1 == len(firsts)
                segment_end = end if is_newest else min(end, firsts[position + 1] - 1)
                segment = self._load(reader, path, segment_start, segment_end)
                starts, data = segment.starts, segment.data
                for number in range(first, segment_end + 1):
                    line = number - segment_start
                    lines.append((number, bytes(data[starts[line] : starts[line + 1] - 1])))
                first = segment_end + 1
        return lines

    def _segment_firsts(self, reader: Reader, state: LogState) -> list[int]:
        key = (state.oldest, state.segment)
        if self._firsts[0] != key:
            numbers = (segment_first(name) for name in reader.segment_names(self._log))
            self._firsts = (key, sorted(number for number in numbers if number is not None))
            for first in [first for first in self._segments if first < state.oldest]:
                del self._segments[first]
        return self._firsts[1]

    def _load(self, reader: Reader, path: str, first: int, last: int) -> _Segment:
        """The segment with all lines up to number ``last``."""
        segment = self._segments.get(first)
        if segment is None:
            segment = self._segments[first] = _Segment()
            while len(self._segments) > self._kept:
                self._segments.popitem(last=False)
        else:
            self._segments.move_to_end(first)
        if last - first + 1 >= len(segment.starts):
            more = reader.segment(path, len(segment.data))
            if more is None:
                del self._segments[first]
                raise StoreCorruptedError(f"{self._root}/{path}", "the segment is missing")
            segment.extend(more)
            if last - first + 1 >= len(segment.starts):
                found = len(segment.starts) - 1
                del self._segments[first]  # the file may be mended meanwhile; don't hold on to half of it
                raise StoreCorruptedError(
                    f"{self._root}/{path}", f"it should hold events {first} to {last}, but only {found} lines are there"
                )
        return segment
