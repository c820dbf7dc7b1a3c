"""Where the time of an operation goes: which calls to the system take how much of it, and what is left for Python.

Every call of the engine to the system goes through its seam, so it is there that they are timed. Timing one takes about
a microsecond, which is part of what is called Python here.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from execstore.bench.adapters.execstore_ import ExecstoreAdapter
from execstore.bench.measure import Measurement
from execstore.bench.workloads import BY_NAME, Plan
from execstore.store import Store
from execstore.tree.filesystem import RealFileSystem
from execstore.tree_engine import open_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["measure_phases"]

_OPERATIONS: Final = ("create", "update", "add_event", "delete", "get", "list_job", "live", "events", "watch")
#: What each call to the system is for; see ``tree.seam``.
_PHASES: Final = {
    "flush": ("flush",),
    "files and links": ("create", "rename", "link", "remove", "make_folder", "remove_folder", "overwrite"),
    "journal and head": ("pread", "pwrite"),
    "looks": ("read", "size", "stamp", "names", "kind", "link_target", "free"),
    "locks": ("try_lock", "unlock"),
}
_PYTHON: Final = "Python"
_SIZE: Final = 1000


class _TimedFileSystem(RealFileSystem):
    """Adds up how long one thread's calls take, by phase. A call within another one belongs to the outer one."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.taken_ns = dict.fromkeys(_PHASES, 0)
        self._thread = threading.get_ident()
        self._is_inside = False

    def timed(self, phase: str, call: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._is_inside or threading.get_ident() != self._thread:
            return call(*arguments, **named)
        self._is_inside = True
        started_ns = time.perf_counter_ns()
        try:
            return call(*arguments, **named)
        finally:
            self.taken_ns[phase] += time.perf_counter_ns() - started_ns
            self._is_inside = False


def _timing(name: str, phase: str) -> Callable[..., Any]:
    def method(self: _TimedFileSystem, *arguments: Any, **named: Any) -> Any:
        return self.timed(phase, getattr(super(_TimedFileSystem, self), name), arguments, named)

    return method


for _phase, _names in _PHASES.items():
    for _name in _names:
        setattr(_TimedFileSystem, _name, _timing(_name, _phase))


class _TimedAdapter(ExecstoreAdapter):
    file_system: _TimedFileSystem

    def open(self) -> None:
        super().open()
        path = self._store.path
        self._store.close()

        def make(root: str) -> _TimedFileSystem:
            self.file_system = _TimedFileSystem(root)
            return self.file_system

        self._store = Store.on(partial(open_tree, path, file_system=make))


def measure_phases(folder: str, *, quick: bool = False) -> Iterator[Measurement]:
    """Each operation: the median of a call, and of its parts, in microseconds. One caller, 1,000 executions.

    The parts' medians needn't add up to the whole's. A part that an operation doesn't have is left out.
    """
    place = os.path.join(folder, "phases")
    os.mkdir(place)
    adapter = _TimedAdapter(place)
    adapter.open()
    try:
        adapter.fill(_SIZE)
        plan = Plan(_SIZE, quick)
        samples: dict[str, list[dict[str, int]]] = {name: [] for name in _OPERATIONS}
        for number in range(3 if quick else 6):
            for name in _OPERATIONS:
                found = _calls(adapter, name, plan)
                if number:  # the first round warms up
                    samples[name] += found
        for name in _OPERATIONS:
            parts = {part: _median_us([each[part] for each in samples[name]]) for part in samples[name][0]}
            yield Measurement(BY_NAME[name].title, "us", {part: taken for part, taken in parts.items() if taken})
    finally:
        adapter.close()


def _calls(adapter: _TimedAdapter, operation: str, plan: Plan) -> list[dict[str, int]]:
    numbers, argument = plan.next(operation)
    call = getattr(adapter, operation)
    taken_ns = adapter.file_system.taken_ns
    found = []
    for number in numbers:
        before = dict(taken_ns)
        started_ns = time.perf_counter_ns()
        call(number, argument)
        whole = time.perf_counter_ns() - started_ns
        parts = {phase: taken_ns[phase] - before[phase] for phase in _PHASES}
        found.append({"whole": whole, **parts, _PYTHON: whole - sum(parts.values())})
    return found


def _median_us(samples_ns: list[int]) -> float:
    return statistics.median(samples_ns) / 1e3
