"""Changing a store in etcd: running operations until they are committed, and transactions under the writers' lock.

A change is one transaction of etcd, and usually one call: what it reads, the newest head above all, is known from the
handle's own last change, or guessed, and the transaction compares it. If others were there first, the answer brings
what they left, and the operations are run again on that.
"""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from execstore.errors import ExecStoreError, StoreBusyError, StoreCorruptedError, TransactionConflictError
from execstore.etcd.change import EtcdChange, Known, StaleError
from execstore.etcd.commit import Committer
from execstore.etcd.failures import EtcdError, telling
from execstore.etcd.head import Head, parse_head
from execstore.etcd.lock import Held, WriterLock
from execstore.etcd.session import Session
from execstore.etcd.snapshot import Question, Snapshot, all_keys
from execstore.etcd.turns import Turns
from execstore.etcd.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from execstore.engine import Change, EngineOptions
    from execstore.etcd.commit import Outcome
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.keys import Keys
    from execstore.etcd.newest import Newest
    from execstore.etcd.snapshot import Habits
    from execstore.etcd.turns import Job
    from execstore.etcd.wire import KeyValue

__all__ = ["HeldChange", "Writer"]

_T = TypeVar("_T")
_C = TypeVar("_C", bound=EtcdChange)
_CONFLICTS_BEFORE_LOCK: Final = 6
_LONGEST_PAUSE_SECONDS: Final = 0.03
_BATCH_OPERATIONS: Final = 100
_BATCH_BYTES: Final = 256 << 10
_CLOSING_SECONDS: Final = 5.0
_LOST_LOCK: Final = "its lock ran out while this program, or its network, slept"


class HeldChange(EtcdChange):
    """An explicit transaction: nobody else writes until it ends, or its lock is lost."""

    held: Held | None = None
    is_over = False

    def _check_head(self, found: list[KeyValue]) -> None:
        try:
            super()._check_head(found)
        except StaleError:
            raise TransactionConflictError(self._path, _LOST_LOCK) from None


