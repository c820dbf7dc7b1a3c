"""Executions and what belongs to them, as immutable values that speak the reference's JSON.

``from_dict`` and ``to_dict`` use the names, the order and the omissions of Bacalhau's ``pkg/models``. Members that this
version doesn't know stand in ``extra``, at every level, and are written back after the known ones.

Models share: ``from_dict`` keeps the very objects that it is given (a job, say) and ``to_dict`` hands them out, neither
copies or changes them. Whoever stores a model stores its bytes, so nothing that happens to such an object later
reaches a store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from execstore import codec
from execstore.codec import inner_member
from execstore.errors import InvalidExecutionError
from execstore.job_text import LateJob, decode_with_jobs_aside, give_job
from execstore.members import (
    read_count,
    read_extra,
    read_integer,
    read_object,
    read_optional_object,
    read_text,
    require_object,
)
from execstore.parts import Event, ExecutionEvent, RunCommandResult, SpecConfig, State
from execstore.states import DesiredState, ExecutionState
from execstore.usual import lacks_job, make_usual, make_usual_upsert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Event",
    "Execution",
    "ExecutionEvent",
    "ExecutionUpsert",
    "RunCommandResult",
    "SpecConfig",
    "State",
    "UpdateExecutionCondition",
    "UpdateExecutionRequest",
]


class _UnsetNamespace(str):
    """The namespace nobody gave. It reads ``default``, yet as a new value of an update it must not overwrite another,
    while a ``"default"`` that was asked for must.
    """

    __slots__ = ()


_UNSET_NAMESPACE: Final = _UnsetNamespace("default")


def _undefined() -> State[ExecutionState]:
    return State(ExecutionState.UNDEFINED)


def _pending() -> State[DesiredState]:
    return State(DesiredState.PENDING)


@dataclass(frozen=True)
class Execution:
    """One attempt to run a job on a node.

    Every field has a default, its zero value, so one with a few fields can be the new values of an update. The
    ``namespace`` that isn't given is ``"default"`` in a new execution and no change in an update.

    Args:
        job: the job's own JSON object, kept as it is.
        job_version: not negative, as ``revision``.
        allocated_resources: a JSON object, ``{"Tasks": {task: {…}}}``.
        create_time: in nanoseconds since the epoch, as ``modify_time``.
    """

    id: str = ""
    namespace: str = _UNSET_NAMESPACE
    eval_id: str = ""
    name: str = ""
    node_id: str = ""
    job_id: str = ""
    job: Mapping[str, Any] | None = None
    job_version: int = 0
    allocated_resources: Mapping[str, Any] | None = None
    desired_state: State[DesiredState] = field(default_factory=_pending)
    compute_state: State[ExecutionState] = field(default_factory=_undefined)
    published_result: SpecConfig | None = None
    run_output: RunCommandResult | None = None
    previous_execution: str = ""
    next_execution: str = ""
    followup_eval_id: str = ""
    partition_index: int = 0
    revision: int = 0
    create_time: int = 0
    modify_time: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(
        (
            "ID",
            "Namespace",
            "EvalID",
            "Name",
            "NodeID",
            "JobID",
            "Job",
            "JobVersion",
            "AllocatedResources",
            "DesiredState",
            "ComputeState",
            "PublishedResult",
            "RunOutput",
            "PreviousExecution",
            "NextExecution",
            "FollowupEvalID",
            "PartitionIndex",
            "Revision",
            "CreateTime",
            "ModifyTime",
        )
    )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read the reference's JSON object of an execution, states by name or by number.

        Args:
            member: where ``data`` stands, for errors.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        usual = make_usual(cls, data, member) if cls is Execution else None  # others may have more to be made
        if usual is not None:
            return usual
        prefix = f"{member}." if member else ""
        desired_state = data.get("DesiredState")
        compute_state = data.get("ComputeState")
        published_result = data.get("PublishedResult")
        run_output = data.get("RunOutput")
        return cls(
            read_text(data, "ID", member),
            read_text(data, "Namespace", member) if "Namespace" in data else _UNSET_NAMESPACE,
            read_text(data, "EvalID", member),
            read_text(data, "Name", member),
            read_text(data, "NodeID", member),
            read_text(data, "JobID", member),
            read_optional_object(data, "Job", member),
            read_count(data, "JobVersion", member),
            read_optional_object(data, "AllocatedResources", member),
            _pending()
            if desired_state is None
            else State.from_dict(desired_state, state_class=DesiredState, member=f"{prefix}DesiredState"),
            _undefined() if compute_state is None else State.from_dict(compute_state, member=f"{prefix}ComputeState"),
            None
            if published_result is None
            else SpecConfig.from_dict(published_result, member=f"{prefix}PublishedResult"),
            None if run_output is None else RunCommandResult.from_dict(run_output, member=f"{prefix}RunOutput"),
            read_text(data, "PreviousExecution", member),
            read_text(data, "NextExecution", member),
            read_text(data, "FollowupEvalID", member),
            read_integer(data, "PartitionIndex", member),
            read_count(data, "Revision", member),
            read_integer(data, "CreateTime", member),
            read_integer(data, "ModifyTime", member),
            extra=read_extra(data, cls.known_members),
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the JSON text of an execution, as ``from_dict`` does. Its ``job`` may be parsed when it is looked at.

        Raises:
            CodecError: if it is no JSON.
            InvalidExecutionError: naming the member that is wrong.
        """
        parsed = decode_with_jobs_aside(data)
        if parsed is not None and len(parsed.jobs) == 1 and lacks_job(parsed.value, 0):
            return give_job(cls.from_dict(parsed.value), parsed.jobs[0])
        return cls.from_dict(codec.decode(data))

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:
        """The JSON object; ``numbers`` writes states by number, as the reference does."""
        data: dict[str, Any] = {
            "ID": self.id,
            "Namespace": self.namespace if self.namespace_is_given else "default",
            "EvalID": self.eval_id,
            "Name": self.name,
            "NodeID": self.node_id,
            "JobID": self.job_id,
            "Job": self.job,
            "JobVersion": self.job_version,
            "AllocatedResources": self.allocated_resources,
            "DesiredState": self.desired_state.to_dict(numbers=numbers),
            "ComputeState": self.compute_state.to_dict(numbers=numbers),
            "PublishedResult": None if self.published_result is None else self.published_result.to_dict(),
            "RunOutput": None if self.run_output is None else self.run_output.to_dict(),
            "PreviousExecution": self.previous_execution,
            "NextExecution": self.next_execution,
            "FollowupEvalID": self.followup_eval_id,
        }
        if self.partition_index:
            data["PartitionIndex"] = self.partition_index
        data["Revision"] = self.revision
        data["CreateTime"] = self.create_time
        data["ModifyTime"] = self.modify_time
        data.update(self.extra)
        return data

    def replace(self, **changes: Any) -> Self:
        """The same execution with other values in some fields.

        Raises:
            TypeError: for what is no field.
        """
        # What dataclasses.replace does, in a quarter of the time: it goes through the constructor.
        if not changes.keys() <= _FIELDS:
            raise TypeError(f"Execution has no field {next(iter(changes.keys() - _FIELDS))!r}")
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        return copy

    @property
    def namespace_is_given(self) -> bool:
        """Whether the namespace was given, rather than left to its default."""
        return not isinstance(self.namespace, _UnsetNamespace)


