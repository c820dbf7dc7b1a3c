"""The reading side of a handle: one moment of the tree, without a lock.

A reader remembers the head's first line, looks, and reads that line once more: if it is the same and says that the tree
is settled, everything in between was one moment. Where the tree doesn't settle (a publisher that died, was stopped, or
has no room; a store that was cut off, seen by who may not write), what the journal holds is laid over the files.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from execstore.errors import StoreFailedError, StoreFullError
from execstore.tree import recovery
from execstore.tree.head import Head, HeadFile, is_settled
from execstore.tree.reader import Reader
from execstore.tree.steps import Overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.journal import JournalFiles, Record
    from execstore.tree.kept import Kept
    from execstore.tree.lock import Handles, Lock

__all__ = ["Parts", "Reading", "Writer"]

_T = TypeVar("_T")
# A publication takes well below a millisecond; a reader that meets one in progress this often in a row takes the lock.
_READ_ATTEMPTS = 20
_READ_PAUSE_SECONDS = 0.0002
_STUCK_SECONDS = 0.05


class Writer(Protocol):
    """What the reading side asks of its handle where a look at the files doesn't do."""

    def settled_head(self) -> Head:
        """The head, under the change lock; a publication that was cut off is finished first."""

    def records_after(self, head: Head, until: int | None = None) -> list[Record]:
        """The journal's records behind those that this head says are published, up to a transaction."""


class Parts(NamedTuple):
    """What of a handle its reading side works on."""

    fs: FileSystem
    path: str
    head: HeadFile
    journal: JournalFiles
    change_lock: Lock
    flush_lock: Lock
    handles: Handles
    kept: Kept
    timeout_seconds: float


class _View(NamedTuple):
    """What to lay over the files to see one moment, and the head's values then. ``transaction``: which one the files
    alone show, if they do; what is kept of them may be used then."""

    layers: tuple[Overlay, ...]
    values: Mapping[str, Any]
    transaction: int | None = None


class _Seen(NamedTuple, Generic[_T]):
    """What a look found, which may be ``None``."""

    found: _T


class _Cut(NamedTuple):
    """Whether the store was cut off and not brought up to date since: the head's first line when that was asked, and
    all that the journal holds, or ``None`` if it wasn't cut off."""

    line: bytes
    view: _View | None


