from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import (
    InvalidArgumentError,
    InvalidExecutionError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
    NilExecutionError,
)
from execstore.models import (
    Event,
    Execution,
    ExecutionEvent,
    RunCommandResult,
    SpecConfig,
    State,
    UpdateExecutionCondition,
)
from execstore.states import DesiredState, ExecutionState
from execstore.timestamps import Timestamp
from execstore.validation import (
    MAX_ID_BYTES,
    check_event,
    check_execution,
    normalize_for_create,
    validate_condition,
    validate_for_create,
    validate_new_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def creatable(**changes: Any) -> Execution:
    """An execution that can be created, but for ``changes``; a state may be given by itself."""
    state = changes.pop("state", ExecutionState.NEW)
    return Execution(
        id="e1", namespace="default", job_id="job1", job={"ID": "job1"}, compute_state=State(state)
    ).replace(**changes)


# --- create: part 3 of the reference's behaviour --------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"revision": 1, "state": ExecutionState.BID_ACCEPTED},
        {"job": {}},
        {"job": {"ID": "another"}},
        {"job": {"Type": "x", "Count": -1}},
        {"job": {"Count": 1}, "partition_index": 7},
        {"job": {"Count": 3}, "partition_index": 2},
        {"job": {"Count": "3"}, "partition_index": 7},
        {"job": {"Count": True}, "partition_index": 7},
        {"job": {"Count": 3.0}, "partition_index": 7},
        {"job": {"Count": None}, "partition_index": 7},
        {"partition_index": -1},
        {"id": "x" * MAX_ID_BYTES},
        {"id": "é" * (MAX_ID_BYTES // 2)},
        {"id": "../../etc/passwd"},
        {"id": "\x01\x1c\x1f\x7f\u200b"},
        {"job_id": "a b\0"},
        {"namespace": "a b"},
        {"create_time": -1, "modify_time": 2},
    ],
)
def test_what_can_be_created(changes: dict[str, Any]) -> None:
    validate_for_create(creatable(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "missing execution ID"),
        ({"id": "  "}, "missing execution ID\nexecution ID contains a space"),
        ({"id": "a b"}, "execution ID contains a space"),
        ({"id": "a\tb"}, "execution ID contains a space"),
        ({"id": "a\nb"}, "execution ID contains a space"),
        ({"id": "a\0b"}, "execution ID contains a null character"),
        ({"id": "a \0b"}, "execution ID contains a space\nexecution ID contains a null character"),
        ({"namespace": ""}, "execution must be in a namespace"),
        ({"namespace": " \t"}, "execution must be in a namespace"),
        ({"job_id": ""}, "missing execution job ID"),
        ({"job_id": "\u3000"}, "missing execution job ID"),
        (
            {"id": "", "namespace": "", "job_id": ""},
            "missing execution ID\nexecution must be in a namespace\nmissing execution job ID",
        ),
        ({"job": None}, "job is nil"),
        ({"job": None, "namespace": ""}, "execution must be in a namespace"),
        ({"job": {"Count": 3}, "partition_index": 3}, "partition index must be between 0 and 2"),
        ({"job": {"Count": 3}, "partition_index": -1}, "partition index must be between 0 and 2"),
        ({"job": {"Count": 2**70}, "partition_index": 2**70}, f"partition index must be between 0 and {2**70 - 1}"),
    ],
)
def test_what_cannot_be_created_has_the_references_text(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        validate_for_create(creatable(**changes))
    assert str(caught.value) == f"CreateExecution failure: {message}"
    assert caught.value.reason == message


@pytest.mark.parametrize("space", "\t\n\v\f\r \x85\xa0\u1680\u2000\u2005\u200a\u2028\u2029\u202f\u205f\u3000")
def test_spaces_are_gos(space: str) -> None:
    with pytest.raises(InvalidExecutionError, match="contains a space"):
        validate_for_create(creatable(id=f"a{space}b"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"state": ExecutionState.UNDEFINED},
            "execution e1 is in state Undefined but expected one of [New BidAccepted]",
        ),
        ({"state": ExecutionState.RUNNING}, "execution e1 is in state Running but expected one of [New BidAccepted]"),
        (
            {"state": ExecutionState.from_number(99)},
            "execution e1 is in state ExecutionStateType(99) but expected one of [New BidAccepted]",
        ),
        (
            {"state": ExecutionState.RUNNING, "revision": 2, "id": ""},
            "execution  is in state Running but expected one of [New BidAccepted]",
        ),
    ],
)
def test_the_state_is_asked_first(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExecutionStateError) as caught:
        validate_for_create(creatable(**changes))
    assert str(caught.value) == message
    assert caught.value.expected == ("New", "BidAccepted")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": 2}, "execution e1 has revision 2 but expected 1"),
        ({"revision": 2, "id": ""}, "execution  has revision 2 but expected 1"),
    ],
)
def test_the_revision_is_asked_next(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExecutionRevisionError) as caught:
        validate_for_create(creatable(**changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "member", "reason"),
    [
        ({"id": "x" * (MAX_ID_BYTES + 1)}, "ID", "32769 bytes long, but at most 32768"),
        ({"id": "é" * (MAX_ID_BYTES // 2 + 1)}, "ID", "32770 bytes long"),
        ({"job_id": "x" * (MAX_ID_BYTES + 1)}, "JobID", "32769 bytes long"),
        ({"id": "a\udc80"}, "ID", "lone surrogate"),
        ({"job_id": "a\udc80"}, "JobID", "lone surrogate"),
    ],
)
def test_an_id_must_do_as_a_key(changes: dict[str, Any], member: str, reason: str) -> None:
    with pytest.raises(InvalidExecutionError, match=reason) as caught:
        validate_for_create(creatable(**changes))
    assert caught.value.member == member


@pytest.mark.parametrize("check", [normalize_for_create, validate_for_create, check_execution])
def test_none_is_no_execution(check: Any) -> None:
    with pytest.raises(NilExecutionError, match="execution is nil"):
        check(None)


@pytest.mark.parametrize("check", [normalize_for_create, validate_for_create, check_execution])
@pytest.mark.parametrize("value", [{}, "e1", Event("t"), Execution])
def test_other_things_are_no_execution(check: Any, value: Any) -> None:
    with pytest.raises(InvalidExecutionError, match="must be an Execution"):
        check(value)


def test_normalizing_gives_the_initial_values_and_nothing_else() -> None:
    job: dict[str, Any] = {"ID": "job1"}
    given = Execution(id="e1", job=job)
    normal = normalize_for_create(given)
    assert normal == Execution(
        id="e1",
        job=job,
        allocated_resources={"Tasks": {}},
        published_result=SpecConfig(),
        run_output=RunCommandResult(),
    )
    assert normal.namespace == "default"
    assert normal.job is job
    assert job == {"ID": "job1"}
    assert given == Execution(id="e1", job={"ID": "job1"})


def test_normalizing_keeps_what_is_there() -> None:
    given = Execution(allocated_resources={}, published_result=SpecConfig("s3"), run_output=RunCommandResult("out"))
    assert normalize_for_create(given) is given


# --- types ----------------------------------------------------------------------------------------------------------

WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"id": 5}, "ID"),
    ({"id": None}, "ID"),
    ({"id": b"e1"}, "ID"),
    ({"namespace": None}, "Namespace"),
    ({"eval_id": 1}, "EvalID"),
    ({"name": ["n"]}, "Name"),
    ({"node_id": 1}, "NodeID"),
    ({"job_id": 1}, "JobID"),
    ({"job": []}, "Job"),
    ({"job": "{}"}, "Job"),
    ({"job_version": -1}, "JobVersion"),
    ({"job_version": "1"}, "JobVersion"),
    ({"allocated_resources": [1]}, "AllocatedResources"),
    ({"desired_state": DesiredState.RUNNING}, "DesiredState"),
    ({"desired_state": State(ExecutionState.NEW)}, "DesiredState.StateType"),
    ({"compute_state": ExecutionState.NEW}, "ComputeState"),
    ({"compute_state": None}, "ComputeState"),
    ({"compute_state": {"StateType": "New"}}, "ComputeState"),
    ({"compute_state": State(DesiredState.RUNNING)}, "ComputeState.StateType"),
    ({"compute_state": State("New")}, "ComputeState.StateType"),
    ({"compute_state": State(1)}, "ComputeState.StateType"),
    ({"compute_state": State(ExecutionState.NEW, None)}, "ComputeState.Message"),  # type: ignore[arg-type]
    ({"compute_state": State(ExecutionState.NEW, "", {"a": 1})}, "ComputeState.Details.a"),  # type: ignore[dict-item]
    ({"compute_state": State(ExecutionState.NEW, "", {1: "a"})}, "ComputeState.Details"),  # type: ignore[dict-item]
    ({"compute_state": State(ExecutionState.NEW, "", [])}, "ComputeState.Details"),  # type: ignore[arg-type]
    ({"compute_state": State(ExecutionState.NEW, extra=[])}, "ComputeState.extra"),  # type: ignore[arg-type]
    ({"compute_state": State(ExecutionState.NEW, extra={"Message": "m"})}, "ComputeState.Message"),
    ({"published_result": {}}, "PublishedResult"),
    ({"published_result": SpecConfig(5)}, "PublishedResult.Type"),  # type: ignore[arg-type]
    ({"published_result": SpecConfig("s3", [1])}, "PublishedResult.Params"),  # type: ignore[arg-type]
    ({"published_result": SpecConfig("s3", None)}, "PublishedResult.Params"),  # type: ignore[arg-type]
    ({"run_output": {}}, "RunOutput"),
    ({"run_output": RunCommandResult(b"out")}, "RunOutput.Stdout"),  # type: ignore[arg-type]
    ({"run_output": RunCommandResult(stdout_truncated=1)}, "RunOutput.StdoutTruncated"),  # type: ignore[arg-type]
    ({"run_output": RunCommandResult(stderr=None)}, "RunOutput.stderr"),  # type: ignore[arg-type]
    ({"run_output": RunCommandResult(stderr_truncated="")}, "RunOutput.StderrTruncated"),  # type: ignore[arg-type]
    ({"run_output": RunCommandResult(exit_code=True)}, "RunOutput.ExitCode"),
    ({"run_output": RunCommandResult(exit_code=1.0)}, "RunOutput.ExitCode"),  # type: ignore[arg-type]
    ({"run_output": RunCommandResult(error_msg=1)}, "RunOutput.ErrorMsg"),  # type: ignore[arg-type]
    ({"previous_execution": 1}, "PreviousExecution"),
    ({"next_execution": 1}, "NextExecution"),
    ({"followup_eval_id": 1}, "FollowupEvalID"),
    ({"partition_index": "0"}, "PartitionIndex"),
    ({"partition_index": False}, "PartitionIndex"),
    ({"revision": -1}, "Revision"),
    ({"revision": True}, "Revision"),
    ({"revision": 1.0}, "Revision"),
    ({"create_time": 1.5}, "CreateTime"),
    ({"modify_time": None}, "ModifyTime"),
    ({"extra": None}, "extra"),
    ({"extra": {"ID": "e2"}}, "ID"),
    ({"extra": {"PartitionIndex": 1}}, "PartitionIndex"),
]


