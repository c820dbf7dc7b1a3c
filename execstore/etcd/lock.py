"""The writers' lock: the key ``lock``, which every change compares as absent.

An explicit transaction can't be run again, so it holds the lock from its beginning to its end. A change that met many
others takes it, too, since it might never get through otherwise. The key hangs on a lease that is kept alive as long
as the transaction is open, so that one whose client died ends by itself after `LOCK_SECONDS`.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from execstore.codec import CodecError, decode, encode
from execstore.errors import ExecStoreError, StoreBusyError
from execstore.etcd.failures import EtcdError, Meaning
from execstore.etcd.session import Lease
from execstore.etcd.wire import (
    WireError,
    compare_absent,
    compare_created,
    delete,
    key_values,
    put,
    range_request,
    responses,
    revision_of,
    transaction,
)

if TYPE_CHECKING:
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.keys import Keys
    from execstore.etcd.wire import KeyValue

__all__ = ["LOCK_SECONDS", "Held", "WriterLock"]

LOCK_SECONDS: Final = 10
"""How long the lock outlives a client that isn't heard of any more."""

_FIRST_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.1


class Held(NamedTuple):
    """The lock as this handle has it: since which revision, and the head at that moment."""

    revision: int
    head: KeyValue | None


class WriterLock:
    """One handle's side of it. Used by one thread at a time, but for the thread that keeps the lease."""

    def __init__(self, gateway: Gateway, keys: Keys, path: str) -> None:
        self._gateway = gateway
        self._key = keys.lock
        self._head = keys.head
        self._path = path
        self._lease = Lease(gateway, LOCK_SECONDS)
        self._ended: threading.Event | None = None

    def try_acquire(self, deadline: float) -> Held | KeyValue:
        """Take it, or tell who has it. ``deadline`` is that of the calls."""
        while True:
            lease = self._lease.ensure(deadline)
            who = encode({"host": socket.gethostname(), "pid": os.getpid(), "lease": lease, "since_ns": time.time_ns()})
            body = transaction(
                [compare_absent(self._key)],
                [put(self._key, who, lease), b'{"request_range":%b}' % range_request(self._head)],
                [range_request(self._key), range_request(self._head)],
            )
            try:
                answer = self._gateway.call("kv/txn", body, deadline).body
            except EtcdError as error:
                self._lease.forget()
                if error.meaning is not Meaning.NO_LEASE:
                    raise
                continue
            except BaseException:
                self._lease.forget()  # if it was taken all the same, nobody must keep it alive
                raise
            if answer.get("succeeded"):
                head = key_values(answer["responses"][1]["response_range"])
                return self._hold(revision_of(answer), head)
            holders, head = responses(answer)
            if not holders:
                raise WireError("the lock is neither free nor held")
            if holders[0].value == who:  # taken by an earlier try, whose answer got lost
                return self._hold(holders[0].create_revision, head)
            return holders[0]

    def acquire(self, wait_until: float, timeout_seconds: float, deadline: float) -> Held:
        """Take it, waiting for others until ``wait_until``. Raises ``StoreBusyError``."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            found = self.try_acquire(deadline)
            if isinstance(found, Held):
                return found
            pause_seconds = self.pause(found, pause_seconds, wait_until, timeout_seconds)

    def wait(self, holder: KeyValue, wait_until: float, timeout_seconds: float, deadline: float) -> None:
        """Wait until nobody has it. Raises ``StoreBusyError``."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            pause_seconds = self.pause(holder, pause_seconds, wait_until, timeout_seconds)
            found = key_values(self._gateway.call("kv/range", range_request(self._key), deadline).body)
            if not found:
                return
            holder = found[0]

    def pause(self, holder: KeyValue, pause_seconds: float, wait_until: float, timeout_seconds: float) -> float:
        """Sleep a little; returns for how long the next time."""
        if time.monotonic() >= wait_until:
            raise self._busy(holder, timeout_seconds)
        time.sleep(random.uniform(pause_seconds / 2, pause_seconds))  # noqa: S311 - nothing to guess here
        return min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)

    def compare(self, held: Held | None) -> bytes:
        """What a transaction compares: that nobody has it, or that this handle still has."""
        return compare_absent(self._key) if held is None else compare_created(self._key, held.revision)

    def release_operation(self) -> bytes:
        """What a transaction that commits does besides."""
        return delete(self._key)

    def forget(self) -> None:
        """Whether it is given back isn't known: let its lease run out."""
        self.released()
        self._lease.forget()

    def released(self) -> None:
        """It is given back: nothing is kept alive any more."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def release(self, held: Held, deadline: float) -> None:
        """Give it back without a change. Raises what `Gateway.call` does; the lease then ends it."""
        self.released()
        body = transaction([compare_created(self._key, held.revision)], [delete(self._key)])
        try:
            self._gateway.call("kv/txn", body, deadline)
        except BaseException:
            self._lease.forget()
            raise

    def close(self) -> None:
        self.released()
        self._lease.end()

    def _hold(self, revision: int, head: list[KeyValue]) -> Held:
        self._ended = threading.Event()
        threading.Thread(
            target=self._keep_alive, args=(self._ended, self._lease), name="execstore etcd lock", daemon=True
        ).start()
        return Held(revision, head[0] if head else None)

    def _keep_alive(self, ended: threading.Event, lease: Lease) -> None:
        while not ended.wait(LOCK_SECONDS / 4):
            try:
                if not lease.renew(time.monotonic() + LOCK_SECONDS / 2):
                    return  # the commit will find that it was lost
            except (EtcdError, ExecStoreError, WireError, ValueError):
                continue

    def _busy(self, holder: KeyValue, timeout_seconds: float) -> StoreBusyError:
        try:
            who = decode(holder.value)
            return StoreBusyError(self._path, timeout_seconds, int(who["pid"]), f"on {who['host']}")
        except (CodecError, KeyError, TypeError, ValueError):
            return StoreBusyError(self._path, timeout_seconds, None)
