from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.codec import MAX_DEPTH
from execstore.errors import InvalidArgumentError, InvalidExecutionError
from execstore.merge import CLEARABLE, clear_fields, merge_execution
from execstore.models import Execution, RunCommandResult, SpecConfig, State
from execstore.states import DesiredState, ExecutionState
from tests.strategies import executions_of

GPU = {"Index": 0, "Memory": 0, "Name": "old", "PCIAddress": "", "Vendor": ""}
PARAMS = {
    "Bucket": "old",
    "empty": "",
    "flag": False,
    "keep": "kept",
    "list": ["o1", "o2"],
    "n": {"both": "old", "old": 1},
    "null": None,
    "zero": 0,
}


def stored(**changes: Any) -> Execution:
    """What is stored before, in every row of part 1 of the reference's behaviour."""
    return Execution(
        id="e1",
        namespace="ns",
        eval_id="eval-old",
        name="name-old",
        node_id="node-old",
        job_id="job1",
        job=job(),
        job_version=3,
        allocated_resources={
            "Tasks": {"t1": {"CPU": 1, "Disk": 10, "GPU": 1, "GPUs": [GPU], "Memory": 100}, "t2": {"CPU": 2}}
        },
        desired_state=State(DesiredState.RUNNING, "desired-old", {"d": "old"}),
        compute_state=State(ExecutionState.NEW, "x", {"k": "old", "keep": "kept"}),
        published_result=SpecConfig("s3", copy.deepcopy(PARAMS)),
        run_output=RunCommandResult("out-old", True, "err-old", True, 5, "errmsg-old"),
        previous_execution="prev-old",
        next_execution="next-old",
        followup_eval_id="follow-old",
        partition_index=4,
        revision=1,
        create_time=10,
        modify_time=20,
    ).replace(**changes)


def job() -> dict[str, Any]:
    return {
        "ID": "job1",
        "Name": "job-name",
        "Namespace": "ns-job",
        "Type": "batch",
        "Priority": 7,
        "Count": 1,
        "Meta": {"k": "old", "keep": "kept"},
        "Labels": {"l": "old"},
        "Tasks": [{"Name": "task1", "Engine": {"Type": "noop"}}],
        "State": {"StateType": "Pending"},
        "Version": 1,
    }


def merged(**new_values: Any) -> dict[str, Any]:
    """The members that an update with ``new_values`` changes, by field, and nothing else."""
    before, after = stored(), merge_execution(stored(), Execution(**new_values))
    fields = before.__dict__.keys()
    return {field: getattr(after, field) for field in fields if getattr(after, field) != getattr(before, field)}


RUNNING = State(ExecutionState.RUNNING)
RESOURCES = stored().allocated_resources or {}
TASKS = RESOURCES["Tasks"]


