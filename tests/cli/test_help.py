"""Completion, the manual page, and that every example of the help does what it shows."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click
import pytest

from execstore import Event, Execution, ExecutionState, State, Store
from execstore.cli.app import COMMANDS, cli
from tests.support import DATA, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import CommandLine

_AS_INSTALLED = "import sys; sys.argv[0] = 'execstore'; from execstore.cli import main; main()"


# --- completion -----------------------------------------------------------------------------------------------------


def complete(environment: dict[str, str], folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    variables = {
        "_EXECSTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["execstore", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", _AS_INSTALLED],
        env={**environment, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sta"], ["stats"]),
        (["ad"], ["add-event"]),
        (["--st"], ["--store"]),
        (["watchers", "re"], ["remove"]),
        (["show", "--js"], ["--json"]),
        (["ls", "--state", "bid"], ["BidAccepted", "BidRejected"]),
        (["prune", "--state", "Fa"], ["Failed"]),
        (["completion", "z"], ["zsh"]),
        (["show", "nope"], []),
    ],
)
def test_a_line_is_completed(
    path: Path, tmp_path: Path, program_environment: dict[str, str], words: list[str], offered: list[str]
) -> None:
    assert complete({**program_environment, "EXECSTORE_DIR": str(path)}, tmp_path, *words) == offered


def test_ids_are_completed_from_the_store_that_is_meant(
    path: Path, tmp_path: Path, ids: list[str], program_environment: dict[str, str]
) -> None:
    environment = {**program_environment, "EXECSTORE_DIR": str(path)}
    for command in ("show", "events", "history", "update", "delete", "add-event"):
        assert complete(environment, tmp_path, command, "e-2") == [ids[2]]
    assert complete(environment, tmp_path, "delete", ids[0], "") == ids
    assert complete(program_environment, tmp_path, "--store", str(path), "show", "e-1") == [ids[1]]
    assert complete(program_environment, tmp_path, "show", "e-1") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(execstore_cli: CommandLine, tmp_path: Path, shell: str) -> None:
    result = execstore_cli("completion", shell)
    assert (result.status, result.stderr) == (0, "")
    assert f"_EXECSTORE_COMPLETE={shell}_complete" in result.stdout
    document = execstore_cli("completion", shell, "--json").json()
    assert (document["shell"], document["script"] + "\n") == (shell, result.stdout)
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(result.stdout)
        subprocess.run([shell, "-n", str(script)], check=True, timeout=60)


# --- the manual page ------------------------------------------------------------------------------------------------


def commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=ctx)
        yield inner.command_path, command
        if isinstance(command, click.Group):
            yield from commands(command, inner)


ALL_COMMANDS = list(commands(cli, click.Context(cli, info_name="execstore")))


def test_the_manual_page_has_every_command_and_option(execstore_cli: CommandLine) -> None:
    page = execstore_cli("man").stdout
    assert execstore_cli("man", "--json").json()["page"] == page
    plain = page.replace(r"\-", "-")
    sections = dict(zip(*[iter(re.split(r"^\.S[SH] (.*)\n", plain, flags=re.MULTILINE)[1:])] * 2, strict=True))
    for command_path, command in ALL_COMMANDS:
        title = re.compile(rf"{re.escape(command_path)}( [\[A-Z].*)?")
        (section,) = [text for name, text in sections.items() if title.fullmatch(name)]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert rf"\fB{parameter.opts[0]}" in section
    assert {"NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "ENVIRONMENT", "EXIT STATUS"} <= set(sections)


def test_the_manual_page_is_good_roff(execstore_cli: CommandLine) -> None:
    page = execstore_cli("man").stdout
    for line in page.splitlines():
        assert line.isascii()
        assert not line.startswith("'")
        assert not line.startswith(".") or re.match(r"\.(TH|SH|SS|PP|TP|B|nf|fi)\b", line)
    assert page.count(".nf\n") == page.count(".fi\n")
    groff = shutil.which("groff")
    if groff is not None:
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-P-cbou", "-ww"],
            input=page.encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stderr == b""
        assert b"EXIT STATUS" in done.stdout


# --- every example --------------------------------------------------------------------------------------------------


def examples(command: click.Command) -> list[str]:
    """The lines of a command's help that are shown as they are typed."""
    blocks = [block for block in (command.help or "").split("\n\n") if block.lstrip().startswith("\b")]
    lines = [line.strip() for block in blocks for line in block.splitlines()[1:]]
    return [re.split(r"  +", line)[0] for line in lines if "execstore" in line]


