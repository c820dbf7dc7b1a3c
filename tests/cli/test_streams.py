"""Standard streams that are closed or full: said as what they are, and never a file of the store's in their place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.cli.streams import is_closed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Program = Callable[..., tuple[int, str, str]]

EXECUTION = {"ID": "x", "JobID": "j", "Job": {}, "ComputeState": {"StateType": "New"}}


@pytest.fixture
def run(path: Path, program_environment: dict[str, str]) -> Program:
    """Run a command line through a shell that redirects its streams, which Python buffers or doesn't."""

    def run_there(redirections: str, *arguments: str, unbuffered: str = "") -> tuple[int, str, str]:
        environment = {**program_environment, "PYTHONUNBUFFERED": unbuffered, "EXECSTORE_DIR": str(path)}
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "execstore", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=path.parent,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run_there


@pytest.fixture
def document(tmp_path: Path) -> str:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(EXECUTION))
    return str(file)


def stored_ids(path: Path) -> set[str]:
    with Store(path, read_only=True) as store:
        return {execution.id for execution in store.list_executions()}


# --- closed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_not_missed(run: Program, path: Path, document: str, closed: str) -> None:
    assert run(closed, "ls")[::2] == (0, "")
    assert run(closed, "create", document)[::2] == (0, "")
    assert "x" in stored_ids(path)
    status, _, said = run(closed, "show", "nope")
    assert (status, said) == (1, "" if "2>&-" in closed else "execstore: execution not found: nope\n")


@pytest.mark.parametrize(
    "arguments", [("create", "-"), ("update", "x", "--new-values", "-"), ("import", "jsonl", "-"), ("restore", "-")]
)
def test_nothing_is_read_from_a_closed_stdin(run: Program, arguments: tuple[str, ...]) -> None:
    status, printed, said = run("<&-", *arguments)
    assert (status, printed, said.count("\n")) == (2, "", 1)
    assert "standard input is closed; see '" in said


@pytest.mark.parametrize("arguments", [("backup", "-"), ("export", "jsonl", "-"), ("export", "sqlite", "-")])
def test_no_copy_goes_to_a_closed_stdout(run: Program, arguments: tuple[str, ...]) -> None:
    status, _, said = run(">&-", *arguments)
    assert (status, said.count("\n")) == (2, 1)
    assert "standard output is closed; see '" in said


def test_an_empty_stdin_is_not_a_closed_one(run: Program) -> None:
    assert run("</dev/null", "create", "-") == (0, "", "nothing to create\n")
    assert not is_closed(sys.__stdin__)


def test_no_other_file_gets_the_place_of_a_stream(program_environment: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import os; from execstore.cli.streams import prepare; prepare()\n"
        f"opened = os.open({str(tmp_path / 'opened')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "os.write(opened, f'{opened} {[os.get_inheritable(number) for number in range(3)]}'.encode())\n"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    subprocess.run(command, check=True, env=program_environment, timeout=60)
    opened, _, inheritable = (tmp_path / "opened").read_text().partition(" ")
    assert int(opened) > 2
    assert inheritable == "[True, True, True]"


# --- full -----------------------------------------------------------------------------------------------------------

FULL = "execstore: standard output: No space left on device"

needs_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@needs_full_device
@pytest.mark.parametrize("arguments", [("ls",), ("ls", "--json"), ("--version",), ("help",), ("export", "jsonl", "-")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stdout_is_not_taken_for_the_store_s_disk(
    run: Program, arguments: tuple[str, ...], unbuffered: str
) -> None:
    assert run(">/dev/full", *arguments, unbuffered=unbuffered) == (3, "", f"{FULL}\n")


@needs_full_device
def test_what_was_changed_is_said_where_stdout_is_full(
    run: Program, path: Path, ids: list[str], document: str, tmp_path: Path
) -> None:
    def said(*arguments: str) -> str:
        status, printed, said = run(">/dev/full", *arguments)
        assert (status, printed) == (3, "")
        assert said.startswith(f"{FULL}; ")
        return said.removeprefix(f"{FULL}; ").rstrip("\n")

    assert said("create", document) == "x was created, nothing behind it"
    assert said("update", "x", "--state", "Running") == "x was updated"
    assert said("add-event", "x", "--topic", "t", "--message", "m") == "the event was added to x"
    assert said("delete", "x") == "x was deleted"
    assert said("delete", ids[0], ids[1]) == "all 2 were deleted"
    assert said("prune", "--older-than", "0") == "2 executions were removed"
    assert stored_ids(path) == set()
    assert said("gc", "--older-than", "0").endswith(" events were removed")
    assert said("repair") == "0 things were mended"
    assert said("--store", str(tmp_path / "new"), "init", "--json") == "the store was created"
    forwarding = ("forward", "--to", str(tmp_path / "central"), "--node", "n-1", "--once")
    assert said(*forwarding).endswith(" events were brought")
    assert said("copy", str(path), str(tmp_path / "copy")) == "the copy was made"
    with Store(path) as store:
        store.event_store.store_checkpoint("w", 1)
        assert run("", "backup", str(tmp_path / "b.tar"))[0] == 0
    assert said("watchers", "remove", "w") == "w was removed"
    assert said("--store", str(tmp_path / "restored"), "restore", str(tmp_path / "b.tar")) == "the store was restored"
    for made in ("new", "central", "copy", "restored"):
        with Store(tmp_path / made, read_only=True) as store:
            assert store.verify().ok


@needs_full_device
def test_what_was_not_changed_is_not_said_to_be(run: Program, path: Path, ids: list[str]) -> None:
    assert run(">/dev/full", "prune", "--older-than", "0", "--dry-run") == (3, "", f"{FULL}\n")
    assert stored_ids(path) == set(ids)


@needs_full_device
def test_create_ends_at_the_first_it_can_t_tell_of(run: Program, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps([EXECUTION, {**EXECUTION, "ID": "y"}]))
    assert run(">/dev/full", "create", str(file)) == (3, "", f"{FULL}; x was created, nothing behind it\n")
    assert {"x", "y"} & stored_ids(path) == {"x"}


@needs_full_device
def test_a_full_stderr_leaves_the_status(run: Program) -> None:
    assert run("2>/dev/full", "show", "nope") == (1, "", "")
    assert run("2>/dev/full", "ls", "--nope") == (2, "", "")
