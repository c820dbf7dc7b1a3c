"""What the README shows is what happens."""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_do_what_the_readme_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert f"It prints `{done.stdout.strip()}`" in README
    assert sorted(path.name for path in (tmp_path / "my-store" / "executions").iterdir()) == ["e-1.json", "e-2.json"]
    assert (tmp_path / "my-store/idx_executions_by_state/Running/e-1").is_symlink(), "as the tree shows"


def test_every_call_that_is_named_is_there() -> None:
    from execstore import Store

    table = README[README.index("| to | call |") : README.index("## Examples")]
    names = [name.removeprefix("Store.") for name in re.findall(r"`((?:Store\.)?[a-z_]+)`", table)]
    assert len(names) >= 20
    assert [name for name in names if not hasattr(Store, name)] == []


def test_every_folder_of_the_tree_is_shown(tmp_path: Path) -> None:
    from execstore import Store

    Store(tmp_path / "store").close()
    tree = README[README.index("## The tree") : README.index("## The command line")]
    missing = [
        path.name
        for path in (tmp_path / "store").iterdir()
        if path.name.removesuffix(".flush").removesuffix(".handles") not in tree and path.name != "reserve"
    ]
    assert missing == []


def test_the_two_commands_are_single_lines() -> None:
    commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("execstore demo")
    assert commands[1].endswith("-m pytest")


def _commands() -> list[str]:
    """The lines that the README shows as they are typed, without what is said of them behind a #."""
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    lines = [re.split(r"\s{2,}#|\s# ", line[4:])[0].strip() for line in re.findall(r"^    \S.*$", text, re.MULTILINE)]
    return [line for line in lines if re.match(r"(execstore|etcdctl|jq|ls|cat|tail|find|python3?|pytest|pip)\b", line)]


# What a line needs that isn't there, or must not touch here, and what stands in for it; what has no end is given one.
_STAND_INS = {
    "/var/lib/prometheus/node-exporter/": "./",
    "tail -f ": "tail -n 3 ",
    "execstore watch ": "execstore watch --limit 1 ",
}
# Each of these is tried by tests of its own: by CI's run of the README's two commands, on a real etcd, on a terminal.
_ELSEWHERE = {"python3 -m venv": ".ci/run", "etcd": "tests/etcd", "execstore top": "tests/top"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader could be: with the stores and files that the README's lines name."""
    from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest

    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "execstore"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m execstore "$@"\n')
    program.chmod(0o755)
    (tmp_path / "yesterday").touch()
    os.utime(tmp_path / "yesterday", (0, 0))
    for name in ("my-store", "execstore-data"):
        with Store(tmp_path / name, durability="relaxed") as store:
            for execution_id in ("e-1", "e-1f3a"):
                state = State(ExecutionState.BID_ACCEPTED)
                execution = Execution(id=execution_id, job_id="j-1", job={"Name": "hello"}, compute_state=state)
                store.create_execution(execution, Event("Execution", "created"))
            store.event_store.store_checkpoint("mailer", 1)
            running = Execution(compute_state=State(ExecutionState.RUNNING))
            store.update_execution_state(UpdateExecutionRequest("e-1", running))
    (tmp_path / "new.json").write_text(json.dumps([execution.replace(id="e-2").to_dict()]))
    (tmp_path / "compute").mkdir()
    database = lzma.decompress((ROOT / "tests/data/bacalhau-executions.db.xz").read_bytes())
    (tmp_path / "compute" / "executions.db").write_bytes(database)
    return tmp_path


@pytest.mark.parametrize("command", _commands())
def test_every_command_works(folder: Path, command: str) -> None:
    for beginning, place in _ELSEWHERE.items():
        if beginning in command:
            assert (ROOT / place).exists()
            pytest.skip(f"it is tried by {place}")
    if "jq" in command and shutil.which("jq") is None:
        pytest.skip("jq isn't installed")
    alternatives = re.search(r"[\w-]+(\|[\w-]+)+", command) if "ADDRESS" in command else None
    if alternatives is not None:  # a summary of many commands
        lines = [f"execstore {name} --help" for name in alternatives[0].split("|")]
    else:
        lines = [command]
    for line in lines:
        for shown, instead in _STAND_INS.items():
            line = line.replace(shown, instead)
        if line.startswith("execstore import"):
            line = line.replace("execstore ", "execstore --store imported ", 1)
        if line.startswith("execstore restore"):
            line = f"execstore backup monday.tar && {line}"
        environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        environment.pop("EXECSTORE_DIR", None)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), (line, done.stderr)
        assert done.stdout or "export" in line or "--textfile" in line or line.endswith(" init")


def test_there_are_commands_to_try() -> None:
    assert len([command for command in _commands() if "execstore" in command]) >= 12


def test_links_lead_to_files() -> None:
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    documents += sorted((ROOT / "examples").rglob("*.md")) + sorted((ROOT / "execstore").rglob("*.md"))
    for document in documents:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("https://") or (document.parent / target).exists(), (document, target)
