"""A copy of the tree's files as they were at one moment, taken without keeping writers waiting.

How it is made: note where the journal stands; copy file by file, each whenever its turn comes; meanwhile, and once more
at the end, take from the journal what the changes since then did; lay that over the copies.

Why that is one moment, the outcome of the transaction T that the head said was begun when the last file was copied:

1. Whatever was in the tree before the first file was copied is in the copies, or in a record that was taken: all from
   the one behind the head's "published" on. (If a publication or a recovery was cut off there, all that the journal
   holds.)
2. No copy holds anything of a transaction after T: none of their steps had been done by then, since the head tells
   "begun" before the first of a transaction's steps.
3. A copy may hold some of what the records up to T did and lack the rest. That does no harm, for the reason that makes
   recovery work (FORMAT.md, "Crashes"): steps state outcomes, every path that they name gets its last state, and all of
   these records are laid over the copies. A file that only grew is as long as the first of them found it, or longer,
   and the bytes up to there are the same at any time.
4. A folder's listing may miss or show a name that is made, removed or renamed at that time. That is in a record, too.
5. Records up to "begun" are durable, so nothing is in it that could be undone.

A reader of a store that was cut off, and not brought up to date since, takes every record there is, as the next opening
will.

The journal keeps a record until its file is written over: megabytes later. It is read again before each file, so to be
overtaken takes writers that fill it twice while one file is read, or a process that was stopped. Then all of it is done
again, and after some attempts under the change lock, where nothing is published.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from execstore.errors import StoreCorruptedError
from execstore.tree import recovery
from execstore.tree.paths import decode_name, segment_first, stem
from execstore.tree.reader import MAXIMUM_FILE_BYTES
from execstore.tree.steps import Overlay, Tail, Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.head import Head, HeadFile
    from execstore.tree.journal import JournalFiles, Record
    from execstore.tree.layout import Layout
    from execstore.tree.lock import Lock

__all__ = ["Moment", "Source", "take_moment"]

_ATTEMPTS = 3
# The head can't be read while it is written, which takes microseconds. If it can't be for this long, its writer died.
_HEAD_PATIENCE_SECONDS = 1.0
_STUCK_SECONDS = 0.05  # a publication that takes longer was cut off, or its process was stopped
_PAUSE_SECONDS = 0.0002

# What a damaged file gives; anything else (no memory, no descriptors left) says nothing about the file.
_UNREADABLE = {
    errno.ELOOP: "it is a symbolic link",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "its folder is no folder",
    errno.EINVAL: "it is not a regular file",
    errno.EFBIG: "it is too large",
    errno.EIO: "the disk can't read it",
    errno.EACCES: "it may not be read by this user",
    errno.EPERM: "it may not be read by this user",
}


class Source(NamedTuple):
    """The open files of a tree. ``cut_line``: the head's first line if the store was cut off, and this handle must not
    bring it up to date."""

    fs: FileSystem
    root: str
    layout: Layout
    journal: JournalFiles
    head: HeadFile
    change_lock: Lock
    cut_line: bytes | None


class Moment:
    """The files of one moment. ``values`` are the head's; ``unreadable`` has a reason for each file or folder that
    stands in a place of the store's and couldn't be read."""

    def __init__(self, spool: BinaryIO) -> None:
        self.transaction = 0
        self.values: Mapping[str, Any] = {}
        self.unreadable: dict[str, str] = {}
        self._spool = spool
        self._copied: dict[str, dict[str, tuple[int, int]]] = {}
        self._overlay = Overlay()

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted."""
        names = set(self._copied.get(folder, ()))
        for name, entry in self._overlay.names(folder).items():
            if isinstance(entry, Whole | Tail):
                names.add(name)
            else:
                names.discard(name)
        return sorted(names)

    def read(self, path: str) -> bytes | None:
        """A file's bytes, ``None`` if there is none."""
        entry = self._overlay.get(path)
        if entry is None:
            return self._read_copy(path)
        if isinstance(entry, Whole):
            return entry.data
        if isinstance(entry, Tail):
            return (self._read_copy(path) or b"")[: entry.offset] + entry.data
        return None

    def _read_copy(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        place = self._copied.get(folder, {}).get(name)
        if place is None:
            return None
        self._spool.seek(place[0])
        return self._spool.read(place[1])

    def add_copy(self, path: str, data: bytes) -> None:
        """Keep the bytes of a file."""
        folder, _, name = path.rpartition("/")
        self._copied.setdefault(folder, {})[name] = (self._spool.tell(), len(data))
        self._spool.write(data)

    def lay_over(self, record: Record) -> None:
        """Do what the next transaction did."""
        self._overlay.apply(record.steps)
        self.transaction = record.transaction
        self.values = record.values

    def finish(self) -> None:
        """Forget what turned out not to count."""
        for path in [path for path in self.unreadable if self._overlay.get(path) is not None]:
            del self.unreadable[path]


class _OvertakenError(Exception):
    """The journal was written over before it was read."""


def take_moment(source: Source, spool: BinaryIO) -> Moment:
    """Copy all files of the layers above; ``spool``, an empty temporary file, takes their bytes.

    Raises:
        StoreCorruptedError: neither journal file holds a valid record.
        StoreBusyError: the change lock was needed, and wasn't had in time.
        OSError: the system refused a call, or ``spool`` is full.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(_OvertakenError):
            return _take(source, spool)
    with source.change_lock.held():
        try:
            return _take(source, spool)
        except _OvertakenError as error:
            raise StoreCorruptedError(f"{source.root}/journal.0", "what the head speaks of isn't in it") from error


def _take(source: Source, spool: BinaryIO) -> Moment:
    spool.seek(0)
    spool.truncate()
    moment = Moment(spool)
    follower = _Follower(source, moment)
    for folder, is_ours in _folders(source.layout):
        try:
            names = source.fs.names(folder)
        except OSError as error:
            moment.unreadable[folder] = _reason(error)
            continue
        for name in names:
            follower.follow()
            if is_ours(name):
                _copy(source.fs, f"{folder}/{name}", moment)
    follower.finish()
    moment.finish()
    return moment


def _copy(fs: FileSystem, path: str, moment: Moment) -> None:
    try:
        data = fs.read(path, MAXIMUM_FILE_BYTES)
    except OSError as error:
        moment.unreadable[path] = _reason(error)
        return
    if data is not None:  # else it was removed since its name was read
        moment.add_copy(path, data)


def _reason(error: OSError) -> str:
    reason = _UNREADABLE.get(error.errno or 0)
    if reason is None:
        raise error
    return reason


def _folders(layout: Layout) -> list[tuple[str, Callable[[str], bool]]]:
    """The folders to copy, and which names in each are the store's. The log comes first: it may be collected."""
    return [
        (layout.log, lambda name: segment_first(name) is not None),
        *((folder, lambda name: _is_name(name, ".json")) for folder in layout.records),
        *((folder, lambda name: _is_name(name, ".jsonl")) for folder in layout.lines),
    ]


def _is_name(file_name: str, suffix: str) -> bool:
    text = stem(file_name, suffix)
    if not text:
        return False
    try:
        decode_name(text)
    except ValueError:
        return False
    return True


class _Follower:
    """Takes each record of the journal once, in order, up to what the head says was begun."""

    def __init__(self, source: Source, moment: Moment) -> None:
        self._source = source
        self._moment = moment
        self._line = b""
        head = self._read_settled_head()
        if head is not None and head.begun == head.published:
            moment.transaction, moment.values = head.published, head.values
            # Where the next record is looked for: in which file, at which offset, and which one it must follow.
            self._number, self._end, self._epoch, self._checksum = head.journal, head.offset, head.epoch, head.checksum
            return
        # A publication or a recovery was cut off. What it leaves to do is in the journal, and doing more does no harm.
        journaled = recovery.read_journal(source.journal, source.root)
        first = journaled.records[0]
        self._number = journaled.number if first.epoch == journaled.chain[-1].epoch else 1 - journaled.number
        self._end, self._epoch, self._checksum = 0, first.epoch, first.previous
        moment.transaction = first.transaction - 1
        if head is None:
            for record in journaled.records:
                self._take(record)
        elif head.begun < first.transaction:
            raise _OvertakenError
        else:
            self._advance(head.begun)

    def follow(self) -> None:
        """Take what was begun since; cheap if it was nothing."""
        line = self._source.head.first_line()
        if line == self._line:
            return
        head = self._source.head.at(line)
        if head is not None:
            self._advance(head.begun)
            self._line = line

    def finish(self) -> None:
        """Take all that was begun before now."""
        head = self._read_head()
        if head is not None:
            self._advance(head.begun)
            return
        with contextlib.suppress(_OvertakenError):
            while True:
                self._take(self._next())

    def _read_settled_head(self) -> Head | None:
        """The head between two publications, if there is such a moment soon; else as it is."""
        deadline = time.monotonic() + _STUCK_SECONDS
        while True:
            head = self._read_head()
            if head is None or head.begun == head.published or time.monotonic() > deadline:
                return head
            time.sleep(_PAUSE_SECONDS)

    def _read_head(self) -> Head | None:
        """The head; ``None`` if every record there is counts, as the store was cut off or its head is damaged."""
        deadline = time.monotonic() + _HEAD_PATIENCE_SECONDS
        while True:
            line = self._source.head.first_line()
            self._line = line
            if line == self._source.cut_line:
                return None
            head = self._source.head.at(line)
            if head is not None:
                return head
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE_SECONDS)

    def _advance(self, transaction: int) -> None:
        while self._moment.transaction < transaction:
            self._take(self._next())

    def _next(self) -> Record:
        journal, after = self._source.journal, self._moment.transaction
        record = journal.read_at(self._number, self._end)
        if record is not None and record.continues(after, self._epoch, self._checksum):
            return record
        record = journal.read_at(1 - self._number, 0)
        if record is not None and record.continues(after, self._epoch + 1, self._checksum):
            return record
        raise _OvertakenError

    def _take(self, record: Record) -> None:
        if record.epoch != self._epoch:
            self._number = 1 - self._number
        self._end, self._epoch, self._checksum = record.end, record.epoch, record.checksum
        self._moment.lay_over(record)
