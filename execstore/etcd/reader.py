"""Reading a store in etcd by collections and keys: the ``BulkReader`` of ``execstore.engine``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execstore.errors import StoreCorruptedError
from execstore.etcd.head import parse_head
from execstore.etcd.keys import end_of, number_of
from execstore.etcd.snapshot import Question, all_values
from execstore.tree.paths import decode_name, encode_name
from execstore.tree.reader import Name, WrongMarker
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.etcd.head import Head
    from execstore.etcd.keys import Keys
    from execstore.etcd.snapshot import Snapshot
    from execstore.tree.layout import Layout

__all__ = ["EtcdReader"]


class EtcdReader:
    """One look: see ``execstore.engine.Reader``. ``snapshot`` gives the answers; a change lays its own over them."""

    _keeps_members = True

    def __init__(
        self, path: str, keys: Keys, snapshot: Snapshot, on_head: Callable[[Head], None] | None = None
    ) -> None:
        """``on_head`` is told the head as it was read."""
        self._path = path
        self._keys = keys
        self._snapshot = snapshot
        self._on_head = on_head
        self._members: dict[str, dict[str, list[str]]] = {}  # of an index all of whose groups were asked for
        self._read_values: Mapping[str, Any] | None = None

    @property
    def values(self) -> Mapping[str, Any]:
        if self._read_values is None:
            found = self._snapshot.ask(Question(self._keys.head))
            if not found:
                raise StoreCorruptedError(f"{self._path}/head", "the key is missing")
            head = parse_head(found[0], self._path)
            self._read_values = head.values
            if self._on_head is not None:
                self._on_head(head)
        return self._read_values

    # --- what a change lays its own writes over ---

    def _prepare(self, questions: Sequence[Question]) -> None:
        """Ask together what is going to be asked for one by one."""
        self._snapshot.ask_all(questions)

    def prepare(
        self,
        *,
        records: Mapping[str, Sequence[str]] | None = None,
        lines: Mapping[str, Sequence[str]] | None = None,
        marks: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """Say what will be asked for, so that it can be asked for together.

        ``records`` and ``lines`` give names by collection, ``marks`` are an index, a group and a key each.
        """
        questions = [
            Question(self._keys.record_named(collection, name))
            for collection, names in (records or {}).items()
            for name in names
        ]
        for collection, names in (lines or {}).items():
            questions += [all_values(self._keys.lines(collection, name)) for name in names]
        questions += [Question(self._keys.marker(*mark), keys_only=True) for mark in marks]
        self._prepare(questions)

    def _get(self, key: bytes) -> bytes | None:
        found = self._snapshot.ask(Question(key))
        return found[0].value if found else None

    def _get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        answers = self._snapshot.ask_all([Question(key) for key in keys])
        return [found[0].value if found else None for found in answers]

    def _has(self, key: bytes) -> bool:
        found = self._snapshot.known(Question(key))
        return bool(self._snapshot.ask(Question(key, keys_only=True)) if found is None else found)

    def _list(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        """Keys and values, in the order of the keys."""
        return [(found.key, found.value) for found in self._snapshot.ask_for_all(start, end)]

    def _list_keys(self, start: bytes, end: bytes) -> list[bytes]:
        return [found.key for found in self._snapshot.ask_for_all(start, end, keys_only=True)]

    def _names(self, folder: bytes) -> list[str]:
        """What stands behind ``folder`` in the keys that begin with it; a slash more isn't this program's."""
        texts = (key[len(folder) :].decode(errors="replace") for key in self._list_keys(folder, end_of(folder)))
        return [text for text in texts if text and "/" not in text]

    # --- records ---

    def record(self, collection: str, key: str) -> bytes | None:
        return self._get(self._keys.record(collection, key))

    def has_record(self, collection: str, key: str) -> bool:
        return self._has(self._keys.record(collection, key))

    def record_names(self, collection: str) -> list[str]:
        return self._names(self._keys.folder(collection))

    def record_named(self, collection: str, name: str) -> bytes | None:
        return self._get(self._keys.record_named(collection, name))

    def records_named(self, collection: str, names: Sequence[str]) -> list[bytes | None]:
        return self._get_all([self._keys.record_named(collection, name) for name in names])

    def has_record_named(self, collection: str, name: str) -> bool:
        return self._has(self._keys.record_named(collection, name))

    @staticmethod
    def key_of(name: str) -> str | None:
        try:
            return decode_name(name)
        except ValueError:
            return None

    @staticmethod
    def name_of(key: str) -> str:
        return encode_name(key)

    # --- lines ---

    def lines(self, collection: str, key: str) -> bytes | None:
        start = self._keys.lines(collection, encode_name(key))
        found = self._list(start, end_of(start))
        return b"".join(value for _, value in found) if found else None

    def lines_bytes(self, collection: str, key: str) -> int:
        return len(self.lines(collection, key) or b"")

    def lines_names(self, collection: str) -> list[str]:
        folder = self._keys.folder(collection)
        names = dict.fromkeys(
            key[len(folder) :].rpartition(b"/")[0].decode(errors="replace")
            for key in self._list_keys(folder, end_of(folder))
        )
        return [name for name in names if name]

    def has_lines_named(self, collection: str, name: str) -> bool:
        start = self._keys.lines(collection, name)
        return bool(self._list_keys(start, end_of(start)))

    # --- indexes ---

    def members(self, index: str, group: str) -> list[str]:
        return self.members_named(index, encode_name(group))

    def members_named(self, index: str, group_name: str) -> list[str]:
        members = self._members.get(index)
        if members is not None:
            return list(members.get(group_name, ()))
        return self._names(self._keys.group(index, group_name))

    def groups(self, index: str) -> list[Name]:
        folder = self._keys.folder(index)
        members: dict[str, list[str]] = {}
        for key in self._list_keys(folder, end_of(folder)):
            group, _, name = key[len(folder) :].decode(errors="replace").partition("/")
            members.setdefault(group, []).append(name)
        if self._keeps_members:
            self._members[index] = members
        found: list[Name] = []
        for name in members:
            try:
                found.append(Name(name, decode_name(name)))
            except ValueError:
                continue
        return found

    def wrong_marker(self, layout: Layout, index: str, group: str, key: str) -> WrongMarker | None:  # noqa: ARG002
        marker = self._keys.marker(index, group, key)
        if self._has(marker):
            return None
        return WrongMarker(self._shown(marker), "the entry is missing")

    # --- the log ---

    def segment_numbers(self, log: str) -> list[int]:  # noqa: ARG002 - there is one
        found = []
        for key in self._list_keys(self._keys.segments, end_of(self._keys.segments)):
            try:
                found.append(number_of(key))
            except ValueError:
                raise StoreCorruptedError(f"{self._path}/{self._shown(key)}", "the name is no number") from None
        return found

    def segment_bytes(self, log: str, first: int) -> int:  # noqa: ARG002
        state = LogState.of(self.values)
        if first == state.segment:
            return 0 if state.is_empty else state.bytes
        value = self._get(self._keys.segment(first))
        return int(value) if value is not None and value.isdigit() else 0

    def segment_end(self, log: str, first: int) -> bytes | None:
        last = self._last_of(first)
        return None if last is None else self._get(self._keys.log_line(log, last))

    def segment_file(self, log: str, first: int) -> str:
        return f"{log}/{first:020d}"

    def segment(self, path: str, offset: int) -> bytes | None:
        log, _, digits = path.rpartition("/")
        first = int(digits)
        last = self._last_of(first)
        if last is None:
            return None
        found = self._list(self._keys.log_line(log, first), self._keys.log_line(log, last + 1))
        return b"".join(value + b"\n" for _, value in found)[offset:]

    def _last_of(self, first: int) -> int | None:
        """The number of the last line of the segment that begins with ``first``."""
        numbers = self.segment_numbers("")
        if first not in numbers:
            return None
        following = numbers[numbers.index(first) + 1 :]
        return following[0] - 1 if following else LogState.of(self.values).latest

    # --- for a person ---

    def record_file(self, collection: str, name: str) -> str:
        return f"{collection}/{name}"

    def lines_file(self, collection: str, name: str) -> str:
        return f"{collection}/{name}/"

    def damage(self, collection: str, key: str, reason: str) -> StoreCorruptedError:
        return StoreCorruptedError(f"{self._path}/{self.record_file(collection, encode_name(key))}", reason)

    def _shown(self, key: bytes) -> str:
        """A key as its path within the store."""
        return key.removeprefix(self._keys.root).decode(errors="replace")
