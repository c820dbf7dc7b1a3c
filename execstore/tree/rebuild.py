"""Making the engine's own files anew in a store that nobody has open and that can't be opened without them.

What is damaged goes to ``quarantine/``, nothing is deleted. Which journal may be made anew, and from what:

- The head is clean: the tree durably holds all there is, so the journal's records aren't needed.
- The head isn't clean, but the file that is left holds the place where the head ended: the other one is older, and the
  tree held all of it durably before this one was begun.
- Else what the lost file held and the tree didn't is lost. An older chain must not be replayed: it would put back
  what paths held long ago. The tree is taken as it is, and ``unflushed`` makes the next opening check all of it.

The old journals are out of the way before the new head is there, and the new journals come last: wherever this is cut
off, the store can't be opened, and doing it again goes on from there.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from execstore.errors import ExecStoreError, StoreCorruptedError
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.format_file import Format, encode_format
from execstore.tree.head import Head, encode_head, parse_head
from execstore.tree.journal import JournalFiles, Record, encode_record, parse_record, seed
from execstore.tree.lock import Handles, Lock
from execstore.tree.making import read_format
from execstore.tree.names import (
    CHANGE_LOCK_PATH,
    FLUSH_LOCK_PATH,
    FORMAT_PATH,
    HANDLES_PATH,
    HEAD_PATH,
    JOURNAL_PATHS,
    NEW_NAME,
    UNFLUSHED_PATH,
    engine_names,
)
from execstore.tree.names_apart import names_seen, with_names
from execstore.tree.publish import put_file
from execstore.tree.quarantine import set_aside
from execstore.tree.reader import Reader
from execstore.tree.refusal import refused_before
from execstore.tree.tree import JOURNAL_BYTES, SEGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.layout import Layout

__all__ = ["Rebuilt", "rebuild"]

_MAXIMUM_BYTES = 1 << 30
_HEAD_MAXIMUM = 65536
_SMALLEST_JOURNAL_BYTES = 4096  # a shorter file was cut


class Rebuilt(NamedTuple):
    """A file that was made anew, why, and where the old one lies (empty if there was none)."""

    path: str
    action: str
    quarantined: str = ""


def rebuild(
    path: str,
    layout: Layout,
    values_of: Callable[[Reader, Mapping[str, Any]], Mapping[str, Any]],
    lock_timeout_seconds: float = 30.0,
) -> list[Rebuilt]:
    """Make anew what the store at ``path`` can't be opened without. Nothing is done where there is no need.

    ``values_of`` tells the head's values from the tree and from those of an older head (empty if there is none).

    Raises:
        StoreBusyError: a handle has the store open.
        UnsupportedFormatError: it is of another version.
        StoreReadOnlyError, StoreFullError, StoreFailedError: the disk refuses.
    """
    if not os.path.isdir(path):
        return []
    try:
        return _rebuild(path, layout, values_of, lock_timeout_seconds)
    except OSError as error:
        if isinstance(error, ExecStoreError):
            raise
        raise refused_before(path, error) from error


def _rebuild(
    path: str,
    layout: Layout,
    values_of: Callable[[Reader, Mapping[str, Any]], Mapping[str, Any]],
    lock_timeout_seconds: float,
) -> list[Rebuilt]:
    fs: FileSystem = RealFileSystem(path)
    if fs.remote_kind() is not None:
        return []  # opening it says so
    try:
        form = read_format(fs, path)
    except StoreCorruptedError:
        form = None
    if form is None and not _is_ours(fs, layout):
        return []
    names = form.names if form is not None else names_seen(fs, layout)
    fs = with_names(fs, path, layout, names)
    done = [_make_lock(fs, name) for name in (CHANGE_LOCK_PATH, FLUSH_LOCK_PATH, HANDLES_PATH) if _is_wrong(fs, name)]
    change_lock = Lock(fs, CHANGE_LOCK_PATH, path, lock_timeout_seconds, write=True)
    flush_lock = Lock(fs, FLUSH_LOCK_PATH, path, lock_timeout_seconds, write=True, inner=change_lock)
    handles = Handles(fs, write=True)
    with flush_lock.held(), change_lock.held():
        if handles.are_none():
            done += _Rebuilding(fs, path, layout, form, names).run(values_of)
        elif form is None or any(_is_wrong(fs, name) for name in (HEAD_PATH, *JOURNAL_PATHS)):
            raise change_lock.busy()
    fs.sync_folder("")
    return done


def _is_wrong(fs: FileSystem, path: str) -> bool:
    return fs.kind(path) != "file"


def _is_ours(fs: FileSystem, layout: Layout) -> bool:
    """Whether a folder without a FORMAT that can be read is a store for certain, and not one in the making."""
    if not set(fs.names("")) <= engine_names(layout):
        return False
    if any(fs.kind(folder) != "folder" for folder in layout.folders()):
        return False
    return fs.kind(FORMAT_PATH) is not None or any(fs.names(folder) for folder in layout.folders())


def _make_lock(fs: FileSystem, path: str) -> Rebuilt:
    place = _out_of_the_way(fs, path, "it is not a regular file")
    fs.close(fs.open(path, write=True, create=True))
    return Rebuilt(path, "made anew: a lock's file is empty", place)


def _out_of_the_way(fs: FileSystem, path: str, reason: str) -> str:
    return "" if fs.kind(path) is None else set_aside(fs, path, reason)


class _Rebuilding:
    """What is known of the store, and what follows. Both locks are held, and nobody has it open."""

    def __init__(self, fs: FileSystem, root: str, layout: Layout, form: Format | None, names: str) -> None:
        self._fs = fs
        self._root = root
        self._layout = layout
        self._has_format = form is not None
        sizes = [] if form is not None else [fs.size(path) or 0 for path in JOURNAL_PATHS if not _is_wrong(fs, path)]
        size = min(max(sizes, default=0), JOURNAL_BYTES)
        size = size if size >= _SMALLEST_JOURNAL_BYTES else JOURNAL_BYTES
        self._form = form or Format(secrets.token_hex(8), size, SEGMENT_BYTES, names=names)
        data = None if _is_wrong(fs, HEAD_PATH) else fs.read(HEAD_PATH, _HEAD_MAXIMUM)
        self._head = parse_head(data or b"")
        self._chains = [self._chain(path) for path in JOURNAL_PATHS]
        self._done: list[Rebuilt] = []

    def run(self, values_of: Callable[[Reader, Mapping[str, Any]], Mapping[str, Any]]) -> list[Rebuilt]:
        wrong = [path for path in JOURNAL_PATHS if _is_wrong(self._fs, path)]
        if self._has_format and self._suffices(is_whole=not wrong):
            for path in wrong:
                self._make_older_journal(path)
            if _is_wrong(self._fs, HEAD_PATH):
                place = _out_of_the_way(self._fs, HEAD_PATH, "it is not a regular file")
                self._fs.create(HEAD_PATH, b"")
                self._done.append(Rebuilt(HEAD_PATH, "made anew: the journal tells what belongs there", place))
        elif self._is_clean():
            self._make_anew({} if self._head is None else self._head.values)
            self._tell(JOURNAL_PATHS[0], "made anew: the store was closed in peace, so nothing is lost")
        else:
            reader = Reader(self._fs, self._root)
            values = values_of(reader, {} if self._head is None else self._head.values)
            put_file(self._fs, UNFLUSHED_PATH, b"The journal was lost. The next opening checks the store.\n")
            self._fs.sync(self._every_path())
            self._fs.sync_folder("")
            self._make_anew(values)
            self._tell(JOURNAL_PATHS[0], "made anew: changes that were in the old journal only may be lost")
        if not self._has_format:
            place = _out_of_the_way(self._fs, FORMAT_PATH, "it can't be read")
            self._put(FORMAT_PATH, encode_format(self._form))
            self._done.append(Rebuilt(FORMAT_PATH, "made anew, with a new store_id", place))
        return self._done

    def _tell(self, path: str, action: str) -> None:
        self._done.append(Rebuilt(path, action))

    # --- what there is ---

    def _chain(self, path: str) -> Sequence[Record]:
        """The records of one journal file, as `JournalFiles.chain` has them; none if there is no such file."""
        if not self._has_format or _is_wrong(self._fs, path):
            return ()
        data = self._fs.read(path, _MAXIMUM_BYTES) or b""
        records: list[Record] = []
        try:
            record = parse_record(data, 0, seed(self._form.store_id))
            while record is not None and (not records or records[-1].is_followed_by(record)):
                records.append(record)
                record = parse_record(data, record.end, seed(self._form.store_id))
        except (ValueError, KeyError, TypeError):
            pass  # a record of no sense ends the chain
        return records

    def _suffices(self, *, is_whole: bool) -> bool:
        """Whether an opening can go by the journal: it reaches the place where the head ended.

        ``is_whole``: neither file is missing.
        """
        head = self._head
        chains = [chain for chain in self._chains if chain]
        if not chains:
            return False
        if head is None:
            return is_whole
        if any(chain[0].epoch > head.epoch for chain in chains):
            return True  # the head is out of date, as it may be after a power cut
        ends = {(record.epoch, record.end, record.checksum) for chain in chains for record in chain}
        if (head.epoch, head.offset, head.checksum) in ends:
            return True
        # Nothing was written since the other file was turned to; or flushes were left out, so that any end may be torn.
        is_turned = head.offset == 0 and any(chain[-1].checksum == head.checksum for chain in chains)
        return is_whole and (is_turned or self._fs.kind(UNFLUSHED_PATH) is not None)

    def _is_clean(self) -> bool:
        head = self._head
        return head is not None and head.clean and head.begun == head.published

    def _every_path(self) -> Iterator[str]:
        """Every file and folder of the tree, for file systems that can't be flushed as a whole."""
        layout = self._layout
        for folder in layout.folders():
            if self._fs.kind(folder) != "folder":
                continue
            for name in self._fs.names(folder):
                path = f"{folder}/{name}"
                if folder not in layout.indexes:
                    yield path
                elif self._fs.kind(path) == "folder":
                    yield from (f"{path}/{member}" for member in self._fs.names(path))
        yield UNFLUSHED_PATH

    # --- what is made ---

    def _make_older_journal(self, path: str) -> None:
        place = _out_of_the_way(self._fs, path, "it is not a regular file")
        self._fs.create(path, b"\n" * self._form.journal_bytes)
        self._flush(path)
        self._done.append(Rebuilt(path, "made anew: the other journal file has all that isn't in the tree", place))

    def _make_anew(self, values: Mapping[str, Any]) -> None:
        """Both journal files and the head, so that the tree is the outcome of the only record there is."""
        fs, head = self._fs, self._head
        known = [record for chain in self._chains for record in chain]
        transaction = max([head.published if head else 0, *(record.transaction for record in known)]) + 1
        epoch = max([head.epoch if head else 0, *(record.epoch for record in known)]) + 1
        for path in JOURNAL_PATHS:
            place = _out_of_the_way(fs, path, "it is damaged, or belongs to one that is")
            if place:
                self._done.append(Rebuilt(path, "set aside", place))
        if fs.kind(HEAD_PATH) is not None and head is None:
            self._done.append(Rebuilt(HEAD_PATH, "set aside: it can't be read", set_aside(fs, HEAD_PATH, "damaged")))
        fs.sync_folder("")
        first, checksum = encode_record(transaction, epoch, 0, (), values, seed(self._form.store_id))
        after = Head(
            begun=transaction,
            published=transaction,
            journal=0,
            epoch=epoch,
            offset=len(first),
            checksum=checksum,
            clean=True,
            values=values,
        )
        self._put(HEAD_PATH, encode_head(after))
        JournalFiles.make(fs, max(self._form.journal_bytes, len(first)), first)

    def _put(self, path: str, data: bytes) -> None:
        """Give a file its content at one stroke, durably."""
        if self._fs.kind(NEW_NAME) is not None:
            set_aside(self._fs, NEW_NAME, "a file in the making")
        self._fs.create(NEW_NAME, data)
        self._flush(NEW_NAME)
        self._fs.rename(NEW_NAME, path)
        self._fs.sync_folder("")

    def _flush(self, path: str) -> None:
        descriptor = self._fs.open(path, write=True)
        try:
            self._fs.flush(descriptor)
        finally:
            self._fs.close(descriptor)
