"""The rules: what each writing method of the store does, as steps of one change.

Each function decides and encodes everything before it touches the change, so one that raises leaves the change as it
was, also in the middle of a longer transaction. It does nothing else, so an engine may call it again (see ``engine``).
Order of checks and effects is the reference's (``pkg/compute/store/boltdb/store.go``), except where execstore differs
on purpose; the README lists that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from execstore.codec import encode_text
from execstore.errors import (
    CheckpointNameBlankError,
    ExecutionAlreadyExistsError,
    ExecutionAlreadyTerminalError,
    ExecutionNotFoundError,
    InvalidArgumentError,
    InvalidExecutionError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
    SerializationError,
)
from execstore.merge import merge_execution
from execstore.models import Event, Execution, ExecutionEvent, UpdateExecutionRequest
from execstore.queries import find_execution
from execstore.records import (
    compact,
    encode_checkpoint,
    encode_event,
    encode_execution,
    encode_upsert,
    parse_event,
)
from execstore.schema import (
    CHECKPOINTS,
    COUNTS,
    EXECUTION_EVENT,
    EXECUTION_EVENTS,
    EXECUTION_UPSERT,
    EXECUTIONS,
    JOB_INDEX,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    TIME,
    counts_of,
)
from execstore.validation import (
    check_id,
    check_key,
    normalize_for_create,
    validate_condition,
    validate_for_create,
    validate_new_values,
)
from execstore.watcher.events import Operation
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from execstore.engine import Change
    from execstore.models import UpdateExecutionCondition

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "PreparedEvent",
    "Rules",
    "add_execution_event",
    "create_execution",
    "delete_execution",
    "prepare_events",
    "store_checkpoint",
    "store_event",
    "store_watcher_checkpoint",
    "update_execution_state",
]

MAX_DOCUMENT_BYTES = 16 << 20


class Rules(NamedTuple):
    """What the rules depend on besides the store's content. ``clock`` gives nanoseconds since the epoch."""

    clock: Callable[[], int]
    max_document_bytes: int = MAX_DOCUMENT_BYTES


class PreparedEvent(NamedTuple):
    """An execution event in its two forms: a line of its execution's file, and the object of the event log."""

    line: bytes
    log_object: bytes


def prepare_events(execution_id: str, events: Iterable[Event | None], rules: Rules) -> list[PreparedEvent]:
    """Encode events; ``None`` is the zero event, as in the reference.

    Raises:
        InvalidExecutionError: naming the member that can't be stored.
    """
    prepared = []
    for given in events:
        event = parse_event(b"null") if given is None else given
        line = encode_event(event)
        _check_size(line, rules)
        if event.extra or isinstance(event, ExecutionEvent):
            log_object = encode_event(ExecutionEvent.of(event, execution_id))
        else:  # the same without encoding it twice: the execution's ID is the last member
            log_object = b'%b,"ExecutionID":%b}' % (line[:-1], encode_text(execution_id).encode("utf-8", "replace"))
        prepared.append(PreparedEvent(line, log_object))
    return prepared


def create_execution(change: Change, execution: Execution, events: Sequence[Event | None], rules: Rules) -> Execution:
    """Store a new execution with its events; returns it as it is stored.

    Raises:
        NilExecutionError, InvalidExecutionStateError, InvalidExecutionRevisionError, InvalidExecutionError,
        ExecutionAlreadyExistsError: in this order.
    """
    execution = normalize_for_create(execution)
    validate_for_create(execution)
    prepared = prepare_events(execution.id, events, rules)
    if change.has_record(EXECUTIONS, execution.id):
        raise ExecutionAlreadyExistsError(execution.id)
    now = _next_time(change, rules)
    execution = execution.replace(revision=1, create_time=now, modify_time=now)
    record = _encode(execution, rules)
    state = execution.compute_state.state_type.value

    _put_events(change, execution.id, prepared, now, is_new=True)
    change.put_record(EXECUTIONS, execution.id, record, is_new=True)
    change.mark(JOB_INDEX, execution.job_id, execution.id)
    change.mark(STATE_INDEX, state, execution.id)
    _count(change, None, state)
    _log_upsert(change, Operation.CREATE, compact(record), None, prepared, now)
    return execution


