"""What execstore.watcher offers."""

from __future__ import annotations

from execstore import watcher

CONTRACT = {
    "Event",
    "EventFilter",
    "EventIterator",
    "EventStore",
    "GetEventsRequest",
    "GetEventsResponse",
    "JSONSerializer",
    "Operation",
    "RetryStrategy",
    "StoreEventRequest",
    "Watcher",
    "WatcherManager",
}


def test_all_is_sorted_complete_and_there() -> None:
    assert list(watcher.__all__) == sorted(watcher.__all__)
    assert set(watcher.__all__) >= CONTRACT
    assert all(hasattr(watcher, name) for name in watcher.__all__)
