"""Executions as this program writes them, made at once instead of member by member.

``models`` and ``parts`` read whatever may be an execution, and say what is wrong with what isn't. Nearly all that is
read was written here, though: with the same members, in the same order.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from execstore.job_text import take_stand_in
from execstore.members import Layout
from execstore.parts import RUN_OUTPUT, RunCommandResult, SpecConfig, State, usual_spec, usual_state
from execstore.states import DesiredState, ExecutionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["lacks_job", "make_usual", "make_usual_upsert"]

_ModelT = TypeVar("_ModelT")

_BEFORE_JOB: Final = (
    ("ID", "id", str),
    ("Namespace", "namespace", str),
    ("EvalID", "eval_id", str),
    ("Name", "name", str),
    ("NodeID", "node_id", str),
    ("JobID", "job_id", str),
)
_BEHIND_JOB: Final = (
    ("JobVersion", "job_version", int),
    ("AllocatedResources", "allocated_resources", dict),
    ("DesiredState", "desired_state", dict),
    ("ComputeState", "compute_state", dict),
    ("PublishedResult", "published_result", dict),
    ("RunOutput", "run_output", dict),
    ("PreviousExecution", "previous_execution", str),
    ("NextExecution", "next_execution", str),
    ("FollowupEvalID", "followup_eval_id", str),
)
_PARTITION: Final = ("PartitionIndex", "partition_index", int)
_TIMES: Final = (("Revision", "revision", int), ("CreateTime", "create_time", int), ("ModifyTime", "modify_time", int))
_LAYOUTS: Final = tuple(
    Layout(*_BEFORE_JOB, ("Job", "job", job_type), *_BEHIND_JOB, *partition, *_TIMES)
    for partition in ((), (_PARTITION,))
    for job_type in (type(None), dict)
)
_UPSERT_MEMBERS: Final = ("Current", "Previous", "Events")
_FIRST_MEMBERS: Final = (*(name for name, _, _ in _BEFORE_JOB), "Job")


def make_usual(model: type[_ModelT], data: Mapping[str, Any], member: str) -> _ModelT | None:
    """An execution as this program writes it, ``None`` for any other."""
    for layout in _LAYOUTS:
        execution = layout.make(model, data)
        if execution is not None:
            break
    else:
        return None
    own = execution.__dict__
    if own["job_version"] < 0 or own["revision"] < 0:
        return None
    desired, compute, spec, output = (
        own["desired_state"],
        own["compute_state"],
        own["published_result"],
        own["run_output"],
    )
    prefix = f"{member}." if member else ""
    own["desired_state"] = usual_state(State, DesiredState, desired) or State.from_dict(
        desired, state_class=DesiredState, member=f"{prefix}DesiredState"
    )
    own["compute_state"] = usual_state(State, ExecutionState, compute) or State.from_dict(
        compute, member=f"{prefix}ComputeState"
    )
    own["published_result"] = usual_spec(SpecConfig, spec) or SpecConfig.from_dict(
        spec, member=f"{prefix}PublishedResult"
    )
    own["run_output"] = RUN_OUTPUT.make(RunCommandResult, output) or RunCommandResult.from_dict(
        output, member=f"{prefix}RunOutput"
    )
    own.setdefault("partition_index", 0)
    return execution


def make_usual_upsert(
    model: type[_ModelT],
    data: Mapping[str, Any],
    read_execution: Callable[..., Any],
    read_events: Callable[[Mapping[str, Any], str], Any],
) -> _ModelT | None:
    """What the event log says of a change as this program writes it, ``None`` for any other.

    ``read_execution`` reads an execution that isn't usual, ``read_events`` the events.
    """
    if tuple(data) != _UPSERT_MEMBERS:
        return None
    current, previous = data["Current"], data["Previous"]
    upsert = object.__new__(model)
    upsert.__dict__.update(
        {
            "current": None if current is None else read_execution(current, member="Current"),
            "previous": None if previous is None else read_execution(previous, member="Previous"),
            "events": None if data["Events"] is None else read_events(data, ""),
            "extra": {},
        }
    )
    return upsert


def lacks_job(data: Any, number: int) -> bool:
    """Whether it is an execution whose job, and nothing else, was taken out, as that of this number."""
    return isinstance(data, dict) and tuple(islice(data, 7)) == _FIRST_MEMBERS and take_stand_in(data, number)
