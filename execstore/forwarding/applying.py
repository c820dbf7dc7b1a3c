"""Bringing a batch into the central store: one change, which is made for one state of the node's stream only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from execstore.codec import CodecError
from execstore.errors import InvalidExecutionError
from execstore.forwarding.batch import relabel, whole_groups
from execstore.forwarding.stream import encode_stream, read_stream, stream_key
from execstore.records import parse_execution
from execstore.schema import (
    COUNTS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    TIME,
    counts_of,
)
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from execstore.engine import Change, Reader
    from execstore.forwarding.batch import Batch, Outcome, Rules
    from execstore.forwarding.stream import Stream
    from execstore.models import Execution
    from execstore.watcher.events import Operation

__all__ = ["Applied", "ExecutionWriter", "Old", "Whole", "apply_batch", "apply_whole", "records_of", "store_stream"]


class Whole(NamedTuple):
    """An execution as it is on its node, with its events' lines; ``record`` is ``None`` if it isn't there.

    ``owner`` is the ``NodeID`` that one which isn't there had, "" if that isn't known.
    """

    execution_id: str
    record: bytes | None
    lines: bytes = b""
    owner: str = ""


@dataclass(slots=True)
class Applied:
    """What a batch did. ``conflicts`` is a sentence for each execution that is another node's and was left alone."""

    stream: Stream
    executions: int = 0
    deleted: int = 0
    events: int = 0
    left_out: int = 0
    conflicts: list[str] = field(default_factory=list)


class Old(NamedTuple):
    """An execution that is stored already."""

    record: bytes
    execution: Execution


class ExecutionWriter:
    """Writes executions into one change, and their lines into its log."""

    def __init__(self, change: Change, clock: Callable[[], int], execution_ids: Iterable[str]) -> None:
        """``execution_ids`` are those that `old` will be asked for."""
        self._change = change
        self._records = records_of(change, list(execution_ids))
        self._clock = clock
        self._counts = counts_of(change.values)
        self._now = 0

    def old(self, execution_id: str) -> Old | None:
        """What is stored under an ID. Raises ``StoreCorruptedError`` if it can't be read."""
        record = self._records[execution_id]
        if record is None:
            return None
        try:
            return Old(record, parse_execution(record))
        except (CodecError, InvalidExecutionError) as error:
            raise self._change.damage(EXECUTIONS, execution_id, str(error)) from error

    def put(self, old: Old | None, execution: Execution, record: bytes) -> None:
        """Store an execution in place of ``old``, with its index entries."""
        change, execution_id = self._change, execution.id
        state = execution.compute_state.state_type.value
        change.put_record(EXECUTIONS, execution_id, record, is_new=old is None)
        if old is None:
            change.mark(JOB_INDEX, execution.job_id, execution_id)
            change.mark(STATE_INDEX, state, execution_id)
            self._count(state, 1)
            return
        old_job, old_state = old.execution.job_id, old.execution.compute_state.state_type.value
        if old_job != execution.job_id:
            change.move_mark(JOB_INDEX, old_job, execution.job_id, execution_id)
            change.drop_group(JOB_INDEX, old_job)
        if old_state != state:
            change.move_mark(STATE_INDEX, old_state, state, execution_id)
            self._count(old_state, -1)
            self._count(state, 1)

    def remove(self, old: Old) -> None:
        """Remove an execution with all that belongs to it."""
        change, execution_id = self._change, old.execution.id
        state = old.execution.compute_state.state_type.value
        change.remove_record(EXECUTIONS, execution_id)
        change.remove_lines(EXECUTION_EVENTS, execution_id)
        change.unmark(JOB_INDEX, old.execution.job_id, execution_id, drop_empty=True)
        change.unmark(STATE_INDEX, state, execution_id, drop_empty=False)
        self._count(state, -1)

    def set_lines(self, execution_id: str, lines: bytes, *, is_new: bool) -> None:
        """Let these be all of its events; ``is_new``: there are none."""
        if is_new:
            if lines:
                self._change.append_lines(EXECUTION_EVENTS, execution_id, lines, is_new=True)
        elif lines:
            self._change.put_lines(EXECUTION_EVENTS, execution_id, lines)
        else:
            self._change.remove_lines(EXECUTION_EVENTS, execution_id)

    def add_lines(self, execution_id: str, lines: bytes) -> None:
        """Add events."""
        if lines:
            self._change.append_lines(EXECUTION_EVENTS, execution_id, lines)

    def begin_group(self) -> None:
        """Let the next lines of the log have a time of their own."""
        self._now = max(self._clock(), int(self._change.values.get(TIME, 0)) + 1)

    def log(self, operation: Operation, object_type: str, object_json: bytes) -> None:
        """Add a line to the log."""
        change, now = self._change, self._now
        line = encode_line(change.next_log_number(), operation, object_type, object_json, now)
        change.set_value(TIME, now)
        change.append_log(line, now)

    def finish(self) -> None:
        """Set the counts by state; in the end."""
        self._change.set_value(COUNTS, {state: number for state, number in self._counts.items() if number > 0})

    def _count(self, state: str, number: int) -> None:
        self._counts[state] = self._counts.get(state, 0) + number


def records_of(reader: Reader, execution_ids: Sequence[str]) -> dict[str, bytes | None]:
    """The records of these executions; behind a network, by one question."""
    records_named = getattr(reader, "records_named", None)  # of a BulkReader
    if records_named is None:
        return {execution_id: reader.record(EXECUTIONS, execution_id) for execution_id in execution_ids}
    names = [reader.name_of(execution_id) for execution_id in execution_ids]
    return dict(zip(execution_ids, records_named(EXECUTIONS, names), strict=True))


