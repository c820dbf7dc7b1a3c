"""Sending a change: one transaction of etcd, which happens once at most, whatever gets lost on the way.

It compares that the head is the one which the change began with, that nobody else holds the writers' lock, and that
what was guessed to be absent is. All transactions of a store write the head. So the same one sent twice is done once,
and one whose head has moved on can never be done any more (see ``session`` for how its sender finds out).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from execstore.errors import StoreUnreachableError
from execstore.etcd.failures import EtcdError, Meaning, to_store_error, too_many_bytes, too_many_operations
from execstore.etcd.wire import (
    MAX_OPERATIONS,
    WireError,
    compare_absent,
    compare_modified,
    encoded_size,
    nest,
    put,
    range_request,
    responses,
    revision_of,
    transaction,
)

if TYPE_CHECKING:
    from execstore.etcd.change import EtcdChange
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.keys import Keys
    from execstore.etcd.lock import Held, WriterLock
    from execstore.etcd.session import Session
    from execstore.etcd.wire import KeyValue

__all__ = ["Committer", "Outcome"]


class Outcome(NamedTuple):
    """How it went: committed at ``revision``; or, if that is 0, not, since something else was found.

    ``head`` and ``holder`` (of the lock) are what was found, and ``found`` what stands under the guessed keys. They
    are also told of a change whose answer got lost at first: others may have gone on since.
    """

    revision: int
    head: KeyValue | None = None
    holder: KeyValue | None = None
    found: dict[bytes, bytes | None] | None = None


class Committer:
    """Sends one handle's changes. Used by one thread at a time."""

    def __init__(self, gateway: Gateway, keys: Keys, session: Session, lock: WriterLock) -> None:
        self._gateway = gateway
        self._address = gateway.address
        self._keys = keys
        self._session = session
        self._lock = lock

    def commit(self, change: EtcdChange, held: Held | None, deadline: float) -> Outcome:
        """Commit a change; if it is, the lock that is ``held`` is given back with it.

        Raises:
            ChangeTooLargeError, StoreFullError, StoreAccessError: nothing was changed.
            StoreUnreachableError: its ``outcome_open`` tells whether something may have been changed.
        """
        head = change.head_bytes()
        size_bytes = encoded_size(change.writes.puts, change.writes.removals + 2 * len(change.guessed)) + len(head)
        if size_bytes > self._address.max_request_bytes:
            raise too_many_bytes(str(self._address), size_bytes, self._address.max_request_bytes)
        operations = change.writes.operations()
        if len(operations) > MAX_OPERATIONS:
            raise too_many_operations(str(self._address), len(operations))
        operations = nest(operations)
        while True:
            try:
                marker_operation, marker = self._session.next_marker(deadline)
            except EtcdError as error:
                raise to_store_error(error, self._address) from None
            success = [put(self._keys.head, head), marker_operation, *operations]
            if held is not None:
                success.append(self._lock.release_operation())
            outcome = self._send(change, held, success, marker, size_bytes, deadline)
            if outcome is not None:
                return outcome

    def verify(self, change: EtcdChange, held: Held | None, deadline: float) -> Outcome:
        """See whether what a change has read is true. Nothing is changed; ``revision`` is that of the moment."""
        return self._send(change, held, [], b"", 0, deadline) or Outcome(0)

    def _send(
        self,
        change: EtcdChange,
        held: Held | None,
        success: list[bytes],
        marker: bytes,
        size_bytes: int,
        deadline: float,
    ) -> Outcome | None:
        """``None``: the session's lease was gone, nothing happened; send it with a new one."""
        guessed = list(change.guessed)
        compares = [compare_modified(self._keys.head, change.base.revision)]
        if success or held is not None:  # who only reads doesn't mind another's lock
            compares.append(self._lock.compare(held))
        compares += [compare_absent(key) for key in guessed]
        ranges = [range_request(key) for key in (self._keys.head, self._keys.lock, self._session.key, *guessed)]
        path = str(self._address)
        was_young = self._session.lease.is_young
        try:
            body = transaction(compares, success, ranges)
            answer, lost = self._gateway.call("kv/txn", body, deadline, changes=bool(success))
        except EtcdError as error:
            if error.lost and success:
                reason = f"an answer got lost, then came: {error.message}"
                raise StoreUnreachableError(path, reason, outcome_open=True) from None
            if error.meaning is Meaning.NO_LEASE and success:
                self._session.lease.forget()
                return None
            raise to_store_error(error, self._address, size_bytes) from None
        if answer.get("succeeded"):
            return Outcome(revision_of(answer))
        found = responses(answer)
        if len(found) != len(ranges):
            raise WireError("the answer of a transaction lacks a range")
        first = [each[0] if each else None for each in found]
        head, holder, marked = first[:3]
        values = {key: None if each is None else each.value for key, each in zip(guessed, first[3:], strict=True)}
        revision = 0
        if lost and success:
            if marked is not None and marked.value == marker:
                revision = marked.mod_revision
            elif not (was_young and self._session.lease.is_young):
                reason = "an answer got lost, and the session with it"
                raise StoreUnreachableError(path, reason, outcome_open=True)
        return Outcome(revision, head, holder, values)