_FIELDS: Final = frozenset(each.name for each in fields(Execution))
Execution.job = LateJob()  # type: ignore[assignment]


@dataclass(frozen=True)
class UpdateExecutionCondition:
    """What must hold of the stored execution for an update to happen.

    Args:
        expected_states: any if empty.
        expected_revision: any if 0.
    """

    expected_states: Sequence[ExecutionState] = ()
    expected_revision: int = 0
    unexpected_states: Sequence[ExecutionState] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read ``{"ExpectedStates": […], "ExpectedRevision": …, "UnexpectedStates": […]}``.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        return cls(
            _read_states(data, "ExpectedStates", member),
            read_count(data, "ExpectedRevision", member),
            _read_states(data, "UnexpectedStates", member),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:
        """The JSON object; ``numbers`` writes states by number, as the reference does."""
        return {
            "ExpectedStates": [state.number if numbers else state.value for state in self.expected_states],
            "ExpectedRevision": self.expected_revision,
            "UnexpectedStates": [state.number if numbers else state.value for state in self.unexpected_states],
        }


@dataclass(frozen=True)
class UpdateExecutionRequest:
    """An update of one execution.

    Args:
        new_values: merged into the stored execution; a zero value there changes nothing.
        events: added to the execution's events in the same transaction.
        clear: fields to set back to their zero value first, ``"run_output"`` or ``"compute_state.message"``.
    """

    execution_id: str
    new_values: Execution = field(default_factory=Execution)
    condition: UpdateExecutionCondition = field(default_factory=UpdateExecutionCondition)
    events: Sequence[Event] = ()
    clear: Sequence[str] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read ``{"ExecutionID": …, "NewValues": {…}, "Condition": {…}, "Events": […], "Clear": […]}``.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        clear = _read_list(data, "Clear", member)
        for index, name in enumerate(clear):
            if not isinstance(name, str):
                raise InvalidExecutionError(inner_member(member, f"Clear[{index}]"), "must be a string")
        return cls(
            read_text(data, "ExecutionID", member),
            Execution.from_dict(read_object(data, "NewValues", member), member=inner_member(member, "NewValues")),
            UpdateExecutionCondition.from_dict(
                read_object(data, "Condition", member), member=inner_member(member, "Condition")
            ),
            _read_events(data, member),
            tuple(clear),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:
        """The JSON object; ``numbers`` writes states by number, as the reference does."""
        new_values = self.new_values.to_dict(numbers=numbers)
        if not self.new_values.namespace_is_given:
            del new_values["Namespace"]
        return {
            "ExecutionID": self.execution_id,
            "NewValues": new_values,
            "Condition": self.condition.to_dict(numbers=numbers),
            "Events": [event.to_dict() for event in self.events],
            "Clear": list(self.clear),
        }


@dataclass(frozen=True)
class ExecutionUpsert:
    """What the event log says of a change: an execution after and before it, and the events that came with it.

    Args:
        current: ``None`` if it was deleted.
        previous: ``None`` if it was created.
        events: ``None``, as the reference writes it, or a tuple, if there were any.
    """

    current: Execution | None = None
    previous: Execution | None = None
    events: Sequence[Event] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(("Current", "Previous", "Events"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read ``{"Current": {…}, "Previous": {…} or null, "Events": […] or null}``.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        current, previous, events = data.get("Current"), data.get("Previous"), data.get("Events")
        prefix = f"{member}." if member else ""
        return cls(
            None if current is None else Execution.from_dict(current, member=f"{prefix}Current"),
            None if previous is None else Execution.from_dict(previous, member=f"{prefix}Previous"),
            None if events is None else _read_events(data, member),
            extra=read_extra(data, cls.known_members),
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """As ``from_dict``, of the JSON text; see ``Execution.from_json``.

        Raises:
            CodecError: if it is no JSON.
            InvalidExecutionError: naming the member that is wrong.
        """
        parsed = decode_with_jobs_aside(data) if cls is ExecutionUpsert else None
        if parsed is not None and isinstance(parsed.value, dict):
            value, jobs = parsed
            executions = [each for each in (value.get("Current"), value.get("Previous")) if each is not None]
            if len(jobs) == len(executions) and all(map(lacks_job, executions, range(2))):
                upsert = make_usual_upsert(cls, value, Execution.from_dict, _read_events)
                if upsert is not None:
                    if upsert.current is not None:
                        give_job(upsert.current, jobs[0])
                    if upsert.previous is not None:
                        give_job(upsert.previous, jobs[-1])
                    return upsert
        return cls.from_dict(codec.decode(data))

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:
        """The JSON object; ``numbers`` writes states by number, as the reference does."""
        return {
            "Current": None if self.current is None else self.current.to_dict(numbers=numbers),
            "Previous": None if self.previous is None else self.previous.to_dict(numbers=numbers),
            "Events": None if self.events is None else [event.to_dict() for event in self.events],
            **self.extra,
        }


def _read_list(data: Mapping[str, Any], name: str, member: str) -> Sequence[Any]:
    value = data.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise InvalidExecutionError(inner_member(member, name), f"must be a list, not {type(value).__name__}")
    return value


def _read_states(data: Mapping[str, Any], name: str, member: str) -> tuple[ExecutionState, ...]:
    path = inner_member(member, name)
    return tuple(
        ExecutionState.parse(value, inner_member(path, index))
        for index, value in enumerate(_read_list(data, name, member))
    )


def _read_events(data: Mapping[str, Any], member: str) -> tuple[Event, ...]:
    path = inner_member(member, "Events")
    return tuple(
        [
            Event.from_dict(value, member=f"{path}[{index}]")
            for index, value in enumerate(_read_list(data, "Events", member))
        ]
    )
