"""What lines of a node's event log come to in the central store: pure functions, no store.

The lines of one operation have the same time and stand together: the events that came with it, and then its upsert. An
upsert holds the record as a whole, so of several for one execution only the last counts for the record, while each is
told in the central log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from execstore import codec
from execstore.errors import InvalidExecutionError
from execstore.models import Event, Execution
from execstore.records import compact, encode_event, encode_execution, encode_upsert
from execstore.schema import EXECUTION_EVENT, EXECUTION_UPSERT
from execstore.validation import check_id
from execstore.watcher.events import Operation
from execstore.watcher.lines import LineEnds, parse_ends, parse_object

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Batch", "Entry", "Outcome", "Rules", "make_batch", "named_executions", "relabel", "whole_groups"]


class Rules(NamedTuple):
    """How a node's executions are brought.

    ``node`` is what their ``NodeID`` becomes; with ``keep_nodes`` only of those that have none. ``keep_ended``: an
    execution that had ended stays when the node deletes it.
    """

    node: str
    keep_nodes: bool = False
    keep_ended: bool = False

    def owner(self, node_id: str) -> str:
        """The ``NodeID`` of an execution that has this one on its node."""
        return node_id if self.keep_nodes and node_id else self.node


class Entry(NamedTuple):
    """A line for the central log. Entries of the same ``group`` get the same time."""

    execution_id: str
    operation: Operation
    object_type: str
    object_json: bytes
    group: int


@dataclass(slots=True)
class Outcome:
    """What becomes of one execution.

    ``execution`` and ``record`` are what it is in the end: ``None`` if only events came, or if it was ``deleted``.
    ``lines`` are the events to append, or, if it ``restarts``, all there are. ``owner`` is its ``NodeID``, "" if that
    isn't known, since only events came.
    """

    execution: Execution | None = None
    record: bytes = b""
    deleted: bool = False
    restarts: bool = False
    lines: list[bytes] = field(default_factory=list)
    owner: str = ""
    events: int = 0
    """How many lines of the node's log it comes from."""


@dataclass(slots=True)
class Batch:
    """What some lines come to. ``outcomes`` by execution. ``strange`` counts events of a user's own, which stay.

    ``unclear`` tells why the log alone doesn't do, "" if it does: what it tells up to there has to be read from the
    executions themselves.
    """

    entries: list[Entry] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    strange: int = 0
    unclear: str = ""
    bytes: int = 0

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.bytes += len(entry.object_json)

    def outcome(self, execution_id: str) -> Outcome:
        found = self.outcomes.get(execution_id)
        if found is None:
            found = self.outcomes[execution_id] = Outcome()
        found.events += 1
        return found


def make_batch(lines: Sequence[tuple[int, bytes]], rules: Rules) -> Batch:
    """Take whole operations' lines, with their numbers, to what they come to.

    Raises:
        DeserializationError, InvalidExecutionError: a line is damaged, or is no execution's.
    """
    batch = Batch()
    group, group_time, with_events = 0, None, False
    for number, line in lines:
        ends = parse_ends(line, number)
        if ends.timestamp != group_time:
            group, group_time, with_events = group + 1, ends.timestamp, False
        if ends.object_type == EXECUTION_EVENT:
            _take_event(batch, parse_object(line, number), ends, group)
            with_events = True
        elif ends.object_type == EXECUTION_UPSERT:
            _take_upsert(batch, parse_object(line, number), ends, group, rules, with_events=with_events)
        else:
            batch.strange += 1
        if batch.unclear:
            break
    return batch


def _take_event(batch: Batch, value: Any, ends: LineEnds, group: int) -> None:
    execution_id = value.get("ExecutionID") if isinstance(value, dict) else None
    if not isinstance(execution_id, str) or not execution_id:
        # Bacalhau's own, out of an import.
        batch.unclear = f"event {ends.seq_num} doesn't say of which execution it is"
        return
    object_json = codec.encode_trusted(value)
    del value["ExecutionID"]
    outcome = batch.outcome(execution_id)
    outcome.lines.append(encode_event(Event.from_dict(value)))
    batch.add(Entry(execution_id, ends.operation, EXECUTION_EVENT, object_json, group))


