"""Backups: one moment of the store, whatever goes on meanwhile, and a store again when it is restored."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Execution, ExecutionState, Store
from execstore.errors import ImportConflictError, InvalidArgumentError, StoreClosedError
from execstore.watcher import WatcherManager
from tests.support import PATIENCE_SECONDS, log_entries, make_event, make_execution, make_request, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StoreFactory

WORKER = str(Path(__file__).parent.parent / "store" / "worker.py")


def contents(store: Store) -> dict[str, Any]:
    """Everything that can be asked of a store."""
    oldest = store.event_store.get_oldest_event_num()
    return {
        "executions": list(store.list_executions()),
        "events": {execution.id: _events(store, execution.id) for execution in store.list_executions()},
        "counts": store.counts(),
        "log": [
            (event.seq_num, event.operation, event.object_type, event.timestamp)
            for event in log_entries(store, oldest - 1)
        ],
        "latest": store.event_store.get_latest_event_num(),
        "oldest": oldest,
        "watchers": store.event_store.list_checkpoints(),
        "checkpoint": store.get_checkpoint("cp"),
    }


def _events(store: Store, execution_id: str) -> list[dict[str, Any]]:
    try:
        return [event.to_dict() for event in store.get_execution_events(execution_id)]
    except LookupError:
        return []


def fill(store: Store) -> None:
    for number in range(7):
        store.create_execution(make_execution(f"e{number}", f"job{number % 2}"), make_event("créé ☃"))
    for number in range(5):
        store.update_execution_state(make_request(f"e{number}", ExecutionState.RUNNING, make_event(), name="x" * 700))
    store.create_execution(make_execution("é/" * 200, "j" * 300))
    store.create_execution(make_execution("no-events"))
    store.delete_execution("e6")
    store.checkpoint("cp", 7)
    store.event_store.store_checkpoint("w", 3)


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz", "backup"])
def test_a_restored_store_is_the_same(store: Store, open_store: StoreFactory, tmp_path: Path, name: str) -> None:
    fill(store)
    report = store.backup(tmp_path / name)
    assert (report.executions, report.execution_events, report.checkpoints, report.skipped) == (8, 11, 2, ())
    assert sorted(os.listdir(tmp_path)) == sorted([name, "store"])
    restored = Store.restore(tmp_path / name, open_store.path("restored"))
    assert (restored.executions, restored.log_events, restored.clamped) == (8, report.log_events, ())
    with open_store("restored") as again:
        assert contents(again) == contents(store)
        assert again.verify().ok


def test_an_empty_store(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    store.backup(tmp_path / "b.tar")
    Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    assert contents(open_store("restored")) == contents(store)


def test_numbers_and_times_go_on_where_they_were(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    fill(store)
    newest = max(event.timestamp for event in log_entries(store))
    latest = store.event_store.get_latest_event_num()
    store.backup(tmp_path / "b.tar")
    Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    again = open_store("restored", clock=lambda: 1)  # a clock that was set back
    assert again.create_execution(make_execution("later")).create_time > newest
    assert [event.seq_num for event in log_entries(again, latest)] == [latest + 1]


def test_numbers_of_a_log_that_was_collected_go_on_too(
    store: Store, open_store: StoreFactory, tmp_path: Path, clock: Any
) -> None:
    fill(store)
    clock.now_ns += 48 * 3600 * 10**9
    store.event_store.store_checkpoint("w", 9)
    store.collect_events()
    latest = store.event_store.get_latest_event_num()
    assert 1 < store.event_store.get_oldest_event_num() <= latest
    store.backup(tmp_path / "part.tar")
    Store.restore(tmp_path / "part.tar", open_store.path("part"))
    with open_store("part", clock=clock) as again:
        assert contents(again) == contents(store)
    store.event_store.remove_checkpoint("w")
    store.collect_events()
    assert log_entries(store, latest) == []
    assert store.event_store.get_oldest_event_num() == latest + 1
    store.backup(tmp_path / "b.tar")
    Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    with open_store("restored", clock=clock) as again:
        assert contents(again) == contents(store)
        again.create_execution(make_execution("later"))
        assert [event.seq_num for event in log_entries(again, latest)] == [latest + 1]


def test_the_limits_of_the_log_are_kept(open_store: StoreFactory, tmp_path: Path) -> None:
    with open_store(event_max_bytes=1 << 20) as store:
        fill(store)
        store.backup(tmp_path / "b.tar")
    Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    with open_store("restored") as again:
        assert again.event_log_status().max_bytes == 1 << 20


def test_a_checkpoint_ahead_of_the_log_is_set_to_its_end(
    store: Store, open_store: StoreFactory, tmp_path: Path
) -> None:
    """Else its watcher would wait for a number that long means something else once it is reached."""
    fill(store)
    latest = store.event_store.get_latest_event_num()
    store.event_store.store_checkpoint("ahead", latest + 500)
    store.backup(tmp_path / "b.tar")
    report = Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    assert report.clamped == ("ahead",)
    again = open_store("restored")
    assert again.event_store.list_checkpoints() == {"ahead": latest, "w": 3}
    seen: list[int] = []
    with WatcherManager(again.event_store) as manager:
        watcher = manager.create("ahead", handler=lambda event: seen.append(event.seq_num))
        watcher.start()
        again.create_execution(make_execution("later"))
        while watcher.stats().last_processed_seq_num <= latest:
            assert watcher.stats().error is None
        assert seen == [latest + 1]


# --- while others write ---------------------------------------------------------------------------------------------


@pytest.fixture
def writers(store: Store) -> Iterator[list[subprocess.Popen[str]]]:
    """Three processes that write without a pause until they are killed."""
    for number in range(6):
        store.create_execution(make_execution(f"m{number}", "moved"))
    commands = [("move", "moved"), ("live", "a"), ("live", "b")]
    started = [python(WORKER, command, str(store.path), name) for command, name in commands]
    try:
        yield started
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE_SECONDS)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def replay(store: Store, latest: int) -> dict[str, Execution]:
    """What the executions were right after the event of this number, by the event log alone."""
    found: dict[str, Execution] = {}
    for event in log_entries(store):
        if event.seq_num <= latest and event.object_type == "ExecutionUpsert":
            upsert = event.object
            if upsert.current is None:
                del found[upsert.previous.id]
            else:
                found[upsert.current.id] = upsert.current
    return found


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
def test_a_backup_is_one_moment_while_others_write(
    store: Store,
    writers: list[subprocess.Popen[str]],
    open_store: StoreFactory,
    tmp_path: Path,
    read_only: bool,
) -> None:
    handle = open_store(read_only=read_only)
    mover = writers[0].stdout
    assert mover is not None
    moments = []
    for number in range(4):
        acknowledged = json.loads(mover.readline())["moved"]
        before = handle.event_store.get_latest_event_num()
        report = handle.backup(tmp_path / f"{number}.tar")
        moments.append((number, acknowledged, before, handle.event_store.get_latest_event_num(), report))
    for process in writers:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    for number, acknowledged, before, after, report in moments:
        assert report.skipped == ()
        Store.restore(tmp_path / f"{number}.tar", open_store.path(f"r{number}"))
        with open_store(f"r{number}") as again:
            assert again.verify().ok
            moved = again.get_executions("moved")
            assert len(moved) == 6
            assert len({(execution.name, execution.compute_state.state_type) for execution in moved}) == 1
            assert int(moved[0].name or -1) >= acknowledged
            latest = again.event_store.get_latest_event_num()
            assert before <= latest <= after
            assert {execution.id: execution for execution in again.list_executions()} == replay(store, latest)
            again.create_execution(make_execution("later"))
            assert log_entries(again, latest)[0].seq_num == latest + 1


def test_writers_hardly_wait_for_a_backup(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    """It never takes the change lock: it goes on though another handle's transaction holds it all the time."""
    fill(store)
    impatient = open_store(lock_timeout=0)
    with store.begin_tx() as transaction:
        transaction.delete_execution("e0")
        impatient.backup(tmp_path / "b.tar")
        store.backup(tmp_path / "own.tar")
    for name in ("b.tar", "own.tar"):
        Store.restore(tmp_path / name, open_store.path(f"restored {name}"))
        with open_store(f"restored {name}") as again:
            assert again.get_execution("e0").id == "e0"


