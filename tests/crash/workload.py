"""What the crash tests do to a store, a model of what must come of it, and how its content is read and compared."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest
from execstore.schema import LAYOUT, counts_of
from execstore.tree.head import parse_head
from execstore.tree.names import HEAD_PATH
from execstore.tree.segments import LogState
from execstore.tree_engine import open_tree
from execstore.watcher import Operation, StoreEventRequest
from tests.crash.simulated import Image, SimulatedFileSystem

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from execstore.engine import EngineOptions, Reader
    from execstore.tree.reader import Reader as TreeReader
    from execstore.tree.retirement import RunLater
    from execstore.tree_engine import TreeEngine
    from tests.crash.simulated import Call

__all__ = [
    "KINDS",
    "LATER_NS",
    "Content",
    "Model",
    "SimulatedStore",
    "Step",
    "check_model",
    "content_of",
    "pairs_of_kinds",
    "plan_steps",
    "view_of",
]

JOURNAL_BYTES = 16384
SEGMENT_BYTES = 2048
NOW_NS = 1_790_000_000_000_000_000
LATER_NS = NOW_NS + 10**9
# A folder that exists, which is all that the engine asks of it: its files are in the image.
_PLACE = os.path.dirname(__file__)
_STATES = [
    ExecutionState.NEW,
    ExecutionState.BID_ACCEPTED,
    ExecutionState.RUNNING,
    ExecutionState.PUBLISHING,
    ExecutionState.COMPLETED,
]


class SimulatedStore(Store):
    """A process's handle on a store in an image, whose clock stands still (so that every run gives the same bytes)."""

    def __init__(
        self,
        image: Image,
        watch: Callable[[Call], None] | None = None,
        *,
        read_only: bool = False,
        relaxed: bool = False,
        syncs_all: bool = True,
        now_ns: int = NOW_NS,
        run_later: RunLater = lambda job: job(),
    ) -> None:
        self.run_later = run_later
        self.file_system = SimulatedFileSystem(image, watch, writable=not read_only, syncs_all=syncs_all)
        super().__init__(
            _PLACE,
            read_only=read_only,
            durability="relaxed" if relaxed else "full",
            lock_timeout=0.0,
            clock=lambda: now_ns,
        )

    def _open_engine(self, options: EngineOptions) -> TreeEngine:
        return open_tree(
            _PLACE,
            options,
            journal_bytes=JOURNAL_BYTES,
            segment_bytes=SEGMENT_BYTES,
            file_system=lambda _: self.file_system,
            run_later=self.run_later,
        )

    def kill(self) -> None:
        """End the process, wherever it is."""
        self.file_system.kill()


# --- content --------------------------------------------------------------------------------------------------------


class Content(NamedTuple):
    """All that a store holds: the bytes of each file (a link's target), and what the head keeps."""

    files: Mapping[str, bytes | str]
    values: Mapping[str, Any]

    def seen(self) -> dict[str, bytes | bool]:
        """The files as `view_of` gives them: an index entry is there or not."""
        return {path: data if isinstance(data, bytes) else True for path, data in self.files.items()}


def content_of(image: Image) -> Content:
    """What the files themselves say now. The engine's own and files in the making are left out."""
    folders = tuple(f"{folder}/" for folder in LAYOUT.folders())
    files = image.files()
    head_bytes = files.get(HEAD_PATH)
    head = parse_head(head_bytes) if isinstance(head_bytes, bytes) else None
    if head is None or head.begun != head.published:
        raise AssertionError(f"the head is {head_bytes!r}")
    kept = {path: data for path, data in files.items() if path.startswith(folders) and not path.endswith("/.new")}
    return Content(kept, head.values)


def view_of(reader: Reader) -> tuple[dict[str, bytes | bool], Mapping[str, Any]]:
    """The same as a reader gives it, and the head's values."""
    found: dict[str, bytes | bool] = {}
    for collection in LAYOUT.records:
        for name in reader.record_names(collection):
            found[reader.record_file(collection, name)] = reader.record_named(collection, name) or b""
    for collection in LAYOUT.lines:
        for name in reader.lines_names(collection):
            found[reader.lines_file(collection, name)] = cast("TreeReader", reader).lines_named(collection, name) or b""
    for index in LAYOUT.indexes:
        for group in reader.groups(index):
            for name in reader.members_named(index, group.text):
                found[f"{index}/{group.text}/{name}"] = True
    for first in reader.segment_numbers(LAYOUT.log):
        path = reader.segment_file(LAYOUT.log, first)
        found[path] = reader.segment(path, 0) or b""
    return found, reader.values


