"""Following the event log: an event store, and watchers that hand its events to handlers."""

from execstore.watcher.events import (
    Event,
    EventFilter,
    EventIterator,
    EventIteratorType,
    GetEventsRequest,
    GetEventsResponse,
    Operation,
    StoreEventRequest,
)

__all__ = [
    "Event",
    "EventFilter",
    "EventIterator",
    "EventIteratorType",
    "GetEventsRequest",
    "GetEventsResponse",
    "Operation",
    "StoreEventRequest",
]
