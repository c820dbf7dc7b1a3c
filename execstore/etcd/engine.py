"""The engine: one open handle on a store in etcd (``execstore.engine.Engine``): its opening, its reads, its end."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from execstore.errors import (
    NotAStoreError,
    StoreClosedError,
    StoreCorruptedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreUnreachableError,
)
from execstore.etcd.failures import telling
from execstore.etcd.gateway import Gateway
from execstore.etcd.head import Format, encode_format, encode_head, parse_format, parse_head
from execstore.etcd.keys import Keys, end_of
from execstore.etcd.log import read_lines
from execstore.etcd.newest import Newest
from execstore.etcd.reader import EtcdReader
from execstore.etcd.snapshot import CompactedError, Habits, Question, Snapshot
from execstore.etcd.watch import HeadNotifier
from execstore.etcd.wire import compare_absent, put, transaction
from execstore.etcd.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from execstore.engine import Change, EngineOptions, Reader
    from execstore.etcd.address import EtcdAddress
    from execstore.etcd.wire import KeyValue
    from execstore.etcd.writer import HeldChange
    from execstore.notify import Notifier

__all__ = ["SEGMENT_BYTES", "EtcdEngine", "EtcdStatus"]

_T = TypeVar("_T")
_LOOKS: Final = 5  # a look that meets a compaction so often in a row gives up
SEGMENT_BYTES: Final = 1 << 20


class EtcdStatus(NamedTuple):
    """See ``execstore.engine.EngineStatus``; etcd's own log is no journal of this store's."""

    transaction: int
    journal_bytes: int = 0
    journal_used_bytes: int = 0


class EtcdEngine:
    """See ``execstore.engine.Engine``. Safe for many threads."""

    instead: Final[Mapping[str, str]] = {
        "backup": "take one with 'etcdctl snapshot save', or copy the store into a folder with 'execstore copy'",
        "repair": "take back what was put in by hand, or restore etcd from a snapshot",
    }

    def __init__(self, address: EtcdAddress, options: EngineOptions, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the store, making it if there is none and it isn't opened read-only.

        ``segment_bytes`` is for a store that is made.

        Raises:
            StoreUnreachableError, StoreAccessError: the servers can't be used.
            StoreNotFoundError, NotAStoreError, UnsupportedFormatError, StoreCorruptedError: what is there isn't right.
            InvalidArgumentError: a file with certificates can't be used.
        """
        self.on_close: Callable[[], None] | None = None
        self.on_flush: Callable[[int], None] | None = None
        self._path = str(address)
        self._address = address
        self._options = options
        self._process_id = os.getpid()
        self._closed = False
        self._keys = Keys(address.prefix)
        self._gateway = Gateway(address)
        self._habits = Habits()
        self._newest = Newest()
        self._notifiers: list[HeadNotifier] = []
        try:
            with telling(self._address):
                self._format = self._open(segment_bytes)
        except BaseException:
            self._gateway.close()
            raise
        self._writer = Writer(
            self._gateway, self._keys, options, self._format.segment_bytes, self._habits, self._newest
        )

    # --- opening and closing ---

    def _open(self, segment_bytes: int) -> Format:
        deadline = time.monotonic() + self._address.timeout_seconds * len(self._address.endpoints)
        form = Question(self._keys.format)
        head = Question(self._keys.head)
        anything = Question(self._keys.root, end_of(self._keys.root), keys_only=True, limit=1)
        while True:
            snapshot = Snapshot(self._gateway, lambda: deadline)
            found, heads, others = snapshot.ask_all((form, head, anything))
            if found:
                made = parse_format(found[0].value, self._path)
                if not heads:
                    raise StoreCorruptedError(f"{self._path}/head", "the key is missing")
                self._newest.learn(parse_head(heads[0], self._path))
                return made
            if others:
                shown = others[0].key.decode(errors="replace")
                reason = f"keys of something else begin with its prefix ({shown}, say)"
                raise NotAStoreError(self._path, reason, "choose another prefix")
            if self._options.read_only:
                raise StoreNotFoundError(self._path)
            self._make(Format(secrets.token_hex(16), segment_bytes), deadline)

    def _make(self, form: Format, deadline: float) -> None:
        """Make a store, unless another has made one, or anything else, meanwhile."""
        body = transaction(
            [compare_absent(self._keys.root, end_of(self._keys.root))],
            [
                put(self._keys.format, encode_format(form)),
                put(self._keys.head, encode_head(0, {})),
            ],
        )
        self._gateway.call("kv/txn", body, deadline)

    def close(self) -> None:
        if self._closed:
            return
        if os.getpid() == self._process_id:
            self._writer.close()
            for notifier in self._notifiers:
                notifier.close()
            self._gateway.close()
        self._closed = True
        if self.on_close is not None:
            self.on_close()

    def abandon(self) -> None:
        self._closed = True
        self._gateway.abandon()
        for notifier in self._notifiers:
            notifier.abandon()

    @property
    def on_change(self) -> Callable[[], None] | None:
        return self._writer.on_change

    @on_change.setter
    def on_change(self, call: Callable[[], None] | None) -> None:
        self._writer.on_change = call

    @property
    def path(self) -> str:
        return self._path

    @property
    def read_only(self) -> bool:
        return self._options.read_only

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def process_id(self) -> int:
        return self._process_id

    @property
    def segment_bytes(self) -> int:
        return self._format.segment_bytes

    @property
    def store_id(self) -> str:
        return self._format.store_id

    @property
    def calls(self) -> int:
        """How many requests this handle has sent."""
        return self._gateway.calls

    # --- reading ---

    def read(self, look: Callable[[Reader], _T]) -> _T:
        self._check_open()
        deadline = self._deadline()
        with telling(self._address):
            for _ in range(_LOOKS):
                snapshot = Snapshot(self._gateway, lambda: deadline, self._habits)
                try:
                    result = look(EtcdReader(self._path, self._keys, snapshot, self._newest.learn))
                except CompactedError:
                    continue
                snapshot.end()
                return result
        raise StoreUnreachableError(self._path, "etcd is compacted faster than this can be read")

    def read_log(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        self._check_open()
        log = self._options.layout.log
        deadline = self._deadline()
        with telling(self._address):
            for _ in range(_LOOKS):
                snapshot = Snapshot(self._gateway, lambda: deadline)
                try:
                    return read_lines(snapshot, self._keys, log, self._newest, self._path, first, maximum)
                except CompactedError:
                    continue
        raise StoreUnreachableError(self._path, "etcd is compacted faster than this can be read")

    def values(self) -> Mapping[str, Any]:
        return self.read(lambda reader: reader.values)

    def peek(self) -> Mapping[str, Any] | None:
        self._check_open()
        if not self._notifiers or any(notifier.take_gap() for notifier in self._notifiers):
            return None
        newest = self._newest.head
        return None if newest is None else newest.values

    def open_notifier(self) -> Notifier:
        notifier = HeadNotifier(self._gateway, self._keys.head, self._tell_head)
        self._notifiers.append(notifier)
        notifier.connect()
        return notifier

    def status(self) -> EtcdStatus | None:
        self._check_open()
        self.read(lambda reader: reader.values)
        head = self._newest.head
        return None if head is None else EtcdStatus(head.transaction)

    def _tell_head(self, found: KeyValue) -> None:
        """A watch has seen this head."""
        with contextlib.suppress(StoreCorruptedError):  # who reads it is told
            self._newest.learn(parse_head(found, self._path))

    # --- changing ---

    def change(self, operation: Callable[[Change], _T]) -> _T:
        return self._writing().change(operation)

    def begin(self) -> HeldChange:
        return self._writing().begin()

    def try_begin(self) -> HeldChange | None:
        return self._writing().try_begin()

    def commit(self, change: Change) -> None:
        self._writer.commit(change)

    def reject(self, change: Change) -> None:
        # What it read was of one moment, and nobody else wrote since.
        self._writer.rollback(change)

    def rollback(self, change: Change) -> None:
        self._writer.rollback(change)

    def _writing(self) -> Writer:
        self._check_open()
        if self._options.read_only:
            raise StoreReadOnlyError(self._path)
        return self._writer

    # --- what can go wrong ---

    def _deadline(self) -> float:
        """Until when calls may be tried again."""
        return time.monotonic() + max(self._options.timeout_seconds, self._address.timeout_seconds)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(self._path)
