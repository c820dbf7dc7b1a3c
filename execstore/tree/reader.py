"""Reading the tree: files and folders as they are, with the outcome of some steps laid over them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from execstore.errors import StoreCorruptedError
from execstore.tree.names import NEW_NAME, RESERVE_FOLDER, engine_names
from execstore.tree.paths import (
    DOTTED,
    decode_name,
    encode_name,
    lines_path,
    marker_path,
    marker_target,
    record_path,
    segment_first,
    segment_path,
    stem,
)
from execstore.tree.steps import Absent, Overlay, Tail, Target, Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.kept import Kept
    from execstore.tree.layout import Layout

_T = TypeVar("_T")

__all__ = ["MAXIMUM_FILE_BYTES", "Name", "Reader", "WrongMarker"]

# No file of a store is larger, but for the log's segments, which are read in parts. A file of 10 GB is damage.
MAXIMUM_FILE_BYTES = 1 << 30

_NAME_BYTES = 100  # what one takes in memory, about
_END_BYTES = 4096  # most lines are shorter

_NOT_OURS = {
    errno.ELOOP: "it is a symbolic link",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "its folder is no folder",
}


class Name(NamedTuple):
    """A name in a collection. ``key`` is ``None`` where only the content tells it."""

    text: str
    key: str | None


class WrongMarker(NamedTuple):
    """An index entry that isn't as it should be."""

    path: str
    reason: str


def _is_name_of(file_name: str, suffix: str) -> bool:
    """Whether the store can have given this name."""
    text = stem(file_name, suffix) if suffix else file_name
    if not text:
        return False
    try:
        decode_name(text)
    except ValueError:
        return False
    return True


