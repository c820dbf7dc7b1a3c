"""Copying: the same content, on from where it was cut off, and nothing that isn't a copy is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import execstore
from execstore import ExecutionState, Store, connect
from execstore.cli.app import run
from execstore.copying import comparing, copier, copy_store
from execstore.copying.progress_record import KEY, CopyPhase, CopyState, encode_copy_state, read_copy_state
from execstore.errors import DestinationNotEmptyError, InvalidArgumentError, StoreCorruptedError
from execstore.schema import SEQUENCE_TRACKING
from tests.forwarding.support import content, forward
from tests.support import full_execution, listing, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import StoreFactory


def work(store: Store, first: int, last: int) -> None:
    for number in range(first, last):
        store.create_execution(make_execution(f"e{number:03}", f"job{number % 3}"), make_event(f"{number}"))
        store.update_execution_state(make_request(f"e{number:03}", ExecutionState.RUNNING, make_event("runs")))
    store.checkpoint("mine", last)
    store.event_store.store_checkpoint("mailer", max(store.event_store.get_latest_event_num() - 3, 0))


def facts(store: Store) -> dict[str, object]:
    """Everything that a copy must have."""
    return {
        "content": content(store),
        "counts": store.counts(),
        "jobs": {job: [each.id for each in store.get_executions(job)] for job in ("job0", "job1", "job2")},
        "log": [(each.seq_num, each.timestamp, each.object) for each in log_entries(store, _oldest(store) - 1)],
        "latest": store.event_store.get_latest_event_num(),
        "watchers": store.event_store.list_checkpoints(),
        "checkpoint": store.get_checkpoint("mine"),
        "unfinished": store.look(read_copy_state),
    }


def _oldest(store: Store) -> int:
    return store.event_store.get_oldest_event_num()


def test_a_copy_is_what_its_source_is(open_store: StoreFactory) -> None:
    source, destination = open_store("source"), open_store("destination")
    source.create_execution(full_execution("full").replace(extra={"Unknown": [2**70]}), make_event("a"))
    work(source, 0, 30)
    report = copy_store(source, destination)
    assert (report.ok, report.differences, report.resumed) == (True, [], False)
    assert (report.executions, report.execution_events, report.checkpoints) == (31, 61, 2)
    assert facts(destination) == facts(source)
    # It goes on as its source would.
    destination.create_execution(make_execution("next"))
    assert destination.event_store.get_latest_event_num() == report.latest_event + 1


def test_there_and_back_over_another_engine(open_store: StoreFactory) -> None:
    source, back = open_store("source"), open_store("back")
    work(source, 0, 20)
    with connect("memory:between") as between:
        assert copy_store(source, between).ok
        assert facts(between) == facts(source)
        assert copy_store(between, back).ok
    assert facts(back) == facts(source)
    for folder in ("executions", "execution_events", "events"):
        for path in sorted((open_store.path("source") / folder).iterdir()):
            twin = open_store.path("back") / folder / path.name
            if folder != "events":
                assert twin.read_bytes() == path.read_bytes()


def test_an_empty_store_and_one_whose_log_was_collected(open_store: StoreFactory) -> None:
    source, first, second = open_store("source"), open_store("first"), open_store("second")
    assert copy_store(source, first).ok
    work(source, 0, 40)
    source.event_store.remove_checkpoint("mailer")
    source.collect_events(retention=timedelta(0))
    assert _oldest(source) > 1
    report = copy_store(source, second)
    assert report.ok
    assert facts(second) == facts(source)


def test_the_source_is_only_read(open_store: StoreFactory) -> None:
    source = open_store("source")
    work(source, 0, 5)
    source.close()
    before = listing(open_store.path("source"))
    with Store(open_store.path("source"), read_only=True) as read_only:
        copy_store(read_only, open_store("destination"))
    assert listing(open_store.path("source")) == before


def test_a_central_stores_nodes_come_along(open_store: StoreFactory) -> None:
    device, central, copy = open_store("device"), open_store("central"), open_store("copy")
    device.create_execution(make_execution("e1"))
    forward(device, central)
    copy_store(central, copy)
    device.create_execution(make_execution("e2"))
    report = forward(device, copy)
    assert (report.full_copies, report.executions) == (0, 1)


def test_old_events_do_not_go_while_they_come(open_store: StoreFactory) -> None:
    """The copy collects by the source's rules, not by its own before it knows them."""
    source = open_store("source", event_retention=timedelta(days=365))
    work(source, 0, 20)
    destination = open_store("destination")
    assert copy_store(source, destination).ok
    assert _oldest(destination) == _oldest(source)
    assert destination.event_log_status().retention_ns == source.event_log_status().retention_ns


