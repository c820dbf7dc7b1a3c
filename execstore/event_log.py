"""The event log of a store: the numbered log of its engine, as watchers want it (see ``watcher.event_log``)."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from execstore import operations
from execstore.codec import CodecError
from execstore.engine import LogState
from execstore.errors import CheckpointError, StoreClosedError
from execstore.notify import Lookout
from execstore.records import parse_checkpoint
from execstore.schema import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.engine import Change, Engine, Reader
    from execstore.notify import Notifier
    from execstore.store import Store
    from execstore.watcher.events import Operation

__all__ = ["StoreEventLog"]


class StoreEventLog:
    """An ``EventLog`` on a store. It is closed with it."""

    def __init__(self, store: Store, *, notifier: Callable[[str], Notifier] | None = None) -> None:
        """``notifier``, for a store in a folder only, makes what tells of changes of a file instead of its engine."""
        self._store = store
        self._notifier = notifier
        self._lookouts: dict[int, Lookout] = {}
        self.on_news: Callable[[int], None] | None = None

    @property
    def path(self) -> str:
        return self._store.path

    @property
    def closed(self) -> bool:
        return self._store.closed

    def latest(self) -> int:
        return self._state().latest

    def oldest(self) -> int:
        return self._state().oldest

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        return self._store.engine().read_log(first, maximum)

    def append(self, operation: Operation, object_type: str, object_json: bytes) -> int:
        def store_event(change: Change) -> int:
            return operations.store_event(change, operation, object_type, object_json, self._store.rules)

        return self._store.apply("store_event", store_event)

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        """Wait for an event above ``after``, of this process or another; see ``notify``.

        However many threads wait, one of them looks for all: it sleeps until the engine's notifier tells. For a folder
        that is the kernel where inotify can be had; else it looks at the head file every 0.1 s.
        """
        try:
            lookout = self.lookout()
            return lookout.wait(after, timeout_seconds, lambda: self.closed or interrupted())
        except StoreClosedError:
            return 0

    def wake(self) -> None:
        lookout = self._lookouts.get(os.getpid())
        if lookout is not None:
            lookout.wake()

    def lookout(self) -> Lookout:
        """What waits for the store to change, in this process. Raises ``StoreClosedError``."""
        engine = self._store.engine()
        process_id = os.getpid()
        lookout = self._lookouts.get(process_id)
        if lookout is None:
            for inherited in list(self._lookouts.values()):
                inherited.abandon()
            self._lookouts.clear()
            # A dict's setdefault instead of a lock, which a fork might copy while it is held.
            lookout = self._lookouts.setdefault(process_id, self._make_lookout(engine))
            engine.on_change = _both(engine.on_change, lookout.own_change)
            engine.on_close = _both(engine.on_close, lookout.close)
            if engine.closed:
                lookout.close()
        return lookout

    def _make_lookout(self, engine: Engine) -> Lookout:
        def peek() -> int | None:
            values = engine.peek()
            return None if values is None else LogState.of(values).latest

        notifier = engine.open_notifier
        if self._notifier is not None:
            notifier = partial(self._notifier, self._store.tree("a notifier of a file").head_path)
        return Lookout(self.latest, peek, notifier, self._found_news)

    def _found_news(self, latest: int) -> None:
        if self.on_news is not None:
            self.on_news(latest)

    def get_checkpoint(self, watcher_id: str) -> int | None:
        data = self._store.look(lambda reader: reader.record(CHECKPOINTS, watcher_id))
        if data is None:
            return None
        try:
            return parse_checkpoint(data)[1]
        except CodecError as error:
            raise CheckpointError(watcher_id, error.reason) from error

    def store_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        def store(change: Change) -> None:
            operations.store_watcher_checkpoint(change, watcher_id, sequence_number)

        self._store.apply("store_checkpoint", store)

    def remove_checkpoint(self, watcher_id: str) -> bool:
        def remove(change: Change) -> bool:
            there = change.record(CHECKPOINTS, watcher_id) is not None
            if there:
                change.remove_record(CHECKPOINTS, watcher_id)
            return there

        return self._store.apply("remove_checkpoint", remove)

    def list_checkpoints(self) -> dict[str, int]:
        def look(reader: Reader) -> dict[str, int]:
            found: dict[str, int] = {}
            for name in reader.record_names(CHECKPOINTS):
                data = reader.record_named(CHECKPOINTS, name)
                if data is not None:
                    try:
                        watcher_id, sequence_number = parse_checkpoint(data)
                    except CodecError as error:
                        raise CheckpointError(reader.key_of(name) or name, error.reason) from error
                    found[watcher_id] = sequence_number
            return found

        return self._store.look(look)

    def _state(self) -> LogState:
        return LogState.of(self._store.engine().values())


def _both(first: Callable[[], None] | None, second: Callable[[], None]) -> Callable[[], None]:
    """A call of both: a store may have more than one event log, each with waiters of its own."""
    if first is None:
        return second

    def call() -> None:
        first()
        second()

    return call
