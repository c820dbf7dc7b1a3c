"""What watchers read and write: events, where to start reading them, and which of them to take.

The shapes and their names are those of Bacalhau's ``pkg/lib/watcher`` (``event.go``, ``iterators.go``, ``types.go``).
All are immutable and checked when they are made, so that a wrong value fails where it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from execstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "MAX_SEQUENCE_NUMBER",
    "Event",
    "EventFilter",
    "EventIterator",
    "EventIteratorType",
    "GetEventsRequest",
    "GetEventsResponse",
    "Operation",
    "StoreEventRequest",
    "check_sequence_number",
]

MAX_SEQUENCE_NUMBER = 2**64 - 1
"""The reference counts in 64 bits without a sign; what it can't hold isn't a sequence number here either."""


class Operation(StrEnum):
    """What happened to an event's object."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class EventIteratorType(StrEnum):
    """The kinds of places to start reading at."""

    TRIM_HORIZON = "trim_horizon"
    LATEST = "latest"
    AT_SEQUENCE_NUMBER = "at_sequence_number"
    AFTER_SEQUENCE_NUMBER = "after_sequence_number"


def check_sequence_number(argument: str, value: object) -> int:
    """Return ``value`` if it is an ``int`` from 0 to 2**64 - 1; else raise ``InvalidArgumentError``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(argument, f"a sequence number is an int, not {type(value).__name__}")
    if not 0 <= value <= MAX_SEQUENCE_NUMBER:
        raise InvalidArgumentError(argument, f"a sequence number is from 0 to {MAX_SEQUENCE_NUMBER}, not {value}")
    return value


@dataclass(frozen=True, slots=True)
class EventIterator:
    """Where to start reading. Make one with a class method; equal by value; ``str()`` gives the reference's text.

    ``sequence_number`` is 0 for ``trim_horizon`` and ``latest``. Raises ``InvalidArgumentError`` for a number out of
    range.
    """

    type: EventIteratorType
    sequence_number: int = 0

    def __post_init__(self) -> None:
        # One is made for each event that a watcher is given, and nearly always it is of this kind.
        number = self.sequence_number
        is_usual = self.type is EventIteratorType.AFTER_SEQUENCE_NUMBER and type(number) is int
        if is_usual and 0 <= number <= MAX_SEQUENCE_NUMBER:
            return
        try:
            object.__setattr__(self, "type", EventIteratorType(self.type))
        except ValueError:
            raise InvalidArgumentError("type", f"{self.type!r} is no kind of iterator") from None
        check_sequence_number("sequence_number", self.sequence_number)
        if self.sequence_number and not self.has_sequence_number:
            raise InvalidArgumentError("sequence_number", f"{self.type} takes none")

    @classmethod
    def trim_horizon(cls) -> EventIterator:
        """From the oldest event that there is."""
        return cls(EventIteratorType.TRIM_HORIZON)

    @classmethod
    def latest(cls) -> EventIterator:
        """After the newest event that there is when it is read."""
        return cls(EventIteratorType.LATEST)

    @classmethod
    def at_sequence_number(cls, sequence_number: int) -> EventIterator:
        """From this event on, itself included."""
        return cls(EventIteratorType.AT_SEQUENCE_NUMBER, sequence_number)

    @classmethod
    def after_sequence_number(cls, sequence_number: int) -> EventIterator:
        """From the event that follows this one; the number of the last event handled is what to give."""
        return cls(EventIteratorType.AFTER_SEQUENCE_NUMBER, sequence_number)

    @property
    def has_sequence_number(self) -> bool:
        """Whether it names a number, rather than an end of the log."""
        return self.type in (EventIteratorType.AT_SEQUENCE_NUMBER, EventIteratorType.AFTER_SEQUENCE_NUMBER)

    def __str__(self) -> str:
        return f"{self.type.value}({self.sequence_number})" if self.has_sequence_number else self.type.value

    def __repr__(self) -> str:
        arguments = str(self.sequence_number) if self.has_sequence_number else ""
        return f"EventIterator.{self.type.value}({arguments})"


def _operation(argument: str, value: str) -> Operation:
    try:
        return Operation(value)
    except ValueError:
        known = ", ".join(Operation)
        raise InvalidArgumentError(argument, f"{value!r} is no operation; it is one of {known}") from None


def _tuple(argument: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise InvalidArgumentError(argument, f"takes several names, so write ({values!r},), not {values!r}")
    return tuple(values)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to take: those whose type is among ``object_types`` and whose operation is among ``operations``.

    An empty one takes all. Any iterable of names does, of operations also plain strings. Raises
    ``InvalidArgumentError`` for a single string in place of several, for an unknown operation, and for a type that
    isn't a string.
    """

    object_types: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        object_types = _tuple("object_types", self.object_types)
        for name in object_types:
            if not isinstance(name, str):
                raise InvalidArgumentError("object_types", f"a type's name is a str, not {type(name).__name__}")
        operations = _tuple("operations", self.operations)
        object.__setattr__(self, "object_types", object_types)
        object.__setattr__(self, "operations", tuple(_operation("operations", each) for each in operations))

    @property
    def takes_all(self) -> bool:
        """Whether every event passes."""
        return not self.object_types and not self.operations

    def matches(self, operation: str, object_type: str) -> bool:
        """Whether an event of this operation and type passes."""
        if self.object_types and object_type not in self.object_types:
            return False
        return not self.operations or operation in self.operations


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event log.

    ``seq_num`` counts from 1 without gaps. ``object`` has the type that was registered for ``object_type``, or is
    ``None`` if null was stored. ``timestamp`` is the time of the commit in nanoseconds since the epoch, UTC. Do not
    change ``object`` in place: other watchers may be given the same one.

    Of an event that was read, ``object`` may be made only when it is first looked at, which then raises
    ``DeserializationError`` if its JSON isn't what its type needs.
    """

    seq_num: int
    operation: Operation
    object_type: str
    object: Any
    timestamp: int
    _make_object: Callable[[], Any] | None = field(default=None, init=False, repr=False, compare=False)
    _made: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def with_late_object(
        cls, seq_num: int, operation: Operation, object_type: str, make_object: Callable[[], Any], timestamp: int
    ) -> Event:
        """An event whose object is what ``make_object`` returns when it is first needed."""
        event = cls.__new__(cls)
        assign = object.__setattr__
        assign(event, "seq_num", seq_num)
        assign(event, "operation", operation)
        assign(event, "object_type", object_type)
        assign(event, "timestamp", timestamp)
        assign(event, "_make_object", make_object)
        assign(event, "_made", [])
        return event

    # Hidden from type checkers, which would otherwise take any attribute for possible.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Python comes here only for an attribute that was never set, which is the late object alone.
            if name != "object":
                raise AttributeError(f"Event has no attribute {name!r}", name=name, obj=self)
            make_object = self._make_object
            if make_object is not None:
                # Of several threads that come at once each makes one, and all take the first: appending is one step.
                self._made.append(make_object())
                object.__setattr__(self, "object", self._made[0])
                object.__setattr__(self, "_make_object", None)
            # Set by now, if not by this thread then by the one that took make_object away.
            return object.__getattribute__(self, "object")


@dataclass(frozen=True, slots=True)
class StoreEventRequest:
    """An event to append. ``operation`` may be its name. Raises ``InvalidArgumentError`` for an unknown one."""

    operation: Operation
    object_type: str
    object: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "operation", _operation("operation", self.operation))
        if not isinstance(self.object_type, str):
            raise InvalidArgumentError("object_type", f"is a str, not {type(self.object_type).__name__}")


@dataclass(frozen=True, slots=True)
class GetEventsRequest:
    """What to read. ``limit`` counts the events that pass ``filter``: 0 is no limit, a negative one asks for none.

    ``watcher_id`` says on whose behalf. It changes no answer, but those who give one and read the same part of the log
    at the same time are kept together, so that it is read once. Raises ``InvalidArgumentError`` for a wrong type.
    """

    event_iterator: EventIterator
    limit: int = 0
    filter: EventFilter = field(default_factory=EventFilter)
    watcher_id: str = ""

    def __post_init__(self) -> None:
        if type(self.event_iterator) is EventIterator and type(self.limit) is int and type(self.filter) is EventFilter:
            return
        for argument, value, kind in (
            ("event_iterator", self.event_iterator, EventIterator),
            ("limit", self.limit, int),
            ("filter", self.filter, EventFilter),
        ):
            if not isinstance(value, kind):
                raise InvalidArgumentError(argument, f"is of type {kind.__name__}, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class GetEventsResponse:
    """``events`` in the order of their numbers, and where to go on: the iterator that the next request takes."""

    events: list[Event]
    next_event_iterator: EventIterator
