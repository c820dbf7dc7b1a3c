"""A database of the real store, imported: every read is what the real store reads."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from execstore.errors import ExecutionEventsNotFoundError, ExecutionNotFoundError, ExecutionsNotFoundForJobError
from execstore.interop import gojson
from execstore.interop.bacalhau import BacalhauDatabase
from execstore.interop.importing import import_new
from execstore.watcher import EventIterator, GetEventsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from execstore.interop.items import ImportReport

# Stored exactly by the reference, rounded by its reads; we keep what is stored.
ROUNDED_BY_THE_REFERENCE = {"numbers-unread"}
NEVER = timedelta(days=36500)


@pytest.fixture(scope="module")
def imported(database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImportReport]:
    path = tmp_path_factory.mktemp("imported") / "store"
    with BacalhauDatabase.open(database) as source:
        report = import_new(source, path)
    return path, report


@pytest.fixture(scope="module")
def store(imported: tuple[Path, ImportReport]) -> Iterator[Store]:
    with Store(imported[0], event_retention=NEVER) as opened:
        yield opened


def test_report(imported: tuple[Path, ImportReport], expected: dict[str, Any]) -> None:
    report = imported[1]
    assert report.executions == len(expected["executions"])
    assert report.execution_events == sum(len(events) for events in expected["execution_events"].values())
    assert report.log_events == expected["latest_event_num"]
    assert (report.checkpoints, report.watcher_checkpoints) == (5, 4)
    assert (report.skipped, report.conflicts, report.notes, report.already_there) == ([], [], [], 0)


def test_executions_member_by_member(store: Store, expected: dict[str, Any]) -> None:
    assert {execution.id for execution in store.list_executions()} == set(expected["executions"])
    for execution_id, members in expected["executions"].items():
        stored = json.loads(expected["executions_stored_bytes"][execution_id])
        execution = store.get_execution(execution_id).to_dict(numbers=True)
        assert execution == (stored if execution_id in ROUNDED_BY_THE_REFERENCE else members)


def test_executions_go_back_byte_for_byte(store: Store, expected: dict[str, Any]) -> None:
    for execution in store.list_executions():
        assert gojson.execution_bytes(execution).decode() == expected["executions_stored_bytes"][execution.id]


def test_lists_in_order(store: Store, expected: dict[str, Any]) -> None:
    for job_id, ids in expected["executions_by_job"].items():
        assert [execution.id for execution in store.get_executions(job_id)] == ids
    assert [execution.id for execution in store.get_live_executions()] == expected["live_executions"]


def test_counts(store: Store, expected: dict[str, Any]) -> None:
    for name, number in expected["counts"].items():
        assert store.get_execution_count(ExecutionState(name)) == number
    assert sum(store.counts().values()) == len(expected["executions"])


def test_events(store: Store, expected: dict[str, Any]) -> None:
    for execution_id, events in expected["execution_events"].items():
        assert [event.to_dict() for event in store.get_execution_events(execution_id)] == events
    for execution_id, message in expected["no_execution_events"].items():
        with pytest.raises(ExecutionEventsNotFoundError) as caught:
            store.get_execution_events(execution_id)
        assert str(caught.value) == message


def test_deleted_ones_stay_deleted(store: Store, expected: dict[str, Any]) -> None:
    for deleted in expected["deleted"]:
        with pytest.raises(ExecutionNotFoundError) as not_found:
            store.get_execution(deleted["id"])
        assert str(not_found.value) == deleted["get"]
        with pytest.raises(ExecutionEventsNotFoundError) as no_events:
            store.get_execution_events(deleted["id"])
        assert str(no_events.value) == deleted["events"]
        if "executions" in deleted:
            with pytest.raises(ExecutionsNotFoundForJobError) as no_job:
                store.get_executions(deleted["job"])
            assert str(no_job.value) == deleted["executions"]


def test_checkpoints(store: Store, expected: dict[str, Any]) -> None:
    for name, number in expected["checkpoints"].items():
        assert store.get_checkpoint(name) == number
    for watcher_id, number in expected["watcher_checkpoints"].items():
        assert store.event_store.get_checkpoint(watcher_id) == number


def test_watcher_events_with_their_numbers_and_times(store: Store, expected: dict[str, Any]) -> None:
    events = store.event_store
    assert events.get_latest_event_num() == expected["latest_event_num"]
    response = events.get_events(GetEventsRequest(EventIterator.trim_horizon()))
    assert str(response.next_event_iterator) == expected["watcher_next_iterator"]
    assert len(response.events) == len(expected["watcher_events"])
    for event, real in zip(response.events, expected["watcher_events"], strict=True):
        object_ = None if event.object is None else event.object.to_dict(numbers=True)
        if object_ is not None and event.object_type == "ExecutionEvent":
            # The member that the reference lacks; what it wrote names no execution.
            assert object_.pop("ExecutionID") == ""
        if real["event_reserialises_to_stored_bytes"]:
            assert object_ == real["event"]["object"]
        assert {
            "seqNum": event.seq_num,
            "operation": event.operation.value,
            "objectType": event.object_type,
            "timestamp": event.timestamp,
        } == {name: value for name, value in real["event"].items() if name != "object"}


def test_store_goes_on_where_the_other_stopped(
    imported: tuple[Path, ImportReport], expected: dict[str, Any], tmp_path: Path, database: Path
) -> None:
    path = tmp_path / "store"
    with BacalhauDatabase.open(database) as source:
        import_new(source, path)
    with Store(path, event_retention=NEVER) as store:
        before = store.get_execution("unknown-state")
        store.delete_execution("unknown-state")
        assert store.event_store.get_latest_event_num() == expected["latest_event_num"] + 1
        assert store.get_execution_count(before.compute_state.state_type) == 0
        store.create_execution(before.replace(compute_state=store.get_execution("a").compute_state, revision=0))
        assert store.get_executions(before.job_id)[0].id == "unknown-state"
