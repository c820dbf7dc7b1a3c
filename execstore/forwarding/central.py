"""The central store as a forwarder has it: opened again after it couldn't be used, and written to for one state of the
node's stream only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, TypeAlias

from execstore.errors import (
    ExecStoreError,
    StoreBusyError,
    StoreFailedError,
    StoreFullError,
    StoreUnreachableError,
    TransactionConflictError,
)
from execstore.forwarding.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.engine import Change
    from execstore.forwarding.applying import Applied
    from execstore.forwarding.stream import Stream
    from execstore.store import Store

__all__ = ["Central", "OfflineError", "Operation"]

Operation: TypeAlias = "Callable[[Change, Callable[[], int]], Applied | None]"
"""What is done in one change, with the store's clock; ``None`` if the stream isn't what it was made for."""

_LARGE: Final = 1 << 16
_PASSING: Final = (
    StoreBusyError,
    StoreFailedError,
    StoreFullError,
    StoreUnreachableError,
    TransactionConflictError,
)


class OfflineError(Exception):
    """The central store can't be used now, but may later. Its cause says why."""


class Central:
    """The connection to a central store. ``stream`` is the node's, as it was last seen or changed."""

    def __init__(self, open_store: Callable[[], Store], node: str) -> None:
        self._open_store = open_store
        self._node = node
        self._store: Store | None = None
        self.store_id = ""
        self.path = ""
        self.stream: Stream | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it is open."""
        return self._store is not None

    def connect(self) -> None:
        """Open it, and see how far the node is. Raises ``OfflineError``, or what waiting won't mend."""
        with _offline():
            store = self._store = self._open_store()
            self.stream = store.look(lambda reader: read_stream(reader, self._node))
            self.store_id, self.path = store.store_id, store.path

    def commit(self, operation: Operation, size: int) -> Applied | None:
        """Do it, if the stream still is what it was made for; else look what another forwarder has made of it.

        What is large keeps others out from its beginning on: where many forward at once, to an engine that compares at
        the commit, it would hardly ever be through before one of the others.
        """
        with _offline():
            store = self._connected()
            clock = store.rules.clock
            if size >= _LARGE:
                with store.begin_tx() as transaction:
                    applied = transaction.apply(lambda change: operation(change, clock))
                    if applied is None:
                        transaction.rollback()
            else:
                applied = store.apply("forward", lambda change: operation(change, clock))
            if applied is None:
                self.stream = store.look(lambda reader: read_stream(reader, self._node))
            else:
                self.stream = applied.stream
        return applied

    def ids(self, after: str, limit: int) -> list[str]:
        """The node's executions in the order of their IDs, from behind one on."""
        with _offline():
            listed = self._connected().list_executions(node_id=self._node, after=after or None, limit=limit)
            return [execution.id for execution in listed]

    def close(self) -> None:
        """Close it, if that can be done; it may be opened again."""
        store, self._store, self.stream = self._store, None, None
        if store is not None:
            with contextlib.suppress(ExecStoreError, OSError):
                store.close()

    def _connected(self) -> Store:
        if self._store is None:
            raise RuntimeError("the central store isn't open")
        return self._store


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """What passes with time, as against what has to be mended, is told apart here."""
    try:
        yield
    except _PASSING as error:
        raise OfflineError from error
    except OSError as error:
        if isinstance(error, ExecStoreError):
            raise
        raise OfflineError from error
