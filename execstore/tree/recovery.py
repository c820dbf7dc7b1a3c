"""Opening: making a store, telling a clean one from one that was cut off, and bringing the latter up to date.

The argument why this is enough stands in FORMAT.md under "Crashes".
"""

from __future__ import annotations

import contextlib
import errno
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from execstore.errors import NotAStoreError, StoreCorruptedError, StoreNotFoundError
from execstore.tree import reserve
from execstore.tree.format_file import Format, encode_format, parse_format
from execstore.tree.head import Head, HeadFile
from execstore.tree.journal import JournalFiles, Record, encode_record, seed
from execstore.tree.names import FORMAT_PATH, HEAD_PATH, JOURNAL_PATHS, NEW_NAME, UNFLUSHED_PATH, engine_names
from execstore.tree.names_apart import names_for
from execstore.tree.publish import publish
from execstore.tree.refusal import FULL

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem
    from execstore.tree.layout import Layout

__all__ = [
    "FIRST_TRANSACTION",
    "Journaled",
    "check_place",
    "head_after",
    "is_clean",
    "make_store",
    "read_format",
    "read_journal",
    "recover",
]

_LOG = logging.getLogger("execstore")
FIRST_TRANSACTION = 1
_FORMAT_MAXIMUM = 65536


@dataclass(frozen=True, slots=True)
class Journaled:
    """What both journal files hold: the records that a recovery replays, and where the newest chain stands."""

    records: tuple[Record, ...]
    number: int  # of the file with the newest chain
    chain: tuple[Record, ...]


def read_format(fs: FileSystem, root: str) -> Format | None:
    """The store's FORMAT, ``None`` if there is no such file.

    Raises:
        UnsupportedFormatError: of another version.
        StoreCorruptedError: it can't be read.
    """
    try:
        data = fs.read(FORMAT_PATH, _FORMAT_MAXIMUM)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EISDIR}:
            raise StoreCorruptedError(f"{root}/{FORMAT_PATH}", error.strerror or str(error)) from error
        raise
    return None if data is None else parse_format(data, root)


def check_place(fs: FileSystem, root: str, layout: Layout, *, may_create: bool) -> None:
    """See that a folder without FORMAT may become a store; nothing is changed.

    Raises:
        NotAStoreError: there are other things in it.
        StoreCorruptedError: it is a store whose FORMAT is gone.
        StoreNotFoundError: it may not be made.
    """
    names = set(fs.names(""))
    strangers = sorted(names - engine_names(layout))
    if strangers:
        raise NotAStoreError(root, f"it is a folder with other things in it ({strangers[0]})")
    if any(fs.names(folder) for folder in layout.folders()):
        raise StoreCorruptedError(root, "FORMAT is missing though there is data")
    if not may_create:
        raise StoreNotFoundError(root)


def make_store(fs: FileSystem, layout: Layout, journal_bytes: int, segment_bytes: int) -> Format:
    """Make an empty store in a folder that `check_place` passed, under the change lock.

    FORMAT comes last, after all else is durable: a folder without it is no store yet, and making it starts over.
    """
    form = Format(secrets.token_hex(8), journal_bytes, segment_bytes, names=names_for(fs))
    for folder in layout.folders():
        with contextlib.suppress(FileExistsError):
            fs.make_folder(folder)
    for alias, collection in layout.aliases().items():
        if fs.kind(alias) != "file" and fs.link_target(alias) != collection:  # a file where links can't be had
            fs.link(alias, collection)
    reserve.ensure(fs)
    if fs.kind(NEW_NAME) is not None:  # a making that was cut off
        fs.remove(NEW_NAME)
    # The first record changes nothing. It is there so that there always is a newest record, from which the head can
    # be rebuilt.
    first, checksum = encode_record(FIRST_TRANSACTION, 1, 0, (), {}, seed(form.store_id))
    JournalFiles.make(fs, journal_bytes, first)
    head = Head(
        begun=FIRST_TRANSACTION,
        published=FIRST_TRANSACTION,
        journal=0,
        epoch=1,
        offset=len(first),
        checksum=checksum,
        clean=True,
    )
    HeadFile.make(fs, head)
    _flush_file(fs, HEAD_PATH)
    fs.sync_folder("")
    fs.create(NEW_NAME, encode_format(form))
    _flush_file(fs, NEW_NAME)
    fs.rename(NEW_NAME, FORMAT_PATH)
    fs.sync_folder("")
    return form


