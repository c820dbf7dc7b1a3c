"""What an import is made of, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from execstore import records
from execstore.errors import InvalidExecutionError
from execstore.validation import check_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execstore.models import Execution

__all__ = [
    "CheckpointItem",
    "ExecutionItem",
    "ImportReport",
    "Item",
    "LogEnd",
    "LogItem",
]


class ExecutionItem(NamedTuple):
    """An execution as it was stored, with its events in the order in which they were written.

    Args:
        record: its bytes, as ``records.encode_execution`` makes them.
        event_lines: its events, as ``records.encode_event`` makes them, each with a newline.
        events: how many there are.
        done: how much of the source has been read with it, from 0 to 1; ``None`` if that isn't known.
    """

    execution: Execution
    record: bytes
    event_lines: bytes = b""
    events: int = 0
    done: float | None = None

    @classmethod
    def of(cls, execution: Execution) -> ExecutionItem:
        """Encode an execution that was read from JSON, as yet without events.

        Raises:
            InvalidExecutionError: naming what a store can't hold.
        """
        for member, value in (("ID", execution.id), ("JobID", execution.job_id)):
            if not value:
                raise InvalidExecutionError(member, "must not be empty")
            check_id(value, member)
        return cls(execution, records.encode_execution(execution, trusted=True))

    def with_events(self, events: Sequence[bytes], done: float | None = None) -> ExecutionItem:
        """The same with these encoded events."""
        event_lines = b"".join([line + b"\n" for line in events])
        return ExecutionItem(self.execution, self.record, event_lines, len(events), done)


class LogItem(NamedTuple):
    """An event of the event log: its number, its whole line (see ``watcher.lines``) and its time in nanoseconds."""

    seq_num: int
    line: bytes
    timestamp: int


class LogEnd(NamedTuple):
    """The number that the log gave out last. Higher than any event's number if the newest ones were collected."""

    latest: int


class CheckpointItem(NamedTuple):
    """A checkpoint of the store (``Store.checkpoint``), or of a watcher."""

    name: str
    sequence_number: int
    of_watcher: bool


Item: TypeAlias = ExecutionItem | LogItem | LogEnd | CheckpointItem
"""A source gives the executions first, then the log in order with its end, then the checkpoints.

Where the numbers of the log have a gap, only what comes behind it can be taken.
"""


@dataclass
class ImportReport:
    """What an import did. ``conflicts``, ``skipped`` and ``notes`` are sentences."""

    executions: int = 0
    execution_events: int = 0
    log_events: int = 0
    checkpoints: int = 0
    watcher_checkpoints: int = 0
    already_there: int = 0
    conflicts: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
