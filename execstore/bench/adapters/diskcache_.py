"""diskcache, which keeps what it is given in SQLite."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import ujson

from execstore.bench.adapters.base import Adapter, Unavailable, new_event
from execstore.bench.workloads import LIVE_EVERY, execution_id, job_id

__all__ = ["DiskcacheAdapter"]

_TERMINAL: Final = {"AskForBidRejected", "BidRejected", "Completed", "Failed", "Cancelled"}
_LIVE: Final = ("BidAccepted", "Running", "Publishing")


class DiskcacheAdapter(Adapter):
    """One ``transact()`` an operation, ``synchronous=FULL``, nothing evicted, no statistics.

    It has no indexes, so there is a key with the IDs of each job and one with the live ones, and a counter a state;
    the events of an execution are one key, the log a key an entry. JSON by ujson; nothing is validated.
    """

    def open(self) -> None:
        try:
            import diskcache  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise Unavailable("the Python package diskcache isn't installed") from error
        self._cache: Any = diskcache.Cache(
            os.path.join(self.folder, "diskcache"),
            eviction_policy="none",
            cull_limit=0,
            size_limit=1 << 40,
            sqlite_synchronous=2,
            timeout=60,
        )

    def close(self) -> None:
        self._cache.close()

    def fill(self, count: int) -> None:
        for first in range(0, count, 10_000):
            with self._cache.transact():
                for number in range(first, min(first + 10_000, count)):
                    self._create_in(number, "New" if number % LIVE_EVERY else "Running")

    def create(self, number: int, state: str) -> int:
        with self._cache.transact():
            self._create_in(number, state or "New")
        return 1

    def _create_in(self, number: int, state: str) -> None:
        now = time.time_ns()
        execution = self.document | {
            "ID": execution_id(number),
            "JobID": job_id(number),
            "ComputeState": {"StateType": state},
            "Revision": 1,
            "CreateTime": now,
            "ModifyTime": now,
        }
        record = _encode(execution)
        if not self._cache.add(f"execution {execution_id(number)}", record):
            raise ValueError("there already")
        self._join(f"job {job_id(number)}", execution_id(number))
        self._enter(state, execution_id(number))
        event = self._add_event(execution_id(number), "created", now)
        upsert = f'{{"Current":{record},"Previous":null,"Events":[{event}]}}'
        self._log("CREATE", "ExecutionUpsert", upsert, now)

    def _join(self, key: str, member: str) -> None:
        self._cache.set(key, _encode([*self._members(key), member]))

    def _part(self, key: str, member: str) -> None:
        members = [each for each in self._members(key) if each != member]
        if members:
            self._cache.set(key, _encode(members))
        else:
            self._cache.delete(key)

    def _members(self, key: str) -> list[str]:
        members: list[str] = ujson.loads(self._cache.get(key, "[]"))
        return members

    def _enter(self, state: str, member: str) -> None:
        self._cache.incr(f"count {state}")
        if state in _LIVE:
            self._join("live", member)

    def _leave(self, state: str, member: str) -> None:
        self._cache.decr(f"count {state}")
        if state in _LIVE:
            self._part("live", member)

    def _add_event(self, key: str, message: str, now: int) -> str:
        event = _encode(new_event(message))
        self._cache.set(f"events {key}", self._cache.get(f"events {key}", "") + event + "\n")
        self._log("CREATE", "ExecutionEvent", event, now)
        return event

    def _log(self, operation: str, kind: str, content: str, now: int) -> None:
        number = self._cache.incr("sequence")
        entry = '{"seqNum":%d,"operation":"%s","objectType":"%s","object":%s,"timestamp":%d}'
        self._cache.set(number, entry % (number, operation, kind, content, now))

    def update(self, number: int, state: str) -> int:
        key = execution_id(number)
        with self._cache.transact():
            previous, execution = self._load(key)
            old_state = execution["ComputeState"]["StateType"]
            if old_state in _TERMINAL:
                raise ValueError("it has ended")
            now = time.time_ns()
            execution["ComputeState"] = execution["ComputeState"] | {"StateType": state, "Message": f"now {state}"}
            execution["Revision"] += 1
            execution["ModifyTime"] = now
            record = _encode(execution)
            self._cache.set(f"execution {key}", record)
            if old_state != state:
                self._leave(old_state, key)
                self._enter(state, key)
            event = self._add_event(key, state, now)
            upsert = f'{{"Current":{record},"Previous":{previous},"Events":[{event}]}}'
            self._log("UPDATE", "ExecutionUpsert", upsert, now)
        return int(execution["Revision"])

    def _load(self, key: str) -> tuple[str, dict[str, Any]]:
        record: str = self._cache[f"execution {key}"]
        return record, ujson.loads(record)

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        with self._cache.transact():
            if f"execution {execution_id(number)}" not in self._cache:
                raise KeyError(execution_id(number))
            self._add_event(execution_id(number), "something happened", time.time_ns())
        return 1

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number)
        with self._cache.transact():
            previous, execution = self._load(key)
            self._cache.delete(f"execution {key}")
            self._cache.delete(f"events {key}")
            self._part(f"job {execution['JobID']}", key)
            self._leave(execution["ComputeState"]["StateType"], key)
            upsert = f'{{"Current":null,"Previous":{previous},"Events":null}}'
            self._log("DELETE", "ExecutionUpsert", upsert, time.time_ns())
        return 1

    def get(self, number: int, argument: str) -> int:  # noqa: ARG002
        return int(self._load(execution_id(number))[1]["Revision"])

    def list_job(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._newest_first(f"job {job_id(number)}"))

    def live(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._newest_first("live"))

    def _newest_first(self, key: str) -> list[dict[str, Any]]:
        found = [self._load(member)[1] for member in self._members(key)]
        found.sort(key=lambda execution: execution["ModifyTime"], reverse=True)
        return found

    def count(self, number: int, state: str) -> int:  # noqa: ARG002
        return int(self._cache.get(f"count {state}", 0))

    def events(self, number: int, argument: str) -> int:  # noqa: ARG002
        lines = self._cache[f"events {execution_id(number)}"].splitlines()
        return len([ujson.loads(line) for line in lines])

    def watch(self, number: int, argument: str) -> int:  # noqa: ARG002
        entries = (self._cache.get(each) for each in range(number, number + 100))
        return len([ujson.loads(entry) for entry in entries if entry is not None])


def _encode(value: Any) -> str:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False)
