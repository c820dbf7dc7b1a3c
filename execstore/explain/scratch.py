"""Scratch stores: stores that are recorded, folders built from what a power cut left, and what a store then holds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from execstore import Execution, ExecutionState, State, Store
from execstore.errors import ExecStoreError, ExecutionEventsNotFoundError
from execstore.explain.recording import CHANGES, Recorder, Recording
from execstore.schema import LAYOUT
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.names import NEW_NAME, engine_names
from execstore.tree.tree import SEGMENT_BYTES, Tree
from execstore.tree_engine import open_tree
from execstore.watcher.events import EventIterator, GetEventsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.engine import EngineOptions
    from execstore.explain.recording import Item
    from execstore.tree.filesystem import FileSystem
    from execstore.tree_engine import TreeEngine

__all__ = [
    "JOURNAL_BYTES",
    "Content",
    "Recovered",
    "build",
    "content_of",
    "glance",
    "make_store",
    "new_execution",
    "open_recorded",
    "recover",
    "walk",
]

JOURNAL_BYTES = 16384
"""Small, so that it is soon full and is quickly copied; execstore's own are 4 MiB."""


def open_recorded(path: str, recording: Recording) -> Store:
    """Open a store that is there; every call of its engine to the file system is noted. All else is as ever."""

    def record(folder: str) -> FileSystem:
        return Recorder(RealFileSystem(folder), recording)

    def opener(options: EngineOptions) -> TreeEngine:
        return open_tree(path, options, may_create=False, file_system=record)

    return Store.on(opener)


def make_store(path: str, *executions: Execution, journal_bytes: int = JOURNAL_BYTES) -> None:
    """Make a store with a small journal, with these executions in it, and close it: all of it is durable."""
    Tree(path, LAYOUT, journal_bytes=journal_bytes, segment_bytes=SEGMENT_BYTES).close()
    with Store(path) as store:
        for execution in executions:
            store.create_execution(execution)


def new_execution(execution_id: str, job_id: str = "j-1") -> Execution:
    """A small execution, in state New."""
    return Execution(
        id=execution_id,
        job_id=job_id,
        node_id="n-1",
        job={"Name": "count the birds", "Type": "batch", "Count": 1},
        compute_state=State(ExecutionState.NEW),
    )


@dataclass(frozen=True, slots=True)
class Content:
    """All that a user of a store sees: executions with their events, indexes, counts, the log, checkpoints."""

    executions: Mapping[str, Any]
    events: Mapping[str, Any]
    jobs: Mapping[str, list[str]]
    counts: Mapping[str, int]
    log: tuple[tuple[int, str, str, str], ...]  # number, operation, type, execution
    checkpoints: Mapping[str, int]

    def at_a_glance(self) -> Content:
        """What of it `glance` sees."""
        return Content(self.executions, {}, {}, self.counts, (), {})


def glance(store: Store) -> Content:
    """Read the executions and their counts alone: a reader waits at each look while the files are changing."""
    executions = {execution.id: execution.to_dict() for execution in store.list_executions()}
    return Content(executions, {}, {}, _counts(store), (), {})


def _counts(store: Store) -> dict[str, int]:
    return {str(state): count for state, count in store.counts().items() if count}


def content_of(store: Store) -> Content:
    """Read everything, as any user would."""
    executions = {execution.id: execution for execution in store.list_executions()}
    events: dict[str, Any] = {}
    for execution_id in executions:
        try:
            events[execution_id] = [event.to_dict() for event in store.get_execution_events(execution_id)]
        except ExecutionEventsNotFoundError:
            continue
    job_ids = sorted({execution.job_id for execution in executions.values()})
    response = store.event_store.get_events(GetEventsRequest(EventIterator.trim_horizon()), 0)
    if not response.events:  # the first answer only turns the place into a number
        response = store.event_store.get_events(GetEventsRequest(response.next_event_iterator), 0)
    log = [(e.seq_num, e.operation.value, e.object_type, _execution_of(e.object)) for e in response.events]
    return Content(
        executions={execution_id: execution.to_dict() for execution_id, execution in executions.items()},
        events=events,
        jobs={job_id: sorted(e.id for e in store.get_executions(job_id)) for job_id in job_ids},
        counts=_counts(store),
        log=tuple(log),
        checkpoints=store.event_store.list_checkpoints(),
    )


def _execution_of(value: Any) -> str:
    """Of which execution an event of the log speaks."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if not isinstance(value, dict):
        return ""
    whole = value.get("Current") or value.get("Previous")
    return str(whole["ID"] if isinstance(whole, dict) else value.get("ExecutionID", ""))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an opening made of a folder. ``content`` is ``None`` if it couldn't be opened; ``problem`` says why, or what
    ``verify`` found. ``rewritten`` are the paths of the tree, but for the engine's own, that the opening touched."""

    content: Content | None
    problem: str
    rewritten: tuple[str, ...]


def build(path: str, files: Mapping[str, Item]) -> None:
    """Make a folder that holds these."""
    os.makedirs(path, mode=0o700)
    for name, item in files.items():
        place = os.path.join(path, name)
        if item.kind == "folder":
            os.mkdir(place, 0o700)
        elif item.kind == "link":
            os.symlink(item.target, place)
        else:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(item.data)


def recover(path: str, recording: Recording | None = None) -> Recovered:
    """Open a folder as the first user after a power cut does, and see what is there.

    ``recording`` takes the calls of the opening, and of nothing else.
    """
    recording = Recording() if recording is None else recording
    try:
        with open_recorded(path, recording) as store:
            calls = tuple(recording.calls)
            content = content_of(store)
            problems = store.verify().problems
            del recording.calls[len(calls) :]
    except ExecStoreError as error:
        return Recovered(None, str(error), ())
    engine = engine_names(LAYOUT) - set(LAYOUT.folders())
    touched = dict.fromkeys(
        call.path
        for call in calls
        if call.operation in CHANGES
        and call.path.partition("/")[0] not in engine
        and call.path.rpartition("/")[2] != NEW_NAME
    )
    problem = f"{problems[0].path}: {problems[0].reason}" if problems else ""
    if len(problems) > 1:
        problem += f" (and {len(problems) - 1} more)"
    return Recovered(content, problem, tuple(touched))


def walk(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every path below a folder, relative to it, in the order of names, folders before what is in them."""
    for name in sorted(os.listdir(path)):
        status = os.lstat(os.path.join(path, name))
        yield name, status
        if os.path.isdir(os.path.join(path, name)) and not os.path.islink(os.path.join(path, name)):
            for below, its in walk(os.path.join(path, name)):
                yield f"{name}/{below}", its
