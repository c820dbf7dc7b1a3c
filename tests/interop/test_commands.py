"""``execstore import`` and ``execstore export``, as a user types them."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import execstore
from execstore import Execution, ExecutionState, State, Store
from execstore.cli.app import run
from execstore.interop.bacalhau import BacalhauDatabase
from execstore.interop.importing import import_new
from execstore.timestamps import Timestamp
from tests.support import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

Run = tuple[int, str, str]


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Run]:
    """Runs a command line in this process: (exit status, stdout, stderr)."""

    def here(*arguments: str | Path) -> Run:
        capfdbinary.readouterr()
        status = run([str(argument) for argument in arguments], "execstore")
        captured = capfdbinary.readouterr()
        return status, captured.out.decode(), captured.err.decode()

    return here


@pytest.fixture(scope="module")
def real_store(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real store's data. Not to be changed."""
    path = tmp_path_factory.mktemp("real") / "store"
    with BacalhauDatabase.open(database) as source:
        import_new(source, path)
    return path


def test_import_bolt(command: Callable[..., Run], database: Path, tmp_path: Path) -> None:
    status, out, err = command("--store", tmp_path / "store", "import", "bolt", database)
    assert (status, err) == (0, "")
    assert out.startswith("215 executions with 641 events, 1,273 events of the log, 9 checkpoints, nothing skipped; ")
    assert out.endswith(" executions/s\n")
    status, out, _ = command("--store", tmp_path / "store", "import", "bolt", "--merge", database, "--json")
    report = json.loads(out)
    assert (status, report["executions"], report["already_there"], report["conflicts"]) == (0, 0, 220, [])


