"""SQLite, as a careful user would keep executions in it."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any, Final

import ujson

from execstore.bench.adapters.base import Adapter, new_event
from execstore.bench.workloads import LIVE_EVERY, execution_id, job_id

__all__ = ["SqliteAdapter"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS executions (
    id TEXT PRIMARY KEY, job_id TEXT, state TEXT, revision INT, modified INT, record TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_job ON executions (job_id);
CREATE INDEX IF NOT EXISTS by_state ON executions (state);
CREATE TABLE IF NOT EXISTS execution_events (
    execution_id TEXT, number INT, event TEXT, PRIMARY KEY (execution_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT, type TEXT, object TEXT, time INT
);
"""
_TERMINAL: Final = {"AskForBidRejected", "BidRejected", "Completed", "Failed", "Cancelled"}
_INSERT: Final = "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?)"
_LOG: Final = "INSERT INTO events (operation, type, object, time) VALUES (?, ?, ?, ?)"
_LIVE: Final = (
    "SELECT record FROM executions WHERE state IN ('BidAccepted', 'Running', 'Publishing') ORDER BY modified DESC"
)
_OWN: Final = "INSERT INTO execution_events SELECT ?, coalesce(max(number), 0) + 1, ? FROM execution_events"


class SqliteAdapter(Adapter):
    """WAL, ``synchronous=FULL`` (one flush a commit), one transaction an operation, a connection a thread.

    The record's JSON in a row, indexes on job and state, the events, and the event log with the execution before and
    after, by ujson, which is faster than the standard library's json. Nothing is validated, an update checks only that
    the execution is there and hasn't ended, reads give parsed JSON (dicts), not objects.
    """

    def open(self) -> None:
        self._path = os.path.join(self.folder, "sqlite.db")
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._connection.executescript(_SCHEMA)

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
            self._all.append(connection)
        return connection

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def fill(self, count: int) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for number in range(count):
            self._create_in(connection, number, "New" if number % LIVE_EVERY else "Running")
        connection.execute("COMMIT")
        # The log keeps its room, as in a store that has been in use: while it grows, a commit takes two flushes.
        connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def create(self, number: int, state: str) -> int:
        with _Transaction(self._connection) as connection:
            if connection.execute("SELECT 1 FROM executions WHERE id = ?", (execution_id(number),)).fetchone():
                raise ValueError("there already")
            self._create_in(connection, number, state or "New")
        return 1

    def _create_in(self, connection: sqlite3.Connection, number: int, state: str) -> None:
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
        event = _encode(new_event("created"))
        connection.execute(_INSERT, (execution_id(number), job_id(number), state, 1, now, record))
        self._add_event(connection, number, event, now)
        upsert = f'{{"Current":{record},"Previous":null,"Events":[{event}]}}'
        connection.execute(_LOG, ("CREATE", "ExecutionUpsert", upsert, now))

    def _add_event(self, connection: sqlite3.Connection, number: int, event: str, now: int) -> None:
        connection.execute(_OWN + " WHERE execution_id = ?", (execution_id(number), event, execution_id(number)))
        connection.execute(_LOG, ("CREATE", "ExecutionEvent", event, now))

    def update(self, number: int, state: str) -> int:
        with _Transaction(self._connection) as connection:
            execution, previous = self._load(connection, number)
            if execution["ComputeState"]["StateType"] in _TERMINAL:
                raise ValueError("it has ended")
            now = time.time_ns()
            execution["ComputeState"] = execution["ComputeState"] | {"StateType": state, "Message": f"now {state}"}
            execution["Revision"] = revision = int(execution["Revision"]) + 1
            execution["ModifyTime"] = now
            record = _encode(execution)
            event = _encode(new_event(state))
            connection.execute(
                "UPDATE executions SET state = ?, revision = ?, modified = ?, record = ? WHERE id = ?",
                (state, revision, now, record, execution_id(number)),
            )
            self._add_event(connection, number, event, now)
            upsert = f'{{"Current":{record},"Previous":{previous},"Events":[{event}]}}'
            connection.execute(_LOG, ("UPDATE", "ExecutionUpsert", upsert, now))
        return revision

    @staticmethod
    def _load(connection: sqlite3.Connection, number: int) -> tuple[dict[str, Any], str]:
        row = connection.execute("SELECT record FROM executions WHERE id = ?", (execution_id(number),)).fetchone()
        if row is None:
            raise KeyError(execution_id(number))
        execution: dict[str, Any] = ujson.loads(row[0])
        return execution, row[0]

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        with _Transaction(self._connection) as connection:
            if not connection.execute("SELECT 1 FROM executions WHERE id = ?", (execution_id(number),)).fetchone():
                raise KeyError(execution_id(number))
            self._add_event(connection, number, _encode(new_event("something happened")), time.time_ns())
        return 1

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        with _Transaction(self._connection) as connection:
            row = connection.execute("SELECT record FROM executions WHERE id = ?", (execution_id(number),)).fetchone()
            if row is None:
                raise KeyError(execution_id(number))
            connection.execute("DELETE FROM executions WHERE id = ?", (execution_id(number),))
            connection.execute("DELETE FROM execution_events WHERE execution_id = ?", (execution_id(number),))
            upsert = f'{{"Current":null,"Previous":{row[0]},"Events":null}}'
            connection.execute(_LOG, ("DELETE", "ExecutionUpsert", upsert, time.time_ns()))
        return 1

    def get(self, number: int, argument: str) -> int:  # noqa: ARG002
        return int(self._load(self._connection, number)[0]["Revision"])

    def list_job(self, number: int, argument: str) -> int:  # noqa: ARG002
        query = "SELECT record FROM executions WHERE job_id = ? ORDER BY modified DESC"
        return len([ujson.loads(row[0]) for row in self._connection.execute(query, (job_id(number),))])

    def live(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len([ujson.loads(row[0]) for row in self._connection.execute(_LIVE)])

    def count(self, number: int, state: str) -> int:  # noqa: ARG002
        row = self._connection.execute("SELECT count(*) FROM executions WHERE state = ?", (state,)).fetchone()
        return int(row[0])

    def events(self, number: int, argument: str) -> int:  # noqa: ARG002
        query = "SELECT event FROM execution_events WHERE execution_id = ? ORDER BY number"
        return len([ujson.loads(row[0]) for row in self._connection.execute(query, (execution_id(number),))])

    def watch(self, number: int, argument: str) -> int:  # noqa: ARG002
        query = "SELECT seq, operation, type, object, time FROM events WHERE seq >= ? ORDER BY seq LIMIT 100"
        return len([(row, ujson.loads(row[3])) for row in self._connection.execute(query, (number,))])


class _Transaction:
    """``BEGIN IMMEDIATE``, so that two writers wait for each other instead of failing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _encode(value: dict[str, Any]) -> str:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False)
