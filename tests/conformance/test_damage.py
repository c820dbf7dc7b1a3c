"""Damage: what isn't what was written is told of by what it is called, and takes nothing else down.

It is planted through the engine, so it is the same for all; a store's files are damaged in ``tests/store``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import pytest

from execstore import ExecutionState, Store
from execstore.errors import CheckpointError, StoreCorruptedError, UnsupportedOperationError
from execstore.schema import (
    CHECKPOINTS,
    COUNTS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    SEQUENCE_TRACKING,
    STATE_INDEX,
)
from execstore.tree_engine import TreeEngine
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execstore.engine import Change

BID_ACCEPTED = ExecutionState.BID_ACCEPTED


@pytest.fixture
def filled(store: Store) -> Store:
    """Two live executions of one job, with an event each, and a checkpoint of each kind."""
    for execution_id in ("e1", "e2"):
        store.create_execution(make_execution(execution_id, state=BID_ACCEPTED), make_event(execution_id))
    store.checkpoint("cp", 1)
    store.event_store.store_checkpoint("w", 1)
    return store


class Damage(NamedTuple):
    """What is done to a filled store, what undoes it, and what verify then says: kinds, and a part of the reason."""

    plant: Callable[[Change], None]
    mend: Callable[[Change], None]
    kinds: set[str]
    reason: str


def _put(collection: str, key: str, data: bytes) -> Callable[[Change], None]:
    return lambda change: change.put_record(collection, key, data)


def _count(number: int) -> Callable[[Change], None]:
    return lambda change: change.set_value(COUNTS, {"BidAccepted": number})


DAMAGES = {
    "an entry too many": Damage(
        lambda change: change.mark(JOB_INDEX, "other", "e1"),
        lambda change: change.unmark(JOB_INDEX, "other", "e1", drop_empty=True),
        {"index"},
        "the execution belongs to 'job1'",
    ),
    "an entry of nobody": Damage(
        lambda change: change.mark(STATE_INDEX, "Running", "gone"),
        lambda change: change.unmark(STATE_INDEX, "Running", "gone", drop_empty=False),
        {"index", "counts"},
        "it names an execution that isn't there",
    ),
    "an entry too few": Damage(
        lambda change: change.unmark(STATE_INDEX, "BidAccepted", "e1", drop_empty=False),
        lambda change: change.mark(STATE_INDEX, "BidAccepted", "e1"),
        {"index", "counts"},
        "the entry is missing",
    ),
    "a wrong count": Damage(_count(3), _count(2), {"counts"}, "3 executions are counted in state BidAccepted"),
    "events of nobody": Damage(
        lambda change: change.append_lines(EXECUTION_EVENTS, "gone", b"{}\n"),
        lambda change: change.remove_lines(EXECUTION_EVENTS, "gone"),
        {"events"},
        "there is no execution to these events",
    ),
    "a checkpoint": Damage(
        _put(SEQUENCE_TRACKING, "cp", b"[]"),
        _put(SEQUENCE_TRACKING, "cp", b'{"Name":"cp","SequenceNumber":1}'),
        {"checkpoint"},
        "",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_tells_of_it(filled: Store, name: str) -> None:
    damage = DAMAGES[name]
    assert filled.verify().ok
    stored = filled.look(lambda reader: reader.record(SEQUENCE_TRACKING, "cp"))
    filled.apply("damage", damage.plant)
    report = filled.verify()
    assert {problem.kind for problem in report.problems} == damage.kinds
    assert damage.reason in " ".join(problem.reason for problem in report.problems)
    filled.apply("mend", damage.mend)
    assert stored is not None
    filled.apply("mend", _put(SEQUENCE_TRACKING, "cp", stored))


def test_a_damaged_record_takes_no_list_down(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    before = filled.look(lambda reader: reader.record(EXECUTIONS, "e1"))
    assert before is not None
    filled.apply("damage", _put(EXECUTIONS, "e1", b"{broken"))
    for call in (
        lambda: filled.get_execution("e1"),
        lambda: filled.update_execution_state(make_request("e1", ExecutionState.RUNNING)),
        lambda: filled.delete_execution("e1"),
    ):
        with pytest.raises(StoreCorruptedError, match="executions/e1") as caught:
            call()
        assert filled.path in caught.value.path
    with caplog.at_level(logging.WARNING, "execstore"):
        assert [execution.id for execution in filled.get_executions("job1")] == ["e2"]
        assert [execution.id for execution in filled.get_live_executions()] == ["e2"]
        assert [execution.id for execution in filled.list_executions()] == ["e2"]
    assert "e1" in caplog.text
    assert [event.message for event in filled.get_execution_events("e1")] == ["e1"]
    assert [problem.kind for problem in filled.verify().problems] == ["record"]
    filled.apply("mend", _put(EXECUTIONS, "e1", before))
    assert filled.get_execution("e1").revision == 1


def test_a_record_of_another_is_told_of(filled: Store) -> None:
    first, second = filled.look(lambda reader: [reader.record(EXECUTIONS, key) or b"" for key in ("e1", "e2")])
    filled.apply("damage", _put(EXECUTIONS, "e1", second))
    with pytest.raises(StoreCorruptedError, match="it holds execution 'e2'"):
        filled.get_execution("e1")
    assert [problem.kind for problem in filled.verify().problems] == ["record"]
    filled.apply("mend", _put(EXECUTIONS, "e1", first))


def test_a_dangling_entry_takes_no_list_down(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    filled.apply("damage", lambda change: change.mark(JOB_INDEX, "job1", "gone"))
    with caplog.at_level(logging.WARNING, "execstore"):
        assert {execution.id for execution in filled.get_executions("job1")} == {"e1", "e2"}
    assert "gone" in caplog.text
    filled.apply("mend", lambda change: change.unmark(JOB_INDEX, "job1", "gone", drop_empty=True))


def test_a_damaged_event_is_left_out(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    lines = filled.look(lambda reader: reader.lines(EXECUTION_EVENTS, "e1")) or b""
    filled.apply("damage", lambda change: change.put_lines(EXECUTION_EVENTS, "e1", b"{broken\n" + lines))
    with caplog.at_level(logging.WARNING, "execstore"):
        assert [event.message for event in filled.get_execution_events("e1")] == ["e1"]
    assert "line 1 of the events of execution e1 is damaged" in caplog.text
    assert [problem.kind for problem in filled.verify().problems] == ["events"]
    filled.apply("mend", lambda change: change.put_lines(EXECUTION_EVENTS, "e1", lines))


def test_damaged_checkpoints_are_told_of_and_hold_the_log(filled: Store) -> None:
    before = filled.look(lambda reader: [reader.record(CHECKPOINTS, "w"), reader.record(SEQUENCE_TRACKING, "cp")])
    filled.apply("damage", _put(CHECKPOINTS, "w", b"[]"))
    filled.apply("damage", _put(SEQUENCE_TRACKING, "cp", b"[]"))
    with pytest.raises(StoreCorruptedError, match="sequence_tracking/cp"):
        filled.get_checkpoint("cp")
    with pytest.raises(CheckpointError):
        filled.event_store.get_checkpoint("w")
    assert [(each.watcher_id, each.checkpoint) for each in filled.event_log_status().watchers] == [("w", 0)]
    assert [problem.kind for problem in filled.verify().problems] == ["checkpoint", "checkpoint"]
    assert None not in before
    filled.apply("mend", _put(CHECKPOINTS, "w", before[0] or b""))
    filled.apply("mend", _put(SEQUENCE_TRACKING, "cp", before[1] or b""))


def test_what_needs_files_says_what_to_do_instead(filled: Store, tmp_path: Path) -> None:
    """A store in a folder can; every other says so, and leaves nothing behind."""
    archive = tmp_path / "backup.tar"
    for operation, call in (("backup", lambda: filled.backup(archive)), ("repair", filled.repair)):
        if isinstance(filled.engine(), TreeEngine):
            call()
            continue
        with pytest.raises(UnsupportedOperationError) as caught:
            call()
        assert str(caught.value).startswith(f"{operation} is only for a store in a folder, and {filled.path} is none; ")
        assert caught.value.remedy
        assert not archive.exists()