class Reader:
    """One look at the store's content by collections and keys.

    ``layers`` are laid over the files, the topmost first. ``values`` are the head's. ``kept`` is what was made of the
    files before, as of ``transaction``.
    """

    is_change = False

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        layers: Sequence[Overlay] = (),
        values: Mapping[str, Any] | None = None,
        kept: Kept | None = None,
        transaction: int = 0,
    ) -> None:
        self._kept = kept
        self._transaction = transaction
        self._fs = fs
        self._root = root
        self._layers = tuple(layers)
        self._values: Mapping[str, Any] = {} if values is None else values

    @property
    def values(self) -> Mapping[str, Any]:
        """What the layers above keep in the head (JSON values). Not to be changed."""
        return self._values

    @property
    def parts(self) -> tuple[FileSystem, str, tuple[Overlay, ...], Mapping[str, Any]]:
        """What another reader of the same moment is made of."""
        return self._fs, self._root, self._layers, self._values

    # --- by key ---

    def record(self, collection: str, key: str) -> bytes | None:
        """The document under this key, ``None`` if there is none.

        Raises:
            StoreCorruptedError: something else than a file stands there.
        """
        return self._read(record_path(collection, key))

    def has_record(self, collection: str, key: str) -> bool:
        """Whether there is a document under this key."""
        return self._exists(record_path(collection, key))

    def record_named(self, collection: str, name: str) -> bytes | None:
        """The document under a name that `names` or `members` gave."""
        return self._read(f"{collection}/{name}.json")

    # --- made sense of before ---

    def record_made(
        self, collection: str, key: str, make: Callable[[bytes], _T], copy: Callable[[_T], _T]
    ) -> _T | None:
        """What ``make`` makes of the document under this key, ``None`` if there is none; maybe a ``copy`` of what was
        made before. Its errors are let through. For one collection it is always the same ``make``."""
        return self._made(record_path(collection, key), make, copy)

    def record_named_made(
        self, collection: str, name: str, make: Callable[[bytes], _T], copy: Callable[[_T], _T]
    ) -> _T | None:
        """The same of a name that `names` or `members` gave."""
        return self._made(f"{collection}/{name}.json", make, copy)

    def _made(self, path: str, make: Callable[[bytes], _T], copy: Callable[[_T], _T]) -> _T | None:
        self._catch_up()
        kept = self._kept
        entry, is_worth_keeping = None, False
        if kept is not None and all(layer.get(path) is None for layer in self._layers):  # what is absent is falsy
            entry, is_worth_keeping = kept.look(self._transaction, path, is_change=self.is_change)
        stamp = self._stamp(path) if entry is not None or is_worth_keeping else None
        if entry is not None and entry.stamp == stamp:
            found: _T = entry.value
            return copy(found)
        data = self._read(path)
        if data is None:
            return None
        made = make(data)
        if is_worth_keeping and stamp and kept is not None:
            kept.put(self._transaction, path, stamp, copy(made), len(data))
        return made

    def _stamp(self, path: str) -> tuple[int, ...] | None:
        try:
            return self._fs.stamp(path)
        except OSError as error:
            raise self._failure(path, error) from error

    def lines(self, collection: str, key: str) -> bytes | None:
        """The lines under this key, ``None`` if there are none."""
        return self._read(lines_path(collection, key))

    def lines_bytes(self, collection: str, key: str) -> int:
        """How many bytes the lines under this key take."""
        return self._size(lines_path(collection, key))

    def names(self, collection: str, suffix: str = ".json") -> list[Name]:
        """The names in a collection, unsorted. A file whose name the store can't have given is left out."""
        found: list[Name] = []
        for file_name in self._names(collection):
            text = stem(file_name, suffix)
            if text is not None:
                try:
                    found.append(Name(text, decode_name(text)))
                except ValueError:
                    continue
        return found

    def record_names(self, collection: str) -> list[str]:
        """The names of all records of a collection, unsorted; what the store can't have named is left out."""
        return [text for file_name in self._names(collection) if (text := stem(file_name, ".json")) is not None]

    @staticmethod
    def key_of(name: str) -> str | None:
        """The key behind a name, ``None`` where only the content tells it (or the name isn't the store's)."""
        try:
            return decode_name(name)
        except ValueError:
            return None

    def damage(self, collection: str, key: str, reason: str) -> StoreCorruptedError:
        """The error for a record that can't be used; it names the file."""
        return StoreCorruptedError(f"{self._root}/{record_path(collection, key)}", reason)

    def members(self, index: str, group: str) -> list[str]:
        """The names of the records that an index has under a group, unsorted."""
        return self.members_named(index, encode_name(group))

    def members_named(self, index: str, group_name: str) -> list[str]:
        """The same by the name that `groups` gave."""
        folder = f"{index}/{group_name}"
        self._catch_up()
        kept = self._kept
        entry, is_worth_keeping = None, False
        if kept is not None and not any(layer.names(folder) for layer in self._layers):
            entry, is_worth_keeping = kept.look(self._transaction, folder, is_change=self.is_change)
        stamp = self._stamp(folder) if entry is not None or is_worth_keeping else None
        if entry is not None and entry.stamp == stamp:
            return list(entry.value)
        members = [name for name in self._names(folder) if not name.startswith(DOTTED)]
        if is_worth_keeping and stamp and kept is not None:
            kept.put(self._transaction, folder, stamp, tuple(members), _NAME_BYTES * len(members))
        return members

    def groups(self, index: str) -> list[Name]:
        """The names of an index's groups, unsorted; a group may be empty."""
        self._catch_up()
        found: list[Name] = []
        names = set(self._names(index))
        for layer in self._layers:
            names |= layer.folders(index)
        for name in names:
            if not name.startswith(DOTTED):
                try:
                    found.append(Name(name, decode_name(name)))
                except ValueError:
                    continue
        return found

    # --- for checks: names of files, and what has no business there ---

    def has_record_named(self, collection: str, name: str) -> bool:
        return self._exists(f"{collection}/{name}.json")

    def has_lines_named(self, collection: str, name: str) -> bool:
        return self._exists(f"{collection}/{name}.jsonl")

    def lines_names(self, collection: str) -> list[str]:
        """The names of all lists of lines of a collection, unsorted."""
        return [text for file_name in self._names(collection) if (text := stem(file_name, ".jsonl")) is not None]

    def lines_named(self, collection: str, name: str) -> bytes | None:
        """The lines under a name that `lines_names` gave."""
        return self._read(f"{collection}/{name}.jsonl")

    @staticmethod
    def name_of(key: str) -> str:
        """The name of a key."""
        return encode_name(key)

    @staticmethod
    def record_file(collection: str, name: str) -> str:
        """The path of a record's file, for a person."""
        return f"{collection}/{name}.json"

    @staticmethod
    def lines_file(collection: str, name: str) -> str:
        """The path of a list of lines, for a person."""
        return f"{collection}/{name}.jsonl"

    @staticmethod
    def segment_file(log: str, first: int) -> str:
        """The path of a segment of the log."""
        return segment_path(log, first)

    def segment_numbers(self, log: str) -> list[int]:
        """The first numbers of the log's segments, in order."""
        return sorted(first for name in self._names(log) if (first := segment_first(name)) is not None)

    def wrong_marker(self, layout: Layout, index: str, group: str, key: str) -> WrongMarker | None:
        """What is wrong with the index entry of ``key`` under ``group``, ``None`` if nothing is."""
        self._catch_up()
        path = marker_path(index, group, key)
        for layer in self._layers:
            entry = layer.get(path)
            if entry is not None:
                return None if isinstance(entry, Target) else WrongMarker(path, "the entry is missing")
        try:
            kind = self._fs.kind(path)
        except OSError as error:
            raise self._failure(path, error) from error
        if kind is None:
            return WrongMarker(path, "the entry is missing")
        if kind == "link":
            target = self._fs.link_target(path)
            expected = marker_target(layout.alias(index), key)
            return None if target == expected else WrongMarker(path, f"it leads to {target}, not to {expected}")
        # Where links can't be had an empty file stands for one.
        return None if kind == "file" else WrongMarker(path, f"it is no link but a {kind}")

    def wrong_folders(self, layout: Layout) -> dict[str, str]:
        """What stands where a folder belongs and is none: path to reason. No look into such a place succeeds."""
        found: dict[str, str] = {}
        for folder in [*layout.folders(), RESERVE_FOLDER]:
            self._check_folder(folder, found)
        for index in layout.indexes:
            if index not in found:
                for name in self._names(index):
                    if not name.startswith(DOTTED):
                        self._check_folder(f"{index}/{name}", found)
        return found

    def _check_folder(self, path: str, found: dict[str, str]) -> None:
        kind = self._fs.kind(path)
        if kind not in {"folder", None}:
            found[path] = f"it is no folder but a {kind}" if kind != "other" else "it is no folder"

    def strangers(self, layout: Layout) -> list[str]:
        """The paths of all that this program can't have put there."""
        known = engine_names(layout)
        found = [name for name in self._names("") if name not in known]
        for collection in layout.records:
            found += self._odd_names(collection, lambda name: _is_name_of(name, ".json"))
        for collection in layout.lines:
            found += self._odd_names(collection, lambda name: _is_name_of(name, ".jsonl"))
        found += self._odd_names(layout.log, lambda name: segment_first(name) is not None)
        for index in layout.indexes:
            found += self._odd_names(index, lambda name: _is_name_of(name, ""))
        return sorted(found)

    def _odd_names(self, folder: str, is_known: Callable[[str], bool]) -> list[str]:
        return [f"{folder}/{name}" for name in self._names(folder) if name != NEW_NAME and not is_known(name)]

    # --- the log ---

    def segment_names(self, log: str) -> list[str]:
        """The file names of a log's segments, unsorted."""
        return self._names(log)

    def segment(self, path: str, offset: int) -> bytes | None:
        """A segment's bytes from ``offset`` on, ``None`` if there is no such segment."""
        self._catch_up()
        for layer in self._layers:
            if layer.get(path) is not None:
                data = self._read(path)
                return None if data is None else data[offset:]
        try:
            return self._fs.read(path, MAXIMUM_FILE_BYTES, offset)
        except OSError as error:
            raise self._failure(path, error) from error

    def segment_bytes(self, log: str, first: int) -> int:
        """The size of the segment that begins with line ``first``; 0 if there is none."""
        return self._size(segment_path(log, first))

    def segment_end(self, log: str, first: int) -> bytes | None:
        """The last line, without its newline, of the segment that begins with line ``first``.

        It is read from the end, so it costs the same at any size. ``None``: there is no such segment, or it doesn't end
        in a whole line.
        """
        path = segment_path(log, first)
        size = self._size(path)
        length = _END_BYTES
        while True:
            offset = max(size - length, 0)
            data = self.segment(path, offset)
            if not data or not data.endswith(b"\n"):
                return None
            start = data.rfind(b"\n", 0, -1) + 1
            if start or offset == 0:
                return data[start:-1]
            length *= 8

    # --- by path, through the layers ---

    def _catch_up(self) -> None:
        """For a change: see to it that the layers hold all that it did."""

    def _read(self, path: str, depth: int = 0) -> bytes | None:
        self._catch_up()
        for number in range(depth, len(self._layers)):
            entry = self._layers[number].get(path)
            if entry is None:
                continue
            if isinstance(entry, Whole):
                return entry.data
            if isinstance(entry, Tail):
                return (self._read(path, number + 1) or b"")[: entry.offset] + entry.data
            return None
        try:
            return self._fs.read(path, MAXIMUM_FILE_BYTES)
        except OSError as error:
            raise self._failure(path, error) from error

    def _exists(self, path: str) -> bool:
        self._catch_up()
        for layer in self._layers:
            entry = layer.get(path)
            if entry is not None:
                return not isinstance(entry, Absent)
        try:
            return self._fs.kind(path) is not None
        except OSError as error:
            raise self._failure(path, error) from error

    def _size(self, path: str) -> int:
        self._catch_up()
        for layer in self._layers:
            entry = layer.get(path)
            if entry is None:
                continue
            if isinstance(entry, Whole):
                return len(entry.data)
            return entry.offset + len(entry.data) if isinstance(entry, Tail) else 0
        try:
            return self._fs.size(path) or 0
        except OSError as error:
            raise self._failure(path, error) from error

    def _names(self, folder: str) -> list[str]:
        self._catch_up()
        try:
            names = self._fs.names(folder)
        except OSError as error:
            raise self._failure(folder, error) from error
        if not any(layer.names(folder) for layer in self._layers):
            return names
        present = dict.fromkeys(names)
        for layer in reversed(self._layers):
            for name, entry in layer.names(folder).items():
                if isinstance(entry, (Whole, Tail, Target)):
                    present[name] = None
                else:
                    present.pop(name, None)
        return list(present)

    def _failure(self, path: str, error: OSError) -> Exception:
        if error.errno in _NOT_OURS or error.errno in {errno.EINVAL, errno.EFBIG}:
            reason = _NOT_OURS.get(error.errno) or error.strerror or str(error)
            return StoreCorruptedError(f"{self._root}/{path}", reason)
        return error
