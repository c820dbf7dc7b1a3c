"""Reading a store for ``top``, at little cost to it: what has changed is taken from the event log, as it comes.

The executions shown are listed once, and then kept up by the log's events. ``Store.metrics`` gives the rest; it reads
each live execution and looks at each segment of the log, so it is asked when something has happened, less often where
that would take more than a twentieth of the time, and every ``IDLE_SECONDS`` if nothing happens. A look that finds
nothing new costs a ``stat`` of the store's folder and one reading of the log's latest number.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from execstore.addresses import folder_of
from execstore.errors import (
    DeserializationError,
    EventsCompactedError,
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    StoreCorruptedError,
    StoreNotFoundError,
)
from execstore.event_log import StoreEventLog
from execstore.notify import PollingNotifier, open_notifier
from execstore.top.executions import ExecutionList
from execstore.top.filters import Filter
from execstore.top.model import (
    Detail,
    Reading,
    Snapshot,
    event_row,
    latency_of,
    rate_of,
    state_change,
)
from execstore.top.trend import BUCKET_SECONDS, BUCKETS, StateChange, Trend, begin_trend, extend_trend
from execstore.watcher.event_store import EventStore
from execstore.watcher.events import EventIterator, GetEventsRequest
from execstore.watcher.serializer import PlainSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from execstore import Execution, Store
    from execstore.metrics import StoreMetrics
    from execstore.notify import Notifier
    from execstore.states import ExecutionState
    from execstore.top.model import EventRow
    from execstore.watcher import Event

__all__ = ["IDLE_SECONDS", "Source"]

IDLE_SECONDS: Final = 5.0
"""How often all is looked at though the log says that nothing happened: a watcher's checkpoint is no event."""

KEPT_EVENTS: Final = 500
"""How many of the newest events can be looked back at."""

MOST_EVENTS: Final = 2000
"""How many events one look goes through. Of more, only the newest are shown, and what is live is listed anew."""

_AT_ONCE: Final = 500
_RATE_NS: Final = 10_000_000_000
_SHARE: Final = 20  # a costly reading takes at most one part of so many of the time
_LATENCY_SAMPLES: Final = 60
_KEPT_JOBS: Final = 4096
_KEPT_PROBLEMS: Final = 50
_TREND_NS: Final = BUCKETS * BUCKET_SECONDS * 1_000_000_000


