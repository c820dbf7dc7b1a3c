"""``execstore watch``: print events as they come."""

from __future__ import annotations

import contextlib
import math
import os
import select
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import click

from execstore.cli.context import Settings, json_option, open_to_read, open_to_write, time_options
from execstore.cli.exit_status import NO
from execstore.cli.interrupts import held_back
from execstore.cli.output import note, one_line, print_json, terminal_width
from execstore.cli.table import WIDE_COLUMNS, cell_width, cut, state_colour
from execstore.cli.times import TimeStyle, format_time
from execstore.codec import encode
from execstore.errors import DeserializationError, EventsCompactedError, ExecutionNotFoundError
from execstore.watcher.events import EventFilter, EventIterator, EventIteratorType, GetEventsRequest, Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore import Store
    from execstore.watcher import Event, EventStore, Watcher

__all__ = ["command"]

_LINES_AT_ONCE: Final = 100
_VALUE_WIDTH: Final = 100
_SHORT_ID_WIDTH: Final = 10  # "e-" and eight digits; the commands take the beginning of an ID
_NODES_REMEMBERED: Final = 10_000
_STORE_TYPES: Final = {name.lower(): name for name in ("ExecutionUpsert", "ExecutionEvent")}
"""The types that the store itself writes, by how they may be typed. Other programs may store others."""


def _parse_position(ctx: click.Context, parameter: click.Parameter, value: str | None) -> EventIterator | None:
    match value:
        case None:
            return None
        case "trim-horizon":
            return EventIterator.trim_horizon()
        case "latest":
            return EventIterator.latest()
        case _ if value.isascii() and value.isdecimal() and len(value) < 20:
            return EventIterator.at_sequence_number(int(value))
    raise click.BadParameter(f"{value!r} is not trim-horizon, latest or an event's number", ctx, parameter)


def _parse_operations(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Operation, ...]:
    for value in values:
        if value.upper() not in list(Operation):
            raise click.BadParameter(f"{value!r} is no operation; it is one of {', '.join(Operation)}", ctx, parameter)
    return tuple(Operation(value.upper()) for value in values)


