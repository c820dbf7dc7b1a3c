"""What is worth watching of a store: as a value, as OpenMetrics text, and through OpenTelemetry.

The text follows OpenMetrics 1.0 and keeps within what readers of the older Prometheus text format take too (no
timestamps, no types of OpenMetrics' own), since the node exporter's textfile collector is one of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.counters import FLUSH_BOUNDS_NS
from execstore.errors import MissingExtraError, StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from execstore.counters import CounterSnapshot
    from execstore.event_log_status import EventLogStatus
    from execstore.states import ExecutionState
    from execstore.store import Store

__all__ = ["Family", "Sample", "StoreMetrics", "families", "register", "render", "take_metrics", "write_textfile"]

_NS_PER_SECOND: Final = 1_000_000_000
_TEXTFILE_MODE: Final = 0o644  # the node exporter runs as another user
_SNAPSHOT_SECONDS: Final = 0.5  # instruments that are read together show one moment


@dataclass(frozen=True, slots=True)
class StoreMetrics:
    """How a store stands, and what one handle on it has done.

    ``transaction`` is the newest one that is shown, of whatever process, ``None`` if the head can't be read.
    ``oldest_live_age_ns`` is the time since the oldest live execution was created, ``None`` if there is none.
    ``commits``, ``conflicts`` and the flush times are this handle's, in this process, since it was opened: ``flushes``
    counts the flushes of the journal that took no longer than each of ``flush_bounds_ns``, and behind them all others.
    """

    executions: Mapping[ExecutionState, int]
    oldest_live_age_ns: int | None
    transaction: int | None
    event_log: EventLogStatus
    journal_bytes: int
    journal_used_bytes: int
    commits: int
    conflicts: int
    flush_bounds_ns: tuple[int, ...]
    flushes: tuple[int, ...]
    flush_ns: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "executions": {state.value: number for state, number in self.executions.items()},
            "oldest_live_age_ns": self.oldest_live_age_ns,
            "transaction": self.transaction,
            "event_log": self.event_log.to_dict(),
            "journal_bytes": self.journal_bytes,
            "journal_used_bytes": self.journal_used_bytes,
            "commits": self.commits,
            "conflicts": self.conflicts,
            "flush_bounds_ns": list(self.flush_bounds_ns),
            "flushes": list(self.flushes),
            "flush_ns": self.flush_ns,
        }


def take_metrics(store: Store, counters: CounterSnapshot) -> StoreMetrics:
    """See `Store.metrics`."""
    live = store.get_live_executions()
    oldest = min((execution.create_time for execution in live), default=None)
    status = store.engine().status()
    return StoreMetrics(
        executions=store.counts(),
        oldest_live_age_ns=None if oldest is None else max(store.rules.clock() - oldest, 0),
        transaction=None if status is None else status.transaction,
        event_log=store.event_log_status(),
        journal_bytes=0 if status is None else status.journal_bytes,
        journal_used_bytes=0 if status is None else status.journal_used_bytes,
        commits=counters.commits,
        conflicts=counters.conflicts,
        flush_bounds_ns=FLUSH_BOUNDS_NS,
        flushes=counters.flushes,
        flush_ns=counters.flush_ns,
    )


# --- as text --------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One line. ``suffix`` follows the family's name; ``labels`` are pairs of name and value."""

    value: int | float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


class Family(NamedTuple):
    """A metric: all samples of one name. ``kind`` is ``gauge``, ``counter`` or ``histogram``."""

    name: str
    kind: str
    description: str
    samples: tuple[Sample, ...]
    unit: str = ""


def families(metrics: StoreMetrics, *, of_handle: bool = True, problems: int | None = None) -> list[Family]:
    """The metrics to show.

    Args:
        of_handle: also what only this handle knows.
        problems: how many `Store.verify` has found, ``None`` if it wasn't asked.
    """
    log = metrics.event_log
    found = [
        Family(
            "execstore_executions",
            "gauge",
            "Executions in the store.",
            tuple(Sample(number, (("state", state.value),)) for state, number in metrics.executions.items()),
        ),
        Family(
            "execstore_oldest_live_execution_age_seconds",
            "gauge",
            "Time since the oldest live execution was created, 0 if there is none.",
            (Sample((metrics.oldest_live_age_ns or 0) / _NS_PER_SECOND),),
            "seconds",
        ),
        _counter("execstore_log_events", "Events that were ever written to the event log.", log.latest),
        _gauge("execstore_log_kept_events", "Events that are in the event log.", log.events),
        _gauge("execstore_log_segments", "Files of the event log.", log.segments),
        _gauge("execstore_log_bytes", "Size of the event log.", log.bytes, "bytes"),
        _gauge("execstore_journal_bytes", "Size of the journal.", metrics.journal_bytes, "bytes"),
        _gauge(
            "execstore_journal_used_bytes",
            "What is written of the journal's present file.",
            metrics.journal_used_bytes,
            "bytes",
        ),
        Family(
            "execstore_watcher_lag_events",
            "gauge",
            "Events that a watcher has not handled yet.",
            tuple(Sample(each.lag, (("watcher", each.watcher_id),)) for each in log.watchers),
        ),
        Family(
            "execstore_watcher_lost_events",
            "gauge",
            "Events that a watcher has not handled and that are gone from the log.",
            tuple(Sample(each.lost, (("watcher", each.watcher_id),)) for each in log.watchers),
        ),
    ]
    if metrics.transaction is not None:
        found.append(_counter("execstore_transactions", "Transactions of all processes.", metrics.transaction))
    if problems is not None:
        found.append(_gauge("execstore_problems", "Problems that verify found.", problems))
    if of_handle:
        found += [
            _counter("execstore_commits", "Changes that this handle committed.", metrics.commits),
            _counter("execstore_conflicts", "Calls refused because of what is stored.", metrics.conflicts),
            Family(
                "execstore_flush_duration_seconds",
                "histogram",
                "Time of this handle's flushes of the journal.",
                tuple(_histogram(metrics)),
                "seconds",
            ),
        ]
    return found


