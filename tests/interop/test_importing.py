"""Into a new store: whole or not at all. Into an existing one: what it lacks, and nothing overwritten."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import Event, Execution, ExecutionState, State, Store
from execstore.errors import ExecutionNotFoundError, ImportConflictError, SourceDamagedError
from execstore.interop.importing import import_into, import_new
from execstore.interop.items import CheckpointItem, ExecutionItem, Item, LogEnd, LogItem
from execstore.records import encode_event
from execstore.tree import bulk
from execstore.tree.bulk_helper import Helper
from execstore.watcher import EventIterator, GetEventsRequest, Operation
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StoreFactory

RUNNING = State(ExecutionState.RUNNING)


def item(execution_id: str, *events: str, revision: int = 3, **fields: object) -> ExecutionItem:
    execution = Execution(
        execution_id, "ns", job_id="j-1", compute_state=RUNNING, revision=revision, create_time=5, modify_time=7
    )
    lines = [encode_event(Event("topic", message, "2026-01-02T03:04:05Z")) for message in events]
    return ExecutionItem.of(execution.replace(**fields)).with_events(lines)


def line(seq_num: int, object_json: bytes = b"null") -> LogItem:
    return LogItem(seq_num, encode_line(seq_num, Operation.CREATE, "ExecutionEvent", object_json, 5), 5)


class Given:
    """A source of given items; an error among them is raised when it is reached."""

    path = "given"

    def __init__(self, *items: Item | BaseException) -> None:
        self._items = items
        self.skipped = ["one thing: broken"]
        self.notes = ["a note"]

    def items(self) -> Iterator[Item]:
        for each in self._items:
            if isinstance(each, BaseException):
                raise each
            yield each


def test_new_store_keeps_revisions_times_and_numbers(open_store: StoreFactory) -> None:
    path = open_store.path()
    source = Given(
        item("e-1", "made", "ended"),
        item("e-2", revision=9),
        line(7),
        line(8),
        LogEnd(8),
        CheckpointItem("c", 5, of_watcher=False),
        CheckpointItem("w", 6, of_watcher=True),
    )
    report = import_new(source, path)
    assert (report.executions, report.execution_events, report.log_events) == (2, 2, 2)
    assert (report.checkpoints, report.watcher_checkpoints) == (1, 1)
    assert (report.skipped, report.notes) == (["one thing: broken"], ["a note"])
    store = open_store()
    execution = store.get_execution("e-1")
    assert (execution.revision, execution.create_time, execution.modify_time) == (3, 5, 7)
    assert [event.message for event in store.get_execution_events("e-1")] == ["made", "ended"]
    assert store.get_execution_count(ExecutionState.RUNNING) == 2
    assert len(store.get_executions("j-1")) == len(store.get_live_executions()) == 2
    events = store.event_store
    assert (events.get_latest_event_num(), events.get_oldest_event_num()) == (8, 7)
    assert (store.get_checkpoint("c"), events.get_checkpoint("w")) == (5, 6)


def test_next_event_has_the_next_number(open_store: StoreFactory) -> None:
    import_new(Given(item("e-1"), line(7), LogEnd(7)), open_store.path())
    store = open_store(event_retention=timedelta(days=36500))
    store.delete_execution("e-1")
    response = store.event_store.get_events(GetEventsRequest(EventIterator.at_sequence_number(7)))
    assert [event.seq_num for event in response.events] == [7, 8]


@pytest.mark.parametrize("items", [(LogEnd(41),), (line(3), line(4), LogEnd(41))])
def test_numbers_of_events_that_are_gone_are_not_given_again(open_store: StoreFactory, items: tuple[Item, ...]) -> None:
    report = import_new(Given(item("e-1"), *items), open_store.path())
    assert report.log_events == 0
    store = open_store()
    assert store.event_store.get_latest_event_num() == 41
    store.delete_execution("e-1")
    assert store.event_store.get_latest_event_num() == 42


def test_log_starts_anew_behind_a_gap(open_store: StoreFactory) -> None:
    report = import_new(Given(line(1), line(2), line(5), LogEnd(5)), open_store.path())
    assert report.log_events == 1
    assert open_store().event_store.get_oldest_event_num() == 5


def test_large_log_is_cut_into_segments(open_store: StoreFactory) -> None:
    lines = [line(number, b'"' + b"x" * 300_000 + b'"') for number in range(1, 9)]
    import_new(Given(*lines), open_store.path())
    segments = sorted(os.listdir(open_store.path() / "events"))
    assert segments == [f"{first:020d}.jsonl" for first in (1, 4, 7)]
    sizes = [os.path.getsize(open_store.path() / "events" / name) for name in segments]
    assert sum(sizes) == sum(len(each.line) + 1 for each in lines)


@pytest.mark.parametrize("there", ["file", "folder with something", "store"])
def test_nothing_that_is_there_is_replaced(tmp_path: Path, there: str) -> None:
    path = tmp_path / "store"
    if there == "file":
        path.write_text("mine")
    elif there == "store":
        Store(path).close()
    else:
        path.mkdir()
        (path / "x").write_text("mine")
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ImportConflictError, match="is there already"):
        import_new(Given(item("e-1")), path)
    assert sorted(path.parent.rglob("*")) == before


def test_empty_folder_is_taken_and_parents_are_made(tmp_path: Path) -> None:
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        if path.name == "empty":
            path.mkdir()
        import_new(Given(item("e-1")), path)
        with Store(path, read_only=True) as store:
            assert store.get_execution("e-1").revision == 3


def test_failed_import_leaves_nothing(tmp_path: Path) -> None:
    error = SourceDamagedError("given", "page 7", "torn")
    with pytest.raises(SourceDamagedError):
        import_new(Given(item("e-1"), line(1), error), tmp_path / "a" / "b" / "store")
    with pytest.raises(KeyboardInterrupt):
        import_new(Given(item("e-1"), KeyboardInterrupt()), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_the_same_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportConflictError, match=r"executions/e-1.json stands in given twice"):
        import_new(Given(item("e-1"), item("e-1", revision=4)), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_helper_process_makes_the_same_store(open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_STEPS_BEFORE_HELP", 10)
    items = [item(f"e-{number}", "made", job_id=f"j-{number % 7}") for number in range(300)]
    report = import_new(Given(*items), open_store.path())
    assert report.executions == 300
    store = open_store()
    assert [found.id for found in store.list_executions()] == sorted(each.execution.id for each in items)
    assert len(store.get_executions("j-3")) == 43
    assert store.get_execution_events("e-299")[0].message == "made"


def test_error_of_the_helper_process_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_STEPS_BEFORE_HELP", 1)
    many = [item(f"e-{number}") for number in range(3000)]
    with pytest.raises(ImportConflictError, match=r"executions/e-0.json stands in given twice"):
        import_new(Given(item("e-0"), *many), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_death_of_the_helper_process_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a SIGPIPE that would end the whole program, as it does by default in a command line."""
    monkeypatch.setattr(bulk, "_STEPS_BEFORE_HELP", 1)
    killed: list[int] = []

    def start(root: str) -> Helper | None:
        helper = original(root)
        assert helper is not None
        helper._process.kill()
        killed.append(helper._process.wait())
        return helper

    original = Helper.start
    monkeypatch.setattr(Helper, "start", start)
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with pytest.raises(OSError, match="helper process ended with status -9"):
            import_new(Given(*(item(f"e-{number}") for number in range(1000))), tmp_path / "store")
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert killed == [-9]
    assert list(tmp_path.iterdir()) == []


