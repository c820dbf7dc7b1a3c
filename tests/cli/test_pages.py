"""Lists page by page, and colours: what each list has in common."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def _all_pages(ask: Callable[..., Any], last_of: Callable[[Any], str], *command: str) -> list[Any]:
    """What two a page come to, each page asked for behind the last one's end."""
    found: list[Any] = []
    after: tuple[str, ...] = ()
    while page := ask(*command, "--json", "--limit", "2", *after).json():
        assert len(page) <= 2
        found += page
        after = ("--after", last_of(page[-1]))
    return found


@pytest.fixture
def many(path: Path, ids: list[str]) -> str:
    """The ID of an execution with five revisions and six events."""
    with Store(path, durability="relaxed") as store:
        for number in range(4):
            running = Execution(compute_state=State(ExecutionState.RUNNING, f"step {number}"))
            store.update_execution_state(UpdateExecutionRequest(ids[1], running))
            store.add_execution_event(ids[1], Event("Test", f"event {number}"))
        store.create_execution(
            Execution(id="e-9", job_id="j-9", job={}, compute_state=State(ExecutionState.NEW)),
        )
    return ids[1]


def test_executions(execstore_cli: CommandLine, many: str) -> None:
    whole = execstore_cli("ls", "--json").json()
    assert _all_pages(execstore_cli, lambda each: str(each["ID"]), "ls") == whole
    assert len(whole) == 5


def test_jobs(execstore_cli: CommandLine, many: str) -> None:
    whole = execstore_cli("jobs", "--json").json()
    assert _all_pages(execstore_cli, lambda each: str(each["job_id"]), "jobs") == whole
    assert len(whole) == 3
    assert execstore_cli("jobs", "--json", "--after", whole[0]["job_id"][:3]).json() == whole[1:]
    unknown, ambiguous = execstore_cli("jobs", "--after", "nobody"), execstore_cli("jobs", "--after", "j-")
    assert (unknown.status, ambiguous.status) == (1, 2)
    assert "give more of the ID" in ambiguous.stderr


def test_events(execstore_cli: CommandLine, many: str) -> None:
    whole = execstore_cli("events", many, "--json").json()
    found: list[Any] = []
    while page := execstore_cli("events", many, "--json", "--limit", "2", "--after", str(len(found))).json():
        found += page
    assert found == whole
    assert len(whole) == 5


def test_revisions(execstore_cli: CommandLine, many: str) -> None:
    whole = execstore_cli("history", many, "--json").json()
    assert _all_pages(execstore_cli, lambda each: str(each["seq_num"]), "history", many) == whole
    assert len(whole) == 6
    behind = execstore_cli("history", many, "--after", "999")
    assert (behind.status, behind.stdout) == (0, "")
    assert f"no revision of {many} behind event 999" in behind.stderr


@pytest.mark.parametrize("command", [["jobs"], ["events", "e-1"], ["history", "e-1"], ["ls"]])
def test_limits_that_make_no_sense(execstore_cli: CommandLine, command: list[str]) -> None:
    for limit in ("0", "-1", "x"):
        result = execstore_cli(*command, "--limit", limit)
        assert (result.status, result.stdout, result.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("command", [["ls"], ["jobs"], ["watchers"], ["ls", "--live"], ["ls", "--after", "z"]])
def test_a_list_of_nothing_is_an_empty_list(execstore_cli: CommandLine, tmp_path: Path, command: list[str]) -> None:
    empty = ("--store", str(tmp_path / "empty"))
    execstore_cli(*empty, "init")
    result = execstore_cli(*empty, *command, "--json")
    assert (result.status, result.stdout, result.stderr) == (0, "[]\n", "")


def _on_terminal(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """What a program prints on a terminal of 80 columns."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "execstore", *arguments],
            cwd=folder,
            env={**environment, "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            theirs = -1
            output = b""
            while True:
                try:
                    more = os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
                if not more:
                    break
                output += more
        assert process.returncode == 0, output
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    return output.decode()


@pytest.mark.parametrize(
    "command",
    [["ls"], ["jobs"], ["show", "e-1"], ["history", "e-1"], ["stats"], ["prune", "--older-than", "0", "--dry-run"]],
)
def test_colours_are_for_terminals_that_want_them(
    path: Path, many: str, program_environment: dict[str, str], command: list[str]
) -> None:
    environment = {**program_environment, "TERM": "xterm-256color"}
    arguments = ("--store", str(path), *command)
    coloured = _on_terminal(path.parent, environment, *arguments)
    plain = _on_terminal(path.parent, {**environment, "NO_COLOR": "1"}, *arguments)
    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    # The same but for what passes meanwhile: ages, and what is free on the disk.
    assert _still(re.sub(r"\x1b\[[0-9;]*m", "", coloured)) == _still(plain)
    lines = plain.splitlines()
    assert command[0] in {"stats", "show"} or max(len(line) for line in lines) <= 80


def _still(text: str) -> str:
    return re.sub(r"\d+[smh] ago|now|[\d.]+ [KMGT]iB|\d+ inodes", "…", text).replace(" ", "")
