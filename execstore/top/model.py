"""What ``top`` shows, as immutable values, and the pure functions that make them of what a store gives."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.codec import encode
from execstore.errors import InvalidExecutionError
from execstore.schema import EXECUTION_EVENT, EXECUTION_UPSERT
from execstore.states import ExecutionState
from execstore.top.trend import StateChange, Trend

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from execstore.event_log_status import EventLogStatus, WatcherStatus
    from execstore.history import Revision
    from execstore.models import Event, Execution
    from execstore.top.filters import Filter
    from execstore.watcher import Event as LogEvent

__all__ = [
    "Detail",
    "EventRow",
    "ExecutionRow",
    "Latency",
    "Reading",
    "Snapshot",
    "event_row",
    "execution_row",
    "is_live",
    "laggard_of",
    "latency_of",
    "rate_of",
    "state_change",
]

_NS_PER_SECOND: Final = 1_000_000_000
_TEXT_LENGTH: Final = 1000  # more of a message than any terminal has room for in a line


class ExecutionRow(NamedTuple):
    """An execution in a list. Times are nanoseconds since the epoch."""

    execution_id: str
    job_id: str
    job_name: str
    namespace: str
    node_id: str
    state: str
    message: str
    revision: int
    create_time: int
    modify_time: int


class EventRow(NamedTuple):
    """An event of the log. ``states`` are those before and after, the same one once; ``text`` says what happened."""

    seq_num: int
    time_ns: int
    operation: str
    object_type: str
    execution_id: str
    job_id: str
    job_name: str
    states: tuple[str, ...]
    text: str


class Reading(NamedTuple):
    """The two numbers that a rate is made of, and when they were read: nanoseconds of a clock that only goes up."""

    at_ns: int
    latest_event: int
    transaction: int | None


class Latency(NamedTuple):
    """Of ``samples`` changes: from the moment that each began to be written to the moment that ``top`` saw it."""

    median_ns: int
    worst_ns: int
    samples: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of a store, and what led to it.

    ``counts`` has a number for each state. ``executions`` are those that the selection takes, the oldest first (of a
    state that is an end: the newest change first), and ``are_all`` says whether there are no more. ``events`` are the
    newest of the log, the newest last, and ``skipped_events`` how many were too many to be looked at. Rates are of the
    last seconds and of all processes, ``None`` until there are two looks. ``latency`` is ``None`` if it can't be known.
    ``problems`` are sentences.
    """

    time_ns: int
    path: str
    counts: Mapping[str, int]
    trend: Trend
    oldest_live_age_ns: int | None
    selection: Filter
    executions: tuple[ExecutionRow, ...]
    are_all: bool
    events: tuple[EventRow, ...]
    skipped_events: int
    events_per_second: float | None
    commits_per_second: float | None
    latency: Latency | None
    transaction: int | None
    event_log: EventLogStatus
    journal_bytes: int
    journal_used_bytes: int
    problems: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many executions there are."""
        return sum(self.counts.values())

    @property
    def live(self) -> int:
        """How many of them are live."""
        return sum(count for state, count in self.counts.items() if is_live(state))

    @property
    def laggard(self) -> WatcherStatus | None:
        """The watcher that is furthest behind; ``None`` if none is."""
        return laggard_of(self.event_log.watchers)

    def to_dict(self, chosen: Filter, limit: int) -> dict[str, Any]:
        """A JSON object, with at most ``limit`` of the executions and events that ``chosen`` takes."""
        executions = [row for row in self.executions if chosen.takes_execution(row)]
        events = [row for row in self.events if chosen.takes_event(row)][-limit:]
        latency, laggard = self.latency, self.laggard
        return {
            "time_ns": self.time_ns,
            "path": self.path,
            "executions": self.total,
            "live": self.live,
            "states": {state: count for state, count in self.counts.items() if count},
            "oldest_live_age_ns": self.oldest_live_age_ns,
            "events_per_second": self.events_per_second,
            "commits_per_second": self.commits_per_second,
            "seen_after_ns": None if latency is None else latency._asdict(),
            "transaction": self.transaction,
            "event_log": self.event_log.to_dict(),
            "laggard": None if laggard is None else laggard.to_dict(),
            "journal_bytes": self.journal_bytes,
            "journal_used_bytes": self.journal_used_bytes,
            "trend": self.trend.to_dict(),
            "filter": str(chosen),
            "shown": [row._asdict() for row in executions[:limit]],
            "shown_are_all": self.are_all and len(executions) <= limit,
            "events": [row._asdict() for row in events],
            "skipped_events": self.skipped_events,
            "problems": list(self.problems),
        }


@dataclass(frozen=True, slots=True)
class Detail:
    """One execution in full. ``execution`` is ``None`` if it isn't in the store (any more)."""

    execution_id: str
    execution: Execution | None
    events: tuple[Event, ...]
    history: tuple[Revision, ...]


