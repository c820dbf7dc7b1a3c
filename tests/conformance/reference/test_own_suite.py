"""The cases of the reference's own suite (``pkg/compute/store/boltdb/store_test.go``), in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, State, Store
from execstore.errors import (
    ExecutionAlreadyExistsError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
    StoreClosedError,
)
from tests.support import make_execution, make_request

if TYPE_CHECKING:
    from tests.conformance.conftest import Stores

NEW, BID_ACCEPTED, RUNNING = ExecutionState.NEW, ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING
PUBLISHING, COMPLETED = ExecutionState.PUBLISHING, ExecutionState.COMPLETED


def ids(store: Store, job_id: str) -> list[str]:
    return [execution.id for execution in store.get_executions(job_id)]


def test_create_execution(store: Store) -> None:
    created = store.create_execution(make_execution())
    assert store.get_execution("e1") == created
    assert created.compute_state == State(NEW)


def test_create_execution_that_exists(store: Store) -> None:
    store.create_execution(make_execution())
    with pytest.raises(ExecutionAlreadyExistsError):
        store.create_execution(make_execution())


def test_create_execution_in_a_wrong_state(store: Store) -> None:
    with pytest.raises(InvalidExecutionStateError):
        store.create_execution(make_execution(state=RUNNING))


def test_get_execution_that_does_not_exist(store: Store) -> None:
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e1")


def test_get_executions(store: Store) -> None:
    first = store.create_execution(make_execution("first"))
    assert store.get_executions("job1") == [first]
    second = store.create_execution(make_execution("second"))
    assert store.get_executions("job1") == [second, first]


def test_get_executions_of_no_job(store: Store) -> None:
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job1")


def test_update_execution(store: Store) -> None:
    created = store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", PUBLISHING))
    stored = store.get_execution("e1")
    assert stored.compute_state.state_type is PUBLISHING
    assert stored.revision == created.revision + 1
    assert stored.modify_time > created.modify_time
    assert stored.create_time == created.create_time


def test_update_execution_whose_conditions_pass(store: Store) -> None:
    store.create_execution(make_execution())
    updated = store.update_execution_state(make_request("e1", PUBLISHING, expected=(NEW,), revision=1))
    assert (updated.compute_state.state_type, updated.revision) == (PUBLISHING, 2)


def test_update_execution_whose_state_is_another(store: Store) -> None:
    store.create_execution(make_execution())
    with pytest.raises(InvalidExecutionStateError):
        store.update_execution_state(make_request("e1", PUBLISHING, expected=(BID_ACCEPTED,)))


def test_update_execution_whose_revision_is_another(store: Store) -> None:
    store.create_execution(make_execution())
    with pytest.raises(InvalidExecutionRevisionError):
        store.update_execution_state(make_request("e1", PUBLISHING, revision=100))


def test_delete_execution(store: Store) -> None:
    store.create_execution(make_execution())
    store.delete_execution("e1")
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e1")
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job1")


def test_delete_execution_among_others(store: Store) -> None:
    for execution_id, job_id in (("first", "job1"), ("second", "job1"), ("third", "job2")):
        store.create_execution(make_execution(execution_id, job_id))
    assert (len(ids(store, "job1")), len(ids(store, "job2"))) == (2, 1)
    store.delete_execution("first")
    assert ids(store, "job1") == ["second"]
    store.delete_execution("second")
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job1")
    assert ids(store, "job2") == ["third"]
    store.delete_execution("third")
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job2")


def test_delete_execution_that_does_not_exist(store: Store) -> None:
    with pytest.raises(ExecutionNotFoundError):
        store.delete_execution("e1")


def test_counts_survive_a_reopening(store: Store, open_store: Stores) -> None:
    for number, state in enumerate((BID_ACCEPTED, BID_ACCEPTED, BID_ACCEPTED, COMPLETED, COMPLETED)):
        store.create_execution(make_execution(f"e{number}"))
        store.update_execution_state(make_request(f"e{number}", state, expected=(NEW,), revision=1))
    store.close()
    again = open_store()
    assert again.get_execution_count(COMPLETED) == 2
    assert again.get_execution_count(BID_ACCEPTED) == 3
    assert again.counts() == {state: {BID_ACCEPTED: 3, COMPLETED: 2}.get(state, 0) for state in ExecutionState}


def test_counts_follow_the_state(store: Store) -> None:
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", BID_ACCEPTED, revision=1))
    assert (store.get_execution_count(BID_ACCEPTED), store.get_execution_count(COMPLETED)) == (1, 0)
    store.update_execution_state(make_request("e1", COMPLETED, expected=(BID_ACCEPTED,), revision=2))
    assert (store.get_execution_count(BID_ACCEPTED), store.get_execution_count(COMPLETED)) == (0, 1)
    store.delete_execution("e1")
    assert store.get_execution_count(COMPLETED) == 0


def test_checkpoints_survive_a_reopening(store: Store, open_store: Stores) -> None:
    store.checkpoint("a", 17)
    store.close()
    assert open_store().get_checkpoint("a") == 17


def test_a_closed_store(store: Store) -> None:
    store.create_execution(make_execution())
    store.close()
    with pytest.raises(StoreClosedError):
        store.get_execution("e1")
