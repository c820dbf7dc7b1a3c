"""The event store: where events are appended, read from any position, and waited for.

Which request gives which answer, when it waits and where the next one starts is the reference's
(``pkg/lib/watcher/boltdb/boltdb.go``, ``GetEvents``), but for three things: a wait has one deadline, what is closed is
closed, and reading below the oldest event is an error instead of a silent gap.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from execstore.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    EventsCompactedError,
    InvalidArgumentError,
    SerializationError,
    StoreClosedError,
)
from execstore.watcher.events import (
    MAX_SEQUENCE_NUMBER,
    Event,
    EventFilter,
    EventIterator,
    EventIteratorType,
    GetEventsRequest,
    GetEventsResponse,
    StoreEventRequest,
    check_sequence_number,
)
from execstore.watcher.reader import LogReader
from execstore.watcher.serializer import JSONSerializer

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.watcher.event_log import EventLog
    from execstore.watcher.follow import EventStream

__all__ = ["DEFAULT_LONG_POLL_TIMEOUT_SECONDS", "EventStore", "first_number"]

DEFAULT_LONG_POLL_TIMEOUT_SECONDS: Final = 10.0
"""The reference's."""

_LINES_AT_ONCE: Final = 256
_EVERYTHING: Final = EventFilter()


class EventStore:
    """Events of one log, for any number of threads.

    ``long_poll_timeout`` is how many seconds ``get_events`` waits for something new unless it is told otherwise.
    ``serializer`` reads the objects, ``PlainSerializer()`` as plain JSON, say. Every method but ``close`` raises
    ``StoreClosedError`` after ``close``, or after the log was closed.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        long_poll_timeout: float = DEFAULT_LONG_POLL_TIMEOUT_SECONDS,
        serializer: JSONSerializer | None = None,
    ) -> None:
        self._log = log
        self._long_poll_timeout_seconds = _checked_timeout("long_poll_timeout", long_poll_timeout)
        self._serializer = JSONSerializer() if serializer is None else serializer
        self._reader = LogReader(log, self._serializer)
        self._closed = False

    @property
    def serializer(self) -> JSONSerializer:
        """What writes and reads the objects; ``serializer.register_type`` adds types."""
        return self._serializer

    @property
    def closed(self) -> bool:
        """Whether it, or its log, was closed."""
        return self._closed or self._log.closed

    def close(self) -> None:
        """End every wait and refuse every later call. The log, which may be another's, stays open. Twice is fine."""
        self._closed = True
        self._log.wake()

    def store_event(self, request: StoreEventRequest) -> int:
        """Append an event, durably, and return its sequence number.

        The object is written as it is at this moment; later changes to it aren't seen by readers. Its type needn't be
        registered, as in the reference, but can't be read before it is. Raises ``SerializationError`` if the object
        can't be written as JSON, and what the log raises if it can't be written to.
        """
        self._check_open()
        if not isinstance(request, StoreEventRequest):
            raise InvalidArgumentError("request", f"is a StoreEventRequest, not {type(request).__name__}")
        try:
            object_json = self._serializer.encode(request.object)
        except SerializationError as error:
            raise SerializationError(error.reason, request.operation.value, request.object_type) from error
        return self._log.append(request.operation, request.object_type, object_json)

    def get_events(
        self,
        request: GetEventsRequest,
        timeout: float | None = None,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> GetEventsResponse:
        """Read the events at ``request.event_iterator``, and wait for one if there is none yet.

        It returns at once with the events there are, up to ``limit``; the next iterator stands behind the last event
        looked at, whether the filter took it or not. It also returns at once, without events, whenever the next
        iterator differs from the one asked for: ``trim_horizon`` and ``latest`` become a number, and events that the
        filter drops are passed. Otherwise it waits, at most ``timeout`` seconds in all (``None``: the store's
        ``long_poll_timeout``; 0: not at all), and returns no events and the same iterator if nothing came. A negative
        limit reads nothing, so it waits in vain. ``close`` ends a wait as if the time were over.

        ``cancelled`` is asked from time to time, and after every ``wake``; once it returns true, what was read so far
        is returned, or nothing.

        Raises ``EventsCompactedError`` if the first event asked for was collected, ``DeserializationError`` with its
        number if an event that passes the filter can't be read (the events before it can be had with a smaller
        ``limit``), ``InvalidArgumentError`` for a wrong request or timeout.
        """
        self._check_open()
        if not isinstance(request, GetEventsRequest):
            raise InvalidArgumentError("request", f"is a GetEventsRequest, not {type(request).__name__}")
        wait_seconds = self._long_poll_timeout_seconds if timeout is None else _checked_timeout("timeout", timeout)
        deadline = time.monotonic() + wait_seconds

        def interrupted() -> bool:
            return self._closed or self._log.closed or (cancelled is not None and cancelled())

        while True:
            position = self._resolve(request.event_iterator)
            try:
                response = self._read(request, position, interrupted)
            except EventsCompactedError:
                if request.event_iterator.type is EventIteratorType.TRIM_HORIZON:
                    continue  # collected between the look for the oldest and its reading
                raise
            if response.events or response.next_event_iterator != request.event_iterator:
                return response
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0 or interrupted():
                return response
            # Nothing below the first number can be news; with a negative limit nothing at all is.
            newest_known = MAX_SEQUENCE_NUMBER if request.limit < 0 else first_number(position) - 1
            # A log that is being closed while it looks whether there is news says so by raising.
            with contextlib.suppress(StoreClosedError):
                self._log.wait(newest_known, min(remaining_seconds, threading.TIMEOUT_MAX), interrupted)
            if self.closed:
                return response

    def next_events(self, request: GetEventsRequest, *, cancelled: Callable[[], bool]) -> GetEventsResponse:
        """As ``get_events`` without an end to the wait, for those who follow the log event by event.

        It gives what this process knows of already before it asks the log for what is newer, so there may be fewer
        events than ``limit`` though there are more; the next call gives them at once. Events that were collected since
        they were read are given all the same. For this, following costs each but one of many watchers no system call.
        """
        position = request.event_iterator
        if not position.has_sequence_number:
            return self.get_events(request, math.inf, cancelled=cancelled)
        self._check_open()

        def interrupted() -> bool:
            return self._closed or self._log.closed or cancelled()

        # Only now: those who don't follow have no use for it, and would be kept by the log until the collector comes.
        self._log.on_news = self._reader.look_ahead
        first = first_number(position)
        with contextlib.suppress(StoreClosedError):
            newest = self._log.wait(first - 1, threading.TIMEOUT_MAX, interrupted)
            if newest and not self.closed:
                newest = newest if newest >= first else self._log.latest()
                return self._read_up_to(newest, request, position, interrupted)
        return GetEventsResponse([], position)

    def follow(
        self,
        event_iterator: EventIterator,
        *,
        filter: EventFilter = _EVERYTHING,  # noqa: A002 - the name that watchers have for it
        batch_size: int = 100,
    ) -> EventStream:
        """The events from ``event_iterator`` on, as they come: ``async for event in event_store.follow(...)``.

        For asyncio and trio; the waiting is done in a thread, which a cancellation ends. ``latest`` means behind the
        newest event at this call. ``batch_size`` is how many are read at once. See ``EventStream``.

        Raises ``MissingExtraError`` if ``anyio`` isn't installed, ``InvalidArgumentError`` for arguments that make no
        sense.
        """
        from execstore.watcher.follow import EventStream  # noqa: PLC0415 - needs an extra

        self._check_open()
        GetEventsRequest(event_iterator, batch_size, filter)
        if batch_size < 1:
            raise InvalidArgumentError("batch_size", f"is a number of events, 1 or more, not {batch_size!r}")
        return EventStream(self, event_iterator, filter, batch_size)

    def wake(self) -> None:
        """Make every waiting ``get_events`` of this process ask its ``cancelled`` at once."""
        self._log.wake()

    def get_latest_event_num(self) -> int:
        """The number of the newest event, 0 if there never was one. It never goes back, whatever is collected."""
        self._check_open()
        return self._log.latest()

    def get_oldest_event_num(self) -> int:
        """The number of the oldest event that is still there, or will be the next one's if there is none."""
        self._check_open()
        return self._log.oldest()

    def store_checkpoint(self, watcher_id: str, seq: int) -> None:
        """Store durably that ``watcher_id`` has handled the events up to ``seq``.

        It may go back, and may be beyond the newest event. Raises ``CheckpointError`` for an empty ID and
        ``InvalidArgumentError`` for what is no sequence number.
        """
        self._check_open()
        if not watcher_id:
            raise CheckpointError(watcher_id, "key required")
        self._log.store_checkpoint(watcher_id, check_sequence_number("seq", seq))

    def get_checkpoint(self, watcher_id: str) -> int:
        """The checkpoint of ``watcher_id``. Raises ``CheckpointNotFoundError`` if it has none."""
        self._check_open()
        found = self._log.get_checkpoint(watcher_id) if watcher_id else None
        if found is None:
            raise CheckpointNotFoundError(watcher_id)
        return found

    def list_checkpoints(self) -> dict[str, int]:
        """All checkpoints by watcher ID, sorted by it; the lowest is what keeps old events from being collected."""
        self._check_open()
        return dict(sorted(self._log.list_checkpoints().items()))

    def remove_checkpoint(self, watcher_id: str) -> None:
        """Forget the checkpoint of ``watcher_id``, so that it keeps no event from being collected any more.

        Raises ``CheckpointNotFoundError`` if it has none.
        """
        self._check_open()
        if not watcher_id or not self._log.remove_checkpoint(watcher_id):
            raise CheckpointNotFoundError(watcher_id)

    def _check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(self._log.path)

    def _resolve(self, iterator: EventIterator) -> EventIterator:
        if iterator.type is EventIteratorType.TRIM_HORIZON:
            return EventIterator.after_sequence_number(self._log.oldest() - 1)
        if iterator.type is EventIteratorType.LATEST:
            return EventIterator.after_sequence_number(self._log.latest())
        return iterator

    def _read(
        self, request: GetEventsRequest, position: EventIterator, interrupted: Callable[[], bool]
    ) -> GetEventsResponse:
        first = first_number(position)
        # What is committed while this reads is left to the next call, or a busy writer would keep it here for ever.
        latest = self._log.latest()
        if request.limit < 0 or first > latest:
            return GetEventsResponse([], position)
        oldest = self._log.oldest()
        if first < oldest:
            raise EventsCompactedError(first, oldest)
        return self._read_up_to(latest, request, position, interrupted)

    def _read_up_to(
        self, latest: int, request: GetEventsRequest, position: EventIterator, interrupted: Callable[[], bool]
    ) -> GetEventsResponse:
        first = number = first_number(position)
        events: list[Event] = []
        wanted = request.limit or latest
        takes_all = request.filter.takes_all
        while number <= latest and len(events) < wanted and not interrupted():
            maximum = min(latest - number + 1, _LINES_AT_ONCE)
            if takes_all:
                maximum = min(maximum, wanted - len(events))
            try:
                is_behind = number + maximum <= latest
                entries = self._reader.read(number, maximum, request.watcher_id, is_behind=is_behind)
            except EventsCompactedError:
                if number == first:
                    raise
                break  # the next call says so; what was read before is given first
            for entry in entries:
                ends = entry.ends
                if takes_all or request.filter.matches(ends.operation, ends.object_type):
                    events.append(self._reader.decode(entry))
                number = ends.seq_num + 1
                if len(events) == wanted:
                    break
        if number == first:
            return GetEventsResponse(events, position)
        return GetEventsResponse(events, EventIterator.after_sequence_number(number - 1))


def first_number(iterator: EventIterator) -> int:
    """The number of the first event that an iterator with a number asks for; there is none below 1."""
    if iterator.type is EventIteratorType.AFTER_SEQUENCE_NUMBER:
        return iterator.sequence_number + 1
    return max(iterator.sequence_number, 1)


def _checked_timeout(argument: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise InvalidArgumentError(argument, f"is a number of seconds, 0 or more, not {seconds!r}")
    return float(seconds)