# --- the model ------------------------------------------------------------------------------------------------------


@dataclass
class Expected:
    """What must be known of one execution."""

    job_id: str
    state: ExecutionState
    revision: int = 1
    messages: list[str] = field(default_factory=list)


@dataclass
class Model:
    """What a store must hold, kept without any of its code."""

    executions: dict[str, Expected] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)  # operation, object type, execution
    sequences: dict[str, int] = field(default_factory=dict)
    watchers: dict[str, int] = field(default_factory=dict)

    def create(self, execution_id: str, job_id: str, state: ExecutionState, messages: Sequence[str]) -> None:
        self.executions[execution_id] = Expected(job_id, state, messages=list(messages))
        self._log_events(execution_id, messages)
        self.log.append(("CREATE", "ExecutionUpsert", execution_id))

    def update(self, execution_id: str, messages: Sequence[str] = (), **changes: Any) -> None:
        expected = self.executions[execution_id]
        expected.job_id = changes.get("job_id", expected.job_id)
        expected.state = changes.get("state", expected.state)
        expected.revision += 1
        self.add_events(execution_id, messages)
        self.log.append(("UPDATE", "ExecutionUpsert", execution_id))

    def delete(self, execution_id: str) -> None:
        del self.executions[execution_id]
        self.log.append(("DELETE", "ExecutionUpsert", execution_id))

    def add_events(self, execution_id: str, messages: Sequence[str]) -> None:
        self.executions[execution_id].messages += messages
        self._log_events(execution_id, messages)

    def _log_events(self, execution_id: str, messages: Sequence[str]) -> None:
        self.log += [("CREATE", "ExecutionEvent", execution_id)] * len(messages)


def check_model(content: Content, model: Model) -> None:
    """The content is what the model says, in every file and every number."""
    files: dict[str, dict[str, Any]] = {folder: {} for folder in LAYOUT.folders()}
    for path, data in content.files.items():
        folder, _, name = path.partition("/")
        files[folder][name] = data
    records = {name.removesuffix(".json"): json.loads(data) for name, data in files["executions"].items()}
    assert {
        name: (record["ID"], record["JobID"], record["ComputeState"]["StateType"], record["Revision"])
        for name, record in records.items()
    } == {
        key: (key, expected.job_id, expected.state.value, expected.revision)
        for key, expected in model.executions.items()
    }
    events = {
        name.removesuffix(".jsonl"): [json.loads(line)["Message"] for line in data.splitlines()]
        for name, data in files["execution_events"].items()
    }
    assert events == {key: expected.messages for key, expected in model.executions.items() if expected.messages}
    assert set(files["idx_executions_by_job_id"]) == {
        f"{expected.job_id}/{key}" for key, expected in model.executions.items()
    }
    assert set(files["idx_executions_by_state"]) == {
        f"{expected.state.value}/{key}" for key, expected in model.executions.items()
    }
    counts: dict[str, int] = {}
    for expected in model.executions.values():
        counts[expected.state.value] = counts.get(expected.state.value, 0) + 1
    assert counts_of(content.values) == counts
    lines = [json.loads(line) for _, data in sorted(files["events"].items()) for line in data.splitlines()]
    assert [line["seqNum"] for line in lines] == list(range(1, len(model.log) + 1))
    assert LogState.of(content.values).latest == len(model.log)
    assert [(line["operation"], line["objectType"], _execution_of(line)) for line in lines] == model.log
    for folder, numbers in (("sequence_tracking", model.sequences), ("checkpoints", model.watchers)):
        found = {name.removesuffix(".json"): json.loads(data) for name, data in files[folder].items()}
        assert {name: number for name, value in found.items() for number in value.values() if type(number) is int} == (
            numbers
        )


