"""Repair: what the records say is the truth; indexes, counts and the rest are brought in line with it.

A record that is lost is put back from the event log if that still has the execution's newest change. A record that can
be read is never replaced, even if the log has a newer revision: an import may have put an older one there.

All of it is one change under the store's lock, so it happens whole. A damaged file is first moved to ``quarantine/``,
with a file beside it that says why; nothing is deleted.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, cast

from execstore.errors import StoreCorruptedError
from execstore.integrity.checks import check_checkpoint, check_event_lines, check_log_lines, check_record
from execstore.integrity.from_log import find_newest, read_found
from execstore.integrity.report import RepairAction, RepairReport
from execstore.schema import (
    CHECKPOINTS,
    COUNTS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    LAYOUT,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    TIME,
    counts_of,
)
from execstore.tree.change import Change
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.models import Execution
    from execstore.store import Store
    from execstore.tree.reader import Reader

__all__ = ["mend", "rehearse", "repair"]

_LOG = logging.getLogger("execstore")


def repair(store: Store) -> RepairReport:
    """Mend the store; see `Store.repair`."""
    store.tree("repair")
    actions = store.apply("repair", lambda change: _repair(cast("Change", change)))
    return RepairReport(tuple(actions), store.verify().problems)


def rehearse(store: Store) -> list[RepairAction]:
    """What `repair` would do now. Nothing is changed, so the handle may be read-only."""
    store.tree("repair")
    return store.look(lambda reader: _repair(Change.rehearsal(cast("Reader", reader), LAYOUT)))


def mend(change: Change) -> None:
    """What an opening does after a power cut that met changes of relaxed durability."""
    for action in _repair(change):
        _LOG.warning("%s: %s", action.path, action.action)


def _repair(change: Change) -> list[RepairAction]:
    actions: list[RepairAction] = []
    for path, reason in change.wrong_folders(LAYOUT).items():
        actions.append(RepairAction(path, f"set aside: {reason}", change.set_folder_aside(path, reason)))
    if actions and change.is_rehearsal:
        return actions  # what stands in the way can't be looked into
    _mend_log(change, actions)
    _mend_log_beginning(change, actions)
    executions: dict[str, _Entry] = {}
    damaged: set[str] = set()
    newest = change.values.get(TIME, 0)
    for name in sorted(change.record_names(EXECUTIONS)):
        execution = _load(change, name, actions)
        if execution is None:
            damaged.add(name)
        else:
            executions[name] = _Entry.of(execution)
            newest = max(newest, execution.modify_time)
    for execution in _put_back(change, executions, damaged, actions):
        executions[change.name_of(execution.id)] = _Entry.of(execution)
        newest = max(newest, execution.modify_time)
    groups: dict[str, dict[str, dict[str, str]]] = {STATE_INDEX: defaultdict(dict), JOB_INDEX: defaultdict(dict)}
    for name, entry in executions.items():
        groups[STATE_INDEX][entry.state][name] = entry.id
        groups[JOB_INDEX][entry.job_id][name] = entry.id
    for index, expected in groups.items():
        _mend_index(change, index, expected, actions)
    counts = {state: len(members) for state, members in sorted(groups[STATE_INDEX].items())}
    if counts != counts_of(change.values):
        change.set_value(COUNTS, counts)
        actions.append(RepairAction("head", "counted the executions by state anew"))
    if newest > change.values.get(TIME, 0):
        change.set_value(TIME, newest)
    for name in sorted(change.lines_names(EXECUTION_EVENTS)):
        _mend_events(change, name, name in executions, actions)
    for collection in (CHECKPOINTS, SEQUENCE_TRACKING):
        for name in sorted(change.record_names(collection)):
            _mend_checkpoint(change, collection, name, actions)
    return actions


class _Entry(NamedTuple):
    """What is remembered of an execution."""

    id: str
    job_id: str
    state: str

    @staticmethod
    def of(execution: Execution) -> _Entry:
        return _Entry(execution.id, execution.job_id, execution.compute_state.state_type.value)


def _put_back(
    change: Change, executions: Mapping[str, _Entry], damaged: set[str], actions: list[RepairAction]
) -> list[Execution]:
    """Put lost records back from the log.

    Wanted are those that were set aside and those whose index entries or events are there. If more executions are
    counted than there are then, every other one of which the log doesn't say that it was deleted is wanted too.
    """
    hinted = set(damaged) | set(change.lines_names(EXECUTION_EVENTS))
    for index in LAYOUT.indexes:
        for group in change.groups(index):
            hinted.update(change.members_named(index, group.text))
    hinted -= executions.keys()
    any_other = sum(counts_of(change.values).values()) > len(executions) + len(hinted)
    if not hinted and not any_other:
        return []
    places = find_newest(change, lambda name: name in hinted or (any_other and name not in executions))
    put_back: list[Execution] = []
    for found in read_found(change, places):
        execution = found.execution
        change.put_record(EXECUTIONS, execution.id, found.record)
        put_back.append(execution)
        action = f"restored revision {execution.revision} from event {found.newest.number} of the log"
        if found.newest.unreadable:
            action += f"; event {found.newest.unreadable}, which is newer, is lost and may have been of it"
        path = change.record_file(EXECUTIONS, change.name_of(execution.id))
        actions.append(RepairAction(path, action))
    return put_back


def _set_aside(change: Change, path: str, reason: str, actions: list[RepairAction]) -> None:
    actions.append(RepairAction(path, f"set aside: {reason}", change.set_aside(path, reason)))


def _load(change: Change, name: str, actions: list[RepairAction]) -> Execution | None:
    path = change.record_file(EXECUTIONS, name)
    try:
        data = change.record_named(EXECUTIONS, name)
    except StoreCorruptedError as error:
        _set_aside(change, path, error.reason, actions)
        return None
    if data is None:
        return None
    execution = check_record(data)
    if isinstance(execution, str):
        _set_aside(change, path, execution, actions)
        return None
    if change.name_of(execution.id) != name:
        _set_aside(change, path, f"it holds execution {execution.id!r}, whose file has another name", actions)
        return None
    return execution


def _mend_index(change: Change, index: str, expected: dict[str, dict[str, str]], actions: list[RepairAction]) -> None:
    wanted = {change.name_of(group): members for group, members in expected.items()}
    for group in sorted(change.groups(index)):
        for name in sorted(change.members_named(index, group.text)):
            if name not in wanted.get(group.text, {}):
                change.unmark_named(index, group.text, name)
                actions.append(RepairAction(f"{index}/{group.text}/{name}", "removed: no execution belongs here"))
        if index == JOB_INDEX and group.text not in wanted:
            change.drop_group_named(index, group.text)
    for group_key, members in sorted(expected.items()):
        for key in members.values():
            wrong = change.wrong_marker(LAYOUT, index, group_key, key)
            if wrong is not None:
                change.mark(index, group_key, key)
                actions.append(RepairAction(wrong.path, f"made anew: {wrong.reason}"))


def _mend_events(change: Change, name: str, has_record: bool, actions: list[RepairAction]) -> None:
    path = change.lines_file(EXECUTION_EVENTS, name)
    if not has_record:
        _set_aside(change, path, "there is no execution to these events", actions)
        return
    try:
        data = change.lines_named(EXECUTION_EVENTS, name)
    except StoreCorruptedError as error:
        _set_aside(change, path, error.reason, actions)
        return
    checked = check_event_lines(data or b"")
    if checked.damaged:
        number, reason = checked.damaged[0]
        _set_aside(change, path, f"line {number}: {reason}", actions)
        change.put_lines_named(EXECUTION_EVENTS, name, b"".join(line + b"\n" for line in checked.good))
        actions.append(RepairAction(path, f"kept the {len(checked.good)} lines that can be read"))


def _mend_checkpoint(change: Change, collection: str, name: str, actions: list[RepairAction]) -> None:
    path = change.record_file(collection, name)
    try:
        data = change.record_named(collection, name)
    except StoreCorruptedError as error:
        _set_aside(change, path, error.reason, actions)
        return
    checkpoint = check_checkpoint(data or b"")
    if isinstance(checkpoint, str):
        _set_aside(change, path, checkpoint, actions)
    elif change.name_of(checkpoint[0]) != name:
        _set_aside(change, path, f"it is of {checkpoint[0]!r}, whose file has another name", actions)


def _attached_segments(change: Change, state: LogState, actions: list[RepairAction]) -> list[int]:
    """The first numbers of the log's segments, without those that a power cut left behind a gap: what stands in them is
    newer than all that the store knows of, and the events before them are lost."""
    numbers = change.segment_numbers(LAYOUT.log)
    expected = state.oldest
    for position, first in enumerate(numbers):
        if first > state.latest and first != expected:
            for number in numbers[position:]:
                path = change.segment_file(LAYOUT.log, number)
                _set_aside(change, path, f"event {expected}, which should come before it, is lost", actions)
            return numbers[:position]
        try:
            data = change.segment(change.segment_file(LAYOUT.log, first), 0) or b""
        except StoreCorruptedError:
            data = b""  # told of below, or by verify
        expected = first + data.count(b"\n")
    return numbers


def _mend_log(change: Change, actions: list[RepairAction]) -> None:
    """Bring the log's end in line with what its newest segment holds; a torn end is cut off."""
    state = LogState.of(change.values)
    numbers = _attached_segments(change, state, actions)
    if not numbers:
        return
    first = numbers[-1]
    path = change.segment_file(LAYOUT.log, first)
    try:
        data = change.segment(path, 0) or b""
    except StoreCorruptedError as error:
        _set_aside(change, path, error.reason, actions)
        return
    checked = check_log_lines(data, first)
    torn = min((number for number, _ in checked.damaged), default=0)
    whole = data.count(b"\n")
    if torn and torn + len(checked.damaged) > whole:  # nothing that can be read stands behind it: a torn end
        kept = b"".join(line + b"\n" for line in checked.good)
        _set_aside(change, path, f"line {torn}: {checked.damaged[0][1]}", actions)
        change.put_segment(first, kept)
        data = kept
        actions.append(RepairAction(path, f"kept the {len(checked.good)} lines that can be read"))
    latest = first + data.count(b"\n") - 1
    found = LogState(max(latest, state.latest), state.oldest, first, len(data), state.since_ns)
    if latest >= state.latest and found != state:
        change.set_log_state(found)
        actions.append(RepairAction("head", f"the log's latest event is {found.latest}"))


def _mend_log_beginning(change: Change, actions: list[RepairAction]) -> None:
    """Let the log begin with the oldest segment there is; one of which nothing counts any more is set aside."""
    state = LogState.of(change.values)
    numbers = change.segment_numbers(LAYOUT.log)
    _, collected = state.without_segments(numbers, state.oldest)
    for first in collected:
        _set_aside(change, change.segment_file(LAYOUT.log, first), "its events were collected", actions)
    left = numbers[len(collected) :]
    oldest = left[0] if left else state.latest + 1
    if oldest > state.oldest:
        change.set_log_state(state._replace(oldest=oldest) if left else LogState(state.latest, oldest, oldest))
        actions.append(RepairAction("head", f"the log's oldest event is {oldest}"))
