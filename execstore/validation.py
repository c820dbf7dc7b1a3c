"""What an execution must be like to be stored. Order and texts of the complaints are the reference's.

Types are checked here and not by the constructors: an execution is made in many places, and stored in one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from execstore import codec
from execstore.codec import inner_member
from execstore.errors import (
    InvalidArgumentError,
    InvalidExecutionError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
    NilExecutionError,
)
from execstore.members import check_count, check_flag, check_integer, check_object, check_text, check_texts
from execstore.models import Execution, UpdateExecutionCondition
from execstore.parts import Event, ExecutionEvent, RunCommandResult, SpecConfig, State
from execstore.states import DesiredState, ExecutionState

__all__ = [
    "MAX_ID_BYTES",
    "check_event",
    "check_execution",
    "check_id",
    "check_key",
    "normalize_for_create",
    "validate_condition",
    "validate_for_create",
    "validate_new_values",
]

MAX_ID_BYTES: Final = 32768
"""The longest ID that the reference can store, in UTF-8: bbolt's longest key."""

# Go's unicode.IsSpace. Python's str.isspace also takes U+001C to U+001F.
_GO_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE: Final = re.compile(f"[{_GO_SPACES}]")
_BLANK: Final = re.compile(f"[{_GO_SPACES}]*")

_CREATABLE: Final = (ExecutionState.NEW, ExecutionState.BID_ACCEPTED)


# --- create ---------------------------------------------------------------------------------------------------------


def normalize_for_create(execution: Execution) -> Execution:
    """The execution with the reference's initial values where it has none; the job is left as it was given.

    Raises:
        NilExecutionError: for ``None``.
        InvalidExecutionError: for anything else that is no execution.
    """
    _require_execution(execution)
    changes: dict[str, Any] = {}
    if execution.allocated_resources is None:
        changes["allocated_resources"] = {"Tasks": {}}
    if execution.published_result is None:
        changes["published_result"] = SpecConfig()
    if execution.run_output is None:
        changes["run_output"] = RunCommandResult()
    return execution.replace(**changes) if changes else execution


def validate_for_create(execution: Execution) -> None:
    """See to it that an execution can be created: types first, then the reference's checks in its order.

    What is in its free JSON (job, resources, parameters, unknown members) shows when it is encoded.

    Raises:
        InvalidExecutionStateError: unless it is in state New or BidAccepted.
        InvalidExecutionRevisionError: if its revision isn't 0 or 1.
        InvalidExecutionError: for all else, with every complaint the reference would have, a line each.
    """
    _check_types(execution)
    state = execution.compute_state.state_type
    if state not in _CREATABLE:
        raise InvalidExecutionStateError(execution.id, state.value, [state.value for state in _CREATABLE])
    if execution.revision > 1:
        raise InvalidExecutionRevisionError(execution.id, execution.revision, 1)
    complaints = _complaints(execution)
    if complaints:
        reason = "\n".join(reason for _, reason in complaints)
        raise InvalidExecutionError(complaints[0][0], reason, message=f"CreateExecution failure: {reason}")
    if execution.job is None:
        raise InvalidExecutionError("Job", "job is nil", message="CreateExecution failure: job is nil")
    check_id(execution.id, "ID")
    check_id(execution.job_id, "JobID")


def _complaints(execution: Execution) -> list[tuple[str, str]]:
    complaints = []
    if _BLANK.fullmatch(execution.id):
        complaints.append(("ID", "missing execution ID"))
    if _SPACE.search(execution.id):
        complaints.append(("ID", "execution ID contains a space"))
    if "\0" in execution.id:
        complaints.append(("ID", "execution ID contains a null character"))
    if _BLANK.fullmatch(execution.namespace):
        complaints.append(("Namespace", "execution must be in a namespace"))
    if _BLANK.fullmatch(execution.job_id):
        complaints.append(("JobID", "missing execution job ID"))
    count = None if execution.job is None else execution.job.get("Count")
    if type(count) is int and count > 1 and not 0 <= execution.partition_index < count:
        complaints.append(("PartitionIndex", f"partition index must be between 0 and {count - 1}"))
    return complaints


# --- update ---------------------------------------------------------------------------------------------------------


def validate_new_values(new_values: Execution, execution_id: str) -> None:
    """See to it that ``new_values`` can be merged into the execution ``execution_id``.

    Raises:
        NilExecutionError: for ``None``.
        InvalidExecutionError: naming the member that has a wrong type or a value that can't be stored; for an ID other
            than the execution's, which the reference would store as a second record behind its indexes' back.
    """
    check_execution(new_values)
    if new_values.id and new_values.id != execution_id:
        reason = f"an update can't change the ID ({execution_id[:100]!r}) to {new_values.id[:100]!r}; leave it empty"
        raise InvalidExecutionError("ID", reason)
    check_id(new_values.job_id, "JobID")


def validate_condition(condition: UpdateExecutionCondition) -> None:
    """See to it that a condition means something.

    Raises:
        InvalidArgumentError: naming the field that has a wrong type.
    """
    if not isinstance(condition, UpdateExecutionCondition):
        raise InvalidArgumentError("condition", f"must be an UpdateExecutionCondition, not {type(condition).__name__}")
    for name in ("expected_states", "unexpected_states"):
        states = getattr(condition, name)
        # A string is a collection of strings, and an iterator would be used up by looking at it.
        is_list = isinstance(states, Collection) and not isinstance(states, str)
        if not is_list or not all(isinstance(state, ExecutionState) for state in states):
            raise InvalidArgumentError(f"condition.{name}", "must be a list of ExecutionState")
    revision = condition.expected_revision
    if not isinstance(revision, int) or isinstance(revision, bool) or revision < 0:
        raise InvalidArgumentError("condition.expected_revision", "must be an integer, not negative")


