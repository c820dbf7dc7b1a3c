"""How fast events reach those who follow them, and what that costs those who write.

Everything that is compared is measured in turn, in rounds, so that a machine that drifts meets both sides alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from execstore import Event as ExecutionEvent
from execstore import ExecutionUpsert, Store
from execstore.bench.measure import Measurement, distribution, quantile
from execstore.bench.writer import make_execution
from execstore.event_log import StoreEventLog
from execstore.imports import StoreFiller
from execstore.notify import POLLING_SECONDS, PollingNotifier, open_notifier
from execstore.watcher import (
    EventIterator,
    EventStore,
    GetEventsRequest,
    Operation,
    WatcherManager,
    encode_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.notify import Notifier
    from execstore.watcher import Event

__all__ = ["measure_watch"]

_PATIENCE_SECONDS: Final = 120.0
_SHORT_LOG: Final = 20_000
_REFERENCE_100_EVENTS_US: Final = 1800.0


def measure_watch(folder: str, *, quick: bool = False) -> Iterator[Measurement]:
    """Measure one thing after the other in new stores below ``folder``. ``quick`` takes a tenth, and says less."""
    scale = 10 if quick else 1
    kind = "inotify" if not isinstance(_notifier_here(folder), PollingNotifier) else "polling"
    if kind == "inotify":
        yield _latency_across(f"{folder}/across", "inotify", open_notifier, 1000 // scale, 0.004)
    yield _latency_across(f"{folder}/polled", "polling", lambda _: PollingNotifier(), 200 // scale, 0.03)
    yield _latency_within(f"{folder}/within", 1000 // scale)
    yield from _catching_up(f"{folder}/hundred", 300 // scale)
    events = 1_000_000 // scale
    _fill(f"{folder}/long", events)
    _fill(f"{folder}/short", _SHORT_LOG)
    yield _cold_reading(f"{folder}/long", events)
    yield _seeking(folder, events, 60 // min(scale, 3))
    yield _one_reading_for_fifty(f"{folder}/long", 50_000 // scale)
    for pause_seconds, how in ((0.002, "2 ms between commits"), (0.0, "one commit after the other")):
        yield _slowing_down(f"{folder}/slowed", 200 // scale, pause_seconds, how)
    yield _slowing_down_within(f"{folder}/slowed", 100 // scale)


def _notifier_here(folder: str) -> Notifier:
    notifier = open_notifier(folder)
    notifier.close()
    return notifier


# --- from the commit to the handler -----------------------------------------------------------------------------------


class _Arrivals:
    """A handler that notes when each event came."""

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self._changed = threading.Condition()

    def __call__(self, _event: Event) -> None:
        now_ns = time.monotonic_ns()
        with self._changed:
            self.times_ns.append(now_ns)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[int]:
        """The times of the first ``count`` events."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.times_ns) >= count, _PATIENCE_SECONDS):
                raise TimeoutError(f"only {len(self.times_ns)} of {count} events came")
            return self.times_ns[:count]


class _Writer:
    """The other process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def commit(self, count: int, pause_seconds: float) -> list[tuple[int, int]]:
        """When each of so many commits began and returned."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the writer has no pipes")
        self._process.stdin.write(f"{count} {pause_seconds}\n")
        self._process.stdin.flush()
        times = []
        for _ in range(count):
            started_ns, returned_ns = self._process.stdout.readline().split()
            times.append((int(started_ns), int(returned_ns)))
        return times


@contextlib.contextmanager
def _writer(path: str) -> Iterator[_Writer]:
    package_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(  # noqa: S603 - this very Python, on a module of this package
        [sys.executable, "-P", "-m", "execstore.bench.writer", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search_path},
    )
    try:
        yield _Writer(process)
    finally:
        process.communicate()


def _latencies(came_ns: list[int], commits: list[tuple[int, int]]) -> dict[str, float]:
    """How long after the commit's return each event came; it may come before, since it is shown before that.

    Beside it the median since the commit was called.
    """
    after = [(came - returned) / 1e6 for came, (_, returned) in zip(came_ns, commits, strict=True)]
    whole = [(came - started) / 1e6 for came, (started, _) in zip(came_ns, commits, strict=True)]
    return distribution(after) | {"median since the call": quantile(whole, 0.5)}