EXAMPLES = [("execstore", example) for example in examples(cli)] + [
    (command_path, example) for command_path, command in ALL_COMMANDS for example in examples(command)
]

# What a line needs that isn't there, or must not touch here, and what stands in for it.
_STAND_INS = {
    "ssh elsewhere": "sh -c",
    "/var/lib/prometheus/node-exporter/": "./",
    "~/.local/share/bash-completion/completions/": "./",
    "~/.zfunc/": "./",
    "~/.config/fish/completions/": "./",
    "/tmp/mine": "mine",
    "datasette": "test -s",
    "~/.bacalhau/compute/": "./",
    # What has no end is given one, and something to print.
    "execstore watch --from trim-horizon": "execstore watch --from trim-horizon --limit 1",
    "execstore watch --json": "execstore watch --from trim-horizon --limit 1 --json",
}
# What another line has to make first.
_BEFORE = {
    "restore store.tar.gz": "execstore backup store.tar.gz",
    "execstore --store a export": "execstore backup - | execstore --store a restore -",
    "mine --jobs my-jobs/": "mkdir my-jobs && cp one-job.json my-jobs/",
}
# These take long, or need a terminal; each has tests of its own.
_ELSEWHERE = ("execstore bench ", "execstore top ")


@pytest.fixture
def shell_folder(tmp_path: Path, program_environment: dict[str, str]) -> Path:
    """A folder with a store, an ``execstore`` to call, and the files that examples name."""
    folder = tmp_path / "examples"
    programs = tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    script = programs / "execstore"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m execstore "$@"\n')
    script.chmod(0o755)
    with Store(folder / "execstore-data", durability="relaxed") as store:
        for execution_id in ("e-1f3a", "e-2b"):
            state = State(ExecutionState.BID_ACCEPTED if execution_id == "e-1f3a" else ExecutionState.NEW)
            execution = Execution(id=execution_id, job_id="j-1", job={"Name": "hello"}, compute_state=state)
            store.create_execution(execution, Event("Execution", "created"))
        store.event_store.store_checkpoint("w-1", 1)
        new = execution.replace(id="x")
    (folder / "execution.json").write_bytes(_json(new))
    (folder / "executions.json").write_bytes(b"[" + _json(new.replace(id="y")) + b"]")
    (folder / "executions.db").write_bytes(lzma.decompress((DATA / "bacalhau-executions.db.xz").read_bytes()))
    shutil.copy(ROOT / "examples" / "jobs" / "exit-code-3.json", folder / "one-job.json")
    return folder


def _json(execution: Execution) -> bytes:
    from execstore.codec import encode

    return encode(execution.to_dict())


@pytest.mark.parametrize(("command_path", "example"), EXAMPLES)
def test_every_example_works(
    shell_folder: Path, program_environment: dict[str, str], command_path: str, example: str
) -> None:
    if f"{command_path} ".startswith(_ELSEWHERE) or f"{example} ".startswith(_ELSEWHERE):
        pytest.skip("it has tests of its own")
    if "jq" in example and shutil.which("jq") is None:
        pytest.skip("jq isn't installed")
    for shown, instead in _STAND_INS.items():
        example = example.replace(shown, instead)
    for shown, first in _BEFORE.items():
        if shown in example:
            example = f"{first} && {example}"
    if "--expect-revision 2" in example:
        with Store(shell_folder / "execstore-data") as store:
            from execstore import UpdateExecutionRequest

            running = Execution(compute_state=State(ExecutionState.RUNNING))
            store.update_execution_state(UpdateExecutionRequest("e-1f3a", running))
    for name in re.findall(r"execstore --store (\w+) (?:ls|verify)", example):  # what the line before it has made
        Store(shell_folder / name).close()
    environment = {
        **program_environment,
        "PATH": f"{shell_folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "USER": "me",
    }
    done = subprocess.run(
        ["sh", "-c", example],
        cwd=shell_folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_each_command_shows_an_example() -> None:
    shown = {command_path for command_path, _ in EXAMPLES}
    for name in COMMANDS:
        assert any(path.startswith(f"execstore {name}") for path in shown), name
        assert import_module(COMMANDS[name][0]).command.name == name
