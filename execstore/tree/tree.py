"""The tree: one open handle on a store's folder.

The way of a change, in three short phases so that many threads and processes can share one flush:

1. *stage*, under the change lock: decide against what is committed and staged, and write one record into the journal;
2. *flush*, under the flush lock: one fdatasync makes every record staged so far durable, whoever wrote it;
3. *publish*, under both: bring those records into the tree, in order, and say so in the head.

A change is committed once its record is flushed, and its caller returns once it is published. Whoever holds the
change lock and finds a publication that was cut off finishes it first: its records are durable.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from execstore.errors import (
    ExecStoreError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptedError,
    StoreFailedError,
    StoreFullError,
    StoreReadOnlyError,
)
from execstore.tree import recovery, reserve
from execstore.tree.access import warn_once
from execstore.tree.change import Change
from execstore.tree.combining import Combining
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.grouping import Grouping
from execstore.tree.head import Head, HeadFile
from execstore.tree.journal import JournalFiles, Record, encode_record, seed
from execstore.tree.kept import KEPT_BYTES, Kept
from execstore.tree.lock import Handles, Lock
from execstore.tree.making import FIRST_TRANSACTION, find_store, make_place, make_store
from execstore.tree.names import (
    CHANGE_LOCK_PATH,
    FLUSH_LOCK_PATH,
    HEAD_PATH,
    UNFLUSHED_PATH,
)
from execstore.tree.names_apart import NamesApart, check_file_system, check_names, with_names
from execstore.tree.publish import publish, put_file
from execstore.tree.reading import Parts, Reading
from execstore.tree.refusal import FULL, refused_after, refused_before
from execstore.tree.retirement import Retirement, in_a_thread
from execstore.tree.segments import LogReader, Rotation
from execstore.tree.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.format_file import Format
    from execstore.tree.layout import Layout
    from execstore.tree.moment import Moment
    from execstore.tree.reader import Reader
    from execstore.tree.retirement import RunLater
    from execstore.tree.staged import Place
    from execstore.tree.steps import Overlay

__all__ = ["JOURNAL_BYTES", "SEGMENT_BYTES", "Tree", "TreeStatus"]

JOURNAL_BYTES = 4 << 20
SEGMENT_BYTES = 1 << 20

_LOG = logging.getLogger("execstore")
_T = TypeVar("_T")
# So much of a journal file is used when the other one is seen to, and when the journal's turn comes: as soon as that is
# done, or, if it wasn't, at the latest.
_RETIRE_AT = 0.1
_EASE_EVERY = 0.13  # and whenever so much more is, what was published is written back; see `Retirement.ease`
_TURN_AT = 0.5
_TURN_AT_THE_LATEST = 0.75
_NO_FILE = {errno.ELOOP, errno.EISDIR, errno.EINVAL}


class TreeStatus(NamedTuple):
    """The newest transaction that is shown; how large the journal is, and how much of its present file is written."""

    transaction: int
    journal_bytes: int
    journal_used_bytes: int


class Tree:
    """An open store's folder. Safe for many threads; any number of processes may have one on the same folder."""

    def __init__(
        self,
        path: str,
        layout: Layout,
        *,
        read_only: bool = False,
        flush_commits: bool = True,
        lock_timeout_seconds: float = 30.0,
        may_create: bool = True,
        journal_bytes: int = JOURNAL_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        rotation: Callable[[Mapping[str, Any]], Rotation] | None = None,
        file_system: Callable[[str], FileSystem] = RealFileSystem,
        mend: Callable[[Change], None] | None = None,
        run_later: RunLater = in_a_thread,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Open the store at ``path``, making it if there is none and ``may_create``.

        ``journal_bytes`` and ``segment_bytes`` are for a store that is made. ``rotation`` tells from the head's values
        when this handle begins a new segment of the log, other than at ``segment_bytes``.

        ``flush_commits=False``: a change survives the death of the process, but not always a power cut; after one,
        ``mend`` is called with a change in which it may mend what it finds torn. ``run_later`` takes what needn't keep
        a commit waiting; see `execstore.tree.retirement`. ``kept_bytes``: of how many bytes of files, at most, this
        handle remembers what was made of them; see `execstore.tree.kept`.

        Raises:
            StoreNotFoundError, NotAStoreError, UnsupportedFormatError, StoreCorruptedError, StoreBusyError,
            StoreFullError, StoreReadOnlyError, UnsupportedFilesystemError: each says what to do.
        """
        self.path = path
        self._absolute_path = os.path.abspath(path)  # the process may go to another folder later
        self.layout = layout
        self.read_only = read_only
        self.process_id = os.getpid()
        self._flush_commits = flush_commits
        self._timeout_seconds = lock_timeout_seconds
        self._mend = mend
        self._rotation = rotation
        self._failure: str | None = None
        self._closed = False
        self._grouping = Grouping()
        self._kept = Kept(kept_bytes)
        self._begun_at: Head  # what the change that holds the lock began with
        self._durable = 0  # the newest transaction that this handle knows to be as durable as it promises
        self._shown = 0  # the newest one that this handle brought into the tree
        self._reserve_whole = True
        self._is_to_ease = False
        self._marked_unflushed = False
        self.on_change: Callable[[], None] | None = None  # called after each publication by this handle, locks held
        self.on_close: Callable[[], None] | None = None
        self.on_flush: Callable[[int], None] | None = None  # told the nanoseconds of each commit's flush, lock held
        may_create = may_create and not read_only
        make_place(path, may_create=may_create)
        warn_once(self._absolute_path)
        try:
            self._fs = file_system(path)
            check_file_system(self._fs, path)
            form = find_store(self._fs, path, layout, may_create=may_create)
            if form is None:
                form = make_store(self._fs, path, layout, journal_bytes, segment_bytes, lock_timeout_seconds)
            self._fs = with_names(self._fs, path, layout, form.names)
            self._open_files(form, run_later)
            self.log = LogReader(layout.log, path)
            if not read_only:
                self._enter()
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_before(self.path, error) from error

    # --- opening and closing ---

    def _open_files(self, form: Format, run_later: RunLater) -> None:
        write = not self.read_only
        self._journal_bytes = form.journal_bytes
        self._segment_bytes = form.segment_bytes
        self._rotations = (Rotation(), Rotation(form.segment_bytes))  # as asked for, and as it holds in this store
        self._seed = seed(form.store_id)
        try:
            self._change_lock = Lock(self._fs, CHANGE_LOCK_PATH, self.path, self._timeout_seconds, write=write)
            self._flush_lock = Lock(
                self._fs, FLUSH_LOCK_PATH, self.path, self._timeout_seconds, write=write, inner=self._change_lock
            )
            self._combining = Combining(self._change_lock)
            self._handles = Handles(self._fs, write=write)
            self._journal = JournalFiles(self._fs, self._seed, write=write)
            self._head = HeadFile(self._fs, write=write)
            self._staged = Staged(self._journal)
            self._retirement = Retirement(self._fs, self._journal, run_later)
            self._reading = self._make_reading()
        except FileNotFoundError as error:
            raise StoreCorruptedError(f"{self.path}/{error.filename}", "the file is missing") from error
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise StoreCorruptedError(f"{self.path}/{error.filename}", "it is not a regular file") from error

    def _make_reading(self) -> Reading:
        parts = Parts(
            self._fs,
            self.path,
            self._head,
            self._journal,
            self._change_lock,
            self._flush_lock,
            self._handles,
            self._kept,
            self._timeout_seconds,
        )
        return Reading(parts, read_only=self.read_only)

    def _enter(self) -> None:
        """Join the handles of this store; the first one brings it up to date."""
        with self._flush_lock.held(), self._change_lock.held():
            alone = self._handles.are_none()
            head = self._head.read()
            if head is None or (alone and not recovery.is_clean(self._fs, self._journal, head)):
                self._settle(recovery.recover(self._fs, self._journal, self._head, self.path), alone=alone)
            elif not alone:
                self._adopt(head)
            if self._head_now().published == FIRST_TRANSACTION:
                # Who made the store may have died before its last step: making the name of FORMAT durable.
                self._fs.sync_folder("")
            self._reserve_whole = reserve.is_whole(self._fs)
            self._handles.join()

    def _settle(self, head: Head, *, alone: bool) -> None:
        """Write the head in the end of a recovery, and mend what relaxed durability may have torn before that."""
        self._staged.clear()
        self._kept.clear()
        if not alone:
            # Whoever retired a file before may still come to say so in the head. It must be true again by then.
            self._make_durable()
            head = head._replace(retired=head.epoch - 1)
        elif self._fs.kind(UNFLUSHED_PATH) is not None:
            _LOG.warning("%s: it was cut off with unflushed changes; checking it", self.path)
            change = self._new_change((), head.values, head.published)
            if self._mend is not None:
                self._mend(change)
            if not change.is_empty:
                record = self._write_record(change, head, self._staged.place_after(head))
                self._journal.flush(head.journal)
                publish(self._fs, [record])
                head = recovery.head_after(record, head.journal)
            self._retirement.sync(0, 1)
            self._fs.remove(UNFLUSHED_PATH)
        self._head.write(head)

    def _make_durable(self) -> None:
        """Have the tree durably hold all that is published."""
        try:
            self._retirement.sync(0, 1)
        except OSError as error:
            raise self._fail_to_sync(error) from error

    def _adopt(self, head: Head) -> None:
        """Make sure that what others staged and this handle may come to publish really is on disk."""
        records = self._staged.refresh(head)
        if records:
            self._journal.rewrite(head.journal, head.offset, records[-1].end)
            self._publish(records, head)

    def close(self) -> None:
        """Close the handle; the last one leaves the store clean, so that the next opening has nothing to do."""
        if self._closed:
            return
        self._closed = True
        if not self.read_only and os.getpid() == self.process_id:
            try:
                if self._failure is None:
                    self._leave()
            finally:
                self._handles.leave()
        if self.on_close is not None:
            self.on_close()

    def _leave(self) -> None:
        try:
            with self._flush_lock.held(), self._change_lock.held():
                head = self._head.read()
                if head is None or head.begun != head.published or head.clean or self._staged.refresh(head):
                    return  # another handle is at work, or the next opening has to mend something first
                if self._handles.are_none():
                    self._retirement.sync(0, 1)
                    if self._marked_unflushed or self._fs.kind(UNFLUSHED_PATH) is not None:
                        self._fs.remove(UNFLUSHED_PATH)
                        self._fs.sync_folder("")
                    self._head.write(head._replace(clean=True))
                    self._head.flush()
        except (OSError, ExecStoreError) as error:
            # Nothing is lost: the journal holds it all, and the next opening replays it.
            _LOG.warning("%s: not closed cleanly (%s); the next opening brings it up to date", self.path, error)

    def abandon(self) -> None:
        """Let go of everything without a word to the disk: for a child that inherited this handle by a fork.

        Closing a descriptor doesn't release a lock that the parent has through its own; unlocking would.
        """
        self._closed = True
        for part in (self._handles, self._change_lock, self._flush_lock, self._journal, self._head):
            with contextlib.suppress(OSError):
                part.close()
        if isinstance(self._fs, RealFileSystem | NamesApart):
            self._fs.dispose()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def head_path(self) -> str:
        """The file that every publication writes to, for those who wait for one."""
        return os.path.join(self._absolute_path, HEAD_PATH)

    # --- reading ---

    def peek(self) -> Mapping[str, Any] | None:
        """The head's values, for no more than a system call; ``None`` if only `read` can tell."""
        self._check_open()
        return self._reading.peek()

    def read(self, look: Callable[[Reader], _T]) -> _T:
        """Call ``look`` with a reader of one moment, the outcome of one transaction, and give what it returns.

        No lock is taken; ``look`` may be called several times, and what it raises on a moving tree is forgotten.
        """
        self._check_open()
        try:
            return self._reading.read(look, self)
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_before(self.path, error) from error

    def moment(self, spool: BinaryIO) -> Moment:
        """A copy of all files at one moment, without keeping writers waiting; see ``moment``.

        ``spool``, an empty temporary file, takes their bytes.

        Raises:
            OSError: ``spool``'s disk is full.
            StoreCorruptedError, StoreBusyError, StoreFailedError, StoreClosedError
        """
        from execstore.tree.moment import Source, take_moment  # noqa: PLC0415 - only who copies pays for it

        self.read(lambda _: None)  # finds out whether the store was cut off
        cut_line = self._reading.cut_line
        source = Source(self._fs, self.path, self.layout, self._journal, self._head, self._change_lock, cut_line)
        try:
            return take_moment(source, spool)
        except OSError as error:
            if isinstance(error, ExecStoreError) or error.errno in FULL:
                raise
            raise refused_before(self.path, error) from error

    # --- changing ---

    def change(self, operation: Callable[[Change], _T]) -> _T:
        """Do one change: call ``operation`` with an empty one, commit it, and give what ``operation`` returned.

        Another thread that changes the tree at the same time may do it along with its own; see
        `execstore.tree.combining`. ``operation`` is called again if that thread was interrupted in it.

        Raises:
            Exception: what ``operation`` raises. Nothing happened then; as in `reject`.
            ExecStoreError: what `begin` and `commit` raise.
        """
        self._check_writable()
        return self._combining.change(operation, self, self._timeout_seconds)

    def begin(self) -> Change:
        """Take the change lock and give an empty change. It must end in `commit` or `rollback`.

        Raises:
            StoreBusyError: the lock wasn't had in time.
            StoreFullError: the disk is full, and nothing can be promised until there is room.
            StoreFailedError, StoreClosedError, StoreReadOnlyError
        """
        self._check_writable()
        attempt = object()
        try:
            self._change_lock.acquire(attempt=attempt)
            return self._begin_locked(attempt)
        except BaseException:
            self._change_lock.release(attempt)
            raise

    def try_begin(self) -> Change | None:
        """As `begin`, but ``None`` at once if somebody else has the lock."""
        self._check_writable()
        attempt = object()
        try:
            return self._begin_locked(attempt) if self._change_lock.try_acquire(attempt) else None
        except BaseException:
            self._change_lock.release(attempt)
            raise

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise StoreReadOnlyError(self.path)
        self._check_failure()

    def _begin_locked(self, attempt: object) -> Change:
        change = self.next_change(is_first=True)
        change.attempt = attempt
        return change

    def _end(self, change: Change) -> None:
        """Let go of the lock, if that wasn't done: called behind the work and, whatever is raised, once more.

        ``finally`` would call it but once, and an interrupt may come before that does anything; see ``lock``.
        """
        if change.attempt is not None:
            self._change_lock.release(change.attempt)

    def next_change(self, *, is_first: bool) -> Change:
        """See ``combining.Committer``."""
        try:
            self._check_open()
            if is_first:
                self._begun_at = self.settled_head()
                if not self._reserve_whole:
                    self._refill_reserve()
                self._staged.refresh(self._begun_at)
            head = self._begun_at
            return self._new_change(self._staged.layers(), self._staged.values_after(head), head.published)
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_before(self.path, error) from error
        except StoreFullError as error:
            if error.committed:  # that is an earlier change, which can't be shown yet
                raise StoreFullError(self.path, error.reason) from error
            raise

    def _new_change(self, layers: Sequence[Overlay], values: Mapping[str, Any], published: int) -> Change:
        if self._rotation is not None:
            asked = self._rotation(values)
            if asked is not self._rotations[0]:  # it nearly always is: every change asks
                self._rotations = (asked, asked.within(self._segment_bytes))
        return Change(self._fs, self.path, layers, values, self.layout, self._rotations[1], self._kept, published)

    @property
    def segment_bytes(self) -> int:
        """How large a segment of this store's log may become."""
        return self._segment_bytes

    def status(self) -> TreeStatus | None:
        """How far the store has come, for no more than a system call; ``None`` if the head can't be read just now."""
        self._check_open()
        head = self._head.read()
        return None if head is None else TreeStatus(head.published, 2 * self._journal_bytes, head.offset)

    def rollback(self, change: Change) -> None:
        """Forget the change and let go of the lock."""
        try:
            change.steps.clear()
            self._end(change)
        except BaseException:
            self._end(change)
            raise

    def reject(self, change: Change) -> None:
        """The same for a change that can't be, whose caller is told why.

        That may be because of what others staged and is neither durable nor shown yet. The answer must not come before
        it: who is told that an execution exists may look for it at once, or after a power cut.

        Raises:
            StoreBusyError, StoreFullError, StoreFailedError: what others staged can't be shown now.
        """
        try:
            staged = self._staged.newest
            self.rollback(change)
        except BaseException:
            self.rollback(change)
            raise
        self.await_shown(staged)

    def await_shown(self, transaction: int) -> None:
        """See ``combining.Committer``."""
        if not transaction:
            return
        try:
            self._finish(transaction)
        except StoreFullError as error:
            raise StoreFullError(self.path, error.reason) from error  # the change that is committed is another's
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_before(self.path, error) from error

    def commit(self, change: Change) -> None:
        """Make the change durable and show it. On return both are done.

        Raises:
            StoreFullError: there is no room; nothing was changed (or, if ``committed``, it is shown once there is).
            StoreFailedError: the disk refused a flush; the outcome is open.
            StoreBusyError: another process held the flush lock for too long; the outcome is open.
        """
        try:
            is_empty = change.is_empty  # what was read in it must stand, too
            transaction = self._staged.newest if is_empty else self.stage(change)
            self._end(change)
        except BaseException:
            self._end(change)
            raise
        if is_empty:
            self.await_shown(transaction)
        else:
            self.conclude(transaction)

    def conclude(self, transaction: int) -> None:
        """See ``combining.Committer``."""
        try:
            self._finish(transaction)
        except StoreBusyError as error:
            raise error.with_open_outcome() from None
        except StoreFullError as error:
            if self._durable >= transaction:
                raise
            # An earlier change can't be shown yet, so this one wasn't flushed.
            raise StoreFailedError(self.path, error.reason) from error
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_after(self.path, error, is_durable=self._durable >= transaction) from error

    def stage(self, change: Change) -> int:
        """Phase 1: the record is in the journal file, and decisions from now on reckon with it.

        Holds the change lock; gives the transaction. Raises as `commit`, of which nothing is done then.
        """
        head = self._begun_at  # the lock is held since, so it hasn't changed
        try:
            if not self._flush_commits and not self._marked_unflushed:
                self._mark_unflushed()
            record = self._write_record(change, head, self._staged.place_after(head))
        except OSError as error:
            if isinstance(error, ExecStoreError):
                raise
            raise refused_before(self.path, error) from error
        self._staged.add(record)
        return record.transaction

    def newest_staged(self) -> int:
        """See ``combining.Committer``."""
        return self._staged.newest

    def find_staged(self) -> int:
        """See ``combining.Committer``."""
        self._staged.refresh(self._begun_at)
        return self._staged.newest

    def _write_record(self, change: Change, head: Head, place: Place) -> Record:
        steps = change.finish()
        check_names(self._fs, self.path, steps)
        transaction = place.transaction + 1
        data, checksum = encode_record(transaction, head.epoch, place.checksum, steps, change.values, self._seed)
        if not reserve.fits(self._fs, len(data), len(steps)):
            raise StoreFullError(self.path, "the disk has no room (or no inodes) for this change")
        self._journal.append(head.journal, place.offset, data)
        end = place.offset + len(data)
        return Record(transaction, head.epoch, steps, change.values, place.checksum, checksum, end)

    def _finish(self, transaction: int) -> None:
        """Phases 2 and 3, for every record that is staged by now. Another thread or process may have done them."""

        def is_shown() -> bool:
            if self._shown >= transaction:
                return True
            head = self._head.read()
            return head is not None and head.published >= transaction

        attempt = object()
        try:
            if not self._flush_lock.acquire_unless(is_shown, attempt):
                return
            if self._flush_lock.was_contended:
                self._grouping.note_company()
            head = self._finish_locked(transaction)
            self._flush_lock.release(attempt)
        except BaseException:
            self._flush_lock.release(attempt)
            raise
        if head is not None:
            self._write_back(head)

    def _finish_locked(self, transaction: int) -> Head | None:
        """Gives the new head, ``None`` if another one did it."""
        head = self._head.read()
        if head is not None and head.begun == head.published and head.published >= transaction:
            return None
        self._check_failure()
        if head is None or head.begun != head.published:
            with self._change_lock.held():
                head = self.settled_head()
        records = self._gather(head)
        duration_ns = 0
        if records and (self._flush_commits or not self._staged.are_own(records)):
            started_ns = time.perf_counter_ns()
            self._flush_journal(head)
            duration_ns = time.perf_counter_ns() - started_ns
            if self.on_flush is not None:
                self.on_flush(duration_ns)
        if records:
            self._durable = records[-1].transaction
        with self._change_lock.held():
            head = self.settled_head()
            head = self._publish([record for record in records if record.transaction > head.published], head)
            if duration_ns:
                self._grouping.note_flush(duration_ns, len(records), len(self._staged.known_after(head)))
            return self._turn(head)

    def _gather(self, head: Head) -> list[Record]:
        """The records that the next flush is for; see `execstore.tree.grouping`."""
        if self._grouping.is_alone:
            records = self._staged.known_after(head)
            return records or self._staged.after(head)
        records = self._staged.after(head)
        waited_ns = quiet_ns = 0
        while self._flush_commits:
            pause_ns = self._grouping.pause_ns(len(records), waited_ns, quiet_ns)
            if not pause_ns:
                break
            time.sleep(pause_ns / 1e9)
            waited_ns += pause_ns
            found = self._staged.after(head)
            quiet_ns = quiet_ns + pause_ns if len(found) == len(records) else 0
            records = found
        return records

    def _publish(self, records: list[Record], head: Head) -> Head:
        """Phase 3. Holds the change lock; the records are durable and follow those of the head. Gives the new head."""
        if not records:
            return head
        last = records[-1]
        self._head.write(head._replace(begun=last.transaction, clean=False))
        try:
            publish(self._fs, records)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._reserve_whole = False
            reserve.release(self._fs)
            try:
                publish(self._fs, records)
            except OSError as again:
                if again.errno not in FULL:
                    raise
                raise StoreFullError(self.path, "the disk is full", committed=True) from again
        self._kept.published(head.published, records)
        # Of all handles, the one that comes past such a mark sees to it.
        every_bytes = self._journal_bytes * _EASE_EVERY
        self._is_to_ease |= last.end // every_bytes > head.offset // every_bytes
        head = recovery.head_after(last, head.journal, max(head.retired, self._retirement.retired))
        self._head.write(head)
        self._staged.forget(last.transaction)
        self._shown = last.transaction
        if self.on_change is not None:
            self.on_change()
        return head

    # --- the journal's turn ---

    def _turn(self, head: Head) -> Head:
        """Go on in the other journal file, if it is time. Holds both locks.

        What the other file holds must be durably in the tree by then. That is seen to beforehand, off the commit path;
        only where it didn't come about does a commit wait for it.
        """
        is_retired = head.retired >= head.epoch - 1
        if head.offset < self._journal_bytes * (_TURN_AT if is_retired else _TURN_AT_THE_LATEST):
            return head
        staged = self._staged.refresh(head)
        # What the new file's records build on must be durable before they are, whatever this handle's own durability.
        self._flush_journal(head)
        head = self._publish(staged, head)
        if not is_retired:
            self._make_durable()
            head = head._replace(retired=head.epoch)
        other = 1 - head.journal
        self._journal.shorten(other, self._journal_bytes)
        head = head._replace(journal=other, epoch=head.epoch + 1, offset=0, clean=False)
        self._head.write(head)
        return head

    def _write_back(self, head: Head) -> None:
        """See to it that the tree durably holds what the other file's records did; nobody waits for it.

        After that, what this file's did is written back, too, piece by piece.
        """
        if head.retired < head.epoch - 1:
            if head.offset < self._journal_bytes * _RETIRE_AT:
                return
        elif not self._is_to_ease:
            return
        handle = weakref.ref(self)  # one that is forgotten meanwhile must be able to go
        path, head_file, change_lock = self.path, self._head, self._change_lock

        def failed(error: OSError) -> None:
            # Also where this handle is closed by now: who opens the store after this is told nothing by the system.
            tree = handle()
            if tree is not None:
                tree.note_lost_writes(error)
            else:
                _tell_all(path, head_file, change_lock, error)

        if head.retired < head.epoch - 1:
            self._retirement.begin(head.epoch - 1, 1 - head.journal, failed)
        else:
            self._is_to_ease = False
            self._retirement.ease(failed)

    def note_lost_writes(self, error: OSError) -> None:
        """A sync beside the commits failed."""
        self._fail(error)
        _tell_all(self.path, self._head, self._change_lock, error)

    def _flush_journal(self, head: Head) -> None:
        try:
            self._journal.flush(head.journal)
        except OSError as error:
            raise self._fail(error) from error

    def records_after(self, head: Head, until: int | None = None) -> list[Record]:
        """The staged records behind those that a head says are published, up to a transaction."""
        return self._staged.after(head, until)

    def _head_now(self) -> Head:
        head = self._head.read()
        if head is None:
            raise StoreCorruptedError(f"{self.path}/head", "it can't be read")
        return head

    def settled_head(self) -> Head:
        """The head under the change lock; a publication or a recovery that was cut off is finished first.

        Raises:
            StoreFailedError: for that this handle would have to trust a disk that failed it before.
        """
        head = self._head.read()
        if head is not None and head.begun == head.published:
            return head
        if head is not None:
            records = self.records_after(head, head.begun)
            if records and records[-1].transaction == head.begun:
                return self._publish(records, head)
        self._check_failure()
        self._settle(recovery.recover(self._fs, self._journal, self._head, self.path), alone=False)
        return self._head_now()

    # --- what can go wrong ---

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(self.path)

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(self.path, self._failure)

    def _fail_to_sync(self, error: OSError) -> StoreFailedError:
        """What could not be written back is in the journal. Another handle must not take the tree for durable and
        write the journal over: without a head, it brings the tree up to date first."""
        failure = self._fail(error)
        self._head.invalidate()
        return failure

    def _fail(self, error: OSError) -> StoreFailedError:
        """A flush failed. It is never tried again: the kernel may hold the pages for clean now."""
        self._failure = error.strerror or str(error)
        return StoreFailedError(self.path, self._failure)

    def _mark_unflushed(self) -> None:
        put_file(
            self._fs,
            UNFLUSHED_PATH,
            b"There are changes of durability 'relaxed'. After a power cut, the next opening checks the store.\n",
        )
        self._fs.sync((UNFLUSHED_PATH,))
        self._marked_unflushed = True

    def _refill_reserve(self) -> None:
        try:
            reserve.ensure(self._fs)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise StoreFullError(self.path, "the disk is full") from error
        self._reserve_whole = True


def _tell_all(path: str, head: HeadFile, change_lock: Lock, error: OSError) -> None:
    """Have every handle bring the tree up to date, since some of it was lost; see `Tree._fail_to_sync`."""
    try:
        with change_lock.held():
            head.invalidate()
    except (OSError, ExecStoreError) as another:
        _LOG.warning("%s: the disk failed (%s), and no other handle can be told (%s)", path, error, another)
