"""Measures contenders side by side: the same batches in turn, round by round, each contender in a process of its own.

What is compared is measured within the same round, seconds apart, in an order that rotates, so that a machine that
drifts meets all alike; what counts is the ratio. Results are plain dicts, ready for JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from execstore.bench.adapters import CONTENDERS, has, shares
from execstore.bench.adapters.base import Unavailable
from execstore.bench.contender import Contender
from execstore.bench.measure import latency, ratio
from execstore.bench.workloads import BY_NAME, OPERATIONS, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["BASELINE", "Settings", "measure"]

BASELINE: Final = "execstore"
_COSTED: Final = ("create", "update", "add_event", "delete")
_LAST: Final = "open"
_SECTOR: Final = 512
_HEAD_START_SECONDS: Final = 0.03


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured, and how long.

    ``operations`` by name; ``writers_operations`` are measured with ``threads`` and ``processes`` of each number.
    ``scale`` multiplies the calls of a batch. ``budget_seconds``: after so long for one part no further round of it is
    begun, if there were three. ``sustained_seconds``: each contender updates for so long; 0 for not.
    """

    contenders: tuple[str, ...] = CONTENDERS
    operations: tuple[str, ...] = tuple(operation.name for operation in OPERATIONS)
    sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    rounds: int = 15
    quick: bool = False
    scale: float = 1.0
    budget_seconds: float = 600.0
    threads: tuple[int, ...] = (1, 2, 4, 8, 16)
    processes: tuple[int, ...] = (1, 2, 4, 8)
    writers_operations: tuple[str, ...] = ("create", "update")
    writers_rounds: int = 7
    sustained_seconds: float = 0.0

    @classmethod
    def quickly(cls) -> Settings:
        """Under a minute on a quiet machine."""
        return cls(
            sizes=(1000,),
            rounds=7,
            quick=True,
            budget_seconds=15.0,
            threads=(1, 8),
            processes=(1, 4),
            writers_operations=("create",),
            writers_rounds=3,
        )

    def of_slow_disk(self) -> Settings:
        """With fewer calls, since each takes so long."""
        return replace(self, sizes=self.sizes[:1], quick=True, scale=0.5, rounds=5, writers_rounds=3)

    @property
    def writers_size(self) -> int:
        """The size at which several writers, and the long run, are measured: the second, or the only one."""
        return self.sizes[min(1, len(self.sizes) - 1)]

    def calls(self, quick: int, full: int) -> int:
        """How many of a batch."""
        return max(1, round((quick if self.quick else full) * self.scale))