@pytest.mark.parametrize(("changes", "member"), WRONG_TYPES)
def test_a_wrong_type_is_named_wherever_an_execution_is_given(changes: dict[str, Any], member: str) -> None:
    execution = creatable().replace(**changes)
    checks: list[Callable[[Execution], None]] = [
        validate_for_create,
        partial(validate_new_values, execution_id="e1"),
        check_execution,
    ]
    for check in checks:
        with pytest.raises(InvalidExecutionError) as caught:
            check(execution)
        assert caught.value.member == member


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"job": {"x": [b""]}}, "Job.x[0]"),
        ({"allocated_resources": {"x": {1: 2}}}, "AllocatedResources.x"),
        ({"published_result": SpecConfig("s3", {"x": float("nan")})}, "PublishedResult.Params.x"),
        ({"published_result": SpecConfig("s3", extra={"x": {1}})}, "PublishedResult.x"),
        ({"run_output": RunCommandResult(extra={"x": {1}})}, "RunOutput.x"),
        ({"desired_state": State(DesiredState.PENDING, extra={"x": {1}})}, "DesiredState.x"),
        ({"compute_state": State(ExecutionState.NEW, extra={"x": {1}})}, "ComputeState.x"),
        ({"extra": {"x": {1}}}, "x"),
    ],
)
def test_new_values_are_looked_into_since_the_rest_of_the_record_is_trusted(
    changes: dict[str, Any], member: str
) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        validate_new_values(Execution(**changes), "e1")
    assert caught.value.member == member


