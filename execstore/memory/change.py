"""Reading a store in memory, and a change of it in the making. See ``engine.Reader`` and ``engine.Change``."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from execstore.engine import LOG_VALUE, LogState, Name, WrongMarker
from execstore.errors import StoreCorruptedError
from execstore.memory.content import Outcome, Segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.engine import Rotation
    from execstore.memory.content import Content, Key, Mark
    from execstore.tree.layout import Layout

__all__ = ["MemoryChange", "MemoryReader"]

_NO_RECORDS: Final[Mapping[Key, bytes | None]] = {}


class MemoryReader:
    """One look; the content's lock is held as long. A key is its own name."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._segments = content.segments
        self._values = content.values
        self._records: Mapping[Key, bytes | None] = _NO_RECORDS
        self._lines: Mapping[Key, bytes | None] = _NO_RECORDS
        self._marks: Mapping[Mark, bool] = {}

    @property
    def values(self) -> Mapping[str, Any]:
        return self._values

    # --- records and lines ---

    def record(self, collection: str, key: str) -> bytes | None:
        if (collection, key) in self._records:
            return self._records[collection, key]
        return self._content.records.get(collection, {}).get(key)

    def has_record(self, collection: str, key: str) -> bool:
        return self.record(collection, key) is not None

    def record_names(self, collection: str) -> list[str]:
        return _with_own(self._content.records.get(collection, {}), self._records, collection)

    def record_named(self, collection: str, name: str) -> bytes | None:
        return self.record(collection, name)

    def has_record_named(self, collection: str, name: str) -> bool:
        return self.record(collection, name) is not None

    def key_of(self, name: str) -> str | None:
        return name

    def name_of(self, key: str) -> str:
        return key

    def lines(self, collection: str, key: str) -> bytes | None:
        if (collection, key) in self._lines:
            return self._lines[collection, key]
        return self._content.lines.get(collection, {}).get(key)

    def lines_bytes(self, collection: str, key: str) -> int:
        return len(self.lines(collection, key) or b"")

    def lines_names(self, collection: str) -> list[str]:
        return _with_own(self._content.lines.get(collection, {}), self._lines, collection)

    def has_lines_named(self, collection: str, name: str) -> bool:
        return self.lines(collection, name) is not None

    # --- indexes ---

    def members(self, index: str, group: str) -> list[str]:
        found = dict(self._content.indexes.get(index, {}).get(group, {}))
        for (own_index, own_group, key), is_set in self._marks.items():
            if (own_index, own_group) == (index, group):
                if is_set:
                    found[key] = None
                else:
                    found.pop(key, None)
        return list(found)

    def groups(self, index: str) -> list[Name]:
        found = dict.fromkeys(self._content.indexes.get(index, {}))
        for own_index, group, _ in self._marks:
            if own_index == index:
                found[group] = None
        return [Name(group, group) for group in found]

    def members_named(self, index: str, group_name: str) -> list[str]:
        return self.members(index, group_name)

    def wrong_marker(self, layout: Layout, index: str, group: str, key: str) -> WrongMarker | None:  # noqa: ARG002
        if key in self.members(index, group):
            return None
        return WrongMarker(f"{index}/{group}/{key}", "the entry is missing")

    # --- the log ---

    def segment_numbers(self, log: str) -> list[int]:  # noqa: ARG002 - there is one log
        return [segment.first for segment in self._segments]

    def segment_bytes(self, log: str, first: int) -> int:  # noqa: ARG002
        segment = self._segment(first)
        return 0 if segment is None else segment.size_bytes

    def segment_end(self, log: str, first: int) -> bytes | None:  # noqa: ARG002
        segment = self._segment(first)
        return None if segment is None else segment.lines[-1]

    def segment_file(self, log: str, first: int) -> str:
        return f"{log}/{first:020d}"

    def segment(self, path: str, offset: int) -> bytes | None:
        segment = self._segment(int(path.rpartition("/")[2]))
        return None if segment is None else b"\n".join([*segment.lines, b""])[offset:]

    def _segment(self, first: int) -> Segment | None:
        segments = self._segments
        place = bisect_left(segments, first, key=lambda segment: segment.first)
        return segments[place] if place < len(segments) and segments[place].first == first else None

    # --- for a person ---

    def record_file(self, collection: str, name: str) -> str:
        return f"{collection}/{name}"

    def lines_file(self, collection: str, name: str) -> str:
        return f"{collection}/{name}"

    def damage(self, collection: str, key: str, reason: str) -> StoreCorruptedError:
        return StoreCorruptedError(f"{self._content.path}/{collection}/{key}", reason)


