"""A store whose engine files are gone or damaged can be opened again, with all that its tree holds."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.errors import StoreBusyError, UnsupportedFormatError
from execstore.integrity.closed import repair_closed
from execstore.tree.filesystem import RealFileSystem
from tests.conftest import StoreFactory
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINE = ["FORMAT", "head", "journal.0", "journal.1", "lock", "lock.flush", "lock.handles"]
DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: None,
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(5000)),
    "a folder": Path.mkdir,
    "a link": lambda file: file.symlink_to("/etc/passwd"),
    "a pipe": os.mkfifo,
}


def damage(file: Path, how: str) -> None:
    file.unlink()
    DAMAGES[how](file)


@pytest.fixture(params=["closed", "in use", "in use, first journal"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a store with executions ``e0`` to ``e5``: closed, or as its writer's death leaves it."""
    factory = StoreFactory(tmp_path / "origin")
    path = tmp_path / "store"
    with factory() as store:
        for number in range(2 if request.param == "in use, first journal" else 6):
            store.create_execution(make_execution(f"e{number}", name="x" * 300), make_event())
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event()))
        store.event_store.store_checkpoint("w", 3)
        if request.param != "closed":
            shutil.copytree(factory.path(), path, symlinks=True)
    if request.param == "closed":
        shutil.copytree(factory.path(), path, symlinks=True)
    return path


def content(path: Path) -> tuple[object, ...]:
    with Store(path) as store:
        store.repair()
        assert store.verify().ok
        ids = sorted(execution.id for execution in store.list_executions())
        executions = [store.get_execution(each) for each in ids]
        return (
            executions,
            store.counts(),
            store.event_store.get_latest_event_num(),
            store.event_store.get_checkpoint("w"),
        )


def goes_on(path: Path) -> None:
    """It can be written to for a few turns of the journal, closed, opened again, and is without a fault."""
    for turn in range(2):
        with Store(path) as store:
            before = store.event_store.get_latest_event_num()
            for number in range(12):
                store.create_execution(make_execution(f"new{turn}-{number}", name="x" * 900), make_event())
            assert store.event_store.get_latest_event_num() > before
            assert store.verify().ok


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ENGINE)
def test_any_engine_file_can_be_lost(copy: Path, tmp_path: Path, name: str, how: str) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(copy, whole, symlinks=True)
    expected = content(whole)
    before = {file.name for file in copy.iterdir()}
    damage(copy / name, how)
    repair_closed(copy)
    assert content(copy) == expected
    assert repair_closed(copy) == [], "a second time there is nothing to do"
    assert before <= {file.name for file in copy.iterdir()} | {"unflushed"}
    goes_on(copy)


def test_all_engine_files_but_format_can_be_lost(copy: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(copy, whole, symlinks=True)
    expected = content(whole)
    for name in ENGINE[1:]:
        (copy / name).unlink()
    assert any("may be lost" in action.action for action in repair_closed(copy))
    assert content(copy) == expected
    goes_on(copy)


def test_a_journal_damaged_in_its_middle_is_not_written_on(open_store: StoreFactory) -> None:
    """Else a later crash would find the chain broken in front of what was acknowledged since."""
    with open_store() as store:
        store.create_execution(make_execution("e1"))
    file = open_store.path() / "journal.0"
    file.write_bytes(file.read_bytes().replace(b"executions/e1", b"executions/e2", 1))
    assert [action.path for action in repair_closed(open_store.path())].count("journal.0") == 2
    assert (open_store.path() / "quarantine" / "journal.0.reason").exists()
    goes_on(open_store.path())


def test_an_older_chain_is_not_replayed(open_store: StoreFactory, tmp_path: Path) -> None:
    """It would put back what the tree held before."""
    path, copy = open_store.path(), tmp_path / "copy"
    with open_store() as store:
        store.create_execution(make_execution("e1"))
        number = 0
        while b"@transaction" not in (path / "journal.1").read_bytes():
            store.update_execution_state(make_request("e1", name=f"name {number} " + "x" * 900))
            number += 1
        shutil.copytree(path, copy, symlinks=True)
        newest = store.get_execution("e1")
    (copy / "journal.1").unlink()
    repair_closed(copy)
    with Store(copy) as store:
        assert store.get_execution("e1") == newest
    goes_on(copy)


def test_nothing_is_done_where_there_is_no_need(open_store: StoreFactory) -> None:
    path = open_store.path()
    with open_store() as store:
        store.create_execution(make_execution("e1"))
        assert repair_closed(path) == []
    assert repair_closed(path) == []
    assert not (path / "quarantine").exists()


@pytest.mark.parametrize("name", ["FORMAT", "head", "journal.1"])
def test_a_store_in_use_is_left_alone(open_store: StoreFactory, tmp_path: Path, name: str) -> None:
    with open_store() as store:
        store.create_execution(make_execution("e1"))
        (open_store.path() / name).rename(tmp_path / "away")
        with pytest.raises(StoreBusyError):
            repair_closed(open_store.path())
        (tmp_path / "away").rename(open_store.path() / name)
        assert not (open_store.path() / "quarantine").exists()


def test_another_version_is_left_alone(open_store: StoreFactory) -> None:
    open_store().close()
    form = open_store.path() / "FORMAT"
    data = form.read_bytes()
    form.write_bytes(data.replace(b'"version":1', b'"version":2'))
    with pytest.raises(UnsupportedFormatError):
        repair_closed(open_store.path())
    form.write_bytes(data)


def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "executions").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert repair_closed(tmp_path) == repair_closed(tmp_path / "nowhere") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["executions", "notes.txt"]


class Cut(RealFileSystem):
    """Stops after so many of the calls that change something."""

    left = 0

    def __getattribute__(self, name: str) -> object:
        if name in {"rename", "create", "pwrite", "flush", "sync_folder"}:
            Cut.left -= 1
            if Cut.left < 0:
                raise KeyboardInterrupt
        return super().__getattribute__(name)


def test_what_is_cut_off_goes_on(open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of its calls that change something: doing it again ends in the same store."""
    with open_store() as store:
        store.create_execution(make_execution("e1"), make_event())
        expected = store.get_execution("e1")
    for step in range(40):
        path = open_store.path(f"cut-{step}")
        shutil.copytree(open_store.path(), path, symlinks=True)
        (path / "FORMAT").write_bytes(b"{")
        (path / "head").unlink()
        Cut.left = step
        with monkeypatch.context() as patched:
            patched.setattr("execstore.tree.rebuild.RealFileSystem", Cut)
            with contextlib.suppress(KeyboardInterrupt):
                repair_closed(path)
        repair_closed(path)
        with Store(path) as store:
            assert store.get_execution("e1") == expected
            store.create_execution(make_execution("e2"))
        if Cut.left >= 0:
            return
    pytest.fail("it never came to its end")
