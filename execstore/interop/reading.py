"""Reading all of a store in pieces, fast and in little memory: what exports are made of.

Each piece is one moment of the store; an execution and its events always belong together. What changes while an export
runs may be in it or not. A record that is damaged is left out, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from execstore import records
from execstore.codec import CodecError
from execstore.errors import DeserializationError, InvalidExecutionError, StoreCorruptedError
from execstore.event_log import StoreEventLog
from execstore.schema import (
    CHECKPOINTS,
    EXECUTION_EVENT,
    EXECUTION_EVENTS,
    EXECUTION_UPSERT,
    EXECUTIONS,
    JOB_INDEX,
    SEQUENCE_TRACKING,
    STATE_INDEX,
)
from execstore.watcher.lines import LineEnds, parse_ends, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.engine import Reader
    from execstore.models import Event, Execution
    from execstore.states import ExecutionState
    from execstore.store import Store

__all__ = ["LogLine", "Selection", "Stored", "checkpoints", "execution_of", "executions", "log", "one", "store_id"]

_PIECE: Final = 64
_LOG_PIECE: Final = 256


@dataclass(frozen=True, slots=True)
class Selection:
    """Which executions to take: those that fit all that is given.

    ``since_ns`` is the earliest ``modify_time``, nanoseconds since the epoch.
    """

    job_id: str | None = None
    state: ExecutionState | None = None
    since_ns: int | None = None

    def __bool__(self) -> bool:
        return (self.job_id, self.state, self.since_ns) != (None, None, None)

    def takes(self, execution: Execution) -> bool:
        """Whether an execution is among them."""
        return (
            self.job_id in {None, execution.job_id}
            and self.state in {None, execution.compute_state.state_type}
            and (self.since_ns is None or execution.modify_time >= self.since_ns)
        )


class Stored(NamedTuple):
    """An execution and its events. ``done`` is how much of all has been read with it, from 0 to 1."""

    execution: Execution
    events: list[Event]
    done: float


class LogLine(NamedTuple):
    """A line of the event log, and what its ends say."""

    ends: LineEnds
    line: bytes


def executions(store: Store, selection: Selection, skipped: list[str]) -> Iterator[Stored]:
    """The chosen executions with their events, by ID. ``skipped`` gets a sentence for each that can't be read."""
    names = store.look(lambda reader: _sorted_names(reader, selection))
    for start in range(0, len(names), _PIECE):
        piece = names[start : start + _PIECE]
        for name, record, lines in store.look(partial(_read_piece, names=piece)):
            if record is None:
                continue  # it was deleted since its name was read
            try:
                execution = records.parse_execution(record)
            except (CodecError, InvalidExecutionError) as error:
                skipped.append(f"{EXECUTIONS}/{name}.json: {error}")
                continue
            if selection.takes(execution):
                yield Stored(execution, _events(lines, execution.id, skipped), (start + 1) / len(names))


def _sorted_names(reader: Reader, selection: Selection) -> list[str]:
    if selection.job_id is not None:
        names = reader.members(JOB_INDEX, selection.job_id)
    elif selection.state is not None:
        names = reader.members(STATE_INDEX, selection.state.value)
    else:
        names = reader.record_names(EXECUTIONS)
    return sorted(names, key=lambda name: _id_of(reader, name))


def _id_of(reader: Reader, name: str) -> str:
    key = reader.key_of(name)
    if key is not None:
        return key
    # A name that had to be cut short: only the record knows the ID.
    record = reader.record_named(EXECUTIONS, name)
    try:
        return records.parse_execution(record or b"").id
    except (CodecError, InvalidExecutionError):
        return name


def _read_piece(reader: Reader, names: list[str]) -> list[tuple[str, bytes | None, bytes]]:
    piece = []
    for name in names:
        record = reader.record_named(EXECUTIONS, name)
        lines = None if record is None else reader.lines(EXECUTION_EVENTS, _id_of(reader, name))
        piece.append((name, record, lines or b""))
    return piece


def _events(lines: bytes, execution_id: str, skipped: list[str]) -> list[Event]:
    events = []
    for number, line in enumerate(lines.rstrip(b"\n").split(b"\n") if lines else (), 1):
        try:
            events.append(records.parse_event(line))
        except (CodecError, InvalidExecutionError) as error:
            skipped.append(f"event {number} of execution {execution_id}: {error}")
    return events


def log(store: Store, first: int = 1) -> Iterator[LogLine]:
    """The event log from number ``first`` on, or from the oldest event there is, up to what is the latest now.

    Raises: StoreCorruptedError for a line that isn't what was written.
    """
    source = StoreEventLog(store)
    latest = source.latest()
    while first <= latest:
        lines = source.read(first, min(_LOG_PIECE, latest - first + 1))
        if not lines:
            return
        for number, line in lines:
            try:
                yield LogLine(parse_ends(line, number), line)
            except DeserializationError as error:
                remedy = "run 'execstore repair', then export again"
                raise StoreCorruptedError(f"{store.path}/events", error.reason, remedy) from None
        first = lines[-1][0] + 1


def execution_of(line: LogLine) -> str | None:
    """The ID of the execution that an event of the log is of; ``None`` if it is of something else, or doesn't say.

    Bacalhau's own ``ExecutionEvent`` lines, which came with an import, don't.
    """
    if line.ends.object_type not in {EXECUTION_UPSERT, EXECUTION_EVENT}:
        return None
    found = parse_object(line.line, line.ends.seq_num)
    if not isinstance(found, dict):
        return None
    if line.ends.object_type == EXECUTION_UPSERT:
        found = found.get("Current") or found.get("Previous") or {}
        return found.get("ID") or None
    return found.get("ExecutionID") or None


def one(store: Store, execution_id: str, skipped: list[str]) -> Stored | None:
    """An execution and its events as they are now, ``None`` if it isn't there or can't be read."""
    record, lines = store.look(
        lambda reader: (reader.record(EXECUTIONS, execution_id), reader.lines(EXECUTION_EVENTS, execution_id))
    )
    if record is None:
        return None
    try:
        execution = records.parse_execution(record)
    except (CodecError, InvalidExecutionError) as error:
        skipped.append(f"execution {execution_id}: {error}")
        return None
    return Stored(execution, _events(lines or b"", execution_id, skipped), 0.0)


def store_id(store: Store) -> str:
    """What tells this store from every other: it is made up when a store is made, and stays."""
    return store.store_id


def checkpoints(store: Store, *, of_watchers: bool) -> list[tuple[str, int]]:
    """The store's checkpoints, or the watchers', by name.

    Raises: StoreCorruptedError for one that can't be read.
    """
    collection = CHECKPOINTS if of_watchers else SEQUENCE_TRACKING

    def look(reader: Reader) -> list[tuple[str, int]]:
        found = []
        for name in reader.record_names(collection):
            data = reader.record_named(collection, name)
            if data is not None:
                try:
                    found.append(records.parse_checkpoint(data))
                except CodecError as error:
                    raise StoreCorruptedError(f"{store.path}/{collection}/{name}.json", error.reason) from None
        return sorted(found)

    return store.look(look)
