"""Following the event log: an event store, and watchers that hand its events to handlers.

An ``EventStore`` reads and writes events over an ``EventLog``; a ``WatcherManager`` keeps ``Watcher`` objects, each a
thread that gives the events it is after to a handler, in order and at least once.
"""

from execstore.watcher.event_log import EventLog
from execstore.watcher.event_store import EventStore
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
from execstore.watcher.lines import encode_line, parse_ends, parse_object
from execstore.watcher.manager import WatcherManager
from execstore.watcher.memory import MemoryEventLog
from execstore.watcher.options import (
    CompactionStrategy,
    EventHandler,
    Handler,
    RetryStrategy,
    WatcherOptions,
    WatcherState,
    WatcherStats,
)
from execstore.watcher.serializer import JSONSerializer, PlainSerializer, SerializableType
from execstore.watcher.watcher import Watcher

__all__ = [
    "CompactionStrategy",
    "Event",
    "EventFilter",
    "EventHandler",
    "EventIterator",
    "EventIteratorType",
    "EventLog",
    "EventStore",
    "GetEventsRequest",
    "GetEventsResponse",
    "Handler",
    "JSONSerializer",
    "MemoryEventLog",
    "Operation",
    "PlainSerializer",
    "RetryStrategy",
    "SerializableType",
    "StoreEventRequest",
    "Watcher",
    "WatcherManager",
    "WatcherOptions",
    "WatcherState",
    "WatcherStats",
    "encode_line",
    "parse_ends",
    "parse_object",
]
