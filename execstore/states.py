"""The states of an execution, by the names and numbers of Bacalhau's ``pkg/models/execution.go``.

A number that the enumerations lack (an execution stored by a newer program) is a state too: it has the name that Go
prints, ``ExecutionStateType(99)``, and survives every round trip.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final, Self

from execstore.errors import InvalidExecutionError

__all__ = ["DesiredState", "ExecutionState"]

# Go's type for a state is a 64-bit integer; a larger number in a file is damage.
_MAX_NUMBER: Final = 2**63 - 1


class _NumberedState(StrEnum):
    """An enumeration whose members also have a number: their place in it, from 0."""

    @classmethod
    def _type_name(cls) -> str:
        """The name of the Go type, which Go prints for a number without a name."""
        raise NotImplementedError

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        match = re.fullmatch(r"(\w+)\(([1-9][0-9]{0,18})\)", value, re.ASCII) if isinstance(value, str) else None
        if match is None or match[1] != cls._type_name():
            return None
        number = int(match[2])
        if not len(cls) <= number <= _MAX_NUMBER:
            return None
        # Never entered into the enumeration's own tables: they only grow, and a hostile file can name any number.
        state = str.__new__(cls, match[0])
        state._name_ = state._value_ = match[0]
        return state

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # By value: some versions of Python pickle a member by its name, which a made up one doesn't have.
        return type(self), (self.value,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @property
    def number(self) -> int:
        """The reference's number."""
        names = type(self)._member_names_
        if self._name_ in names:
            return names.index(self._name_)
        return int(self.value[len(self._type_name()) + 1 : -1])

    @classmethod
    def from_number(cls, number: int) -> Self:
        """The state of the reference's number; one beyond the known ones is named like ``ExecutionStateType(99)``.

        Raises:
            InvalidExecutionError: if it is no integer, negative, or over 64 bits.
        """
        if not isinstance(number, int) or isinstance(number, bool):
            raise InvalidExecutionError("", f"a state's number is an integer, not {type(number).__name__}")
        return cls.parse(number)

    @classmethod
    def named(cls, value: object) -> Self | None:
        """The state of the enumeration that has this name, ``None`` for anything else. Quick."""
        return cls._value2member_map_.get(value) if type(value) is str else None  # type: ignore[return-value]

    @classmethod
    def parse(cls, value: object, member: str = "") -> Self:
        """The state of a name, written exactly as in the enumeration, or of a number.

        Args:
            member: where the value stands, for the error.

        Raises:
            InvalidExecutionError: naming ``member`` and, for an unknown name, the valid ones.
        """
        if isinstance(value, str):
            try:
                return cls(value)
            except ValueError:
                reason = f"{value[:100]!r} is not a state; it must be one of {', '.join(cls)}, or a state's number"
                raise InvalidExecutionError(member, reason) from None
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidExecutionError(member, f"a state is a name or a number, not {type(value).__name__}")
        if not 0 <= value <= _MAX_NUMBER:
            raise InvalidExecutionError(member, "a state's number must be between 0 and 2^63-1")
        known = list(cls)
        return known[value] if value < len(known) else cls(f"{cls._type_name()}({value})")


class ExecutionState(_NumberedState):
    """What an execution is doing on its compute node."""

    UNDEFINED = "Undefined"
    NEW = "New"
    ASK_FOR_BID = "AskForBid"
    ASK_FOR_BID_ACCEPTED = "AskForBidAccepted"
    ASK_FOR_BID_REJECTED = "AskForBidRejected"
    BID_ACCEPTED = "BidAccepted"
    RUNNING = "Running"
    PUBLISHING = "Publishing"
    BID_REJECTED = "BidRejected"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @classmethod
    def _type_name(cls) -> str:
        return "ExecutionStateType"

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended: an execution in this state is never updated again."""
        return self in _TERMINAL

    @property
    def is_executing(self) -> bool:
        """Whether the node has work to do for it: the states of ``get_live_executions``."""
        return self in _EXECUTING


class DesiredState(_NumberedState):
    """What the orchestrator wants of an execution."""

    PENDING = "Pending"
    RUNNING = "Running"
    STOPPED = "Stopped"

    @classmethod
    def _type_name(cls) -> str:
        return "ExecutionDesiredStateType"


_TERMINAL: Final = frozenset(
    (
        ExecutionState.ASK_FOR_BID_REJECTED,
        ExecutionState.BID_REJECTED,
        ExecutionState.COMPLETED,
        ExecutionState.FAILED,
        ExecutionState.CANCELLED,
    )
)
_EXECUTING: Final = frozenset((ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.PUBLISHING))
