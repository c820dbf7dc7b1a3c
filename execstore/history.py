"""History: what the event log still tells of one execution, revision by revision.

The log isn't indexed by execution: all of it is searched, as bytes, and only the lines that hold the ID are decoded.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from execstore.codec import encode_text, inner_member
from execstore.engine import LogState
from execstore.errors import DeserializationError, ExecutionNotFoundError, StoreCorruptedError
from execstore.models import Execution
from execstore.schema import EXECUTION_UPSERT, EXECUTIONS, LAYOUT
from execstore.validation import check_key
from execstore.watcher.lines import parse_ends, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.engine import Reader
    from execstore.store import Store
    from execstore.watcher.events import Operation

__all__ = ["FieldChange", "Revision", "compare", "history"]

_LOG = logging.getLogger("execstore")

# An ID that every JSON writer writes in the same way. Others may stand in the log with escapes (Go writes "<" so).
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")

# They change with every revision, and stand in it anyway.
_TOLD_ANYWAY = frozenset({"Revision", "ModifyTime"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that a revision changed: ``member`` is its path in the record's JSON (``"ComputeState.Message"``).

    ``old`` and ``new`` are JSON values, ``None`` where the field wasn't there.
    """

    member: str
    old: Any
    new: Any

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {"member": self.member, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of an execution: its number in the event log, its time (nanoseconds since the epoch), and what it did.

    ``changes`` compares with the revision before, or, for the first one, with an execution without any value;
    ``Revision`` and ``ModifyTime`` are left out. A deletion changes nothing: ``revision`` and ``state`` are the last.
    """

    seq_num: int
    time_ns: int
    operation: Operation
    revision: int
    state: str
    changes: tuple[FieldChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "seq_num": self.seq_num,
            "time_ns": self.time_ns,
            "operation": self.operation.value,
            "revision": self.revision,
            "state": self.state,
            "changes": [change.to_dict() for change in self.changes],
        }


def history(store: Store, execution_id: str) -> list[Revision]:
    """See `Store.history`."""
    check_key(execution_id, "execution_id")

    def begin(reader: Reader) -> tuple[LogState, list[int], bool]:
        state = LogState.of(reader.values)
        is_there = reader.has_record_named(EXECUTIONS, reader.name_of(execution_id))
        return state, reader.segment_numbers(LAYOUT.log), is_there

    state, firsts, is_there = store.look(begin)
    needle = f'"{execution_id}"' if _PLAIN.fullmatch(execution_id) else encode_text(EXECUTION_UPSERT)
    revisions: list[Revision] = []
    for first in firsts:
        if first <= state.latest:
            data = store.look(partial(_segment, first=first, root=store.path))
            for number, line in _lines_with(data, needle.encode(), first):
                if number <= state.latest:
                    revision = _revision_of(line, number, execution_id)
                    if revision is not None:
                        revisions.append(revision)
    if not revisions and not is_there:
        raise ExecutionNotFoundError(execution_id)
    return revisions


def _segment(reader: Reader, first: int, root: str) -> bytes:
    """The segment's bytes; none if it was collected meanwhile."""
    path = reader.segment_file(LAYOUT.log, first)
    data = reader.segment(path, 0)
    state = LogState.of(reader.values)
    if data is None and first >= state.oldest:
        raise StoreCorruptedError(f"{root}/{path}", "the segment is missing")
    return data or b""


def _lines_with(data: bytes, needle: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a segment in which ``needle`` stands, with their numbers."""
    counted_to, number = 0, first
    found = data.find(needle)
    while found >= 0:
        start = data.rfind(b"\n", 0, found) + 1
        end = data.find(b"\n", found)
        if end < 0:
            return  # being written
        number += data.count(b"\n", counted_to, start)
        counted_to = start
        yield number, data[start:end]
        found = data.find(needle, end)


def _revision_of(line: bytes, number: int, execution_id: str) -> Revision | None:
    """What the line tells of the execution; ``None`` if it is of something else, or damaged."""
    try:
        ends = parse_ends(line, number)
        upsert = parse_object(line, number) if ends.object_type == EXECUTION_UPSERT else None
    except DeserializationError as error:
        _LOG.warning("the history of execution %s may lack a revision: %s", execution_id, error)
        return None
    if not isinstance(upsert, dict):
        return None
    current, previous = (
        record if isinstance(record, dict) and record.get("ID") == execution_id else None
        for record in (upsert.get("Current"), upsert.get("Previous"))
    )
    shown = current if current is not None else previous
    if shown is None:
        return None
    changes: tuple[FieldChange, ...] = ()
    if current is not None:
        before = Execution().to_dict() if previous is None else previous
        changes = tuple(change for change in compare(before, current) if change.member not in _TOLD_ANYWAY)
    state = shown.get("ComputeState")
    return Revision(
        ends.seq_num,
        ends.timestamp,
        ends.operation,
        shown.get("Revision", 0),
        str(state.get("StateType", "")) if isinstance(state, dict) else "",
        changes,
    )


def compare(old: Mapping[str, Any], new: Mapping[str, Any], member: str = "") -> Iterator[FieldChange]:
    """Where two JSON objects differ, by member; lists of one length item by item, all else as a whole."""
    for name in dict.fromkeys((*new, *old)):
        yield from _compare_values(old.get(name), new.get(name), inner_member(member, name))


def _compare_values(old: Any, new: Any, member: str) -> Iterator[FieldChange]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from compare(old, new, member)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            yield from _compare_values(old_item, new_item, inner_member(member, index))
    elif type(old) is not type(new) or old != new:
        yield FieldChange(member, old, new)
