"""Readers take no lock and still see the outcome of whole transactions only, in threads and in other processes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from tests.store.test_processes import next_line, workers
from tests.store.worker import STATES
from tests.support import PATIENCE_SECONDS, make_execution, make_request

if TYPE_CHECKING:
    from tests.conftest import StoreFactory

MEMBERS = 6


@pytest.fixture
def job(store: Store) -> Store:
    """A store with a job whose executions are all in one state."""
    for number in range(MEMBERS):
        store.create_execution(make_execution(f"e{number}", "job", ExecutionState.BID_ACCEPTED, name="0"))
    return store


def look(store: Store, rounds: int) -> int:
    """Read the job in every way; returns how many different moments were seen."""
    moments: set[str] = set()
    for _ in range(rounds):
        counts = store.counts()
        assert sorted(counts.values()) == [0] * 11 + [MEMBERS], "counts of one moment"
        executions = store.get_executions("job")
        assert len(executions) == MEMBERS
        assert len({(execution.name, execution.compute_state.state_type) for execution in executions}) == 1
        assert [execution.modify_time for execution in executions] == sorted(
            (execution.modify_time for execution in executions), reverse=True
        )
        live = store.get_live_executions()
        assert len({(execution.name, execution.compute_state.state_type) for execution in live}) == 1
        assert len(live) == MEMBERS
        assert len({execution.name for execution in store.list_executions()}) == 1
        latest = store.event_store.get_latest_event_num()
        assert latest % MEMBERS == 0, "a transaction's events come together"
        moments.add(executions[0].name)
    return len(moments)


def move(store: Store, number: int) -> None:
    with store.begin_tx() as transaction:
        for execution in transaction.get_executions("job"):
            transaction.update_execution_state(
                make_request(execution.id, STATES[number % len(STATES)], name=str(number))
            )


def test_readers_in_other_threads_see_whole_transactions(job: Store, open_store: StoreFactory) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    seen: list[int] = []
    readers = [job, open_store(), open_store(read_only=True)]

    def read(store: Store) -> None:
        try:
            moments = 0
            while not stop.is_set():
                moments += look(store, 5)
            seen.append(moments)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            failures.append(error)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 120):
            move(job, number)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert failures == []
    assert len(seen) == len(readers)
    assert max(seen) > 2, "the readers did read while it moved"


@pytest.mark.parametrize("options", [{}, {"read_only": True}], ids=["writing handle", "read-only handle"])
def test_a_reader_of_another_processs_writes_sees_whole_transactions(
    job: Store, open_store: StoreFactory, options: dict[str, Any]
) -> None:
    reader = open_store(**options)
    moments = 0
    with workers(open_store.path(), "move", ["job"]) as (mover,):
        next_line(mover)
        while moments < 60:
            moments += look(reader, 10)
    assert look(job, 1) == 1, "and after it was killed"
