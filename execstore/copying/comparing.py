"""Whether a copy is what its source is: every execution, its events, the log, checkpoints, indexes and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.copying.progress_record import KEY
from execstore.errors import EventsCompactedError
from execstore.event_log import StoreEventLog
from execstore.forwarding.batch import named_executions
from execstore.forwarding.source import Source
from execstore.records import parse_execution
from execstore.schema import JOB_INDEX, STATE_INDEX, counts_of
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.copying.copier import CopyReport
    from execstore.engine import Reader
    from execstore.forwarding.applying import Whole
    from execstore.interop.progress import Progress
    from execstore.store import Store

__all__ = ["compare"]

_PAGE: Final = 256
_PAGE_BYTES: Final = 1 << 20
_LISTED: Final = 100


class _Differences:
    """Collects sentences; those about executions are judged in the end, when it is known which changed meanwhile."""

    def __init__(self) -> None:
        self.executions: dict[str, str] = {}
        self.others: list[str] = []


def compare(
    source: Store,
    destination: Store,
    checkpoints: Mapping[str, Mapping[str, bytes]],
    report: CopyReport,
    progress: Progress,
) -> None:
    """Compare the source as it was at ``report.latest_event`` with the destination; fills the report.

    ``checkpoints`` are those of that moment, by collection. Executions that the source's log names behind that moment
    are left out, and counted.
    """
    found = _Differences()
    states: dict[str, int] = {}
    theirs, ours = _executions(source, found), _executions(destination, found)
    one, other = next(theirs, None), next(ours, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.execution_id < other.execution_id):
            if one is not None:
                found.executions[one.execution_id] = "it is missing"
            one = next(theirs, None)
            continue
        state = parse_execution(other.record or b"").compute_state.state_type.value
        states[state] = states.get(state, 0) + 1
        report.executions += 1
        report.execution_events += other.lines.count(b"\n")
        progress.advance()
        if one is None or other.execution_id < one.execution_id:
            found.executions[other.execution_id] = "the source hasn't got it"
            other = next(ours, None)
            continue
        if one.record != other.record:
            found.executions[one.execution_id] = "its record is another"
        elif one.lines != other.lines:
            found.executions[one.execution_id] = "its events are others"
        one, other = next(theirs, None), next(ours, None)
    found.others += destination.look(lambda reader: list(_wrong_counts(reader, states)))
    found.others += _compare_log(source, destination, report)
    found.others += destination.look(lambda reader: list(_wrong_checkpoints(reader, checkpoints, report)))
    changed = _changed_since(source, report.latest_event) if found.executions else set()
    for execution_id, sentence in found.executions.items():
        if execution_id in changed:
            report.changed_since += 1
        else:
            report.differences.append(f"execution {execution_id}: {sentence}")
    report.differences += found.others
    if len(report.differences) > _LISTED:
        report.differences[_LISTED:] = [f"and {len(report.differences) - _LISTED} more"]


def _executions(store: Store, found: _Differences) -> Iterator[Whole]:
    """All of a store's executions, by ID."""

    def damaged(sentence: str) -> None:
        found.others.append(f"{store.path}: {sentence}")

    source = Source(store)
    after = ""
    while True:
        page = source.page(after, _PAGE, _PAGE_BYTES, damaged)
        yield from page.wholes
        if page.is_last or not page.wholes:
            return
        after = page.wholes[-1].execution_id


def _changed_since(source: Store, number: int) -> set[str]:
    changed: set[str] = set()
    reading = Source(source)
    try:
        while piece := reading.read(number + 1, _PAGE, _PAGE_BYTES).lines:
            changed.update(named_executions(piece))
            number = piece[-1][0]
    except EventsCompactedError:
        pass  # what can't be told apart is told as a difference
    return changed


def _wrong_counts(reader: Reader, states: Mapping[str, int]) -> Iterator[str]:
    total = sum(states.values())
    counted = {state: number for state, number in counts_of(reader.values).items() if number}
    if counted != states:
        yield f"the counts by state are {counted}, but there are {dict(states)}"
    for index in (STATE_INDEX, JOB_INDEX):
        entries = sum(len(reader.members_named(index, group.text)) for group in reader.groups(index))
        if entries != total:
            yield f"{index} has {entries} entries for {total} executions"


def _compare_log(source: Store, destination: Store, report: CopyReport) -> Iterator[str]:
    theirs, ours = StoreEventLog(source), StoreEventLog(destination)
    ends = destination.look(lambda reader: LogState.of(reader.values))
    if ends.latest != report.latest_event:
        yield f"the event log ends at {ends.latest}, not at {report.latest_event}"
    number = max(ends.oldest, theirs.oldest())
    report.log_events = ends.latest + 1 - ends.oldest
    last = min(ends.latest, report.latest_event)
    while number <= last:
        one = dict(theirs.read(number, min(_PAGE, last - number + 1)))
        other = dict(ours.read(number, min(_PAGE, last - number + 1)))
        shared = range(number, min(max(one, default=0), max(other, default=0)) + 1)
        if not shared:
            yield f"event {number} can't be read"
            return
        for each in shared:
            # What has been collected meanwhile is nobody's fault.
            if each in one and each in other and one[each] != other[each]:
                yield f"event {each} of the event log is another"
        number = shared[-1] + 1


def _wrong_checkpoints(
    reader: Reader, checkpoints: Mapping[str, Mapping[str, bytes]], report: CopyReport
) -> Iterator[str]:
    report.checkpoints = 0
    for collection, wanted in checkpoints.items():
        names = {key: reader.name_of(key) for key in wanted}
        for key, data in wanted.items():
            if reader.record(collection, key) != data:
                yield f"checkpoint {key} is another"
        strangers = set(reader.record_names(collection)) - set(names.values()) - {reader.name_of(KEY)}
        yield from (f"checkpoint {name} isn't one of the source" for name in sorted(strangers))
        report.checkpoints += len(wanted)
