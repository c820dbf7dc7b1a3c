"""The event store, row by row as Bacalhau's: what comes back, which iterator is next, when it waits."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionUpsert
from execstore.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DeserializationError,
    EventsCompactedError,
    InvalidArgumentError,
    SerializationError,
    StoreClosedError,
)
from execstore.watcher import (
    EventFilter,
    EventIterator,
    EventStore,
    GetEventsRequest,
    GetEventsResponse,
    JSONSerializer,
    MemoryEventLog,
    Operation,
    StoreEventRequest,
)
from execstore.watcher import (
    event_store as event_store_module,
)
from execstore.watcher.reader import LogReader
from tests.watcher.support import PATIENCE_SECONDS, WatchedLog, fill

if TYPE_CHECKING:
    from collections.abc import Callable

TRIM, LATEST = EventIterator.trim_horizon(), EventIterator.latest()
AT, AFTER = EventIterator.at_sequence_number, EventIterator.after_sequence_number
UPDATES = EventFilter(operations=(Operation.UPDATE,))
DELETES = EventFilter(operations=(Operation.DELETE,))
FIVE = ["CREATE", "UPDATE", "CREATE", "UPDATE", "CREATE"]


def numbers(response: GetEventsResponse) -> list[int]:
    return [event.seq_num for event in response.events]


def in_thread(function: Callable[[], GetEventsResponse]) -> Callable[[], GetEventsResponse]:
    """Start it in a thread; what is returned waits for its result."""
    results: list[GetEventsResponse] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()

    def join() -> GetEventsResponse:
        thread.join(PATIENCE_SECONDS)
        assert results, "no answer"
        return results[0]

    return join


Answer = tuple[list[int], EventIterator, bool]

# iterator, (events, next, waits) of an empty log, (events, next, waits) of a log with events 1 to 5
TABLE: list[tuple[EventIterator, Answer, Answer]] = [
    (TRIM, ([], AFTER(0), False), ([1, 2, 3, 4, 5], AFTER(5), False)),
    (LATEST, ([], AFTER(0), False), ([], AFTER(5), False)),
    (AT(0), ([], AT(0), True), ([1, 2, 3, 4, 5], AFTER(5), False)),
    (AT(1), ([], AT(1), True), ([1, 2, 3, 4, 5], AFTER(5), False)),
    (AT(3), ([], AT(3), True), ([3, 4, 5], AFTER(5), False)),
    (AT(6), ([], AT(6), True), ([], AT(6), True)),
    (AFTER(0), ([], AFTER(0), True), ([1, 2, 3, 4, 5], AFTER(5), False)),
    (AFTER(3), ([], AFTER(3), True), ([4, 5], AFTER(5), False)),
    (AFTER(5), ([], AFTER(5), True), ([], AFTER(5), True)),
    (AFTER(99), ([], AFTER(99), True), ([], AFTER(99), True)),
]


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "events 1 to 5"])
@pytest.mark.parametrize(("iterator", "of_empty", "of_five"), TABLE, ids=[str(row[0]) for row in TABLE])
def test_iterators(
    log: WatchedLog,
    event_store: EventStore,
    iterator: EventIterator,
    of_empty: Answer,
    of_five: Answer,
    filled: bool,
) -> None:
    if filled:
        fill(log, FIVE)
    expected, following, waits = of_five if filled else of_empty
    started = time.monotonic()
    response = event_store.get_events(GetEventsRequest(iterator), timeout=0.02)
    assert (numbers(response), response.next_event_iterator) == (expected, following)
    assert bool(log.waits) == waits
    if waits:
        assert time.monotonic() - started >= 0.02


# limit, filter, iterator, events, next, waits; the log holds events 1 to 5, UPDATE at 2 and 4
LIMITS = [
    (0, EventFilter(), TRIM, [1, 2, 3, 4, 5], AFTER(5), False),
    (2, EventFilter(), TRIM, [1, 2], AFTER(2), False),
    (2, EventFilter(), AFTER(4), [5], AFTER(5), False),
    (99, EventFilter(), AT(2), [2, 3, 4, 5], AFTER(5), False),
    (-1, EventFilter(), TRIM, [], AFTER(0), False),
    (-1, EventFilter(), AFTER(2), [], AFTER(2), True),
    (0, UPDATES, TRIM, [2, 4], AFTER(5), False),
    (1, UPDATES, TRIM, [2], AFTER(2), False),
    (2, UPDATES, TRIM, [2, 4], AFTER(4), False),
    (3, UPDATES, TRIM, [2, 4], AFTER(5), False),
    (0, DELETES, AFTER(2), [], AFTER(5), False),
    (1, DELETES, AT(1), [], AFTER(5), False),
    (0, DELETES, AFTER(5), [], AFTER(5), True),
    (0, EventFilter(object_types=("Plain",)), AFTER(3), [4, 5], AFTER(5), False),
    (0, EventFilter(object_types=("Other",)), AFTER(3), [], AFTER(5), False),
]


@pytest.mark.parametrize(("limit", "event_filter", "iterator", "expected", "following", "waits"), LIMITS)
def test_limits_and_filters(
    log: WatchedLog,
    event_store: EventStore,
    limit: int,
    event_filter: EventFilter,
    iterator: EventIterator,
    expected: list[int],
    following: EventIterator,
    waits: bool,
) -> None:
    fill(log, FIVE)
    response = event_store.get_events(GetEventsRequest(iterator, limit, event_filter), timeout=0.01)
    assert (numbers(response), response.next_event_iterator) == (expected, following)
    assert bool(log.waits) == waits


def test_an_event_is_read_whole(log: WatchedLog, event_store: EventStore) -> None:
    event_store.store_event(StoreEventRequest(Operation.DELETE, "Plain", {"k": ["v"]}))
    event = event_store.get_events(GetEventsRequest(TRIM)).events[0]
    assert (event.seq_num, event.operation, event.object_type, event.object, event.timestamp) == (
        1,
        Operation.DELETE,
        "Plain",
        {"k": ["v"]},
        1_000,
    )


def test_a_negative_limit_waits_without_being_woken_by_what_it_will_not_read(
    log: WatchedLog, event_store: EventStore
) -> None:
    fill(log, FIVE)
    event_store.get_events(GetEventsRequest(AFTER(2), limit=-1), timeout=0.01)
    assert len(log.waits) == 1


def test_more_events_than_are_read_at_once(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 700)
    assert numbers(event_store.get_events(GetEventsRequest(TRIM))) == list(range(1, 701))
    assert numbers(event_store.get_events(GetEventsRequest(AFTER(1), limit=600))) == list(range(2, 602))


# --- waiting --------------------------------------------------------------------------------------------------------


def test_an_event_stored_during_the_wait_is_returned(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, FIVE)
    answer = in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(5))))
    assert log.waiting.wait(PATIENCE_SECONDS)
    assert event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {})) == 6
    assert (numbers(answer()), answer().next_event_iterator) == ([6], AFTER(6))


def test_a_dropped_event_stored_during_the_wait_moves_the_iterator(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, FIVE)
    answer = in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(5), filter=DELETES)))
    assert log.waiting.wait(PATIENCE_SECONDS)
    fill(log, ["CREATE"])
    assert (numbers(answer()), answer().next_event_iterator) == ([], AFTER(6))


class Clock:
    """Stands in for the time module: a second passes with each wait."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_wait_has_one_deadline_however_often_it_is_woken_for_nothing(
    log: WatchedLog, event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(event_store_module, "time", clock)

    def woken_for_nothing() -> bool:
        clock.now += 1.0
        fill(log, ["CREATE"])
        return True

    log.on_wait = woken_for_nothing
    response = event_store.get_events(GetEventsRequest(AFTER(99)), timeout=4)
    assert (numbers(response), response.next_event_iterator) == ([], AFTER(99))
    assert [seconds for _, seconds in log.waits] == [4, 3, 2, 1]


