"""Being told of new events by etcd's watch: at once, over broken connections, and without an idle look in between.

Time decides nothing here: the look that is taken now and then for safety's sake is switched off, so that what a test
waits for either comes by the watch or not at all.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from execstore import connect
from execstore.etcd import watch
from execstore.etcd.watch import HeadNotifier
from execstore.watcher import EventIterator, GetEventsRequest, WatcherManager
from tests.etcd.conftest import engine_of
from tests.etcd.proxy import Fate, proxy
from tests.support import PATIENCE_SECONDS, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore import Store
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.wire import KeyValue
    from execstore.watcher import Event
    from tests.etcd.conftest import EtcdStores
    from tests.etcd.proxy import Proxy


@pytest.fixture(autouse=True)
def no_look_for_safety(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LONGEST_SLEEP_SECONDS", 1e9)


@pytest.fixture
def between(endpoint: str) -> Iterator[Proxy]:
    with proxy(endpoint) as made:
        yield made


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it didn't come"
        time.sleep(0.001)


def is_watching(store: Store) -> bool:
    notifiers = engine_of(store)._notifiers
    return bool(notifiers) and notifiers[0]._stream is not None


class Following:
    """Waits for events in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self.seen: list[int] = []
        self._events = store.event_store
        self._iterator = EventIterator.after_sequence_number(self._events.get_latest_event_num())
        self._ended = False
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ended:
            response = self._events.get_events(GetEventsRequest(self._iterator), timeout=PATIENCE_SECONDS)
            self.seen.extend(event.seq_num for event in response.events)
            self._iterator = response.next_event_iterator

    def end(self, store: Store) -> None:
        """With one more event, so that it needn't wait any longer."""
        self._ended = True
        store.checkpoint("wake", 1)
        store.create_execution(make_execution("last"))
        self._thread.join()


def test_events_of_others_come_by_the_watch(open_store: EtcdStores) -> None:
    store, other = open_store(), open_store()
    following = Following(other)
    wait_until(lambda: is_watching(other))
    for number in range(5):
        store.create_execution(make_execution(f"e{number}"))
        wait_until(lambda number=number: following.seen == list(range(1, number + 2)))  # type: ignore[misc]
    following.end(store)
    assert following.seen == [1, 2, 3, 4, 5, 6]


def test_own_events_wake_own_waiters(open_store: EtcdStores) -> None:
    store = open_store()
    following = Following(store)
    wait_until(lambda: is_watching(store))
    store.create_execution(make_execution("e1"))
    wait_until(lambda: following.seen == [1])
    following.end(store)


def test_a_broken_stream_is_begun_again_and_misses_nothing(
    open_store: EtcdStores, between: Proxy, address: str
) -> None:
    store = open_store()
    other = open_store(f"etcd://{between.endpoint}/{address.rpartition('/')[2]}")
    following = Following(other)
    wait_until(lambda: is_watching(other))
    refused = 3

    def decide(path: str) -> Fate:
        nonlocal refused
        if path == "/v3/watch" and refused:
            refused -= 1
            return Fate.LOSE_REQUEST
        return Fate.PASS

    for number in range(3):
        between.decide = decide
        between.cut()
        store.create_execution(make_execution(f"e{number}"))
        wait_until(lambda number=number: following.seen == list(range(1, number + 2)))  # type: ignore[misc]
    wait_until(lambda: refused == 0)
    wait_until(lambda: is_watching(other))
    following.end(store)
    assert following.seen == [1, 2, 3, 4]


def test_a_watcher_handles_every_event_once_and_in_order(open_store: EtcdStores, between: Proxy, address: str) -> None:
    store = open_store()
    other = open_store(f"etcd://{between.endpoint}/{address.rpartition('/')[2]}")
    seen: list[int] = []

    def handle(event: Event) -> None:
        seen.append(event.seq_num)

    manager = WatcherManager(other.event_store)
    watcher = manager.create("w", handler=handle, initial_event_iterator=EventIterator.trim_horizon(), auto_start=True)
    store.create_execution(make_execution("e1"))
    for number in range(1, 21):
        store.update_execution_state(make_request("e1", name=str(number)))
        if number % 7 == 0:
            between.cut()
    wait_until(lambda: len(seen) >= 21)
    assert seen == list(range(1, 22))
    assert watcher.id == "w"
    manager.stop()


def test_a_notifier_is_roused_and_closed(gateway: Gateway) -> None:
    heads: list[KeyValue] = []
    notifier = HeadNotifier(gateway, b"/nothing/at/all", heads.append)
    notifier.connect()
    assert not notifier.take_gap()
    thread = threading.Thread(target=notifier.sleep, args=(PATIENCE_SECONDS,))
    thread.start()
    notifier.rouse()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    notifier.sleep(0.0)
    assert (heads, notifier.wakeups, notifier.tells_own_changes) == ([], 2, False)
    for _ in range(2):
        notifier.close()
    notifier.rouse()


def test_without_a_server_it_sleeps_as_long_as_it_is_told(gateway: Gateway) -> None:
    """And no longer than a pause between two tries."""
    from execstore.etcd.address import EtcdAddress
    from execstore.etcd.gateway import Gateway as Other
    from tests.etcd.server import free_ports

    nowhere = Other(EtcdAddress.parse(f"etcd://127.0.0.1:{free_ports(1)[0]}/p", {}))
    notifier = HeadNotifier(nowhere, b"/p/head", lambda _: None)
    notifier.connect()
    for _ in range(3):
        notifier.sleep(0.01)
        assert notifier.take_gap(), "whoever slept in it looks"
    notifier.close()


def test_closing_gives_everything_back(address: str) -> None:
    connect(address).close()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with connect(address) as store:
            following = Following(store)
            wait_until(lambda store=store: is_watching(store))  # type: ignore[misc]
            store.create_execution(make_execution("e1"))
            following.end(store)
            store.delete_execution("e1")
            store.delete_execution("last")
    assert len(os.listdir("/proc/self/fd")) == descriptors
