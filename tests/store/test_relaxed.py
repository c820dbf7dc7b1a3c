"""Durability "relaxed": no flush; a power cut may lose or tear the newest changes, and the next opening mends that."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execstore import ExecutionState, Store
from execstore.errors import ExecStoreError
from execstore.schema import LAYOUT
from tests.conftest import StoreFactory
from tests.store.file_systems import Recording
from tests.support import FakeClock, in_child, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

RUNNING, COMPLETED = ExecutionState.RUNNING, ExecutionState.COMPLETED


def marker(open_store: StoreFactory) -> Path:
    return open_store.path() / "unflushed"


def test_the_marker_is_there_while_changes_are_not_flushed(open_store: StoreFactory) -> None:
    store = open_store(durability="relaxed")
    assert not marker(open_store).exists()
    store.create_execution(make_execution())
    assert marker(open_store).exists()
    store.close()
    assert not marker(open_store).exists()


def test_a_durable_store_needs_no_marker(open_store: StoreFactory) -> None:
    open_store().create_execution(make_execution())
    assert not marker(open_store).exists()


def test_it_survives_the_death_of_its_process(open_store: StoreFactory) -> None:
    open_store().close()

    def work() -> object:
        store = Store(open_store.path(), durability="relaxed")
        for number in range(20):
            store.create_execution(make_execution(f"e{number}"), make_event())
        store.update_execution_state(make_request("e0", RUNNING))
        os._exit(0)

    in_child(work)
    assert marker(open_store).exists()
    again = open_store()
    assert len(again.get_executions("job1")) == 20
    assert again.get_execution("e0").compute_state.state_type is RUNNING
    assert not marker(open_store).exists()


def test_a_durable_handle_beside_a_relaxed_one_flushes_what_that_one_left(open_store: StoreFactory) -> None:
    relaxed, durable = open_store(durability="relaxed"), open_store()
    relaxed.create_execution(make_execution("e1"))
    durable.create_execution(make_execution("e2"))
    relaxed.close()
    assert marker(open_store).exists()
    durable.close()
    assert not marker(open_store).exists()


# --- power cuts -----------------------------------------------------------------------------------------------------

ENGINE = ("journal.0", "journal.1", "head")


def cut(path: Path, length: int) -> None:
    os.truncate(path, length if length >= 0 else max(0, os.path.getsize(path) + length))


def zero_end(path: Path, length: int) -> None:
    """What a file system leaves whose size was written before the data was."""
    size = os.path.getsize(path)
    os.truncate(path, max(0, size - length))
    os.truncate(path, size)


LOG = "events/00000000000000000001.jsonl"
TEARS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": (LOG, lambda path: None),
    "a torn record": ("executions/e1.json", lambda path: cut(path, 40)),
    "an empty record": ("executions/e1.json", lambda path: cut(path, 0)),
    "a record of zeros": ("executions/e1.json", lambda path: zero_end(path, 9999)),
    "a record not yet there": ("executions/new.json", os.unlink),
    "an entry of the job not yet there": ("idx_executions_by_job_id/job1/new", os.unlink),
    "an entry of the state not yet there": ("idx_executions_by_state/Running/e1", os.unlink),
    "torn events": ("execution_events/e1.jsonl", lambda path: cut(path, -5)),
    "events not yet there": ("execution_events/new.jsonl", os.unlink),
    "a torn checkpoint": ("sequence_tracking/cp.json", lambda path: cut(path, 5)),
    "an empty watcher's checkpoint": ("checkpoints/w.json", lambda path: cut(path, 0)),
    "a log's torn last line": (LOG, lambda path: cut(path, -9)),
    "zeros at the log's end": (LOG, lambda path: zero_end(path, 700)),
    "an empty head": ("head", lambda path: cut(path, 0)),
}


@pytest.mark.parametrize("journal_is_lost", [False, True], ids=["journal on disk", "journal lost"])
@pytest.mark.parametrize(("name", "tear"), TEARS.values(), ids=TEARS)
def test_what_a_power_cut_tore_is_mended_before_anyone_reads(
    open_store: StoreFactory, name: str, tear: Callable[[Path], object], journal_is_lost: bool
) -> None:
    with open_store(small=False) as store:
        for number in (1, 2, 3):
            store.create_execution(make_execution(f"e{number}"), make_event("first"))
    path = open_store.path()
    engine_before = {file: (path / file).read_bytes() for file in ENGINE}

    store = open_store(durability="relaxed")
    store.update_execution_state(make_request("e1", RUNNING, make_event("second")))
    store.create_execution(make_execution("new"), make_event("of the new one"))
    store.delete_execution("e3")
    store.checkpoint("cp", 1)
    store.event_store.store_checkpoint("w", 1)
    store.engine().abandon()
    tear(path / name)
    if journal_is_lost:
        for file, content in engine_before.items():
            if file != name:
                (path / file).write_bytes(content)

    again = open_store()
    assert not marker(open_store).exists()
    report = again.verify()
    assert report.ok, report.problems
    executions = {execution.id: execution for execution in again.get_executions("job1")}
    assert "e2" in executions, "what was durable before is there"
    if not journal_is_lost:
        assert set(executions) == {"e1", "e2", "new"}
        assert executions["e1"].compute_state.state_type is RUNNING
        assert [event.message for event in again.get_execution_events("e1")] == ["first", "second"]
        assert (again.get_checkpoint("cp"), again.event_store.get_checkpoint("w")) == (1, 1)
        assert again.event_store.get_latest_event_num() == 11
    assert sum(again.counts().values()) == len(executions)
    latest = again.event_store.get_latest_event_num()
    created = again.create_execution(make_execution("next"))
    assert created.modify_time > max(execution.modify_time for execution in executions.values())
    assert [event.seq_num for event in log_entries(again)] == list(range(1, latest + 2))


class Image:
    """A folder's files and links in memory."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, bytes | str] = {}
        for parent, _, files in os.walk(path):
            for name in files:
                file = Path(parent, name)
                self.files[str(file.relative_to(path))] = os.readlink(file) if file.is_symlink() else file.read_bytes()

    def write(self, path: Path) -> None:
        for name, content in self.files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                file.symlink_to(content)
            else:
                file.write_bytes(content)