def _gauge(name: str, description: str, value: float, unit: str = "") -> Family:
    return Family(name, "gauge", description, (Sample(value),), unit)


def _counter(name: str, description: str, value: int) -> Family:
    return Family(name, "counter", description, (Sample(value, suffix="_total"),))


def _histogram(metrics: StoreMetrics) -> Iterator[Sample]:
    bounds = [*(repr(bound / _NS_PER_SECOND) for bound in metrics.flush_bounds_ns), "+Inf"]
    total = 0
    for bound, number in zip(bounds, metrics.flushes, strict=True):
        total += number
        yield Sample(total, (("le", bound),), "_bucket")
    yield Sample(metrics.flush_ns / _NS_PER_SECOND, suffix="_sum")
    yield Sample(total, suffix="_count")


def render(shown: Iterable[Family]) -> str:
    """The text: of each family its TYPE, UNIT, HELP and samples; ``# EOF`` at the end."""
    lines: list[str] = []
    for family in shown:
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {_escape(family.description)}")
        for sample in family.samples:
            labels = ",".join(f'{name}="{_escape(value)}"' for name, value in sample.labels)
            lines.append(f"{family.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {sample.value!r}")
    lines.append("# EOF\n")
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def write_textfile(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file in one step, readable for all: who reads it meanwhile sees the old text or the new one, whole.

    Raises:
        OSError: it can't be written; nothing is left behind.
    """
    place = os.fspath(path)
    folder, name = os.path.split(os.path.abspath(place))
    # The collector takes every *.prom of its folder, so this mustn't be one yet.
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, place) from error  # nobody knows the other name
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), _TEXTFILE_MODE)
            file.write(text)
        os.replace(temporary, place)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, place) from error
        raise


# --- through OpenTelemetry ------------------------------------------------------------------------------------------


class _Moment:
    """A store's metrics, taken anew only if the last ones are old. ``None`` once the store is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._taken_seconds = float("-inf")
        self._metrics: StoreMetrics | None = None

    def get(self) -> StoreMetrics | None:
        with self._lock:
            if self._store.closed:
                return None
            if time.monotonic() - self._taken_seconds > _SNAPSHOT_SECONDS:
                try:
                    self._metrics = self._store.metrics()
                except StoreClosedError:
                    return None
                self._taken_seconds = time.monotonic()
            return self._metrics


def register(store: Store, meter: Meter | None = None) -> None:
    """Make a store's metrics known to OpenTelemetry, as observable instruments that are read when it wants to know.

    They fall silent when the store is closed. A histogram can't be observed, so of the flushes there are the number and
    the time.

    Args:
        meter: the one of the global meter provider with the name ``execstore`` if it isn't given.

    Raises:
        MissingExtraError: OpenTelemetry's API isn't installed.
    """
    try:
        from opentelemetry import metrics as api  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("OpenTelemetry metrics", "otel") from error
    if meter is None:
        meter = api.get_meter("execstore")
    observation = api.Observation
    moment = _Moment(store)

    def one(value: Callable[[StoreMetrics], float | None]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG001
            metrics = moment.get()
            found = None if metrics is None else value(metrics)
            return [] if found is None else [observation(found)]

        return observe

    def executions(options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG001
        metrics = moment.get()
        counts = {} if metrics is None else metrics.executions
        return [observation(number, {"state": state.value}) for state, number in counts.items()]

    def lags(options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG001
        metrics = moment.get()
        watchers = () if metrics is None else metrics.event_log.watchers
        return [observation(each.lag, {"watcher": each.watcher_id}) for each in watchers]

    def age(metrics: StoreMetrics) -> float | None:
        return None if metrics.oldest_live_age_ns is None else metrics.oldest_live_age_ns / _NS_PER_SECOND

    gauge, counter = meter.create_observable_gauge, meter.create_observable_counter
    gauge("execstore.executions", [executions], "{execution}", "Executions in the store.")
    gauge("execstore.oldest_live_execution.age", [one(age)], "s", "Age of the oldest live execution.")
    gauge("execstore.watcher.lag", [lags], "{event}", "Events that a watcher has not handled yet.")
    gauge("execstore.log.size", [one(lambda found: found.event_log.bytes)], "By", "Size of the event log.")
    gauge("execstore.journal.size", [one(lambda found: found.journal_bytes)], "By", "Size of the journal.")
    counter("execstore.log.events", [one(lambda found: found.event_log.latest)], "{event}", "Events ever logged.")
    counter("execstore.transactions", [one(lambda found: found.transaction)], "{transaction}", "Of all processes.")
    counter("execstore.commits", [one(lambda found: found.commits)], "{commit}", "Commits of this handle.")
    counter("execstore.conflicts", [one(lambda found: found.conflicts)], "{conflict}", "Refused by what is stored.")
    counter("execstore.flushes", [one(lambda found: sum(found.flushes))], "{flush}", "Flushes by this handle.")
    counter("execstore.flush.time", [one(lambda found: found.flush_ns / _NS_PER_SECOND)], "s", "Time of all flushes.")
