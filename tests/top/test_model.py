"""Rows of what the log holds, rates, and what a snapshot says as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.event_log_status import WatcherStatus
from execstore.top.model import (
    Latency,
    Reading,
    event_row,
    execution_row,
    laggard_of,
    latency_of,
    rate_of,
    state_change,
)
from execstore.top.trend import StateChange
from execstore.watcher import Event, Operation
from tests.support import full_execution

_S = 1_000_000_000
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ID", "Job", "Name"]), inner, max_size=3)
    ),
    max_leaves=5,
)
_RECORDS = st.dictionaries(
    st.sampled_from(
        ["ID", "JobID", "Job", "ComputeState", "Namespace", "NodeID", "Revision", "CreateTime", "ModifyTime"]
    ),
    _JSON | st.fixed_dictionaries({"StateType": _JSON, "Message": _JSON}),
)


def upsert(old: Any, new: Any, operation: Operation = Operation.UPDATE) -> Event:
    return Event(7, operation, "ExecutionUpsert", {"Current": new, "Previous": old, "Events": None}, 9)


def test_a_row_has_what_the_record_says() -> None:
    row = execution_row(full_execution("e-1", "j-1").to_dict())
    assert (row.execution_id, row.job_id, row.job_name, row.namespace) == ("e-1", "j-1", "job-name", "ns")
    assert (row.node_id, row.state, row.message) == ("node-old", "New", "x")


def test_what_events_tell() -> None:
    new = full_execution("e-1", "j-1").to_dict()
    running = {**new, "ComputeState": {"StateType": "Running", "Message": "go"}}
    created = event_row(upsert(None, new))
    assert (created.states, created.text, created.job_name) == (("New",), "New: x", "job-name")
    moved = event_row(upsert(new, running))
    assert (moved.states, moved.text) == (("New", "Running"), "New → Running: go")
    deleted = event_row(upsert(running, None, Operation.DELETE))
    assert (deleted.states, deleted.text, deleted.execution_id) == (("Running",), "Running → deleted", "e-1")
    event = event_row(
        Event(1, Operation.CREATE, "ExecutionEvent", {"ExecutionID": "e-1", "Topic": "T", "Message": "m"}, 2)
    )
    assert (event.execution_id, event.text, event.states) == ("e-1", "T: m", ())
    other = event_row(Event(1, Operation.CREATE, "Mine", [1, {"a": None}], 2))
    assert (other.execution_id, other.text) == ("", '[1,{"a":null}]')
    assert state_change(upsert(new, running)) == StateChange(9, "New", "Running")
    assert state_change(upsert(running, None)) == StateChange(9, "Running", "")
    assert state_change(Event(1, Operation.CREATE, "Mine", None, 2)) == StateChange(2)


@pytest.mark.parametrize(("number", "name"), [(6, "Running"), ("Running", "Running"), (99, "ExecutionStateType(99)")])
def test_states_by_number_are_known(number: Any, name: str) -> None:
    assert execution_row({"ComputeState": {"StateType": number}}).state == name


@given(_RECORDS, _RECORDS)
def test_whatever_is_in_the_log_makes_a_row(old: dict[str, Any], new: dict[str, Any]) -> None:
    for event in (upsert(old, new), upsert(None, new), Event(1, Operation.CREATE, "ExecutionEvent", new, 2)):
        row = event_row(event)
        assert all(
            isinstance(text, str) for text in (row.execution_id, row.job_id, row.job_name, row.text, *row.states)
        )
        assert row.seq_num == event.seq_num
        state_change(event)
    assert isinstance(execution_row(new).create_time, int)


@given(_JSON)
def test_an_object_of_any_kind_makes_a_row(value: Any) -> None:
    for object_type in ("ExecutionUpsert", "ExecutionEvent", "Mine"):
        assert event_row(Event(1, Operation.CREATE, object_type, value, 2)).object_type == object_type


def test_rates() -> None:
    assert rate_of([], _S) == (None, None)
    assert rate_of([Reading(0, 5, 5)], _S) == (None, None)
    readings = [Reading(0, 0, None), Reading(5 * _S, 50, 10), Reading(15 * _S, 150, 60), Reading(15 * _S, 150, 60)]
    assert rate_of(readings[:2], 10 * _S) == (10.0, None)
    assert rate_of(readings[:3], 10 * _S) == (10.0, 5.0)
    assert rate_of(readings[:3], _S * 11) == (10.0, 5.0)
    assert rate_of(readings[2:], 10 * _S) == (None, None)


def test_latency_is_of_the_samples_alone() -> None:
    assert latency_of([]) is None
    assert latency_of([5, 1, 100]) == Latency(5, 100, 3)


def test_the_watcher_that_is_furthest_behind() -> None:
    watchers = [
        WatcherStatus("a", 9, 0, 0, False),
        WatcherStatus("b", 3, 6, 0, True),
        WatcherStatus("c", 5, 4, 2, False),
    ]
    found = laggard_of(watchers)
    assert found is not None
    assert found.watcher_id == "b"
    assert laggard_of(watchers[:1]) is None
    assert laggard_of([]) is None