def _execution_of(line: Mapping[str, Any]) -> str:
    body = line["object"]
    if line["objectType"] == "ExecutionUpsert":
        body = body["Current"] or body["Previous"]
        return str(body["ID"])
    return str(body.get("ExecutionID", ""))


# --- steps ----------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One call, or one transaction, of a store's user; and the same for the model."""

    kind: str
    run: Callable[[Store], object]
    imagine: Callable[[Model], None]


def _event(message: str) -> Event:
    return Event("crash", message, timestamp="2026-11-24T04:20:00.123456789Z")


def _execution(execution_id: str, job_id: str, state: ExecutionState, padding: int) -> Execution:
    return Execution(
        id=execution_id, job_id=job_id, compute_state=State(state), job={"Name": job_id, "Padding": "·" * padding}
    )


def _create(number: int, model: Model, chance: random.Random, *, padding: int | None = None) -> Step:
    key, job = f"e-{number:04}", f"job-{chance.randrange(3)}"
    state = chance.choice(_STATES[:2])
    messages = [f"{key} event {index}" for index in range(chance.randrange(3))]
    execution = _execution(key, job, state, chance.choice((0, 150, 700)) if padding is None else padding)
    return Step(
        "create",
        lambda store: store.create_execution(execution, *map(_event, messages)),
        lambda model: model.create(key, job, state, messages),
    )


def _update_state(number: int, model: Model, chance: random.Random) -> Step:
    key = chance.choice(_unfinished(model))
    state = _STATES[_STATES.index(model.executions[key].state) + 1]
    messages = [f"{key} became {state.value} in {number}"]
    request = UpdateExecutionRequest(
        key, Execution(compute_state=State(state)), events=[_event(message) for message in messages]
    )
    return Step(
        "update_state",
        lambda store: store.update_execution_state(request),
        lambda model: model.update(key, messages, state=state),
    )


def _update_job(number: int, model: Model, chance: random.Random) -> Step:
    key = chance.choice(_unfinished(model))
    job = f"moved-{number}"
    request = UpdateExecutionRequest(key, Execution(job_id=job))
    return Step(
        "update_job",
        lambda store: store.update_execution_state(request),
        lambda model: model.update(key, job_id=job),
    )


def _update_output(number: int, model: Model, chance: random.Random) -> Step:
    key = chance.choice(_unfinished(model))
    request = UpdateExecutionRequest(key, Execution(name=f"name {number}" * 20), clear=["eval_id"])
    return Step("update_output", lambda store: store.update_execution_state(request), lambda model: model.update(key))


def _delete(number: int, model: Model, chance: random.Random) -> Step:
    key = chance.choice(sorted(model.executions))
    return Step("delete", lambda store: store.delete_execution(key), lambda model: model.delete(key))


def _add_events(number: int, model: Model, chance: random.Random) -> Step:
    key = chance.choice(sorted(model.executions))
    messages = [f"{key} added {number}.{index}" + "·" * chance.choice((0, 300)) for index in range(1, 3)]
    return Step(
        "add_events",
        lambda store: store.add_execution_event(key, *map(_event, messages)),
        lambda model: model.add_events(key, messages),
    )


def _checkpoint(number: int, model: Model, chance: random.Random) -> Step:
    name = f"sequence-{number % 2}"
    return Step(
        "checkpoint",
        lambda store: store.checkpoint(name, number),
        lambda model: model.sequences.update({name: number}),
    )


def _watcher_checkpoint(number: int, model: Model, chance: random.Random) -> Step:
    name = f"watcher-{number % 2}"
    if name in model.watchers and chance.random() < 0.3:
        return Step(
            "watcher_checkpoint",
            lambda store: store.event_store.remove_checkpoint(name),
            lambda model: _forget(model.watchers, name),
        )
    return Step(
        "watcher_checkpoint",
        lambda store: store.event_store.store_checkpoint(name, number),
        lambda model: model.watchers.update({name: number}),
    )


def _forget(numbers: dict[str, int], name: str) -> None:
    del numbers[name]


