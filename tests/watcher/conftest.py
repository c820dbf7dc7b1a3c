"""A log in memory with an event store and a manager over it; no test may leave a watcher's thread behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from execstore.watcher import EventStore, JSONSerializer, WatcherManager
from tests.watcher.support import PATIENCE_SECONDS, WatchedLog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def plain_type() -> None:
    """The object type that most tests use."""
    JSONSerializer.register_type("Plain", dict)


@pytest.fixture(autouse=True)
def no_thread_stays(plain_type: None) -> Iterator[None]:
    """Whatever a test does, its watchers' threads end with it."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and "execstore" in thread.name]
    for thread in left:
        thread.join(PATIENCE_SECONDS)
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def log() -> WatchedLog:
    return WatchedLog()


@pytest.fixture
def event_store(log: WatchedLog) -> EventStore:
    return EventStore(log, long_poll_timeout=PATIENCE_SECONDS)


@pytest.fixture
def manager(event_store: EventStore) -> Iterator[WatcherManager]:
    with WatcherManager(event_store) as manager:
        yield manager
