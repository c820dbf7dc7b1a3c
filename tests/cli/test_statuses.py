"""Exit statuses, errors in one line, and how the program takes signals and closed pipes."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execstore import Store, errors
from execstore.cli.exit_status import exit_status_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["show", "nope"], 1, "execstore: execution not found: nope"),
        (["show", "e-0", "nope"], 1, "execstore: execution not found: nope"),
        (["events", "nope"], 1, "execstore: execution not found: nope"),
        (["ls", "--job", "nope"], 1, "execstore: no executions found for job: nope"),
        (["show", "e"], 2, "'e' can be any of e-00aa-"),
        (["show", ""], 2, "ID: it can't be empty"),
        (["ls", "--job", "j"], 2, "'j' can be any of j-0"),
        (["show"], 2, "execstore show: Missing argument 'ID...'; see 'execstore show --help'"),
        (["ls", "--state", "Bogus"], 2, "'Bogus' is no state; it is one of Undefined, New,"),
        (["ls", "--limit", "0"], 2, "--limit"),
        (["ls", "--live", "--state", "New"], 2, "--live excludes --state"),
        (["ls", "--utc", "--ns"], 2, "--utc and --ns exclude each other"),
        (["ls", "surplus"], 2, "surplus"),
        (["--bogus"], 2, "--bogus"),
        (["bogus"], 2, "No such command 'bogus'"),
        (["--store", "", "ls"], 2, "can't be empty"),
        (["--store", "/no/such/folder", "ls"], 3, "/no/such/folder: there is no store"),
        (["--store", "/dev/null", "ls"], 3, "/dev/null is not a store"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    execstore_cli: CommandLine, arguments: list[str], status: int, text: str
) -> None:
    result = execstore_cli(*arguments)
    assert (result.status, result.stdout) == (status, "")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_command_the_help_is_shown(execstore_cli: CommandLine) -> None:
    result = execstore_cli()
    assert (result.status, result.stdout) == (2, "")
    assert "Usage: execstore" in result.stderr


def test_a_folder_with_other_things_is_left_alone(execstore_cli: CommandLine, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    result = execstore_cli("--store", str(other), "init")
    assert result.status == 3
    assert os.listdir(other) == ["letter.txt"]


def test_a_store_of_a_newer_version_is_told(execstore_cli: CommandLine, path: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(path, newer, symlinks=True)
    form = json.loads((newer / "FORMAT").read_text())
    (newer / "FORMAT").write_text(json.dumps({**form, "version": 99}))
    result = execstore_cli("--store", str(newer), "ls")
    assert result.status == 3
    assert "newer (format 99)" in result.stderr


def test_every_error_of_the_package_has_a_status_of_the_contract() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ExecStoreError)]
    statuses = {kind.__name__: exit_status_of(kind.__new__(kind)) for kind in kinds}
    assert set(statuses.values()) == {1, 2, 3}
    assert statuses["ExecutionNotFoundError"] == statuses["InvalidExecutionRevisionError"] == 1
    assert statuses["ImportConflictError"] == statuses["EventsCompactedError"] == 1
    assert statuses["InvalidArgumentError"] == statuses["InvalidExecutionError"] == 2
    # Whatever is wrong with the store itself is a 3, those that are added later too.
    about_the_store = {name for name in statuses if name.startswith(("Store", "Unsupported", "NotAStore"))}
    assert {statuses[name] for name in about_the_store} == {3}


def test_a_defect_is_one_line_too(execstore_cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Store) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(Store, "counts", fail)
    result = execstore_cli("stats")
    assert (result.status, result.stderr.count("\n")) == (3, 1)
    assert "RuntimeError: no idea" in result.stderr
    monkeypatch.setenv("EXECSTORE_DEBUG", "1")
    assert "Traceback" in execstore_cli("stats").stderr


# --- as a program ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["stats"], 0), (["show", "nope"], 1), (["ls", "--bogus"], 2), (["--store", "/no/such", "ls"], 3)],
)
def test_the_program_exits_with_the_status(program: CommandLine, path: Path, arguments: list[str], status: int) -> None:
    result = program("--store", str(path), *arguments)
    assert result.status == status
    assert "Traceback" not in result.stderr


def test_the_default_store_is_in_the_current_folder(program: CommandLine, tmp_path: Path) -> None:
    assert program("init").status == 0
    assert (tmp_path / "execstore-data" / "FORMAT").exists()


def test_a_reader_that_goes_away_ends_it_quietly(path: Path, program_environment: dict[str, str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "execstore", "--store", str(path), "ls", "--json"]
    with subprocess.Popen(command, stdout=write_end, stderr=subprocess.PIPE, env=program_environment) as process:
        os.close(write_end)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_names_what_to_install(
    tmp_path: Path, program_environment: dict[str, str], missing: str
) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from execstore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=program_environment,
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'execstore[cli]'" in done.stderr


def test_json_is_utf8_whatever_the_locale(path: Path, program_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "execstore", "--store", str(path), "ls", "--json"],
        capture_output=True,
        check=True,
        env={**program_environment, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        timeout=60,
    )
    done.stdout.decode("utf-8")