def test_only_events_that_were_asked_for_wake_it(log: WatchedLog, event_store: EventStore) -> None:
    event_store.get_events(GetEventsRequest(AFTER(99)), timeout=0.01)
    event_store.get_events(GetEventsRequest(AT(99)), timeout=0.01)
    assert [after for after, _ in log.waits] == [99, 98]


def test_timeout_none_is_the_stores_own(log: WatchedLog) -> None:
    log.on_wait = lambda: False
    EventStore(log, long_poll_timeout=0).get_events(GetEventsRequest(AFTER(0)))
    assert log.waits == []
    clock_free = EventStore(log, long_poll_timeout=0.01)
    clock_free.get_events(GetEventsRequest(AFTER(0)))
    assert 0 < log.waits[0][1] <= 0.01


def test_the_default_long_poll_is_the_references(log: WatchedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(event_store_module, "time", clock)

    def pass_the_time() -> bool:
        clock.now += log.waits[-1][1]
        return False

    log.on_wait = pass_the_time
    EventStore(log).get_events(GetEventsRequest(AFTER(0)))
    assert log.waits == [(0, 10.0)]


def test_timeout_zero_does_not_wait(log: WatchedLog, event_store: EventStore) -> None:
    event_store.get_events(GetEventsRequest(AFTER(0)), timeout=0)
    assert log.waits == []


def test_an_endless_timeout_is_taken(log: WatchedLog, event_store: EventStore) -> None:
    answer = in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(0)), timeout=float("inf")))
    assert log.waiting.wait(PATIENCE_SECONDS)
    fill(log, ["CREATE"])
    assert numbers(answer()) == [1]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_timeout_that_makes_no_sense_is_refused(event_store: EventStore, timeout: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^timeout: is a number of seconds, 0 or more"):
        event_store.get_events(GetEventsRequest(TRIM), timeout)


def test_a_long_poll_timeout_that_makes_no_sense_is_refused(log: WatchedLog) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^long_poll_timeout: "):
        EventStore(log, long_poll_timeout=-1)


def test_a_cancelled_wait_returns_at_once(log: WatchedLog, event_store: EventStore) -> None:
    cancelled = threading.Event()
    answer = in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(0)), cancelled=cancelled.is_set))
    assert log.waiting.wait(PATIENCE_SECONDS)
    cancelled.set()
    event_store.wake()
    assert (numbers(answer()), answer().next_event_iterator) == ([], AFTER(0))