def _latency_across(
    path: str, kind: str, notifier: Callable[[str], Notifier], count: int, pause_seconds: float
) -> Measurement:
    arrivals = _Arrivals()
    with Store(path) as store, _writer(path) as writer:
        writer.commit(1, 0)
        with WatcherManager(EventStore(StoreEventLog(store, notifier=notifier))) as manager:
            manager.create("w", handler=arrivals, initial_event_iterator=EventIterator.latest(), auto_start=True)
            commits = writer.commit(count, pause_seconds)
            came_ns = arrivals.wait_for(count)
    values = _latencies(came_ns, commits)
    if kind == "inotify":
        met = values["median"] < 2 and values["p99"] < 20
        return Measurement(f"from a commit to a handler in another process, {kind}", "ms", values, "< 2, p99 < 20", met)
    limit_ms = POLLING_SECONDS * 1000
    name = f"from a commit to a handler in another process, {kind}"
    return Measurement(name, "ms", values, f"median < {limit_ms:g}", values["median"] < limit_ms)


def _latency_within(path: str, count: int) -> Measurement:
    arrivals = _Arrivals()
    commits: list[tuple[int, int]] = []
    with Store(path) as store, WatcherManager(store.event_store) as manager:
        manager.create("w", handler=arrivals, auto_start=True)
        for _ in range(count):
            execution = make_execution()
            started_ns = time.monotonic_ns()
            store.create_execution(execution)
            commits.append((started_ns, time.monotonic_ns()))
            time.sleep(0.003)
        came_ns = arrivals.wait_for(count)
    values = _latencies(came_ns, commits)
    return Measurement("from a commit to a handler in one process", "ms", values, "< 0.5", values["median"] < 0.5)


# --- catching up ------------------------------------------------------------------------------------------------------


def _catching_up(path: str, rounds: int) -> Iterator[Measurement]:
    with Store(path) as store:
        # As the reference's figure was taken: each creation with an event of its own, so half of them are executions.
        for _ in range(50):
            store.create_execution(make_execution(), ExecutionEvent("Execution", "accepted"))
    reading: list[float] = []
    looking: list[float] = []
    searching: list[float] = []
    request = GetEventsRequest(EventIterator.trim_horizon(), 100)
    for _ in range(rounds):
        # Everything anew, so that nothing is known from the round before.
        with Store(path, read_only=True) as store:
            event_store = store.event_store
            started = time.perf_counter()
            events = event_store.get_events(request, timeout=0).events
            reading.append((time.perf_counter() - started) * 1e6)
            for event in events:
                _ = event.object
            looking.append((time.perf_counter() - started) * 1e6)
            for event in events:
                if isinstance(event.object, ExecutionUpsert):
                    for execution in (event.object.current, event.object.previous):
                        _ = execution is not None and execution.job
            searching.append((time.perf_counter() - started) * 1e6)
    for name, samples in (
        ("reading 100 events", reading),
        ("reading 100 events and making their objects", looking),
        ("the same, and looking into every execution's job", searching),
    ):
        values = distribution(samples)
        bar = f"< {_REFERENCE_100_EVENTS_US:g}"
        yield Measurement(name, "us", values, bar, values["median"] < _REFERENCE_100_EVENTS_US)


def _fill(path: str, count: int) -> None:
    """A store with a log of so many events of some 300 bytes."""
    details = {"Topic": "Execution", "Message": "it goes on", "Details": {"node": "n-1", "step": "x" * 90}}
    object_json = json.dumps(details, separators=(",", ":")).encode()
    now_ns = time.time_ns()
    with StoreFiller(path) as filler:
        for number in range(1, count + 1):
            line = encode_line(number, Operation.CREATE, "ExecutionEvent", object_json, now_ns)
            filler.append_log(number, line, now_ns)


