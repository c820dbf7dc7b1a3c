"""Following an event store from asynchronous code, on asyncio or trio. Needs ``anyio``; see ``EventStore.follow``."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from execstore.errors import DeserializationError, MissingExtraError
from execstore.watcher.events import EventFilter, EventIterator, EventIteratorType, GetEventsRequest

try:
    from anyio import CapacityLimiter
    from anyio.lowlevel import checkpoint
    from anyio.to_thread import run_sync
except ImportError as error:
    raise MissingExtraError("the asynchronous side", "async") from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from execstore.watcher.event_store import EventStore
    from execstore.watcher.events import Event, GetEventsResponse

__all__ = ["EventStream", "get_events", "run_abandonable"]

_T = TypeVar("_T")


async def run_abandonable(
    work: Callable[[Callable[[], bool]], _T], *, limiter: CapacityLimiter | None = None, wake: Callable[[], None]
) -> _T:
    """Run ``work`` in a thread. If the task is cancelled meanwhile, go on at once and leave the thread to itself.

    ``work`` is given a function that tells whether it was left; ``wake`` is called so that it asks soon.
    """
    left = threading.Event()
    try:
        return await run_sync(work, left.is_set, abandon_on_cancel=True, limiter=limiter)
    except BaseException:  # a cancellation is one
        left.set()
        wake()
        raise


async def get_events(event_store: EventStore, request: GetEventsRequest, timeout: float | None) -> GetEventsResponse:
    """``EventStore.get_events`` in a thread of its own, which ends when the task is cancelled."""
    # A limit of one for each: those who wait for events must never keep each other, or anybody else, from a thread.
    return await run_abandonable(
        lambda left: event_store.get_events(request, timeout, cancelled=left),
        limiter=CapacityLimiter(1),
        wake=event_store.wake,
    )


class EventStream:
    """The events of an event store, one by one, as they come: an asynchronous iterator without an end.

    Each event that passes the filter comes once, in order. A step that is cancelled loses nothing: the next one goes
    on with the same event. Nothing is held between two steps, so it may be left at any time. For one task at a time.

    A step raises ``EventsCompactedError`` if the next event was collected before it was read, ``DeserializationError``
    if it can't be read (go on behind it with a new stream, after its ``seq_num``), ``StoreClosedError`` once the store
    is closed.
    """

    def __init__(
        self, event_store: EventStore, event_iterator: EventIterator, event_filter: EventFilter, batch_size: int
    ) -> None:
        if event_iterator.type is EventIteratorType.LATEST:
            event_iterator = EventIterator.after_sequence_number(event_store.get_latest_event_num())
        self._event_store = event_store
        self._filter = event_filter
        self._batch_size = batch_size
        self._read_iterator = event_iterator
        self._next_iterator = event_iterator
        self._events: deque[Event] = deque()
        self._name = f"stream {id(self)}"

    @property
    def next_event_iterator(self) -> EventIterator:
        """Where a new stream would have to begin to go on behind the last event given, or what was passed since."""
        return self._next_iterator

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # Also while there is something to give: a task that follows a busy log must let others run.
        await checkpoint()
        while not self._events:
            response = await self._read()
            self._events.extend(response.events)
            self._read_iterator = response.next_event_iterator
            if not self._events:
                self._next_iterator = self._read_iterator
        event = self._events.popleft()
        done = EventIterator.after_sequence_number(event.seq_num)
        self._next_iterator = done if self._events else self._read_iterator
        return event

    async def _read(self) -> GetEventsResponse:
        request = GetEventsRequest(self._read_iterator, self._batch_size, self._filter, self._name)
        try:
            return await get_events(self._event_store, request, math.inf)
        except DeserializationError:
            # One at a time, so that those before the unreadable one are given first.
            if self._batch_size == 1:
                raise
            return await get_events(
                self._event_store, GetEventsRequest(self._read_iterator, 1, self._filter, self._name), math.inf
            )
