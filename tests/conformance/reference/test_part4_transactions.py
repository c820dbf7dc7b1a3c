"""Part 4 of the reference's behaviour, as it should be: there, no method joins the transaction; here, all do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store, Transaction
from execstore.errors import (
    CheckpointNameBlankError,
    ExecStoreError,
    ExecutionAlreadyExistsError,
    ExecutionNotFoundError,
    InvalidExecutionError,
    TransactionClosedError,
    TransactionOpenError,
)
from tests.conformance.content import content_of
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Stores

NEW, RUNNING = ExecutionState.NEW, ExecutionState.RUNNING


def fill(transaction: Transaction) -> None:
    """One call of every writing method."""
    transaction.create_execution(make_execution("e1"), make_event("a"))
    transaction.create_execution(make_execution("e2"))
    transaction.update_execution_state(make_request("e0", RUNNING, make_event("b")))
    transaction.add_execution_event("e1", make_event("c"))
    transaction.delete_execution("e2")
    transaction.checkpoint("cp", 7)


def state_of(store: Store | Transaction) -> tuple[object, ...]:
    """What the reading methods say."""
    return (
        [execution.id for execution in store.get_executions("job1")],
        [execution.id for execution in store.get_live_executions()],
        [store.get_execution_count(state) for state in ExecutionState],
        [event.message for event in store.get_execution_events("e0")],
        store.get_execution("e0"),
        store.get_checkpoint("cp"),
    )


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with one execution."""
    store.create_execution(make_execution("e0"), make_event("0"))
    return store


def test_a_transaction_sees_its_own_writes_and_others_the_last_committed_state(
    filled: Store, open_store: Stores
) -> None:
    other = open_store()
    before = state_of(filled)
    with filled.begin_tx() as transaction:
        fill(transaction)
        inside = state_of(transaction)
        assert inside[0] == ["e1", "e0"] or inside[0] == ["e0", "e1"]
        assert inside[1] == ["e0"]
        assert [event.message for event in transaction.get_execution_events("e1")] == ["a", "c"]
        assert state_of(filled) == before
        assert state_of(other) == before
        with pytest.raises(ExecutionNotFoundError):
            filled.get_execution("e1")
        assert len(log_entries(other)) == 2
    assert state_of(filled) == inside
    assert state_of(other) == inside


def test_a_rollback_undoes_all(filled: Store) -> None:
    before, content = state_of(filled), content_of(filled)
    transaction = filled.begin_tx()
    fill(transaction)
    transaction.rollback()
    assert state_of(filled) == before
    assert content_of(filled) == content
    filled.create_execution(make_execution("e1"))
    assert [event.seq_num for event in log_entries(filled)] == [1, 2, 3], "no number is lost"


def test_an_exception_rolls_back(filled: Store) -> None:
    before = state_of(filled)
    transaction = filled.begin_tx()

    def fail() -> None:
        with transaction:
            fill(transaction)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert transaction.closed
    assert state_of(filled) == before


def test_the_event_log_keeps_the_order_of_the_calls(filled: Store) -> None:
    with filled.begin_tx() as transaction:
        fill(transaction)
    assert [
        f"{event.seq_num} {event.operation} {event.object_type} {_execution_of(event.object)}"
        for event in log_entries(filled, after=2)
    ] == [
        "3 CREATE ExecutionEvent e1",
        "4 CREATE ExecutionUpsert e1",
        "5 CREATE ExecutionUpsert e2",
        "6 CREATE ExecutionEvent e0",
        "7 UPDATE ExecutionUpsert e0",
        "8 CREATE ExecutionEvent e1",
        "9 DELETE ExecutionUpsert e2",
    ]


def _execution_of(logged: object) -> str:
    execution_id = getattr(logged, "execution_id", "")
    if execution_id:
        return str(execution_id)
    found = getattr(logged, "current", None) or getattr(logged, "previous", None)
    return str(getattr(found, "id", ""))


WRITES: dict[str, Callable[[Store | Transaction], object]] = {
    "create_execution": lambda target: target.create_execution(make_execution("e9")),
    "update_execution_state": lambda target: target.update_execution_state(make_request("e0", RUNNING)),
    "delete_execution": lambda target: target.delete_execution("e0"),
    "add_execution_event": lambda target: target.add_execution_event("e0", make_event()),
    "checkpoint": lambda target: target.checkpoint("cp", 1),
}