def _forget_pages(path: str) -> None:
    """Let the kernel read the log from the disk again."""
    if hasattr(os, "posix_fadvise"):
        for name in os.listdir(f"{path}/events"):
            descriptor = os.open(f"{path}/events/{name}", os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # type: ignore[attr-defined, unused-ignore]
            os.close(descriptor)


def _cold_reading(path: str, count: int) -> Measurement:
    _forget_pages(path)
    position = EventIterator.trim_horizon()
    read = 0
    with Store(path, read_only=True) as store:
        event_store = store.event_store
        started = time.perf_counter()
        while read < count:
            response = event_store.get_events(GetEventsRequest(position, 1000), timeout=0)
            read += len(response.events)
            position = response.next_event_iterator
        seconds = time.perf_counter() - started
    rate = count / seconds
    return Measurement(
        f"reading a cold log of {count:,} events", "events/s", {"rate": rate}, ">= 50,000", rate >= 50_000
    )


def _seeking(folder: str, events: int, rounds: int) -> Measurement:
    """Each seek in a store that was just opened.

    Whichever place comes first in a round finds the processor's caches and the allocator as the place before left them,
    so each comes first in turn; and the first round, in which the files come from the disk, doesn't count.
    """
    places = {
        "first": ("long", 1),
        "middle": ("long", events // 2),
        "last": ("long", events),
        f"middle of {_SHORT_LOG:,}": ("short", _SHORT_LOG // 2),
    }
    samples: dict[str, list[float]] = {name: [] for name in places}
    names = list(places)
    for turn in range(1 + rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            store_name, number = places[name]
            with Store(f"{folder}/{store_name}", read_only=True) as store:
                event_store = store.event_store
                request = GetEventsRequest(EventIterator.at_sequence_number(number), 1)
                event_store.get_latest_event_num()
                started = time.perf_counter()
                event_store.get_events(request, timeout=0)
                if turn:
                    samples[name].append((time.perf_counter() - started) * 1e6)
    medians = {name: quantile(each, 0.5) for name, each in samples.items()}
    met = max(medians.values()) < 2 * medians[f"middle of {_SHORT_LOG:,}"]
    return Measurement(f"getting to an event among {events:,}", "us", medians, "as in a short log", met)


# --- what it costs ----------------------------------------------------------------------------------------------------


def _bytes_read() -> int:
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


def _one_reading_for_fifty(path: str, count: int) -> Measurement:
    """How many bytes fifty watchers that begin together read of the newest part of the log, against one."""
    name = f"bytes read by 50 watchers of {count:,} events, against one"
    if not os.path.exists("/proc/self/io"):
        return Measurement(name, "times", {})
    needed: dict[int, int] = {}
    for watchers in (1, 50):
        with Store(path, read_only=True) as store:
            latest = store.event_store.get_latest_event_num()
            start = EventIterator.after_sequence_number(latest - count)
            done = threading.Semaphore(0)
            together = threading.Barrier(watchers)

            def handle(
                event: Event,
                first: int = latest - count + 1,
                last: int = latest,
                done: threading.Semaphore = done,
                together: threading.Barrier = together,
            ) -> None:
                if event.seq_num == first:
                    together.wait(_PATIENCE_SECONDS)
                if event.seq_num == last:
                    done.release()

            before = _bytes_read()
            with WatcherManager(store.event_store) as manager:
                for number in range(watchers):
                    manager.create(
                        f"w{number}", handler=handle, initial_event_iterator=start, ephemeral=True, auto_start=True
                    )
                for _ in range(watchers):
                    if not done.acquire(timeout=_PATIENCE_SECONDS):
                        raise TimeoutError("a watcher didn't catch up")
            needed[watchers] = _bytes_read() - before
    ratio = needed[50] / needed[1]
    values = {"times": ratio, "one (MB)": needed[1] / 1e6, "fifty (MB)": needed[50] / 1e6}
    return Measurement(name, "times", values, "one reading: < 2", ratio < 2)


def _slowing_down(path: str, count: int, pause_seconds: float, how: str) -> Measurement:
    """The median of a commit while ten watchers of another process follow, against the same with none."""
    with Store(path) as store, _writer(path) as writer:
        writer.commit(20, 0)
        values = _compare(store, count, lambda: writer.commit(count, pause_seconds))
    name = f"a commit with 10 watchers in another process, {how}"
    return Measurement(name, "times", values, "<= 1.1", values["times"] <= 1.1)


def _slowing_down_within(path: str, count: int) -> Measurement:
    """The same in one process, where Python lets one thread run at a time."""
    with Store(path) as store:

        def commit() -> list[tuple[int, int]]:
            times = []
            for _ in range(count):
                execution = make_execution()
                started_ns = time.monotonic_ns()
                store.create_execution(execution)
                times.append((started_ns, time.monotonic_ns()))
                time.sleep(0.004)
            return times

        values = _compare(store, count, commit)
    return Measurement("a commit with 10 watchers in the same process, 4 ms between commits", "times", values)


def _compare(store: Store, count: int, commit: Callable[[], list[tuple[int, int]]]) -> dict[str, float]:
    alone: list[float] = []
    followed: list[float] = []
    for _ in range(10):
        alone += [returned - started for started, returned in commit()]
        arrivals = [_Arrivals() for _ in range(10)]
        start = EventIterator.after_sequence_number(store.event_store.get_latest_event_num())
        with WatcherManager(store.event_store) as manager:
            for number, handler in enumerate(arrivals):
                manager.create(
                    f"w{number}", handler=handler, initial_event_iterator=start, ephemeral=True, auto_start=True
                )
            followed += [returned - started for started, returned in commit()]
            for handler in arrivals:
                handler.wait_for(count)
    ratio = quantile(followed, 0.5) / quantile(alone, 0.5)
    return {"times": ratio, "alone (us)": quantile(alone, 0.5) / 1e3, "followed (us)": quantile(followed, 0.5) / 1e3}
