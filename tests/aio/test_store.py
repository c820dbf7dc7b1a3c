"""``AsyncStore``: the methods of ``Store``, transactions, and what cancellations do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from execstore import ExecutionState, Store, Transaction
from execstore.aio import AsyncEventStore, AsyncStore, AsyncTransaction
from execstore.errors import (
    ExecutionNotFoundError,
    StoreBusyError,
    StoreClosedError,
    StoreNotFoundError,
    TransactionClosedError,
    TransactionOpenError,
)
from execstore.watcher import EventIterator, EventStore, GetEventsRequest, Operation, StoreEventRequest
from tests.support import PATIENCE_SECONDS, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StoreFactory

pytestmark = pytest.mark.anyio

# What the engine's own modules, and only they, call.
_NOT_FOR_CALLERS = {"apply", "engine", "look", "next_events", "on", "rules", "tree", "wake"}


@pytest.mark.parametrize(
    ("synchronous", "asynchronous"),
    [(Store, AsyncStore), (Transaction, AsyncTransaction), (EventStore, AsyncEventStore)],
)
def test_no_method_is_missing(synchronous: type, asynchronous: type) -> None:
    names = {name for name in vars(synchronous) if not name.startswith("_")} - _NOT_FOR_CALLERS
    allowed = {"serializer", "closed"} if synchronous is EventStore else set()
    missing = names - set(vars(asynchronous)) - allowed
    assert not missing, f"add them to {asynchronous.__name__} in execstore/aio.py"


async def test_every_method_does_what_the_stores_does(async_store: AsyncStore) -> None:
    store = async_store
    created = await store.create_execution(make_execution("e1"), make_event("made"))
    assert await store.get_execution("e1") == created == store.store.get_execution("e1")
    updated = await store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    assert await store.get_executions("job1") == [updated]
    assert await store.get_live_executions() == [updated]
    assert await store.get_execution_count(ExecutionState.RUNNING) == 1
    assert (await store.counts())[ExecutionState.RUNNING] == 1
    await store.add_execution_event("e1", make_event("more"))
    assert [event.message for event in await store.get_execution_events("e1")] == ["made", "more"]
    await store.checkpoint("c", 7)
    assert await store.get_checkpoint("c") == 7
    assert [revision.revision for revision in await store.history("e1")] == [1, 2]
    assert (await store.verify()).ok
    assert (await store.repair()).ok
    assert (await store.event_log_status()).latest == store.store.event_log_status().latest
    assert (await store.collect_events(dry_run=True)).events == 0
    assert (await store.metrics()).transaction == store.store.metrics().transaction
    await store.delete_execution("e1")
    with pytest.raises(ExecutionNotFoundError):
        await store.get_execution("e1")
    await store.create_execution(make_execution("e2"))
    await store.update_execution_state(make_request("e2", ExecutionState.FAILED))
    assert await store.prune(older_than=timedelta(0), keep_per_job=1) == []
    assert await store.prune(older_than=timedelta(0)) == ["e2"]


async def test_a_backup_is_made_and_restored(async_store: AsyncStore, tmp_path: Path) -> None:
    await async_store.create_execution(make_execution("e1"))
    await async_store.backup(tmp_path / "backup.tar")
    await AsyncStore.restore(tmp_path / "backup.tar", tmp_path / "restored")
    async with AsyncStore.open(tmp_path / "restored") as restored:
        assert await restored.get_execution("e1") == await async_store.get_execution("e1")


async def test_every_method_of_the_event_store(async_store: AsyncStore) -> None:
    event_store = async_store.get_event_store()
    assert event_store is async_store.event_store
    assert await event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {"a": 1})) == 1
    assert await event_store.get_latest_event_num() == 1
    assert await event_store.get_oldest_event_num() == 1
    response = await event_store.get_events(GetEventsRequest(EventIterator.trim_horizon()), timeout=0)
    assert [event.object for event in response.events] == [{"a": 1}]
    await event_store.store_checkpoint("w", 1)
    assert await event_store.get_checkpoint("w") == 1
    assert await event_store.list_checkpoints() == {"w": 1}
    await event_store.remove_checkpoint("w")
    assert await event_store.list_checkpoints() == {}
    await event_store.close()
    with pytest.raises(StoreClosedError):
        await event_store.get_latest_event_num()


async def test_executions_are_listed_page_by_page(async_store: AsyncStore) -> None:
    async with async_store.begin_tx() as transaction:
        for number in range(600):
            await transaction.create_execution(make_execution(f"e{number:03}"))
    found = [execution.id async for execution in async_store.list_executions(after="e009", limit=580)]
    assert found == [f"e{number:03}" for number in range(10, 590)]
    with pytest.raises(ValueError, match="limit"):
        async_store.list_executions(limit=-1)


async def test_a_store_is_opened_and_closed(open_store: StoreFactory) -> None:
    store = await AsyncStore.open(open_store.path())
    assert (store.path, store.read_only, store.closed) == (str(open_store.path()), False, False)
    assert repr(store) == f"AsyncStore({store.store!r})"
    await store.close()
    await store.close()
    assert store.closed
    with pytest.raises(StoreClosedError):
        await store.get_execution("e1")
    with pytest.raises(StoreNotFoundError):
        await AsyncStore.open(open_store.folder / "nowhere", read_only=True)


async def test_a_transaction_happens_whole_or_not_at_all(async_store: AsyncStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with async_store.begin_tx() as transaction:
            await transaction.create_execution(make_execution("e1"))
            raise ZeroDivisionError
    assert transaction.closed
    async with async_store.begin_tx() as transaction:
        await transaction.create_execution(make_execution("e2"), make_event("one"))
        await transaction.update_execution_state(make_request("e2", ExecutionState.BID_ACCEPTED))
        await transaction.add_execution_event("e2", make_event("two"))
        await transaction.checkpoint("c", 3)
        assert await transaction.get_checkpoint("c") == 3
        assert (await transaction.get_execution("e2")).revision == 2
        assert len(await transaction.get_executions("job1")) == 1
        assert len(await transaction.get_live_executions()) == 1
        assert await transaction.get_execution_count(ExecutionState.BID_ACCEPTED) == 1
        assert len(await transaction.get_execution_events("e2")) == 2
        await transaction.create_execution(make_execution("e3"))
        await transaction.delete_execution("e3")
        with pytest.raises(ExecutionNotFoundError):
            await async_store.get_execution("e2")
    assert [execution.id async for execution in async_store.list_executions()] == ["e2"]
    with pytest.raises(TransactionClosedError):
        await transaction.commit()
    await transaction.rollback()


async def test_a_transaction_can_be_ended_by_hand(async_store: AsyncStore) -> None:
    transaction = await async_store.begin_tx()
    await transaction.create_execution(make_execution("e1"))
    await transaction.commit()
    async with async_store.begin_tx() as second:
        await second.delete_execution("e1")
        await second.rollback()
    assert (await async_store.get_execution("e1")).id == "e1"


WRITES: dict[str, Callable[[AsyncStore], object]] = {
    "create_execution": lambda store: store.create_execution(make_execution("e1")),
    "checkpoint": lambda store: store.checkpoint("c", 1),
    "begin_tx": lambda store: store.begin_tx(),
    "repair": lambda store: store.repair(),
    "collect_events": lambda store: store.collect_events(),
    "prune": lambda store: store.prune(older_than=timedelta(0)),
    "store_event": lambda store: store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {})),
    "store_checkpoint": lambda store: store.event_store.store_checkpoint("w", 1),
}


@pytest.mark.parametrize("method", WRITES)
async def test_a_task_that_holds_a_transaction_cannot_wait_for_itself(async_store: AsyncStore, method: str) -> None:
    async with async_store.begin_tx():
        with pytest.raises(TransactionOpenError) as raised:
            await WRITES[method](async_store)  # type: ignore[misc]
        assert raised.value.method == method


async def test_other_tasks_wait_for_a_transaction(async_store: AsyncStore) -> None:
    """So many that they would take every thread, if the transaction didn't have one of its own."""
    count = 60
    async with anyio.create_task_group() as tasks, async_store.begin_tx() as transaction:
        for number in range(count):
            tasks.start_soon(async_store.create_execution, make_execution(f"e{number}"))
        await anyio.sleep(0.02)
        for number in range(5):
            await transaction.create_execution(make_execution(f"t{number}"))
        assert [each.id async for each in async_store.list_executions()] == []
    assert len([each async for each in async_store.list_executions()]) == count + 5