def test_what_is_cancelled_beforehand_does_not_wait(log: WatchedLog, event_store: EventStore) -> None:
    event_store.get_events(GetEventsRequest(AFTER(0)), cancelled=lambda: True)
    assert log.waits == []


def test_a_long_reading_can_be_cancelled_in_between(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 2000)
    response = event_store.get_events(GetEventsRequest(AFTER(0), filter=DELETES), cancelled=lambda: len(log.reads) >= 2)
    assert response.next_event_iterator == AFTER(512)
    assert len(log.reads) == 2


def test_many_wait_and_each_gets_the_event(log: WatchedLog, event_store: EventStore) -> None:
    answers = [in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(0)))) for _ in range(8)]
    fill(log, ["CREATE"])
    assert [numbers(answer()) for answer in answers] == [[1]] * 8


# --- closed is closed -----------------------------------------------------------------------------------------------

CALLS: list[Callable[[EventStore], object]] = [
    lambda store: store.get_events(GetEventsRequest(TRIM)),
    lambda store: store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {})),
    lambda store: store.get_latest_event_num(),
    lambda store: store.get_oldest_event_num(),
    lambda store: store.store_checkpoint("w", 1),
    lambda store: store.get_checkpoint("w"),
    lambda store: store.list_checkpoints(),
    lambda store: store.remove_checkpoint("w"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("closing", [lambda store, log: store.close(), lambda store, log: log.close()])
def test_closed_is_closed(
    log: WatchedLog,
    event_store: EventStore,
    call: Callable[[EventStore], object],
    closing: Callable[[EventStore, WatchedLog], None],
) -> None:
    event_store.store_checkpoint("w", 1)
    call(event_store)
    closing(event_store, log)
    assert event_store.closed
    with pytest.raises(StoreClosedError, match="the store at memory is closed"):
        call(event_store)


def test_closing_twice_is_fine_and_leaves_the_log_open(log: WatchedLog, event_store: EventStore) -> None:
    event_store.close()
    event_store.close()
    assert not log.closed
    assert EventStore(log).get_latest_event_num() == 0


@pytest.mark.parametrize("closing", [lambda store, log: store.close(), lambda store, log: log.close()])
def test_closing_ends_a_wait_as_if_the_time_were_over(
    log: WatchedLog, event_store: EventStore, closing: Callable[[EventStore, WatchedLog], None]
) -> None:
    answer = in_thread(lambda: event_store.get_events(GetEventsRequest(AFTER(8))))
    assert log.waiting.wait(PATIENCE_SECONDS)
    closing(event_store, log)
    assert (numbers(answer()), answer().next_event_iterator) == ([], AFTER(8))


def test_a_log_that_raises_since_it_is_being_closed_ends_a_wait_too(log: WatchedLog, event_store: EventStore) -> None:
    def close_and_raise() -> bool:
        log.close()
        raise StoreClosedError(log.path)

    log.on_wait = close_and_raise
    assert event_store.get_events(GetEventsRequest(AFTER(8))) == GetEventsResponse([], AFTER(8))


# --- the horizon ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("iterator", "requested"), [(AT(0), 1), (AT(1), 1), (AT(2), 2), (AFTER(0), 1), (AFTER(1), 2)])
def test_reading_below_the_oldest_event(
    log: WatchedLog, event_store: EventStore, iterator: EventIterator, requested: int
) -> None:
    fill(log, FIVE)
    log.collect(3)
    with pytest.raises(
        EventsCompactedError, match=f"event {requested} is no longer in the log, the oldest is 3"
    ) as raised:
        event_store.get_events(GetEventsRequest(iterator))
    assert (raised.value.requested, raised.value.oldest) == (requested, 3)


@pytest.mark.parametrize(
    ("iterator", "expected"), [(TRIM, [3, 4, 5]), (AT(3), [3, 4, 5]), (AFTER(2), [3, 4, 5]), (LATEST, [])]
)
def test_reading_from_the_oldest_event_on(
    log: WatchedLog, event_store: EventStore, iterator: EventIterator, expected: list[int]
) -> None:
    fill(log, FIVE)
    log.collect(3)
    assert numbers(event_store.get_events(GetEventsRequest(iterator))) == expected


def test_a_log_that_was_collected_whole(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, FIVE)
    log.collect(6)
    assert event_store.get_latest_event_num() == 5
    assert event_store.get_oldest_event_num() == 6
    assert event_store.get_events(GetEventsRequest(TRIM)) == GetEventsResponse([], AFTER(5))
    assert event_store.get_events(GetEventsRequest(AFTER(5)), timeout=0) == GetEventsResponse([], AFTER(5))
    with pytest.raises(EventsCompactedError):
        event_store.get_events(GetEventsRequest(AFTER(4)))
    fill(log, ["CREATE"])
    assert numbers(event_store.get_events(GetEventsRequest(TRIM))) == [6]


def test_kept_entries_do_not_outlive_the_horizon(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, FIVE)
    event_store.get_events(GetEventsRequest(TRIM))
    log.collect(3)
    with pytest.raises(EventsCompactedError):
        event_store.get_events(GetEventsRequest(AFTER(0)))


class CollectingLog(WatchedLog):
    """Collects up to a number just before a reading."""

    collect_before_read: list[tuple[int, int]]

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        for reading, oldest in self.collect_before_read:
            if len(self.reads) == reading:
                self.collect(oldest)
        return super().read(first, maximum)


def test_trim_horizon_never_finds_the_horizon_gone() -> None:
    log = CollectingLog()
    log.collect_before_read = [(0, 3)]
    fill(log, FIVE)
    assert numbers(EventStore(log).get_events(GetEventsRequest(TRIM))) == [3, 4, 5]


def test_a_horizon_that_overtakes_the_reading_is_reported_by_the_next_call() -> None:
    log = CollectingLog()
    log.collect_before_read = [(1, 400)]
    fill(log, ["CREATE"] * 500)
    store = EventStore(log)
    response = store.get_events(GetEventsRequest(AFTER(0)))
    assert numbers(response) == list(range(1, 257))
    with pytest.raises(EventsCompactedError) as raised:
        store.get_events(GetEventsRequest(response.next_event_iterator))
    assert (raised.value.requested, raised.value.oldest) == (257, 400)


# --- what can't be read ---------------------------------------------------------------------------------------------


def test_an_unregistered_type_is_stored_but_not_read(event_store: EventStore) -> None:
    assert event_store.store_event(StoreEventRequest(Operation.CREATE, "U", {"a": 1})) == 1
    with pytest.raises(DeserializationError) as raised:
        event_store.get_events(GetEventsRequest(TRIM))
    assert str(raised.value) == "failed to unmarshal event: deserialization error: unknown object type: U"
    assert raised.value.seq_num == 1


def test_an_unreadable_event_that_the_filter_drops_does_no_harm(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"])
    fill(log, ["CREATE"], object_type="U")
    fill(log, ["CREATE"])
    assert numbers(event_store.get_events(GetEventsRequest(TRIM, filter=EventFilter(object_types=("Plain",))))) == [
        1,
        3,
    ]


def damaged_log() -> WatchedLog:
    log = WatchedLog()
    fill(log, FIVE[:2])
    log.append_line(b'{"seqNum":3,garbage')
    fill(log, FIVE[3:])
    return log


@pytest.mark.parametrize("event_filter", [EventFilter(), DELETES])
def test_a_damaged_line_is_never_passed_in_silence(event_filter: EventFilter) -> None:
    store = EventStore(damaged_log())
    with pytest.raises(DeserializationError, match="event 3 is not JSON") as raised:
        store.get_events(GetEventsRequest(TRIM, filter=event_filter))
    assert raised.value.seq_num == 3


def test_what_stands_before_a_damaged_line_can_be_read_with_a_filter() -> None:
    store = EventStore(damaged_log())
    assert numbers(store.get_events(GetEventsRequest(TRIM, limit=1, filter=UPDATES))) == [2]


def test_what_stands_around_a_damaged_line_can_be_read() -> None:
    store = EventStore(damaged_log())
    before = store.get_events(GetEventsRequest(TRIM, limit=2))
    assert (numbers(before), before.next_event_iterator) == ([1, 2], AFTER(2))
    with pytest.raises(DeserializationError):
        store.get_events(GetEventsRequest(AFTER(2)))
    assert numbers(store.get_events(GetEventsRequest(AFTER(3)))) == [4, 5]


class GappyLog(WatchedLog):
    """Has lost event 3."""

    def read(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        return [(number, line) for number, line in super().read(first, maximum) if number != 3]


@pytest.mark.parametrize("iterator", [TRIM, AFTER(2)])
def test_a_missing_event_is_never_passed_in_silence(iterator: EventIterator) -> None:
    log = GappyLog()
    fill(log, FIVE)
    with pytest.raises(DeserializationError, match="event 3 is missing from the log") as raised:
        EventStore(log).get_events(GetEventsRequest(iterator))
    assert raised.value.seq_num == 3
    assert numbers(EventStore(log).get_events(GetEventsRequest(AFTER(3)))) == [4, 5]


def test_a_late_object_that_its_type_does_not_take_raises_when_it_is_looked_at(
    log: WatchedLog, event_store: EventStore
) -> None:
    log.append(Operation.CREATE, "ExecutionUpsert", b"[1]")
    event = event_store.get_events(GetEventsRequest(TRIM)).events[0]
    for _ in range(2):
        with pytest.raises(DeserializationError, match="failed to unmarshal object type: ExecutionUpsert") as raised:
            event.object  # noqa: B018 - to look is the test
        assert raised.value.seq_num == 1


# --- one reading for all --------------------------------------------------------------------------------------------


def test_followers_that_keep_together_read_the_log_once(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, FIVE)
    for _ in range(50):
        assert numbers(event_store.get_events(GetEventsRequest(TRIM))) == [1, 2, 3, 4, 5]
    assert log.reads == [(1, 5)]


def test_shared_objects_are_made_once_others_for_each(log: WatchedLog, event_store: EventStore) -> None:
    log.append(Operation.CREATE, "ExecutionUpsert", b'{"Current":null,"Previous":null,"Events":null}')
    fill(log, ["CREATE"])
    first, second = (event_store.get_events(GetEventsRequest(TRIM)).events for _ in range(2))
    assert first[0].object is second[0].object
    assert first[1].object == second[1].object
    assert first[1].object is not second[1].object


def test_what_is_kept_is_bounded_in_number(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 1500)
    event_store.get_events(GetEventsRequest(TRIM))
    log.reads.clear()
    event_store.get_events(GetEventsRequest(AFTER(500)))
    assert log.reads == []
    event_store.get_events(GetEventsRequest(AFTER(499), limit=1))
    assert log.reads == [(500, 1)]


def test_what_is_kept_is_bounded_in_bytes(log: WatchedLog, event_store: EventStore) -> None:
    for _ in range(12):
        log.append(Operation.CREATE, "Plain", b'{"x":"' + b"x" * 100_000 + b'"}')
    event_store.get_events(GetEventsRequest(TRIM))
    log.reads.clear()
    event_store.get_events(GetEventsRequest(AFTER(2)))
    assert log.reads == []
    event_store.get_events(GetEventsRequest(AFTER(1), limit=1))
    assert log.reads == [(2, 1)]


# --- storing --------------------------------------------------------------------------------------------------------


def test_store_event_returns_its_number_and_copies_the_object(event_store: EventStore) -> None:
    thing = {"a": 1}
    assert event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", thing)) == 1
    thing["a"] = 2
    assert event_store.get_latest_event_num() == 1
    assert event_store.get_events(GetEventsRequest(TRIM)).events[0].object == {"a": 1}


def test_an_object_that_is_no_json_leaves_nothing_behind(event_store: EventStore) -> None:
    with pytest.raises(SerializationError, match=r"^serialization error for event {Operation:CREATE ObjectType:\w+}: "):
        event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {"a": object()}))
    assert event_store.get_latest_event_num() == 0


def test_wrong_requests_are_refused(event_store: EventStore) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^request: is a StoreEventRequest, not dict"):
        event_store.store_event({})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^request: is a GetEventsRequest, not EventIterator"):
        event_store.get_events(TRIM)  # type: ignore[arg-type]


def test_types_can_be_registered_through_the_store(event_store: EventStore) -> None:
    event_store.serializer.register_type("ThroughTheStore", list)
    assert JSONSerializer.is_type_registered("ThroughTheStore")


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_an_unknown_watcher_has_no_checkpoint(event_store: EventStore) -> None:
    with pytest.raises(CheckpointNotFoundError) as raised:
        event_store.get_checkpoint("w1")
    assert str(raised.value) == "checkpoint error for watcher w1: checkpoint not found"


def test_a_checkpoint_may_go_back_and_beyond_the_log(event_store: EventStore) -> None:
    for seq in (7, 3, 0, 2**64 - 1):
        event_store.store_checkpoint("w1", seq)
        assert event_store.get_checkpoint("w1") == seq


def test_the_empty_watcher_id(event_store: EventStore) -> None:
    with pytest.raises(CheckpointError, match=r"^checkpoint error for watcher : key required$"):
        event_store.store_checkpoint("", 1)
    with pytest.raises(CheckpointNotFoundError, match=r"^checkpoint error for watcher : checkpoint not found$"):
        event_store.get_checkpoint("")
    with pytest.raises(CheckpointNotFoundError):
        event_store.remove_checkpoint("")


@pytest.mark.parametrize("seq", [-1, 2**64, 1.5, None, True])
def test_a_checkpoint_is_a_sequence_number(event_store: EventStore, seq: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^seq: "):
        event_store.store_checkpoint("w1", seq)
    assert event_store.list_checkpoints() == {}


def test_checkpoints_are_listed_and_removed(event_store: EventStore) -> None:
    event_store.store_checkpoint("b", 2)
    event_store.store_checkpoint("a", 1)
    assert list(event_store.list_checkpoints().items()) == [("a", 1), ("b", 2)]
    event_store.remove_checkpoint("a")
    assert event_store.list_checkpoints() == {"b": 2}
    with pytest.raises(CheckpointNotFoundError, match="watcher a"):
        event_store.remove_checkpoint("a")


def test_the_log_in_memory_takes_a_clock() -> None:
    log = MemoryEventLog(clock=iter([5, 6]).__next__)
    fill(log, ["CREATE", "CREATE"])
    assert [event.timestamp for event in EventStore(log).get_events(GetEventsRequest(TRIM)).events] == [5, 6]


BATCH_SIZE = 100


def read_all(event_store: EventStore, name: str, after_first: threading.Barrier | None = None) -> int:
    """Read the log from its beginning in batches, on behalf of a watcher; returns how many events there were."""
    position, count = TRIM, 0
    while True:
        response = event_store.get_events(GetEventsRequest(position, BATCH_SIZE, watcher_id=name), timeout=0)
        if count == 0 and after_first is not None:
            after_first.wait(PATIENCE_SECONDS)
        if not response.events:
            return count
        count += len(response.events)
        position = response.next_event_iterator


def test_many_who_catch_up_together_read_the_log_once(
    log: WatchedLog, event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is many times as long as what is kept of it."""
    # However busy the machine is, nobody is left behind.
    monkeypatch.setattr("execstore.watcher.reader._PATIENCE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("execstore.watcher.reader._ACTIVE_SECONDS", PATIENCE_SECONDS)
    fill(log, ["CREATE"] * 8000)
    readers = 20
    together = threading.Barrier(readers)
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda name: counts.append(read_all(event_store, name, together)), args=(f"w{number}",))
        for number in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert counts == [8000] * readers
    once = 8000 / BATCH_SIZE
    assert once <= len(log.reads) < 3 * once


def test_one_that_reads_no_more_is_left_behind(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 3000)
    event_store.get_events(GetEventsRequest(TRIM, BATCH_SIZE, watcher_id="gone"))
    assert read_all(event_store, "w") == 3000


def test_one_that_is_at_the_end_waits_for_nobody(
    log: WatchedLog, event_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has to wait for would make a new event late."""

    def refuse(*_arguments: object) -> bool:
        raise AssertionError("it waited")

    fill(log, ["CREATE"] * 1000)
    event_store.get_events(GetEventsRequest(TRIM, watcher_id="fills what is kept"))
    event_store.get_events(GetEventsRequest(TRIM, 1, watcher_id="straggler"))
    fill(log, ["CREATE"])
    monkeypatch.setattr(LogReader, "_wait_for_stragglers", refuse)
    response = event_store.get_events(GetEventsRequest(EventIterator.after_sequence_number(1000), watcher_id="w"))
    assert [event.seq_num for event in response.events] == [1001]


# --- for those who follow ---------------------------------------------------------------------------------------------


def never() -> bool:
    return False


def after(seq_num: int, limit: int = 100) -> GetEventsRequest:
    return GetEventsRequest(EventIterator.after_sequence_number(seq_num), limit)


def test_a_follower_is_given_what_the_wait_told_and_the_rest_next(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 5)
    log.on_wait = lambda: 3
    response = event_store.next_events(after(1), cancelled=never)
    assert numbers(response) == [2, 3]
    assert response.next_event_iterator == EventIterator.after_sequence_number(3)
    log.on_wait = lambda: 5
    assert numbers(event_store.next_events(after(3), cancelled=never)) == [4, 5]


def test_a_follower_whose_log_only_says_that_there_is_news_looks(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 5)
    log.on_wait = lambda: True
    assert numbers(event_store.next_events(after(3), cancelled=never)) == [4, 5]
    assert numbers(event_store.next_events(after(5), cancelled=never)) == []


def test_a_follower_that_is_cancelled_is_given_nothing(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"])
    response = event_store.next_events(after(1), cancelled=lambda: True)
    assert (response.events, response.next_event_iterator) == ([], EventIterator.after_sequence_number(1))


def test_a_follower_of_collected_events_is_told(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 5)
    log.collect(4)
    with pytest.raises(EventsCompactedError):
        event_store.next_events(after(1), cancelled=never)
    assert numbers(event_store.next_events(after(3), cancelled=never)) == [4, 5]


def test_what_was_read_before_a_collection_still_reaches_a_follower(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 5)
    assert numbers(event_store.next_events(after(0), cancelled=never)) == [1, 2, 3, 4, 5]
    log.collect(4)
    assert numbers(event_store.next_events(after(1), cancelled=never)) == [2, 3, 4, 5]
    with pytest.raises(EventsCompactedError):
        event_store.get_events(after(1), timeout=0)


def test_a_follower_begins_at_the_horizon_or_the_end_like_any_other(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 3)
    response = event_store.next_events(GetEventsRequest(EventIterator.trim_horizon(), 2), cancelled=never)
    assert numbers(response) == [1, 2]
    response = event_store.next_events(GetEventsRequest(EventIterator.latest()), cancelled=never)
    assert response.next_event_iterator == EventIterator.after_sequence_number(3)


def test_a_follower_ends_with_the_store(event_store: EventStore) -> None:
    event_store.close()
    with pytest.raises(StoreClosedError):
        event_store.next_events(after(0), cancelled=never)


def test_news_are_read_before_anybody_is_woken(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"] * 3)
    event_store.next_events(after(0), cancelled=never)
    fill(log, ["CREATE"] * 2)
    log.reads.clear()
    assert log.on_news is not None
    log.on_news(5)
    assert log.reads == [(4, 2)]
    assert numbers(event_store.next_events(after(3), cancelled=never)) == [4, 5]
    log.on_news(5)
    assert log.reads == [(4, 2)]


def test_what_is_read_beforehand_is_little_and_raises_nothing(log: WatchedLog, event_store: EventStore) -> None:
    fill(log, ["CREATE"])
    event_store.next_events(after(0), cancelled=never)
    fill(log, ["CREATE"] * 101)
    log.reads.clear()
    assert log.on_news is not None
    log.on_news(102)
    assert log.reads == []  # those who are so far behind read it as they come
    log.append_line(b"damaged")
    assert numbers(event_store.next_events(after(1, 101), cancelled=never)) == list(range(2, 103))
    log.on_news(103)
    with pytest.raises(DeserializationError):
        event_store.next_events(after(102), cancelled=never)
    log.close()
    log.on_news(104)


def test_an_event_store_that_nobody_follows_is_not_kept_by_its_log(log: WatchedLog) -> None:
    fill(log, ["CREATE"])
    event_store = EventStore(log)
    event_store.get_events(after(0), timeout=0)
    kept = weakref.ref(event_store)
    gc.disable()
    try:
        del event_store
        assert kept() is None
    finally:
        gc.enable()


def sealed(body: bytes) -> bytes:
    return b'%b,"crc32":"%08x"}' % (body, zlib.crc32(body))


def test_a_sealed_line_with_more_members_than_it_should_have_is_read_whole(
    log: WatchedLog, event_store: EventStore
) -> None:
    head = b'{"seqNum":%d,"operation":"CREATE","objectType":"%b","object":'
    upsert = b'{"Current":null,"Previous":null,"Events":null}'
    log.append_line(sealed(head % (1, b"Plain") + b'{"a":1},"more":2,"timestamp":5'))
    log.append_line(sealed(head % (2, b"ExecutionUpsert") + upsert + b',"more":2,"timestamp":5'))
    log.append_line(sealed(head % (3, b"ExecutionUpsert") + b'{"Current":7},"timestamp":5'))
    log.append_line(sealed(head % (4, b"ExecutionUpsert") + b'{"Current":,"timestamp":5'))
    log.append_line(sealed(head % (5, b"ExecutionUpsert") + b'null,"timestamp":5'))
    log.append_line(sealed(head % (6, b"ExecutionUpsert") + b' null,"timestamp":5'))
    log.append_line(head % (7, b"ExecutionUpsert") + b'{"Current":{"ID":"e","x":NaN}},"timestamp":5}')
    events = event_store.get_events(after(0), timeout=0).events
    assert events[0].object == {"a": 1}
    assert events[1].object == ExecutionUpsert()
    with pytest.raises(DeserializationError, match="Current: must be an object"):
        _ = events[2].object
    with pytest.raises(DeserializationError, match="event 4 is not JSON"):
        _ = events[3].object
    assert events[4].object is None
    assert events[5].object is None
    assert math.isnan(events[6].object.current.extra["x"])


def test_a_serializers_own_decode_is_asked_for_every_type(log: WatchedLog) -> None:
    class Own(JSONSerializer):
        def decode(self, object_type: str, value: Any, seq_num: int) -> Any:
            return object_type, value, seq_num

    log.append(Operation.CREATE, "ExecutionUpsert", b'{"Current":null}')
    (event,) = EventStore(log, serializer=Own()).get_events(after(0), timeout=0).events
    assert event.object == ("ExecutionUpsert", {"Current": None}, 1)
