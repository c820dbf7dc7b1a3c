"""A store as an SQLite database: its tables, and bringing them up to date."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Event, Execution, ExecutionState, RunCommandResult, State, Store, UpdateExecutionRequest
from execstore.errors import InvalidArgumentError
from execstore.interop.bacalhau import BacalhauDatabase
from execstore.interop.importing import import_new
from execstore.interop.sqlite import append_sqlite, export_sqlite
from execstore.interop.sqlite_schema import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StoreFactory


def query(path: Path, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(sql, arguments).fetchall()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the tables, in one order."""
    return {table: sorted(query(path, f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def create(store: Store, execution_id: str, job_id: str = "j-1", **job: Any) -> Execution:
    return store.create_execution(
        Execution(execution_id, "ns", job_id=job_id, job=job, compute_state=State(ExecutionState.NEW)),
        Event("made", f"made {execution_id}", "2026-01-02T03:04:05.5+01:00", {"k": "v"}),
    )


def update(store: Store, execution_id: str, state: ExecutionState, **job: Any) -> None:
    new_values = Execution(
        compute_state=State(state, "why"), run_output=RunCommandResult(exit_code=3, error_msg="bad"), job=job or None
    )
    store.update_execution_state(UpdateExecutionRequest(execution_id, new_values))


@pytest.fixture
def store(open_store: StoreFactory) -> Store:
    store = open_store()
    create(store, "e-1", Name="first", Type="batch", Priority=5, Count=2, Version=2**64 - 1)
    create(store, "e-2", "j-2", Name=7)
    update(store, "e-1", ExecutionState.FAILED)
    store.checkpoint("big", 2**64 - 1)
    store.event_store.store_checkpoint("w", 3)
    return store


def test_columns(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    report = export_sqlite(store, path)
    assert (report.executions, report.execution_events, report.log_events, report.checkpoints) == (2, 2, 5, 2)
    execution = store.get_execution("e-1")
    row = query(path, "SELECT job_id, state, state_message, exit_code, error_message, revision FROM executions")[0]
    assert row == ("j-1", "Failed", "why", 3, "bad", 2)
    created, created_ns, text = query(path, "SELECT create_time, create_time_ns, json FROM executions")[0]
    assert created_ns == execution.create_time
    assert created.startswith("20")
    assert Execution.from_dict(json.loads(text)) == execution
    assert query(path, "SELECT id, name, type, priority, count, version FROM jobs") == [
        ("j-1", "first", "batch", 5, 2, str(2**64 - 1)),
        ("j-2", None, None, None, None, None),
    ]
    events = query(path, "SELECT execution_id, number, topic, message, time, time_ns, details FROM execution_events")
    assert events[0] == ("e-1", 1, "made", "made e-1", "2026-01-02T03:04:05.5+01:00", 1767319445500000000, '{"k":"v"}')
    log = query(path, "SELECT seq_num, operation, object_type, execution_id FROM events")
    assert log[1] == (2, "CREATE", "ExecutionUpsert", "e-1")
    assert log[4] == (5, "UPDATE", "ExecutionUpsert", "e-1")
    assert query(path, "SELECT * FROM checkpoints") == [("big", str(2**64 - 1))]
    assert query(path, "SELECT * FROM watcher_checkpoints") == [("w", 3)]


def test_database_is_sound_and_indexed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    export_sqlite(store, path)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []
    for sql in (
        "SELECT * FROM executions WHERE job_id = 'j-1'",
        "SELECT * FROM executions WHERE state = 'New'",
        "SELECT * FROM execution_events WHERE execution_id = 'e-1'",
        "SELECT * FROM events WHERE execution_id = 'e-1'",
    ):
        plan = query(path, f"EXPLAIN QUERY PLAN {sql}")[0][3]
        assert plan.startswith("SEARCH"), plan


def test_real_data(database: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    with BacalhauDatabase.open(database) as source:
        import_new(source, tmp_path / "store")
    path = tmp_path / "out.sqlite"
    with Store(tmp_path / "store", read_only=True, event_retention=timedelta(days=36500)) as store:
        export_sqlite(store, path)
    counts = dict(query(path, "SELECT state, COUNT(*) FROM executions GROUP BY state"))
    assert counts == {name: number for name, number in expected["counts"].items() if number}
    for job_id, ids in expected["executions_by_job"].items():
        found = query(path, "SELECT id FROM executions WHERE job_id = ? ORDER BY modify_time_ns DESC", job_id)
        assert [execution_id for (execution_id,) in found] == ids
    assert query(path, "SELECT COUNT(*), MAX(seq_num) FROM events") == [(1273, 1273)]
    assert query(path, "PRAGMA foreign_key_check") == []


def test_nothing_is_overwritten_and_nothing_left_behind(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out" / "out.sqlite"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(InvalidArgumentError, match="is there already"):
        export_sqlite(store, path)
    assert path.read_text() == "mine"
    store.close()
    path.unlink()
    with pytest.raises(Exception, match="closed"):
        export_sqlite(store, path)
    assert list(path.parent.iterdir()) == []


# --- bringing it up to date ---


def test_append_makes_what_a_new_export_would(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    export_sqlite(store, path)
    create(store, "e-3", "j-2", Name="second", Type="ops")
    create(store, "e-4", "j-4")
    update(store, "e-3", ExecutionState.RUNNING, Name="second", Type="service")
    store.add_execution_event("e-1", Event("later"))
    store.delete_execution("e-2")
    store.delete_execution("e-4")
    store.checkpoint("big", 7)
    report = append_sqlite(store, path)
    assert (report.executions, report.log_events) == (2, 8)
    export_sqlite(store, tmp_path / "new.sqlite")
    assert contents(path) == contents(tmp_path / "new.sqlite")
    assert query(path, "PRAGMA foreign_key_check") == []


def test_append_of_nothing_and_to_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    assert append_sqlite(store, path).executions == 2
    before = contents(path)
    assert append_sqlite(store, path).log_events == 0
    assert contents(path) == before


def test_last_execution_of_a_job_takes_the_job_with_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    export_sqlite(store, path)
    store.delete_execution("e-2")
    append_sqlite(store, path)
    assert query(path, "SELECT id FROM jobs") == [("j-1",)]


def test_events_that_name_no_execution_make_it_read_all(tmp_path: Path, database: Path) -> None:
    with BacalhauDatabase.open(database) as source:
        import_new(source, tmp_path / "store")
    path = tmp_path / "out.sqlite"
    with Store(tmp_path / "store", event_retention=timedelta(days=36500)) as store:
        export_sqlite(store, path)
        expected_contents = contents(path)
        with contextlib.closing(sqlite3.connect(path)) as changed, changed:
            changed.execute("UPDATE execstore_export SET value = 100 WHERE name = 'last_seq_num'")
            changed.execute("DELETE FROM events WHERE seq_num > 100")
            changed.execute("UPDATE executions SET state = 'Lost'")
        report = append_sqlite(store, path)
        assert report.executions == 215
        assert contents(path) == expected_contents


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE execstore_export", "no database that 'export sqlite' made"),
        ("DELETE FROM execstore_export WHERE name = 'store_id'", "no database that 'export sqlite' made"),
        ("UPDATE execstore_export SET value = 'x' WHERE name = 'store_id'", "another store"),
        ("UPDATE execstore_export SET value = 99 WHERE name = 'format_version'", "format 99"),
        ("UPDATE execstore_export SET value = 99 WHERE name = 'last_seq_num'", "restored"),
        ("DROP TABLE events", "no such table"),
    ],
)
def test_append_refuses_what_it_does_not_know(store: Store, tmp_path: Path, change: str, reason: str) -> None:
    path = tmp_path / "out.sqlite"
    export_sqlite(store, path)
    with contextlib.closing(sqlite3.connect(path)) as changed, changed:
        changed.execute(change)
    create(store, "e-3")
    before = path.read_bytes()
    with pytest.raises(InvalidArgumentError, match=reason):
        append_sqlite(store, path)
    assert path.read_bytes() == before


def test_append_to_no_database(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    path.write_bytes(b"just text, and enough of it to be a header of something" * 20)
    with pytest.raises(InvalidArgumentError, match="no database"):
        append_sqlite(store, path)
