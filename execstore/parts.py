"""The parts of an execution: states, results, output, events. ``models`` says what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar

from execstore.codec import inner_member
from execstore.errors import InvalidExecutionError
from execstore.members import (
    Layout,
    read_extra,
    read_flag,
    read_integer,
    read_object,
    read_text,
    read_texts,
    require_object,
)
from execstore.states import DesiredState, ExecutionState
from execstore.timestamps import Timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "RUN_OUTPUT",
    "Event",
    "ExecutionEvent",
    "RunCommandResult",
    "SpecConfig",
    "State",
    "usual_spec",
    "usual_state",
]

StateT = TypeVar("StateT", ExecutionState, DesiredState)
_EventT = TypeVar("_EventT", bound="Event")


@dataclass(frozen=True)
class State(Generic[StateT]):
    """A state with its reason.

    Args:
        state_type: an ``ExecutionState`` or a ``DesiredState``.
    """

    state_type: StateT
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(("StateType", "Message", "Details"))

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        state_class: type[Any] = ExecutionState,
        member: str = "",
    ) -> Self:
        """Read ``{"StateType": name or number, "Message": …, "Details": {…}}``.

        Args:
            state_class: what ``StateType`` is of, since the two enumerations use the same numbers.
            member: where ``data`` stands, for errors.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        state = usual_state(cls, state_class, data) if cls is State else None  # others may have more to be made
        if state is not None:
            return state
        return cls(
            state_class.parse(data.get("StateType", 0), inner_member(member, "StateType")),
            read_text(data, "Message", member),
            read_texts(data, "Details", member),
            extra=read_extra(data, cls.known_members),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:
        """The JSON object; ``numbers`` writes the state by number, as the reference does."""
        data: dict[str, Any] = {"StateType": self.state_type.number if numbers else self.state_type.value}
        if self.message:
            data["Message"] = self.message
        if self.details:
            data["Details"] = self.details
        data.update(self.extra)
        return data


_StateT = TypeVar("_StateT", bound=State[Any])


def usual_state(model: type[_StateT], state_class: type[Any], data: Mapping[str, Any]) -> _StateT | None:
    """A state that has nothing but its type, and maybe a message, as most have; ``None`` for any other. Quick."""
    state_type, message = state_class.named(data.get("StateType")), data.get("Message", "")
    if state_type is None or type(message) is not str or len(data) != ("Message" in data) + 1:
        return None
    state = object.__new__(model)
    state.__dict__.update({"state_type": state_type, "message": message, "details": {}, "extra": {}})
    return state


@dataclass(frozen=True, init=False)
class Event:
    """Something that happened to an execution.

    Args:
        timestamp: a ``Timestamp``, a ``datetime`` with a time zone, or a text of RFC 3339; the present if ``None``.

    Raises:
        InvalidExecutionError: if the timestamp is no point in time.
    """

    topic: str
    message: str
    timestamp: Timestamp
    details: Mapping[str, str]
    extra: Mapping[str, Any] = field(kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(("Message", "Topic", "Timestamp", "Details"))

    def __init__(
        self,
        topic: str,
        message: str = "",
        timestamp: Timestamp | datetime | str | None = None,
        details: Mapping[str, str] | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        # The way a frozen dataclass sets its own fields.
        put = object.__setattr__
        put(self, "topic", topic)
        put(self, "message", message)
        put(self, "timestamp", _to_timestamp(timestamp))
        put(self, "details", {} if details is None else details)
        put(self, "extra", {} if extra is None else extra)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None, *, member: str = "") -> Self:
        """Read ``{"Message": …, "Topic": …, "Timestamp": …, "Details": {…}}``.

        A time that is missing is Go's zero time, and ``None`` is the event that has nothing but that.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        data = {} if data is None else require_object(data, member)
        event = _EVENT.make(cls, data) if cls is Event else None
        if event is not None:
            return _with_time(event, member)
        return cls(*cls._read_fields(data, member), extra=read_extra(data, cls.known_members))

    @staticmethod
    def _read_fields(data: Mapping[str, Any], member: str) -> tuple[str, str, Timestamp, Mapping[str, str]]:
        text = read_text(data, "Timestamp", member)
        return (
            read_text(data, "Topic", member),
            read_text(data, "Message", member),
            Timestamp.parse(text, inner_member(member, "Timestamp")) if "Timestamp" in data else Timestamp.ZERO,
            read_texts(data, "Details", member),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the same call on every model
        """The JSON object. ``numbers`` has no meaning here.

        Raises:
            InvalidExecutionError: if the time is outside of the years 0 to 9999.
        """
        data = self._known_members()
        data.update(self.extra)
        return data

    def _known_members(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "Message": self.message,
            "Topic": self.topic,
            "Timestamp": self.timestamp.to_text("Timestamp"),
        }
        if self.details:
            data["Details"] = self.details
        return data


_EVENT: Final = Layout(
    ("Message", "message", str),
    ("Topic", "topic", str),
    ("Timestamp", "timestamp", str),
    empty=("details", "extra"),
)


def _with_time(event: _EventT, member: str) -> _EventT:
    """An event that was just made, its time in place of the text."""
    own = event.__dict__
    own["timestamp"] = Timestamp.parse(own["timestamp"], f"{member}.Timestamp" if member else "Timestamp")
    return event


def _to_timestamp(value: Timestamp | datetime | str | None) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if value is None:
        return Timestamp.now()
    if isinstance(value, datetime):
        return Timestamp.from_datetime(value, "Timestamp")
    if isinstance(value, str):
        return Timestamp.parse(value, "Timestamp")
    reason = f"must be a Timestamp, a datetime or a text of RFC 3339, not {type(value).__name__}"
    raise InvalidExecutionError("Timestamp", reason)


@dataclass(frozen=True, init=False)
class ExecutionEvent(Event):
    """An ``Event`` in the event log, where it must say which execution it is of (the reference's does not)."""

    execution_id: str

    known_members: ClassVar[frozenset[str]] = Event.known_members | {"ExecutionID"}

    def __init__(
        self,
        topic: str,
        message: str = "",
        timestamp: Timestamp | datetime | str | None = None,
        details: Mapping[str, str] | None = None,
        execution_id: str = "",
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(topic, message, timestamp, details, extra=extra)
        object.__setattr__(self, "execution_id", execution_id)

    @classmethod
    def of(cls, event: Event, execution_id: str) -> Self:
        """``event``, as one of the execution ``execution_id``."""
        # An event that was copied out of the log has the member already, as one that it doesn't know.
        extra = {name: value for name, value in event.extra.items() if name != "ExecutionID"}
        return cls(event.topic, event.message, event.timestamp, event.details, execution_id, extra=extra)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None, *, member: str = "") -> Self:
        """As ``Event.from_dict``, with ``ExecutionID``; one that the reference wrote has none, it reads ``""``."""
        data = {} if data is None else require_object(data, member)
        event = _EXECUTION_EVENT.make(cls, data) if cls is ExecutionEvent else None
        if event is not None:
            return _with_time(event, member)
        execution_id = read_text(data, "ExecutionID", member)
        return cls(*cls._read_fields(data, member), execution_id, extra=read_extra(data, cls.known_members))

    def _known_members(self) -> dict[str, Any]:
        return {**super()._known_members(), "ExecutionID": self.execution_id}


_EXECUTION_EVENT: Final = Layout(
    ("Message", "message", str),
    ("Topic", "topic", str),
    ("Timestamp", "timestamp", str),
    ("ExecutionID", "execution_id", str),
    empty=("details", "extra"),
)


@dataclass(frozen=True)
class SpecConfig:
    """A typed set of free parameters; a published result is one."""

    type: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(("Type", "Params"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read ``{"Type": …, "Params": {…}}``.

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        spec = usual_spec(cls, data) if cls is SpecConfig else None
        if spec is not None:
            return spec
        return cls(
            read_text(data, "Type", member),
            read_object(data, "Params", member),
            extra=read_extra(data, cls.known_members),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the same call on every model
        """The JSON object. ``numbers`` has no meaning here."""
        data: dict[str, Any] = {"Type": self.type}
        if self.params:
            data["Params"] = self.params
        data.update(self.extra)
        return data


_SpecT = TypeVar("_SpecT", bound=SpecConfig)


def usual_spec(model: type[_SpecT], data: Mapping[str, Any]) -> _SpecT | None:
    """A result that has nothing but its type, as most have; ``None`` for any other. Quick."""
    spec_type = data.get("Type")
    if type(spec_type) is not str or len(data) != 1:
        return None
    spec = object.__new__(model)
    spec.__dict__.update({"type": spec_type, "params": {}, "extra": {}})
    return spec


@dataclass(frozen=True)
class RunCommandResult:
    """What came of running an execution's command."""

    stdout: str = ""
    stdout_truncated: bool = False
    stderr: str = ""
    stderr_truncated: bool = False
    exit_code: int = 0
    error_msg: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    known_members: ClassVar[frozenset[str]] = frozenset(
        ("Stdout", "StdoutTruncated", "stderr", "StderrTruncated", "ExitCode", "ErrorMsg")
    )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, member: str = "") -> Self:
        """Read ``{"Stdout": …, "StdoutTruncated": …, "stderr": …, …}`` (the one in small letters is the reference's).

        Raises:
            InvalidExecutionError: naming the member that is wrong.
        """
        require_object(data, member)
        output = RUN_OUTPUT.make(cls, data) if cls is RunCommandResult else None
        if output is not None:
            return output
        return cls(
            read_text(data, "Stdout", member),
            read_flag(data, "StdoutTruncated", member),
            read_text(data, "stderr", member),
            read_flag(data, "StderrTruncated", member),
            read_integer(data, "ExitCode", member),
            read_text(data, "ErrorMsg", member),
            extra=read_extra(data, cls.known_members),
        )

    def to_dict(self, *, numbers: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the same call on every model
        """The JSON object. ``numbers`` has no meaning here."""
        return {
            "Stdout": self.stdout,
            "StdoutTruncated": self.stdout_truncated,
            "stderr": self.stderr,
            "StderrTruncated": self.stderr_truncated,
            "ExitCode": self.exit_code,
            "ErrorMsg": self.error_msg,
            **self.extra,
        }


RUN_OUTPUT: Final = Layout(
    ("Stdout", "stdout", str),
    ("StdoutTruncated", "stdout_truncated", bool),
    ("stderr", "stderr", str),
    ("StderrTruncated", "stderr_truncated", bool),
    ("ExitCode", "exit_code", int),
    ("ErrorMsg", "error_msg", str),
)
