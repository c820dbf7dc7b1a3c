"""A store that a forked child inherits: the child opens it anew, never shares a lock, and both go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import StoreBusyError
from tests.support import in_child, log_entries, make_execution, make_request

if TYPE_CHECKING:
    from tests.conftest import StoreFactory


def test_both_go_on(store: Store) -> None:
    store.create_execution(make_execution("before"))

    def work() -> object:
        store.update_execution_state(make_request("before", ExecutionState.RUNNING))
        return store.create_execution(make_execution("child")).revision

    assert in_child(work) == "1"
    assert store.get_execution("before").compute_state.state_type is ExecutionState.RUNNING
    store.create_execution(make_execution("parent"))
    assert {execution.id for execution in store.get_executions("job1")} == {"before", "child", "parent"}
    assert [event.seq_num for event in log_entries(store)] == [1, 2, 3, 4]


def test_the_child_closes_only_its_own(store: Store) -> None:
    def work() -> object:
        store.create_execution(make_execution("child"))
        store.close()
        return "closed"

    assert in_child(work) == "closed"
    assert store.create_execution(make_execution("parent")).revision == 1


def test_a_child_that_closes_without_a_call_leaves_the_parents_transaction_alone(store: Store) -> None:
    transaction = store.begin_tx()
    transaction.create_execution(make_execution("parent"))
    assert in_child(store.close) == "None"
    transaction.commit()
    assert store.get_execution("parent").revision == 1


def test_an_open_transaction_stays_the_parents(store: Store, open_store: StoreFactory) -> None:
    impatient = open_store(lock_timeout=0.1)
    transaction = store.begin_tx()
    transaction.create_execution(make_execution("parent"))

    assert in_child(lambda: impatient.create_execution(make_execution("child"))).startswith("StoreBusyError")
    assert in_child(impatient.counts).startswith("StoreBusyError"), "to open the store anew takes the lock, too"
    # The end of a child, or what it does with what it inherited, must not end the parent's lock.
    assert in_child(lambda: impatient.create_execution(make_execution("child"))).startswith("StoreBusyError")

    transaction.commit()
    assert in_child(lambda: impatient.create_execution(make_execution("child")).revision) == "1"
    assert {execution.id for execution in store.get_executions("job1")} == {"parent", "child"}


@pytest.mark.parametrize("method", ["commit", "rollback", "create_execution", "__del__"])
def test_a_child_can_do_nothing_with_the_parents_transaction(
    store: Store, open_store: StoreFactory, method: str
) -> None:
    impatient = open_store(lock_timeout=0)
    transaction = store.begin_tx()
    transaction.create_execution(make_execution("parent"))

    def work() -> object:
        arguments = [make_execution("child")] if method == "create_execution" else []
        return getattr(transaction, method)(*arguments)

    assert in_child(work) == ("None" if method in {"rollback", "__del__"} else "TransactionClosedError: tx closed")
    with pytest.raises(StoreBusyError):
        impatient.checkpoint("cp", 1)
    transaction.commit()
    assert [execution.id for execution in store.get_executions("job1")] == ["parent"]
    assert [event.seq_num for event in log_entries(store)] == [1]


def test_a_childs_own_transaction(store: Store) -> None:
    transaction = store.begin_tx()
    transaction.rollback()

    def work() -> object:
        with store.begin_tx() as own:
            own.create_execution(make_execution("child"))
        return store.get_execution("child").revision

    assert in_child(work) == "1"
    assert store.get_execution("child").revision == 1


def test_the_event_store_of_a_child(store: Store) -> None:
    store.create_execution(make_execution())
    assert store.event_store.get_latest_event_num() == 1

    def work() -> object:
        store.event_store.store_checkpoint("w", 1)
        return store.event_store.get_latest_event_num()

    assert in_child(work) == "1"
    assert store.event_store.get_checkpoint("w") == 1


def test_a_read_only_store_in_a_child(store: Store, open_store: StoreFactory) -> None:
    reader = open_store(read_only=True)
    store.create_execution(make_execution())
    assert in_child(lambda: reader.get_execution("e1").revision) == "1"
    assert reader.get_execution("e1").revision == 1


def test_a_closed_store_stays_closed_in_a_child(store: Store) -> None:
    store.close()
    assert in_child(lambda: store.get_execution("e1")).startswith("StoreClosedError")


def test_a_child_of_a_child(store: Store) -> None:
    def grandchild() -> object:
        return store.create_execution(make_execution("grandchild")).revision

    def child() -> object:
        store.create_execution(make_execution("child"))
        return in_child(grandchild)

    assert in_child(child) == "1"
    assert {execution.id for execution in store.get_executions("job1")} == {"child", "grandchild"}