def measure(folder: str, settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all in new stores below ``folder``; they are removed. ``say`` is told how far it is.

    Returns:
        ``{"sizes": {size: {...}}, "skipped": {contender: why}}``; see the functions below for what a size has.

    Raises:
        ContenderError: one fails at its work. OSError: the folder can't be written.
    """
    skipped: dict[str, str] = {}
    sizes = {}
    for size in settings.sizes:
        work = os.path.join(folder, str(size))
        with _started(settings, work, size, skipped, say) as contenders:
            found: dict[str, Any] = {}
            plan = Plan(size, quick=settings.quick)
            say(f"{size:,} executions: one writer")
            found["operations"] = _one_writer(contenders, settings, plan)
            say(f"{size:,} executions: bytes and flushes")
            found["costs"] = _costs(contenders, settings, plan, work)
            if size == settings.writers_size:
                say(f"{size:,} executions: several writers")
                found["threads"] = _several_threads(contenders, settings, plan)
                found["processes"] = _several_processes(contenders, settings, plan, work)
            if settings.sustained_seconds and size == settings.writers_size:
                say(f"{size:,} executions: {settings.sustained_seconds:g} s of updates")
                found["sustained"] = _sustained(contenders, settings, plan)
            if _LAST in settings.operations:
                found["operations"] |= _opening(contenders, settings, plan)
            found["peak_memory_bytes"] = {each.name: each.peak_memory_bytes() for each in contenders}
            found["disk_bytes"] = {each.name: _allocated_bytes(os.path.join(work, each.name)) for each in contenders}
            sizes[str(size)] = found
        shutil.rmtree(work)
    return {"sizes": sizes, "skipped": skipped}


@contextlib.contextmanager
def _started(
    settings: Settings, work: str, size: int, skipped: dict[str, str], say: Callable[[str], None]
) -> Iterator[list[Contender]]:
    """The contenders that can be had, each on a store with ``size`` executions."""
    with contextlib.ExitStack() as stack:
        contenders = []
        for name in settings.contenders:
            if name in skipped:
                continue
            try:
                contender = stack.enter_context(Contender(name, os.path.join(work, name)))
            except Unavailable as error:
                skipped[name] = str(error)
                say(f"without {name}: {error}")
                continue
            say(f"{size:,} executions: filling {name}")
            contender.ask("fill", [size])
            contender.forget_peak_memory()
            contenders.append(contender)
        os.sync()  # type: ignore[attr-defined, unused-ignore]
        yield contenders


def _turns(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Whoever comes first changes from round to round."""
    start = number % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def _rounds(count: int, settings: Settings) -> Iterator[int]:
    began = time.monotonic()
    for number in range(count):
        if number >= 3 and time.monotonic() - began > settings.budget_seconds:
            return
        yield number


# --- one writer -------------------------------------------------------------------------------------------------------


def _one_writer(contenders: Sequence[Contender], settings: Settings, plan: Plan) -> dict[str, Any]:
    """``{operation: {contender: {median_us, p99_us, p999_us, greatest_us, calls, ratio?}}}``."""
    samples: dict[str, dict[str, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
    names = [each.name for each in OPERATIONS if each.name in {*settings.operations, "delete"} - {_LAST}]
    _round(contenders, settings, plan, names, 0)  # to warm up
    for number in _rounds(settings.rounds, settings):
        for operation, by_name in _round(contenders, settings, plan, names, number).items():
            for name, times in by_name.items():
                samples[operation][name].append(times)
    return _latencies(samples, settings)


def _opening(contenders: Sequence[Contender], settings: Settings, plan: Plan) -> dict[str, Any]:
    """The same for opening, which comes last: SQLite, once closed, has to make its log anew."""
    samples: dict[str, dict[str, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
    for number in _rounds(settings.rounds, settings):
        for name, times in _round(contenders, settings, plan, [_LAST], number)[_LAST].items():
            samples[_LAST][name].append(times)
    return _latencies(samples, settings)


def _round(
    contenders: Sequence[Contender], settings: Settings, plan: Plan, names: Sequence[str], number: int
) -> dict[str, dict[str, list[int]]]:
    """A batch of each operation by each contender: operation to contender to times in nanoseconds."""
    times: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for name in names:
        wanted = None if name == "delete" else settings.calls(BY_NAME[name].quick, BY_NAME[name].per_round)
        numbers, argument = plan.next(name, wanted)
        for contender in _turns(contenders, number):
            if numbers and has(contender.name, name):
                times[name][contender.name] = contender.ask(name, numbers, argument)["ns"]
    return times


def _latencies(samples: dict[str, dict[str, list[list[int]]]], settings: Settings) -> dict[str, Any]:
    return {
        operation: {name: asdict(latency(rounds)) | _ratio(rounds, by_name) for name, rounds in by_name.items()}
        for operation, by_name in samples.items()
        if operation in settings.operations
    }


def _ratio(rounds: Sequence[Sequence[float]], by_name: dict[str, list[list[int]]]) -> dict[str, Any]:
    ours = by_name.get(BASELINE)
    return {} if ours is None or ours is rounds else {"ratio": asdict(ratio(rounds, ours))}


# --- what it costs the disk -------------------------------------------------------------------------------------------


def _costs(contenders: Sequence[Contender], settings: Settings, plan: Plan, work: str) -> dict[str, Any]:
    """``{operation: {contender: {dirtied_bytes, block_bytes, flushes}}}``, each for one call.

    ``block_bytes`` and ``flushes`` are what the disk got, with whatever else used it meanwhile, ``None`` where the disk
    doesn't count them. ``dirtied_bytes`` is what the kernel says that the process made it write: by the piece of its
    cache, which has 4 KB or, of a file that was written in one go, up to 2 MB, though few blocks of it change.
    """
    statistics = _device_statistics(work)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    count = settings.calls(20, 100)
    for operation in _COSTED:
        if operation not in settings.operations:
            continue
        numbers, argument = plan.next(operation, None if operation == "delete" else count)
        for contender in contenders:
            if not numbers or not has(contender.name, operation):
                continue
            _sync(work)
            dirtied, before = contender.dirtied_bytes(), _counters(statistics)
            contender.ask(operation, numbers, argument)
            flushed = _counters(statistics)
            _sync(work)
            after = _counters(statistics)
            calls = len(numbers)
            found[operation][contender.name] = {
                "dirtied_bytes": (contender.dirtied_bytes() - dirtied) / calls,
                "block_bytes": None if before is None or after is None else (after[0] - before[0]) * _SECTOR / calls,
                "flushes": None if before is None or flushed is None else (flushed[1] - before[1]) / calls,
            }
    return found


def _device_statistics(path: str) -> str | None:
    """The file in which the kernel counts what the disk below this folder does."""
    device = os.stat(path).st_dev
    file = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat"  # type: ignore[attr-defined, unused-ignore]
    return file if os.path.exists(file) else None


def _counters(path: str | None) -> tuple[int, int] | None:
    """Sectors written, and flushes."""
    if path is None:
        return None
    with open(path, encoding="ascii") as file:
        fields = file.read().split()
    return (int(fields[6]), int(fields[15])) if len(fields) > 15 else None


def _sync(path: str) -> None:
    """Have only this file system written out."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        library = ctypes.CDLL(None)
        if not hasattr(library, "syncfs") or library.syncfs(descriptor) != 0:
            os.sync()  # type: ignore[attr-defined, unused-ignore]
    finally:
        os.close(descriptor)


def _allocated_bytes(path: str) -> int:
    """What all files and folders below take of the disk."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in ("", *files):
            total += os.lstat(os.path.join(folder, name)).st_blocks * _SECTOR  # type: ignore[attr-defined, unused-ignore]
    return total


# --- several writers --------------------------------------------------------------------------------------------------


def _several_threads(contenders: Sequence[Contender], settings: Settings, plan: Plan) -> dict[str, Any]:
    """``{operation: {threads: {contender: {per_second, ratio?}}}}``: all threads of one process."""

    def run(contender: Contender, operation: str, writers: int, numbers: list[int], argument: str) -> float:
        answer = contender.ask(operation, numbers, argument, threads=writers)
        return len(numbers) * 1e9 / float(answer["until_ns"] - answer["from_ns"])

    able = [each for each in contenders if each.name != "floor"]
    return _several(able, settings, plan, settings.threads, run)


def _several_processes(contenders: Sequence[Contender], settings: Settings, plan: Plan, work: str) -> dict[str, Any]:
    """``{operation: {processes: {contender: {per_second, ratio?}}}}``: that many processes with a thread each."""
    able = [each for each in contenders if each.name != "floor" and shares(each.name)]
    if not able or max(settings.processes, default=1) == 1:
        return {}
    with contextlib.ExitStack() as stack:
        groups = {each.name: [each] for each in able}
        for name, group in groups.items():
            while len(group) < max(settings.processes):
                group.append(stack.enter_context(Contender(name, os.path.join(work, name))))

        def run(contender: Contender, operation: str, writers: int, numbers: list[int], argument: str) -> float:
            group = groups[contender.name][:writers]
            start_ns = time.monotonic_ns() + int(_HEAD_START_SECONDS * 1e9)
            for position, member in enumerate(group):
                member.send(operation, numbers[position::writers], argument, start_ns=start_ns)
            answers = [member.receive() for member in group]
            taken_ns = float(max(each["until_ns"] for each in answers) - min(each["from_ns"] for each in answers))
            return len(numbers) * 1e9 / taken_ns

        return _several(able, settings, plan, settings.processes, run)


def _several(
    contenders: Sequence[Contender],
    settings: Settings,
    plan: Plan,
    numbers_of_writers: Sequence[int],
    run: Callable[[Contender, str, int, list[int], str], float],
) -> dict[str, Any]:
    rates: dict[str, dict[int, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for number in _rounds(settings.writers_rounds, settings):
        for operation in settings.writers_operations:
            if operation not in settings.operations:
                continue
            for writers in numbers_of_writers:
                numbers, argument = plan.next(operation, settings.calls(20, 60) * writers)
                for contender in _turns(contenders, number):
                    rate = run(contender, operation, writers, numbers, argument)
                    rates[operation][writers][contender.name].append(rate)
                made, _ = plan.next("delete")
                for contender in contenders if made else ():
                    contender.ask("delete", made)
    return {
        operation: {str(writers): _throughput(by_name) for writers, by_name in by_writers.items()}
        for operation, by_writers in rates.items()
    }


def _throughput(by_name: dict[str, list[float]]) -> dict[str, Any]:
    ours = by_name.get(BASELINE)
    found: dict[str, Any] = {}
    for name, rates in by_name.items():
        middle = sorted(rates)[len(rates) // 2]
        found[name] = {"per_second": middle}
        if ours is not None and name != BASELINE:
            # Rates, not times: ours over the other's.
            found[name]["ratio"] = asdict(ratio([[each] for each in ours], [[each] for each in rates]))
    return found


# --- for a long time --------------------------------------------------------------------------------------------------


def _sustained(contenders: Sequence[Contender], settings: Settings, plan: Plan) -> dict[str, Any]:
    """``{contender: {per_second, median_us, p99_us, p999_us, greatest_us, calls, ratio?}}`` of updates in a row.

    In three turns each, long enough that whatever a contender puts off falls into its own time. ``ratio`` is that of
    the rates.
    """
    plans = {each.name: replace(plan) for each in contenders if each.name != "floor"}
    samples: dict[str, list[list[int]]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    turn_seconds = settings.sustained_seconds / 3
    for number in range(3):
        for contender in _turns(contenders, number):
            if contender.name not in plans:
                continue
            samples[contender.name].append(_update_for(contender, plans[contender.name], turn_seconds))
            rates[contender.name].append(len(samples[contender.name][-1]) / turn_seconds)
    throughput = _throughput(rates)
    return {name: asdict(latency(rounds)) | throughput[name] for name, rounds in samples.items()}


def _update_for(contender: Contender, plan: Plan, seconds: float) -> list[int]:
    times: list[int] = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        numbers, argument = plan.next("update", 20_000)
        answer = contender.ask("update", numbers, argument, seconds=left)
        plan.give_back_updates(len(numbers) - len(answer["ns"]))
        times += answer["ns"]
    return times
