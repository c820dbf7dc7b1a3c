"""What the event log still knows of executions whose record is lost: each change of one stands there as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from execstore.errors import DeserializationError, InvalidExecutionError, StoreCorruptedError
from execstore.models import Execution
from execstore.records import encode_execution
from execstore.schema import EXECUTION_UPSERT, LAYOUT
from execstore.tree.segments import LogState
from execstore.watcher.events import Operation
from execstore.watcher.lines import parse_ends, parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.engine import Reader

__all__ = ["Found", "Newest", "find_newest", "read_found"]


class Newest(NamedTuple):
    """Where an execution's newest change stands. ``unreadable``: the last damaged event behind it, 0 for none."""

    number: int
    unreadable: int


class Found(NamedTuple):
    """An execution out of the log, its record's bytes, and where it stands."""

    execution: Execution
    record: bytes
    newest: Newest


def find_newest(reader: Reader, is_wanted: Callable[[str], bool]) -> dict[str, Newest]:
    """The newest change of each wanted execution, by the name of its record, without those that end in a deletion.

    It is one pass over the log that keeps a number for each execution it finds.
    """
    numbers: dict[str, int] = {}
    unreadable = 0
    for number, line in _lines(reader):
        if line is None:
            unreadable = number
            continue
        try:
            ends = parse_ends(line, number)
            upsert = parse_object(line, number) if ends.object_type == EXECUTION_UPSERT else None
        except DeserializationError:
            unreadable = number
            continue
        current = _member(upsert, "Current")
        shown = current or _member(upsert, "Previous")
        if shown is not None:
            name = reader.name_of(shown["ID"])
            if is_wanted(name):
                # Known to be deleted, and not just absent: a later segment may hold no more of it.
                numbers[name] = 0 if current is None or ends.operation is Operation.DELETE else number
    return {
        name: Newest(number, unreadable if unreadable > number else 0) for name, number in numbers.items() if number
    }


def read_found(reader: Reader, places: dict[str, Newest]) -> Iterator[Found]:
    """The executions at these places, in the log's order. One that makes no record is left out."""
    by_number = {newest.number: newest for newest in places.values()}
    for number, line in _lines(reader):
        if line is None or number not in by_number:
            continue
        try:
            current = _member(parse_object(line, number), "Current")
            if current is not None:
                execution = Execution.from_dict(current)
                yield Found(execution, encode_execution(execution), by_number[number])
        except (DeserializationError, InvalidExecutionError):
            continue


def _member(upsert: Any, member: str) -> dict[str, Any] | None:
    """An upsert's record, if it is one."""
    record = upsert.get(member) if isinstance(upsert, dict) else None
    return record if isinstance(record, dict) and isinstance(record.get("ID"), str) and record["ID"] else None


def _lines(reader: Reader) -> Iterator[tuple[int, bytes | None]]:
    """Every line with its number, a segment in memory at a time; ``None`` for what is missing or can't be read."""
    state = LogState.of(reader.values)
    expected = state.oldest
    for first in reader.segment_numbers(LAYOUT.log):
        if expected != first:
            yield max(first - 1, 1), None
        try:
            data = reader.segment(reader.segment_file(LAYOUT.log, first), 0) or b""
        except StoreCorruptedError:
            yield first, None
            expected = first
            continue
        expected = first
        start, end = 0, data.find(b"\n")
        while end >= 0:
            if expected <= state.latest:
                yield expected, data[start:end]
            start, expected = end + 1, expected + 1
            end = data.find(b"\n", start)
    if expected <= state.latest:
        yield state.latest, None