@pytest.mark.parametrize(
    ("new_values", "changed"),
    [
        ({"name": ""}, {}),
        ({"name": "name-new"}, {"name": "name-new"}),
        ({"namespace": "ns-new"}, {"namespace": "ns-new"}),
        ({"namespace": ""}, {}),
        ({"eval_id": "eval-new"}, {"eval_id": "eval-new"}),
        ({"node_id": "node-new"}, {"node_id": "node-new"}),
        ({"job_version": 0}, {}),
        ({"job_version": 9}, {"job_version": 9}),
        ({"partition_index": 0}, {}),
        ({"partition_index": -1}, {"partition_index": -1}),
        ({"previous_execution": "p-new"}, {"previous_execution": "p-new"}),
        ({"next_execution": "n-new"}, {"next_execution": "n-new"}),
        ({"followup_eval_id": "f-new"}, {"followup_eval_id": "f-new"}),
        ({"revision": 99, "create_time": 1, "modify_time": 2}, {}),
        ({"id": "e1"}, {}),
        ({"job_id": "job2"}, {"job_id": "job2"}),
        (
            {"compute_state": RUNNING},
            {"compute_state": State(ExecutionState.RUNNING, "x", {"k": "old", "keep": "kept"})},
        ),
        (
            {"compute_state": State(ExecutionState.RUNNING, "y")},
            {"compute_state": State(ExecutionState.RUNNING, "y", {"k": "old", "keep": "kept"})},
        ),
        (
            {"compute_state": State(ExecutionState.UNDEFINED, "y")},
            {"compute_state": State(ExecutionState.NEW, "y", {"k": "old", "keep": "kept"})},
        ),
        ({"compute_state": State(ExecutionState.UNDEFINED)}, {}),
        (
            {"compute_state": State(ExecutionState.RUNNING, details={"k": "new", "added": "1"})},
            {"compute_state": State(ExecutionState.RUNNING, "x", {"k": "new", "keep": "kept", "added": "1"})},
        ),
        (
            {"compute_state": State(ExecutionState.RUNNING, details={"k": ""})},
            {"compute_state": State(ExecutionState.RUNNING, "x", {"k": "old", "keep": "kept"})},
        ),
        (
            {"compute_state": State(ExecutionState.RUNNING, details={})},
            {"compute_state": State(ExecutionState.RUNNING, "x", {"k": "old", "keep": "kept"})},
        ),
        ({"desired_state": State(DesiredState.PENDING)}, {}),
        (
            {"desired_state": State(DesiredState.STOPPED, details={"d": "new"})},
            {"desired_state": State(DesiredState.STOPPED, "desired-old", {"d": "new"})},
        ),
        ({"allocated_resources": None}, {}),
        ({"allocated_resources": {"Tasks": None}}, {}),
        (
            {"allocated_resources": {"Tasks": {"t1": {"CPU": 9}, "t3": {"Memory": 3}}}},
            {"allocated_resources": {"Tasks": {**TASKS, "t1": {**TASKS["t1"], "CPU": 9}, "t3": {"Memory": 3}}}},
        ),
        (
            {"allocated_resources": {"Tasks": {"t1": {"GPUs": [{"Name": "new"}]}, "t2": None}}},
            {"allocated_resources": {"Tasks": {**TASKS, "t1": {**TASKS["t1"], "GPUs": [{"Name": "new"}]}}}},
        ),
        # Where the reference drops the stored null, it stays.
        ({"published_result": None}, {}),
        ({"published_result": SpecConfig("ipfs")}, {"published_result": SpecConfig("ipfs", PARAMS)}),
        (
            {
                "published_result": SpecConfig(
                    "", {"Bucket": "new", "added": True, "n": {"new": 2, "both": "new"}, "list": ["n"]}
                )
            },
            {
                "published_result": SpecConfig(
                    "s3",
                    {
                        **PARAMS,
                        "Bucket": "new",
                        "added": True,
                        "list": ["n"],
                        "n": {"both": "new", "new": 2, "old": 1},
                    },
                )
            },
        ),
        (
            {
                "published_result": SpecConfig(
                    params={
                        "Bucket": "",
                        "keep": 0,
                        "n": {},
                        "list": [],
                        "zero": 7,
                        "empty": "s",
                        "flag": True,
                        "null": 1,
                    }
                )
            },
            {"published_result": SpecConfig("s3", {**PARAMS, "empty": "s", "flag": True, "null": 1, "zero": 7})},
        ),
        (
            {
                "published_result": SpecConfig(
                    params={"Bucket": None, "n": "string over map", "list": {"map": "over list"}, "keep": ["l"]}
                )
            },
            {
                "published_result": SpecConfig(
                    "s3", {**PARAMS, "keep": ["l"], "list": {"map": "over list"}, "n": "string over map"}
                )
            },
        ),
        ({"run_output": None}, {}),
        ({"run_output": RunCommandResult()}, {}),
        (
            {"run_output": RunCommandResult(stdout="new", exit_code=0)},
            {"run_output": RunCommandResult("new", True, "err-old", True, 5, "errmsg-old")},
        ),
        (
            {"run_output": RunCommandResult(exit_code=-1, error_msg="new")},
            {"run_output": RunCommandResult("out-old", True, "err-old", True, -1, "new")},
        ),
        ({"job": None}, {}),
        ({"job": {}}, {}),
        (
            {"job": {"Name": "new-name", "Meta": {"k": "new", "added": "1"}, "Labels": {"l": ""}}},
            {"job": {**job(), "Name": "new-name", "Meta": {"k": "new", "keep": "kept", "added": "1"}}},
        ),
        ({"job": {"Priority": 0, "Count": 0, "Tasks": [], "State": {"StateType": ""}, "Meta": None}}, {}),
        (
            {"job": {"Tasks": [{"Name": "only-name", "Engine": {"Type": "wasm"}}]}},
            {"job": {**job(), "Tasks": [{"Name": "only-name", "Engine": {"Type": "wasm"}}]}},
        ),
        ({"job": {"Version": 2**64 + 1}}, {"job": {**job(), "Version": 2**64 + 1}}),
    ],
)
def test_each_row_of_the_references_merge(new_values: dict[str, Any], changed: dict[str, Any]) -> None:
    assert merged(**new_values) == changed