@pytest.mark.parametrize("method", WRITES)
def test_a_write_to_the_store_inside_a_transaction_is_refused_at_once(filled: Store, method: str) -> None:
    before = state_of(filled)
    with filled.begin_tx() as transaction:
        with pytest.raises(TransactionOpenError, match=method):
            WRITES[method](filled)
        WRITES[method](transaction)
        assert state_of(filled) == before


def test_a_second_transaction_of_the_thread_is_refused_at_once(filled: Store) -> None:
    with filled.begin_tx(), pytest.raises(TransactionOpenError, match="begin_tx"):
        filled.begin_tx()


def test_a_watchers_checkpoint_inside_a_transaction_is_refused_at_once(filled: Store) -> None:
    with filled.begin_tx(), pytest.raises(TransactionOpenError, match="store_checkpoint"):
        filled.event_store.store_checkpoint("w", 1)


def test_reading_inside_a_transaction_is_allowed(filled: Store) -> None:
    with filled.begin_tx():
        assert filled.get_execution("e0").id == "e0"


def test_commit_twice(filled: Store) -> None:
    transaction = filled.begin_tx()
    transaction.commit()
    with pytest.raises(TransactionClosedError, match="tx closed"):
        transaction.commit()
    transaction.rollback()
    transaction.rollback()


def test_commit_after_a_rollback(filled: Store) -> None:
    transaction = filled.begin_tx()
    transaction.rollback()
    with pytest.raises(TransactionClosedError):
        transaction.commit()


@pytest.mark.parametrize(
    "call",
    [
        *WRITES.values(),
        lambda transaction: transaction.get_execution("e0"),
        lambda transaction: transaction.get_executions("job1"),
        lambda transaction: transaction.get_live_executions(),
        lambda transaction: transaction.get_execution_count(NEW),
        lambda transaction: transaction.get_execution_events("e0"),
        lambda transaction: transaction.get_checkpoint("cp"),
        lambda transaction: transaction.__enter__(),
    ],
)
def test_every_method_refuses_once_the_transaction_is_over(
    filled: Store, call: Callable[[Transaction], object]
) -> None:
    with filled.begin_tx() as transaction:
        pass
    with pytest.raises(TransactionClosedError):
        call(transaction)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda transaction: transaction.create_execution(make_execution("e0")), ExecutionAlreadyExistsError),
        (lambda transaction: transaction.create_execution(make_execution("")), InvalidExecutionError),
        (lambda transaction: transaction.update_execution_state(make_request("no", RUNNING)), ExecutionNotFoundError),
        (
            lambda transaction: transaction.update_execution_state(
                make_request("e0", RUNNING, extra={"X": float("nan")})
            ),
            InvalidExecutionError,
        ),
        (lambda transaction: transaction.delete_execution("no"), ExecutionNotFoundError),
        (lambda transaction: transaction.add_execution_event("no", make_event()), ExecutionNotFoundError),
        (lambda transaction: transaction.checkpoint("", 1), CheckpointNameBlankError),
    ],
)
def test_a_call_that_fails_leaves_the_transaction_as_it_was(
    filled: Store, call: Callable[[Transaction], object], kind: type[ExecStoreError]
) -> None:
    with filled.begin_tx() as transaction:
        transaction.create_execution(make_execution("e1"))
        before = state_of(transaction)
        with pytest.raises(kind):
            call(transaction)
        assert state_of(transaction) == before
        transaction.create_execution(make_execution("e2"))
    assert {execution.id for execution in filled.get_executions("job1")} == {"e0", "e1", "e2"}
    assert len(log_entries(filled)) == 4


def test_what_a_transaction_undoes_itself(filled: Store) -> None:
    with filled.begin_tx() as transaction:
        transaction.create_execution(make_execution("e1"), make_event())
        transaction.delete_execution("e1")
        transaction.create_execution(make_execution("e1", "job2"), make_event("again"))
        transaction.update_execution_state(make_request("e1", RUNNING, job_id="job3"))
        transaction.update_execution_state(make_request("e1", ExecutionState.PUBLISHING, job_id="job2"))
    assert [execution.id for execution in filled.get_executions("job2")] == ["e1"]
    assert [event.message for event in filled.get_execution_events("e1")] == ["again"]
    assert filled.get_execution_count(ExecutionState.PUBLISHING) == 1


def test_a_forgotten_transaction_is_rolled_back(filled: Store, open_store: Stores) -> None:
    transaction = filled.begin_tx()
    transaction.create_execution(make_execution("e1"))
    filled.close()
    assert transaction.closed
    other = open_store(lock_timeout=0)
    other.create_execution(make_execution("e2"))
    assert {execution.id for execution in other.get_executions("job1")} == {"e0", "e2"}