# --- into an existing store ---


def test_merge_adds_what_is_missing(open_store: StoreFactory) -> None:
    store = open_store()
    report = import_into(Given(item("e-1", "made"), CheckpointItem("c", 5, of_watcher=False)), store)
    assert (report.executions, report.execution_events, report.checkpoints, report.conflicts) == (1, 1, 1, [])
    execution = store.get_execution("e-1")
    assert (execution.revision, execution.create_time, execution.modify_time) == (3, 5, 7)
    assert store.get_checkpoint("c") == 5
    assert store.get_execution_count(ExecutionState.RUNNING) == 1


def test_merge_tells_those_who_watch(open_store: StoreFactory) -> None:
    store = open_store()
    import_into(Given(item("e-1", "made"), item("e-2")), store)
    events = store.event_store.get_events(GetEventsRequest(EventIterator.trim_horizon())).events
    assert [(event.operation, event.object_type, event.object.current.id) for event in events] == [
        ("CREATE", "ExecutionUpsert", "e-1"),
        ("CREATE", "ExecutionUpsert", "e-2"),
    ]
    assert [event.message for event in events[0].object.events] == ["made"]
    assert events[0].timestamp < events[1].timestamp


def test_merge_again_changes_nothing(open_store: StoreFactory) -> None:
    store = open_store()
    items = (item("e-1", "made"), item("e-2"), CheckpointItem("c", 5, of_watcher=False))
    import_into(Given(*items), store)
    latest = store.event_store.get_latest_event_num()
    report = import_into(Given(*items), store)
    assert (report.executions, report.already_there, report.conflicts) == (0, 3, [])
    assert store.event_store.get_latest_event_num() == latest


@pytest.mark.parametrize(
    ("imported", "conflict"),
    [
        (item("e-1", "made", revision=4), "execution e-1: it is stored with revision 3, the import has 4"),
        (item("e-1", "made", name="other"), "execution e-1: it is stored with other contents"),
        (item("e-1", "made", "more"), "execution e-1: it is stored with other events"),
        (item("e-1"), "execution e-1: it is stored with other events"),
        (item("e-2", "new"), "execution e-2: it is stored without events"),
        (CheckpointItem("c", 6, of_watcher=False), "checkpoint c: it is stored as 5, the import has 6"),
    ],
)
def test_merge_lists_conflicts_and_overwrites_nothing(open_store: StoreFactory, imported: Item, conflict: str) -> None:
    store = open_store()
    import_into(Given(item("e-1", "made"), item("e-2"), CheckpointItem("c", 5, of_watcher=False)), store)
    report = import_into(Given(imported, item("e-3")), store)
    assert report.conflicts == [conflict]
    assert report.executions == 1
    assert store.get_execution("e-1").revision == 3
    assert [event.message for event in store.get_execution_events("e-1")] == ["made"]
    assert store.get_checkpoint("c") == 5


def test_merge_leaves_out_the_other_log(open_store: StoreFactory) -> None:
    store = open_store()
    source = Given(line(7), line(8), LogEnd(8), CheckpointItem("w", 6, of_watcher=True))
    report = import_into(source, store)
    assert store.event_store.get_latest_event_num() == 0
    assert report.notes[:2] == [
        "2 events of the event log left out: this store has an event log of its own",
        "1 checkpoints of watchers left out: this store has an event log of its own",
    ]


def test_merge_keeps_what_came_before_a_mistake(open_store: StoreFactory) -> None:
    store = open_store()
    with pytest.raises(SourceDamagedError):
        import_into(Given(item("e-1"), SourceDamagedError("given", "line 7", "wrong"), item("e-2")), store)
    assert store.get_execution("e-1").revision == 3
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e-2")