class Source:
    """Looks at one store, again and again.

    One thread calls ``look`` and ``rest``; all else may be called from any.

    Args:
        polling_seconds: how often the store is looked at for something new where the kernel doesn't tell.
        clock: nanoseconds since the epoch, as events are stamped with.
    """

    def __init__(self, store: Store, *, polling_seconds: float = 1.0, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder_of(store.path)
        self._identity = self._identify()
        # Whether the kernel tells of changes; None while nothing was waited for. Of a store that isn't in a folder
        # others may write to it by another machine's clock, so there is nothing to measure.
        self._is_told: bool | None = None if self._folder is not None else False
        self._polling_seconds = polling_seconds
        log = StoreEventLog(store, notifier=None if self._folder is None else self._open_notifier)
        self._event_store = EventStore(log, serializer=PlainSerializer())
        self._position: int | None = None  # the last event that was taken in; None before the first look
        self._skipped = 0
        self._executions = ExecutionList(store)
        self._asked = Filter()
        self._events: deque[EventRow] = deque(maxlen=KEPT_EVENTS)
        self._event_rows: tuple[EventRow, ...] = ()  # the same until there is another event
        self._jobs: dict[str, tuple[str, str]] = {}
        self._readings: deque[Reading] = deque(maxlen=_RATE_NS // 100_000_000)
        self._latencies_ns: deque[int] = deque(maxlen=_LATENCY_SAMPLES)
        self._trend = Trend()
        self._counted_to = 0
        self._counts: dict[str, int] = {}
        self._is_stale = False  # whether something happened since the metrics were read
        self._metrics: StoreMetrics | None = None
        self._metrics_budget = _Budget()
        self._listing_budget = _Budget()
        self._is_listing_due = False
        self._problems: dict[str, None] = {}
        self._is_left = False
        self._roused = threading.Event()

    # --- from any thread ---

    @property
    def path(self) -> str:
        """The store's folder."""
        return self._store.path

    def select(self, chosen: Filter) -> None:
        """From the next look on, list what this filter takes. Without a state in it that is what is live."""
        self._asked = chosen if chosen.state else Filter()
        self._rouse()

    def leave(self) -> None:
        """End what is waited for, and every later wait."""
        self._is_left = True
        self._rouse()

    def _rouse(self) -> None:
        self._roused.set()
        self._event_store.wake()

    def add_problem(self, problem: str) -> None:
        """Show a sentence from the next look on; each is shown once, however often it comes."""
        if len(self._problems) < _KEPT_PROBLEMS:
            self._problems.setdefault(problem)

    def detail(self, execution_id: str) -> Detail:
        """One execution in full. Its history costs a walk through the event log."""
        execution: Execution | None = None
        events: list[Any] = []
        revisions: list[Any] = []
        with contextlib.suppress(ExecutionNotFoundError):
            execution = self._store.get_execution(execution_id)
        with contextlib.suppress(ExecutionEventsNotFoundError, ExecutionNotFoundError):
            events = self._store.get_execution_events(execution_id)
        with contextlib.suppress(ExecutionNotFoundError):
            revisions = self._store.history(execution_id)
        return Detail(execution_id, execution, tuple(events), tuple(revisions))

    # --- looking ---

    def look(self, wait_seconds: float = 0.0) -> Snapshot:
        """How the store stands, once something has happened or ``wait_seconds`` are over.

        Raises:
            StoreNotFoundError: the store's folder was removed, or replaced by another.
            ExecStoreError: the store can't be read.
        """
        self._check_place()
        if self._position is None:
            metrics = self._read_metrics()
            self._begin(metrics)
        else:
            is_new = self._follow(wait_seconds)
            self._check_place()
            metrics = self._refresh_metrics(is_new=is_new)
        if self._asked != self._executions.selection or (self._is_listing_due and self._listing_budget.is_due()):
            self._list()
        return self._snapshot(metrics)

    def rest(self, seconds: float) -> None:
        """Let some time pass before the next look; a new selection, or ``leave``, ends it.

        The next change is waited for in it, if the kernel tells of it, to see how long it takes to get here.
        """
        deadline = time.monotonic() + seconds
        if self._is_told is not False:
            self._wait(seconds)
        self._roused.wait(max(deadline - time.monotonic(), 0.0))
        self._roused.clear()

    def _open_notifier(self, path: str) -> Notifier:
        notifier = open_notifier(path)
        self._is_told = notifier.tells_own_changes
        if self._is_told:
            return notifier
        notifier.close()
        return PollingNotifier(self._polling_seconds)

    def _identify(self) -> tuple[int, int] | None:
        if self._folder is None:
            return None
        try:
            status = os.stat(self._folder)
        except OSError:
            raise StoreNotFoundError(self._store.path, "the store was removed") from None
        return status.st_dev, status.st_ino

    def _check_place(self) -> None:
        # Files that are open outlive their names: only this tells that nobody else sees that store any more.
        if self._identify() != self._identity:
            raise StoreNotFoundError(self._store.path, "the store was replaced by another folder")

    # --- the numbers ---

    def _read_metrics(self) -> StoreMetrics:
        with self._metrics_budget.spend():
            metrics = self._store.metrics()
        self._metrics, self._is_stale = metrics, False
        self._counts = _by_name(metrics.executions)
        self._readings.append(Reading(time.monotonic_ns(), metrics.event_log.latest, metrics.transaction))
        return metrics

    def _refresh_metrics(self, *, is_new: bool) -> StoreMetrics:
        metrics = self._metrics
        self._is_stale = self._is_stale or is_new
        due_seconds = 0.0 if self._is_stale else IDLE_SECONDS
        if metrics is None or self._metrics_budget.is_due(due_seconds):
            metrics = self._read_metrics()
        elif is_new:
            self._counts = _by_name(self._store.counts())
        latest = max(metrics.event_log.latest, self._position or 0)
        self._trend = extend_trend(self._trend, self._clock(), self._counts, max(latest - self._counted_to, 0))
        self._counted_to = max(latest, self._counted_to)
        return metrics

    # --- the log ---

    def _begin(self, metrics: StoreMetrics) -> None:
        """What the last minutes brought, as far as one look goes back; then the list."""
        log = metrics.event_log
        first = max(log.oldest, log.latest - MOST_EVENTS // 2 + 1)
        events = self._read(first, log.latest)
        now_ns = self._clock()
        since_ns = now_ns - _TREND_NS
        if first > 1 and events:
            since_ns = max(since_ns, events[0].timestamp)
        elif first > 1:
            since_ns = now_ns
        self._trend = begin_trend(now_ns, self._counts, _changes(events), since_ns)
        if since_ns <= now_ns - _RATE_NS:
            # Another reading, of some seconds ago, as far as the log tells: it knows events, but no transactions.
            recent = sum(1 for event in events if event.timestamp >= now_ns - _RATE_NS)
            self._readings.appendleft(Reading(self._readings[0].at_ns - _RATE_NS, log.latest - recent, None))
        self._take_rows(events)
        self._position = self._counted_to = log.latest
        self._list()

    def _follow(self, wait_seconds: float) -> bool:
        """Take in what is new in the log, waiting for it if there is nothing; whether there was something."""
        position = self._position or 0
        self._wait(wait_seconds)
        latest = self._event_store.get_latest_event_num()
        if latest <= position:
            return False
        first = position + 1
        if latest - position > MOST_EVENTS:
            first = latest - KEPT_EVENTS + 1
            self._skipped += first - position - 1
            self._is_listing_due = True
        events = self._read(first, latest)
        self._position = latest
        self._take_rows(events)
        for event in events:
            self._executions.keep_up(event)
        return True

    def _read(self, first: int, last: int) -> list[Event]:
        """The events of these numbers, without those that are damaged or were collected meanwhile."""
        events: list[Event] = []
        wanted = _AT_ONCE
        while first <= last and not self._is_left:
            request = GetEventsRequest(EventIterator.at_sequence_number(first), min(wanted, last - first + 1))
            try:
                response = self._event_store.get_events(request, 0)
            except EventsCompactedError as error:
                first = error.oldest
                continue
            except StoreCorruptedError as error:
                self.add_problem(str(error))  # all but the log can still be shown
                break
            except DeserializationError as error:
                if request.limit == 1:
                    self.add_problem(f"{error}; 'execstore verify' shows all that is damaged")
                    first += 1
                    wanted = _AT_ONCE
                else:
                    wanted = 1  # so that those before the damaged one are read
                continue
            if not response.events:
                break
            events += response.events
            first = events[-1].seq_num + 1
        return events

    def _wait(self, seconds: float) -> None:
        """Wait for something new in the log, if there is nothing yet."""
        position = self._position
        if position is None or seconds <= 0 or self._event_store.get_latest_event_num() > position:
            return
        request = GetEventsRequest(EventIterator.after_sequence_number(position), limit=1)
        # What it finds, damaged or collected, is read again by whoever reads all.
        with contextlib.suppress(EventsCompactedError, DeserializationError, StoreCorruptedError):
            response = self._event_store.get_events(request, seconds, cancelled=self._is_interrupted)
            took_ns = self._clock() - response.events[0].timestamp if response.events else 0
            if self._is_told and took_ns > 0:
                # Only of what comes while this waits: what is found later has been there for nobody knows how long.
                self._latencies_ns.append(took_ns)

    def _is_interrupted(self) -> bool:
        return self._is_left or self._asked != self._executions.selection

    def _take_rows(self, events: list[Event]) -> None:
        for event in events:
            row = event_row(event)
            if row.job_id:
                self._jobs.pop(row.execution_id, None)  # to put it last, and let those go first that are long over
                self._jobs[row.execution_id] = (row.job_id, row.job_name)
                if len(self._jobs) > _KEPT_JOBS:
                    del self._jobs[next(iter(self._jobs))]
            self._events.append(row)
        if events:
            self._event_rows = tuple(self._with_job(row) for row in self._events)

    def _list(self) -> None:
        """List the executions that are to be shown anew. What happens meanwhile comes with the log."""
        self._is_listing_due = False
        with self._listing_budget.spend():
            self._executions.read(self._asked)
        for row in self._executions.rows()[-_KEPT_JOBS:]:
            self._jobs[row.execution_id] = (row.job_id, row.job_name)

    # --- the whole ---

    def _snapshot(self, metrics: StoreMetrics) -> Snapshot:
        events_per_second, commits_per_second = rate_of(tuple(self._readings), _RATE_NS)
        return Snapshot(
            time_ns=self._clock(),
            path=self._store.path,
            counts=self._counts,
            trend=self._trend,
            oldest_live_age_ns=metrics.oldest_live_age_ns,
            selection=self._executions.selection,
            executions=self._executions.rows(),
            are_all=self._executions.are_all,
            events=self._event_rows,
            skipped_events=self._skipped,
            events_per_second=events_per_second,
            commits_per_second=commits_per_second,
            latency=latency_of(tuple(self._latencies_ns)),
            transaction=metrics.transaction,
            event_log=metrics.event_log,
            journal_bytes=metrics.journal_bytes,
            journal_used_bytes=metrics.journal_used_bytes,
            problems=tuple(self._problems),
        )

    def _with_job(self, row: EventRow) -> EventRow:
        """An event of an execution, which doesn't say its job, with the job that is known of it."""
        if row.job_id or row.execution_id not in self._jobs:
            return row
        job_id, job_name = self._jobs[row.execution_id]
        return row._replace(job_id=job_id, job_name=job_name)


class _Budget:
    """Keeps a costly reading to a share of the time."""

    def __init__(self) -> None:
        self._ended = self._took_seconds = 0.0

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Do it within this."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._ended = time.monotonic()
            self._took_seconds = self._ended - started

    def is_due(self, after_seconds: float = 0.0) -> bool:
        """Whether it may be done again: at the earliest ``after_seconds`` after the last time."""
        return time.monotonic() - self._ended >= max(after_seconds, self._took_seconds * _SHARE)


def _by_name(counts: Mapping[ExecutionState, int]) -> dict[str, int]:
    return {state.value: count for state, count in counts.items()}


def _changes(events: Iterable[Event]) -> list[StateChange]:
    return [state_change(event) for event in events]
