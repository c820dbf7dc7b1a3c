"""What a call costs at the seam to the operating system: one flush for a committed transaction, none for all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import ExecStoreError
from execstore.watcher import EventIterator, GetEventsRequest, Operation, StoreEventRequest
from tests.store.file_systems import Recording
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StoreFactory


@pytest.fixture
def recordings() -> list[Recording]:
    """The file systems made by ``watched``, in order."""
    return []


@pytest.fixture
def watched(recordings: list[Recording]) -> Callable[[str], Recording]:
    def make(root: str) -> Recording:
        recordings.append(Recording(root))
        return recordings[-1]

    return make


@pytest.fixture
def counted(open_store: StoreFactory, watched: Callable[[str], Recording], recordings: list[Recording]) -> Store:
    """A store with one execution, whose file system counts from here on."""
    store = open_store(small=False, file_system=watched)
    store.create_execution(make_execution(), make_event())
    recordings[0].counts.clear()
    return store


def two_creates(store: Store) -> None:
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution("e2"), make_event())
        transaction.create_execution(make_execution("e3"), make_event())
        transaction.update_execution_state(make_request("e1", ExecutionState.RUNNING, job_id="job2"))
        transaction.checkpoint("cp", 1)


WRITES: dict[str, Callable[[Store], object]] = {
    "create": lambda store: store.create_execution(make_execution("e2"), make_event(), make_event()),
    "update": lambda store: store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event())),
    "move to another job": lambda store: store.update_execution_state(make_request("e1", job_id="job2")),
    "delete": lambda store: store.delete_execution("e1"),
    "add event": lambda store: store.add_execution_event("e1", make_event()),
    "checkpoint": lambda store: store.checkpoint("cp", 1),
    "watcher's checkpoint": lambda store: store.event_store.store_checkpoint("w", 1),
    "an event of one's own": lambda store: store.event_store.store_event(
        StoreEventRequest(Operation.CREATE, "Plain", {})
    ),
    "transaction": two_creates,
}


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
def test_a_committed_transaction_costs_one_flush(
    counted: Store, recordings: list[Recording], call: Callable[[Store], object]
) -> None:
    call(counted)
    assert (recordings[0].counts["flush"], recordings[0].flushes()) == (1, 1)


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
def test_a_relaxed_one_costs_none_but_the_first(
    open_store: StoreFactory,
    watched: Callable[[str], Recording],
    recordings: list[Recording],
    call: Callable[[Store], object],
) -> None:
    store = open_store(small=False, file_system=watched, durability="relaxed")
    store.create_execution(make_execution(), make_event())
    recordings[0].counts.clear()
    call(store)
    assert recordings[0].flushes() == 0


def roll_back(store: Store) -> None:
    transaction = store.begin_tx()
    transaction.create_execution(make_execution("e2"))
    transaction.delete_execution("e1")
    transaction.rollback()


def commit_nothing(store: Store) -> None:
    with store.begin_tx() as transaction:
        transaction.get_execution("e1")
        with pytest.raises(ExecStoreError):
            transaction.delete_execution("nope")


def refuse(store: Store) -> None:
    for call in (
        lambda: store.create_execution(make_execution("e1")),
        lambda: store.create_execution(make_execution("")),
        lambda: store.update_execution_state(make_request("e1", revision=9)),
        lambda: store.delete_execution("nope"),
        lambda: store.checkpoint("", 1),
    ):
        with pytest.raises(ExecStoreError):
            call()


@pytest.mark.parametrize("call", [roll_back, commit_nothing, refuse, lambda store: store.add_execution_event("e1")])
def test_what_changes_nothing_writes_nothing(
    counted: Store, recordings: list[Recording], call: Callable[[Store], object]
) -> None:
    call(counted)
    assert (recordings[0].flushes(), recordings[0].writes()) == (0, 0)


READS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get_execution("e1"),
    "list of a job": lambda store: store.get_executions("job1"),
    "live": lambda store: store.get_live_executions(),
    "count": lambda store: store.get_execution_count(ExecutionState.NEW),
    "counts": lambda store: store.counts(),
    "events": lambda store: store.get_execution_events("e1"),
    "checkpoint": lambda store: store.get_checkpoint("cp"),
    "list": lambda store: list(store.list_executions()),
    "event log": lambda store: store.event_store.get_events(GetEventsRequest(EventIterator.trim_horizon())),
    "watchers' checkpoints": lambda store: store.event_store.list_checkpoints(),
    "verify": lambda store: store.verify(),
}


@pytest.mark.parametrize("call", READS.values(), ids=READS)
def test_a_read_writes_nothing(counted: Store, recordings: list[Recording], call: Callable[[Store], object]) -> None:
    call(counted)
    assert (recordings[0].flushes(), recordings[0].writes()) == (0, 0)


def test_counting_reads_the_head_alone(counted: Store, recordings: list[Recording]) -> None:
    counted.counts()
    recordings[0].counts.clear()
    counted.get_execution_count(ExecutionState.NEW)
    assert set(recordings[0].counts) <= {"pread"}


def calls_of_an_opening(open_store: StoreFactory, executions: int, *, read_only: bool) -> dict[str, int]:
    """How often each call is made to open and close a clean store of this size."""
    name = f"store-of-{executions}"
    with open_store(name, small=False, durability="relaxed") as store:
        for number in range(executions):
            store.create_execution(make_execution(f"e{number:05}", f"job{number % 7}"), make_event())
    opened: list[Recording] = []

    def watch(root: str) -> Recording:
        opened.append(Recording(root))
        return opened[-1]

    open_store(name, file_system=watch, read_only=read_only).close()
    return dict(opened[0].counts)


@pytest.mark.parametrize("read_only", [False, True])
def test_opening_a_clean_store_costs_the_same_at_any_size(open_store: StoreFactory, read_only: bool) -> None:
    small = calls_of_an_opening(open_store, 1, read_only=read_only)
    assert calls_of_an_opening(open_store, 400, read_only=read_only) == small
    assert "names" not in small


def test_a_store_that_is_only_read_is_closed_without_a_flush(
    counted: Store, open_store: StoreFactory, watched: Callable[[str], Recording], recordings: list[Recording]
) -> None:
    counted.close()
    with open_store(file_system=watched) as again:
        again.get_execution("e1")
    assert recordings[-1].flushes() == 0