# --- types ----------------------------------------------------------------------------------------------------------


def check_id(value: str, member: str) -> None:
    """See to it that an ID can be a key: it is text, and not too long.

    Raises:
        InvalidExecutionError: naming ``member``.
    """
    size = len(codec.encode_utf8(value, member))
    if size > MAX_ID_BYTES:
        raise InvalidExecutionError(member, f"{size} bytes long, but at most {MAX_ID_BYTES} can be stored")


def check_key(value: object, argument: str) -> None:
    """See to it that what is asked for can be a key at all.

    Raises:
        InvalidArgumentError: naming ``argument``, if it is no text.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(argument, f"must be text, not {type(value).__name__}")


def check_execution(execution: Execution) -> None:
    """See to it that every field has its type, and that what is free JSON can be written.

    Raises:
        NilExecutionError: for ``None``.
        InvalidExecutionError: naming the member.
    """
    _check_types(execution)
    if execution.job:
        codec.check(execution.job, "Job")
    if execution.allocated_resources:
        codec.check(execution.allocated_resources, "AllocatedResources")
    if execution.published_result is not None and execution.published_result.params:
        codec.check(execution.published_result.params, "PublishedResult.Params")
    parts: dict[str, Execution | State[Any] | SpecConfig | RunCommandResult | None] = {
        "": execution,
        "DesiredState": execution.desired_state,
        "ComputeState": execution.compute_state,
        "PublishedResult": execution.published_result,
        "RunOutput": execution.run_output,
    }
    for member, part in parts.items():
        if part is not None and part.extra:
            codec.check(part.extra, member)


def _check_types(execution: Execution) -> None:
    _require_execution(execution)
    check_text(execution.id, "ID", "")
    check_text(execution.namespace, "Namespace", "")
    check_text(execution.eval_id, "EvalID", "")
    check_text(execution.name, "Name", "")
    check_text(execution.node_id, "NodeID", "")
    check_text(execution.job_id, "JobID", "")
    if execution.job is not None:
        check_object(execution.job, "Job", "")
    check_count(execution.job_version, "JobVersion", "")
    if execution.allocated_resources is not None:
        check_object(execution.allocated_resources, "AllocatedResources", "")
    _check_state(execution.desired_state, DesiredState, "DesiredState")
    _check_state(execution.compute_state, ExecutionState, "ComputeState")
    if execution.published_result is not None:
        _check_spec(execution.published_result, "PublishedResult")
    if execution.run_output is not None:
        _check_run_output(execution.run_output, "RunOutput")
    check_text(execution.previous_execution, "PreviousExecution", "")
    check_text(execution.next_execution, "NextExecution", "")
    check_text(execution.followup_eval_id, "FollowupEvalID", "")
    check_integer(execution.partition_index, "PartitionIndex", "")
    check_count(execution.revision, "Revision", "")
    check_integer(execution.create_time, "CreateTime", "")
    check_integer(execution.modify_time, "ModifyTime", "")
    _check_extra(execution, "")


def check_event(event: Event, member: str = "") -> None:
    """See to it that an event can be written.

    Args:
        member: where it stands (``"Events[0]"``), for errors.

    Raises:
        InvalidExecutionError: naming the member.
    """
    if not isinstance(event, Event):
        raise InvalidExecutionError(member, f"must be an Event, not {type(event).__name__}")
    check_text(event.topic, "Topic", member)
    check_text(event.message, "Message", member)
    check_texts(event.details, "Details", member)
    if isinstance(event, ExecutionEvent):
        check_text(event.execution_id, "ExecutionID", member)
    _check_extra(event, member)
    if event.extra:
        codec.check(event.extra, member)


def _require_execution(execution: Execution) -> None:
    if execution is None:
        raise NilExecutionError
    if not isinstance(execution, Execution):
        raise InvalidExecutionError("", f"must be an Execution, not {type(execution).__name__}")


def _check_state(state: State[Any], state_class: type[ExecutionState | DesiredState], member: str) -> None:
    if not isinstance(state, State):
        raise InvalidExecutionError(member, f"must be a State, not {type(state).__name__}")
    if not isinstance(state.state_type, state_class):
        reason = f"must be of {state_class.__name__}, not {type(state.state_type).__name__}"
        raise InvalidExecutionError(f"{member}.StateType", reason)
    check_text(state.message, "Message", member)
    check_texts(state.details, "Details", member)
    _check_extra(state, member)


def _check_spec(spec: SpecConfig, member: str) -> None:
    if not isinstance(spec, SpecConfig):
        raise InvalidExecutionError(member, f"must be a SpecConfig, not {type(spec).__name__}")
    check_text(spec.type, "Type", member)
    check_object(spec.params, "Params", member)
    _check_extra(spec, member)


def _check_run_output(output: RunCommandResult, member: str) -> None:
    if not isinstance(output, RunCommandResult):
        raise InvalidExecutionError(member, f"must be a RunCommandResult, not {type(output).__name__}")
    check_text(output.stdout, "Stdout", member)
    check_flag(output.stdout_truncated, "StdoutTruncated", member)
    check_text(output.stderr, "stderr", member)
    check_flag(output.stderr_truncated, "StderrTruncated", member)
    check_integer(output.exit_code, "ExitCode", member)
    check_text(output.error_msg, "ErrorMsg", member)
    _check_extra(output, member)


def _check_extra(model: Execution | Event | State[Any] | SpecConfig | RunCommandResult, member: str) -> None:
    if type(model.extra) is dict and not model.extra:
        return
    check_object(model.extra, "extra", member)
    for name in model.known_members:
        if name in model.extra:
            raise InvalidExecutionError(inner_member(member, name), "is a member of its own, it can't stand in extra")
