"""Collection: what may go from the beginning of the event log, and letting it go.

The log is collected by whole segments, the oldest first. A segment may go

- by age: its newest event is at least ``retention`` old, and every watcher's checkpoint is at or above that event. With
  no checkpoint age alone decides; a checkpoint of 0 holds the log; one beyond the log counts as the latest event. The
  newest segment may go like any other: the log then is empty, and its numbers go on where they were.
- by size: the log would outgrow ``max_bytes``. That asks neither age nor watchers, so it is said in the log of the
  program how many events whom it cost. The newest segment stays.

The reference (``pkg/lib/watcher/boltdb/gc.go``) collects nothing without a checkpoint, and forgets a checkpoint of 0
that comes first.

Nobody collects but the writers' own processes, now and then after a commit (`Collector`). A look costs the reading of
one line: the last line of a segment tells how old the segment is and which comes next.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.codec import CodecError
from execstore.engine import LogState, Rotation
from execstore.errors import DeserializationError, StoreClosedError, StoreCorruptedError, TransactionConflictError
from execstore.records import parse_checkpoint
from execstore.schema import CHECKPOINTS, EVENT_LIMITS, LAYOUT
from execstore.watcher.lines import parse_ends, parse_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from execstore.engine import Change, Engine, Reader

__all__ = [
    "DEFAULT_RETENTION_NS",
    "SMALLEST_MAX_BYTES",
    "CollectReport",
    "Collector",
    "Decision",
    "Limits",
    "Segment",
    "collect",
    "decide",
    "load_checkpoints",
    "preview",
    "segments_of",
]

DEFAULT_RETENTION_NS: Final = 24 * 3600 * 10**9
"""The reference's."""

SMALLEST_MAX_BYTES: Final = 16384
"""The least ``max_bytes``: four segments of a page."""

_LOG = logging.getLogger("execstore")

_SECOND_NS = 10**9
_SHORTEST_SEGMENT_NS = 60 * _SECOND_NS  # with a retention of next to nothing there'd be a file for every event

# After a commit: how many segments go at once, and how long until the next look.
_SEGMENTS_A_RUN = 8
_NEXT_IF_MORE_NS = _SECOND_NS // 2
_NEXT_IF_BUSY_NS = _SECOND_NS // 10
_NEXT_IF_HELD_NS = 10 * _SECOND_NS
_NEXT_AT_MOST_NS = 600 * _SECOND_NS
_NEXT_AFTER_ERROR_NS = 60 * _SECOND_NS

# By hand: writers needn't wait while a thousand segments go at once.
_SEGMENTS_A_CHANGE = 64


