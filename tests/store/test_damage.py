"""Whatever happens to a file of a store: an error of ours or an answer, never a crash, and a repair that mends it."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execstore import ExecutionState, Store
from execstore.errors import ExecStoreError, StoreCorruptedError, UnsupportedFormatError
from execstore.integrity.closed import repair_closed
from tests.conftest import StoreFactory
from tests.store.test_flushes import READS
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with something of everything. Not to be changed."""
    factory = StoreFactory(tmp_path_factory.mktemp("origin"))
    with factory() as store:
        for number in range(12):
            store.create_execution(make_execution(f"e{number}", f"job{number % 3}", name="x" * 200), make_event())
            if number % 2:
                store.update_execution_state(make_request(f"e{number}", ExecutionState.RUNNING, make_event()))
        store.checkpoint("cp", 1)
        store.event_store.store_checkpoint("w", 2)
        store.delete_execution("e5")
    return factory.path()


IDS = {f"e{number}" for number in range(12) if number != 5}
ENGINE = {"FORMAT", "head", "journal.0", "journal.1", "lock", "lock.flush", "lock.handles"}

DAMAGES: dict[str, Callable[[st.DataObject, Path], object]] = {
    "gone": lambda data, file: file.unlink(),
    "empty": lambda data, file: replace(file, b""),
    "cut": lambda data, file: replace(file, content(file)[: data.draw(st.integers(0, len(content(file))))]),
    "a byte changed": lambda data, file: change_byte(data, file),
    "zeros": lambda data, file: replace(file, bytes(len(content(file)))),
    "not JSON": lambda data, file: replace(file, b"{]\n" * 3),
    "other JSON": lambda data, file: replace(file, data.draw(st.sampled_from([b"[]", b"null\n", b'{"ID":5}', b"{}"]))),
    "not text": lambda data, file: replace(file, b"\xff\xfe" * 20),
    "a folder": lambda data, file: stand_in(file, Path.mkdir),
    "a link": lambda data, file: stand_in(file, lambda path: path.symlink_to("/etc/passwd")),
    "a pipe": lambda data, file: stand_in(file, os.mkfifo),
    "another's": lambda data, file: another(data, file),
}


def stand_in(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def content(file: Path) -> bytes:
    return b"" if file.is_symlink() else file.read_bytes()


def replace(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def change_byte(data: st.DataObject, file: Path) -> None:
    was = bytearray(content(file) or b" ")
    was[data.draw(st.integers(0, len(was) - 1))] ^= data.draw(st.integers(1, 255))
    replace(file, bytes(was))


def another(data: st.DataObject, file: Path) -> None:
    """The content of another file of the same folder."""
    others = sorted(each for each in file.parent.iterdir() if each != file and each.is_file())
    if others:
        replace(file, content(data.draw(st.sampled_from(others))))


def paths(folder: Path) -> list[Path]:
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def answer(store: Store, call: Callable[[Store], object]) -> Any:
    with contextlib.suppress(ExecStoreError):
        return call(store)
    return None


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), damage=st.sampled_from(list(DAMAGES)), read_only=st.booleans())
def test_any_damage_to_any_file(
    origin: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, damage: str, read_only: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "store"
    shutil.copytree(origin, path, symlinks=True)
    files = [file for file in paths(path) if file.parent.name != "reserve"]
    file = data.draw(st.sampled_from(files), label="file")
    DAMAGES[damage](data, file)
    name = os.path.relpath(file, path)
    try:
        store: Store | None = Store(path, read_only=read_only)
    except StoreCorruptedError:
        assert name in ENGINE, "only the engine's own files keep a store from being opened"
        store = None
        repair_closed(path)
        with Store(path) as mended:
            assert mended.repair().ok
            assert {execution.id for execution in mended.list_executions()} == IDS
    except UnsupportedFormatError:
        assert name == "FORMAT", "a byte of it may have become another version"
        store = None
    if store is not None:
        with store:
            for call in READS.values():
                answer(store, call)
            report = store.verify()
        if not read_only:
            with Store(path) as again:
                repaired = again.repair()
                assert report.ok or repaired.actions or repaired.remaining
                assert repaired.remaining == again.verify().problems
                assert [problem for problem in repaired.remaining if problem.kind not in {"log", "stranger"}] == []
                left = {execution.id for execution in again.list_executions()}
                assert left >= IDS - {file.stem}, "only what was in the file can be lost"
                created = again.create_execution(make_execution("after"), make_event())
                assert again.get_execution("after") == created
                for call in READS.values():
                    answer(again, call)
    shutil.rmtree(folder)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [Path.mkdir, link, os.mkfifo], ids=["folder", "link", "pipe"])
@pytest.mark.parametrize(
    "name",
    [
        "execution_events/e1.jsonl",
        "execution_events/.new",
        "executions/.new",
        "idx_executions_by_job_id/job1",
        "idx_executions_by_state/Running/e1",
        "events/00000000000000000004.jsonl",
    ],
)
def test_what_stands_in_the_way_of_a_committed_change_is_set_aside(
    open_store: StoreFactory, name: str, make: Callable[[Path], object]
) -> None:
    """Else the change, which is committed, could never be shown, and every later one would fail with it."""
    with open_store() as store:
        store.create_execution(make_execution("e1", "job2"), make_event())
    path = open_store.path() / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    with open_store() as store:
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event(), name="x" * 5000))
        store.create_execution(make_execution("new"), make_event())
        store.create_execution(make_execution("e2", name="y" * 5000))
        assert store.get_execution("e1").compute_state.state_type is ExecutionState.RUNNING
        assert {execution.id for execution in store.get_executions("job1")} == {"new", "e2"}
        store.repair()
