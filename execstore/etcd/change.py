"""A change in the making: reads what is known or in etcd, with its own writes on top (``execstore.engine.Change``)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.etcd.head import Head, encode_head
from execstore.etcd.keys import end_of
from execstore.etcd.reader import EtcdReader
from execstore.etcd.snapshot import CompactedError, Question, Snapshot
from execstore.etcd.writes import Saved, Writes
from execstore.tree.paths import encode_name
from execstore.tree.segments import LOG_VALUE, LogState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.etcd.gateway import Gateway
    from execstore.etcd.keys import Keys
    from execstore.etcd.wire import KeyValue
    from execstore.tree.layout import Layout
    from execstore.tree.segments import Rotation

__all__ = ["EtcdChange", "Known", "StaleError"]

_MOST_GUESSES: Final = 90  # each takes a comparison, of which a transaction may have 128
_KNOWN_BYTES: Final = 8 << 20


class StaleError(Exception):
    """What the change began with is out of date. ``found`` is the head as it is, if there is one."""

    def __init__(self, found: KeyValue | None) -> None:
        super().__init__("the head has changed")
        self.found = found


class Known:
    """Records as they are at a revision of the head, the last used of them; ``None`` for one that isn't there.

    Only keys that begin with one of ``folders`` are kept: a change tells what it does to those (`EtcdChange.records`).
    """

    def __init__(self, folders: Sequence[bytes], most_bytes: int = _KNOWN_BYTES) -> None:
        self._folders = tuple(folders)
        self._most_bytes = most_bytes
        self._bytes = 0
        self._values: OrderedDict[bytes, bytes | None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._values

    def get(self, key: bytes) -> bytes | None:
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: bytes, value: bytes | None) -> None:
        if not key.startswith(self._folders):
            return
        self._bytes += _weight(key, value)
        if key in self._values:
            self._bytes -= _weight(key, self._values[key])
        self._values[key] = value
        self._values.move_to_end(key)
        while self._bytes > self._most_bytes:
            old_key, old_value = self._values.popitem(last=False)
            self._bytes -= _weight(old_key, old_value)

    def clear(self) -> None:
        self._values.clear()
        self._bytes = 0


def _weight(key: bytes, value: bytes | None) -> int:
    return len(key) + len(value or b"") + 200


class _Savepoint(NamedTuple):
    writes: Saved
    values: dict[str, Any]
    marks: list[tuple[bytes, bytes]]
    records: dict[bytes, bytes | None]
    is_changed: bool


class EtcdChange(EtcdReader):
    """See ``execstore.engine.Change``.

    ``base`` is the head that it goes by; the commit compares it. As long as nothing was asked of etcd, that, and what
    is ``known``, is belief: `is_proven` tells. A key that is asked after only for its being there is guessed to be
    absent if ``may_guess``, and compared, too: a create then needs no question of its own.
    """

    _keeps_members = False  # they may change by its own doing

    def __init__(
        self,
        path: str,
        keys: Keys,
        layout: Layout,
        rotation: Rotation,
        base: Head,
        known: Known,
        gateway: Gateway,
        deadline: Callable[[], float],
        *,
        may_guess: bool,
    ) -> None:
        self._gateway = gateway
        self._deadline = deadline
        self._checked = Question(keys.head)
        self.base = base
        super().__init__(path, keys, self._new_snapshot())
        self._layout = layout
        self._rotation = rotation
        self._known = known
        self._may_guess = may_guess
        self._writes = Writes()
        self._values: dict[str, Any] = dict(base.values)
        self._changed_values = False
        self.guessed: dict[bytes, None] = {}
        self.marks: list[tuple[bytes, bytes]] = []  # of index entries made: the group's beginning, and the record's key
        self.records: dict[bytes, bytes | None] = {}  # what it makes of records

    @property
    def values(self) -> dict[str, Any]:
        return self._values

    @property
    def is_empty(self) -> bool:
        return self._writes.is_empty and not self._changed_values

    @property
    def is_proven(self) -> bool:
        """Whether all that it has read so far is known to be true, as of one moment since it began."""
        return self._snapshot.revision > 0 and not self.guessed

    @property
    def operations_count(self) -> int:
        """How many operations it takes, about."""
        return len(self._writes.puts) + self._writes.removals

    @property
    def writes(self) -> Writes:
        return self._writes

    def head_bytes(self) -> bytes:
        """What it makes of the head."""
        return encode_head(self.base.transaction + 1, self._values)

    def save(self) -> _Savepoint:
        """A state to go back to."""
        saved = self._writes.save()
        return _Savepoint(saved, dict(self._values), list(self.marks), dict(self.records), self._changed_values)

    def restore(self, saved: _Savepoint) -> None:
        """Go back; ``saved`` is used up. What was read stays read."""
        self._writes.restore(saved.writes)
        self._values, self.marks, self.records, self._changed_values = saved[1:]

    # --- reading: own writes first, then what is known, then etcd ---

    def _new_snapshot(self) -> Snapshot:
        return Snapshot(self._gateway, self._deadline, check=self._check_head, checked=self._checked)

    def _check_head(self, found: list[KeyValue]) -> None:
        if not found or found[0].mod_revision != self.base.revision:
            raise StaleError(found[0] if found else None)

    def _ask(self, questions: Sequence[Question]) -> list[list[KeyValue]]:
        try:
            return self._snapshot.ask_all(questions)
        except CompactedError:
            # As long as the head is the same, so is all else, at whatever revision.
            self._snapshot = self._new_snapshot()
            return self._snapshot.ask_all(questions)

    def _prepare(self, questions: Sequence[Question]) -> None:
        self._ask(questions)

    def _get(self, key: bytes) -> bytes | None:
        if self._writes.tells(key):
            return self._writes.puts.get(key)
        if key in self._known:
            return self._known.get(key)
        found = self._ask((Question(key),))[0]
        value = found[0].value if found else None
        self._known.put(key, value)
        return value

    def _get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        unknown = [key for key in keys if not self._writes.tells(key) and key not in self._known]
        if unknown:
            self._ask([Question(key) for key in unknown])
        return [self._get(key) for key in keys]

    def _has(self, key: bytes) -> bool:
        if self._writes.tells(key):
            return key in self._writes.puts
        if key in self._known:
            return self._known.get(key) is not None
        if key in self.guessed:
            return False
        if self._may_guess and not self._snapshot.revision and len(self.guessed) < _MOST_GUESSES:
            self.guessed[key] = None
            return False
        return self._get(key) is not None

    def _list(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        found = {each.key: each.value for each in self._ask_for_all(start, end, keys_only=False)}
        return sorted((self._overlaid(found, start, end)).items())

    def _list_keys(self, start: bytes, end: bytes) -> list[bytes]:
        found = {each.key: b"" for each in self._ask_for_all(start, end, keys_only=True)}
        return sorted(self._overlaid(found, start, end))

    def _ask_for_all(self, start: bytes, end: bytes, *, keys_only: bool) -> list[KeyValue]:
        try:
            return self._snapshot.ask_for_all(start, end, keys_only=keys_only)
        except CompactedError:
            self._snapshot = self._new_snapshot()
            return self._snapshot.ask_for_all(start, end, keys_only=keys_only)

    def _overlaid(self, found: dict[bytes, bytes], start: bytes, end: bytes) -> dict[bytes, bytes]:
        kept = {key: value for key, value in found.items() if not self._writes.tells(key)}
        return kept | {key: self._writes.puts[key] for key in self._writes.put_between(start, end)}

    # --- writing ---

    def set_value(self, name: str, value: Any) -> None:
        if self._values.get(name) != value:
            self._values[name] = value
            self._changed_values = True

    def put_record(self, collection: str, key: str, data: bytes, *, is_new: bool = False) -> None:  # noqa: ARG002
        at = self._keys.record(collection, key)
        self._writes.put(at, data)
        self.records[at] = data

    def remove_record(self, collection: str, key: str) -> None:
        at = self._keys.record(collection, key)
        self._writes.remove(at)
        self.records[at] = None

    def append_lines(self, collection: str, key: str, lines: bytes, *, is_new: bool = False) -> None:  # noqa: ARG002
        # By the number of this change, which is greater than that of any before, nothing needs to be read.
        at = self._keys.some_lines(collection, encode_name(key), self.base.transaction + 1)
        self._writes.put(at, self._writes.puts.get(at, b"") + lines)

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        self.remove_lines(collection, key)
        self.append_lines(collection, key, lines)

    def remove_lines(self, collection: str, key: str) -> None:
        start = self._keys.lines(collection, encode_name(key))
        self._writes.remove_range(start, end_of(start))

    def mark(self, index: str, group: str, key: str) -> None:
        name = encode_name(key)
        start = self._keys.group(index, encode_name(group))
        self._writes.put(start + name.encode(), b"")
        self.marks.append((start, self._keys.record_named(self._layout.indexes[index], name)))

    def move_mark(self, index: str, old_group: str, new_group: str, key: str) -> None:
        if old_group != new_group:
            self._writes.remove(self._keys.marker(index, old_group, key))
            self.mark(index, new_group, key)

    def unmark(self, index: str, group: str, key: str, *, drop_empty: bool) -> None:  # noqa: ARG002
        self._writes.remove(self._keys.marker(index, group, key))

    def drop_group(self, index: str, group: str) -> None:
        """Nothing: a group is only a part of keys."""

    def next_log_number(self) -> int:
        return LogState.of(self._values).latest + 1

    def append_log(self, line: bytes, time_ns: int) -> int:
        before = LogState.of(self._values)
        rotation = self._rotation
        state, offset = before.after(len(line) + 1, time_ns, rotation.segment_bytes, rotation.segment_age_ns)
        if offset == 0:
            if not before.is_empty:
                self._writes.put(self._keys.segment(before.segment), b"%d" % before.bytes)
            self._writes.put(self._keys.segment(state.segment), b"")
        self._writes.put(self._keys.log_line(self._layout.log, state.latest), line)
        self.set_value(LOG_VALUE, state.to_value())
        return state.latest

    def drop_log_before(self, number: int) -> LogState:
        before = LogState.of(self._values)
        state, dropped = before.without_segments(self.segment_numbers(self._layout.log), number)
        if dropped:
            log = self._layout.log
            self._writes.remove_range(self._keys.log_line(log, before.oldest), self._keys.log_line(log, state.oldest))
            self._writes.remove_range(self._keys.segment(dropped[0]), self._keys.segment(dropped[-1]) + b"\0")
            self.set_value(LOG_VALUE, state.to_value())
        return state
