"""Notifiers, and the lookout that one of many waiting threads keeps for all."""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store
from execstore.event_log import StoreEventLog
from execstore.notify import (
    POLLING_SECONDS,
    SAFETY_SECONDS,
    InotifyNotifier,
    Lookout,
    PollingNotifier,
    open_notifier,
)
from execstore.watcher import EventIterator, EventStore, JSONSerializer, Operation, StoreEventRequest, WatcherManager
from tests.support import PATIENCE_SECONDS, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from execstore.notify import Notifier

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0" * 100)
    return path


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)


@pytest.fixture(params=["polling", pytest.param("inotify", marks=needs_inotify)])
def notifier(request: pytest.FixtureRequest, file: Path) -> Iterator[Notifier]:
    made = PollingNotifier() if request.param == "polling" else InotifyNotifier(str(file))
    yield made
    made.close()


# --- notifiers --------------------------------------------------------------------------------------------------------


def test_a_rouse_before_the_sleep_is_not_lost(notifier: Notifier) -> None:
    notifier.rouse()
    notifier.rouse()
    notifier.sleep(PATIENCE_SECONDS)
    assert notifier.wakeups == 1


def test_a_rouse_ends_the_sleep(notifier: Notifier) -> None:
    sleeper = threading.Thread(target=notifier.sleep, args=(PATIENCE_SECONDS,))
    sleeper.start()
    notifier.rouse()
    sleeper.join(PATIENCE_SECONDS)
    assert not sleeper.is_alive()


def test_a_sleep_ends_by_itself(notifier: Notifier) -> None:
    notifier.sleep(0.001)
    assert notifier.wakeups == 1


@needs_inotify
def test_an_overwritten_file_ends_the_sleep(file: Path) -> None:
    notifier = InotifyNotifier(str(file))
    overwrite(file, b"1")
    notifier.sleep(PATIENCE_SECONDS)
    overwrite(file, b"2")
    overwrite(file, b"3")
    notifier.sleep(PATIENCE_SECONDS)
    assert notifier.wakeups == 2
    assert notifier.longest_sleep_seconds == SAFETY_SECONDS
    notifier.close()
    notifier.close()


@needs_inotify
def test_a_file_that_is_gone_is_polled(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "execstore")
    notifier = InotifyNotifier(str(file))
    file.unlink()
    notifier.sleep(PATIENCE_SECONDS)
    assert notifier.longest_sleep_seconds == POLLING_SECONDS
    assert not notifier.tells_own_changes
    assert [record.levelname for record in caplog.records] == ["INFO"]
    notifier.close()


@needs_inotify
def test_an_overflow_leads_to_a_look(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inotify_simple import Event, INotify, flags

    def overflown(self: INotify, timeout: int | None = None) -> list[Event]:
        real_read(self, timeout=timeout)
        return [Event(-1, flags.Q_OVERFLOW, 0, "")]

    real_read = INotify.read
    monkeypatch.setattr(INotify, "read", overflown)
    notifier = InotifyNotifier(str(file))
    overwrite(file, b"1")
    notifier.sleep(PATIENCE_SECONDS)
    assert notifier.wakeups == 1
    assert notifier.longest_sleep_seconds == SAFETY_SECONDS
    notifier.close()


@needs_inotify
def test_inotify_is_taken_where_it_can_be_had(file: Path) -> None:
    notifier = open_notifier(str(file))
    assert isinstance(notifier, InotifyNotifier)
    notifier.close()


def test_without_the_library_the_file_is_polled(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "execstore")
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    assert isinstance(open_notifier(str(file)), PollingNotifier)
    if sys.platform == "linux":
        assert [(record.levelname, "execstore[watch]" in record.getMessage()) for record in caplog.records] == [
            ("INFO", True)
        ]


@needs_inotify
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ENOSYS])
def test_where_inotify_is_refused_the_file_is_polled(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(self: Any, path: str, mask: int) -> int:
        raise OSError(number, os.strerror(number))

    caplog.set_level(logging.INFO, "execstore")
    monkeypatch.setattr("inotify_simple.INotify.add_watch", refuse)
    descriptors = os.listdir("/proc/self/fd")
    assert isinstance(open_notifier(str(file)), PollingNotifier)
    assert os.listdir("/proc/self/fd") == descriptors
    assert [record.levelname for record in caplog.records] == ["INFO"]


# --- the lookout ------------------------------------------------------------------------------------------------------


class StepNotifier:
    """Sleeps until it is let go, and keeps account of it."""

    tells_own_changes = True
    longest_sleep_seconds = 7.0

    def __init__(self) -> None:
        self.wakeups = 0
        self.asleep = 0
        self.most_asleep = 0
        self.timeouts: list[float] = []
        self.closed = 0
        self._let_go = 0
        self._changed = threading.Condition()

    def sleep(self, timeout_seconds: float) -> None:
        with self._changed:
            self.asleep += 1
            self.most_asleep = max(self.asleep, self.most_asleep)
            self.timeouts.append(timeout_seconds)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._let_go > 0, PATIENCE_SECONDS):
                raise AssertionError("never let go")
            self._let_go -= 1
            self.asleep -= 1
            self.wakeups += 1

    def rouse(self) -> None:
        with self._changed:
            self._let_go += 1
            self._changed.notify_all()

    def close(self) -> None:
        self.closed += 1

    def wait_for_sleeps(self, count: int) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.timeouts) >= count and self.asleep, PATIENCE_SECONDS):
                raise AssertionError(f"slept {len(self.timeouts)} times")


