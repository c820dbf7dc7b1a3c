"""Builders and helpers that the tests of the whole store share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execstore import (
    DesiredState,
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    SpecConfig,
    State,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.testing import FakeClock
from execstore.watcher import EventIterator, GetEventsRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType, ModuleType

    from execstore import Store, watcher
    from execstore.tree.tree import Tree

__all__ = [
    "DATA",
    "PATIENCE_SECONDS",
    "ROOT",
    "FakeClock",
    "die",
    "docker_execution",
    "full_execution",
    "in_child",
    "interrupted_at",
    "listing",
    "log_entries",
    "make_event",
    "make_execution",
    "make_request",
    "python",
]

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen before it fails; it never decides the outcome of one that passes."""


class _InterruptingAt:
    """Raises where the interpreter looks for signals, at the point of this number: when a function is entered, and
    when a built-in one returns."""

    def __init__(self, number: int, files: tuple[str, ...]) -> None:
        self.left = number
        self._files = files

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.left >= 0 and event in {"call", "c_return"} and frame.f_code.co_filename in self._files:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt


def interrupted_at(number: int, modules: Iterable[ModuleType], call: Callable[[], Any]) -> bool:
    """Call it, interrupted at the point of this number in these modules; whether there are so many."""
    interrupting = _InterruptingAt(number, tuple(module.__file__ or "" for module in modules))
    profiled = sys.getprofile()
    sys.setprofile(interrupting)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(profiled)
    return interrupting.left < 0


def make_execution(
    execution_id: str = "e1",
    job_id: str = "job1",
    state: ExecutionState = ExecutionState.NEW,
    **fields: Any,
) -> Execution:
    """One that can be created."""
    fields.setdefault("job", {"ID": job_id, "Name": "test", "Type": "batch", "Count": 1})
    return Execution(id=execution_id, job_id=job_id, compute_state=State(state), **fields)


def docker_execution() -> Execution:
    """A docker job's execution, as the real store wrote it just after its creation."""
    return Execution.from_dict(json.loads((DATA / "docker-execution.json").read_text()))


def make_event(message: str = "m", topic: str = "Test", timestamp: str = "2026-01-02T03:04:05.123456789Z") -> Event:
    return Event(topic, message, timestamp)


def make_request(
    execution_id: str = "e1",
    state: ExecutionState | None = None,
    *events: Event,
    expected: tuple[ExecutionState, ...] = (),
    unexpected: tuple[ExecutionState, ...] = (),
    revision: int = 0,
    clear: tuple[str, ...] = (),
    **fields: Any,
) -> UpdateExecutionRequest:
    """An update to ``state``, or to ``fields`` of the execution."""
    if state is not None:
        fields["compute_state"] = State(state)
    return UpdateExecutionRequest(
        execution_id, Execution(**fields), UpdateExecutionCondition(expected, revision, unexpected), events, clear
    )


def log_entries(store: Store, after: int = 0) -> list[watcher.Event]:
    """The event log from behind a number on."""
    iterator = EventIterator.after_sequence_number(after)
    return store.event_store.get_events(GetEventsRequest(iterator), timeout=0).events


def listing(folder: Path | str) -> dict[str, tuple[int, int, int, bytes]]:
    """Every path below a folder with its kind and mode, its time of change, its inode and its bytes."""
    found: dict[str, tuple[int, int, int, bytes]] = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files, "."]:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if os.path.islink(path):
                content = os.fsencode(os.readlink(path))
            else:
                content = Path(path).read_bytes() if os.path.isfile(path) else b""
            found[os.path.relpath(path, folder)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


def python(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A new Python that can import what this one can; its output is text, through pipes."""
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def die(tree: Tree) -> None:
    """What the kernel does to a process that was killed: its locks and descriptors go, nothing else happens.

    Its threads would go, too. Here, what it has begun beside its commits must end first: it would find its descriptors
    closed, and take that for a disk that failed.
    """
    for thread in threading.enumerate():
        if thread.name == "execstore-retirement":
            thread.join(PATIENCE_SECONDS)
    tree.abandon()


def in_child(work: Callable[[], object]) -> str:
    """Do ``work`` in a forked child; returns the text of what it returned, or of the exception it raised."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of forks in a program with threads; that a store survives them is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                text = str(work())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent judges it
                text = f"{type(error).__name__}: {error}"
            os.write(writing, text.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def full_execution(
    execution_id: str = "e1", job_id: str = "job1", state: ExecutionState = ExecutionState.NEW
) -> Execution:
    """One with a value in every field, those of the reference's merge table."""
    return Execution(
        id=execution_id,
        namespace="ns",
        eval_id="eval-old",
        name="name-old",
        node_id="node-old",
        job_id=job_id,
        job={"ID": job_id, "Name": "job-name", "Namespace": "ns-job", "Type": "batch", "Priority": 7, "Count": 1},
        job_version=3,
        allocated_resources={"Tasks": {"t1": {"CPU": 1, "Memory": 100}, "t2": {"CPU": 2}}},
        desired_state=State(DesiredState.RUNNING, "desired-old", {"d": "old"}),
        compute_state=State(state, "x", {"k": "old", "keep": "kept"}),
        published_result=SpecConfig("s3", {"Bucket": "old", "keep": "kept", "list": ["o1", "o2"], "null": None}),
        run_output=RunCommandResult("out-old", True, "err-old", True, 5, "errmsg-old"),
        previous_execution="prev-old",
        next_execution="next-old",
        followup_eval_id="follow-old",
        partition_index=4,
    )