def _parse_types(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    return tuple(_STORE_TYPES.get(value.lower(), value) for value in values)


@click.command(name="watch")
@click.option(
    "--from",
    "position",
    metavar="WHERE",
    callback=_parse_position,
    help="Begin at trim-horizon (the oldest event there is), latest (what comes from now on), or an event's number.  "
    "[default: latest; with --name trim-horizon]",
)
@click.option(
    "--type",
    "object_types",
    metavar="T",
    multiple=True,
    callback=_parse_types,
    help="Only this type, ExecutionUpsert or ExecutionEvent, or one that another program stores; repeat.",
)
@click.option("--operation", "operations", metavar="O", multiple=True, callback=_parse_operations, help="Only CREATE …")
@click.option(
    "--name", metavar="WATCHER", help="Keep a checkpoint under this name; the next time, go on behind what was printed."
)
@click.option("--node", metavar="N", help="Only what is about executions of this node.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many events.")
@time_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    position: EventIterator | None,
    object_types: tuple[str, ...],
    operations: tuple[Operation, ...],
    name: str | None,
    node: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print events as they come, until Ctrl-C.

    A line each: number, time, operation, type, execution, and its state, before and after. Where a checkpoint is
    stored under --name, --from is of no matter; what was printed just before it was killed may be printed again.

    \b
    execstore watch --from trim-horizon --type ExecutionUpsert
    execstore watch --json | jq .object.Current.ComputeState
    tail -f events/*.jsonl | jq .seqNum          the same, in the store's folder
    """
    settings: Settings = ctx.obj
    event_filter = EventFilter(object_types, operations)
    if position is None:
        position = EventIterator.latest() if name is None else EventIterator.trim_horizon()
    with _open(settings, name is not None) as store:
        follower = _Follower(store, event_filter, position, name, node)
        try:
            follower.say_what_is_missing()
            for event in follower.events(limit):
                if as_json:
                    print_json(_document(event))
                else:
                    click.echo(_line(event, settings.time_style, terminal_width()))
        except EventsCompactedError as error:
            reason = f"event {error.requested} is no longer in the event log, the oldest is {error.oldest}"
            note(f"execstore: {reason}; begin there with --from trim-horizon")
            ctx.exit(NO)
        finally:
            follower.checkpoint()


def _open(settings: Settings, to_write: bool) -> Store:
    return open_to_write(settings) if to_write else open_to_read(settings)


class _Follower:
    """Reads events on behalf of the command line; ``name`` is that of the checkpoint, ``None`` if there is none."""

    def __init__(
        self,
        store: Store,
        event_filter: EventFilter,
        position: EventIterator,
        name: str | None,
        node: str | None = None,
    ) -> None:
        # Now, and not by the first wait: Python loses a Ctrl-C that comes in the middle of an import.
        import execstore.notify  # noqa: F401, PLC0415
        from execstore.event_log import StoreEventLog  # noqa: PLC0415
        from execstore.watcher import EventStore, PlainSerializer, WatcherManager  # noqa: PLC0415

        with contextlib.suppress(ImportError):
            import inotify_simple  # noqa: F401, PLC0415

        # Types of a user's own aren't known here, and what is printed is the JSON as it stands.
        self._event_store: EventStore = EventStore(StoreEventLog(store), serializer=PlainSerializer())
        self._filter = event_filter
        self._nodes = None if node is None else _Nodes(store, node)
        self._may_miss = position.type is EventIteratorType.TRIM_HORIZON
        self._position = position
        self._watcher: Watcher | None = None
        if name is not None:
            self._watcher = WatcherManager(self._event_store).create(name, initial_event_iterator=position)
            self._position = self._watcher.stats().next_event_iterator
        self._stored = self._position
        self._is_unread = threading.Event()
        if _is_pipe():
            threading.Thread(target=self._wait_for_closed_pipe, name="execstore-pipe", daemon=True).start()

    def say_what_is_missing(self) -> None:
        """Say on stderr what a wait might be in vain for: events far ahead, and types that nobody has stored yet."""
        latest = self._event_store.get_latest_event_num()
        if self._position.type is EventIteratorType.LATEST:
            # What comes while it is looked for types must not be passed.
            self._position = EventIterator.after_sequence_number(latest)
        elif self._position.sequence_number > latest + 1:
            note(f"execstore: the newest event is {latest}; waiting for event {self._position.sequence_number}")
        for name in dict.fromkeys(self._filter.object_types):
            if name not in _STORE_TYPES.values() and not self._has_type(name):
                own = " and ".join(_STORE_TYPES.values())
                note(
                    f"execstore: the log holds no event of type {one_line(name)!r} so far, waiting for one; "
                    f"the store's own types are {own}"
                )

    def _has_type(self, name: str) -> bool:
        """Whether there is an event of a type, or one that can't be read and might be."""
        position = EventIterator.trim_horizon()
        while not self._is_unread.is_set():
            try:
                response = self._event_store.get_events(GetEventsRequest(position, 1, EventFilter((name,))), 0)
            except (EventsCompactedError, DeserializationError):
                return True  # whoever follows the log is told
            if response.events:
                return True
            if response.next_event_iterator == position:
                return False
            position = response.next_event_iterator
        return True

    def events(self, limit: int | None) -> Iterator[Event]:
        """The events, until so many were given or nobody reads any more. Asked for the next, one counts as printed."""
        left = math.inf if limit is None else limit
        wanted = _LINES_AT_ONCE
        while left > 0 and not self._is_unread.is_set():
            request = GetEventsRequest(self._position, int(min(left, wanted)), self._filter)
            try:
                response = self._event_store.get_events(request, math.inf, cancelled=self._is_unread.is_set)
            except EventsCompactedError as error:
                if not self._may_miss:
                    raise
                note(f"the events {error.requested} to {error.oldest - 1} were collected before they were read")
                self._position = EventIterator.at_sequence_number(error.oldest)
                continue
            except DeserializationError as error:
                if request.limit == 1:
                    note(f"execstore: {error}; going on behind it")
                    self._position = EventIterator.after_sequence_number(error.seq_num)
                else:
                    wanted = 1  # so that those before the damaged one are printed first
                continue
            for event in response.events:
                if self._nodes is None or self._nodes.takes(event):
                    yield event
                    left -= 1
                self._position = EventIterator.after_sequence_number(event.seq_num)
            self._position = response.next_event_iterator
            wanted = _LINES_AT_ONCE
            self.checkpoint()

    def checkpoint(self) -> None:
        """Store how far it has come, if it has a name."""
        if self._watcher is not None and self._position != self._stored and not self._event_store.closed:
            with held_back():
                if self._position.type is EventIteratorType.AFTER_SEQUENCE_NUMBER:
                    self._watcher.checkpoint(self._position.sequence_number)
                self._stored = self._position

    def _wait_for_closed_pipe(self) -> None:
        """Notice that the reader went away (``| head -1``) also while there is nothing to print."""
        if sys.platform == "win32":
            return  # the next line printed tells
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        with contextlib.suppress(OSError):
            poll.poll()
            self._is_unread.set()
            self._event_store.wake()


class _Nodes:
    """Tells whether an event is about an execution of one node."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node
        self._known: dict[str, str] = {}

    def takes(self, event: Event) -> bool:
        value = event.object
        if not isinstance(value, dict):
            return False
        if event.object_type == "ExecutionUpsert":
            execution = _member(value, "Current") or _member(value, "Previous")
            self._remember(str(execution.get("ID", "")), str(execution.get("NodeID", "")))
            return execution.get("NodeID") == self._node
        # It names its execution, which tells the node, if it is still there.
        execution_id = value.get("ExecutionID")
        if event.object_type != "ExecutionEvent" or not isinstance(execution_id, str):
            return False
        if execution_id not in self._known:
            try:
                self._remember(execution_id, self._store.get_execution(execution_id).node_id)
            except ExecutionNotFoundError:
                return False
        return self._known[execution_id] == self._node

    def _remember(self, execution_id: str, node: str) -> None:
        if len(self._known) >= _NODES_REMEMBERED:
            self._known.clear()
        self._known[execution_id] = node


def _is_pipe() -> bool:
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # no real file
        return False
    return hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _document(event: Event) -> dict[str, Any]:
    """An event as it stands in the log, but for the checksum."""
    return {
        "seqNum": event.seq_num,
        "operation": event.operation.value,
        "objectType": event.object_type,
        "object": event.object,
        "timestamp": event.timestamp,
    }


def _line(event: Event, style: TimeStyle, width: int | None) -> str:
    if width is not None and width < WIDE_COLUMNS:
        return _short_line(event, style, width)
    if style is TimeStyle.AGE:
        style = TimeStyle.UTC  # the age of a line that stays on the screen would soon be wrong
    execution_id, what = _describe(event, _VALUE_WIDTH)
    cells = [
        f"{event.seq_num:>6}",
        format_time(event.timestamp, style, 0),
        f"{event.operation.value:<6}",
        _padded(one_line(event.object_type), 15),
        _padded(one_line(execution_id), 1),
        what,
    ]
    return "  ".join(cells).rstrip()


def _short_line(event: Event, style: TimeStyle, width: int) -> str:
    """The same for a terminal that hasn't the room: the time without its date, the beginning of the ID."""
    time_text = format_time(event.timestamp, TimeStyle.UTC if style is TimeStyle.AGE else style, 0)
    if style is TimeStyle.AGE:
        time_text = time_text[-8:]
    head = f"{event.seq_num:>6}  {time_text}  {event.operation.value:<6}  "
    room = max(width - len(head), 8)
    execution_id, what = _describe(event, max(room - _SHORT_ID_WIDTH - 2, 8))
    if not execution_id:
        return head + cut(f"{one_line(event.object_type)}: {what}", room)
    return head + _padded(cut(one_line(execution_id)[:_SHORT_ID_WIDTH], _SHORT_ID_WIDTH), _SHORT_ID_WIDTH) + f"  {what}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_width(text)) if text else "-"


def _describe(event: Event, value_width: int) -> tuple[str, str]:
    """The ID of the execution that an event is about, "" if none, and what happened, cut if it is free text."""
    value = event.object
    if isinstance(value, dict) and event.object_type == "ExecutionUpsert":
        old, new = _member(value, "Previous"), _member(value, "Current")
        execution_id = str((new or old).get("ID", ""))
        states = [_state(each) for each in (old, new) if each]
        if not new:
            return execution_id, " → ".join([*states, "deleted"])
        return execution_id, " → ".join(dict.fromkeys(states))
    if isinstance(value, dict) and event.object_type == "ExecutionEvent":
        text = f"{value.get('Topic', '')}: {value.get('Message', '')}"
        return str(value.get("ExecutionID", "")), cut(one_line(text), value_width)
    return "", cut(one_line(encode(value).decode()), value_width)


def _member(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _state(execution: Mapping[str, Any]) -> str:
    state = str(_member(execution, "ComputeState").get("StateType", "?"))
    return click.style(one_line(state), fg=state_colour(state))