class Number:
    """What is looked at."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0
        self.is_settled = True
        self.error: Exception | None = None

    def latest(self) -> int:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.value

    def peek(self) -> int | None:
        return self.value if self.is_settled else None


class Waiters:
    """Threads that wait, and what came of it."""

    def __init__(self, lookout: Lookout) -> None:
        self.lookout = lookout
        self.results: list[object] = []
        self.threads: list[threading.Thread] = []

    def start(
        self, after: int, timeout_seconds: float = PATIENCE_SECONDS, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        def wait() -> None:
            try:
                self.results.append(self.lookout.wait(after, timeout_seconds, interrupted))
            except ValueError as error:
                self.results.append(str(error))

        self.threads.append(threading.Thread(target=wait))
        self.threads[-1].start()

    def join(self, count: int | None = None) -> None:
        """Wait until all, or the first ``count``, are done."""
        for thread in self.threads[:count]:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


@pytest.fixture
def step() -> StepNotifier:
    return StepNotifier()


@pytest.fixture
def number() -> Number:
    return Number()


@pytest.fixture
def lookout(step: StepNotifier, number: Number) -> Iterator[Lookout]:
    made = Lookout(number.latest, number.peek, lambda: step)
    yield made
    made.close()


@pytest.fixture
def waiters(lookout: Lookout) -> Waiters:
    return Waiters(lookout)


def test_of_many_who_wait_one_sleeps(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    for _ in range(20):
        waiters.start(after=0)
    step.wait_for_sleeps(1)
    number.value = 1
    step.rouse()
    waiters.join()
    assert waiters.results == [True] * 20
    assert (step.most_asleep, step.wakeups) == (1, 1)
    assert step.timeouts == [step.longest_sleep_seconds]


def test_a_wake_up_for_nothing_wakes_nobody_else(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    waiters.start(after=0)
    waiters.start(after=0)
    for count in range(1, 6):
        step.wait_for_sleeps(count)
        step.rouse()
    step.wait_for_sleeps(6)
    assert waiters.results == []
    number.value = 1
    step.rouse()
    waiters.join()
    assert waiters.results == [True, True]


def test_what_is_there_already_needs_no_sleep(lookout: Lookout, step: StepNotifier, number: Number) -> None:
    number.value = 3
    assert lookout.wait(2, 0, lambda: False)
    assert not lookout.wait(3, 0, lambda: False)
    assert step.timeouts == []


def test_a_number_that_grew_while_nobody_waited_is_seen(lookout: Lookout, step: StepNotifier, number: Number) -> None:
    number.value = 1
    assert lookout.wait(0, PATIENCE_SECONDS, lambda: False)
    number.value = 2
    assert lookout.wait(1, 0, lambda: False)
    assert step.timeouts == []


def test_another_takes_over(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    waiters.start(after=1)
    number.value = 1
    step.rouse()
    waiters.join(1)
    step.wait_for_sleeps(2)
    number.value = 2
    step.rouse()
    waiters.join()
    assert waiters.results == [1, 2]


def test_another_takes_over_when_the_keeper_is_interrupted(waiters: Waiters, step: StepNotifier) -> None:
    stop = threading.Event()
    waiters.start(after=0, interrupted=stop.is_set)
    step.wait_for_sleeps(1)
    waiters.start(after=0)
    stop.set()
    waiters.lookout.wake()
    waiters.join(1)
    step.wait_for_sleeps(2)
    assert waiters.results == [False]
    waiters.lookout.close()
    waiters.join()


def test_another_takes_over_when_the_look_fails(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    waiters.start(after=0)
    number.is_settled = False
    number.error = ValueError("no look")
    step.rouse()  # it can't be told by a peek
    step.wait_for_sleeps(2)
    threading.Event().wait(0.01)  # longer than a publication takes, so that it looks thoroughly
    step.rouse()
    waiters.join()  # the second one looks as soon as it has taken over
    assert waiters.results == ["no look", "no look"]


def test_an_interrupted_follower_returns(waiters: Waiters, step: StepNotifier) -> None:
    stop = threading.Event()
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    waiters.start(after=0, interrupted=stop.is_set)
    stop.set()
    waiters.lookout.wake()
    waiters.threads[1].join(PATIENCE_SECONDS)
    assert waiters.results == [False]
    waiters.lookout.close()
    waiters.join()


def test_a_publication_that_hangs_is_looked_at_thoroughly(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    number.is_settled = False
    step.rouse()
    step.wait_for_sleeps(2)
    assert number.looks == 1
    assert step.timeouts[1] < 0.01
    number.value = 1
    threading.Event().wait(0.01)
    step.rouse()
    waiters.join()
    assert waiters.results == [True]
    assert number.looks == 2


def test_only_those_are_woken_who_have_what_they_wait_for(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    asked: list[int] = []

    def interrupted() -> bool:
        asked.append(1)
        return False

    waiters.start(after=5)
    step.wait_for_sleeps(1)
    waiters.start(after=0)
    waiters.start(after=4, interrupted=interrupted)
    while len(waiters.lookout._waiting) < 2:
        threading.Event().wait(0.001)
    before = len(asked)
    number.value = 1
    step.rouse()
    waiters.threads[1].join(PATIENCE_SECONDS)
    step.wait_for_sleeps(2)
    assert (waiters.results, len(asked)) == ([1], before)
    number.value = 6
    step.rouse()
    waiters.join()
    assert waiters.results == [1, 6, 6]


def test_news_are_told_of_before_anybody_is_woken(step: StepNotifier, number: Number) -> None:
    results: list[object] = []
    lookout = Lookout(number.latest, number.peek, lambda: step, lambda latest: results.append(f"news {latest}"))
    waiters = Waiters(lookout)
    waiters.results = results
    for _ in range(3):
        waiters.start(after=0)
    step.wait_for_sleeps(1)
    number.value = 1
    step.rouse()
    waiters.join()
    assert results == ["news 0", "news 1", 1, 1, 1]
    lookout.close()


def test_a_wait_without_time_leaves_nothing_behind(waiters: Waiters, step: StepNotifier, number: Number) -> None:
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    assert waiters.lookout.wait(0, 0, lambda: False) == 0
    assert waiters.lookout.wait(0, 0.001, lambda: False) == 0
    assert not waiters.lookout._waiting
    number.value = 1
    step.rouse()
    waiters.join()


def test_closing_ends_all_waits_and_the_notifier(waiters: Waiters, step: StepNotifier) -> None:
    for _ in range(5):
        waiters.start(after=0)
    step.wait_for_sleeps(1)
    waiters.lookout.close()
    assert (step.asleep, step.closed) == (0, 1)
    waiters.join()
    assert waiters.results == [False] * 5
    waiters.lookout.close()
    assert not waiters.lookout.wait(0, PATIENCE_SECONDS, lambda: False)


def test_only_a_notifier_that_needs_it_is_told_of_own_changes(
    waiters: Waiters, step: StepNotifier, number: Number
) -> None:
    waiters.lookout.own_change()
    waiters.start(after=0)
    step.wait_for_sleeps(1)
    number.value = 1
    waiters.lookout.own_change()
    assert step.asleep == 1
    step.tells_own_changes = False
    waiters.lookout.own_change()
    waiters.join()
    assert waiters.results == [True]


# --- on a store -------------------------------------------------------------------------------------------------------


class Followed:
    """A store, its event log with a notifier of this kind, and watchers on it."""

    def __init__(self, store: Store, kind: str, watchers: int) -> None:
        JSONSerializer.register_type("Plain", dict)
        self.store = store
        self.log = StoreEventLog(store, notifier=open_notifier if kind == "inotify" else lambda _: PollingNotifier())
        self.event_store = EventStore(self.log)
        self.manager = WatcherManager(self.event_store)
        self._changed = threading.Condition()
        self._handled = 0
        for number in range(watchers):
            self.manager.create(
                f"w{number}", handler=self._handle, initial_event_iterator=EventIterator.latest(), auto_start=True
            )

    def _handle(self, event: object) -> None:
        with self._changed:
            self._handled += 1
            self._changed.notify_all()

    def store_event(self) -> None:
        self.store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {}))

    def wait_for_count(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._handled >= count, PATIENCE_SECONDS)

    @property
    def notifier(self) -> Notifier:
        found = self.log.lookout().notifier
        assert found is not None
        return found


@pytest.mark.parametrize("kind", ["polling", pytest.param("inotify", marks=needs_inotify)])
def test_fifty_watchers_wake_as_often_as_one(store: Store, kind: str) -> None:
    followed = Followed(store, kind, watchers=50)
    for number in range(1, 4):
        followed.store_event()
        followed.wait_for_count(50 * number)
    # An event takes two writes to the head. A watcher that comes back from its handler keeps the lookout, and may be
    # woken by what another one has seen already; none wakes for itself alone.
    wakeups = followed.notifier.wakeups
    longest = followed.notifier.longest_sleep_seconds
    assert followed.manager.stop()
    if kind == "inotify":
        assert 1 <= wakeups <= 12
        assert longest == SAFETY_SECONDS
    else:
        assert longest == POLLING_SECONDS


@needs_inotify
def test_idle_watchers_sleep_until_the_kernel_tells(store: Store) -> None:
    followed = Followed(store, "inotify", watchers=3)
    followed.store_event()
    followed.wait_for_count(3)
    before = followed.notifier.wakeups
    threading.Event().wait(3 * POLLING_SECONDS)
    # At most the one that the last write to the head is still owed.
    assert followed.notifier.wakeups - before <= 1
    assert followed.manager.stop()


@needs_inotify
def test_a_closed_store_leaves_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    gc.collect()
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    store = Store(tmp_path / "store")
    followed = Followed(store, "inotify", watchers=3)
    followed.store_event()
    followed.wait_for_count(3)
    store.close()
    assert followed.manager.stop()
    del store, followed
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("kind", ["polling", pytest.param("inotify", marks=needs_inotify)])
def test_two_event_logs_of_one_store_both_wake(store: Store, kind: str) -> None:
    both = [Followed(store, kind, watchers=2), Followed(store, kind, watchers=2)]
    store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {}))
    for followed in both:
        followed.wait_for_count(2)
    store.close()
    for followed in both:
        for watcher in followed.manager.watchers():
            # The closing itself ends them, so that there is nothing left to stop.
            watcher._run.thread.join(PATIENCE_SECONDS)  # type: ignore[union-attr]
            assert not watcher._run.thread.is_alive()  # type: ignore[union-attr]


@needs_inotify
def test_a_forked_child_waits_for_itself(store: Store) -> None:
    followed = Followed(store, "inotify", watchers=2)
    followed.store_event()
    followed.wait_for_count(2)

    def child() -> object:
        event_store = store.event_store
        event_store.store_event(StoreEventRequest(Operation.CREATE, "Plain", {}))
        lookout = followed.log.lookout()
        found = lookout.wait(1, PATIENCE_SECONDS, lambda: False)
        waited = lookout.wait(2, 0.001, lambda: False)
        store.close()
        return found, waited

    assert in_child(child) == "(2, 0)"
    followed.wait_for_count(4)
    followed.store_event()
    followed.wait_for_count(6)
    assert followed.manager.stop()