class Writer:
    """One handle's changes. Safe for many threads."""

    def __init__(
        self, gateway: Gateway, keys: Keys, options: EngineOptions, segment_bytes: int, habits: Habits, newest: Newest
    ) -> None:
        self.on_change: Callable[[], None] | None = None
        self._gateway = gateway
        self._keys = keys
        self._options = options
        self._segment_bytes = segment_bytes
        self._habits = habits
        self._newest = newest
        self._path = str(gateway.address)
        self._timeout_seconds = options.timeout_seconds
        self._session = Session(gateway, keys)
        self._lock = WriterLock(gateway, keys, self._path)
        self._committer = Committer(gateway, keys, self._session, self._lock)
        self._turns = Turns(self._path, options.timeout_seconds)
        # What follows belongs to whoever has the turn.
        self._base: Head | None = None
        self._known = Known([keys.folder(name) for name in options.layout.records])

    def close(self) -> None:
        """Let what is on its way finish (not for ever, since the servers may be away), and give everything back."""
        self._turns.close(_CLOSING_SECONDS)
        self._lock.close()
        self._session.close()

    # --- one-shot changes ---

    def change(self, operation: Callable[[Change], _T]) -> _T:
        """See ``execstore.engine.Engine.change``."""
        wait_until = time.monotonic() + self._timeout_seconds
        return self._turns.do(operation, wait_until, lambda batch: self._lead(batch, wait_until))

    def _lead(self, batch: list[Job[Any]], wait_until: float) -> int:
        """Run operations until as many of them as fit are committed together; returns how many."""
        deadline = max(wait_until, self._deadline())
        conflicts = 0
        held: Held | None = None
        try:
            with telling(self._gateway.address):
                while True:
                    change = self._change(EtcdChange, self._begin_with(deadline), lambda: deadline, may_guess=True)
                    try:
                        done = _run(batch, change)
                        outcome = self._conclude(change, held, deadline)
                    except StaleError as error:
                        self._go_by(error.found, {})
                    else:
                        if outcome is None:
                            return done
                        if outcome.revision:
                            if not change.is_empty:
                                self._lock.released()
                                held = None
                            self._advance(change, outcome)
                            return done
                        self._go_by(outcome.head, outcome.found or {})
                        held = self._mind(outcome.holder, held, wait_until, deadline)
                    conflicts += 1
                    held = self._give_way(conflicts, held, wait_until, deadline)
        except BaseException:
            self._forget()
            raise
        finally:
            if held is not None:
                self._unlock(held)

    def _conclude(self, change: EtcdChange, held: Held | None, deadline: float) -> Outcome | None:
        """Commit, or see whether what was read is true; ``None``: it is known to be."""
        if not change.is_empty:
            return self._committer.commit(change, held, deadline)
        return None if change.is_proven else self._committer.verify(change, held, deadline)

    def _mind(self, holder: KeyValue | None, held: Held | None, wait_until: float, deadline: float) -> Held | None:
        """After a conflict: wait while another has the lock; see whether this handle still has it."""
        if held is None:
            if holder is not None:
                self._lock.wait(holder, wait_until, self._timeout_seconds, deadline)
            return None
        if holder is not None and holder.create_revision == held.revision:
            return held
        self._lock.forget()
        return None

    def _give_way(self, conflicts: int, held: Held | None, wait_until: float, deadline: float) -> Held | None:
        """After a conflict: wait a moment; after several, take the writers' lock, with which there are no more."""
        if conflicts > 1 and time.monotonic() >= wait_until:
            raise StoreBusyError(self._path, self._timeout_seconds, None)
        if held is not None:
            return held
        if conflicts < _CONFLICTS_BEFORE_LOCK:
            if conflicts > 1:
                time.sleep(random.uniform(0, min(0.001 * 2**conflicts, _LONGEST_PAUSE_SECONDS)))  # noqa: S311
            return None
        taken = self._lock.acquire(wait_until, self._timeout_seconds, deadline)
        self._go_by(taken.head, {})
        return taken

    # --- transactions ---

    def begin(self) -> HeldChange:
        """See ``execstore.engine.Engine.begin``."""
        wait_until = time.monotonic() + self._timeout_seconds
        self._turns.begin(wait_until)
        try:
            with telling(self._gateway.address):
                deadline = max(wait_until, self._deadline())
                return self._begin_held(self._lock.acquire(wait_until, self._timeout_seconds, deadline))
        except BaseException:
            self._turns.end()
            raise

    def try_begin(self) -> HeldChange | None:
        """See ``execstore.engine.Engine.try_begin``."""
        if not self._turns.try_begin():
            return None
        change = None
        try:
            with telling(self._gateway.address):
                found = self._lock.try_acquire(self._deadline())
                if isinstance(found, Held):
                    change = self._begin_held(found)
        finally:
            if change is None:
                self._turns.end()
        return change

    def _begin_held(self, held: Held) -> HeldChange:
        try:
            change = self._change(HeldChange, self._go_by(held.head, {}), self._deadline, may_guess=False)
        except BaseException:
            self._unlock(held)
            raise
        change.held = held
        return change

    def commit(self, change: Change) -> None:
        """See ``execstore.engine.Engine.commit``."""
        held_change = _held(change)
        try:
            if held_change.is_empty:
                return
            with telling(self._gateway.address):
                outcome = self._committer.commit(held_change, held_change.held, self._deadline())
            held_change.held = None
            if outcome.revision:
                self._lock.released()
                self._advance(held_change, outcome)
            else:
                self._lock.forget()
                self._forget()
        except BaseException:
            self._forget()
            raise
        finally:
            self._end(held_change)
        if not outcome.revision:
            raise TransactionConflictError(self._path, _LOST_LOCK)

    def rollback(self, change: Change) -> None:
        """See ``execstore.engine.Engine.rollback``."""
        self._end(_held(change))

    def _end(self, change: HeldChange) -> None:
        """Give back the lock, if it still is held, and the turn. Never fails."""
        if not change.is_over:
            change.is_over = True
            held, change.held = change.held, None
            if held is not None:
                self._unlock(held)
            self._turns.end()

    def _unlock(self, held: Held) -> None:
        with contextlib.suppress(EtcdError, ExecStoreError, WireError):
            self._lock.release(held, time.monotonic() + self._gateway.address.timeout_seconds)

    # --- what is known of the store ---

    def _begin_with(self, deadline: float) -> Head:
        """The newest head that this handle knows of."""
        newest = self._newest.head
        if newest is None:
            found = Snapshot(self._gateway, lambda: deadline).ask(Question(self._keys.head))
            return self._go_by(found[0] if found else None, {})
        if self._base is None or newest.revision > self._base.revision:
            self._known.clear()  # a watch, or a read, has told of others' changes
            self._base = newest
        return self._base

    def _go_by(self, found: KeyValue | None, values: Mapping[bytes, bytes | None]) -> Head:
        """Go on from the head as it was found, and what else was."""
        if found is None:
            raise StoreCorruptedError(f"{self._path}/head", "the key is missing; was the store removed?")
        head = parse_head(found, self._path)
        if self._base is None or head.revision != self._base.revision:
            self._known.clear()
        self._base = head
        self._newest.learn(head)
        for key, value in values.items():
            self._known.put(key, value)
        return head

    def _advance(self, change: EtcdChange, outcome: Outcome) -> None:
        """A change was committed, or what it read was true: that is what the next one begins with."""
        if change.is_empty:
            for key in change.guessed:
                self._known.put(key, None)
            return
        head = Head(outcome.revision, change.base.transaction + 1, change.values)
        self._newest.learn(head)
        for start, record in change.marks:
            self._habits.expect(all_keys(start), Question(record))
        if outcome.head is None or outcome.head.mod_revision == outcome.revision:
            self._base = head
            for key, value in change.records.items():
                self._known.put(key, value)
        else:  # its answer got lost, and others have gone on since
            self._go_by(outcome.head, outcome.found or {})
        if self.on_change is not None:
            self.on_change()

    def _forget(self) -> None:
        """It isn't known how the store stands."""
        self._base = None
        self._known.clear()

    def _change(self, kind: type[_C], base: Head, deadline: Callable[[], float], *, may_guess: bool) -> _C:
        rotation = self._options.rotation(base.values).within(self._segment_bytes)
        return kind(
            self._path,
            self._keys,
            self._options.layout,
            rotation,
            base,
            self._known,
            self._gateway,
            deadline,
            may_guess=may_guess,
        )

    def _deadline(self) -> float:
        """Until when calls may be tried again."""
        return time.monotonic() + max(self._timeout_seconds, self._gateway.address.timeout_seconds)


def _run(batch: list[Job[Any]], change: EtcdChange) -> int:
    """Run the operations one on top of the other, as many as fit; returns how many."""
    for number, job in enumerate(batch):
        saved = change.save() if number else None
        job.run(change)
        is_full = change.operations_count > _BATCH_OPERATIONS or change.writes.size_bytes > _BATCH_BYTES
        if saved is not None and is_full:
            change.restore(saved)
            return number
    return len(batch)


def _held(change: Change) -> HeldChange:
    if not isinstance(change, HeldChange):
        raise TypeError("it is no transaction of this engine's")
    return change