def _own_event(number: int, model: Model, chance: random.Random) -> Step:
    request = StoreEventRequest(Operation.CREATE, "Plain", {"Number": number, "Padding": "·" * chance.choice((5, 400))})
    return Step(
        "own_event",
        lambda store: store.event_store.store_event(request),
        lambda model: model.log.append(("CREATE", "Plain", "")),
    )


def _transaction(number: int, model: Model, chance: random.Random) -> Step:
    """Creates two, changes one of them twice, and deletes until few are left."""
    first, second = _create(number, model, chance, padding=20), _create(number + 5000, model, chance, padding=0)
    key = f"e-{number:04}"
    request = UpdateExecutionRequest(
        key, Execution(job_id="job-0", compute_state=State(ExecutionState.RUNNING)), events=[_event(f"{key} runs")]
    )
    doomed = sorted(model.executions)[: max(len(model.executions) - 4, 0)]

    def run(store: Store) -> None:
        with store.begin_tx() as transaction:
            joined = partial(_in_transaction, transaction)
            joined(first)
            joined(second)
            transaction.update_execution_state(request)
            transaction.add_execution_event(key, _event(f"{key} still runs"))
            for each in doomed:
                transaction.delete_execution(each)
            transaction.checkpoint("sequence-0", number)

    def imagine(model: Model) -> None:
        first.imagine(model)
        second.imagine(model)
        model.update(key, [f"{key} runs"], job_id="job-0", state=ExecutionState.RUNNING)
        model.add_events(key, [f"{key} still runs"])
        for each in doomed:
            model.delete(each)
        model.sequences["sequence-0"] = number

    return Step("transaction", run, imagine)


def _in_transaction(transaction: Any, step: Step) -> None:
    step.run(transaction)


def _create_again(number: int, model: Model, chance: random.Random) -> Step:
    """Delete an execution and create one of the same ID, in another job and state, at once."""
    key = chance.choice(sorted(model.executions))
    state = ExecutionState.BID_ACCEPTED
    execution = _execution(key, f"again-{number % 2}", state, 30)

    def run(store: Store) -> None:
        with store.begin_tx() as transaction:
            transaction.delete_execution(key)
            transaction.create_execution(execution, _event(f"{key} again {number}"))

    def imagine(model: Model) -> None:
        model.delete(key)
        model.create(key, f"again-{number % 2}", state, [f"{key} again {number}"])

    return Step("create_again", run, imagine)


def _unfinished(model: Model) -> list[str]:
    return sorted(key for key, expected in model.executions.items() if not expected.state.is_terminal)


_MAKERS: dict[str, Callable[[int, Model, random.Random], Step]] = {
    "create": _create,
    # Larger than the journal file itself.
    "create_huge": partial(_create, padding=9000),
    "update_state": _update_state,
    "update_job": _update_job,
    "update_output": _update_output,
    "delete": _delete,
    "add_events": _add_events,
    "checkpoint": _checkpoint,
    "watcher_checkpoint": _watcher_checkpoint,
    "own_event": _own_event,
    "transaction": _transaction,
    "create_again": _create_again,
}
KINDS = tuple(_MAKERS)
_WITHOUT_EXECUTION = {"create", "create_huge", "checkpoint", "watcher_checkpoint", "own_event", "transaction"}


def plan_steps(kinds: Sequence[str], chance: random.Random, model: Model | None = None, first: int = 1) -> list[Step]:
    """Steps of these kinds that can be done one after the other; ``model`` becomes what comes of them.

    Where nothing is there that could be updated or deleted, something is created first.
    """
    model = Model() if model is None else model
    steps: list[Step] = []
    for number, kind in enumerate(kinds, start=first):
        if kind not in _WITHOUT_EXECUTION and not _unfinished(model):
            steps.append(_create(number + 2500, model, chance))
            steps[-1].imagine(model)
        steps.append(_MAKERS[kind](number, model, chance)._replace(kind=kind))
        steps[-1].imagine(model)
    return steps


def pairs_of_kinds(chance: random.Random) -> list[str]:
    """Kinds in an order in which each follows each once: a circuit over all pairs (Hierholzer)."""
    left = {kind: chance.sample(KINDS, len(KINDS)) for kind in KINDS}
    path, circuit = [KINDS[0]], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            circuit.append(path.pop())
    return circuit[::-1]
