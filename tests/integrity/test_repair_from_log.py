"""A record that is lost comes back from the event log; what was deleted, or is there, is left alone."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState
from execstore.errors import ExecutionNotFoundError
from execstore.integrity.repair import rehearse
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StoreFactory

ODD_ID = "Exec/Ä-" + "x" * 250  # its name is a hash: only the log's line has it


@pytest.fixture
def path(open_store: StoreFactory) -> Path:
    """A closed store: ``e1`` updated, ``e2``, one of an odd ID, ``gone`` deleted."""
    with open_store() as store:
        for execution_id in ("e1", "e2", ODD_ID, "gone"):
            store.create_execution(make_execution(execution_id, "job1", name="<é>"), make_event())
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event()))
        store.delete_execution("gone")
    return open_store.path()


def record_of(path: Path, execution_id: str) -> Path:
    for file in (path / "executions").iterdir():
        if f'"ID":"{execution_id}"' in file.read_text():
            return file
    raise LookupError(execution_id)


def remove_all_traces(path: Path, record: Path) -> None:
    for file in (record, path / "execution_events" / f"{record.stem}.jsonl", *path.glob(f"idx_*/*/{record.stem}")):
        file.unlink()


LOSSES: dict[str, Callable[[Path, Path], object]] = {
    "missing": lambda path, record: record.unlink(),
    "damaged": lambda path, record: record.write_bytes(b"{]"),
    "with all traces": remove_all_traces,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("execution_id", ["e1", "e2", ODD_ID])
def test_a_lost_record_is_put_back(open_store: StoreFactory, path: Path, execution_id: str, loss: str) -> None:
    with open_store() as store:
        before, events = store.get_execution(execution_id), store.history(execution_id)
        counts = {ExecutionState.NEW: 2, ExecutionState.RUNNING: 1}
    record = record_of(path, execution_id)
    data = record.read_bytes()
    LOSSES[loss](path, record)
    with open_store(read_only=True) as store:
        planned = {action.action for action in rehearse(store)}
    with open_store() as store:
        report = store.repair()
        assert report.ok
        assert store.get_execution(execution_id) == before
        assert {state: count for state, count in store.counts().items() if count} == counts
        assert {execution.id for execution in store.get_executions("job1")} == {"e1", "e2", ODD_ID}
    done = {action.action for action in report.actions}
    assert f"restored revision {before.revision} from event {events[-1].seq_num} of the log" in done
    assert done == planned
    assert record.read_bytes() == data
    assert bool(list(path.glob("quarantine/executions!*"))) is (loss == "damaged")


def test_a_deleted_execution_stays_deleted(open_store: StoreFactory, path: Path) -> None:
    """Even if something names it."""
    (path / "idx_executions_by_job_id" / "job1" / "gone").symlink_to("../../.e/gone.json")
    record_of(path, "e2").unlink()
    with open_store() as store:
        assert store.repair().ok
        with pytest.raises(ExecutionNotFoundError):
            store.get_execution("gone")


def test_a_record_that_can_be_read_is_kept(open_store: StoreFactory, path: Path) -> None:
    record = record_of(path, "e1")
    changed = record.read_bytes().replace(b'"Revision":2', b'"Revision":1')
    record.write_bytes(changed)
    record_of(path, "e2").unlink()
    with open_store() as store:
        store.repair()
    assert record.read_bytes() == changed


def test_an_execution_whose_events_are_damaged_too_is_lost(open_store: StoreFactory, path: Path) -> None:
    for segment in (path / "events").iterdir():
        segment.write_bytes(segment.read_bytes().replace(b'"ID":"e2"', b'"ID":"e3"'))
    record_of(path, "e2").unlink()
    with open_store() as store:
        store.repair()
        with pytest.raises(ExecutionNotFoundError):
            store.get_execution("e2")
        assert [problem for problem in store.verify().problems if problem.kind != "log"] == []
    shutil.rmtree(path)  # a damaged event can't be mended


def test_a_damaged_event_behind_the_one_that_was_taken_is_told_of(open_store: StoreFactory, path: Path) -> None:
    (segment,) = (file for file in (path / "events").iterdir() if b'"Revision":2' in file.read_bytes())
    segment.write_bytes(segment.read_bytes().replace(b"Running", b"Rumming"))
    record_of(path, "e1").unlink()
    with open_store() as store:
        actions = [action.action for action in store.repair().actions]
        assert store.get_execution("e1").revision == 1
    told = re.compile(r"restored revision 1 from event [0-9]+ of the log; event [0-9]+, which is newer, is lost.*")
    assert any(told.fullmatch(action) for action in actions)
    shutil.rmtree(path)


def test_a_rehearsal_changes_nothing(open_store: StoreFactory, path: Path) -> None:
    record_of(path, "e2").write_bytes(b"")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with open_store(read_only=True) as store:
        assert rehearse(store)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    with open_store() as store:
        store.repair()


def test_all_records_are_put_back(open_store: StoreFactory, path: Path, tmp_path: Path) -> None:
    """Even with something else in their folder's place, and no other trace of them."""
    with open_store() as store:
        before = {execution.id: execution for execution in store.list_executions()}
    (path / "executions").rename(tmp_path / "executions")
    (path / "executions").write_text("mine")
    for folder in path.glob("idx_*"):
        shutil.rmtree(folder)
    with open_store(read_only=True) as store:
        assert [action.path for action in rehearse(store)] == ["executions"]
    with open_store() as store:
        assert store.repair().ok
        assert {execution.id: execution for execution in store.list_executions()} == before


def test_a_lost_segment_is_told_of(open_store: StoreFactory, path: Path) -> None:
    max((path / "events").iterdir()).unlink()
    record_of(path, "e2").unlink()
    with open_store() as store:
        actions = [action.action for action in store.repair().actions]
        assert store.get_execution("e2").revision == 1
    assert any("which is newer, is lost" in action for action in actions)
    shutil.rmtree(path)
