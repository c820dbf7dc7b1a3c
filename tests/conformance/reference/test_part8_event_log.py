"""Part 8 of the reference's behaviour: the event store over the real store's log. No time decides any outcome."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, ExecutionUpsert, Store
from execstore.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DeserializationError,
    InvalidArgumentError,
    StoreClosedError,
)
from execstore.event_log import StoreEventLog
from execstore.models import ExecutionEvent
from execstore.watcher import (
    EventFilter,
    EventIterator,
    EventStore,
    GetEventsRequest,
    JSONSerializer,
    Operation,
    StoreEventRequest,
)
from tests.support import PATIENCE_SECONDS, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Stores

TRIM_HORIZON, LATEST = EventIterator.trim_horizon(), EventIterator.latest()
at, after = EventIterator.at_sequence_number, EventIterator.after_sequence_number


class WatchedLog(StoreEventLog):
    """A store's log that tells when it is waited on."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.waiting = threading.Event()

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        def is_interrupted() -> bool:
            self.waiting.set()  # from here on whatever happens wakes it
            return interrupted()

        return super().wait(after, timeout_seconds, is_interrupted)


@pytest.fixture(autouse=True)
def plain_type() -> None:
    JSONSerializer.register_type("Plain", dict)


@pytest.fixture
def log(store: Store) -> WatchedLog:
    return WatchedLog(store)


@pytest.fixture
def events(log: WatchedLog) -> EventStore:
    """The event store of an empty store; it waits as briefly as can be."""
    return EventStore(log, long_poll_timeout=0.01)


def append(events: EventStore, *operations: str) -> None:
    for operation in operations:
        number = events.get_latest_event_num() + 1
        assert events.store_event(StoreEventRequest(Operation(operation), "Plain", {"n": number})) == number


@pytest.fixture
def five(events: EventStore) -> EventStore:
    """The event store with events 1 to 5."""
    append(events, "CREATE", "UPDATE", "CREATE", "UPDATE", "CREATE")
    return events


def get(
    events: EventStore,
    iterator: EventIterator,
    limit: int = 0,
    event_filter: EventFilter | None = None,
    timeout: float | None = None,
) -> tuple[list[int], str]:
    request = GetEventsRequest(iterator, limit, event_filter or EventFilter())
    response = events.get_events(request, timeout)
    return [event.seq_num for event in response.events], str(response.next_event_iterator)


def get_and_wait(events: EventStore, log: WatchedLog, iterator: EventIterator, *, waits: bool) -> tuple[list[int], str]:
    """On a busy machine those 10 ms may be over before it comes to wait; then it is asked again."""
    found = get(events, iterator)
    for _ in range(500):
        if not waits or log.waiting.is_set():
            break
        found = get(events, iterator)
    return found


@pytest.mark.parametrize(
    ("iterator", "following", "waits"),
    [
        (TRIM_HORIZON, "after_sequence_number(0)", False),
        (LATEST, "after_sequence_number(0)", False),
        (at(0), "at_sequence_number(0)", True),
        (at(1), "at_sequence_number(1)", True),
        (at(3), "at_sequence_number(3)", True),
        (at(6), "at_sequence_number(6)", True),
        (after(0), "after_sequence_number(0)", True),
        (after(3), "after_sequence_number(3)", True),
        (after(5), "after_sequence_number(5)", True),
        (after(99), "after_sequence_number(99)", True),
    ],
    ids=str,
)
def test_iterators_on_an_empty_log(
    events: EventStore, log: WatchedLog, iterator: EventIterator, following: str, waits: bool
) -> None:
    assert get_and_wait(events, log, iterator, waits=waits) == ([], following)
    assert log.waiting.is_set() is waits
    assert events.get_latest_event_num() == 0


