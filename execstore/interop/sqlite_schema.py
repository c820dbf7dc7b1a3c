"""The tables of an SQLite export, and the rows of each: pure functions.

Times are there twice: as nanoseconds since 1970 (``..._ns``), and as text in UTC that SQLite's date functions,
Datasette and pandas read. ``json`` holds the whole thing, in the store's own words. SQLite's integers have 64 bits with
a sign. The reference's versions and sequence numbers have no sign: their columns have no type, so that one beyond
SQLite's can stand there as text and isn't rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from execstore import codec, records
from execstore.errors import InvalidExecutionError
from execstore.timestamps import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.models import Event, Execution
    from execstore.watcher.lines import LineEnds

__all__ = [
    "EMPTY",
    "FORMAT_VERSION",
    "INDEXES",
    "INSERT",
    "INSERT_NEWER_JOB",
    "TABLES",
    "event_rows",
    "execution_row",
    "integer",
    "job_row",
    "log_row",
]

FORMAT_VERSION: Final = 1

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "jobs": (
        "id TEXT PRIMARY KEY",
        "namespace TEXT",
        "name TEXT",
        "type TEXT",
        "priority INTEGER",
        "count INTEGER",
        "version",
        "modify_time_ns INTEGER",  # of the execution that it was taken from, the newest one
        "json TEXT",
    ),
    "executions": (
        "id TEXT PRIMARY KEY",
        "job_id TEXT NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED",
        "namespace TEXT",
        "name TEXT",
        "node_id TEXT",
        "eval_id TEXT",
        "state TEXT NOT NULL",
        "state_message TEXT",
        "desired_state TEXT",
        "partition_index INTEGER",
        "job_version",
        "exit_code INTEGER",
        "error_message TEXT",
        "result_type TEXT",
        "previous_execution TEXT",
        "next_execution TEXT",
        "followup_eval_id TEXT",
        "revision NOT NULL",
        "create_time TEXT",
        "create_time_ns INTEGER",
        "modify_time TEXT",
        "modify_time_ns INTEGER",
        "json TEXT NOT NULL",
    ),
    "execution_events": (
        "execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
        "number INTEGER NOT NULL",
        "topic TEXT",
        "message TEXT",
        "time TEXT",
        "time_ns INTEGER",
        "details TEXT",
        "json TEXT NOT NULL",
        "PRIMARY KEY (execution_id, number)",
    ),
    "events": (
        "seq_num INTEGER PRIMARY KEY",
        "operation TEXT NOT NULL",
        "object_type TEXT NOT NULL",
        "execution_id TEXT",  # no foreign key: the log remembers executions that are gone
        "time TEXT",
        "time_ns INTEGER",
        "json TEXT NOT NULL",
    ),
    "checkpoints": ("name TEXT PRIMARY KEY", "sequence_number"),
    "watcher_checkpoints": ("watcher_id TEXT PRIMARY KEY", "sequence_number"),
    "execstore_export": ("name TEXT PRIMARY KEY", "value"),
}

INDEXES: Final = (
    ("executions", "job_id"),
    ("executions", "state"),
    ("executions", "modify_time_ns"),
    ("execution_events", "time_ns"),
    ("events", "execution_id"),
    ("events", "time_ns"),
)

# S608 below: the names are those above, no text from outside gets into a statement.


def _marks(table: str) -> str:
    return ",".join("?" for column in TABLES[table] if not column.startswith("PRIMARY KEY"))


INSERT: Final = {table: f"INSERT OR REPLACE INTO {table} VALUES ({_marks(table)})" for table in TABLES}  # noqa: S608
EMPTY: Final = {table: f"DELETE FROM {table}" for table in TABLES}  # noqa: S608
# The newest execution knows its job best.
INSERT_NEWER_JOB: Final = (
    f"INSERT INTO jobs VALUES ({_marks('jobs')}) ON CONFLICT (id) DO UPDATE SET "  # noqa: S608
    "(namespace, name, type, priority, count, version, modify_time_ns, json) = (excluded.namespace, excluded.name, "
    "excluded.type, excluded.priority, excluded.count, excluded.version, excluded.modify_time_ns, excluded.json) "
    "WHERE excluded.modify_time_ns >= modify_time_ns"
)

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def integer(value: Any) -> int | str | None:
    """``value`` as SQLite can keep it; ``None`` if it is no integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if _SMALLEST <= value <= _LARGEST else str(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _time(nanoseconds: int) -> str | None:
    try:
        return Timestamp(nanoseconds).to_text("time")
    except InvalidExecutionError:
        return None


def execution_row(execution: Execution) -> tuple[Any, ...]:
    """The row of an execution."""
    output, result = execution.run_output, execution.published_result
    return (
        execution.id,
        execution.job_id,
        execution.namespace,
        execution.name,
        execution.node_id,
        execution.eval_id,
        execution.compute_state.state_type.value,
        execution.compute_state.message,
        execution.desired_state.state_type.value,
        integer(execution.partition_index),
        integer(execution.job_version),
        None if output is None else integer(output.exit_code),
        None if output is None else output.error_msg,
        None if result is None else result.type,
        execution.previous_execution,
        execution.next_execution,
        execution.followup_eval_id,
        integer(execution.revision),
        _time(execution.create_time),
        integer(execution.create_time),
        _time(execution.modify_time),
        integer(execution.modify_time),
        records.compact(records.encode_execution(execution, trusted=True)).decode(),
    )


def job_row(execution: Execution) -> tuple[Any, ...]:
    """The row of the job that an execution is of, as far as the execution knows it."""
    job: Mapping[str, Any] = execution.job or {}
    return (
        execution.job_id,
        _text(job.get("Namespace")),
        _text(job.get("Name")),
        _text(job.get("Type")),
        integer(job.get("Priority")),
        integer(job.get("Count")),
        integer(job.get("Version")),
        integer(execution.modify_time),
        None if execution.job is None else codec.encode_trusted(execution.job, member="Job").decode(),
    )


def event_rows(execution_id: str, events: list[Event]) -> Iterator[tuple[Any, ...]]:
    """The rows of an execution's events."""
    for number, event in enumerate(events, 1):
        yield (
            execution_id,
            number,
            event.topic,
            event.message,
            event.timestamp.to_text("Timestamp"),
            integer(event.timestamp.nanoseconds),
            codec.encode_trusted(event.details, member="Details").decode() if event.details else None,
            records.encode_event(event).decode(),
        )


def log_row(ends: LineEnds, line: bytes, execution_id: str | None) -> tuple[Any, ...]:
    """The row of an event of the event log."""
    return (
        ends.seq_num,
        ends.operation.value,
        ends.object_type,
        execution_id,
        _time(ends.timestamp),
        integer(ends.timestamp),
        line.decode(),
    )