@pytest.mark.parametrize(
    ("old", "new", "after"),
    [
        ("s", 5, 5),
        (5, {"a": 1}, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        ("", {"a": 1}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, "s", "s"),
        ([1], {"a": 1}, {"a": 1}),
        ({"a": 1}, [1], [1]),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None, "b": 2}, {"a": 1, "b": 2}),
        ([1, 2], [3], [3]),
        ([1, 2], [], [1, 2]),
        ([], [3], [3]),
        (True, False, True),
        (5, 0, 5),
        (5.5, 0.0, 5.5),
        ({"a": "1", "c": "3"}, {"a": "2"}, {"a": "2", "c": "3"}),
        (["a", "b"], ["c"], ["c"]),
        ({"x": {"y": 1, "z": 2}}, {"x": {"w": 3, "y": 0}}, {"x": {"w": 3, "y": 1, "z": 2}}),
        (2**64 + 1, 0, 2**64 + 1),
        (0, None, 0),
        (None, 0, None),
        ({}, None, {}),
    ],
)
@pytest.mark.parametrize("field", ["published_result", "job", "extra"])
def test_each_row_of_the_references_merge_of_a_parameter(field: str, old: Any, new: Any, after: Any) -> None:
    def holding(value: dict[str, Any]) -> Execution:
        if field == "published_result":
            return Execution(published_result=SpecConfig("s3", value))
        return Execution().replace(**{field: value})

    merged = merge_execution(holding({"v": old, "other": 1}), holding({"v": new}))
    assert merged == holding({"v": after, "other": 1})
    members = merged.published_result.params if merged.published_result else getattr(merged, field)
    assert type(members["v"]) is type(after)
    assert list(members) == ["v", "other"]


@pytest.mark.parametrize("new", [0, None, "", False, [], {}, 5])
def test_a_member_that_was_not_there_is_added_whatever_it_is(new: Any) -> None:
    after = merge_execution(Execution(job={"a": 1}), Execution(job={"b": new}))
    assert after.job == {"a": 1, "b": new}


def test_what_was_missing_is_taken_whole() -> None:
    new_values = Execution(
        job={"a": 0}, allocated_resources={}, published_result=SpecConfig(), run_output=RunCommandResult()
    )
    after = merge_execution(Execution(), new_values)
    assert after == new_values


def test_unknown_members_are_merged_at_every_level() -> None:
    def with_extra(extra: dict[str, Any]) -> Execution:
        return Execution(
            desired_state=State(DesiredState.RUNNING, extra=extra),
            compute_state=State(ExecutionState.NEW, extra=extra),
            published_result=SpecConfig(extra=extra),
            run_output=RunCommandResult(extra=extra),
            extra=extra,
        )

    after = merge_execution(with_extra({"a": {"x": 1}, "b": 2}), with_extra({"a": {"y": 0}, "b": 0, "c": None}))
    assert after == with_extra({"a": {"x": 1, "y": 0}, "b": 2, "c": None})


def test_a_default_namespace_that_was_asked_for_overwrites() -> None:
    assert merge_execution(stored(), Execution()).namespace == "ns"
    assert merge_execution(stored(), Execution.from_dict({})).namespace == "ns"
    assert merge_execution(stored(), Execution(namespace="default")).namespace == "default"


def test_a_partial_job_keeps_the_stored_namespace() -> None:
    after = merge_execution(stored(), Execution(job={"Name": "n"}))
    assert after.job is not None
    assert after.job["Namespace"] == "ns-job"


def test_an_unnamed_state_is_merged_like_another() -> None:
    unnamed = ExecutionState.from_number(99)
    after = merge_execution(stored(), Execution(compute_state=State(unnamed)))
    assert after.compute_state.state_type == unnamed
    assert merge_execution(after, Execution()).compute_state.state_type == unnamed


def test_a_job_nested_as_deep_as_can_be() -> None:
    def nested(bottom: dict[str, Any]) -> Execution:
        job = bottom
        for _ in range(MAX_DEPTH - 1):
            job = {"a": job}
        return Execution(job=job)

    inner: Any = merge_execution(nested({"x": 1}), nested({"y": 2})).job
    for _ in range(MAX_DEPTH - 1):
        inner = inner["a"]
    assert inner == {"x": 1, "y": 2}


# --- properties -----------------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "a", "b"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1) | st.just(2**64 + 1) | st.just(0.0) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=3)
details = st.dictionaries(texts, texts, max_size=3)
integers = st.integers(0, 2)
executions = executions_of(
    texts=texts,
    objects=objects,
    extras=objects,
    details=details,
    integers=integers,
    counts=integers,
    state_numbers=integers,
)
clears = st.lists(st.sampled_from(CLEARABLE), max_size=3)


