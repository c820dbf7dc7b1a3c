"""One store used by many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import (
    ExecutionAlreadyExistsError,
    InvalidExecutionRevisionError,
    StoreBusyError,
    TransactionOpenError,
)
from tests.support import PATIENCE_SECONDS, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Stores

THREADS = 8
EACH = 20


def together(work: Callable[[int], object]) -> None:
    """Do ``work`` in eight threads that begin at the same time."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        barrier.wait(PATIENCE_SECONDS)
        work(number)

    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(begin, number) for number in range(THREADS)]:
            done.result(PATIENCE_SECONDS)


def test_threads_create_at_once_and_nothing_is_lost(store: Store) -> None:
    def create(thread: int) -> None:
        for number in range(EACH):
            created = store.create_execution(make_execution(f"t{thread}-{number}", f"job{thread}"), make_event())
            assert store.get_execution(created.id) == created

    together(create)
    assert store.get_execution_count(ExecutionState.NEW) == THREADS * EACH
    assert [len(store.get_executions(f"job{thread}")) for thread in range(THREADS)] == [EACH] * THREADS
    logged = log_entries(store)
    assert [event.seq_num for event in logged] == list(range(1, 2 * THREADS * EACH + 1))
    assert len({event.timestamp for event in logged}) == THREADS * EACH


def test_threads_count_up_and_no_addition_is_lost(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution("counter"))
    handles = [store, open_store()]

    def count_up(thread: int) -> None:
        handle = handles[thread % 2]
        done = 0
        while done < EACH:
            revision = handle.get_execution("counter").revision
            try:
                handle.update_execution_state(make_request("counter", revision=revision, name=f"t{thread}"))
            except InvalidExecutionRevisionError:
                continue
            done += 1

    together(count_up)
    assert store.get_execution("counter").revision == 1 + THREADS * EACH


def test_only_one_thread_creates_an_id(store: Store) -> None:
    won: list[int] = []

    def create(thread: int) -> None:
        for number in range(5):
            try:
                store.create_execution(make_execution(f"e{number}", name=f"t{thread}"))
            except ExecutionAlreadyExistsError:
                continue
            else:
                won.append(number)

    together(create)
    assert sorted(won) == [0, 1, 2, 3, 4]


def test_transactions_of_threads_wait_for_each_other(store: Store) -> None:
    def add_two(thread: int) -> None:
        for number in range(5):
            with store.begin_tx() as transaction:
                transaction.create_execution(make_execution(f"t{thread}-{number}-a"))
                transaction.create_execution(make_execution(f"t{thread}-{number}-b"))

    together(add_two)
    in_order = [event.object.current.id for event in log_entries(store)]
    assert len(in_order) == THREADS * 10
    for first, second in zip(in_order[::2], in_order[1::2], strict=True):
        assert first.removesuffix("-a") == second.removesuffix("-b")


def test_a_transaction_keeps_other_threads_waiting_but_only_its_own_thread_is_told(
    store: Store, open_store: Stores
) -> None:
    impatient = open_store(lock_timeout=0.05)
    with impatient.begin_tx() as transaction:
        transaction.create_execution(make_execution("e1"))
        with pytest.raises(TransactionOpenError):
            impatient.create_execution(make_execution("e2"))
        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(impatient.create_execution, make_execution("e2"))
            with pytest.raises(StoreBusyError):
                other.result(PATIENCE_SECONDS)
    assert impatient.create_execution(make_execution("e2")).revision == 1


def test_a_transaction_may_be_ended_by_another_thread(store: Store) -> None:
    transaction = store.begin_tx()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(transaction.create_execution, make_execution("e1")).result(PATIENCE_SECONDS)
        threads.submit(transaction.commit).result(PATIENCE_SECONDS)
    assert store.get_execution("e1").revision == 1
    assert store.create_execution(make_execution("e2")).revision == 1


def test_closing_while_other_threads_work_ends_them_with_an_error_of_ours(open_store: Stores) -> None:
    store = open_store()
    store.create_execution(make_execution("e0"))
    started = threading.Barrier(THREADS + 1)
    done: list[str] = []

    def work(thread: int) -> None:
        started.wait(PATIENCE_SECONDS)
        number = 0
        while True:
            try:
                store.create_execution(make_execution(f"t{thread}-{number}"))
                done.append(f"t{thread}-{number}")
                store.get_executions("job1")
            except Exception as error:  # noqa: BLE001 - the test looks at it
                done.append(type(error).__name__)
                return
            number += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    started.wait(PATIENCE_SECONDS)
    while len(done) < 3 * THREADS:
        store.get_live_executions()
    store.close()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert [name for name in done if name.endswith("Error")] == ["StoreClosedError"] * THREADS
    again = open_store()
    created = {execution.id for execution in again.list_executions()} - {"e0"}
    assert created >= {name for name in done if not name.endswith("Error")}
