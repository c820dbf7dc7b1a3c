"""Events of one process reach watchers in others: none missed, doubled or moved, whatever becomes of notifications.

The notifiers here drop, delay, invent and repeat notifications; writers and watchers are real processes, and killed.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.event_log import StoreEventLog
from execstore.notify import PollingNotifier, open_notifier
from execstore.watcher import (
    EventFilter,
    EventIterator,
    EventStore,
    JSONSerializer,
    Operation,
    StoreEventRequest,
    WatcherManager,
)
from tests.support import PATIENCE_SECONDS, log_entries, make_execution, python
from tests.watcher.support import Recorder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from execstore.notify import Notifier
    from execstore.watcher import Event
    from tests.conftest import StoreFactory

WORKER = str(Path(__file__).parent / "across_worker.py")
FILTERS = {
    "all": EventFilter(),
    "ones": EventFilter(object_types=("Plain1",)),
    "updates": EventFilter(operations=(Operation.UPDATE,)),
    "none": EventFilter(object_types=("Other",)),
}


@pytest.fixture(autouse=True)
def types() -> None:
    JSONSerializer.register_type("Plain0", dict)
    JSONSerializer.register_type("Plain1", dict)


# --- notifiers that can't be relied on --------------------------------------------------------------------------------


class Unreliable:
    """A notifier around a real one. It looks now and then all the same, as every notifier has to."""

    tells_own_changes = True
    longest_sleep_seconds = 0.02

    def __init__(self, real: Notifier) -> None:
        self.real = real
        self.wakeups = 0
        self.chance = random.Random(1)

    def sleep(self, timeout_seconds: float) -> None:
        self.real.sleep(timeout_seconds)
        self.wakeups += 1

    def rouse(self) -> None:
        self.real.rouse()

    def close(self) -> None:
        self.real.close()


class Deaf(Unreliable):
    """Never tells anything: it knows the time, and no file."""

    def __init__(self, real: Notifier) -> None:
        real.close()
        super().__init__(PollingNotifier())


class Late(Unreliable):
    """Tells everything, but later."""

    def sleep(self, timeout_seconds: float) -> None:
        super().sleep(timeout_seconds)
        threading.Event().wait(self.chance.random() * 0.005)


class Babbling(Unreliable):
    """Mostly returns at once, for nothing."""

    def sleep(self, timeout_seconds: float) -> None:
        super().sleep(timeout_seconds if self.chance.random() < 0.1 else 0)


class Wild(Unreliable):
    """Now this, now that."""

    def sleep(self, timeout_seconds: float) -> None:
        match self.chance.randrange(3):
            case 0:
                super().sleep(0)
            case 1:
                threading.Event().wait(self.chance.random() * 0.02)  # deaf: what happens meanwhile is told to nobody
            case 2:
                super().sleep(timeout_seconds)
                threading.Event().wait(self.chance.random() * 0.002)


NOTIFIERS: dict[str, Callable[[str], Notifier]] = {
    "best": open_notifier,
    "polling": lambda path: PollingNotifier(),
    "deaf": lambda path: Deaf(open_notifier(path)),
    "late": lambda path: Late(open_notifier(path)),
    "babbling": lambda path: Babbling(open_notifier(path)),
    "wild": lambda path: Wild(open_notifier(path)),
}


@pytest.fixture(params=sorted(NOTIFIERS))
def event_store(request: pytest.FixtureRequest, store: Store) -> EventStore:
    """An event store whose watchers depend on each of the notifiers in turn."""
    return EventStore(StoreEventLog(store, notifier=NOTIFIERS[request.param]))


# --- other processes --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def worker(command: str, path: Path, argument: str = "") -> Iterator[subprocess.Popen[str]]:
    process = python(WORKER, command, str(path), argument)
    try:
        yield process
    finally:
        process.kill()
        rest_of(process)


def rest_of(process: subprocess.Popen[str]) -> list[int]:
    """Let it end; the numbers it printed that weren't read yet."""
    numbers: list[int] = []
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None and not process.stdout.closed:
        # A line may be cut off by a kill.
        numbers = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.stdout.close()
    process.wait(PATIENCE_SECONDS)
    return numbers