def update_execution_state(change: Change, request: UpdateExecutionRequest, rules: Rules) -> Execution:
    """Merge new values into an execution under its conditions; returns it as it is stored.

    Raises:
        ExecutionNotFoundError, InvalidExecutionStateError, InvalidExecutionRevisionError,
        ExecutionAlreadyTerminalError: in this order; before them
        InvalidExecutionError: new values, events or ``clear`` can't be taken.
    """
    if not isinstance(request, UpdateExecutionRequest):
        raise InvalidArgumentError("request", f"must be an UpdateExecutionRequest, not {type(request).__name__}")
    check_key(request.execution_id, "request.execution_id")
    validate_condition(request.condition)
    validate_new_values(request.new_values, request.execution_id)
    prepared = prepare_events(request.execution_id, request.events, rules)
    old_record, stored = find_execution(change, request.execution_id)
    _check_condition(stored, request.condition)
    if stored.compute_state.state_type.is_terminal:
        new_state = request.new_values.compute_state.state_type.value
        raise ExecutionAlreadyTerminalError(stored.id, stored.compute_state.state_type.value, new_state)
    now = _next_time(change, rules)
    merged = normalize_for_create(merge_execution(stored, request.new_values, request.clear))
    merged = merged.replace(revision=stored.revision + 1, create_time=stored.create_time, modify_time=now)
    record = _encode(merged, rules, trusted=not _brings_objects(request.new_values))

    _put_events(change, stored.id, prepared, now)
    change.put_record(EXECUTIONS, stored.id, record)
    if merged.job_id != stored.job_id:
        change.move_mark(JOB_INDEX, stored.job_id, merged.job_id, stored.id)
        change.drop_group(JOB_INDEX, stored.job_id)
    old_state, new_state = stored.compute_state.state_type.value, merged.compute_state.state_type.value
    if old_state != new_state:
        change.move_mark(STATE_INDEX, old_state, new_state, stored.id)
        _count(change, old_state, new_state)
    _log_upsert(change, Operation.UPDATE, compact(record), compact(old_record), prepared, now)
    return merged


def delete_execution(change: Change, execution_id: str, rules: Rules) -> None:
    """Remove an execution, in whatever state, with its events and index entries.

    Raises:
        ExecutionNotFoundError
    """
    record, stored = find_execution(change, execution_id)
    now = _next_time(change, rules)
    state = stored.compute_state.state_type.value
    change.remove_record(EXECUTIONS, execution_id)
    change.remove_lines(EXECUTION_EVENTS, execution_id)
    change.unmark(JOB_INDEX, stored.job_id, execution_id, drop_empty=True)
    change.unmark(STATE_INDEX, state, execution_id, drop_empty=False)
    _count(change, state, None)
    _log_upsert(change, Operation.DELETE, None, compact(record), (), now)


def add_execution_event(change: Change, execution_id: str, events: Sequence[Event | None], rules: Rules) -> None:
    """Add events to an execution, in whatever state.

    Raises:
        ExecutionNotFoundError, InvalidExecutionError
    """
    check_key(execution_id, "execution_id")
    prepared = prepare_events(execution_id, events, rules)
    if not change.has_record(EXECUTIONS, execution_id):
        raise ExecutionNotFoundError(execution_id)
    if prepared:
        _put_events(change, execution_id, prepared, _next_time(change, rules))


def store_checkpoint(change: Change, name: str, sequence_number: int) -> None:
    """Keep a number under a name. It may go back.

    Raises:
        CheckpointNameBlankError, InvalidExecutionError, InvalidArgumentError
    """
    check_checkpoint_name(name)
    if not isinstance(sequence_number, int) or isinstance(sequence_number, bool) or sequence_number < 0:
        raise InvalidArgumentError("sequence_number", f"must be an integer, not negative, but is {sequence_number!r}")
    check_id(name, "Name")
    change.put_record(SEQUENCE_TRACKING, name, encode_checkpoint(name, sequence_number))


def check_checkpoint_name(name: str) -> None:
    """Raises ``CheckpointNameBlankError`` for an empty name, ``InvalidArgumentError`` for what is no text."""
    if not isinstance(name, str):
        raise InvalidArgumentError("name", f"must be text, not {type(name).__name__}")
    if not name:
        raise CheckpointNameBlankError