def _flush_file(fs: FileSystem, path: str) -> None:
    descriptor = fs.open(path, write=True)
    try:
        fs.flush(descriptor)
    finally:
        fs.close(descriptor)


def head_after(record: Record, number: int, retired: int = 0) -> Head:
    """The head once everything up to this record of journal file ``number`` is published; ``retired`` as in `Head`."""
    return Head(
        begun=record.transaction,
        published=record.transaction,
        journal=number,
        epoch=record.epoch,
        offset=record.end,
        checksum=record.checksum,
        clean=False,
        values=record.values,
        retired=retired,
    )


def is_clean(fs: FileSystem, journal: JournalFiles, head: Head | None) -> bool:
    """Whether the tree durably holds all there is: the head says so, and no record came after it."""
    if head is None or not head.clean or head.begun != head.published:
        return False
    # Of relaxed changes a power cut may leave anything: parts of the tree while the head is still the one before them
    # and the journal has none of them.
    if fs.kind(UNFLUSHED_PATH) is not None:
        return False
    following = journal.read_at(head.journal, head.offset)
    if following is not None and following.continues(head.published, head.epoch, head.checksum):
        return False
    other = journal.read_at(1 - head.journal, 0)
    return other is None or other.epoch <= head.epoch


def read_journal(journal: JournalFiles, root: str) -> Journaled:
    """Read both files.

    Raises:
        StoreCorruptedError: there is no valid record in either.
    """
    chains = [(journal.chain(number), number) for number in range(len(JOURNAL_PATHS))]
    chains = sorted((pair for pair in chains if pair[0]), key=lambda pair: pair[0][0].epoch)
    if not chains:
        raise StoreCorruptedError(f"{root}/{JOURNAL_PATHS[0]}", "neither journal file holds a valid record")
    newest, number = chains[-1]
    records = list(newest)
    if len(chains) > 1:
        older = chains[0][0]
        last = older[-1]
        if newest[0].continues(last.transaction, last.epoch + 1, last.checksum):
            records = [*older, *newest]
        else:
            # Its place is being written over, which is only done once the tree holds all of it durably.
            _LOG.info("%s: the older journal is partly written over, as it may be", root)
    return Journaled(tuple(records), number, tuple(newest))


def recover(fs: FileSystem, journal: JournalFiles, head_file: HeadFile, root: str) -> Head:
    """Bring the tree up to date from the journal, whatever state a power cut left it in, and give the new head.

    The caller holds both locks. The head is written as unsettled first and settled by the caller in the end, so that
    readers wait.
    """
    journaled = read_journal(journal, root)
    before = head_file.read()
    last = journaled.chain[-1]
    # Records that no head speaks of may be in memory only (their process died before the flush, or its flush failed).
    # Once they are shown they must be on disk.
    known = before.published if before is not None and before.epoch == last.epoch else 0
    start = 0
    for record in journaled.chain:
        if record.transaction > known:
            journal.rewrite(journaled.number, start, last.end)
            break
        start = record.end
    first = journaled.records[0].transaction
    after = head_after(last, journaled.number)
    head_file.write(after._replace(published=min(first, last.transaction) - 1))
    _LOG.info("%s: bringing the tree up to date, transactions %d to %d", root, first, last.transaction)
    try:
        publish(fs, journaled.records, was_cut_off=True)
    except OSError as error:
        if error.errno not in FULL:
            raise
        reserve.release(fs)
        publish(fs, journaled.records, was_cut_off=True)
    return after
