"""Following the log across handles: waiting, watchers, their checkpoints, and what was collected under them."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import EventsCompactedError, StoreClosedError
from execstore.event_log import StoreEventLog
from execstore.watcher import Event, EventFilter, EventIterator, EventStore, GetEventsRequest, Operation, WatcherManager
from tests.support import PATIENCE_SECONDS, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Stores
    from tests.support import FakeClock

TRIM_HORIZON = EventIterator.trim_horizon()


class Seen:
    """A handler that keeps the numbers of what it is given; ``fail_at`` makes it raise there once."""

    def __init__(self, fail_at: int = 0) -> None:
        self.numbers: list[int] = []
        self._fail_at = fail_at
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            if event.seq_num == self._fail_at:
                self._fail_at = 0
                raise ValueError("this once")
            self.numbers.append(event.seq_num)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.numbers) >= count, PATIENCE_SECONDS), self.numbers
            return list(self.numbers)


def write(store: Store, count: int, prefix: str = "e") -> None:
    """So many executions, two events of the log each."""
    for number in range(count):
        store.create_execution(make_execution(f"{prefix}{number}"), make_event())


def test_who_waits_is_woken_by_another_handles_commit(open_store: Stores) -> None:
    waiting, writing = open_store(), open_store()
    log = StoreEventLog(waiting)
    event_store = EventStore(log, long_poll_timeout=PATIENCE_SECONDS)
    found: list[int] = []

    def wait() -> None:
        response = event_store.get_events(GetEventsRequest(EventIterator.after_sequence_number(0)))
        found.extend(event.seq_num for event in response.events)

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while log.lookout().notifier is None and time.monotonic() < deadline:
        time.sleep(0.001)
    writing.create_execution(make_execution())
    thread.join(PATIENCE_SECONDS)
    assert found == [1]


def test_who_waits_gives_up_when_its_time_is_over(store: Store) -> None:
    response = store.event_store.get_events(GetEventsRequest(EventIterator.after_sequence_number(0)), timeout=0.01)
    assert response.events == []


def test_closing_ends_a_wait(open_store: Stores) -> None:
    store = open_store(long_poll_timeout=PATIENCE_SECONDS)
    events = store.event_store

    def wait() -> None:
        # It may be closed before it waits.
        with contextlib.suppress(StoreClosedError):
            events.get_events(GetEventsRequest(EventIterator.after_sequence_number(0)))

    thread = threading.Thread(target=wait)
    thread.start()
    log_entries(store)
    store.close()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_watchers_get_every_event_in_order_whichever_handle_wrote_it(open_store: Stores) -> None:
    handles = [open_store() for _ in range(3)]
    watching = open_store()
    seen, only_deletes = Seen(), Seen()
    with WatcherManager(watching.event_store) as manager:
        manager.create("all", handler=seen, initial_event_iterator=TRIM_HORIZON, auto_start=True)
        manager.create(
            "deletes",
            handler=only_deletes,
            initial_event_iterator=TRIM_HORIZON,
            filter=EventFilter(operations=(Operation.DELETE,)),
            auto_start=True,
        )
        threads = [
            threading.Thread(target=write, args=(handle, 10, f"h{number}-")) for number, handle in enumerate(handles)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handles[0].delete_execution("h0-0")
        assert seen.wait_for(61) == list(range(1, 62))
        assert only_deletes.wait_for(1) == [61]


def test_a_watcher_goes_on_where_it_left_off(open_store: Stores) -> None:
    store = open_store()
    write(store, 5)
    first = Seen()
    with WatcherManager(store.event_store) as manager:
        watcher = manager.create("w", handler=first, initial_event_iterator=TRIM_HORIZON, auto_start=True)
        first.wait_for(10)
        watcher.checkpoint(6)
    store.close()
    again = open_store()
    write(again, 1, "later")
    second = Seen()
    with WatcherManager(again.event_store) as manager:
        manager.create("w", handler=second, initial_event_iterator=TRIM_HORIZON, auto_start=True)
        numbers = second.wait_for(6)
    assert numbers == list(range(numbers[0], 13))
    assert numbers[0] <= 7, "at least once: nothing behind the checkpoint is left out"


def test_a_handler_that_fails_is_asked_again(open_store: Stores) -> None:
    store = open_store()
    write(store, 3)
    seen = Seen(fail_at=4)
    with WatcherManager(store.event_store) as manager:
        manager.create("w", handler=seen, initial_event_iterator=TRIM_HORIZON, auto_start=True, initial_backoff=0.001)
        assert seen.wait_for(6) == [1, 2, 3, 4, 5, 6]


def test_what_was_collected_before_it_was_read_is_told_of(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    write(store, 3)
    clock.now_ns += 3 * 24 * 3600 * 10**9
    report = store.collect_events(retention=timedelta(0))
    assert (report.events, report.oldest, report.latest) == (6, 7, 6)
    other = open_store(clock=clock)
    write(other, 1, "later")
    for handle in (store, other):
        with pytest.raises(EventsCompactedError) as caught:
            handle.event_store.get_events(GetEventsRequest(EventIterator.at_sequence_number(2)), timeout=0)
        assert (caught.value.requested, caught.value.oldest) == (2, 7)
        response = handle.event_store.get_events(GetEventsRequest(TRIM_HORIZON), timeout=0)
        assert [event.seq_num for event in response.events] == [7, 8]


def test_a_checkpoint_keeps_events_and_its_removal_lets_them_go(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    write(store, 3)
    store.event_store.store_checkpoint("slow", 0)
    clock.now_ns += 3 * 24 * 3600 * 10**9
    held = open_store(clock=clock).collect_events(retention=timedelta(0))
    assert (held.events, held.held_by) == (0, "slow")
    open_store(clock=clock).event_store.remove_checkpoint("slow")
    store.collect_events(retention=timedelta(0))
    assert store.event_store.get_oldest_event_num() == 7
    assert store.event_store.get_latest_event_num() == 6


def test_the_limits_that_a_store_was_told_hold_for_later_handles(open_store: Stores, clock: FakeClock) -> None:
    with open_store(clock=clock, event_retention=timedelta(hours=2)) as store:
        write(store, 1)
    status = open_store(clock=clock).event_log_status()
    assert status.retention_ns == 2 * 3600 * 10**9


def test_history_tells_each_revision(store: Store) -> None:
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    store.delete_execution("e1")
    assert [(each.seq_num, each.operation, each.state) for each in store.history("e1")] == [
        (1, Operation.CREATE, "New"),
        (2, Operation.UPDATE, "Running"),
        (3, Operation.DELETE, "Running"),
    ]


COUNTS: list[tuple[str, Callable[[Store], object]]] = [
    ("checkpoint", lambda store: store.checkpoint("cp", 1)),
    ("watcher's checkpoint", lambda store: store.event_store.store_checkpoint("w", 1)),
    ("no events", lambda store: store.add_execution_event("e1")),
]


@pytest.mark.parametrize(("name", "call"), COUNTS, ids=[name for name, _ in COUNTS])
def test_what_logs_nothing_wakes_nobody(store: Store, name: str, call: Callable[[Store], object]) -> None:
    store.create_execution(make_execution())
    call(store)
    assert store.event_store.get_latest_event_num() == 1, name
