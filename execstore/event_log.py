"""The event log of a store: the numbered log of its engine, as watchers want it (see ``watcher.event_log``)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from execstore import operations
from execstore.codec import CodecError
from execstore.errors import CheckpointError
from execstore.records import parse_checkpoint
from execstore.schema import CHECKPOINTS
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.store import Store
    from execstore.tree.change import Change
    from execstore.tree.reader import Reader
    from execstore.watcher.events import Operation

__all__ = ["StoreEventLog"]

# Waiting for other processes' commits looks at the head this often; see `StoreEventLog.wait`.
_LONGEST_PAUSE_SECONDS = 0.1


class StoreEventLog:
    """An ``EventLog`` on a store. It is closed with it."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        tree = self._store.engine()

        def look(reader: Reader) -> list[tuple[int, bytes]]:
            return tree.log.read(reader, max(first, LogState.of(reader.values).oldest), maximum)

        return tree.read(look)

    def append(self, operation: Operation, object_type: str, object_json: bytes) -> int:
        def store_event(change: Change) -> int:
            return operations.store_event(change, operation, object_type, object_json, self._store.rules)

        return self._store.apply("store_event", store_event)

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> bool:
        """Wait for an event above ``after``, of this process or another.

        Commits of this process wake it at once. Those of others show in the head file, which is looked at every 0.1 s.
        """
        deadline = time.monotonic() + timeout_seconds
        tree = self._store.engine()
        while not self.closed and not interrupted():
            ticket = tree.change_ticket()
            if interrupted() or self.closed:
                return False
            if self._state().latest > after:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            tree.wait_for_change(ticket, min(remaining, _LONGEST_PAUSE_SECONDS))
        return False

    def wake(self) -> None:
        if not self.closed:
            self._store.engine().wake()

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
        return self._store.look(lambda reader: LogState.of(reader.values))
