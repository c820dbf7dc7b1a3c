"""The processes that use the store on the recording device: ``worker.py KIND STORE NOTES MOMENT TASK``.

Each notes outside of that device what was done and by which moment of its log, in lines ``MOMENT WHAT …``.

- ``writer-N`` does its own steps, one after the other, and opens the store anew now and then.
- ``watcher`` notes every event that it is shown.
- ``restless`` has the kernel write back files of the store at times of its own choosing, as it may.

They begin once a line comes in. TASK is a `Task` as JSON. Its fault is a mistake that is planted into the engine, of
which a harness that is worth its name tells.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from execstore import Store
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.journal import JournalFiles
from execstore.watcher import EventIterator, GetEventsRequest
from tests.crash.workload import KINDS, plan_steps
from tests.power_cut.device import die_with_parent, moment_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.workload import Step

__all__ = ["FAULTS", "NUMBERS_EACH", "Apart", "Task", "steps_of"]

#: Writer w numbers what it does from ``w * NUMBERS_EACH`` on, so that one can tell whose an execution is.
NUMBERS_EACH = 20_000
_REOPEN_EVERY = 45
_SYNC_FILE_RANGE_WRITE = 2


@dataclass(frozen=True)
class Task:
    """What a workload is to do: so many writers, so many steps each. The last writer is killed somewhere on its way."""

    seed: str
    writers: int = 3
    steps: int = 80
    relaxed: bool = False
    fault: str = ""


def steps_of(task: Task, number: int) -> list[Step]:
    """What a writer does: the same every time, and nothing that depends on another writer."""
    chance = random.Random(f"{task.seed} writer {number}")
    kinds = [chance.choice(KINDS) for _ in range(task.steps)]
    return plan_steps(kinds, chance, first=number * NUMBERS_EACH + 1)


class Apart:
    """A store, its event store or a transaction, in which a writer's names of checkpoints are its own."""

    def __init__(self, within: Any, prefix: str) -> None:
        self._within = within
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)

    @property
    def event_store(self) -> Apart:
        return Apart(self._within.event_store, self._prefix)

    @contextmanager
    def begin_tx(self) -> Iterator[Apart]:
        with self._within.begin_tx() as transaction:
            yield Apart(transaction, self._prefix)

    def checkpoint(self, name: str, number: int) -> None:
        self._within.checkpoint(self._prefix + name, number)

    def store_checkpoint(self, name: str, number: int) -> None:
        self._within.store_checkpoint(self._prefix + name, number)

    def remove_checkpoint(self, name: str) -> None:
        self._within.remove_checkpoint(self._prefix + name)


class _Notes:
    """A line for each thing that was begun, answered or seen, with the moment."""

    def __init__(self, path: str, moment: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._moment = moment_reader(moment)

    def note(self, *words: object) -> None:
        line = " ".join(map(str, (self._moment[0], *words)))
        os.write(self._file, f"{line}\n".encode())


def _write(path: str, notes: _Notes, task: Task, number: int) -> None:
    steps = steps_of(task, number)
    for first in range(0, len(steps), _REOPEN_EVERY):
        with Store(path, durability="relaxed" if task.relaxed else "full") as store:
            mine: Any = Apart(store, f"w{number}-")
            for index, step in enumerate(steps[first : first + _REOPEN_EVERY], start=first):
                notes.note("begun", index)
                step.run(mine)
                notes.note("done", index)


def _watch(path: str, notes: _Notes, stop: threading.Event) -> None:
    with Store(path) as store:
        store.event_store.serializer.register_type("Plain", dict)
        after = 0
        while not stop.is_set():
            request = GetEventsRequest(EventIterator.after_sequence_number(after))
            for event in store.event_store.get_events(request, timeout=0.05).events:
                notes.note("seen", event.seq_num, event.operation.value, event.object_type, event.timestamp)
                after = event.seq_num


def _stir(path: str, chance: random.Random, stop: threading.Event) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    while not stop.is_set():
        files = [os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names]
        for each in chance.sample(files, min(len(files), 8)):
            try:
                file = os.open(each, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:  # an index entry, or gone
                continue
            try:
                if chance.random() < 0.02:
                    os.fsync(file)
                else:
                    libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)
            finally:
                os.close(file)
        time.sleep(chance.random() * 0.01)


def _no_journal_flush() -> None:
    JournalFiles.flush = lambda self, number: None  # type: ignore[method-assign]


def _no_sync() -> None:
    RealFileSystem.sync = lambda self, paths: None  # type: ignore[method-assign]


FAULTS = {
    "": lambda: None,
    "no flush of the journal": _no_journal_flush,
    "no sync before a journal is written over": _no_sync,
}


def main(kind: str, path: str, notes_path: str, moment: str, task_json: str) -> None:
    die_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = Task(**json.loads(task_json))
    notes = _Notes(notes_path, moment)
    FAULTS[task.fault]()
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "watcher":
        _watch(path, notes, stop)
    elif kind == "restless":
        _stir(path, random.Random(f"{task.seed} restless"), stop)
    else:
        _write(path, notes, task, int(kind.removeprefix("writer-")))


if __name__ == "__main__":
    main(*sys.argv[1:])