# --- update ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution_id", ["", "e1"])
def test_new_values_may_repeat_the_id(execution_id: str) -> None:
    validate_new_values(Execution(id=execution_id, revision=99), "e1")


def test_new_values_with_another_id_are_refused() -> None:
    with pytest.raises(InvalidExecutionError, match=r"an update can't change the ID \('e1'\) to 'e2'") as caught:
        validate_new_values(Execution(id="e2"), "e1")
    assert caught.value.member == "ID"


def test_a_new_job_id_must_do_as_a_key() -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        validate_new_values(Execution(job_id="x" * (MAX_ID_BYTES + 1)), "e1")
    assert caught.value.member == "JobID"


def test_new_values_are_an_execution() -> None:
    with pytest.raises(NilExecutionError):
        validate_new_values(None, "e1")  # type: ignore[arg-type]


def test_a_condition_that_means_something() -> None:
    validate_condition(UpdateExecutionCondition())
    validate_condition(UpdateExecutionCondition([ExecutionState.NEW], 2**70, (ExecutionState.from_number(99),)))


@pytest.mark.parametrize(
    ("condition", "argument"),
    [
        (None, "condition"),
        ({}, "condition"),
        (UpdateExecutionCondition("Running"), "condition.expected_states"),  # type: ignore[arg-type]
        (UpdateExecutionCondition(["Running"]), "condition.expected_states"),  # type: ignore[list-item]
        (UpdateExecutionCondition(ExecutionState.NEW), "condition.expected_states"),  # type: ignore[arg-type]
        (UpdateExecutionCondition(5), "condition.expected_states"),  # type: ignore[arg-type]
        (UpdateExecutionCondition(None), "condition.expected_states"),  # type: ignore[arg-type]
        (UpdateExecutionCondition(iter([ExecutionState.NEW])), "condition.expected_states"),  # type: ignore[arg-type]
        (UpdateExecutionCondition(unexpected_states=[DesiredState.RUNNING]), "condition.unexpected_states"),  # type: ignore[list-item]
        (UpdateExecutionCondition(expected_revision=-1), "condition.expected_revision"),
        (UpdateExecutionCondition(expected_revision=True), "condition.expected_revision"),
        (UpdateExecutionCondition(expected_revision="1"), "condition.expected_revision"),  # type: ignore[arg-type]
    ],
)
def test_a_condition_that_means_nothing(condition: Any, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate_condition(condition)
    assert caught.value.argument == argument


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "member"),
    [
        (None, "Events[0]"),
        ({"Topic": "t"}, "Events[0]"),
        (Event(5), "Events[0].Topic"),  # type: ignore[arg-type]
        (Event("t", None), "Events[0].Message"),  # type: ignore[arg-type]
        (Event("t", details={"a": 1}), "Events[0].Details.a"),  # type: ignore[dict-item]
        (Event("t", details=[]), "Events[0].Details"),  # type: ignore[arg-type]
        (Event("t", extra={"Topic": "x"}), "Events[0].Topic"),
        (Event("t", extra={"x": {1}}), "Events[0].x"),
        (ExecutionEvent("t", execution_id=5), "Events[0].ExecutionID"),  # type: ignore[arg-type]
        (ExecutionEvent("t", extra={"ExecutionID": "e"}), "Events[0].ExecutionID"),
    ],
)
def test_a_wrong_event_is_named(event: Any, member: str) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        check_event(event, "Events[0]")
    assert caught.value.member == member


def test_a_right_event_passes() -> None:
    check_event(Event("", "", Timestamp.ZERO, {"a": ""}, extra={"x": [None]}))
    check_event(ExecutionEvent("t", execution_id="e1"))
