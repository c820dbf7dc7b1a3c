"""Reads the log once for all who follow it: the entries read last are kept, undecoded until somebody takes them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from execstore.codec import CodecError
from execstore.errors import DeserializationError, EventsCompactedError, ExecStoreError, InvalidExecutionError
from execstore.watcher.events import Event
from execstore.watcher.lines import LineEnds, object_json, parse_line, parse_object

if TYPE_CHECKING:
    from execstore.watcher.event_log import EventLog
    from execstore.watcher.serializer import JSONSerializer

__all__ = ["LogEntry", "LogReader"]

_KEPT_ENTRIES: Final = 1000
_KEPT_BYTES: Final = 1024 * 1024

_MOST_AHEAD: Final = 100

# How long the one that is ahead waits for those behind it, and how recently they must have read to be waited for.
_PATIENCE_SECONDS: Final = 0.25
_ACTIVE_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class LogEntry:
    """A line of the log that was checked. ``event`` is there once it was asked for and may be shared."""

    ends: LineEnds
    object_start: int
    object_end: int  # 0 if it isn't known where the object stands in the line
    line: bytes
    event: Event | None = None

    def object_json(self) -> bytes:
        """The JSON of the object, as ``lines.object_json``."""
        if self.object_end:
            return self.line[self.object_start : self.object_end]
        return object_json(self.line, self.ends.seq_num)


class LogReader:
    """The log's entries by number, for any number of threads, each line read from the log once if they keep together.

    It keeps at most 1000 lines and 1 MiB of them. Lines never change, so what it keeps is never out of date.

    So that they do keep together, whoever comes to the log's file first waits a moment for those who are about to take
    what would have to be dropped for it. Without that, each of many threads that catch up would run ahead of the others
    for as long as Python lets it run, and in the end read all for itself. Whoever takes longer is left behind. Only
    those who give a name wait, and are waited for: of others it isn't known whether they will ever come again.
    """

    def __init__(self, log: EventLog, serializer: JSONSerializer) -> None:
        self._log = log
        self._serializer = serializer
        # Held while the log is read: of many readers woken by one event, the first reads, the others find it here.
        self._changed = threading.Condition(threading.Lock())
        self._places: dict[str, tuple[int, float]] = {}  # by name: the number that is read next, and since when
        self._patient = 0  # how many wait for others to move on
        self._kept: dict[int, LogEntry] = {}
        self._kept_order: deque[int] = deque()
        self._kept_bytes = 0
        self._newest_kept = 0
        self._shared_types: set[str] = set()  # a type that is registered stays so

    def read(self, first: int, maximum: int, name: str = "", *, is_behind: bool = False) -> list[LogEntry]:
        """At least one entry and at most ``maximum``, in order and without gaps, from number ``first`` on.

        ``name`` is that of a reader who will come again for what follows, "" if it isn't known. One who ``is_behind``
        has more to read than this; for others a wait would make an event late.

        ``first`` must not be above the log's latest. Raises ``EventsCompactedError`` if it was collected, and
        ``DeserializationError`` with its number if it isn't there or isn't an event; what stands before a damaged
        line is given first, the error comes with the next call.
        """
        # Without the lock, which would be another place for many threads to queue at after each event.
        entries = self._take_kept(first, maximum)
        if not entries:
            with self._changed:
                entries = self._take_kept(first, maximum)
                if not entries and name and is_behind and self._wait_for_stragglers(name, maximum):
                    entries = self._take_kept(first, maximum)  # another may have read it meanwhile
                if not entries:
                    entries = self._read_log(first, maximum)
        self._note_place(name, first + len(entries))
        if not entries:
            oldest = self._log.oldest()
            if first < oldest:
                raise EventsCompactedError(first, oldest)
            raise DeserializationError(f"event {first} is missing from the log", first)
        return entries

    def look_ahead(self, latest: int) -> None:
        """Read what is new up to number ``latest``, before those who wait for it are woken and all want it at once.

        Nothing is done, or raised, where that isn't cheap, or fails: whoever reads it will see.
        """
        newest_kept = self._newest_kept
        if newest_kept and 0 < latest - newest_kept <= _MOST_AHEAD:
            with self._changed, contextlib.suppress(ExecStoreError, OSError):
                self._read_log(newest_kept + 1, latest - newest_kept)

    def _read_log(self, first: int, maximum: int) -> list[LogEntry]:
        """Entries read from the log, and kept. Under the lock."""
        entries: list[LogEntry] = []
        for expected, (seq_num, line) in enumerate(self._log.read(first, maximum), first):
            if seq_num != expected:
                break
            try:
                entry = LogEntry(*parse_line(line, expected), line)
            except DeserializationError:
                if not entries:
                    raise
                break
            entries.append(entry)
            self._keep(seq_num, entry)
        return entries

    def decode(self, entry: LogEntry) -> Event:
        """The entry's event. Raises ``DeserializationError`` if its type isn't registered or its object can't be made.

        An object that can be shared is made when it is first looked at; see ``Event``.
        """
        if entry.event is not None:
            return entry.event
        seq_num, operation, object_type, timestamp = entry.ends
        make_object = partial(self._make_object, entry)
        if object_type not in self._shared_types:
            if not self._serializer.is_shared(object_type):
                return Event(seq_num, operation, object_type, make_object(), timestamp)
            self._shared_types.add(object_type)
        # To parse an execution takes longer than all the rest, and many who follow events never look into it.
        entry.event = Event.with_late_object(seq_num, operation, object_type, make_object, timestamp)
        return entry.event

    def _make_object(self, entry: LogEntry) -> Any:
        seq_num, _, object_type, _ = entry.ends
        try:
            return self._serializer.decode_json(object_type, entry.object_json(), seq_num)
        except (CodecError, InvalidExecutionError):
            # The line has more members than it should. As a whole it may be sound, or tell what is wrong.
            whole = parse_object(entry.line, seq_num)
        return self._serializer.decode(object_type, whole, seq_num)

    def _note_place(self, name: str, number: int) -> None:
        if name:
            self._places[name] = (number, time.monotonic())
            if self._patient:
                with self._changed:
                    self._changed.notify_all()

    def _wait_for_stragglers(self, own_name: str, count: int) -> bool:
        """Wait until nobody is about to read what ``count`` new entries would drive out; whether it had to wait."""
        room = _KEPT_ENTRIES - len(self._kept)
        if room >= count and self._kept_bytes < _KEPT_BYTES // 2:
            return False
        endangered = set(islice(self._kept_order, count))
        deadline = time.monotonic() + _PATIENCE_SECONDS

        def nobody_is_endangered() -> bool:
            now = time.monotonic()
            for name, (number, since) in self._places.copy().items():
                if now - since > _ACTIVE_SECONDS:
                    self._places.pop(name, None)
                elif name != own_name and number in endangered:
                    return False
            return True

        # Counted before the question, so that whoever moves on after it knows that somebody waits for that.
        self._patient += 1
        try:
            if nobody_is_endangered():
                return False
            self._changed.wait_for(nobody_is_endangered, deadline - time.monotonic())
            return True
        finally:
            self._patient -= 1

    def _take_kept(self, first: int, maximum: int) -> list[LogEntry]:
        taken = []
        find = self._kept.get
        for seq_num in range(first, first + maximum):
            entry = find(seq_num)
            if entry is None:
                break
            taken.append(entry)
        return taken

    def _keep(self, seq_num: int, entry: LogEntry) -> None:
        if seq_num in self._kept:
            return
        self._kept[seq_num] = entry
        self._newest_kept = seq_num
        self._kept_order.append(seq_num)
        self._kept_bytes += len(entry.line)
        while len(self._kept) > _KEPT_ENTRIES or self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self._kept.pop(self._kept_order.popleft()).line)