def store_stream(change: Change, expected: Stream | None, after: Stream, clock: Callable[[], int]) -> Stream | None:
    """Let the node's stream be ``after``, if it still is ``expected``; ``None`` if another forwarder was faster."""
    if read_stream(change, after.node) != expected:
        return None
    after = replace(after, time_ns=max(clock(), 0))
    change.put_record(SEQUENCE_TRACKING, stream_key(after.node), encode_stream(after), is_new=False)
    return after


def apply_batch(
    change: Change,
    expected: Stream | None,
    after: Stream,
    batch: Batch,
    owners: Mapping[str, str],
    rules: Rules,
    clock: Callable[[], int],
) -> Applied | None:
    """Do what a batch says; ``owners`` are the nodes of executions of which only events came.

    ``None``, and nothing is done, if the stream isn't ``expected`` any more.
    """
    if read_stream(change, after.node) != expected:
        return None
    applied = Applied(after)
    writer = ExecutionWriter(change, clock, batch.outcomes)
    skipped: set[str] = set()
    for execution_id, outcome in batch.outcomes.items():
        old = writer.old(execution_id)
        # Of one that its node has deleted since, nothing tells whose it was; its last events aren't lost for that.
        owner = outcome.owner or owners.get(execution_id, "") or (rules.node if not rules.keep_nodes else "")
        if old is not None and owner not in {"", old.execution.node_id}:
            applied.conflicts.append(_conflict(execution_id, owner, old.execution.node_id))
        elif _do(writer, execution_id, outcome, old, applied):
            continue
        else:
            applied.left_out += outcome.events
        skipped.add(execution_id)
    group = 0
    for entry in batch.entries:
        if entry.execution_id in skipped:
            continue
        if entry.group != group:
            group = entry.group
            writer.begin_group()
        writer.log(entry.operation, entry.object_type, entry.object_json)
        applied.events += 1
    writer.finish()
    return _with_stream(change, expected, applied, clock)


def _do(writer: ExecutionWriter, execution_id: str, outcome: Outcome, old: Old | None, applied: Applied) -> bool:
    """Whether there was anything to do it to."""
    lines = b"".join([line + b"\n" for line in outcome.lines])
    if outcome.deleted:
        if old is None:
            return False
        writer.remove(old)
        applied.deleted += 1
        return True
    if outcome.execution is None:
        if old is None:
            return False  # deleted here, by hand or by a prune; its node doesn't know
        writer.add_lines(execution_id, lines)
        return True
    writer.put(old, outcome.execution, outcome.record)
    if outcome.restarts:
        writer.set_lines(execution_id, lines, is_new=old is None)
    else:
        writer.add_lines(execution_id, lines)
    applied.executions += 1
    return True


def apply_whole(
    change: Change,
    expected: Stream | None,
    after: Stream,
    wholes: Sequence[Whole],
    rules: Rules,
    clock: Callable[[], int],
) -> Applied | None:
    """Make executions what they are on their node. ``None``, and nothing is done, as in `apply_batch`."""
    if read_stream(change, after.node) != expected:
        return None
    applied = Applied(after)
    writer = ExecutionWriter(change, clock, [whole.execution_id for whole in wholes])
    for whole in wholes:
        execution_id = whole.execution_id
        old = writer.old(execution_id)
        old_content = None if old is None else (old.record, change.lines(EXECUTION_EVENTS, execution_id) or b"")
        new_content: tuple[bytes, bytes] | None = None
        if whole.record is not None:
            execution, record = relabel(parse_execution(whole.record), whole.record, rules)
            new_content = record, whole.lines
            if old is not None and old.execution.node_id != execution.node_id:
                applied.conflicts.append(_conflict(execution_id, execution.node_id, old.execution.node_id))
                continue
            if new_content == old_content:
                continue
            writer.put(old, execution, record)
            if old_content is None or old_content[1] != whole.lines:
                writer.set_lines(execution_id, whole.lines, is_new=old is None)
            applied.executions += 1
        elif old is None or not _may_go(old.execution, whole.owner, rules):
            continue
        else:
            writer.remove(old)
            applied.deleted += 1
        for group in whole_groups(execution_id, old_content, new_content):
            writer.begin_group()
            for operation, object_type, object_json in group:
                writer.log(operation, object_type, object_json)
                applied.events += 1
    writer.finish()
    return _with_stream(change, expected, applied, clock)


def _may_go(execution: Execution, owner: str, rules: Rules) -> bool:
    """Whether an execution that its node no longer has goes here, too."""
    if execution.node_id != rules.owner(owner):
        return False
    return not (rules.keep_ended and execution.compute_state.state_type.is_terminal)


def _with_stream(change: Change, expected: Stream | None, applied: Applied, clock: Callable[[], int]) -> Applied:
    after = applied.stream
    after = replace(
        after,
        events=after.events + applied.events,
        conflicts=after.conflicts + len(applied.conflicts),
        left_out=after.left_out + applied.left_out,
        last_conflict=applied.conflicts[-1] if applied.conflicts else after.last_conflict,
    )
    stored = store_stream(change, expected, after, clock)
    if stored is not None:
        applied.stream = stored
    return applied


def _conflict(execution_id: str, node: str, other: str) -> str:
    return f"execution {execution_id} of node {node} was left out: node {other or 'without a name'} has one of this ID"
