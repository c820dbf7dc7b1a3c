"""The door through which an import writes into a store what another store wrote: revisions, times, numbers as they are.

Like ``execstore.operations``, each function decides before it touches the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.errors import ExecutionAlreadyExistsError, InvalidArgumentError
from execstore.operations import store_checkpoint, store_watcher_checkpoint
from execstore.records import compact, encode_upsert
from execstore.schema import (
    COUNTS,
    EXECUTION_EVENTS,
    EXECUTION_UPSERT,
    EXECUTIONS,
    JOB_INDEX,
    STATE_INDEX,
    TIME,
    counts_of,
)
from execstore.tree.segments import LOG_VALUE, LogState
from execstore.watcher.events import Operation
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.models import Execution
    from execstore.tree.change import Change

__all__ = ["ImportDoor"]


class ImportDoor:
    """A change, as an import sees it."""

    def __init__(self, change: Change, clock: Callable[[], int]) -> None:
        """``clock`` gives nanoseconds since the epoch."""
        self._change = change
        self._clock = clock

    def put_execution(self, execution: Execution, record: bytes, event_lines: bytes, *, announce: bool) -> None:
        """Store a new execution by its bytes, with its events' lines and its index entries.

        ``announce`` appends its CREATE to the event log, for watchers.

        :raises ExecutionAlreadyExistsError: if its ID is taken.
        """
        change, execution_id = self._change, execution.id
        if change.record(EXECUTIONS, execution_id) is not None:
            raise ExecutionAlreadyExistsError(execution_id)
        state = execution.compute_state.state_type.value
        if event_lines:
            change.put_lines(EXECUTION_EVENTS, execution_id, event_lines)
        change.put_record(EXECUTIONS, execution_id, record)
        change.mark(JOB_INDEX, execution.job_id, execution_id)
        change.mark(STATE_INDEX, state, execution_id)
        counts = counts_of(change.values)
        counts[state] = counts.get(state, 0) + 1
        change.set_value(COUNTS, counts)
        if announce:
            self._announce(record, event_lines)

    def _announce(self, record: bytes, event_lines: bytes) -> None:
        change = self._change
        now = max(self._clock(), change.values.get(TIME, 0) + 1)
        change.set_value(TIME, now)
        upsert = encode_upsert(compact(record), None, event_lines.splitlines())
        line = encode_line(change.next_log_number(), Operation.CREATE, EXECUTION_UPSERT, upsert, now)
        change.append_log(line, now)

    def append_log(self, seq_num: int, line: bytes, timestamp: int) -> None:
        """Append a line to the event log under its number: the next one, or any above it if the log is empty.

        :raises InvalidArgumentError: for another number.
        """
        change = self._change
        if seq_num != change.next_log_number():
            self._begin_log(seq_num)
        change.append_log(line, timestamp)

    def end_log(self, latest: int) -> None:
        """Let the next event have the number ``latest + 1``, if the log is empty and hasn't come that far."""
        state = LogState.of(self._change.values)
        if state.latest < state.oldest and state.latest < latest:
            self._begin_log(latest + 1)

    def _begin_log(self, seq_num: int) -> None:
        state = LogState.of(self._change.values)
        if state.latest >= state.oldest or seq_num <= state.latest:
            raise InvalidArgumentError("seq_num", f"event {seq_num} can't follow event {state.latest}")
        self._change.set_value(LOG_VALUE, LogState(latest=seq_num - 1, oldest=seq_num, segment=seq_num).to_value())

    def put_checkpoint(self, name: str, sequence_number: int) -> None:
        """Set one of the store's checkpoints. Raises what ``Store.checkpoint`` does."""
        store_checkpoint(self._change, name, sequence_number)

    def put_watcher_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        """Set a watcher's checkpoint."""
        store_watcher_checkpoint(self._change, watcher_id, sequence_number)
