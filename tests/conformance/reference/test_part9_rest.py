"""Part 9 of the reference's behaviour: opening and closing, checkpoints, files, damaged records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from execstore import Execution, ExecutionState, Store
from execstore.errors import (
    CheckpointNameBlankError,
    ExecStoreError,
    NotAStoreError,
    StoreClosedError,
    StoreCorruptedError,
)
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conformance.conftest import Stores


@pytest.mark.folder
def test_a_store_is_made_where_no_folder_is(open_store: Stores) -> None:
    store = open_store("no/such/folder")
    store.create_execution(make_execution())
    assert (open_store.path("no/such/folder") / "executions" / "e1.json").exists()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"not a store")
    with pytest.raises(NotAStoreError, match="it is not a folder"):
        Store(path)
    assert path.read_bytes() == b"not a store"


METHODS: dict[str, Callable[[Store], object]] = {
    "create_execution": lambda store: store.create_execution(make_execution()),
    "get_execution": lambda store: store.get_execution("e1"),
    "get_executions": lambda store: store.get_executions("job1"),
    "get_live_executions": lambda store: store.get_live_executions(),
    "get_execution_count": lambda store: store.get_execution_count(ExecutionState.NEW),
    "update_execution_state": lambda store: store.update_execution_state(make_request()),
    "delete_execution": lambda store: store.delete_execution("e1"),
    "add_execution_event": lambda store: store.add_execution_event("e1", make_event()),
    "get_execution_events": lambda store: store.get_execution_events("e1"),
    "checkpoint": lambda store: store.checkpoint("cp", 1),
    "get_checkpoint": lambda store: store.get_checkpoint("cp"),
    "begin_tx": lambda store: store.begin_tx(),
    "get_event_store": lambda store: store.get_event_store(),
    "event_store": lambda store: store.event_store,
    "list_executions": lambda store: store.list_executions(),
    "counts": lambda store: store.counts(),
    "verify": lambda store: store.verify(),
    "repair": lambda store: store.repair(),
    "__enter__": lambda store: store.__enter__(),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_closed_store_says_so(store: Store, method: str) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        METHODS[method](store)


def test_closing_twice_is_fine(store: Store) -> None:
    store.close()
    store.close()
    assert store.closed


def test_a_list_that_is_being_read_ends_with_the_store(store: Store) -> None:
    store.create_execution(make_execution())
    executions = store.list_executions()
    store.close()
    with pytest.raises(StoreClosedError):
        next(executions)


def test_a_context_manager_closes_the_store(open_store: Stores) -> None:
    with open_store() as store:
        store.create_execution(make_execution())
    assert store.closed


@pytest.mark.parametrize(
    "call", [lambda store: store.checkpoint("", 1), lambda store: store.get_checkpoint("")], ids=["put", "get"]
)
def test_a_blank_checkpoint_name(store: Store, call: Callable[[Store], object]) -> None:
    with pytest.raises(CheckpointNameBlankError) as caught:
        call(store)
    assert str(caught.value) == "checkpoint name cannot be blank"


def test_checkpoints(store: Store) -> None:
    assert store.get_checkpoint("unknown") == 0
    store.checkpoint(" ", 5)
    store.checkpoint("a", 9)
    store.checkpoint("a", 2)
    assert (store.get_checkpoint(" "), store.get_checkpoint("a")) == (5, 2)
    assert log_entries(store) == []


def test_the_two_kinds_of_checkpoints_are_kept_apart(store: Store) -> None:
    store.checkpoint("same", 1)
    store.event_store.store_checkpoint("same", 2)
    assert (store.get_checkpoint("same"), store.event_store.get_checkpoint("same")) == (1, 2)


@pytest.mark.folder
def test_the_collections_have_the_references_names(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution(), make_event())
    store.checkpoint("cp", 1)
    store.event_store.store_checkpoint("w", 1)
    path = open_store.path()
    for name in (
        "executions/e1.json",
        "execution_events/e1.jsonl",
        "idx_executions_by_job_id/job1/e1",
        "idx_executions_by_state/New/e1",
        "events/00000000000000000001.jsonl",
        "checkpoints/w.json",
        "sequence_tracking/cp.json",
        "FORMAT",
        "lock",
    ):
        assert (path / name).exists(), name


@pytest.mark.folder
def test_links_of_the_indexes_lead_to_the_record(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution())
    path = open_store.path()
    for index in ("idx_executions_by_job_id/job1", "idx_executions_by_state/New"):
        assert (path / index / "e1").is_symlink()
        assert (path / index / "e1").resolve() == (path / "executions/e1.json").resolve()


@pytest.mark.folder
def test_folders_and_files_are_the_owners_alone(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution(), make_event())
    store.checkpoint("cp", 1)
    store.close()
    for parent, folders, files in os.walk(open_store.path()):
        for name in [".", *folders, *files]:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                assert os.lstat(path).st_mode & 0o777 == (0o700 if os.path.isdir(path) else 0o600), path


@pytest.fixture
def damaged(store: Store, open_store: Stores) -> Store:
    """A store of two executions of which e1's record is broken."""
    store.create_execution(make_execution("e1"))
    store.create_execution(make_execution("e2"))
    (open_store.path() / "executions" / "e1.json").write_bytes(b"{broken")
    return store


@pytest.mark.folder
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get_execution("e1"),
        lambda store: store.update_execution_state(make_request("e1", ExecutionState.RUNNING)),
        lambda store: store.create_execution(make_execution("e1")),
        lambda store: store.delete_execution("e1"),
    ],
    ids=["get", "update", "create", "delete"],
)
def test_a_broken_record_says_so_where_it_is_needed(damaged: Store, call: Callable[[Store], object]) -> None:
    with pytest.raises(ExecStoreError) as caught:
        call(damaged)
    assert "executions/e1.json" in str(caught.value) or "already exists" in str(caught.value)
    damaged.repair()


@pytest.mark.folder
def test_a_broken_record_is_told_of_by_its_path(damaged: Store, open_store: Stores) -> None:
    with pytest.raises(StoreCorruptedError) as caught:
        damaged.get_execution("e1")
    assert caught.value.path == str(open_store.path() / "executions" / "e1.json")
    damaged.repair()


def test_unknown_members_are_kept_and_not_skipped(store: Store) -> None:
    given = Execution.from_dict(
        {
            "ID": "e1",
            "JobID": "job1",
            "Job": {"ID": "job1", "New": [1]},
            "ComputeState": {"StateType": 1, "Future": True},
            "RunOutput": {"Stdout": "", "Signal": 9},
            "PublishedResult": {"Type": "s3", "More": {"a": 1}},
            "Priority": 2**70,
        }
    )
    store.create_execution(given)
    store.update_execution_state(make_request("e1", ExecutionState.RUNNING, name="new"))
    stored = store.get_execution("e1").to_dict()
    assert stored["Job"] == {"ID": "job1", "New": [1]}
    assert stored["ComputeState"] == {"StateType": "Running", "Future": True}
    assert stored["RunOutput"]["Signal"] == 9
    assert stored["PublishedResult"] == {"Type": "s3", "More": {"a": 1}}
    assert stored["Priority"] == 2**70
