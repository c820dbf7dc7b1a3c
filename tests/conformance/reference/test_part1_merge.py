"""Part 1 of the reference's behaviour, the store's share in an update: revision, times, indexes, events, what is left.

Which value the merge gives each field is pinned in tests/test_merge.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from execstore import (
    DesiredState,
    Execution,
    ExecutionState,
    ExecutionUpsert,
    RunCommandResult,
    SpecConfig,
    State,
    Store,
    UpdateExecutionRequest,
)
from execstore.watcher import Operation
from tests.support import FakeClock, full_execution, log_entries, make_event, make_request

RUNNING = ExecutionState.RUNNING


@pytest.mark.parametrize(
    ("new_values", "after"),
    [
        ({"Name": ""}, {}),
        ({"Name": "name-new"}, {"Name": "name-new"}),
        ({"Namespace": "ns-new"}, {"Namespace": "ns-new"}),
        ({"EvalID": "eval-new"}, {"EvalID": "eval-new"}),
        ({"NodeID": "node-new"}, {"NodeID": "node-new"}),
        ({"JobVersion": 0}, {}),
        ({"JobVersion": 9}, {"JobVersion": 9}),
        ({"PartitionIndex": 0}, {}),
        ({"PartitionIndex": -1}, {"PartitionIndex": -1}),
        ({"PreviousExecution": "p-new"}, {"PreviousExecution": "p-new"}),
        ({"NextExecution": "n-new"}, {"NextExecution": "n-new"}),
        ({"FollowupEvalID": "f-new"}, {"FollowupEvalID": "f-new"}),
        ({"Revision": 99}, {}),
        ({"CreateTime": 1, "ModifyTime": 2}, {}),
        (
            {"ComputeState": {"StateType": "Running", "Message": "y", "Details": {"k": "", "added": "1"}}},
            {
                "ComputeState": {
                    "StateType": "Running",
                    "Message": "y",
                    "Details": {"k": "old", "keep": "kept", "added": "1"},
                }
            },
        ),
        (
            {"ComputeState": {"StateType": 0, "Message": "y"}},
            {"ComputeState": {"StateType": "New", "Message": "y", "Details": {"k": "old", "keep": "kept"}}},
        ),
        ({"DesiredState": {"StateType": 0}}, {}),
        (
            {"DesiredState": {"StateType": 2, "Details": {"d": "new"}}},
            {"DesiredState": {"StateType": "Stopped", "Message": "desired-old", "Details": {"d": "new"}}},
        ),
        ({"AllocatedResources": None}, {}),
        ({"AllocatedResources": {"Tasks": None}}, {}),
        (
            {"AllocatedResources": {"Tasks": {"t1": {"CPU": 9}, "t3": {"Memory": 3}}}},
            {"AllocatedResources": {"Tasks": {"t1": {"CPU": 9, "Memory": 100}, "t2": {"CPU": 2}, "t3": {"Memory": 3}}}},
        ),
        ({"PublishedResult": None}, {}),
        (
            {"PublishedResult": {"Type": "", "Params": {"Bucket": "new", "list": ["n"]}}},
            {
                "PublishedResult": {
                    "Type": "s3",
                    "Params": {"Bucket": "new", "keep": "kept", "list": ["n"], "null": None},
                }
            },
        ),
        ({"RunOutput": {}}, {}),
        (
            {"RunOutput": {"Stdout": "new", "ExitCode": -1}},
            {
                "RunOutput": {
                    "Stdout": "new",
                    "StdoutTruncated": True,
                    "stderr": "err-old",
                    "StderrTruncated": True,
                    "ExitCode": -1,
                    "ErrorMsg": "errmsg-old",
                }
            },
        ),
        (
            {"Job": {"Name": "new-name", "Meta": {"k": "new"}}},
            {
                "Job": {
                    "ID": "job1",
                    "Name": "new-name",
                    "Namespace": "ns-job",
                    "Type": "batch",
                    "Priority": 7,
                    "Count": 1,
                    "Meta": {"k": "new"},
                }
            },
        ),
    ],
)
def test_an_update_stores_the_merge(
    store: Store, clock: FakeClock, new_values: dict[str, Any], after: dict[str, Any]
) -> None:
    before = store.create_execution(full_execution()).to_dict()
    clock.now_ns += 1_000
    returned = store.update_execution_state(UpdateExecutionRequest("e1", Execution.from_dict(new_values)))
    stored = store.get_execution("e1")
    assert returned == stored
    assert stored.to_dict() == before | {"Revision": 2, "ModifyTime": clock.now_ns} | after


def test_an_update_without_values_counts_as_one(store: Store, clock: FakeClock) -> None:
    created = store.create_execution(full_execution())
    clock.now_ns += 5
    updated = store.update_execution_state(UpdateExecutionRequest("e1"))
    assert updated == created.replace(revision=2, modify_time=clock.now_ns)
    event = log_entries(store)[-1]
    assert (event.operation, event.object_type) == (Operation.UPDATE, "ExecutionUpsert")
    assert event.object == ExecutionUpsert(updated, created, None)


def test_the_state_index_moves_with_the_state(store: Store) -> None:
    store.create_execution(full_execution())
    store.update_execution_state(make_request("e1", RUNNING))
    assert [store.get_execution_count(state) for state in (ExecutionState.NEW, RUNNING)] == [0, 1]
    assert [execution.id for execution in store.get_live_executions()] == ["e1"]


def test_the_events_of_an_update_are_stored_with_it(store: Store) -> None:
    store.create_execution(full_execution(), make_event("a"))
    store.update_execution_state(make_request("e1", RUNNING, make_event("b"), make_event("c")))
    assert [event.message for event in store.get_execution_events("e1")] == ["a", "b", "c"]
    upsert = log_entries(store)[-1].object
    assert [event.message for event in upsert.events] == ["b", "c"]


def test_what_the_caller_gave_is_left_as_it_was(store: Store) -> None:
    job = {"ID": "job1", "Name": "given"}
    details = {"mine": "1"}
    params = {"Bucket": "new"}
    created = Execution(
        id="e1",
        job_id="job1",
        job=job,
        compute_state=State(ExecutionState.NEW, "", details),
        published_result=SpecConfig("s3", params),
    )
    before = created.to_dict()
    store.create_execution(created)
    store.update_execution_state(
        UpdateExecutionRequest("e1", Execution(job={"Priority": 7}, compute_state=State(RUNNING, "", {"other": "2"})))
    )
    store.update_execution_state(UpdateExecutionRequest("e1", created.replace(job=job)))
    assert (job, details, params) == ({"ID": "job1", "Name": "given"}, {"mine": "1"}, {"Bucket": "new"})
    assert created.to_dict() == before


@pytest.mark.parametrize(
    ("field", "zero"),
    [
        ("name", ""),
        ("job_version", 0),
        ("partition_index", 0),
        ("desired_state", State(DesiredState.PENDING)),
        ("published_result", SpecConfig()),
        ("run_output", RunCommandResult()),
        ("allocated_resources", {"Tasks": {}}),
    ],
)
def test_a_cleared_field_reads_as_if_nothing_had_been_there(store: Store, field: str, zero: object) -> None:
    created = store.create_execution(full_execution())
    updated = store.update_execution_state(make_request("e1", clear=(field,)))
    expected = created.replace(revision=2, modify_time=updated.modify_time, **{field: zero})
    assert updated == expected
    assert store.get_execution("e1") == expected