class MemoryChange(MemoryReader):
    """A change; the right to write is held as long. What is committed doesn't change meanwhile."""

    def __init__(self, content: Content, rotation: Rotation) -> None:
        super().__init__(content)
        self._own_values = dict(content.values)
        self._values = self._own_values
        self._own_records: dict[Key, bytes | None] = {}
        self._records = self._own_records
        self._own_lines: dict[Key, bytes | None] = {}
        self._lines = self._own_lines
        self._own_marks: dict[Mark, bool] = {}
        self._marks = self._own_marks
        self._new_lines: list[bytes] = []  # of the newest segment
        self._rotation = rotation
        self._is_empty = True

    @property
    def is_empty(self) -> bool:
        return self._is_empty

    def outcome(self) -> Outcome:
        """All of it."""
        self._end_lines()
        return Outcome(self._own_records, self._own_lines, self._own_marks, self._segments, self._own_values)

    def set_value(self, name: str, value: Any) -> None:
        if self._own_values.get(name) != value:
            self._own_values[name] = value
            self._is_empty = False

    def put_record(self, collection: str, key: str, data: bytes, *, is_new: bool = False) -> None:  # noqa: ARG002
        self._own_records[collection, key] = data
        self._is_empty = False

    def remove_record(self, collection: str, key: str) -> None:
        self._own_records[collection, key] = None
        self._is_empty = False

    def append_lines(self, collection: str, key: str, lines: bytes, *, is_new: bool = False) -> None:
        before = b"" if is_new else self.lines(collection, key) or b""
        self.put_lines(collection, key, before + lines)

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        self._own_lines[collection, key] = lines
        self._is_empty = False

    def remove_lines(self, collection: str, key: str) -> None:
        if self.lines(collection, key) is not None:
            self._own_lines[collection, key] = None
            self._is_empty = False

    def mark(self, index: str, group: str, key: str) -> None:
        self._own_marks[index, group, key] = True
        self._is_empty = False

    def move_mark(self, index: str, old_group: str, new_group: str, key: str) -> None:
        if old_group != new_group:
            self._own_marks[index, old_group, key] = False
            self.mark(index, new_group, key)

    def unmark(self, index: str, group: str, key: str, *, drop_empty: bool) -> None:  # noqa: ARG002
        self._own_marks[index, group, key] = False
        self._is_empty = False

    def drop_group(self, index: str, group: str) -> None:
        """Nothing to do: a group without members is none."""

    def next_log_number(self) -> int:
        return LogState.of(self._values).latest + 1

    def append_log(self, line: bytes, time_ns: int) -> int:
        rotation = self._rotation
        state, offset = LogState.of(self._values).after(
            len(line) + 1, time_ns, rotation.segment_bytes, rotation.segment_age_ns
        )
        if offset == 0:
            self._end_lines()
            self._segments = (*self._segments, Segment(state.segment, (), 0))
        self._new_lines.append(line)
        self.set_value(LOG_VALUE, state.to_value())
        return state.latest

    def drop_log_before(self, number: int) -> LogState:
        self._end_lines()
        firsts = [segment.first for segment in self._segments]
        state, dropped = LogState.of(self._values).without_segments(firsts, number)
        self._segments = self._segments[len(dropped) :]
        self.set_value(LOG_VALUE, state.to_value())
        return state

    def _end_lines(self) -> None:
        if self._new_lines:
            *before, newest = self._segments
            self._segments = (*before, newest.extended(self._new_lines))
            self._new_lines = []

    def segment_numbers(self, log: str) -> list[int]:
        self._end_lines()
        return super().segment_numbers(log)

    def _segment(self, first: int) -> Segment | None:
        self._end_lines()
        return super()._segment(first)


def _with_own(committed: Mapping[str, bytes], own: Mapping[Key, bytes | None], collection: str) -> list[str]:
    if not own:
        return list(committed)
    found = dict.fromkeys(committed)
    for (own_collection, key), data in own.items():
        if own_collection == collection:
            if data is None:
                found.pop(key, None)
            else:
                found[key] = None
    return list(found)
