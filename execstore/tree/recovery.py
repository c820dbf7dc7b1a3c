"""Telling a clean store from one that was cut off, and bringing the latter up to date.

The argument why this is enough stands in FORMAT.md under "Crashes".
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from execstore.errors import StoreCorruptedError
from execstore.tree import reserve
from execstore.tree.head import Head, HeadFile
from execstore.tree.names import JOURNAL_PATHS, UNFLUSHED_PATH
from execstore.tree.publish import publish
from execstore.tree.refusal import FULL

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem
    from execstore.tree.journal import JournalFiles, Record

__all__ = [
    "Journaled",
    "head_after",
    "is_clean",
    "read_journal",
    "recover",
]

_LOG = logging.getLogger("execstore")


@dataclass(frozen=True, slots=True)
class Journaled:
    """What both journal files hold: the records that a recovery replays, and where the newest chain stands."""

    records: tuple[Record, ...]
    number: int  # of the file with the newest chain
    chain: tuple[Record, ...]


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