@pytest.mark.parametrize(
    ("iterator", "numbers", "following", "waits"),
    [
        (TRIM_HORIZON, [1, 2, 3, 4, 5], "after_sequence_number(5)", False),
        (LATEST, [], "after_sequence_number(5)", False),
        (at(0), [1, 2, 3, 4, 5], "after_sequence_number(5)", False),
        (at(1), [1, 2, 3, 4, 5], "after_sequence_number(5)", False),
        (at(3), [3, 4, 5], "after_sequence_number(5)", False),
        (at(6), [], "at_sequence_number(6)", True),
        (after(0), [1, 2, 3, 4, 5], "after_sequence_number(5)", False),
        (after(3), [4, 5], "after_sequence_number(5)", False),
        (after(5), [], "after_sequence_number(5)", True),
        (after(99), [], "after_sequence_number(99)", True),
    ],
    ids=str,
)
def test_iterators_on_five_events(
    five: EventStore, log: WatchedLog, iterator: EventIterator, numbers: list[int], following: str, waits: bool
) -> None:
    assert get_and_wait(five, log, iterator, waits=waits) == (numbers, following)
    assert log.waiting.is_set() is waits
    assert five.get_latest_event_num() == 5


UPDATES = EventFilter(operations=(Operation.UPDATE,))
NONE_PASSES = EventFilter(object_types=("Other",))


@pytest.mark.parametrize(
    ("iterator", "limit", "event_filter", "numbers", "following"),
    [
        (TRIM_HORIZON, 2, EventFilter(), [1, 2], "after_sequence_number(2)"),
        (TRIM_HORIZON, 0, EventFilter(), [1, 2, 3, 4, 5], "after_sequence_number(5)"),
        (TRIM_HORIZON, -1, EventFilter(), [], "after_sequence_number(0)"),
        (TRIM_HORIZON, 0, UPDATES, [2, 4], "after_sequence_number(5)"),
        (TRIM_HORIZON, 1, UPDATES, [2], "after_sequence_number(2)"),
        (after(2), 0, NONE_PASSES, [], "after_sequence_number(5)"),
        (after(5), 0, NONE_PASSES, [], "after_sequence_number(5)"),
    ],
)
def test_limits_and_filters(
    five: EventStore,
    iterator: EventIterator,
    limit: int,
    event_filter: EventFilter,
    numbers: list[int],
    following: str,
) -> None:
    assert get(five, iterator, limit, event_filter) == (numbers, following)


def while_waiting(
    log: WatchedLog, ask: Callable[[], tuple[list[int], str]], happens: Callable[[], object]
) -> tuple[list[int], str]:
    """What ``ask``, in a thread of its own, gets if ``happens`` while it waits."""
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask)
        try:
            assert log.waiting.wait(PATIENCE_SECONDS)
        finally:
            happens()
        return asked.result(PATIENCE_SECONDS)


def test_an_event_that_comes_ends_the_wait(five: EventStore, log: WatchedLog) -> None:
    found = while_waiting(log, lambda: get(five, after(5), timeout=PATIENCE_SECONDS), lambda: append(five, "CREATE"))
    assert found == ([6], "after_sequence_number(6)")


def test_what_a_method_of_the_store_writes_ends_the_wait(five: EventStore, log: WatchedLog, store: Store) -> None:
    found = while_waiting(
        log,
        lambda: get(five, after(5), timeout=PATIENCE_SECONDS),
        lambda: store.create_execution(make_execution(), make_event()),
    )
    assert found == ([6, 7], "after_sequence_number(7)")


def test_what_another_handle_writes_ends_the_wait(five: EventStore, log: WatchedLog, open_store: Stores) -> None:
    other = open_store()
    found = while_waiting(
        log,
        lambda: get(five, after(5), timeout=PATIENCE_SECONDS),
        lambda: other.create_execution(make_execution()),
    )
    assert found == ([6], "after_sequence_number(6)")


def test_an_event_that_the_filter_drops_ends_the_wait_too(five: EventStore, log: WatchedLog) -> None:
    found = while_waiting(
        log,
        lambda: get(five, after(5), event_filter=UPDATES, timeout=PATIENCE_SECONDS),
        lambda: append(five, "CREATE"),
    )
    assert found == ([], "after_sequence_number(6)")


def test_a_cancelled_wait_returns_nothing(five: EventStore, log: WatchedLog) -> None:
    cancelled = threading.Event()

    def cancel() -> None:
        cancelled.set()
        five.wake()

    def ask() -> tuple[list[int], str]:
        response = five.get_events(GetEventsRequest(after(5)), PATIENCE_SECONDS, cancelled=cancelled.is_set)
        return [event.seq_num for event in response.events], str(response.next_event_iterator)

    assert while_waiting(log, ask, cancel) == ([], "after_sequence_number(5)")