class Limits(NamedTuple):
    """How long events are kept, in nanoseconds, and how large the log may become, in bytes (0: any size)."""

    retention_ns: int = DEFAULT_RETENTION_NS
    max_bytes: int = 0

    @staticmethod
    def of(values: Mapping[str, Any]) -> Limits:
        """What the store was last told."""
        found = values.get(EVENT_LIMITS)
        return Limits(*found) if found else Limits()

    def override(self, retention_ns: int | None, max_bytes: int | None) -> Limits:
        """The same with what is given."""
        return Limits(
            self.retention_ns if retention_ns is None else retention_ns,
            self.max_bytes if max_bytes is None else max_bytes,
        )

    def rotation(self) -> Rotation:
        """Segments so small and so young that these limits can be kept: a quarter of each."""
        return Rotation(self.max_bytes // 4, max(self.retention_ns // 4, _SHORTEST_SEGMENT_NS))


class Segment(NamedTuple):
    """One segment of the log: its events' numbers, its size, and when its newest event was written.

    ``newest_ns`` is ``None`` where no segment from here on can be read: it then counts as new.
    """

    first: int
    last: int
    size_bytes: int
    newest_ns: int | None


class Decision(NamedTuple):
    """What is to go: the first ``segments`` segments, of which ``by_age`` because they are old and handled.

    ``horizon`` is the oldest number afterwards. ``held_by`` is the watcher without which the next would go by age,
    ``due_ns`` the time when the next is old enough; ``None`` where neither is what keeps it.
    """

    segments: int
    by_age: int
    size_bytes: int
    horizon: int
    held_by: str | None
    due_ns: int | None


def decide(
    segments: Iterable[Segment],
    log_bytes: int,
    oldest: int,
    latest: int,
    checkpoints: Mapping[str, int],
    limits: Limits,
    now_ns: int,
) -> Decision:
    """Apply the rule: a pure function.

    Args:
        segments: the log's, or the first of them, the oldest first. No more is taken than is needed.
        log_bytes: what is held against ``limits.max_bytes``: the size of all segments, and the room that the newest one
            may still take.
    """
    lowest, holder = min(
        ((min(sequence_number, latest), name) for name, sequence_number in checkpoints.items()), default=(latest, None)
    )
    count = by_age = dropped_bytes = 0
    horizon = oldest
    held_by: str | None = None
    due_ns: int | None = None
    goes_by_age = True
    for segment in segments:
        if goes_by_age:
            if segment.newest_ns is None or now_ns - segment.newest_ns < limits.retention_ns:
                goes_by_age = False
                due_ns = None if segment.newest_ns is None else segment.newest_ns + limits.retention_ns
            elif segment.last > lowest:
                goes_by_age = False
                held_by = holder
            else:
                by_age += 1
        if not goes_by_age:
            too_large = limits.max_bytes > 0 and log_bytes - dropped_bytes > limits.max_bytes
            if not too_large or segment.last >= latest:
                break
        count += 1
        dropped_bytes += segment.size_bytes
        horizon = segment.last + 1
    return Decision(count, by_age, dropped_bytes, horizon, held_by, due_ns)


def segments_of(reader: Reader) -> Iterator[Segment]:
    """The log's segments, the oldest first; each costs the reading of its last line, when it comes to it."""
    state = LogState.of(reader.values)
    first = state.oldest
    while first <= state.latest:
        last, newest_ns = _end_of(reader, state, first)
        following = last + 1
        while newest_ns is None and following <= state.latest:
            # Times only go up, so what can't be read is at most as new as what stands behind it.
            end, newest_ns = _end_of(reader, state, following)
            following = end + 1
        yield Segment(first, last, reader.segment_bytes(LAYOUT.log, first), newest_ns)
        first = last + 1


def _end_of(reader: Reader, state: LogState, first: int) -> tuple[int, int | None]:
    """The last number of the segment that begins with ``first``, and its time if that can be read."""
    try:
        line = reader.segment_end(LAYOUT.log, first)
        number = parse_number(line) if line is not None else None
        if line is not None and number is not None and first <= number <= state.latest:
            return number, parse_ends(line, number).timestamp
    except (DeserializationError, StoreCorruptedError):
        pass  # told of by verify; here it only matters where the segment ends
    following = (other for other in reader.segment_numbers(LAYOUT.log) if other > first)
    return min(next(following, state.latest + 1) - 1, state.latest), None


def load_checkpoints(reader: Reader) -> dict[str, int]:
    """All watchers' checkpoints. One that can't be read counts as 0: who knows what its watcher still needs."""
    found: dict[str, int] = {}
    for name in reader.record_names(CHECKPOINTS):
        try:
            data = reader.record_named(CHECKPOINTS, name)
            if data is not None:
                watcher_id, sequence_number = parse_checkpoint(data)
                found[watcher_id] = sequence_number
        except (CodecError, StoreCorruptedError) as error:
            _LOG.warning("%s can't be read: %s; it holds the event log", reader.record_file(CHECKPOINTS, name), error)
            found[reader.key_of(name) or name] = 0
    return found


class _Plan(NamedTuple):
    decision: Decision
    checkpoints: Mapping[str, int]
    state: LogState


def _plan(reader: Reader, limits: Limits, now_ns: int, store_segment_bytes: int, most: int | None) -> _Plan:
    state = LogState.of(reader.values)
    log_bytes = 0
    if limits.max_bytes:
        sizes = [reader.segment_bytes(LAYOUT.log, first) for first in reader.segment_numbers(LAYOUT.log)]
        room = limits.rotation().within(store_segment_bytes).segment_bytes
        log_bytes = sum(sizes) + max(room - (0 if state.is_empty else state.bytes), 0)
    found = segments_of(reader)
    head = list(islice(found, 1))
    # Most looks end here: nothing is old, so nobody's checkpoint matters.
    decision = decide(head, log_bytes, state.oldest, state.latest, {}, limits, now_ns)
    if not decision.segments:
        return _Plan(decision, {}, state)
    checkpoints = load_checkpoints(reader)

    def segments() -> Iterator[Segment]:
        yield from head
        yield from found

    decision = decide(islice(segments(), most), log_bytes, state.oldest, state.latest, checkpoints, limits, now_ns)
    return _Plan(decision, checkpoints, state)


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What went from the event log, or would have gone.

    ``oldest`` and ``latest`` are the log's numbers afterwards; ``held_by`` is the watcher whose checkpoint keeps the
    next segment, which is old enough, ``None`` if age keeps it (or there is none). ``lost`` says which watchers lost
    how many events that they hadn't handled, to ``event_max_bytes``.
    """

    segments: int
    events: int
    bytes: int
    oldest: int
    latest: int
    held_by: str | None
    lost: Mapping[str, int]
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "segments": self.segments,
            "events": self.events,
            "bytes": self.bytes,
            "oldest": self.oldest,
            "latest": self.latest,
            "held_by": self.held_by,
            "lost": dict(self.lost),
            "dry_run": self.dry_run,
        }


def _report(plan: _Plan, *, dry_run: bool = False) -> CollectReport:
    decision, state = plan.decision, plan.state
    lost = {}
    for name, sequence_number in sorted(plan.checkpoints.items()):
        unhandled = decision.horizon - 1 - max(sequence_number, state.oldest - 1)
        if unhandled > 0:
            lost[name] = unhandled
    events = decision.horizon - state.oldest
    return CollectReport(
        decision.segments,
        events,
        decision.size_bytes,
        decision.horizon,
        state.latest,
        decision.held_by,
        lost,
        dry_run,
    )


def _tell(path: str, plan: _Plan, report: CollectReport, limits: Limits) -> None:
    if plan.decision.segments > plan.decision.by_age:
        _LOG.info(
            "%s: the events %d to %d went from the event log to keep it within %d bytes",
            path,
            plan.state.oldest,
            report.oldest - 1,
            limits.max_bytes,
        )
    for name, events in report.lost.items():
        _LOG.warning(
            "%s: watcher %s lost %d events that it hadn't handled, to keep the event log within %d bytes",
            path,
            name,
            events,
            limits.max_bytes,
        )


def preview(engine: Engine, override: Callable[[Limits], Limits], now_ns: int) -> CollectReport:
    """What `collect` would do, without doing it."""

    def look(reader: Reader) -> _Plan:
        return _plan(reader, override(Limits.of(reader.values)), now_ns, engine.segment_bytes, None)

    return _report(engine.read(look), dry_run=True)


def collect(engine: Engine, override: Callable[[Limits], Limits], now_ns: int) -> CollectReport:
    """Collect all that may go now, in changes that other writers don't have to wait long for.

    Args:
        override: gives the limits to go by, from those that the store was told.
    """
    reports: list[CollectReport] = []
    while True:
        plan, limits = engine.change(lambda change: _drop(engine, change, override, now_ns, _SEGMENTS_A_CHANGE))
        report = _report(plan)
        _tell(engine.path, plan, report, limits)
        reports.append(report)
        if report.segments < _SEGMENTS_A_CHANGE:
            break
    lost: dict[str, int] = {}
    for each in reports:
        for name, events in each.lost.items():
            lost[name] = lost.get(name, 0) + events
    return CollectReport(
        sum(each.segments for each in reports),
        sum(each.events for each in reports),
        sum(each.bytes for each in reports),
        report.oldest,
        report.latest,
        report.held_by,
        lost,
    )


def _drop(
    engine: Engine, change: Change, override: Callable[[Limits], Limits], now_ns: int, most: int
) -> tuple[_Plan, Limits]:
    """Drop up to ``most`` segments; returns what was decided, by which limits."""
    limits = override(Limits.of(change.values))
    plan = _plan(change, limits, now_ns, engine.segment_bytes, most)
    if plan.decision.segments:
        change.drop_log_before(plan.decision.horizon)
    return plan, limits


class Collector:
    """Collects after commits, a little at a time. One for each handle; safe for many threads.

    A commit that needn't look pays for a comparison of numbers. A look is due when the oldest segment has become old
    enough, or, where the log has a largest size, with each new segment; but if a watcher holds the log, every 10
    seconds. Nothing that goes wrong here reaches the caller, whose change is committed by then: it is logged.
    """

    def __init__(self, override: Callable[[Limits], Limits], clock: Callable[[], int]) -> None:
        self._override = override
        self._clock = clock
        self._running = threading.Lock()
        self._ran_ns = 0
        self._due_ns = 0
        self._has_cap = False
        self._segment = 0

    def after_commit(self, engine: Engine, values: Mapping[str, Any]) -> None:
        """See whether something is due. ``values`` are the head's after the commit."""
        try:
            now_ns = self._clock()
            # A clock that was set back must not put the next look off for years.
            if self._ran_ns <= now_ns < self._due_ns and (
                not self._has_cap or LogState.of(values).segment == self._segment
            ):
                return
            if not self._running.acquire(blocking=False):
                return
            try:
                limits = self._override(Limits.of(values))
                self._has_cap = limits.max_bytes > 0
                self._segment = LogState.of(values).segment
                self._ran_ns = now_ns
                self._due_ns = now_ns + _NEXT_AFTER_ERROR_NS
                self._due_ns = now_ns + self._run(engine, limits, now_ns)
            finally:
                self._running.release()
        except StoreClosedError:
            return  # by another thread; the next handle goes on
        except Exception as error:  # noqa: BLE001 - the caller's change is committed; this is no failure of it
            _LOG.warning("%s: the event log can't be collected now (%s)", engine.path, error)

    def _run(self, engine: Engine, limits: Limits, now_ns: int) -> int:
        """Collect; returns the nanoseconds until the next look."""

        def look(reader: Reader) -> Decision:
            return _plan(reader, limits, now_ns, engine.segment_bytes, _SEGMENTS_A_RUN).decision

        decision = engine.read(look)
        if decision.segments:
            collected = self._try_to_collect(engine, now_ns)
            if collected is None:
                self._segment = 0
                return _NEXT_IF_BUSY_NS
            if collected:
                return _NEXT_IF_MORE_NS
        if decision.held_by is not None:
            return _NEXT_IF_HELD_NS
        # Without any event, the next one will be the first to become old.
        until_due_ns = limits.retention_ns if decision.due_ns is None else decision.due_ns - now_ns
        return min(max(until_due_ns, _SECOND_NS), _NEXT_AT_MOST_NS)

    def _try_to_collect(self, engine: Engine, now_ns: int) -> int | None:
        """How many segments went; ``None`` if another writer was in the way."""
        change = engine.try_begin()
        if change is None:
            return None
        try:
            plan, limits = _drop(engine, change, self._override, now_ns, _SEGMENTS_A_RUN)
        except BaseException:
            engine.rollback(change)
            raise
        try:
            engine.commit(change)
        except TransactionConflictError:
            return None
        report = _report(plan)
        _tell(engine.path, plan, report, limits)
        return report.segments
