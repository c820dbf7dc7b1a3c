"""Copying a store: everything as it is, on from one engine to any other.

The source may be in use, and is only read. Executions are read a few at a time; what changed meanwhile is read again,
as the source's log names it, until the log and what it names are of one moment: the copy is the source at that moment,
with its log's numbers, its checkpoints and its times. Then both are compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from execstore.copying.comparing import compare
from execstore.copying.progress_record import KEY, CopyPhase, CopyState, encode_copy_state, read_copy_state
from execstore.errors import (
    ChangeTooLargeError,
    DestinationNotEmptyError,
    EventsCompactedError,
    InvalidArgumentError,
    StoreCorruptedError,
)
from execstore.forwarding.applying import ExecutionWriter
from execstore.forwarding.batch import named_executions
from execstore.forwarding.source import Source
from execstore.interop.progress import Progress
from execstore.records import parse_execution
from execstore.schema import CHECKPOINTS, COUNTS, EVENT_LIMITS, EXECUTION_EVENTS, EXECUTIONS, SEQUENCE_TRACKING, TIME
from execstore.tree.segments import LOG_VALUE, LogState
from execstore.watcher.lines import parse_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.engine import Change, Reader
    from execstore.forwarding.applying import Whole
    from execstore.store import Store

__all__ = ["CopyReport", "copy_store"]

_EXECUTIONS_A_CHANGE: Final = 256
_LINES_A_CHANGE: Final = 512
_BYTES_A_CHANGE: Final = 1 << 20
_SAFETY: Final = 0.9
_VALUES: Final = (EVENT_LIMITS, TIME)


@dataclass(slots=True)
class CopyReport:
    """What a copy came to.

    ``executions`` … ``checkpoints`` (with the watchers') are what the destination has in the end, ``latest_event`` is
    the moment of the source that it is. ``changed_since`` counts executions that weren't compared, since the source
    went on. ``differences`` are sentences: where the two aren't the same. ``resumed``: the copy had been begun before.
    """

    source: str
    destination: str
    executions: int = 0
    execution_events: int = 0
    log_events: int = 0
    checkpoints: int = 0
    latest_event: int = 0
    changed_since: int = 0
    resumed: bool = False
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the copy is what its source is."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {"ok": self.ok} | {name: getattr(self, name) for name in self.__dataclass_fields__}


def copy_store(source: Store, destination: Store, progress: Progress | None = None) -> CopyReport:
    """Copy everything from ``source`` to ``destination``, which is empty or an unfinished copy of the same store.

    One that was cut off goes on where it was. Until the copy was compared with its source, the destination has a
    checkpoint ``copy.unfinished``. Both sides are only compared where the source hasn't gone on meanwhile. Whoever
    else changes the destination meanwhile spoils the copy; the comparison then tells.

    Raises:
        DestinationNotEmptyError: there is something else, or another copy is at work.
        InvalidArgumentError: both are the same store.
        StoreCorruptedError: the source holds something that can't be read; run 'execstore repair' on it first.
        ChangeTooLargeError: an execution is larger than the destination's engine takes.
    """
    if source.store_id == destination.store_id:
        raise InvalidArgumentError("destination", f"{destination.path} is the store that is to be copied")
    started = time.monotonic()
    with progress or Progress("copying", "items") as shown:
        copier = _Copier(source, destination, shown)
        copier.run()
        report = CopyReport(source.path, destination.path, resumed=copier.resumed, latest_event=copier.state.through)
        compare(source, destination, copier.checkpoints, report, shown)
    if report.ok:
        copier.finish()
    else:
        copier.begin_again()
    report.seconds = time.monotonic() - started
    return report


class _Copier:
    """Copies; ``state`` is how far it has come, ``checkpoints`` are the source's by collection, as they were copied."""

    def __init__(self, source: Store, destination: Store, progress: Progress) -> None:
        self._source = Source(source)
        self._destination = destination
        self._progress = progress
        self.checkpoints: dict[str, dict[str, bytes]] = {}
        self._share = 1.0  # of what a change takes at most: less for an engine that doesn't take so much
        if source.look(read_copy_state) is not None:
            reason = "is an unfinished copy itself; finish it first, by the same 'execstore copy' that began it"
            raise InvalidArgumentError("source", f"{source.path} {reason}")
        found = destination.look(read_copy_state)
        self.resumed = found is not None
        self.state = self._begin() if found is None else found
        if self.state.source_id != source.store_id:
            reason = f"is an unfinished copy of another store ({self.state.source_id})"
            raise DestinationNotEmptyError(destination.path, reason)
        if self.state.through > self._source.ends().latest:
            raise DestinationNotEmptyError(destination.path, "is an unfinished copy of a later state of this store")

    def run(self) -> None:
        """Copy what isn't there yet, up to a moment of the source."""
        if self.state.phase is CopyPhase.CHECK:
            # It may have gone on since.
            self._change(replace(self.state, phase=CopyPhase.LOG), lambda _: None)
        while self.state.phase is not CopyPhase.CHECK:
            try:
                if self.state.phase is CopyPhase.EXECUTIONS:
                    self._copy_executions()
                elif self.state.phase is CopyPhase.SWEEP:
                    self._sweep()
                else:
                    self._copy_log()
            except EventsCompactedError:
                # What changed since isn't known any more: everything is looked at again, and the log begins anew.
                self.begin_again()
            except ChangeTooLargeError as error:
                if self._share * _EXECUTIONS_A_CHANGE <= 1:
                    raise
                self._share *= min(error.limit / max(error.size, 1), 1) * _SAFETY

    def begin_again(self) -> None:
        """Let everything be looked at once more: put right where it differs, what is too much removed."""
        latest = self._source.ends().latest
        again = replace(self.state, phase=CopyPhase.EXECUTIONS, since=latest, after="", through=0, sweeps=True)
        self._change(again, lambda _: None)

    def finish(self) -> None:
        """Remove what told of the copy."""

        def remove(change: Change) -> None:
            self._check(change)
            change.remove_record(SEQUENCE_TRACKING, KEY)

        self._destination.engine().change(remove)

    def _begin(self) -> CopyState:
        state = CopyState(self._source.store_id, CopyPhase.EXECUTIONS, self._source.ends().latest)
        facts = self._source.store.look(_facts)

        def begin(change: Change) -> None:
            reason = _content(change)
            if reason:
                raise DestinationNotEmptyError(self._destination.path, reason)
            change.put_record(SEQUENCE_TRACKING, KEY, encode_copy_state(state), is_new=True)
            # From now on what collects old events here goes by the same rules as there.
            _set_values(change, facts.values)

        self._destination.engine().change(begin)
        return state

    def _check(self, reader: Reader) -> None:
        if read_copy_state(reader) != self.state:
            raise DestinationNotEmptyError(self._destination.path, "is being written to by another copy at this moment")

    def _change(self, after: CopyState, operation: Callable[[Change], None]) -> None:
        """Past the store's own way to commit, which would collect old events that have just come."""

        def apply(change: Change) -> None:
            self._check(change)
            operation(change)
            change.put_record(SEQUENCE_TRACKING, KEY, encode_copy_state(after))

        self._destination.engine().change(apply)
        self.state = after

    def _at_most(self, number: int) -> int:
        return max(int(number * self._share), 1)

    def _copy_executions(self) -> None:
        page = self._source.page(self.state.after, self._at_most(_EXECUTIONS_A_CHANGE), _BYTES_A_CHANGE, self._damaged)
        if page.wholes:
            after = replace(self.state, after=page.wholes[-1].execution_id)
        else:
            phase = CopyPhase.SWEEP if self.state.sweeps else CopyPhase.LOG
            after = replace(self.state, phase=phase, after="")
        self._change(after, lambda change: _put(change, page.wholes, self._destination))
        self._progress.advance(len(page.wholes))

    def _sweep(self) -> None:
        limit = self._at_most(_EXECUTIONS_A_CHANGE)
        listed = self._destination.list_executions(after=self.state.after or None, limit=limit)
        ids = [execution.id for execution in listed]
        wholes, _ = self._source.wholes(dict.fromkeys(ids, ""), self._damaged)
        gone = [whole for whole in wholes if whole.record is None]
        after = replace(self.state, phase=CopyPhase.LOG, after="")
        if ids:
            after = replace(self.state, after=ids[-1])
        self._change(after, lambda change: _put(change, gone, self._destination))

    def _copy_log(self) -> None:
        source, state = self._source, self.state
        ends = source.ends()
        starts = not state.through
        first = ends.oldest if starts else state.through + 1
        piece = source.read(first, self._at_most(_LINES_A_CHANGE), _BYTES_A_CHANGE)
        named = named_executions([line for line in piece.lines if line[0] > state.since])
        wholes, latest = source.wholes(named, self._damaged)
        facts = source.store.look(_facts)
        through = piece.lines[-1][0] if piece.lines else max(ends.latest, state.through)
        is_end = latest == facts.latest == through
        after = replace(state, phase=CopyPhase.CHECK if is_end else CopyPhase.LOG, through=through)
        times = [(line, parse_ends(line, number).timestamp) for number, line in piece.lines]

        def apply(change: Change) -> None:
            _put(change, wholes, self._destination)
            if starts:
                _start_log(change, first if piece.lines else through + 1)
            for line, time_ns in times:
                change.append_log(line, time_ns)
            if is_end:
                _set_checkpoints(change, facts)
            _set_values(change, facts.values)

        self._change(after, apply)
        self.checkpoints = {SEQUENCE_TRACKING: facts.checkpoints, CHECKPOINTS: facts.watchers}
        self._progress.advance(len(times))

    def _damaged(self, sentence: str) -> None:
        raise StoreCorruptedError(
            self._source.store.path, sentence, "'execstore repair' sets aside what can't be read; then copy again"
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a store keeps beside executions and log."""

    latest: int
    values: dict[str, Any]
    checkpoints: dict[str, bytes]
    watchers: dict[str, bytes]


def _facts(reader: Reader) -> _Facts:
    return _Facts(
        LogState.of(reader.values).latest,
        {name: reader.values[name] for name in _VALUES if name in reader.values},
        _records(reader, SEQUENCE_TRACKING),
        _records(reader, CHECKPOINTS),
    )


def _records(reader: Reader, collection: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in reader.record_names(collection):
        data = reader.record_named(collection, name)
        key = reader.key_of(name)
        if key is None and data is not None:
            from execstore.records import parse_checkpoint  # noqa: PLC0415 - names that were cut short are rare

            key = parse_checkpoint(data)[0]
        if key is not None and data is not None:
            found[key] = data
    return found


def _set_values(change: Change, values: dict[str, Any]) -> None:
    for name, value in values.items():
        change.set_value(name, value)


def _set_checkpoints(change: Change, facts: _Facts) -> None:
    for collection, wanted in ((SEQUENCE_TRACKING, facts.checkpoints), (CHECKPOINTS, facts.watchers)):
        there = _records(change, collection)
        there.pop(KEY, None)
        for key in there.keys() - wanted.keys():
            change.remove_record(collection, key)
        for key, data in wanted.items():
            if there.get(key) != data:
                change.put_record(collection, key, data, is_new=key not in there)


def _start_log(change: Change, number: int) -> None:
    """Let the log be empty, and its next line have this number."""
    change.drop_log_before(LogState.of(change.values).latest + 1)
    change.set_value(LOG_VALUE, LogState(number - 1, number, number).to_value())


def _put(change: Change, wholes: Sequence[Whole], destination: Store) -> None:
    """Make executions what they are in the source, without a word in the log."""
    writer = ExecutionWriter(change, destination.rules.clock, [whole.execution_id for whole in wholes])
    for whole in wholes:
        old = writer.old(whole.execution_id)
        if whole.record is None:
            if old is not None:
                writer.remove(old)
            continue
        if old is None or old.record != whole.record:
            writer.put(old, parse_execution(whole.record), whole.record)
        if old is None or (change.lines(EXECUTION_EVENTS, whole.execution_id) or b"") != whole.lines:
            writer.set_lines(whole.execution_id, whole.lines, is_new=old is None)
    writer.finish()


def _content(reader: Reader) -> str:
    """What a store that should be empty holds, as half a sentence; "" if it is empty."""
    if reader.values.get(COUNTS) or reader.record_names(EXECUTIONS):
        return "holds executions"
    if LogState.of(reader.values).latest:
        return "has an event log already"
    if reader.record_names(CHECKPOINTS) or reader.record_names(SEQUENCE_TRACKING):
        return "holds checkpoints"
    return ""
