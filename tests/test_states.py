from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.errors import InvalidExecutionError
from execstore.states import DesiredState, ExecutionState

NUMBERED = [
    (0, "Undefined", ExecutionState.UNDEFINED),
    (1, "New", ExecutionState.NEW),
    (2, "AskForBid", ExecutionState.ASK_FOR_BID),
    (3, "AskForBidAccepted", ExecutionState.ASK_FOR_BID_ACCEPTED),
    (4, "AskForBidRejected", ExecutionState.ASK_FOR_BID_REJECTED),
    (5, "BidAccepted", ExecutionState.BID_ACCEPTED),
    (6, "Running", ExecutionState.RUNNING),
    (7, "Publishing", ExecutionState.PUBLISHING),
    (8, "BidRejected", ExecutionState.BID_REJECTED),
    (9, "Completed", ExecutionState.COMPLETED),
    (10, "Failed", ExecutionState.FAILED),
    (11, "Cancelled", ExecutionState.CANCELLED),
    (0, "Pending", DesiredState.PENDING),
    (1, "Running", DesiredState.RUNNING),
    (2, "Stopped", DesiredState.STOPPED),
]


@pytest.mark.parametrize(("number", "name", "state"), NUMBERED)
def test_numbers_and_names_are_the_references(number: int, name: str, state: ExecutionState | DesiredState) -> None:
    kind = type(state)
    assert (state.number, state.value, str(state), f"{state}") == (number, name, name, name)
    assert kind.parse(name) is kind.parse(number) is kind.parse(state) is kind.from_number(number) is state


def test_the_enumerations_are_complete() -> None:
    assert len(ExecutionState) + len(DesiredState) == len(NUMBERED)


def test_which_states_are_terminal_and_which_execute() -> None:
    assert [state.value for state in ExecutionState if state.is_terminal] == [
        "AskForBidRejected",
        "BidRejected",
        "Completed",
        "Failed",
        "Cancelled",
    ]
    assert [state.value for state in ExecutionState if state.is_executing] == ["BidAccepted", "Running", "Publishing"]


@pytest.mark.parametrize(
    ("kind", "number", "name"),
    [
        (ExecutionState, 99, "ExecutionStateType(99)"),
        (ExecutionState, 12, "ExecutionStateType(12)"),
        (ExecutionState, 2**63 - 1, "ExecutionStateType(9223372036854775807)"),
        (DesiredState, 3, "ExecutionDesiredStateType(3)"),
    ],
)
def test_a_number_without_a_name_is_a_state(kind: type[ExecutionState | DesiredState], number: int, name: str) -> None:
    state = kind.from_number(number)
    assert isinstance(state, kind)
    assert (state.number, state.value, str(state), state.name) == (number, name, name, name)
    assert state == kind.from_number(number) == kind.parse(name) == kind(name)
    assert hash(state) == hash(kind(name))
    assert {state: 1}[kind(name)] == 1
    assert state not in list(kind)


def test_an_unnamed_state_is_neither_terminal_nor_executing() -> None:
    state = ExecutionState.from_number(99)
    assert not state.is_terminal
    assert not state.is_executing


@pytest.mark.parametrize(
    "state", [ExecutionState.NEW, DesiredState.STOPPED, ExecutionState(f"ExecutionStateType({99})")]
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_states_are_pickled_and_copied(state: ExecutionState | DesiredState, protocol: int) -> None:
    loaded = pickle.loads(pickle.dumps(state, protocol))
    assert loaded == state
    assert type(loaded) is type(state)
    assert loaded.number == state.number
    assert copy.copy(state) is copy.deepcopy(state) is state


def test_unnamed_states_leave_no_trace() -> None:
    before = len(ExecutionState._value2member_map_), len(ExecutionState.__members__)
    for number in range(1000, 2000):
        ExecutionState.from_number(number)
    assert (len(ExecutionState._value2member_map_), len(ExecutionState.__members__)) == before


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("running", "'running' is not a state; it must be one of Undefined, New, AskForBid,"),
        ("RUNNING", "is not a state"),
        ("", "is not a state"),
        ("Stopped", "is not a state"),
        ("ExecutionStateType(3)", "is not a state"),
        ("ExecutionStateType(099)", "is not a state"),
        ("ExecutionStateType(-1)", "is not a state"),
        ("ExecutionStateType(٩٩)", "is not a state"),
        ("ExecutionStateType(9223372036854775808)", "is not a state"),
        ("ExecutionDesiredStateType(99)", "is not a state"),
        ("ExecutionStateType(99)\n", "is not a state"),
        (-1, "between 0 and"),
        (2**63, "between 0 and"),
        pytest.param(10**5000, "between 0 and", id="5001 digits"),
        (True, "a name or a number, not bool"),
        (1.0, "a name or a number, not float"),
        (None, "a name or a number, not NoneType"),
        ([], "a name or a number, not list"),
    ],
)
def test_anything_else_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidExecutionError, match=reason) as caught:
        ExecutionState.parse(value, "ComputeState.StateType")
    assert caught.value.member == "ComputeState.StateType"


def test_from_number_takes_no_names() -> None:
    with pytest.raises(InvalidExecutionError, match="an integer"):
        ExecutionState.from_number("New")  # type: ignore[arg-type]


@given(st.text() | st.integers().map(lambda number: f"ExecutionStateType({number})"))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        state = ExecutionState.parse(text)
    except InvalidExecutionError:
        return
    assert state.value == text
    assert ExecutionState.from_number(state.number) == state
