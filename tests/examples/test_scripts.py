"""The examples that run to their end, and those of the fixtures: each as a process, with what it must come to."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from tests.examples.conftest import EXAMPLES
from tests.support import PATIENCE_SECONDS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Examples

S = ExecutionState


def test_a_reader_never_sees_half_a_change(examples: Examples) -> None:
    out = examples.run("second_process.py", "store", "--changes", "60")
    looks, moments, halves = map(int, re.findall(r"\d+", out.splitlines()[0]))
    assert looks >= moments >= 2
    assert halves == 0
    assert out.splitlines()[1] == "at the end both say 60, and the log has 122 events"


def test_transactions_move_all_or_nothing(examples: Examples, tmp_path: Path) -> None:
    out = examples.run("transactions.py", "store")
    assert re.findall(r"(\d+) in all", out) == ["1500"] * 5
    assert re.findall(r"(\d+) events in the log", out) == ["2", "6", "6", "10", "10"]
    assert out.count("refused: ") == 3
    with Store(tmp_path / "store", read_only=True) as store:
        assert [event.message for event in store.get_execution_events("e-donor")] == [
            "300 went to e-taker",
            "100 went to e-taker",
        ]
    examples.run("transactions.py", "store", status=1)


# --- from SQLite ----------------------------------------------------------------------------------------------------


def test_all_rows_are_moved_once(examples: Examples, tmp_path: Path) -> None:
    examples.run("from_sqlite.py", "jobs.sqlite", "store", "--make-sample", "110")
    assert "moved 110 rows" in examples.run("from_sqlite.py", "jobs.sqlite", "store", "--batch", "50")
    assert "moved 0 rows" in examples.run("from_sqlite.py", "jobs.sqlite", "store")
    examples.run("from_sqlite.py", "jobs.sqlite", "store", "--make-sample", "5")
    assert "moved 5 rows" in examples.run("from_sqlite.py", "jobs.sqlite", "store")
    with Store(tmp_path / "store", read_only=True) as store:
        assert {state: n for state, n in store.counts().items() if n} == {
            S.BID_ACCEPTED: 2,
            S.RUNNING: 3,
            S.COMPLETED: 94,
            S.FAILED: 16,
        }
        failed = store.get_execution("e-00000007")
        assert failed.job == {"Name": "report-7", "Type": "batch", "Command": ["sh", "-c", "echo 7"]}
        assert failed.run_output is not None
        assert (failed.run_output.stdout, failed.run_output.exit_code) == ("7\n", 1)
        created, finished = store.get_execution_events("e-00000007")
        assert created.timestamp.nanoseconds == 1_760_000_420_250_000_000
        assert finished.timestamp.nanoseconds - created.timestamp.nanoseconds == 5_000_000_000


def test_killed_in_the_middle_it_goes_on(examples: Examples, tmp_path: Path) -> None:
    examples.run("from_sqlite.py", "jobs.sqlite", "store", "--make-sample", "200")
    for _ in range(3):
        process = examples.start("from_sqlite.py", "jobs.sqlite", "store", "--batch", "5")
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("moved up to row ")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Store(tmp_path / "store") as store:
            moved = sum(store.counts().values())
            # It may have got further since it printed, but never a part of a batch.
            assert moved == store.get_checkpoint("from-sqlite")
            assert moved >= int(line.split()[-1])
    last = examples.run("from_sqlite.py", "jobs.sqlite", "store").splitlines()[-1]
    assert last.startswith(f"moved {200 - moved} rows; the store now has 200")


def test_a_row_that_makes_no_sense_is_named(examples: Examples, tmp_path: Path) -> None:
    import sqlite3

    examples.run("from_sqlite.py", "jobs.sqlite", "store", "--make-sample", "3")
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("UPDATE jobs SET state = 'odd' WHERE id = 2")
    database.close()
    process = examples.start("from_sqlite.py", "jobs.sqlite", "store")
    _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, "row 2: 'odd' is none of the states" in stderr) == (1, True)
    with Store(tmp_path / "store", read_only=True) as store:
        assert sum(store.counts().values()) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("edge_agent.py", "--store", "other", "--inbox", "inbox", "--once"),
        ("second_process.py", "other"),
        ("service.py", "--store", "other", "--port", "0"),
        ("transactions.py", "other"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_is_no_store_is_a_sentence(
    examples: Examples, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    process = examples.start(*arguments)
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith("other is not a store: ")


def test_a_mistyped_database_or_store_is_a_sentence(examples: Examples, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    process = examples.start("from_sqlite.py", "jbos.sqlite", "store")
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout, stderr) == (1, "", "jbos.sqlite: there is no such file\n")
    assert os.listdir(tmp_path) == ["other"], "nothing is left behind"
    examples.run("from_sqlite.py", "a ?#%.sqlite", "store", "--make-sample", "3")
    assert sorted(os.listdir(tmp_path)) == ["a ?#%.sqlite", "other"]
    process = examples.start("from_sqlite.py", "a ?#%.sqlite", "other")
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout, stderr.count("\n")) == (1, "", 1)
    assert "other" in stderr
    assert "moved 3 rows" in examples.run("from_sqlite.py", "a ?#%.sqlite", "store")


# --- the fixtures, and all of them ----------------------------------------------------------------------------------


def test_the_tests_with_the_fixtures_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "pytest_fixture")],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS * 5,
    )
    assert (done.returncode, done.stdout.count(".")) >= (0, 4), done.stdout
    assert "4 passed" in done.stdout


def test_what_the_fixtures_are_for_runs_by_itself(examples: Examples) -> None:
    examples.run("transactions.py", "store")
    assert examples.run("pytest_fixture/second_try.py", "store") == "\n"


def _scripts() -> list[str]:
    found = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py"))
    return [name for name in found if not re.search(r"conftest|/test_|^fleet/", name)]


@pytest.mark.parametrize("name", _scripts())
def test_each_says_what_it_shows_and_how_to_run_it(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    documentation = ast.get_docstring(ast.parse(text)) or ""
    assert f"python examples/{name}" in documentation
    assert re.search(r"\bshows?\b", documentation)
    assert f"({name})" in (EXAMPLES / "README.md").read_text()
