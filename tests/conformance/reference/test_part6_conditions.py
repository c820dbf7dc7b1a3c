"""Part 6 of the reference's behaviour: conditions of an update and their precedence, terminal states, lists."""

from __future__ import annotations

import pytest

from execstore import ExecutionState, Store
from execstore.errors import (
    ExecStoreError,
    ExecutionAlreadyTerminalError,
    ExecutionNotFoundError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
)
from tests.support import log_entries, make_event, make_execution, make_request

NEW, BID_ACCEPTED, RUNNING = ExecutionState.NEW, ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING
PUBLISHING, COMPLETED, FAILED = ExecutionState.PUBLISHING, ExecutionState.COMPLETED, ExecutionState.FAILED


@pytest.fixture
def running(store: Store) -> Store:
    """A store with an execution in state Running, revision 2."""
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", RUNNING))
    return store


@pytest.fixture
def completed(store: Store) -> Store:
    """A store with an execution in state Completed, revision 2."""
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", COMPLETED))
    return store


@pytest.mark.parametrize("execution_id", ["nope", ""])
def test_a_missing_execution_speaks_before_any_condition(store: Store, execution_id: str) -> None:
    request = make_request(execution_id, RUNNING, expected=(NEW,), revision=5, unexpected=(NEW,))
    with pytest.raises(ExecutionNotFoundError) as caught:
        store.update_execution_state(request)
    assert str(caught.value) == f"execution not found: {execution_id}"


STATE, REVISION = InvalidExecutionStateError, InvalidExecutionRevisionError


@pytest.mark.parametrize(
    ("expected", "revision", "unexpected", "kind", "message"),
    [
        ((NEW, BID_ACCEPTED), 0, (), STATE, "is in state Running but expected one of [New BidAccepted]"),
        ((), 1, (), REVISION, "has revision 2 but expected 1"),
        ((), 0, (RUNNING,), STATE, "is in state Running but expected one of []"),
        ((NEW,), 1, (RUNNING,), STATE, "is in state Running but expected one of [New]"),
        ((), 1, (RUNNING,), REVISION, "has revision 2 but expected 1"),
        ((RUNNING,), 0, (RUNNING,), STATE, "is in state Running but expected one of []"),
    ],
)
def test_conditions_that_are_not_met(
    running: Store,
    expected: tuple[ExecutionState, ...],
    revision: int,
    unexpected: tuple[ExecutionState, ...],
    kind: type[ExecStoreError],
    message: str,
) -> None:
    before = running.get_execution("e1")
    with pytest.raises(kind) as caught:
        running.update_execution_state(
            make_request("e1", PUBLISHING, make_event(), expected=expected, revision=revision, unexpected=unexpected)
        )
    assert str(caught.value) == f"execution e1 {message}"
    assert running.get_execution("e1") == before
    assert len(log_entries(running)) == 2


@pytest.mark.parametrize(
    ("state", "expected", "revision", "unexpected"),
    [
        (RUNNING, (), 0, ()),
        (NEW, (), 0, ()),
        (COMPLETED, (NEW, RUNNING), 2, (BID_ACCEPTED,)),
    ],
    ids=["any revision, the same state", "backwards", "all met"],
)
def test_conditions_that_are_met(
    running: Store,
    state: ExecutionState,
    expected: tuple[ExecutionState, ...],
    revision: int,
    unexpected: tuple[ExecutionState, ...],
) -> None:
    request = make_request("e1", state, expected=expected, revision=revision, unexpected=unexpected)
    updated = running.update_execution_state(request)
    assert (updated.compute_state.state_type, updated.revision) == (state, 3)


@pytest.mark.parametrize(("state", "to"), [(RUNNING, "Running"), (COMPLETED, "Completed"), (None, "Undefined")])
def test_a_terminal_execution_is_never_updated(completed: Store, state: ExecutionState | None, to: str) -> None:
    with pytest.raises(ExecutionAlreadyTerminalError) as caught:
        completed.update_execution_state(make_request("e1", state, make_event(), name="new"))
    assert str(caught.value) == f"execution e1 is in terminal state Completed and cannot transition to {to}"
    assert completed.get_execution("e1").revision == 2
    assert len(log_entries(completed)) == 2


def test_a_state_of_a_newer_program_has_the_name_that_go_prints(store: Store) -> None:
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", ExecutionState.from_number(99)))
    assert store.get_execution("e1").compute_state.state_type.number == 99
    assert store.get_execution_count(ExecutionState.from_number(99)) == 1
    with pytest.raises(InvalidExecutionStateError) as caught:
        store.update_execution_state(make_request("e1", expected=(ExecutionState.from_number(98),)))
    message = "execution e1 is in state ExecutionStateType(99) but expected one of [ExecutionStateType(98)]"
    assert str(caught.value) == message


def test_a_condition_speaks_before_the_terminal_state(completed: Store) -> None:
    with pytest.raises(InvalidExecutionStateError) as caught:
        completed.update_execution_state(make_request("e1", FAILED, expected=(RUNNING,)))
    assert str(caught.value) == "execution e1 is in state Completed but expected one of [Running]"
    with pytest.raises(ExecutionAlreadyTerminalError) as terminal:
        completed.update_execution_state(make_request("e1", FAILED, expected=(COMPLETED,)))
    assert str(terminal.value) == "execution e1 is in terminal state Completed and cannot transition to Failed"


def test_a_terminal_execution_takes_events(completed: Store) -> None:
    completed.add_execution_event("e1", make_event("late"))
    assert [event.message for event in completed.get_execution_events("e1")] == ["late"]


TERMINAL = {"AskForBidRejected", "BidRejected", "Completed", "Failed", "Cancelled"}


@pytest.mark.parametrize("state", list(ExecutionState))
def test_which_states_are_terminal(store: Store, state: ExecutionState) -> None:
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", state))
    if state.value in TERMINAL:
        with pytest.raises(ExecutionAlreadyTerminalError):
            store.update_execution_state(make_request("e1", FAILED))
    else:
        store.update_execution_state(make_request("e1", FAILED))
        assert store.get_execution("e1").compute_state.state_type is FAILED


def test_lists_are_newest_first_and_live_is_what_has_work_to_do(store: Store) -> None:
    for state in ExecutionState:
        store.create_execution(make_execution(f"e-{state}"))
        store.update_execution_state(make_request(f"e-{state}", state))
    assert [execution.id for execution in store.get_live_executions()] == ["e-Publishing", "e-Running", "e-BidAccepted"]
    assert [execution.id for execution in store.get_executions("job1")] == [
        f"e-{state}" for state in reversed(ExecutionState)
    ]
    assert store.get_execution_count(NEW) == 2, "an update to Undefined changes no state"
    assert store.get_execution_count(ExecutionState.UNDEFINED) == 0


def test_an_update_brings_an_execution_to_the_front(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.create_execution(make_execution(name, state=BID_ACCEPTED))
    store.update_execution_state(make_request("a", name="x"))
    assert [execution.id for execution in store.get_executions("job1")] == ["a", "c", "b"]
    assert [execution.id for execution in store.get_live_executions()] == ["a", "c", "b"]