def write_back(
    draw: Callable[..., Any], name: str, old: bytes | str | None, new: bytes | str | None
) -> bytes | str | None:
    """What a power cut leaves of a file that changed: any of its versions, or what it pleases of the new one."""
    outcomes: list[Callable[[], bytes | str | None]] = [lambda: old, lambda: new]
    if isinstance(new, bytes) and name != "unflushed":
        begun = old if isinstance(old, bytes) and new.startswith(old) else b""
        if name in ENGINE:
            # Written over in place: any of its blocks may be the new one.
            outcomes.append(lambda: mix(draw, old if isinstance(old, bytes) else b"", new))
        else:
            outcomes += [
                lambda: new[: draw(st.integers(len(begun), len(new)))],
                lambda: begun + b"\0" * (len(new) - len(begun)),
                lambda: begun,
            ]
    chosen: Callable[[], bytes | str | None] = draw(st.sampled_from(outcomes))
    return chosen()


def mix(draw: Callable[..., Any], old: bytes, new: bytes, block: int = 4096) -> bytes:
    return b"".join(
        (new if draw(st.booleans()) else old)[position : position + block]
        for position in range(0, max(len(old), len(new)), block)
    )


CHANGES: list[Callable[[Store, int], object]] = [
    lambda store, n: store.create_execution(make_execution(f"n{n}", f"job{n % 2}", name="x" * (n * 90)), make_event()),
    lambda store, n: store.update_execution_state(make_request("e1", RUNNING, make_event(str(n)), name="y" * n)),
    lambda store, n: store.update_execution_state(make_request("e2", RUNNING, job_id=f"job{n % 2}")),
    lambda store, n: store.add_execution_event("e1", make_event("added" * n)),
    lambda store, n: store.checkpoint("cp", n),
    lambda store, n: store.event_store.store_checkpoint("w", n),
    lambda store, n: store.delete_execution(f"n{n - 1}"),
    lambda store, n: store.delete_execution("e3"),
]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=12))
def test_whatever_a_power_cut_leaves_is_mended(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, changes: list[Callable[[Store, int], object]]
) -> None:
    factory = StoreFactory(tmp_path_factory.mktemp("cut"))
    path, clock = factory.path(), FakeClock()
    with factory(clock=clock) as store:
        for number in (1, 2, 3, 4):
            store.create_execution(make_execution(f"e{number}"), make_event("first"))

    durable = [Image(path)]
    made: list[Recording] = []

    def remember(name: str) -> None:
        if name == "sync":
            durable.append(Image(path))
        elif name == "flush":  # of the journal, before its turn; the other file was flushed at its own
            flushed, now = copy.deepcopy(durable[-1]), Image(path)
            flushed.files.update({each: now.files[each] for each in ("journal.0", "journal.1")})
            durable.append(flushed)

    def record(root: str) -> Recording:
        made.append(Recording(root))
        made[-1].before = remember
        return made[-1]

    store = factory(clock=clock, file_system=record, durability="relaxed")
    known = {execution.id: [execution] for execution in store.list_executions()}
    for number, change in enumerate(changes):
        with contextlib.suppress(ExecStoreError):
            change(store, number)
        for execution in store.list_executions():
            known.setdefault(execution.id, []).append(execution)
    before, after = durable[-1], Image(path)
    store.engine().abandon()

    disk = copy.deepcopy(before)
    for name in sorted({*before.files, *after.files}):
        old, new = before.files.get(name), after.files.get(name)
        content = old if old == new else write_back(data.draw, name, old, new)
        disk.files.pop(name, None)
        if content is not None:
            disk.files[name] = content
    shutil.rmtree(path)
    path.mkdir()
    for name in (*LAYOUT.folders(), "reserve"):
        (path / name).mkdir()
    disk.write(path)

    with factory(clock=clock) as again:
        report = again.verify()
        assert report.ok, report.problems
        for execution in again.list_executions():
            assert execution in known[execution.id], "it is one of the versions that it once had"
        assert "e4" in {execution.id for execution in again.list_executions()}
        latest = again.event_store.get_latest_event_num()
        assert latest >= 8, "what was durable before is there"
        again.create_execution(make_execution("next"))
        assert [event.seq_num for event in log_entries(again)] == list(range(1, latest + 2))
        assert again.verify().ok
    factory.finish()
    shutil.rmtree(factory.folder)
