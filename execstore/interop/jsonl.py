"""A whole store as one stream of JSON, a line an item: written and read. The format, by example::

    {"type":"header","format":"execstore-jsonl","version":1}
    {"type":"execution","execution":{"ID":"e-1",...}}
    {"type":"execution_event","execution_id":"e-1","event":{"Message":"created",...}}
    {"type":"event","event":{"seqNum":7,"operation":"CREATE",...,"timestamp":1795489652174612621}}
    {"type":"checkpoint","name":"requester","sequence_number":25}
    {"type":"watcher_checkpoint","watcher_id":"logger","sequence_number":7}
    {"type":"end","executions":1,"execution_events":1,"events":1,"checkpoints":2,"latest_event_num":7}

Executions come in the order of their IDs, each followed by its events; then the event log; then checkpoints by name.
The last line tells a whole stream from one that was cut off. All of it follows from what the store holds, so exporting
what was imported gives the same bytes. A part of a store has ``"selection":{"job":...,"state":...,"since":...}`` in its
header; its ``event`` lines have gaps, so an import leaves them out, and it has no checkpoints and no
``latest_event_num``. What a reader must know to read on has a new ``version``.
"""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING, Any, Final

from execstore import codec, records
from execstore.codec import CodecError
from execstore.errors import DeserializationError, ExecStoreError, InvalidExecutionError, SourceDamagedError
from execstore.interop.items import CheckpointItem, ExecutionItem, Item, LogEnd, LogItem
from execstore.members import read_count, read_object, read_text
from execstore.models import Event, Execution
from execstore.watcher.lines import encode_line, parse_ends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "FORMAT",
    "VERSION",
    "JsonlReader",
    "checkpoint_line",
    "end_line",
    "event_line",
    "execution_event_line",
    "execution_line",
    "header_line",
]

FORMAT: Final = "execstore-jsonl"
VERSION: Final = 1
LONGEST_LINE_BYTES: Final = 1 << 30

_EVENT_PREFIX: Final = b'{"type":"event","event":'


def header_line(selection: Mapping[str, Any] | None = None) -> bytes:
    """The first line. ``selection`` says what was chosen, if not everything was."""
    header: dict[str, Any] = {"type": "header", "format": FORMAT, "version": VERSION}
    if selection:
        header["selection"] = dict(selection)
    return codec.encode(header) + b"\n"


def execution_line(execution: Execution) -> bytes:
    """The line of an execution that was read from a store."""
    return b'{"type":"execution","execution":%b}\n' % records.compact(records.encode_execution(execution, trusted=True))


def execution_event_line(execution_id_json: bytes, event_json: bytes) -> bytes:
    """The line of one of an execution's events, out of its encoded parts."""
    return b'{"type":"execution_event","execution_id":%b,"event":%b}\n' % (execution_id_json, event_json)


def event_line(log_line: bytes) -> bytes:
    """The line of an event of the event log, out of its line there."""
    return _EVENT_PREFIX + log_line + b"}\n"


def checkpoint_line(name: str, sequence_number: int, *, of_watcher: bool) -> bytes:
    """The line of a checkpoint of the store, or of a watcher."""
    kind, name_member = ("watcher_checkpoint", "watcher_id") if of_watcher else ("checkpoint", "name")
    return codec.encode({"type": kind, name_member: name, "sequence_number": sequence_number}) + b"\n"


def end_line(
    *, executions: int, execution_events: int, events: int, checkpoints: int, latest_event_num: int | None
) -> bytes:
    """The last line: how many lines of each kind there were. ``latest_event_num`` is ``None`` for a part of a store."""
    counts = {
        "type": "end",
        "executions": executions,
        "execution_events": execution_events,
        "events": events,
        "checkpoints": checkpoints,
    }
    if latest_event_num is not None:
        counts["latest_event_num"] = latest_event_num
    return codec.encode(counts) + b"\n"