@given(executions, executions, clears)
def test_neither_argument_is_changed(before: Execution, new_values: Execution, clear: list[str]) -> None:
    given_before, given_new_values = copy.deepcopy(before), copy.deepcopy(new_values)
    merge_execution(before, new_values, clear)
    assert repr(before) == repr(given_before)
    assert repr(new_values) == repr(given_new_values)


@given(executions)
def test_zero_new_values_change_nothing(before: Execution) -> None:
    assert repr(merge_execution(before, Execution())) == repr(before)


@given(executions, executions)
def test_the_same_update_twice_is_as_good_as_once(before: Execution, new_values: Execution) -> None:
    once = merge_execution(before, new_values)
    assert merge_execution(once, new_values) == once


@given(executions, executions)
def test_what_belongs_to_the_store_stays(before: Execution, new_values: Execution) -> None:
    after = merge_execution(before, new_values)
    for field in ("id", "revision", "create_time", "modify_time"):
        assert getattr(after, field) == getattr(before, field)


# --- clear ----------------------------------------------------------------------------------------------------------

ZERO: dict[str, Any] = {
    "allocated_resources": {"Tasks": {}},
    "compute_state.details": {},
    "compute_state.message": "",
    "desired_state": State(DesiredState.PENDING),
    "desired_state.details": {},
    "desired_state.message": "",
    "eval_id": "",
    "followup_eval_id": "",
    "job_version": 0,
    "name": "",
    "next_execution": "",
    "node_id": "",
    "partition_index": 0,
    "previous_execution": "",
    "published_result": SpecConfig(),
    "published_result.params": {},
    "published_result.type": "",
    "run_output": RunCommandResult(),
    "run_output.error_msg": "",
    "run_output.exit_code": 0,
    "run_output.stderr": "",
    "run_output.stderr_truncated": False,
    "run_output.stdout": "",
    "run_output.stdout_truncated": False,
}


def test_what_can_be_cleared() -> None:
    assert list(CLEARABLE) == list(ZERO)


@pytest.mark.parametrize("name", ZERO)
def test_each_field_that_can_be_cleared(name: str) -> None:
    after = merge_execution(stored(), Execution(), [name])
    field, _, inner = name.partition(".")
    for other in stored().__dict__:
        if other != field:
            assert getattr(after, other) == getattr(stored(), other)
    part = getattr(after, field)
    if not inner:
        assert part == ZERO[name]
        assert type(part) is type(ZERO[name])
        return
    for other in part.__dict__:
        expected = ZERO[name] if other == inner else getattr(getattr(stored(), field), other)
        assert getattr(part, other) == expected


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "namespace",
        "job_id",
        "job",
        "revision",
        "create_time",
        "modify_time",
        "compute_state",
        "compute_state.state_type",
        "desired_state.state_type",
        "extra",
        "run_output.extra",
        "job.Name",
        "published_result.params.Bucket",
        "RunOutput",
        "run_output.",
        ".message",
        "",
        5,
        None,
        [],
    ],
)
def test_what_cannot_be_cleared_is_named(name: Any) -> None:
    with pytest.raises(InvalidExecutionError, match="can't be cleared; what can be: allocated_resources,") as caught:
        merge_execution(stored(), Execution(), ["run_output", name])
    assert caught.value.member == str(name)


@pytest.mark.parametrize("names", ["run_output", None, 5])
def test_a_single_name_is_no_list_of_them(names: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        clear_fields(stored(), names)
    assert caught.value.argument == "clear"


def test_a_new_value_replaces_what_is_cleared() -> None:
    after = merge_execution(
        stored(),
        Execution(
            run_output=RunCommandResult("new"),
            compute_state=State(ExecutionState.FAILED, details={"new": "1"}),
        ),
        ("run_output", "compute_state.details"),
    )
    assert after.run_output == RunCommandResult("new")
    assert after.compute_state == State(ExecutionState.FAILED, "x", {"new": "1"})


def test_clearing_what_is_not_there() -> None:
    assert merge_execution(Execution(), Execution(), ["published_result.params"]).published_result is None
    assert merge_execution(Execution(), Execution(), ["run_output"]).run_output == RunCommandResult()


def test_unknown_members_survive_the_clearing_of_a_field_beside_them() -> None:
    before = Execution(compute_state=State(ExecutionState.NEW, "m", extra={"x": 1}))
    after = merge_execution(before, Execution(), ["compute_state.message"])
    assert after.compute_state == State(ExecutionState.NEW, extra={"x": 1})