async def test_threads_of_ended_transactions_are_free_for_others(async_store: AsyncStore) -> None:
    """The pool's threads are used in turn by everybody; none may be taken for the holder of a transaction."""
    first = await async_store.begin_tx()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(async_store.create_execution, make_execution("e1"))
        await anyio.sleep(0.02)
        await first.create_execution(make_execution("e0"))
        await first.commit()
    assert [each.id async for each in async_store.list_executions()] == ["e0", "e1"]


@pytest.fixture
def other(open_store: StoreFactory, async_store: AsyncStore) -> Store:
    """A second handle, with which to keep the lock from the first."""
    return open_store()


async def test_a_write_cancelled_while_it_waits_does_nothing(async_store: AsyncStore, other: Store) -> None:
    transaction = other.begin_tx()
    with anyio.move_on_after(0.02) as scope:
        await async_store.create_execution(make_execution("e1"))
    assert scope.cancelled_caught
    transaction.commit()
    # Behind the one that was left, since threads get the lock one by one: once this is done, so is that.
    await wait_for_threads(async_store)
    with pytest.raises(ExecutionNotFoundError):
        await async_store.get_execution("e1")


async def test_a_transaction_cancelled_while_it_waits_is_never_held(async_store: AsyncStore, other: Store) -> None:
    transaction = other.begin_tx()
    with anyio.move_on_after(0.02) as scope:
        await async_store.begin_tx()
    assert scope.cancelled_caught
    transaction.rollback()
    await wait_for_threads(async_store)
    await async_store.create_execution(make_execution("e1"))


