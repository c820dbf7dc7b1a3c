"""Several processes use one store on a recording device; what is left is a recording and its history."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from execstore import Store
from execstore.schema import LAYOUT
from execstore.tree.tree import Tree
from tests.power_cut.cuts import Recording
from tests.power_cut.device import moment_reader
from tests.power_cut.history import History, content_of
from tests.power_cut.machine import copy_sparse, mounted, recording
from tests.support import in_child, python

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.crash.workload import Content
    from tests.power_cut.machine import FileSystemKind
    from tests.power_cut.worker import Task

__all__ = ["STORE", "Recovered", "Run", "load_run", "record", "record_recovery"]

STORE = "store"
# So small that each is full every few changes: what happens then is what wants to be cut.
JOURNAL_BYTES = 16384
SEGMENT_BYTES = 4096
_PATIENCE_SECONDS = 120.0


class Recovered(NamedTuple):
    """A store was opened after a cut, by ``moment`` of the recording of that, and showed its content to somebody."""

    cut: int  # the moment of the first cut: what was acknowledged later didn't happen
    moment: int
    content: Content


@dataclass(frozen=True)
class Run:
    """What a workload left, or a recovery. ``made``: the moment by which the store is sure to be there."""

    kind: FileSystemKind
    task: Task
    folder: Path
    recording: Recording
    history: History
    made: int
    recovered: Recovered | None = None


def load_run(kind: FileSystemKind, task: Task, folder: Path) -> Run:
    """A run that was recorded in a folder."""
    recovered = folder / "recovered"
    return Run(
        kind,
        task,
        folder,
        Recording(folder / "base", folder / "log"),
        History.read(folder / "notes", task),
        int((folder / "made").read_text()),
        pickle.loads(recovered.read_bytes()) if recovered.exists() else None,
    )


def record(kind: FileSystemKind, task: Task, folder: Path) -> Run:
    """Do a task on a new file system."""
    folder.mkdir()
    (folder / "notes").mkdir()
    kind.make_image(folder / "base")
    with _recorded(kind, folder) as (files, moment):
        store = files / STORE
        Tree(str(store), LAYOUT, journal_bytes=JOURNAL_BYTES, segment_bytes=SEGMENT_BYTES).close()
        (folder / "made").write_text(str(moment_reader(str(moment))[0]))
        _work(task, store, folder / "notes", moment)
    return load_run(kind, task, folder)


def record_recovery(run: Run, image: Path, cut: int, folder: Path, *, closes: bool) -> Run:
    """Open the store on what a cut left, so that this can be cut in its turn. It is closed, or its process dies."""
    folder.mkdir()
    shutil.copytree(run.folder / "notes", folder / "notes")
    shutil.copy(image, folder / "base")
    with _recorded(run.kind, folder) as (files, moment):

        def recover() -> None:
            store = Store(files / STORE)
            content = content_of(store)
            now = moment_reader(str(moment))[0]
            (folder / "recovered").write_bytes(pickle.dumps(Recovered(cut, now, content)))
            (folder / "made").write_text("0" if cut >= run.made else str(now))
            if closes:
                store.close()

        said = in_child(recover)
    if said != "None":
        raise RuntimeError(f"the store couldn't be opened: {said}")
    return load_run(run.kind, run.task, folder)


@contextmanager
def _recorded(kind: FileSystemKind, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where ``base`` is mounted through a recording device, and the file that tells the moment."""
    image = folder / "image"
    copy_sparse(folder / "base", image)
    with recording(image, folder) as (device, moment), mounted(kind, device, folder / "files", direct=True) as files:
        yield files, moment
    image.unlink()


def _work(task: Task, store: Path, notes: Path, moment: Path) -> None:
    chance = random.Random(f"{task.seed} work")
    writers = [f"writer-{number}" for number in range(1, task.writers + 1)]
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_started(name, task, store, notes / name, moment))
            for name in ("watcher", "restless", *writers)
        }
        for process in processes.values():
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a worker doesn't start; its error is above")
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        _kill_later(processes[writers[-1]], notes / writers[-1], chance.randrange(10, 2 * task.steps))
        for name in writers[:-1]:
            _check_end(name, processes[name])
        for name in ("watcher", "restless"):
            processes[name].terminate()
            _check_end(name, processes[name])


def _kill_later(writer: subprocess.Popen[str], notes: Path, lines: int) -> None:
    """Wait until so much is noted, then SIGKILL in the midst of what follows."""
    started = time.monotonic()
    while writer.poll() is None and time.monotonic() - started < _PATIENCE_SECONDS:
        with suppress(FileNotFoundError):
            if notes.read_bytes().count(b"\n") >= lines:
                break
        time.sleep(0.002)
    writer.kill()


def _check_end(name: str, process: subprocess.Popen[str]) -> None:
    if process.wait(_PATIENCE_SECONDS) != 0:
        raise RuntimeError(f"{name} failed; its error is above")


@contextmanager
def _started(name: str, task: Task, store: Path, notes: Path, moment: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker, which is gone in the end."""
    notes.touch()
    arguments = [name, os.fspath(store), os.fspath(notes), os.fspath(moment), json.dumps(asdict(task))]
    with python("-m", "tests.power_cut.worker", *arguments) as process:
        try:
            yield process
        finally:
            process.kill()
