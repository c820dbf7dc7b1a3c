"""A store's files replaced by what they aren't: nothing outside is read, written or removed, and nothing waits.

Everything is asked in a child of its own, with little memory and a time to do it in, since what is guarded against are
blocking opens and endless reads.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from execstore.cli.app import run
from execstore.errors import ExecStoreError
from tests.conftest import StoreFactory
from tests.store.test_flushes import READS
from tests.support import PATIENCE_SECONDS, in_child, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = b'{"ID":"e0","JobID":"secret","ComputeState":{"StateType":"New"},"Name":"a secret from outside"}\n'
SEGMENT = "events/00000000000000000001.jsonl"

FILES = {
    "executions/e0.json": "record",
    "execution_events/e0.jsonl": "events",
    "idx_executions_by_job_id/job0/e0": "index",
    "idx_executions_by_state/New/e0": "index",
    SEGMENT: "log",
    "checkpoints/w.json": "checkpoint",
    "sequence_tracking/cp.json": "checkpoint",
}
ENGINE = ["FORMAT", "head", "journal.0", "journal.1", "lock", "lock.flush", "lock.handles"]
FOLDERS = [
    "executions",
    "execution_events",
    "idx_executions_by_job_id",
    "idx_executions_by_job_id/job0",
    "idx_executions_by_state",
    "idx_executions_by_state/New",
    "events",
    "checkpoints",
    "sequence_tracking",
    "reserve",
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with something of everything. Not to be changed."""
    factory = StoreFactory(tmp_path_factory.mktemp("origin"))
    with factory() as store:
        for number in range(6):
            store.create_execution(make_execution(f"e{number}", f"job{number % 3}"), make_event())
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event()))
        store.checkpoint("cp", 1)
        store.event_store.store_checkpoint("w", 2)
    factory.finish()
    return factory.path()


class Outside:
    """A folder beside the store, which must stay as it is, and unread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.secret = folder / "secret.json"
        self.secret.write_bytes(SECRET)
        for name in ("e0.json", "e0.jsonl", "w.json", "e0", SEGMENT.rpartition("/")[2], "0"):
            (folder / name).write_bytes(SECRET)
        self._before = self._now()

    def _now(self) -> dict[str, tuple[int, int, bytes]]:
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.folder.iterdir())
        }

    def check(self) -> None:
        assert self._now() == self._before, "something outside of the store was written or removed"


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "outside")


@pytest.fixture
def path(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "store", symlinks=True))


def remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(10 << 30)


STAND_INS: dict[str, Callable[[Path, Outside], object]] = {
    "link to a file outside": lambda place, outside: place.symlink_to(outside.secret),
    "link to a folder outside": lambda place, outside: place.symlink_to(outside.folder),
    "link to nothing": lambda place, outside: place.symlink_to(outside.folder / "nothing"),
    "link to itself": lambda place, outside: place.symlink_to(place.name),
    "link to a terminal": lambda place, outside: place.symlink_to("/dev/tty"),
    "pipe": lambda place, outside: os.mkfifo(place),
    "folder": lambda place, outside: place.mkdir(),
    "folder with something in it": lambda place, outside: shutil.copytree(outside.folder, place),
    "10 GB of zeros": lambda place, outside: sparse(place),
    "nested 100,000 deep": lambda place, outside: place.write_bytes(b"[" * 100_000 + b"]" * 100_000 + b"\n"),
    "objects nested 100,000 deep": lambda place, outside: place.write_bytes(b'{"a":' * 100_000),
    "one long number": lambda place, outside: place.write_bytes(b"1" * 1_000_000 + b"\n"),
    "no text": lambda place, outside: place.write_bytes(bytes(range(256)) * 20),
}


def _tx(store: Store) -> None:
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution("tx"))
        transaction.delete_execution("e3")


CHANGES: list[Callable[[Store], object]] = [
    lambda store: store.create_execution(make_execution("new", "job0"), make_event()),
    lambda store: store.update_execution_state(make_request("e0", ExecutionState.RUNNING, make_event())),
    lambda store: store.add_execution_event("e1", make_event()),
    lambda store: store.checkpoint("cp", 9),
    lambda store: store.event_store.store_checkpoint("w", 3),
    _tx,
    lambda store: store.delete_execution("e0"),
    lambda store: store.collect_events(),
]


def ask(work: Callable[[], str]) -> str:
    """Do ``work`` in a child that may take neither much memory nor long, and has no terminal to lose."""

    def limited() -> str:
        os.setsid()
        signal.alarm(int(PATIENCE_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        return work()

    text = in_child(limited)
    assert text.endswith("done"), text or "it took too long, or too much memory"
    assert "READ OUTSIDE" not in text
    return text


def look_and_change(store: Store, said: list[str]) -> None:
    """Every read, and every change if the handle may; each works or says in an error of ours why it doesn't."""
    for name, call in READS.items():
        with contextlib.suppress(ExecStoreError):
            if "a secret from outside" in repr(call(store)):
                said.append(f"READ OUTSIDE: {name}")
    said.append(f"found {store.read_only} {[problem.path for problem in store.verify().problems]}")
    if not store.read_only:
        for change in CHANGES:
            with contextlib.suppress(ExecStoreError):
                change(store)
        said.append(f"left {[problem.path for problem in store.repair().remaining]}")