def store_watcher_checkpoint(change: Change, watcher_id: str, sequence_number: int) -> None:
    """Keep how far a watcher has come."""
    check_id(watcher_id, "WatcherID")
    change.put_record(CHECKPOINTS, watcher_id, encode_checkpoint(watcher_id, sequence_number))


def store_event(change: Change, operation: Operation, object_type: str, object_json: bytes, rules: Rules) -> int:
    """Append an event of a user's own; returns its sequence number.

    Raises:
        SerializationError: it is larger than this store takes.
    """
    if len(object_json) > rules.max_document_bytes:
        reason = f"{len(object_json)} bytes of JSON are more than {rules.max_document_bytes}"
        raise SerializationError(reason, operation.value, object_type)
    return _log(change, operation, object_type, object_json, _next_time(change, rules))


# --- parts ----------------------------------------------------------------------------------------------------------


def _next_time(change: Change, rules: Rules) -> int:
    """Now, and later than any time that this store gave before: lists are ordered by it, so no two may be equal."""
    return max(rules.clock(), int(change.values.get(TIME, 0)) + 1)


def _brings_objects(new_values: Execution) -> bool:
    """Whether free JSON of the caller's gets into an execution that is updated with this."""
    objects: list[object] = [new_values.job, new_values.allocated_resources, new_values.extra]
    for state in (new_values.desired_state, new_values.compute_state):
        objects += (state.details, state.extra)
    if new_values.published_result is not None:
        objects += (new_values.published_result.params, new_values.published_result.extra)
    if new_values.run_output is not None:
        objects.append(new_values.run_output.extra)
    return not all(each is None or (type(each) is dict and not each) for each in objects)


def _encode(execution: Execution, rules: Rules, *, trusted: bool = False) -> bytes:
    record = encode_execution(execution, trusted=trusted)
    _check_size(record, rules)
    return record


def _check_size(document: bytes, rules: Rules) -> None:
    if len(document) > rules.max_document_bytes:
        raise InvalidExecutionError(
            "",
            f"{len(document)} bytes of JSON are more than the {rules.max_document_bytes} that this store takes; "
            f"keep large output in a file and store its path, or open the store with a larger max_document_bytes",
        )


def _check_condition(stored: Execution, condition: UpdateExecutionCondition) -> None:
    state = stored.compute_state.state_type
    if condition.expected_states and state not in condition.expected_states:
        raise InvalidExecutionStateError(stored.id, state.value, [each.value for each in condition.expected_states])
    if condition.expected_revision and stored.revision != condition.expected_revision:
        raise InvalidExecutionRevisionError(stored.id, stored.revision, condition.expected_revision)
    if state in condition.unexpected_states:
        raise InvalidExecutionStateError(stored.id, state.value)


def _put_events(
    change: Change, execution_id: str, prepared: Sequence[PreparedEvent], now: int, *, is_new: bool = False
) -> None:
    """The events come before the upsert of the same change in the event log, as in the reference."""
    if prepared:
        lines = b"".join([event.line + b"\n" for event in prepared])
        change.append_lines(EXECUTION_EVENTS, execution_id, lines, is_new=is_new)
        for event in prepared:
            _log(change, Operation.CREATE, EXECUTION_EVENT, event.log_object, now)


def _log_upsert(
    change: Change,
    operation: Operation,
    current: bytes | None,
    previous: bytes | None,
    prepared: Sequence[PreparedEvent],
    now: int,
) -> None:
    upsert = encode_upsert(current, previous, [event.line for event in prepared])
    _log(change, operation, EXECUTION_UPSERT, upsert, now)


def _log(change: Change, operation: Operation, object_type: str, object_json: bytes, now: int) -> int:
    line = encode_line(change.next_log_number(), operation, object_type, object_json, now)
    change.set_value(TIME, now)
    return change.append_log(line, now)


def _count(change: Change, old_state: str | None, new_state: str | None) -> None:
    counts = counts_of(change.values)
    if old_state is not None:
        counts[old_state] = counts.get(old_state, 0) - 1
        if counts[old_state] <= 0:
            del counts[old_state]
    if new_state is not None:
        counts[new_state] = counts.get(new_state, 0) + 1
    change.set_value(COUNTS, counts)