def test_conflicts_are_listed_and_give_status_1(command: Callable[..., Run], database: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store(path) as store:
        execution = Execution("a", "ns", job_id="j", job={}, compute_state=State(ExecutionState.NEW))
        created = store.create_execution(execution)
        status, out, err = command("--store", path, "import", "bolt", "--merge", database)
        assert store.get_execution("a") == created
    assert status == 1
    assert "214 executions" in out
    assert "1 in conflict and left alone" in out
    assert err.splitlines()[0].startswith("conflict: execution a: it is stored with")


def test_import_refuses_a_place_that_is_taken(command: Callable[..., Run], database: Path, tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    status, _, err = command("--store", tmp_path / "store", "import", "bolt", database)
    assert status == 1
    assert "--merge" in err


def test_merge_needs_a_store(command: Callable[..., Run], database: Path, tmp_path: Path) -> None:
    status, _, err = command("--store", tmp_path / "store", "import", "bolt", "--merge", database)
    assert status == 3
    assert "there is no store" in err
    assert list(tmp_path.iterdir()) == []


def test_database_of_a_running_node(command: Callable[..., Run], database_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "executions.db"
    path.write_bytes(database_bytes)
    with path.open("rb+") as node:
        fcntl.flock(node, fcntl.LOCK_EX)
        status, _, err = command("--store", tmp_path / "store", "import", "bolt", path)
        assert status == 3
        assert "--force" in err
        assert not (tmp_path / "store").exists()
        status, _, err = command("--store", tmp_path / "store", "import", "bolt", "--force", path)
    assert status == 0
    assert err.startswith("note: it is open in a running process")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"x" * 10000, "page 0: it is no bolt database, or its beginning is lost"),
        (b'{"ID": "e-1"}\n', "executions.db: it is no bolt database"),
        (None, "page 1290: the file is cut off here"),
    ],
)
def test_damaged_database(
    command: Callable[..., Run], database_bytes: bytes, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "executions.db"
    path.write_bytes(database_bytes[: 1290 * 4096 + 7] if content is None else content)
    status, out, err = command("--store", tmp_path / "store", "import", "bolt", path)
    assert (status, out) == (3, "")
    assert said in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["executions.db"]


@pytest.mark.parametrize("kind", ["bolt", "jsonl"])
def test_missing_file_is_wrong_usage(command: Callable[..., Run], tmp_path: Path, kind: str) -> None:
    status, _, err = command("--store", tmp_path / "store", "import", kind, tmp_path / "nope")
    assert status == 2
    assert "nope" in err


def test_jsonl_there_and_back_through_files(command: Callable[..., Run], real_store: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    status, out, err = command("--store", real_store, "export", "jsonl", first)
    assert (status, err) == (0, "")
    assert out.startswith("215 executions with 641 events, 1,273 events of the log, 9 checkpoints, nothing skipped; ")
    assert command("--store", tmp_path / "store", "import", "jsonl", first)[0] == 0
    status, out, _ = command("--store", tmp_path / "store", "export", "jsonl", second, "--json")
    assert (status, json.loads(out)["executions"]) == (0, 215)
    assert first.read_bytes() == second.read_bytes()


def test_jsonl_through_a_pipe(real_store: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(execstore.__file__).parent.parent)}
    program = [sys.executable, "-m", "execstore"]
    with subprocess.Popen(
        [*program, "--store", str(real_store), "export", "jsonl", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    ) as export:
        done = subprocess.run(
            [*program, "--store", "copy", "import", "jsonl", "-"],
            stdin=export.stdout,
            capture_output=True,
            check=True,
            env=environment,
            cwd=tmp_path,
            timeout=60,
        )
        assert export.stderr is not None
        assert export.stderr.read().startswith(b"215 executions")
    assert done.stdout.startswith(b"215 executions")
    with Store(tmp_path / "copy", read_only=True) as copy, Store(real_store, read_only=True) as original:
        assert list(copy.list_executions()) == list(original.list_executions())


def items_of(out: str) -> list[dict[str, Any]]:
    # str.splitlines also splits at U+2028 and others, which may stand in JSON as they are.
    return [json.loads(line) for line in out.removesuffix("\n").split("\n")]


def test_stdout_has_nothing_but_the_data(command: Callable[..., Run], real_store: Path) -> None:
    for extra in ((), ("--json",)):
        _, out, err = command("--store", real_store, "export", "jsonl", "-", *extra)
        kinds = [item["type"] for item in items_of(out)]
        assert (kinds[0], kinds[-1]) == ("header", "end")
        assert err.startswith("215 executions")


def executions_of(out: str) -> list[dict[str, Any]]:
    return [item["execution"] for item in items_of(out) if item["type"] == "execution"]


def test_selections(command: Callable[..., Run], real_store: Path, expected: dict[str, Any]) -> None:
    job_id, ids = next(iter(expected["executions_by_job"].items()))
    _, out, _ = command("--store", real_store, "export", "jsonl", "-", "--job", job_id)
    assert sorted(execution["ID"] for execution in executions_of(out)) == sorted(ids)
    for state in ("Completed", "completed", "ExecutionStateType(99)"):
        _, out, _ = command("--store", real_store, "export", "jsonl", "-", "--state", state)
        number = expected["counts"]["ExecutionStateType(99)" if "99" in state else "Completed"]
        assert len(executions_of(out)) == number
    times = sorted(execution["ModifyTime"] for execution in expected["executions"].values())
    for since in (str(times[-3]), Timestamp(times[-3]).to_text("since")):
        _, out, _ = command("--store", real_store, "export", "jsonl", "-", "--since", since)
        assert len(executions_of(out)) == 3


@pytest.mark.parametrize(
    ("since", "number"), [("1s", 0), ("2000-01-01", 215), ("2999-12-31", 0), ("1999-12-31T23:00:00+02:00", 215)]
)
def test_since_forms(command: Callable[..., Run], real_store: Path, since: str, number: int) -> None:
    status, out, _ = command("--store", real_store, "export", "jsonl", "-", "--since", since)
    assert (status, len(executions_of(out))) == (0, number)


def test_a_job_that_is_none_leaves_nothing_behind(
    command: Callable[..., Run], real_store: Path, tmp_path: Path
) -> None:
    for place in (tmp_path / "out.jsonl", "-"):
        status, out, err = command("--store", real_store, "export", "jsonl", place, "--job", "nix")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert err == command("--store", real_store, "ls", "--job", "nix")[2]
    assert os.listdir(tmp_path) == []


def test_a_choice_that_nothing_fits_is_said(
    command: Callable[..., Run], real_store: Path, expected: dict[str, Any]
) -> None:
    job_id = next(iter(expected["executions_by_job"]))
    for extra in ((), ("--job", job_id)):
        chosen = ("--since", "2999-12-31", *extra)
        status, out, err = command("--store", real_store, "export", "jsonl", "-", *chosen)
        assert (status, executions_of(out)) == (0, [])
        assert err.startswith("note: no execution fits what was chosen\n")


@pytest.mark.parametrize("option", [("--since", "yesterday"), ("--since", "2026-13-01"), ("--state", "Nope")])
def test_wrong_choices(command: Callable[..., Run], real_store: Path, option: tuple[str, str]) -> None:
    status, out, err = command("--store", real_store, "export", "jsonl", "-", *option)
    assert (status, out) == (2, "")
    assert option[1] in err


def test_mistake_names_the_line(command: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"type":"header","format":"execstore-jsonl","version":1}\n{"type":"execution"}\n')
    status, _, err = command("--store", tmp_path / "store", "import", "jsonl", path)
    assert status == 3
    assert f"{path}: line 2: " in err
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_export_replaces_a_file_by_a_whole_one_only(
    command: Callable[..., Run], real_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")
    assert command("--store", tmp_path / "nope", "export", "jsonl", path)[0] == 3
    assert path.read_text() == "before"
    assert command("--store", real_store, "export", "jsonl", path)[0] == 0
    assert path.read_text().startswith('{"type":"header"')
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_sqlite(command: Callable[..., Run], real_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    status, out, err = command("--store", real_store, "export", "sqlite", path)
    assert (status, err) == (0, "")
    assert out.startswith("215 executions")
    assert command("--store", real_store, "export", "sqlite", path)[0] == 2
    status, out, _ = command("--store", real_store, "export", "sqlite", path, "--append")
    assert (status, out.partition(" ")[0]) == (0, "0")
    assert command("--store", real_store, "export", "sqlite", "-", "--append")[0] == 2
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT COUNT(*) FROM executions").fetchone() == (215,)
    database.close()


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_the_folder_that_is_missing_is_named(command: Callable[..., Run], real_store: Path, kind: str) -> None:
    said = "execstore: /no/such: there is no such folder\n"
    assert command("--store", real_store, "export", kind, "/no/such/file") == (3, "", said)


@pytest.mark.parametrize("arguments", [("export", "sqlite", "-"), ("backup", "-")])
def test_nothing_binary_goes_to_a_terminal(real_store: Path, arguments: tuple[str, ...]) -> None:
    master, slave = os.openpty()
    with open(master, "rb", buffering=0) as screen, open(slave, "wb", buffering=0) as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "execstore", "--store", str(real_store), *arguments],
            stdout=terminal,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(execstore.__file__).parent.parent)},
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,  # what nobody reads would make it wait
        )
        os.set_blocking(master, False)
        assert screen.read() is None, "there is nothing to read"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is a terminal" in done.stderr
    assert "name a file, or lead" in done.stderr


def test_sqlite_to_stdout(real_store: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["--store", str(real_store), "export", "sqlite", "-"], "execstore") == 0
    captured = capfdbinary.readouterr()
    (tmp_path / "out.sqlite").write_bytes(captured.out)
    database = sqlite3.connect(tmp_path / "out.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert captured.err.startswith(b"215 executions")
