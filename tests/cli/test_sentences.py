"""What is said of a store that isn't there or isn't open to one, and of a line that is nearly right."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from execstore.cli.app import run
from execstore.cli.sentences import sentence_of
from execstore.errors import StoreNotFoundError, StoreReadOnlyError
from tests.support import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import CommandLine

NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can do something as another user"
)


# --- no store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["ls"], ["verify"], ["delete", "x"], ["repair"], ["backup", "-"], ["gc"]])
def test_where_there_is_no_store_the_command_that_makes_one_is_told(
    execstore_cli: CommandLine, tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "none"
    result = execstore_cli("--store", str(path), *arguments)
    remedy = f"make one with 'execstore --store {path} init', or check the path"
    assert (result.status, result.stderr) == (3, f"execstore: {path}: there is no store; {remedy}\n")
    assert not path.exists()


def test_the_command_that_is_told_makes_the_store(execstore_cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "two words"
    said = execstore_cli("--store", str(path), "ls").stderr
    command = said.split("'")[1].replace("execstore", f'"{sys.executable}" -m execstore', 1)
    subprocess.run(["sh", "-c", command], check=True, timeout=60, stderr=subprocess.PIPE)
    assert execstore_cli("--store", str(path), "ls").status == 0


def test_what_init_would_not_mend_is_said_in_the_library_s_words() -> None:
    error = StoreNotFoundError("memory:x", "there is no such store in this process")
    assert sentence_of(error) == str(error)


# --- no right -------------------------------------------------------------------------------------------------------


def as_nobody(*arguments: str) -> tuple[int, str]:
    """The status and what is said where another user runs it."""
    run(arguments, "execstore")  # imports what is needed: another user may not read where Python is
    sentence_of(denied("/"))

    def work() -> object:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        status = run(arguments, "execstore")
        return json.dumps([status, sys.stderr.getvalue()])

    status, said = json.loads(in_child(work))
    return status, said


def denied(place: str) -> StoreReadOnlyError:
    """What the library says where the system refuses ``place``."""
    error = StoreReadOnlyError("/", f"{place}: Operation not permitted; make it writable for this user")
    error.__cause__ = PermissionError(errno.EPERM, "Operation not permitted", place)
    return error


@pytest.fixture
def open_path(path: Path) -> Iterator[Path]:
    """A copy of the store that everybody may read, in a place where everybody may go."""
    folder = Path(tempfile.mkdtemp(prefix="execstore-test-"))
    folder.chmod(0o755)
    copy = folder / "store"
    shutil.copytree(path, copy, symlinks=True)
    for parent, _, names in os.walk(copy):
        os.chmod(parent, 0o755)
        for name in names:
            os.chmod(os.path.join(parent, name), 0o644)
    try:
        yield copy
    finally:
        shutil.rmtree(folder)


WHO = "belongs to root, with mode {mode}; run this as root, or ask root for access\n"


@needs_root
@pytest.mark.parametrize("command", ["ls", "verify", "stats", "gc", "init"])
def test_who_may_read_is_told(open_path: Path, command: str) -> None:
    open_path.chmod(0o700)
    who = WHO.format(mode="0700")
    said = f"execstore: {open_path} can't be read: Permission denied; {open_path} {who}"
    assert as_nobody("--store", str(open_path), command) == (3, said)


@needs_root
def test_a_store_that_can_t_be_seen_is_not_said_to_be_missing(open_path: Path) -> None:
    open_path.parent.chmod(0o700)
    who = WHO.format(mode="0700")
    said = f"execstore: {open_path} can't be read: Permission denied; {open_path.parent} {who}"
    assert as_nobody("--store", str(open_path), "ls") == (3, said)


@needs_root
def test_a_file_that_can_t_be_read_is_named(open_path: Path) -> None:
    (open_path / "head").chmod(0o600)
    who = WHO.format(mode="0600")
    said = f"execstore: {open_path} can't be read: head: Permission denied; {open_path / 'head'} {who}"
    assert as_nobody("--store", str(open_path), "ls") == (3, said)


@needs_root
def test_who_may_write_is_told_to_those_who_may_only_read(open_path: Path, ids: list[str]) -> None:
    assert as_nobody("--store", str(open_path), "ls") == (0, "")
    status, said = as_nobody("--store", str(open_path), "update", ids[0], "--message", "m")
    assert (status, said.partition(": Permission")[0]) == (3, f"execstore: {open_path} can't be changed: lock")
    assert said.endswith(f"; {open_path / 'lock'} {WHO.format(mode='0644')}")


def test_a_read_only_disk_can_still_be_read() -> None:
    error = StoreReadOnlyError("/s", "lock: Read-only file system; make it writable for this user")
    error.__cause__ = OSError(errno.EROFS, "Read-only file system", "lock")
    assert sentence_of(error) == "/s can't be changed: lock: Read-only file system; commands that only read can be used"
    plain = StoreReadOnlyError("/s")
    assert sentence_of(plain) == str(plain)


def test_the_owner_is_told_what_to_change(path: Path) -> None:
    assert sentence_of(denied(str(path / "lock"))).endswith("; change that (chmod, chattr)")


# --- a line that is nearly right --------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["import", "export"])
def test_a_group_without_a_command_shows_its_help(execstore_cli: CommandLine, group: str) -> None:
    result = execstore_cli(group)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr == execstore_cli(group, "--help").stdout
    assert result.stderr.startswith(f"Usage: execstore {group} [OPTIONS] COMMAND [ARGS]...\n\n")


@pytest.mark.parametrize("command", [[], ["ls"], ["import"], ["import", "jsonl"]])
def test_help_is_a_command_too(execstore_cli: CommandLine, command: list[str]) -> None:
    result = execstore_cli("help", *command)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == execstore_cli(*command, "--help").stdout
    assert result.stdout.startswith("Usage: execstore ")


def test_help_for_no_command(execstore_cli: CommandLine) -> None:
    result = execstore_cli("help", "nope")
    assert (result.status, result.stderr) == (2, "execstore: No such command 'nope'; see 'execstore --help'\n")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("--json ls", "ls --json"),
        ("--utc ls", "ls --utc"),
        ("--json watchers", "watchers --json"),
        ("--json import jsonl f", "import jsonl --json"),
        ("--json", "COMMAND --json"),
        ("--json nope", "COMMAND --json"),
    ],
)
def test_an_option_before_the_command_is_sent_behind_it(execstore_cli: CommandLine, line: str, place: str) -> None:
    result = execstore_cli(*line.split())
    option = line.partition(" ")[0]
    behind = f"execstore: {option} goes behind the command's name, as in 'execstore {place}'; see 'execstore --help'\n"
    assert (result.status, result.stderr) == (2, behind)


@pytest.mark.parametrize("line", ["--nope ls", "--live", "--live verify"])
def test_an_option_of_no_such_command_is_none(execstore_cli: CommandLine, line: str) -> None:
    result = execstore_cli(*line.split())
    assert result.status == 2
    assert result.stderr.startswith(f"execstore: No such option '{line.partition(' ')[0]}'")


def test_a_question_keeps_its_mark(execstore_cli: CommandLine) -> None:
    said = execstore_cli("ls", "--utcc").stderr
    assert said == "execstore ls: No such option '--utcc'. Did you mean '--utc'? See 'execstore ls --help'\n"