class JsonlReader:
    """Reads a stream line by line. ``skipped`` and ``notes`` are sentences, filled while ``items`` is read."""

    def __init__(self, stream: IO[bytes], name: str, size_bytes: int | None = None) -> None:
        """``name`` is what to call the stream in errors; ``size_bytes`` its length, if it is known."""
        self.path = name
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self._stream = stream
        self._size_bytes = size_bytes
        self._read_bytes = 0
        self._line = 0
        self._selection = False
        self._counts = dict.fromkeys(("executions", "execution_events", "events", "checkpoints"), 0)
        self._last_seq_num = 0

    def items(self) -> Iterator[Item]:
        """Everything, in the order in which an import takes it.

        An execution is given once its last event has been read, so that one with a mistake is never given in part.

        Raises: SourceDamagedError, naming the line.
        """
        try:
            yield from self._items()
        except (CodecError, InvalidExecutionError, DeserializationError) as error:
            raise self._mistake(_reason(error)) from None

    def _mistake(self, reason: str) -> SourceDamagedError:
        return SourceDamagedError(self.path, f"line {self._line}", reason)

    def _items(self) -> Iterator[Item]:
        self._read_header()
        execution: ExecutionItem | None = None
        events: list[bytes] = []
        while True:
            line = self._next_line()
            value = _decode(line)
            kind = value.get("type") if isinstance(value, dict) else None
            if not isinstance(kind, str):
                raise self._mistake("it has no type")
            if kind == "execution_event":
                events.append(self._execution_event(value, execution))
                continue
            if execution is not None:
                yield execution.with_events(events, self._done())
                execution, events = None, []
            if kind == "execution":
                self._counts["executions"] += 1
                members = read_object(value, "execution", "")
                execution = ExecutionItem.of(Execution.from_dict(members, member="execution"))
            elif kind == "event":
                yield from self._event(line, value)
            elif kind in {"checkpoint", "watcher_checkpoint"}:
                yield self._checkpoint(value, of_watcher=kind == "watcher_checkpoint")
            elif kind == "end":
                yield from self._end(value)
                return
            else:
                raise self._mistake(f"a line of type {kind!r}, which isn't known")

    def _read_header(self) -> None:
        value = codec.decode_strict(self._next_line())
        if not isinstance(value, dict) or value.get("type") != "header" or value.get("format") != FORMAT:
            raise self._mistake(
                f'not an export of execstore: it begins with {{"type":"header","format":"{FORMAT}",...}}'
            )
        version = value.get("version")
        if version != VERSION or isinstance(version, bool):
            raise self._mistake(f"it is of version {version!r}, this program reads version {VERSION}")
        if value.get("selection"):
            self._selection = True
            self.notes.append(f"a part of a store: {codec.encode(value['selection']).decode()}")

    def _next_line(self) -> bytes:
        """The next line that isn't blank, without its newline."""
        while True:
            line = self._stream.readline(LONGEST_LINE_BYTES)
            self._line += 1
            self._read_bytes += len(line)
            if not line:
                raise self._mistake('the stream ends here, without its last line (of type "end"): it was cut off')
            if len(line) == LONGEST_LINE_BYTES:
                raise self._mistake(f"longer than {LONGEST_LINE_BYTES} bytes")
            if not line.isspace():
                return line.rstrip(b"\r\n")

    def _done(self) -> float | None:
        return self._read_bytes / self._size_bytes if self._size_bytes else None

    def _execution_event(self, value: dict[str, Any], execution: ExecutionItem | None) -> bytes:
        execution_id = read_text(value, "execution_id", "")
        if execution is None or execution.execution.id != execution_id:
            raise self._mistake(f"an event of {execution_id!r}, which doesn't stand behind that execution")
        self._counts["execution_events"] += 1
        if value.get("event") is None:
            raise self._mistake("it has no event")
        return records.encode_event(Event.from_dict(value["event"], member="event"))

    def _event(self, line: bytes, value: dict[str, Any]) -> Iterator[LogItem]:
        self._counts["events"] += 1
        event = dict(read_object(value, "event", ""))
        seq_num = event.get("seqNum")
        if isinstance(seq_num, bool) or not isinstance(seq_num, int):
            raise self._mistake("an event without a seqNum")
        last = self._last_seq_num
        if seq_num <= last or (seq_num != last + 1 and last and not self._selection):
            raise self._mistake(f"event {seq_num} stands behind event {last}")
        self._last_seq_num = seq_num
        if line.startswith(_EVENT_PREFIX) and line.endswith(b"}"):
            # Taken over as it stands, with its checksum, so that it stays the same byte for byte.
            log_line = line[len(_EVENT_PREFIX) : -1]
            ends = parse_ends(log_line, seq_num)
        else:
            event.pop("crc32", None)
            log_line = codec.encode(event)
            ends = parse_ends(log_line, seq_num)
        if "crc32" not in event:
            object_json = codec.encode(event["object"])
            log_line = encode_line(seq_num, ends.operation, ends.object_type, object_json, ends.timestamp)
        if not self._selection:
            yield LogItem(seq_num, log_line, ends.timestamp)

    def _checkpoint(self, value: dict[str, Any], *, of_watcher: bool) -> CheckpointItem:
        self._counts["checkpoints"] += 1
        name = read_text(value, "watcher_id" if of_watcher else "name", "")
        if not name:
            raise self._mistake("a checkpoint without a name")
        codec.check(name, "name")
        return CheckpointItem(name, read_count(value, "sequence_number", ""), of_watcher)

    def _end(self, value: dict[str, Any]) -> Iterator[LogEnd]:
        for name, counted in self._counts.items():
            if name in value and value[name] != counted:
                raise self._mistake(f"there should be {value[name]!r} {name}, there are {counted}: lines are missing")
        if self._selection and self._counts["events"]:
            self.skipped.append(
                f"{self._counts['events']} events of the event log: a part of a log can't be taken over"
            )
        if not self._selection:
            latest = max(read_count(value, "latest_event_num", ""), self._last_seq_num)
            yield LogEnd(latest)
        if self._stream.readline(LONGEST_LINE_BYTES).strip():
            self._line += 1
            raise self._mistake("there are more lines behind the last one")


def _decode(line: bytes) -> Any:
    """As ``codec.decode_strict``. What was written by this program is read a good deal faster.

    JSON that encodes to the very same bytes again has none of the faults that the strict reader looks for, but for its
    depth; that is at most the number of its brackets.
    """
    if line.count(b"{") + line.count(b"[") < codec.MAX_DEPTH:
        with contextlib.suppress(CodecError, InvalidExecutionError):
            value = codec.decode(line)
            if codec.encode_trusted(value) == line:
                return value
    return codec.decode_strict(line)


def _reason(error: ExecStoreError) -> str:
    if isinstance(error, CodecError):
        return f"column {error.column}: {error.reason}" if error.column else error.reason
    if isinstance(error, InvalidExecutionError):
        return f"{error.member}: {error.reason}" if error.member else error.reason
    return error.reason if isinstance(error, DeserializationError) else str(error)
