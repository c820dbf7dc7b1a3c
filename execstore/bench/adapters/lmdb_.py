"""LMDB, by the lmdb package."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import ujson

from execstore.bench.adapters.base import Adapter, Unavailable, new_event
from execstore.bench.workloads import LIVE_EVERY, execution_id, job_id

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LmdbAdapter"]

_MAP_BYTES: Final = 64 << 30
_TERMINAL: Final = {"AskForBidRejected", "BidRejected", "Completed", "Failed", "Cancelled"}
_LIVE: Final = ("BidAccepted", "Running", "Publishing")


class LmdbAdapter(Adapter):
    """One write transaction an operation, flushed (LMDB's default); indexes as sorted duplicates, which LMDB counts.

    Records and log entries are JSON by ujson, the log has the execution before and after. Nothing is validated; reads
    give parsed JSON (dicts).
    """

    def open(self) -> None:
        try:
            import lmdb  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise Unavailable("the Python package lmdb isn't installed") from error
        path = os.path.join(self.folder, "lmdb")
        self._environment = lmdb.open(path, map_size=_MAP_BYTES, max_dbs=8, max_readers=256)
        self._executions = self._environment.open_db(b"executions")
        self._own = self._environment.open_db(b"execution_events", dupsort=False)
        self._by_job = self._environment.open_db(b"by_job", dupsort=True)
        self._by_state = self._environment.open_db(b"by_state", dupsort=True)
        self._log_database = self._environment.open_db(b"events")

    def close(self) -> None:
        self._environment.close()

    def fill(self, count: int) -> None:
        for first in range(0, count, 10_000):
            with self._environment.begin(write=True) as transaction:
                for number in range(first, min(first + 10_000, count)):
                    self._create_in(transaction, number, "New" if number % LIVE_EVERY else "Running")

    def create(self, number: int, state: str) -> int:
        with self._environment.begin(write=True) as transaction:
            self._create_in(transaction, number, state or "New")
        return 1

    def _create_in(self, transaction: Any, number: int, state: str) -> None:
        now = time.time_ns()
        execution = self.document | {
            "ID": execution_id(number),
            "JobID": job_id(number),
            "ComputeState": {"StateType": state},
            "Revision": 1,
            "CreateTime": now,
            "ModifyTime": now,
        }
        key = execution_id(number).encode()
        record = _encode(execution)
        if not transaction.put(key, record, db=self._executions, overwrite=False):
            raise ValueError("there already")
        transaction.put(job_id(number).encode(), key, db=self._by_job)
        transaction.put(state.encode(), key, db=self._by_state)
        event = self._add_event(transaction, key, "created", now)
        upsert = b'{"Current":%b,"Previous":null,"Events":[%b]}' % (record, event)
        self._log(transaction, "CREATE", "ExecutionUpsert", upsert, now)

    def _add_event(self, transaction: Any, key: bytes, message: str, now: int) -> bytes:
        event = _encode(new_event(message))
        with transaction.cursor(db=self._own) as cursor:
            number = 1
            # The last one that isn't behind this execution's own.
            if cursor.prev() if cursor.set_range(key + b"\xff" * 8) else cursor.last():
                last: bytes = cursor.key()
                number = int.from_bytes(last[-8:], "big") + 1 if last.startswith(key) else 1
        transaction.put(key + number.to_bytes(8, "big"), event, db=self._own)
        self._log(transaction, "CREATE", "ExecutionEvent", event, now)
        return event

    def _log(self, transaction: Any, operation: str, kind: str, content: bytes, now: int) -> None:
        with transaction.cursor(db=self._log_database) as cursor:
            number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 1
        entry = b'{"seqNum":%d,"operation":"%b","objectType":"%b","object":%b,"timestamp":%d}'
        line = entry % (number, operation.encode(), kind.encode(), content, now)
        transaction.put(number.to_bytes(8, "big"), line, db=self._log_database, append=True)

    def update(self, number: int, state: str) -> int:
        key = execution_id(number).encode()
        with self._environment.begin(write=True) as transaction:
            previous, execution = self._load(transaction, key)
            old_state = execution["ComputeState"]["StateType"]
            if old_state in _TERMINAL:
                raise ValueError("it has ended")
            now = time.time_ns()
            execution["ComputeState"] = execution["ComputeState"] | {"StateType": state, "Message": f"now {state}"}
            execution["Revision"] += 1
            execution["ModifyTime"] = now
            record = _encode(execution)
            transaction.put(key, record, db=self._executions)
            if old_state != state:
                transaction.delete(old_state.encode(), key, db=self._by_state)
                transaction.put(state.encode(), key, db=self._by_state)
            event = self._add_event(transaction, key, state, now)
            upsert = b'{"Current":%b,"Previous":%b,"Events":[%b]}' % (record, previous, event)
            self._log(transaction, "UPDATE", "ExecutionUpsert", upsert, now)
        return int(execution["Revision"])

    def _load(self, transaction: Any, key: bytes) -> tuple[bytes, dict[str, Any]]:
        record: bytes | None = transaction.get(key, db=self._executions)
        if record is None:
            raise KeyError(key)
        return record, ujson.loads(record)

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number).encode()
        with self._environment.begin(write=True) as transaction:
            if transaction.get(key, db=self._executions) is None:
                raise KeyError(key)
            self._add_event(transaction, key, "something happened", time.time_ns())
        return 1

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number).encode()
        with self._environment.begin(write=True) as transaction:
            previous, execution = self._load(transaction, key)
            transaction.delete(key, db=self._executions)
            transaction.delete(execution["JobID"].encode(), key, db=self._by_job)
            transaction.delete(execution["ComputeState"]["StateType"].encode(), key, db=self._by_state)
            with transaction.cursor(db=self._own) as cursor:
                found = cursor.set_range(key)
                while found and cursor.key().startswith(key):
                    found = cursor.delete()
            upsert = b'{"Current":null,"Previous":%b,"Events":null}' % previous
            self._log(transaction, "DELETE", "ExecutionUpsert", upsert, time.time_ns())
        return 1

    def get(self, number: int, argument: str) -> int:  # noqa: ARG002
        with self._environment.begin() as transaction:
            return int(self._load(transaction, execution_id(number).encode())[1]["Revision"])

    def list_job(self, number: int, argument: str) -> int:  # noqa: ARG002
        with self._environment.begin() as transaction:
            return len(self._newest_first(transaction, self._group(transaction, self._by_job, job_id(number))))

    def live(self, number: int, argument: str) -> int:  # noqa: ARG002
        with self._environment.begin() as transaction:
            keys = [key for state in _LIVE for key in self._group(transaction, self._by_state, state)]
            return len(self._newest_first(transaction, keys))

    @staticmethod
    def _group(transaction: Any, database: Any, name: str) -> Iterator[bytes]:
        with transaction.cursor(db=database) as cursor:
            if cursor.set_key(name.encode()):
                yield from cursor.iternext_dup()

    def _newest_first(self, transaction: Any, keys: Any) -> list[dict[str, Any]]:
        found = [self._load(transaction, key)[1] for key in keys]
        found.sort(key=lambda execution: execution["ModifyTime"], reverse=True)
        return found

    def count(self, number: int, state: str) -> int:  # noqa: ARG002
        with self._environment.begin() as transaction, transaction.cursor(db=self._by_state) as cursor:
            return int(cursor.count()) if cursor.set_key(state.encode()) else 0

    def events(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number).encode()
        found = []
        with self._environment.begin() as transaction, transaction.cursor(db=self._own) as cursor:
            more = cursor.set_range(key)
            while more and cursor.key().startswith(key):
                found.append(ujson.loads(cursor.value()))
                more = cursor.next()
        return len(found)

    def watch(self, number: int, argument: str) -> int:  # noqa: ARG002
        found: list[Any] = []
        with self._environment.begin() as transaction, transaction.cursor(db=self._log_database) as cursor:
            more = cursor.set_range(number.to_bytes(8, "big"))
            while more and len(found) < 100:
                found.append(ujson.loads(cursor.value()))
                more = cursor.next()
        return len(found)


def _encode(value: dict[str, Any]) -> bytes:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode()