def open_and_look(path: Path) -> str:
    said: list[str] = []
    for read_only in (True, False):
        try:
            store = Store(path, read_only=read_only, lock_timeout=2)
        except ExecStoreError as error:
            said.append(f"refused {read_only} {error}")
            continue
        with store:
            look_and_change(store, said)
    return "\n".join([*said, "done"])


def found_by_verify(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("found True"))


@pytest.mark.parametrize("stand_in", list(STAND_INS))
@pytest.mark.parametrize("name", list(FILES))
def test_a_file_is_something_else(path: Path, outside: Outside, name: str, stand_in: str) -> None:
    remove(path / name)
    STAND_INS[stand_in](path / name, outside)
    output = ask(lambda: open_and_look(path))
    outside.check()
    if FILES[name] != "index" or path.joinpath(name).is_dir():
        assert name in found_by_verify(output)
    left = next(line for line in output.splitlines() if line.startswith("left"))
    assert FILES[name] == "log" or left == "left []"


@pytest.mark.parametrize("stand_in", ["link to a folder outside", "link to nothing", "pipe", "no text"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_something_else(path: Path, outside: Outside, name: str, stand_in: str) -> None:
    remove(path / name)
    STAND_INS[stand_in](path / name, outside)
    output = ask(lambda: open_and_look(path))
    outside.check()
    assert name in output


@pytest.mark.parametrize("stand_in", list(STAND_INS))
@pytest.mark.parametrize("name", ENGINE)
def test_a_file_of_the_engine_is_something_else(path: Path, outside: Outside, name: str, stand_in: str) -> None:
    remove(path / name)
    STAND_INS[stand_in](path / name, outside)
    ask(lambda: open_and_look(path))
    outside.check()


@pytest.mark.parametrize("stand_in", ["link to a file outside", "link to a folder outside", "pipe", "folder"])
@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *ENGINE])
def test_something_is_replaced_under_a_handle_that_is_at_work(
    path: Path, outside: Outside, name: str, stand_in: str
) -> None:
    def work() -> str:
        said: list[str] = []
        with Store(path, lock_timeout=2) as store, Store(path, read_only=True, lock_timeout=2) as reader:
            for handle in (store, reader):
                list(handle.list_executions())
                handle.event_store.get_latest_event_num()
            store.checkpoint("cp", 2)
            remove(path / name)
            STAND_INS[stand_in](path / name, outside)
            look_and_change(reader, said)
            look_and_change(store, said)
        return "\n".join([*said, "done"])

    ask(work)
    outside.check()
    ask(lambda: open_and_look(path))
    outside.check()


COMMANDS = [
    ["ls"],
    ["show", "e0"],
    ["events", "e0"],
    ["history", "e0"],
    ["jobs"],
    ["stats"],
    ["verify"],
    ["backup", "backup.tar"],
    ["export", "jsonl", "-"],
    ["gc", "--dry-run"],
    ["gc"],
    ["repair", "--dry-run"],
    ["repair"],
    ["verify"],
]


@pytest.mark.parametrize(
    "stand_in", ["link to a file outside", "pipe", "folder", "10 GB of zeros", "nested 100,000 deep"]
)
@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *ENGINE])
def test_the_command_line_never_ends_in_a_traceback(
    path: Path, outside: Outside, name: str, stand_in: str, tmp_path: Path
) -> None:
    remove(path / name)
    STAND_INS[stand_in](path / name, outside)
    output = tmp_path / "output"

    def work() -> str:
        os.chdir(tmp_path)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        statuses = [run(["--store", str(path), *command], "execstore") for command in COMMANDS]
        sys.stdout.flush()
        sys.stderr.flush()
        return f"{statuses} done"

    statuses = ask(work)
    assert "None" not in statuses
    said = output.read_text(errors="replace")
    assert "Traceback" not in said
    assert "a defect of execstore" not in said, said
    assert "a secret from outside" not in said
    outside.check()