async def wait_for_threads(async_store: AsyncStore) -> None:
    """Wait until no thread of the store's own is left in a begin."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while any(thread.name == "execstore-begin" for thread in threading.enumerate()):
            await anyio.sleep(0.002)
        await async_store.checkpoint("after", 1)
        await async_store.checkpoint("after", 2)


async def test_a_cancelled_transaction_is_rolled_back(async_store: AsyncStore, other: Store) -> None:
    with anyio.CancelScope() as scope:
        async with async_store.begin_tx() as transaction:
            await transaction.create_execution(make_execution("e1"))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert transaction.closed
    other.create_execution(make_execution("e2"))
    assert [each.id async for each in async_store.list_executions()] == ["e2"]


async def test_a_cancellation_at_the_end_of_the_block_leaves_no_lock(async_store: AsyncStore, other: Store) -> None:
    with anyio.CancelScope() as scope:
        async with async_store.begin_tx() as transaction:
            await transaction.create_execution(make_execution("e1"))
            scope.cancel()
    assert transaction.closed
    other.create_execution(make_execution("e2"))


async def test_the_store_is_closed_in_spite_of_a_cancellation(open_store: StoreFactory) -> None:
    with anyio.CancelScope() as scope:
        async with AsyncStore.open(open_store.path()) as store:
            scope.cancel()
    assert store.closed


async def test_a_lock_that_is_not_had_in_time_is_an_error(open_store: StoreFactory, other: Store) -> None:
    async with AsyncStore.open(open_store.path(), lock_timeout=0.01) as store:
        with other.begin_tx():
            with pytest.raises(StoreBusyError):
                await store.create_execution(make_execution("e1"))
            with pytest.raises(StoreBusyError):
                await store.begin_tx()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_s_own_cancellation_keeps_nothing_either(async_store: AsyncStore, other: Store) -> None:
    async def hold() -> None:
        async with async_store.begin_tx() as transaction:
            await transaction.create_execution(make_execution("e1"))
            begun.set()
            await asyncio.sleep(PATIENCE_SECONDS)

    begun = asyncio.Event()
    task = asyncio.create_task(hold())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other.create_execution(make_execution("e2"))
    assert [each.id async for each in async_store.list_executions()] == ["e2"]


def test_without_anyio_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["anyio"] = None
from execstore import Store
from execstore.errors import MissingExtraError
for use in ("import execstore.aio", "Store(sys.argv[1]).event_store.follow(None)"):
    try:
        exec(use)
    except MissingExtraError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")], capture_output=True, check=True, text=True
    )
    sentence = "the asynchronous side needs more than the core; install it with: pip install 'execstore[async]'"
    assert done.stdout.splitlines() == [sentence, sentence]


async def test_an_address_opens_it_too() -> None:
    async with AsyncStore.open("memory:") as store:
        await store.create_execution(make_execution(), make_event("made"))
        assert (await store.get_execution("e1")).revision == 1
        assert store.path == "memory:"
        async with store.begin_tx() as transaction:
            await transaction.delete_execution("e1")
        assert [execution async for execution in store.list_executions()] == []
        assert (await store.verify()).log_events == 3