class Reading:
    """Reads for one handle."""

    def __init__(self, parts: Parts, *, read_only: bool) -> None:
        self._parts = parts
        self._read_only = read_only
        self._cut: _Cut | None = None

    @property
    def cut_line(self) -> bytes | None:
        """The head's first line at which the store was found cut off, ``None`` if it wasn't."""
        return None if self._cut is None or self._cut.view is None else self._cut.line

    def peek(self) -> Mapping[str, Any] | None:
        """The head's values, for no more than a system call; ``None`` if only `read` can tell."""
        line = self._parts.head.first_line()
        if self._read_only:
            if self._cut is None:
                return None
            if self._cut.view is not None and self._cut.line == line:
                return self._cut.view.values
        head = self._parts.head.at(line)
        return head.values if head is not None and head.begun == head.published else None

    def read(self, look: Callable[[Reader], _T], writer: Writer) -> _T:
        """Call ``look`` with a reader of one moment; see `Tree.read`. ``writer`` is the handle.

        It is handed in at each call rather than kept, lest the two keep each other alive, and their descriptors open.
        """
        if self._read_only:
            return self._read_without_writing(look, writer)
        head_file = self._parts.head
        for attempt in range(_READ_ATTEMPTS):
            line = head_file.first_line()
            if is_settled(line):
                head = head_file.at(line)
                if head is not None:
                    seen = self._look(look, _settled_view(head), line)
                    if seen is not None:
                        return seen.found
            if attempt:
                time.sleep(_READ_PAUSE_SECONDS)
        return self._read_unsettled(look, writer)

    def _read_unsettled(self, look: Callable[[Reader], _T], writer: Writer) -> _T:
        """The same where the tree won't settle: under the change lock, or, if its holder stands still in the middle of
        a publication, with what that is to do laid over the files."""
        head_file, lock = self._parts.head, self._parts.change_lock
        started = time.monotonic()
        while not lock.try_acquire():
            elapsed_seconds = time.monotonic() - started
            line = head_file.first_line()
            head = head_file.at(line)
            view: _View | None = None
            if head is not None and head.begun == head.published:
                view = _settled_view(head)
            elif head is not None and elapsed_seconds > _STUCK_SECONDS:
                view = self._journaled_view(head, writer)
            if view is not None:
                seen = self._look(look, view, line)
                if seen is not None:
                    return seen.found
            if elapsed_seconds > self._parts.timeout_seconds:
                raise lock.busy()
            time.sleep(_READ_PAUSE_SECONDS)
        try:
            try:
                view = _settled_view(writer.settled_head())
            except (OSError, StoreFailedError, StoreFullError):
                # The disk takes nothing any more. What can't be shown in the tree can be read from the journal.
                view = self._journaled_view(head_file.read(), writer)
                if view is None:
                    raise
            return look(self._reader(view))
        finally:
            lock.release()

    def _look(self, look: Callable[[Reader], _T], view: _View, line: bytes) -> _Seen[_T] | None:
        """What ``look`` finds in a view of the tree at this head; ``None`` if the head is another one by now."""
        try:
            found = look(self._reader(view))
        except Exception:
            if self._parts.head.first_line() == line:
                raise
            return None
        return _Seen(found) if self._parts.head.first_line() == line else None

    def _reader(self, view: _View) -> Reader:
        parts = self._parts
        if view.transaction is None:
            return Reader(parts.fs, parts.path, view.layers, view.values)
        return Reader(parts.fs, parts.path, (), view.values, parts.kept, view.transaction)

    # --- without the right to change anything ---

    def _read_without_writing(self, look: Callable[[Reader], _T], writer: Writer) -> _T:
        head_file = self._parts.head
        started = time.monotonic()
        while True:
            line = head_file.first_line()
            view = self._view(line, writer, may_be_stuck=time.monotonic() - started > _STUCK_SECONDS)
            if view is not None:
                seen = self._look(look, view, line)
                if seen is not None:
                    return seen.found
            if time.monotonic() - started > self._parts.timeout_seconds:
                raise self._parts.change_lock.busy()
            time.sleep(_READ_PAUSE_SECONDS)

    def _view(self, line: bytes, writer: Writer, *, may_be_stuck: bool) -> _View | None:
        """What there is to see at this head; ``None``: look again."""
        if self._cut is None:
            self._cut = self._look_for_cut(line)
            if self._cut is None:
                return self._view_while_locked(line, writer) if may_be_stuck else None
        if self._cut.view is not None and self._cut.line == line:
            return self._cut.view
        head = self._parts.head.at(line)
        if head is not None and head.begun == head.published:
            return _settled_view(head)
        # If its publisher died, was stopped or can't write, what it was publishing is durable in the journal.
        return self._journaled_view(head, writer) if may_be_stuck else None

    def _view_while_locked(self, line: bytes, writer: Writer) -> _View | None:
        """The same while somebody keeps both locks, so that this can't be asked: a process that was stopped, say.

        If any handle is known to have joined, the store is up to date but for what is being published. Else somebody is
        opening it, and may be bringing it up to date.
        """
        if not self._parts.handles.are_known():
            return None
        head = self._parts.head.at(line)
        if head is None:
            return None
        return _settled_view(head) if head.begun == head.published else self._journaled_view(head, writer)

    def _journaled_view(self, head: Head | None, writer: Writer) -> _View | None:
        """What the tree will be once a publication or a recovery that was cut off is done; ``None`` if unknown."""
        if head is None:
            records: Sequence[Record] = recovery.read_journal(self._parts.journal, self._parts.path).records
        else:
            records = writer.records_after(head, head.begun)
            if not records or records[-1].transaction != head.begun:
                # A recovery stands still. What it does is in the journal, and doing more of that does no harm.
                journaled = recovery.read_journal(self._parts.journal, self._parts.path).records
                records = [record for record in journaled if record.transaction <= head.begun]
            if not records or records[-1].transaction != head.begun:
                return None
        return _laid_over(records, records[-1].values)

    def _look_for_cut(self, line: bytes) -> _Cut | None:
        """Whether the store was cut off and not brought up to date since.

        This is asked once, at the first look: a later change of the head is a live writer's work. A writer's handle
        shows by its shared lock. The question is only asked under the change lock, so that an opening writer never
        takes this reader for another handle. ``None``: somebody is opening the store, maybe; ask again.
        """
        parts = self._parts
        if recovery.is_clean(parts.fs, parts.journal, parts.head.at(line)) and parts.head.first_line() == line:
            return _Cut(line, None)  # it was closed in peace, which shows without a lock
        change_lock = parts.change_lock
        for lock in (change_lock, parts.flush_lock):
            if lock.try_acquire():
                try:
                    if lock is change_lock:
                        return self._cut_under_lock(line)
                    # Nobody is opening the store: who does holds both locks until it is up to date. So whoever holds
                    # the change lock, maybe for a long transaction, is a live writer.
                    if change_lock.try_acquire():
                        try:
                            return self._cut_under_lock(line)
                        finally:
                            change_lock.release()
                    return _Cut(line, None)
                finally:
                    lock.release()
        return None

    def _cut_under_lock(self, line: bytes) -> _Cut:
        parts = self._parts
        if parts.handles.are_none() and not recovery.is_clean(parts.fs, parts.journal, parts.head.read()):
            journaled = recovery.read_journal(parts.journal, parts.path)
            return _Cut(parts.head.first_line(), _laid_over(journaled.records, journaled.chain[-1].values))
        return _Cut(line, None)


def _settled_view(head: Head) -> _View:
    return _View((), head.values, head.published)


def _laid_over(records: Sequence[Record], values: Mapping[str, Any]) -> _View:
    return _View((Overlay(step for record in records for step in record.steps),), values)
