"""Verify: everything that is stored against everything that must hold, on a store in use too, whatever its engine.

Each execution is looked at with all that belongs to it in one moment of the store, so that writers may go on; numbers
that concern the whole store are compared in one moment of their own. Memory doesn't grow with the store, but for the
names of one folder. Nothing is changed.

If every record is found under its state and its job, and an index has as many entries as there are records, then it
has no others: only where the numbers differ is each entry looked up.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from execstore.engine import LogState
from execstore.errors import StoreCorruptedError
from execstore.integrity.checks import check_checkpoint, check_event_lines, check_log_lines, check_record
from execstore.integrity.report import Problem, VerifyReport
from execstore.schema import (
    CHECKPOINTS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    LAYOUT,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    counts_of,
)
from execstore.tree.access import others_may_write
from execstore.tree.reader import Reader as TreeReader
from execstore.tree_engine import TreeEngine

if TYPE_CHECKING:
    from execstore.engine import Reader
    from execstore.store import Store

__all__ = ["verify"]


_AT_ONCE = 64


class _Found(NamedTuple):
    problems: list[Problem]
    events: int


def verify(store: Store) -> VerifyReport:
    """Check the whole store; see `Store.verify`."""
    sentence = others_may_write(store.path) if isinstance(store.engine(), TreeEngine) else None
    warnings = () if sentence is None else (sentence,)
    wrong_folders = store.look(_wrong_folders)
    if wrong_folders:
        return VerifyReport(tuple(sorted(wrong_folders)), 0, 0, 0, warnings)
    problems: list[Problem] = list(store.look(_strangers))
    names = store.look(partial(_record_names, collection=EXECUTIONS))
    events = 0
    # In a folder each look is short, so that writers hardly ever outrun it; elsewhere it may be a request.
    at_once = 1 if isinstance(store.engine(), TreeEngine) else _AT_ONCE
    for start in range(0, len(names), at_once):
        for found in store.look(partial(_check_executions, names=names[start : start + at_once])):
            problems += found.problems
            events += found.events
    owners = store.look(lambda reader: reader.lines_names(EXECUTION_EVENTS))
    for start in range(0, len(owners), at_once):
        problems += store.look(partial(_check_owners, names=owners[start : start + at_once]))
    problems += store.look(_check_totals)
    for collection in (CHECKPOINTS, SEQUENCE_TRACKING):
        for name in store.look(partial(_record_names, collection=collection)):
            problems += store.look(partial(_check_checkpoint, collection=collection, name=name))
    log_problems, log_events = _check_log(store)
    return VerifyReport(tuple(sorted({*problems, *log_problems})), len(names), events, log_events, warnings)


def _record_names(reader: Reader, collection: str) -> list[str]:
    return reader.record_names(collection)


def _wrong_folders(reader: Reader) -> list[Problem]:
    if not isinstance(reader, TreeReader):
        return []
    return [
        Problem(path, "folder", f"{reason}; nothing else was checked, 'execstore repair' sets it aside")
        for path, reason in reader.wrong_folders(LAYOUT).items()
    ]


def _strangers(reader: Reader) -> list[Problem]:
    if not isinstance(reader, TreeReader):
        return []
    return [
        Problem(path, "stranger", "execstore didn't make this; it is left alone, move it elsewhere")
        for path in reader.strangers(LAYOUT)
    ]


def _check_executions(reader: Reader, names: list[str]) -> list[_Found]:
    prepare = getattr(reader, "prepare", None)  # of a reader to which many questions at once are cheaper
    if prepare is not None:
        prepare(records={EXECUTIONS: names}, lines={EXECUTION_EVENTS: names})
        marks: list[tuple[str, str, str]] = []
        for name in names:
            execution = check_record(reader.record_named(EXECUTIONS, name) or b"")
            if not isinstance(execution, str):
                marks.append((STATE_INDEX, execution.compute_state.state_type.value, execution.id))
                marks.append((JOB_INDEX, execution.job_id, execution.id))
        prepare(marks=marks)
    return [_check_execution(reader, name) for name in names]


def _check_owners(reader: Reader, names: list[str]) -> list[Problem]:
    prepare = getattr(reader, "prepare", None)
    if prepare is not None:
        prepare(records={EXECUTIONS: names})
    return [problem for name in names for problem in _check_owner(reader, name)]


def _check_execution(reader: Reader, name: str) -> _Found:
    """A record, its two index entries and its events."""
    path = reader.record_file(EXECUTIONS, name)
    try:
        data = reader.record_named(EXECUTIONS, name)
    except StoreCorruptedError as error:
        return _Found([Problem(path, "record", error.reason)], 0)
    if data is None:
        return _Found([], 0)  # deleted since the names were read
    execution = check_record(data)
    if isinstance(execution, str):
        return _Found([Problem(path, "record", execution)], 0)
    if reader.name_of(execution.id) != name:
        return _Found([Problem(path, "record", f"it holds execution {execution.id!r}, whose file has another name")], 0)
    problems = []
    for index, group in (
        (STATE_INDEX, execution.compute_state.state_type.value),
        (JOB_INDEX, execution.job_id),
    ):
        wrong = reader.wrong_marker(LAYOUT, index, group, execution.id)
        if wrong is not None:
            problems.append(Problem(wrong.path, "index", wrong.reason))
    events = 0
    path = reader.lines_file(EXECUTION_EVENTS, name)
    try:
        lines = reader.lines(EXECUTION_EVENTS, execution.id)
    except StoreCorruptedError as error:
        problems.append(Problem(path, "events", error.reason))
    else:
        if lines is not None:
            checked = check_event_lines(lines)
            events = len(checked.good)
            problems += [Problem(path, "events", f"line {number}: {reason}") for number, reason in checked.damaged]
    return _Found(problems, events)


def _check_owner(reader: Reader, name: str) -> list[Problem]:
    if reader.has_record_named(EXECUTIONS, name) or not reader.has_lines_named(EXECUTION_EVENTS, name):
        return []
    return [Problem(reader.lines_file(EXECUTION_EVENTS, name), "events", "there is no execution to these events")]


def _check_totals(reader: Reader) -> list[Problem]:
    """Counts by state, and entries without a record."""
    problems: list[Problem] = []
    records = len(reader.record_names(EXECUTIONS))
    counts = counts_of(reader.values)
    for index in (STATE_INDEX, JOB_INDEX):
        groups = {group: reader.members_named(index, group.text) for group in reader.groups(index)}
        if sum(len(members) for members in groups.values()) != records:
            for group, members in groups.items():
                for name in members:
                    problems += _check_entry(reader, index, group.text, name)
        if index == STATE_INDEX:
            found = {group.key or group.text: len(members) for group, members in groups.items() if members}
            for state in sorted({*found, *counts}):
                if found.get(state, 0) != counts.get(state, 0):
                    reason = f"{counts.get(state, 0)} executions are counted in state {state}, but the index has "
                    problems.append(Problem("head", "counts", f"{reason}{found.get(state, 0)}"))
    return problems


def _check_entry(reader: Reader, index: str, group: str, name: str) -> list[Problem]:
    path = f"{index}/{group}/{name}"
    try:
        data = reader.record_named(EXECUTIONS, name)
    except StoreCorruptedError:
        return []  # told of as a record
    if data is None:
        return [Problem(path, "index", "it names an execution that isn't there")]
    execution = check_record(data)
    if isinstance(execution, str):
        return []
    belongs = execution.compute_state.state_type.value if index == STATE_INDEX else execution.job_id
    if reader.name_of(belongs) == group:
        return []
    return [Problem(path, "index", f"the execution belongs to {belongs!r}")]


def _check_checkpoint(reader: Reader, collection: str, name: str) -> list[Problem]:
    path = reader.record_file(collection, name)
    try:
        data = reader.record_named(collection, name)
    except StoreCorruptedError as error:
        return [Problem(path, "checkpoint", error.reason)]
    checkpoint = None if data is None else check_checkpoint(data)
    if isinstance(checkpoint, str):
        return [Problem(path, "checkpoint", checkpoint)]
    if checkpoint is not None and reader.name_of(checkpoint[0]) != name:
        return [Problem(path, "checkpoint", f"it is of {checkpoint[0]!r}, whose file has another name")]
    return []


def _segments(reader: Reader) -> tuple[LogState, list[int], list[str]]:
    firsts = reader.segment_numbers(LAYOUT.log)
    return LogState.of(reader.values), firsts, [reader.segment_file(LAYOUT.log, first) for first in firsts]


def _segment(reader: Reader, path: str) -> bytes | None:
    return reader.segment(path, 0)


def _check_log(store: Store) -> tuple[list[Problem], int]:
    """The segments follow one another without a gap, from the oldest line to the latest, and each line can be read."""

    state, firsts, paths = store.look(_segments)
    problems: list[Problem] = []
    count = 0
    expected = state.oldest
    for position, first in enumerate(firsts):
        path = paths[position]
        if first > state.latest:
            continue  # begun since
        if first != expected:
            problems.append(Problem(path, "log", f"event {expected} should come first here or in a segment before it"))
        try:
            data = store.look(partial(_segment, path=path))
        except StoreCorruptedError as error:
            problems.append(Problem(path, "log", error.reason))
            expected = first
            continue
        if data is None:
            # Collected since, else the name wouldn't have been there; what follows is where it was then.
            expected = firsts[position + 1] if position + 1 < len(firsts) else state.latest + 1
            continue
        if first == state.segment:
            data = data[: state.bytes]
        checked = check_log_lines(data, first)
        count += len(checked.good)
        problems += [Problem(path, "log", f"line {number}: {reason}") for number, reason in checked.damaged]
        expected = first + data.count(b"\n")
    if expected != state.latest + 1 and not problems:
        reason = f"the latest event is {state.latest}, but the log ends with {expected - 1}"
        problems.append(Problem("head", "log", reason))
    return problems, count
