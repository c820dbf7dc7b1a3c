"""What each reading method of the store finds, in one look at its content."""

from __future__ import annotations

import heapq
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from execstore.codec import CodecError
from execstore.errors import (
    ExecStoreError,
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionError,
)
from execstore.records import (
    ReadExecution,
    copy_of_execution,
    parse_checkpoint,
    parse_event,
    read_execution,
)
from execstore.schema import COUNTS, EXECUTION_EVENTS, EXECUTIONS, JOB_INDEX, SEQUENCE_TRACKING, STATE_INDEX, counts_of
from execstore.states import ExecutionState
from execstore.validation import check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from execstore.engine import Reader
    from execstore.models import Event, Execution

__all__ = [
    "counts",
    "find_execution",
    "get_checkpoint",
    "get_execution",
    "get_execution_count",
    "get_execution_events",
    "get_executions",
    "get_live_executions",
    "page_of_executions",
]

_LOG = logging.getLogger("execstore")
_LIVE = tuple(state for state in ExecutionState if state.is_executing)


def get_execution(reader: Reader, execution_id: str) -> Execution:
    """Raises ``ExecutionNotFoundError``, or ``StoreCorruptedError`` if its record can't be read."""
    return find_execution(reader, execution_id).execution


def find_execution(reader: Reader, execution_id: str) -> ReadExecution:
    """The same with its record."""
    check_key(execution_id, "execution_id")
    record_made = getattr(reader, "record_made", None)  # of a KeepingReader
    try:
        if record_made is not None:
            found: ReadExecution | None = record_made(EXECUTIONS, execution_id, read_execution, copy_of_execution)
        else:
            record = reader.record(EXECUTIONS, execution_id)
            found = None if record is None else read_execution(record)
    except (CodecError, InvalidExecutionError) as error:
        raise reader.damage(EXECUTIONS, execution_id, str(error)) from error
    if found is None:
        raise ExecutionNotFoundError(execution_id)
    if found.execution.id != execution_id:
        raise reader.damage(EXECUTIONS, execution_id, f"it holds execution {found.execution.id!r}")
    return found


def get_executions(reader: Reader, job_id: str) -> list[Execution]:
    """A job's executions, newest ``modify_time`` first. Raises ``ExecutionsNotFoundForJobError`` if there is none."""
    check_key(job_id, "job_id")
    found = _load(reader, reader.members(JOB_INDEX, job_id), lambda execution: execution.job_id == job_id)
    if not found:
        raise ExecutionsNotFoundForJobError(job_id)
    return _newest_first(found)


def get_live_executions(reader: Reader) -> list[Execution]:
    """The executions in BidAccepted, Running or Publishing, newest ``modify_time`` first."""
    found: list[Execution] = []
    for state in _LIVE:
        names = reader.members(STATE_INDEX, state.value)
        found += _load(reader, names, partial(_is_in, state))
    return _newest_first(found)


def get_execution_count(values: Mapping[str, Any], state: ExecutionState) -> int:
    """How many executions are in this state, by a moment's values."""
    number: int = values.get(COUNTS, {}).get(state.value, 0)
    return number


def counts(values: Mapping[str, Any]) -> dict[ExecutionState, int]:
    """State to number of executions: all twelve, in their order, and behind them any other that occurs."""
    by_name = counts_of(values)
    found = {state: by_name.pop(state.value, 0) for state in ExecutionState}
    return found | {ExecutionState(name): number for name, number in sorted(by_name.items())}


def get_execution_events(reader: Reader, execution_id: str) -> list[Event]:
    """An execution's events in the order they were written.

    A line that can't be read is left out with a warning. Raises ``ExecutionEventsNotFoundError`` if there is no event.
    """
    check_key(execution_id, "execution_id")
    lines = reader.lines(EXECUTION_EVENTS, execution_id)
    events: list[Event] = []
    for number, line in enumerate(lines.rstrip(b"\n").split(b"\n") if lines else (), start=1):
        try:
            events.append(parse_event(line))
        except (CodecError, InvalidExecutionError) as error:
            _LOG.warning("line %d of the events of execution %s is damaged: %s", number, execution_id, error)
    if events:
        return events
    raise ExecutionEventsNotFoundError(execution_id)


def get_checkpoint(reader: Reader, name: str) -> int:
    """The number kept under this name, 0 if there is none."""
    data = reader.record(SEQUENCE_TRACKING, name)
    if data is None:
        return 0
    try:
        return parse_checkpoint(data)[1]
    except CodecError as error:
        raise reader.damage(SEQUENCE_TRACKING, name, error.reason) from error


def page_of_executions(
    reader: Reader,
    *,
    state: ExecutionState | None,
    job_id: str | None,
    namespace: str | None,
    node_id: str | None,
    limit: int,
    after: str | None,
) -> tuple[list[Execution], str | None]:
    """Up to ``limit`` executions in ID order that come after ``after``, and the ID to go on after (``None``: the end).

    Memory grows with ``limit``, not with the store.
    """
    if job_id is not None:
        names = reader.members(JOB_INDEX, job_id)
    elif state is not None:
        names = reader.members(STATE_INDEX, state.value)
    else:
        names = reader.record_names(EXECUTIONS)

    def ids() -> Iterable[tuple[str, str]]:
        for name in names:
            key = reader.key_of(name)
            if key is None:
                loaded = _load(reader, [name], lambda _: True)
                if not loaded:
                    continue
                key = loaded[0].id
            if after is None or key > after:
                yield key, name

    # One more than asked for tells whether there is more.
    chosen = heapq.nsmallest(limit + 1, ids())
    page = chosen[:limit]

    def wanted(execution: Execution) -> bool:
        return (
            (state is None or execution.compute_state.state_type == state)
            and (job_id is None or execution.job_id == job_id)
            and (namespace is None or execution.namespace == namespace)
            and (node_id is None or execution.node_id == node_id)
        )

    found = _load(reader, [name for _, name in page], wanted)
    return found, page[-1][0] if len(chosen) > limit else None


def _load(reader: Reader, names: Iterable[str], wanted: Callable[[Execution], bool]) -> list[Execution]:
    """The records of these names. What is dangling or damaged is left out with a warning: one file mustn't take a
    whole list down (the reference's lists fail)."""
    names = list(names)
    records_named = getattr(reader, "records_named", None)  # of a BulkReader
    record_made = getattr(reader, "record_named_made", None)  # of a KeepingReader
    records = None if records_named is None else records_named(EXECUTIONS, names)
    found: list[Execution] = []
    for number, name in enumerate(names):
        try:
            if record_made is not None:
                read: ReadExecution | None = record_made(EXECUTIONS, name, read_execution, copy_of_execution)
            else:
                record = reader.record_named(EXECUTIONS, name) if records is None else records[number]
                read = None if record is None else read_execution(record)
            if read is None:
                _LOG.warning("an index names execution %s, which isn't there; run 'execstore verify'", name)
                continue
        except (CodecError, InvalidExecutionError) as error:
            _LOG.warning("execution %s is damaged: %s; run 'execstore verify'", name, error)
            continue
        except ExecStoreError as error:
            _LOG.warning("execution %s can't be read: %s", name, error)
            continue
        if wanted(read.execution):
            found.append(read.execution)
    return found


def _is_in(state: ExecutionState, execution: Execution) -> bool:
    return execution.compute_state.state_type == state


def _newest_first(executions: list[Execution]) -> list[Execution]:
    return sorted(executions, key=lambda execution: execution.modify_time, reverse=True)