def is_live(state: str) -> bool:
    """Whether executions in a state, given by its name, are live."""
    try:
        return ExecutionState(state).is_executing
    except ValueError:
        return False


def laggard_of(watchers: Iterable[WatcherStatus]) -> WatcherStatus | None:
    """The watcher that is furthest behind, and has lost most; ``None`` if none is behind."""
    behind = [watcher for watcher in watchers if watcher.lag]
    return max(behind, key=lambda watcher: (watcher.lag, watcher.lost), default=None)


def rate_of(readings: Sequence[Reading], window_ns: int) -> tuple[float | None, float | None]:
    """Events and commits a second between the newest reading and the one that is at least ``window_ns`` older.

    The oldest stands in if none is as old; a rate is ``None`` if there is but one reading of its number.
    """
    events = [(reading.at_ns, reading.latest_event) for reading in readings]
    commits = [(reading.at_ns, reading.transaction) for reading in readings if reading.transaction is not None]
    return _rate(events, window_ns), _rate(commits, window_ns)


def _rate(counted: Sequence[tuple[int, int]], window_ns: int) -> float | None:
    if len(counted) < 2:
        return None
    newest_ns, newest = counted[-1]
    older = [each for each in counted[:-1] if newest_ns - each[0] >= window_ns]
    oldest_ns, oldest = older[-1] if older else counted[0]
    return max(newest - oldest, 0) * _NS_PER_SECOND / (newest_ns - oldest_ns) if newest_ns > oldest_ns else None


def latency_of(samples_ns: Sequence[int]) -> Latency | None:
    """What the samples say; ``None`` if there are none."""
    if not samples_ns:
        return None
    return Latency(int(statistics.median(samples_ns)), max(samples_ns), len(samples_ns))


# --- from what the log holds, which anybody may have written ----------------------------------------------------------


def execution_row(record: Mapping[str, Any]) -> ExecutionRow:
    """The row of an execution's JSON object. What has another type than it should is left empty."""
    job = _object(record.get("Job"))
    state = _object(record.get("ComputeState"))
    return ExecutionRow(
        execution_id=_text(record.get("ID")),
        job_id=_text(record.get("JobID")),
        job_name=_text(job.get("Name")),
        namespace=_text(record.get("Namespace")),
        node_id=_text(record.get("NodeID")),
        state=_state(state),
        message=_text(state.get("Message"))[:_TEXT_LENGTH],
        revision=_integer(record.get("Revision")),
        create_time=_integer(record.get("CreateTime")),
        modify_time=_integer(record.get("ModifyTime")),
    )


def event_row(event: LogEvent) -> EventRow:
    """The row of an event whose object is plain JSON."""
    value = _object(event.object)
    states: tuple[str, ...] = ()
    job_id = job_name = ""
    if event.object_type == EXECUTION_UPSERT:
        old, new = _object(value.get("Previous")), _object(value.get("Current"))
        shown = execution_row(new or old)
        execution_id, job_id, job_name = shown.execution_id, shown.job_id, shown.job_name
        states = tuple(dict.fromkeys(_state(_object(each.get("ComputeState"))) for each in (old, new) if each))
        text = " → ".join([*states, *([] if new else ["deleted"])])
        if new and shown.message:
            text += f": {shown.message}"
    elif event.object_type == EXECUTION_EVENT:
        execution_id = _text(value.get("ExecutionID"))
        text = ": ".join(filter(None, (_text(value.get("Topic")), _text(value.get("Message")))))
    else:
        execution_id = ""
        text = encode(event.object).decode()
    return EventRow(
        event.seq_num,
        event.timestamp,
        event.operation.value,
        event.object_type,
        execution_id,
        job_id,
        job_name,
        states,
        text[:_TEXT_LENGTH],
    )


def state_change(event: LogEvent) -> StateChange:
    """What an event means for the number of executions in each state."""
    if event.object_type != EXECUTION_UPSERT:
        return StateChange(event.timestamp)
    value = _object(event.object)
    old, new = (_object(value.get(name)) for name in ("Previous", "Current"))
    states = [_state(_object(each.get("ComputeState"))) if each else "" for each in (old, new)]
    return StateChange(event.timestamp, *states)


def _state(state: Mapping[str, Any]) -> str:
    try:
        return ExecutionState.parse(state.get("StateType")).value
    except InvalidExecutionError:
        return "?"


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0