# --- what is damaged is left out ------------------------------------------------------------------------------------


def test_what_is_damaged_is_left_out_and_the_rest_can_be_restored(
    store: Store, open_store: StoreFactory, tmp_path: Path
) -> None:
    fill(store)
    store.close()
    path = open_store.path()
    (path / "executions/e0.json").write_bytes(b"{]")
    with (path / "execution_events/e1.jsonl").open("ab") as file:
        file.write(b"half a li")
    (path / "checkpoints/w.json").write_bytes(b"[]")
    (path / "executions/e2.json").unlink()
    os.mkfifo(path / "executions/e2.json")
    with open_store(read_only=True) as damaged:
        report = damaged.backup(tmp_path / "b.tar")
    assert [sentence.split(":")[0] for sentence in report.skipped] == [
        "executions/e2.json",
        "executions/e0.json",
        "execution_events/e1.jsonl",
        "execution_events/e0.jsonl",
        "execution_events/e2.jsonl",
        "checkpoints/w.json",
    ]
    restored = Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    assert (restored.executions, restored.problems) == (6, ())
    with open_store("restored") as again:
        assert len(again.get_execution_events("e1")) == 2
    with open_store() as mended:
        mended.repair()


def test_damaged_lines_of_the_log_stay_in_their_places(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    fill(store)
    segments = sorted((open_store.path() / "events").iterdir())
    lines = segments[0].read_bytes().splitlines(keepends=True)
    segments[0].write_bytes(b"".join([lines[0].replace(b"CREATE", b"CREATF"), *lines[1:]]))
    report = store.backup(tmp_path / "b.tar")
    assert report.skipped == ()
    restored = Store.restore(tmp_path / "b.tar", tmp_path / "restored")
    assert len(restored.problems) == 1
    with Store(tmp_path / "restored") as again:
        assert again.event_store.get_latest_event_num() == store.event_store.get_latest_event_num()
        assert [event.seq_num for event in log_entries(again, 1)] == [event.seq_num for event in log_entries(store, 1)]
    segments[0].write_bytes(b"".join(lines))


def test_events_before_a_segment_that_is_missing_are_left_out(
    store: Store, open_store: StoreFactory, tmp_path: Path
) -> None:
    for number in range(12):
        store.create_execution(make_execution(f"e{number}"))
    first, second, third, *_ = sorted((open_store.path() / "events").iterdir())
    kept = second.read_bytes()
    second.unlink()
    report = store.backup(tmp_path / "b.tar")
    assert [sentence.rpartition(",")[2] for sentence in report.skipped] == [" are missing"]
    Store.restore(tmp_path / "b.tar", open_store.path("restored"))
    with open_store("restored") as again:
        assert again.event_store.get_oldest_event_num() == int(third.stem)
        assert again.event_store.get_latest_event_num() == 12
    second.write_bytes(kept)
    assert first.exists()


# --- where it goes --------------------------------------------------------------------------------------------------


def test_it_can_be_looked_into_with_tar(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    names = subprocess.run(["tar", "-tf", tmp_path / "b.tar"], capture_output=True, check=True, text=True).stdout
    assert {"BACKUP", ".e", "executions/e1.json", "idx_executions_by_state/Running/e1", "SHA256SUMS"} <= set(
        names.splitlines()
    )
    subprocess.run(["tar", "-xf", tmp_path / "b.tar", "-C", unpacked], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=unpacked, check=True)
    link = unpacked / "idx_executions_by_state/Running/e1"
    assert link.is_symlink()
    assert link.read_bytes() == (Path(store.path) / "executions/e1.json").read_bytes()


def test_a_file_object_will_do_on_both_sides(store: Store, open_store: StoreFactory) -> None:
    fill(store)

    class Stream:
        """No more than it must be able to do."""

        def __init__(self, data: bytes = b"") -> None:
            self.inner = io.BytesIO(data)
            self.write, self.read, self.flush = self.inner.write, self.inner.read, self.inner.flush

    stream: Any = Stream()
    store.backup(stream)
    data = stream.inner.getvalue()
    again: Any = Stream(data)
    Store.restore(again, open_store.path("restored"))
    assert contents(open_store("restored")) == contents(store)
    packed = io.BytesIO(gzip.compress(data))
    Store.restore(packed, open_store.path("second"))
    assert contents(open_store("second")) == contents(store)


def test_a_backup_replaces_the_one_before_once_it_is_whole(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar")
    before = (tmp_path / "b.tar").read_bytes()
    store.close()
    with pytest.raises(StoreClosedError):
        store.backup(tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["b.tar", "store"]


def test_the_same_moment_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "1.tar.gz")
    store.backup(tmp_path / "2.tar.gz")
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()


@pytest.mark.parametrize("place", ["b.tar", "executions/b.tar", "../store/b.tar"])
def test_it_does_not_go_into_the_store_itself(store: Store, open_store: StoreFactory, place: str) -> None:
    fill(store)
    with pytest.raises(InvalidArgumentError, match="within the store itself"):
        store.backup(open_store.path() / place)


def test_a_folder_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        store.backup(tmp_path / "no" / "b.tar")
    assert (caught.value.filename, caught.value.strerror) == (str(tmp_path / "no"), "there is no such folder")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_nothing_is_written_to_a_terminal(store: Store) -> None:
    fill(store)
    master, slave = os.openpty()
    os.set_blocking(slave, False)  # what nobody reads would make it wait
    with open(master, "rb", buffering=0) as screen, open(slave, "wb", buffering=0) as terminal:
        for destination in (terminal, os.ttyname(slave)):
            with pytest.raises(InvalidArgumentError, match="it is a terminal") as caught:
                store.backup(destination)
            assert caught.value.argument == "destination"
        os.set_blocking(master, False)
        assert screen.read() is None, "there is nothing to read"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has zstd")
def test_zstd_without_zstd_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"zstd needs Python 3.14; take .tar.gz"):
        store.backup(tmp_path / "b.tar.zst")
    packed = tmp_path / "packed"
    packed.write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(InvalidArgumentError, match=r"zstd needs Python 3.14"):
        Store.restore(packed, tmp_path / "restored")
    assert sorted(os.listdir(tmp_path)) == ["packed", "store"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="zstd came with Python 3.14")
def test_zstd(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar.zst")
    Store.restore(tmp_path / "b.tar.zst", open_store.path("restored"))
    assert contents(open_store("restored")) == contents(store)


# --- where it is restored to ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["a store", "a file", "a folder with something in it", "a file on the way"])
def test_it_refuses_to_write_into_what_is_not_empty(store: Store, tmp_path: Path, there: str) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar")
    target = tmp_path / "target"
    if there == "a store":
        target = tmp_path / "store"
    elif there == "a file":
        target.write_text("dear")
    elif there == "a file on the way":
        (tmp_path / "file").write_text("dear")
        target = tmp_path / "file" / "target"
    else:
        target.mkdir()
        (target / "letter").write_text("dear")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ImportConflictError):
        Store.restore(tmp_path / "b.tar", target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_or_a_new_one_deep_down_will_do(store: Store, open_store: StoreFactory, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b/c"):
        Store.restore(tmp_path / "b.tar", tmp_path / name)
        with Store(tmp_path / name, read_only=True) as again:
            assert again.verify().ok
            assert contents(again) == contents(store)


def test_plain_ids_stand_in_it_by_their_names(store: Store, tmp_path: Path) -> None:
    fill(store)
    store.backup(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as archive:
        names = archive.getnames()
    assert names[0] == "BACKUP"
    assert names[-1] == "SHA256SUMS"
    assert "checkpoints/w.json" in names
    assert not any(name.startswith("/") or ".." in name for name in names)