def _take_upsert(batch: Batch, value: Any, ends: LineEnds, group: int, rules: Rules, *, with_events: bool) -> None:
    if not isinstance(value, dict):
        raise InvalidExecutionError("", "it is no JSON object")
    current, previous = value.get("Current"), value.get("Previous")
    for member in (current, previous):
        if isinstance(member, dict):
            node_id = member.get("NodeID")
            member["NodeID"] = rules.owner(node_id if isinstance(node_id, str) else "")
    if current is None:
        gone = Execution.from_dict({} if previous is None else previous)
        if rules.keep_ended and gone.compute_state.state_type.is_terminal:
            return
        outcome = batch.outcome(gone.id)
        outcome.execution, outcome.record, outcome.deleted, outcome.restarts = None, b"", True, True
        outcome.lines.clear()
        outcome.owner, execution_id = gone.node_id, gone.id
    else:
        execution = Execution.from_dict(current)
        execution_id = execution.id
        for member_name, key in (("ID", execution_id), ("JobID", execution.job_id)):
            if not key:
                raise InvalidExecutionError(member_name, "must not be empty")
            check_id(key, member_name)
        outcome = batch.outcome(execution_id)
        outcome.execution, outcome.deleted, outcome.owner = execution, False, execution.node_id
        outcome.record = encode_execution(execution, trusted=True)
        if previous is None:
            _begin_life(outcome, value.get("Events"), with_events=with_events)
    batch.add(Entry(execution_id, ends.operation, EXECUTION_UPSERT, codec.encode_trusted(value), group))


def _begin_life(outcome: Outcome, events: Any, *, with_events: bool) -> None:
    """An execution was created, with these events."""
    count = len(events) if isinstance(events, list) else 0
    outcome.restarts = True
    if with_events:
        # They stand before it in the log, and are the newest lines.
        del outcome.lines[: max(len(outcome.lines) - count, 0)]
    else:
        # An import: only the upsert tells of them.
        outcome.lines[:] = [encode_event(Event.from_dict(event)) for event in events or ()]


def named_executions(lines: Sequence[tuple[int, bytes]]) -> dict[str, str]:
    """The executions that these lines are about, and the ``NodeID`` of each if that is told. Lines that don't say of
    which execution they are, are left out.

    Raises:
        DeserializationError: a line is damaged.
    """
    found: dict[str, str] = {}
    for number, line in lines:
        object_type = parse_ends(line, number).object_type
        if object_type not in {EXECUTION_EVENT, EXECUTION_UPSERT}:
            continue
        value = parse_object(line, number)
        if isinstance(value, dict) and object_type == EXECUTION_UPSERT:
            value = value.get("Current") or value.get("Previous")
            if isinstance(value, dict) and _is_text(value.get("ID")):
                node_id = value.get("NodeID")
                found[value["ID"]] = node_id if isinstance(node_id, str) else ""
        elif isinstance(value, dict) and _is_text(value.get("ExecutionID")):
            found.setdefault(value["ExecutionID"], "")
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def relabel(execution: Execution, record: bytes, rules: Rules) -> tuple[Execution, bytes]:
    """An execution and its record under its node's name."""
    owner = rules.owner(execution.node_id)
    if execution.node_id == owner:
        return execution, record
    execution = execution.replace(node_id=owner)
    return execution, encode_execution(execution, trusted=True)


def whole_groups(
    execution_id: str, old: tuple[bytes, bytes] | None, new: tuple[bytes, bytes] | None
) -> list[list[tuple[Operation, str, bytes]]]:
    """What to tell in the log of an execution that was brought whole: groups of (operation, type, object).

    ``old`` and ``new`` are record and lines, ``None`` if there is no execution. Nothing changed: nothing is told.
    """
    if old is None and new is None:
        return []
    if new is None:
        return [[_upsert(Operation.DELETE, None, old, ())]]
    new_lines = new[1].splitlines()
    if old is None:
        return [[_upsert(Operation.CREATE, new, None, new_lines)]]
    if not new[1].startswith(old[1]):
        # Another life under the same ID.
        return [[_upsert(Operation.DELETE, None, old, ())], [_upsert(Operation.CREATE, new, None, new_lines)]]
    added = new[1][len(old[1]) :].splitlines()
    name = codec.encode_text(execution_id).encode()
    group = [
        (Operation.CREATE, EXECUTION_EVENT, b'%b,"ExecutionID":%b}' % (line.rstrip()[:-1], name)) for line in added
    ]
    if new[0] != old[0]:
        group.append(_upsert(Operation.UPDATE, new, old, added))
    return [group] if group else []


def _upsert(
    operation: Operation, new: tuple[bytes, bytes] | None, old: tuple[bytes, bytes] | None, lines: Sequence[bytes]
) -> tuple[Operation, str, bytes]:
    current = None if new is None else compact(new[0])
    previous = None if old is None else compact(old[0])
    return operation, EXECUTION_UPSERT, encode_upsert(current, previous, lines)