# --- places that won't do -------------------------------------------------------------------------------------------


def test_what_is_there_already_is_left_alone(open_store: StoreFactory, tmp_path: Path) -> None:
    source = open_store("source")
    work(source, 0, 3)
    fillings: dict[str, Callable[[Store], object]] = {
        "executions": lambda store: store.create_execution(make_execution("mine")),
        "checkpoints": lambda store: store.checkpoint("mine", 1),
        "watchers": lambda store: store.event_store.store_checkpoint("mine", 0),
    }
    for name, fill in fillings.items():
        destination = open_store(name)
        fill(destination)
        before = facts_of_any(destination)
        with pytest.raises(DestinationNotEmptyError, match="nothing was changed"):
            copy_store(source, destination)
        assert facts_of_any(destination) == before
    gone = open_store("gone")
    gone.create_execution(make_execution("e"))
    gone.delete_execution("e")
    with pytest.raises(DestinationNotEmptyError, match="has an event log already"):
        copy_store(source, gone)
    with pytest.raises(InvalidArgumentError, match="the store that is to be copied"):
        copy_store(source, source)


def facts_of_any(store: Store) -> tuple[object, ...]:
    return content(store), store.event_store.list_checkpoints(), store.get_checkpoint("mine"), log_entries(store)


def begin(store: Store, state: CopyState) -> None:
    store.apply("test", lambda change: change.put_record(SEQUENCE_TRACKING, KEY, encode_copy_state(state)))


def test_an_unfinished_copy_of_something_else(open_store: StoreFactory) -> None:
    source, destination = open_store("source"), open_store("destination")
    work(source, 0, 3)
    begin(destination, CopyState("another", CopyPhase.EXECUTIONS, 0))
    with pytest.raises(DestinationNotEmptyError, match="unfinished copy of another store"):
        copy_store(source, destination)
    begin(destination, CopyState(source.store_id, CopyPhase.LOG, 0, through=1000))
    with pytest.raises(DestinationNotEmptyError, match="a later state of this store"):
        copy_store(source, destination)
    with pytest.raises(InvalidArgumentError, match="unfinished copy itself"):
        copy_store(destination, open_store("third"))
    destination.checkpoint(KEY, 7)
    with pytest.raises(StoreCorruptedError, match="unfinished copy keeps"):
        copy_store(source, destination)


def test_a_damaged_source_is_told(open_store: StoreFactory) -> None:
    path = open_store.path("source")
    with Store(path) as source:
        work(source, 0, 3)
    record = path / "executions" / "e001.json"
    original = record.read_bytes()
    record.write_bytes(b"{")
    with Store(path) as source:
        destination = open_store("destination")
        with pytest.raises(StoreCorruptedError, match="e001 is damaged"):
            copy_store(source, destination)
        record.write_bytes(original)
        assert copy_store(source, destination).resumed
        assert facts(destination) == facts(source)


# --- cut off, and in use --------------------------------------------------------------------------------------------


class CutError(Exception):
    """In place of a kill."""