def test_closing_the_event_store_ends_the_wait(five: EventStore, log: WatchedLog) -> None:
    found = while_waiting(log, lambda: get(five, after(5), timeout=PATIENCE_SECONDS), five.close)
    assert found == ([], "after_sequence_number(5)")


def test_closing_the_store_ends_the_wait(five: EventStore, log: WatchedLog, store: Store) -> None:
    found = while_waiting(log, lambda: get(five, after(5), timeout=PATIENCE_SECONDS), store.close)
    assert found == ([], "after_sequence_number(5)")


def test_numbers_and_checkpoints_survive_a_reopening(store: Store, open_store: Stores) -> None:
    append(store.event_store, "CREATE", "UPDATE")
    store.event_store.store_checkpoint("w1", 2)
    store.close()
    again = open_store()
    assert again.event_store.get_latest_event_num() == 2
    assert again.event_store.get_checkpoint("w1") == 2
    append(again.event_store, "DELETE")
    assert get(again.event_store, TRIM_HORIZON) == ([1, 2, 3], "after_sequence_number(3)")


def test_an_unregistered_type_is_stored_but_not_read(store: Store) -> None:
    assert store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Unregistered", {"a": 1})) == 1
    with pytest.raises(DeserializationError) as caught:
        store.event_store.get_events(GetEventsRequest(TRIM_HORIZON))
    message = "failed to unmarshal event: deserialization error: unknown object type: Unregistered"
    assert str(caught.value) == message


def test_checkpoints(store: Store) -> None:
    events = store.event_store
    with pytest.raises(CheckpointNotFoundError) as unknown:
        events.get_checkpoint("w1")
    assert str(unknown.value) == "checkpoint error for watcher w1: checkpoint not found"
    events.store_checkpoint("w1", 7)
    events.store_checkpoint("w1", 3)
    assert events.get_checkpoint("w1") == 3, "it may go back, and be beyond the last event"
    with pytest.raises(CheckpointError, match="key required"):
        events.store_checkpoint("", 1)
    with pytest.raises(CheckpointNotFoundError) as empty:
        events.get_checkpoint("")
    assert str(empty.value) == "checkpoint error for watcher : checkpoint not found"
    with pytest.raises(InvalidArgumentError):
        events.store_checkpoint("w1", -1)
    assert get(events, TRIM_HORIZON) == ([], "after_sequence_number(0)"), "a checkpoint is no event"


def test_objects_are_models_and_the_same_from_disk(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution(), make_event(timestamp="2026-01-02T03:04:05.12+05:30"))
    store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    here = store.event_store.get_events(GetEventsRequest(TRIM_HORIZON)).events
    assert [type(event.object) for event in here] == [ExecutionEvent, ExecutionUpsert, ExecutionUpsert]
    from_disk = open_store(read_only=True).event_store.get_events(GetEventsRequest(TRIM_HORIZON)).events
    assert from_disk == here
    assert from_disk[0].object.timestamp.to_text("Timestamp") == "2026-01-02T03:04:05.12+05:30"


@pytest.mark.folder
def test_many_segments_are_read_as_one(store: Store, open_store: Stores) -> None:
    for number in range(40):
        store.create_execution(make_execution(f"e{number}", name="x" * 300))
    assert len(list((open_store.path() / "events").iterdir())) > 3
    for iterator, first in ((TRIM_HORIZON, 1), (at(17), 17), (after(39), 40)):
        assert get(store.event_store, iterator) == (list(range(first, 41)), "after_sequence_number(40)")
    pages: list[int] = []
    iterator = TRIM_HORIZON
    while len(pages) < 40:
        response = store.event_store.get_events(GetEventsRequest(iterator, 7))
        pages += [event.seq_num for event in response.events]
        iterator = response.next_event_iterator
    assert pages == list(range(1, 41))


@pytest.mark.parametrize(
    "call",
    [
        lambda events: events.get_events(GetEventsRequest(TRIM_HORIZON)),
        lambda events: events.store_event(StoreEventRequest(Operation.CREATE, "Plain", {})),
        lambda events: events.get_latest_event_num(),
        lambda events: events.store_checkpoint("w", 1),
        lambda events: events.get_checkpoint("w"),
    ],
)
def test_after_the_store_was_closed(store: Store, call: Callable[[EventStore], object]) -> None:
    events = store.event_store
    store.close()
    with pytest.raises(StoreClosedError):
        call(events)
