"""A writer that dies at any of its system calls leaves all of its change or nothing, for every kind of reader."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from tests.store.file_systems import CutOff, Recording, failing_at
from tests.support import FakeClock, listing, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StoreFactory


def everything(store: Store) -> dict[str, Any]:
    """All that can be read."""
    executions = list(store.list_executions())
    jobs = {execution.job_id for execution in executions}
    events = {}
    for execution in executions:
        with contextlib.suppress(LookupError):
            events[execution.id] = [event.to_dict() for event in store.get_execution_events(execution.id)]
    return {
        "executions": executions,
        "jobs": {job_id: store.get_executions(job_id) for job_id in sorted(jobs)},
        "live": store.get_live_executions(),
        "events": events,
        "counts": store.counts(),
        "checkpoint": store.get_checkpoint("cp"),
        "log": [(event.seq_num, event.operation, event.object, event.timestamp) for event in log_entries(store)],
    }


def several(store: Store) -> None:
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution("new", "job2", name="x" * 500), make_event("a"))
        transaction.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event("b"), job_id="job2"))
        transaction.delete_execution("e2")
        transaction.create_execution(make_execution("e2", "job3"))
        transaction.add_execution_event("e3", make_event("c"))
        transaction.checkpoint("cp", 9)


CHANGES: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.create_execution(make_execution("new", "job2"), make_event("a")),
    "update": lambda store: store.update_execution_state(
        make_request("e1", ExecutionState.RUNNING, make_event("b"), job_id="job2")
    ),
    "delete": lambda store: store.delete_execution("e2"),
    "transaction": several,
    "one that fills the journal": lambda store: store.create_execution(make_execution("new", name="x" * 9000)),
}


@pytest.fixture
def origin(open_store: StoreFactory, clock: FakeClock) -> Path:
    """A closed store with three executions."""
    with open_store("origin", clock=clock) as store:
        for number in (1, 2, 3):
            store.create_execution(make_execution(f"e{number}"), make_event())
        store.checkpoint("cp", 1)
    return open_store.path("origin")


def copy_of(origin: Path, open_store: StoreFactory) -> Path:
    path = open_store.path("copy")
    if path.exists():
        shutil.rmtree(path)
    shutil.copytree(origin, path, symlinks=True)
    return path


@pytest.mark.parametrize("lives_on", [False, True], ids=["killed", "stopped"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_cut_off_at_any_call(
    origin: Path,
    open_store: StoreFactory,
    clock: FakeClock,
    change: Callable[[Store], object],
    lives_on: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``killed``: nothing of the writer is left but its files. ``stopped``: it still counts as one that has it open."""
    # A read-only handle gives a living writer this long to finish; here nobody will.
    monkeypatch.setattr("execstore.tree.reading._STUCK_SECONDS", 0.001)
    copy_of(origin, open_store)
    with open_store("copy", clock=clock) as store:
        before = everything(store)
        change(store)
        after = everything(store)
    outcomes = []
    number = 0
    while True:
        path = copy_of(origin, open_store)
        made: list[Recording] = []

        def record(root: str, made: list[Recording] = made) -> Recording:
            made.append(Recording(root))
            return made[-1]

        # Not opened by the factory, which would close it in the end: this one dies.
        writer = open_store("copy", clock=clock, file_system=record)
        made[0].before = failing_at(number)
        try:
            change(writer)
            finished = True
        except CutOff:
            finished = False
        made[0].before = lambda name: None
        if not lives_on:
            writer.engine().abandon()

        files = listing(path)
        with open_store("copy", read_only=True) as reader:
            seen = everything(reader)
        assert listing(path) == files, "a read-only handle never writes"
        assert seen in (before, after), f"half of the change at call {number}"
        with open_store("copy", clock=clock) as next_writer:
            now = everything(next_writer)
            # What a living writer has journaled, but not flushed yet, is shown once the next one has flushed it.
            assert now == seen or (lives_on and now == after), f"what was shown is gone after call {number}"
            report = next_writer.verify()
            assert report.ok, report.problems
            next_writer.create_execution(make_execution("next"))
            assert next_writer.verify().ok
        if lives_on and not finished:
            assert {execution.id for execution in writer.list_executions()} >= {"next", "e3"}, "it goes on, too"
        writer.close()
        outcomes.append(now == after)
        if finished:
            break
        number += 1
    assert outcomes == sorted(outcomes), "once a change is there it stays there"
    assert not outcomes[0]
    assert outcomes[-1]