def next_number(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it has ended"
    return int(line)


def store_one(process: subprocess.Popen[str]) -> int:
    """Let a process that waits for it store an event."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return next_number(process)


def expected(store: Store, event_filter: EventFilter) -> list[int]:
    """The numbers of the events in the log that pass a filter."""
    return [event.seq_num for event in log_entries(store) if event_filter.matches(event.operation, event.object_type)]


def check(store: Store, recorders: dict[str, Recorder], manager: WatcherManager) -> None:
    """Each watcher has got what its filter takes, all of it, once, in order; and passed the rest."""
    latest = store.event_store.get_latest_event_num()
    done = threading.Event()
    for name, recorder in recorders.items():
        numbers = expected(store, FILTERS[name])
        recorder.wait_for_count(len(numbers))
        while manager.lookup(name).stats().next_event_iterator != EventIterator.after_sequence_number(latest):
            done.wait(0.002)  # it is still being told of what its filter drops
    manager.stop()
    for name, recorder in recorders.items():
        assert recorder.numbers == expected(store, FILTERS[name]), name


def follow(manager: WatcherManager) -> dict[str, Recorder]:
    recorders = {name: Recorder() for name in FILTERS}
    for name, recorder in recorders.items():
        manager.create(name, handler=recorder, filter=FILTERS[name], auto_start=True)
    return recorders


def test_every_event_of_two_writers_reaches_every_watcher_once_and_in_order(
    store: Store, open_store: StoreFactory, event_store: EventStore
) -> None:
    with WatcherManager(event_store) as manager:
        recorders = follow(manager)
        with worker("write", open_store.path(), "40") as one, worker("write", open_store.path(), "40") as two:
            acknowledged = rest_of(one) + rest_of(two)
        assert sorted(acknowledged) == list(range(1, 81))
        check(store, recorders, manager)


def test_a_writer_that_is_killed_takes_nothing_with_it(
    store: Store, open_store: StoreFactory, event_store: EventStore
) -> None:
    with WatcherManager(event_store) as manager:
        recorders = follow(manager)
        acknowledged: list[int] = []
        for kills in range(1, 4):
            with worker("write", open_store.path(), "0") as writer:
                acknowledged += [next_number(writer) for _ in range(7 * kills)]
                writer.kill()
                acknowledged += rest_of(writer)
        latest = store.event_store.get_latest_event_num()
        # What was printed was stored; of each killed one, at most the last event was stored and not printed.
        assert set(acknowledged) <= set(range(1, latest + 1))
        assert latest - len(acknowledged) <= 3
        check(store, recorders, manager)


def test_an_event_whose_writer_died_while_publishing_it_arrives_all_the_same(
    open_store: StoreFactory, event_store: EventStore
) -> None:
    """The head says "begun"; nobody but who looks will ever write "published", so nobody will tell."""
    recorder = Recorder()
    with WatcherManager(event_store) as manager:
        manager.create("w", handler=recorder, auto_start=True)
        for number in range(1, 4):
            with worker("die", open_store.path()) as writer:
                assert rest_of(writer) == []
                assert writer.returncode == -signal.SIGKILL
            recorder.wait_for_number(number)
    assert recorder.numbers == [1, 2, 3]


def test_a_watcher_that_is_killed_goes_on_behind_its_checkpoint(store: Store, open_store: StoreFactory) -> None:
    kills = 4
    handled: list[int] = []
    with worker("write", open_store.path(), "0") as writer:
        for _ in range(kills):
            with worker("watch", open_store.path(), "w") as watcher:
                handled += [next_number(watcher) for _ in range(7)]
                watcher.kill()
                handled += rest_of(watcher)
    latest = store.event_store.get_latest_event_num()
    with worker("watch", open_store.path(), "w") as watcher:
        while handled[-1] < latest:
            handled.append(next_number(watcher))
    assert writer.returncode < 0
    assert sorted(set(handled)) == list(range(1, latest + 1))
    # It never goes on further ahead, and back by no more than the event it was killed in.
    assert all(after - before in {0, 1} for before, after in pairwise(handled))
    assert len(handled) - latest <= kills


def test_an_effect_in_one_transaction_with_the_checkpoint_happens_once(store: Store, open_store: StoreFactory) -> None:
    store.create_execution(make_execution("effects", state=ExecutionState.NEW))
    with worker("write", open_store.path(), "0") as writer:
        for _ in range(4):
            with worker("effect", open_store.path(), "effect") as watcher:
                for _ in range(5):
                    next_number(watcher)
                watcher.kill()
        writer.kill()
        writer.wait()
        last = store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain0", {}))
        with worker("effect", open_store.path(), "effect") as watcher:
            while next_number(watcher) < last:
                pass
    written = expected(store, EventFilter(object_types=("Plain0", "Plain1")))
    assert [int(event.message) for event in store.get_execution_events("effects")] == written


def test_a_seek_takes_hold_while_others_write(store: Store, open_store: StoreFactory, event_store: EventStore) -> None:
    recorder = Recorder()
    with WatcherManager(event_store) as manager:
        watcher = manager.create("w", handler=recorder, auto_start=True)
        with worker("write", open_store.path(), "60") as writer:
            recorder.wait_for_number(20)
            watcher.seek_to_offset(5)
            recorder._wait(lambda: recorder.numbers.count(6) == 2, "event 6 handled again")
            rest_of(writer)
        watcher.stop()
        before = recorder.numbers.index(6, 10)
        count = len(recorder.numbers)
        watcher.start()
        recorder.wait_for_count(count + 55)
    numbers = recorder.numbers
    assert numbers[:before] == list(range(1, before + 1))
    assert before >= 20
    # After the seek nothing from before it, and from there on everything; the restart began behind the seek again.
    after = numbers[before:]
    again = after.index(6, 1)
    assert after[:again] == list(range(6, 6 + again))
    assert after[again:] == list(range(6, 6 + len(after) - again))


def test_a_second_watcher_of_one_name_gets_every_event_too(store: Store, open_store: StoreFactory) -> None:
    """They share one checkpoint, the one stored last."""
    recorder = Recorder()
    with WatcherManager(store.event_store) as manager, worker("watch", open_store.path(), "w") as other:
        watcher = manager.create("w", handler=recorder, auto_start=True)
        with worker("ask", open_store.path()) as writer:
            for number in range(1, 11):
                assert store_one(writer) == number
                assert next_number(other) == number
        recorder.wait_for_count(10)
        rest_of(other)
        assert recorder.numbers == list(range(1, 11))
        assert store.event_store.get_checkpoint("w") == 10
        watcher.checkpoint(4)
        with worker("watch", open_store.path(), "w") as third:
            assert next_number(third) == 5


def test_a_reader_without_the_right_to_write_follows_too(store: Store, open_store: StoreFactory) -> None:
    recorder = Recorder()
    reading = open_store(read_only=True)
    with WatcherManager(reading.event_store) as manager, worker("ask", open_store.path()) as writer:
        manager.create("w", handler=recorder, ephemeral=True, auto_start=True)
        for number in range(1, 6):
            store_one(writer)
            recorder.wait_for_number(number)
    assert recorder.numbers == [1, 2, 3, 4, 5]


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_an_event_of_another_process_costs_a_wake_up_or_two(store: Store, open_store: StoreFactory) -> None:
    log = StoreEventLog(store)
    handled: list[Event] = []
    changed = threading.Condition()

    def handle(event: Event) -> None:
        with changed:
            handled.append(event)
            changed.notify_all()

    with WatcherManager(EventStore(log)) as manager, worker("ask", open_store.path()) as writer:
        for number in range(20):
            manager.create(f"w{number}", handler=handle, auto_start=True)
        for number in range(1, 11):
            store_one(writer)
            with changed:
                assert changed.wait_for(lambda number=number: len(handled) == 20 * number, PATIENCE_SECONDS)  # type: ignore[misc]
        notifier = log.lookout().notifier
        assert notifier is not None
        # Each commit writes the head twice; opening the store in the other process writes it too.
        assert notifier.wakeups <= 2 * 10 + 10