def test_cut_off_after_any_change_it_goes_on(open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the source changing in between, and its log being collected."""
    monkeypatch.setattr(copier, "_EXECUTIONS_A_CHANGE", 4)
    monkeypatch.setattr(copier, "_LINES_A_CHANGE", 9)
    source, destination = open_store("source"), open_store("destination")
    work(source, 0, 12)
    original = copier._Copier._change
    changes = 0

    def cut(self: copier._Copier, *arguments: object) -> None:
        nonlocal changes
        original(self, *arguments)  # type: ignore[arg-type]
        changes += 1
        raise CutError

    monkeypatch.setattr(copier._Copier, "_change", cut)
    resumed = 0
    for number in range(200):
        try:
            report = copy_store(source, destination)
            break
        except CutError:
            resumed += 1
        if number == 3:
            source.delete_execution("e000")
            source.update_execution_state(make_request("e001", ExecutionState.COMPLETED, make_event("done")))
            work(source, 12, 14)
        if number == 6:
            source.event_store.remove_checkpoint("mailer")
            source.collect_events(retention=timedelta(0))
            source.delete_execution("e002")
            source.event_store.store_checkpoint("mailer", 5)
        if number == 12:
            # Right before its end, with what it has in hand there is nothing left to cut off but the last change.
            monkeypatch.setattr(copier._Copier, "_change", original)
    assert (report.ok, report.differences, report.resumed) == (True, [], True)
    assert resumed == 13
    assert facts(destination) == facts(source)


def test_while_the_source_is_in_use(open_store: StoreFactory) -> None:
    source, destination = open_store("source", small=False), open_store("destination", small=False)
    work(source, 0, 30)
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.is_set():
            work(source, number, number + 1)
            source.update_execution_state(make_request("e003", None, make_event("again")))
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        report = copy_store(source, destination)
    finally:
        stop.set()
        thread.join()
    assert (report.ok, report.differences) == (True, [])
    # It is one moment: what the log tells up to there, no more and no less.
    state = {}
    for entry in log_entries(destination):
        if entry.object_type == "ExecutionUpsert":
            state[entry.object.current.id] = entry.object.current
    assert {each.id: each for each in destination.list_executions()} == state


def test_a_copy_that_somebody_else_changed_is_told_and_put_right(open_store: StoreFactory) -> None:
    source, destination = open_store("source"), open_store("destination")
    work(source, 0, 10)
    original = comparing.compare

    def spoil(*arguments: object) -> None:
        destination.apply("test", lambda change: change.remove_record("executions", "e001"))
        destination.apply("test", lambda change: change.put_record("executions", "e002", record(change)))
        original(*arguments)  # type: ignore[arg-type]

    def record(change: object) -> bytes:
        found = change.record("executions", "e002")  # type: ignore[attr-defined]
        return bytes(found.replace(b'"Revision":2', b'"Revision":3'))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("execstore.copying.copier.compare", spoil)
        report = copy_store(source, destination)
    assert not report.ok
    assert "execution e001: it is missing" in report.differences
    assert "execution e002: its record is another" in report.differences
    assert any(each.startswith("the counts by state are") for each in report.differences)
    destination.repair()  # index and counts, which no copy looks at again
    assert copy_store(source, destination).ok
    assert content(destination) == content(source)


# --- the command ----------------------------------------------------------------------------------------------------


def test_killed_and_called_again(open_store: StoreFactory, capsys: pytest.CaptureFixture[str]) -> None:
    source = open_store("source", durability="relaxed", small=False)
    work(source, 0, 300)
    folder, to = open_store.path("source"), open_store.path("to")
    environment = {**os.environ, "PYTHONPATH": str(Path(execstore.__file__).parent.parent)}
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-m", "execstore", "copy", str(folder), str(to)], env=environment)
        deadline = time.monotonic() + 60
        before = _count(to)
        while process.poll() is None and _count(to) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    status = run(["copy", str(folder), str(to), "--json"])
    captured = capsys.readouterr()
    if status == 1:  # the third one was through before it was killed
        assert "holds executions" in captured.err
    else:
        assert json.loads(captured.out)["ok"]
    with Store(to) as copy:
        assert facts(copy) == facts(source)


def _count(path: Path) -> int:
    folder = path / "executions"
    return len(os.listdir(folder)) if folder.exists() else 0


def test_the_command(open_store: StoreFactory, capsys: pytest.CaptureFixture[str]) -> None:
    work(open_store("source"), 0, 3)
    source, to = str(open_store.path("source")), str(open_store.path("to"))
    assert run(["copy", source, to]) == 0
    assert "3 executions with 6 events" in capsys.readouterr().out
    assert run(["copy", source, to]) == 1
    assert "holds executions; nothing was changed; copy to an empty place" in capsys.readouterr().err
    assert run(["copy", str(open_store.folder / "nowhere"), str(open_store.path("other"))]) == 3
    assert not open_store.path("other").exists()
