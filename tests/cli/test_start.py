"""What starting the command line loads: commands when they are used, rich when a terminal needs it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from execstore.cli.app import COMMANDS, cli

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def _loaded_by(environment: dict[str, str], *arguments: str) -> set[str]:
    script = (
        "import sys\n"
        "from execstore.cli.app import run\n"
        f"run({list(arguments)!r}, 'execstore')\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
    )
    return set(done.stderr.split())


def test_help_loads_no_command_and_no_rich(program_environment: dict[str, str]) -> None:
    loaded = _loaded_by(program_environment, "--help")
    assert "click" in loaded
    assert not {module for module, _ in COMMANDS.values()} & loaded
    assert not {name for name in loaded if name.partition(".")[0] == "rich"}


def test_a_command_loads_itself_alone(path: Path, program_environment: dict[str, str]) -> None:
    loaded = _loaded_by(program_environment, "--store", str(path), "ls")
    assert {module for module, _ in COMMANDS.values()} & loaded == {"execstore.cli.ls"}
    assert not {name for name in loaded if name.partition(".")[0] == "rich"}


def test_what_is_slow_to_load_is_left_to_those_who_need_it(path: Path, program_environment: dict[str, str]) -> None:
    """Each of these takes a good part of the time that `ls` does."""
    loaded = {name.partition(".")[0] for name in _loaded_by(program_environment, "--store", str(path), "ls")}
    slow = {"asyncio", "concurrent", "http", "multiprocessing", "shutil", "sqlite3", "ssl"}
    slow |= {"rich", "subprocess", "tempfile", "textual", "anyio", "opentelemetry", "pytest"}
    assert not slow & loaded


def test_the_library_does_not_load_the_command_line(program_environment: dict[str, str]) -> None:
    script = "import sys, execstore; print('click' in sys.modules, 'execstore.cli' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=program_environment,
        timeout=60,
    )
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_what_the_table_says(name: str, execstore_cli: CommandLine) -> None:
    module, short_help = COMMANDS[name]
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.name == name
    result = execstore_cli(name, "--help")
    assert (result.status, result.stderr) == (0, "")
    # The table's line and the command's own help must not tell different things; an example belongs to each.
    assert short_help.endswith(".")
    assert f"execstore {name}" in result.stdout or f" {name}\n" in result.stdout
    assert isinstance(command, click.Group) or "--json" in result.stdout


def test_the_help_lists_every_command(execstore_cli: CommandLine) -> None:
    text = execstore_cli("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)


def test_the_version_is_told(execstore_cli: CommandLine) -> None:
    result = execstore_cli("--version")
    assert (result.status, result.stdout.split()[0]) == (0, "execstore")


def test_colour_is_for_terminals_that_want_it(execstore_cli: CommandLine) -> None:
    assert "\x1b" not in execstore_cli("ls").stdout
