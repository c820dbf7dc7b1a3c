"""``follow``: events as an asynchronous iterator."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from execstore.errors import DeserializationError, EventsCompactedError, InvalidArgumentError, StoreClosedError
from execstore.watcher import (
    EventFilter,
    EventIterator,
    EventStore,
    MemoryEventLog,
    Operation,
    StoreEventRequest,
)
from tests.support import PATIENCE_SECONDS, python
from tests.watcher.test_across_processes import WORKER, store_one

if TYPE_CHECKING:
    from execstore.aio import AsyncStore
    from execstore.watcher.follow import EventStream
    from tests.conftest import StoreFactory

pytestmark = pytest.mark.anyio

START = EventIterator.trim_horizon()


@pytest.fixture
def log(anyio_backend: str) -> MemoryEventLog:
    return MemoryEventLog(clock=lambda: 1)


@pytest.fixture
def event_store(log: MemoryEventLog) -> EventStore:
    return EventStore(log)


def fill(log: MemoryEventLog, count: int) -> None:
    for number in range(count):
        log.append(list(Operation)[number % 3], "Plain", b"{}")


async def take(stream: EventStream, count: int) -> list[int]:
    """The numbers of the next ``count`` events."""
    numbers: list[int] = []
    with anyio.fail_after(PATIENCE_SECONDS):
        while len(numbers) < count:
            numbers.append((await anext(stream)).seq_num)
    return numbers


async def test_events_come_in_order_and_as_they_are_stored(async_store: AsyncStore) -> None:
    async def store_more() -> None:
        for number in range(5, 11):
            await async_store.event_store.store_event(StoreEventRequest(Operation.UPDATE, "Plain", {"n": number}))

    for number in range(1, 5):
        await async_store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {"n": number}))
    seen = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store_more)
        async for event in async_store.event_store.follow(START):
            seen.append(event.object["n"])
            if len(seen) == 10:
                break
    assert seen == list(range(1, 11))


async def test_events_of_another_process_come_too(async_store: AsyncStore, open_store: StoreFactory) -> None:
    stream = async_store.store.event_store.follow(EventIterator.latest())
    writer = await anyio.to_thread.run_sync(lambda: python(WORKER, "ask", str(open_store.path())))
    try:
        for number in range(1, 6):
            await anyio.to_thread.run_sync(store_one, writer)
            assert await take(stream, 1) == [number]
    finally:
        writer.communicate(timeout=PATIENCE_SECONDS)


async def test_latest_means_at_the_call(log: MemoryEventLog, event_store: EventStore) -> None:
    fill(log, 3)
    stream = event_store.follow(EventIterator.latest())
    fill(log, 2)
    assert await take(stream, 2) == [4, 5]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
async def test_the_filter_and_the_place(log: MemoryEventLog, event_store: EventStore, batch_size: int) -> None:
    fill(log, 7)
    stream = event_store.follow(START, filter=EventFilter(operations=(Operation.UPDATE,)), batch_size=batch_size)
    assert await take(stream, 1) == [2]
    assert stream.next_event_iterator == EventIterator.after_sequence_number(2)
    assert await take(stream, 1) == [5]
    # What is behind the last one and was dropped may have been passed already, or not.
    assert stream.next_event_iterator.sequence_number in {5, 7}


async def test_a_cancelled_step_loses_nothing(log: MemoryEventLog, event_store: EventStore) -> None:
    stream = event_store.follow(START)
    for number in range(1, 4):
        with anyio.move_on_after(0.01) as scope:
            await anext(stream)
        assert scope.cancelled_caught
        fill(log, 1)
        assert await take(stream, 1) == [number]


async def test_a_cancelled_step_leaves_no_waiting_thread(event_store: EventStore) -> None:
    waiting = threading.Event()
    done = threading.Event()
    real_get_events = event_store.get_events

    def get_events(*args: object, **options: object) -> object:
        waiting.set()
        try:
            return real_get_events(*args, **options)  # type: ignore[arg-type]
        finally:
            done.set()

    event_store.get_events = get_events  # type: ignore[method-assign, assignment]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, event_store.follow(START))
        await anyio.to_thread.run_sync(waiting.wait, PATIENCE_SECONDS)
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(done.wait, PATIENCE_SECONDS)


async def test_two_hundred_followers_leave_threads_for_others(log: MemoryEventLog, event_store: EventStore) -> None:
    numbers: list[list[int]] = []

    async def follow() -> None:
        numbers.append(await take(event_store.follow(START), 1))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(follow)
        await anyio.sleep(0.02)
        await anyio.to_thread.run_sync(fill, log, 1)
    assert numbers == [[1]] * 200


async def test_a_busy_log_lets_other_tasks_run(log: MemoryEventLog, event_store: EventStore) -> None:
    fill(log, 100)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        await take(event_store.follow(START), 100)
        tasks.cancel_scope.cancel()
    assert turns > 50


async def test_what_was_collected_is_an_error(log: MemoryEventLog, event_store: EventStore) -> None:
    fill(log, 9)
    stream = event_store.follow(EventIterator.at_sequence_number(2))
    log.collect(5)
    with pytest.raises(EventsCompactedError):
        await anext(stream)
    assert await take(event_store.follow(START), 2) == [5, 6]


async def test_an_unreadable_event_comes_behind_those_before_it(log: MemoryEventLog, event_store: EventStore) -> None:
    fill(log, 2)
    log.append_line(b"damage")
    fill(log, 1)
    stream = event_store.follow(START)
    assert await take(stream, 2) == [1, 2]
    for _ in range(2):
        with pytest.raises(DeserializationError) as raised:
            await anext(stream)
        assert raised.value.seq_num == 3
    assert await take(event_store.follow(EventIterator.after_sequence_number(3)), 1) == [4]


async def test_a_closed_store_ends_it(log: MemoryEventLog, event_store: EventStore) -> None:
    stream = event_store.follow(START)
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            with pytest.raises(StoreClosedError):
                await anext(stream)

        tasks.start_soon(follow)
        await anyio.sleep(0.01)
        log.close()
    with pytest.raises(StoreClosedError):
        event_store.follow(START)


@pytest.mark.parametrize("batch_size", [0, -1, "many"])
def test_wrong_arguments_are_refused(batch_size: int, event_store: EventStore) -> None:
    with pytest.raises(InvalidArgumentError):
        event_store.follow(START, batch_size=batch_size)
    with pytest.raises(InvalidArgumentError):
        event_store.follow("latest")  # type: ignore[arg-type]
