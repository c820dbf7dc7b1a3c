"""``examples/systemd`` and ``raspberry-pi.md``: valid units, commands that do what they say, files that exist."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execstore import ExecutionState, Store
from tests.examples.conftest import EXAMPLES
from tests.openmetrics import parse
from tests.support import PATIENCE_SECONDS, ROOT, make_execution, make_request

if TYPE_CHECKING:
    from pathlib import Path

UNITS = sorted((EXAMPLES / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
RECIPE = (EXAMPLES / "raspberry-pi.md").read_text()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that stands in for ``/``: the programs where the units look for them, and a store of five executions."""
    programs = tmp_path / "opt" / "execstore" / "venv" / "bin"
    programs.mkdir(parents=True)
    for folder in ("var/lib/execstore", "var/backups/execstore", "var/lib/prometheus/node-exporter"):
        (tmp_path / folder).mkdir(parents=True)
    for name, module in (("python", ""), ("execstore", "-m execstore")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {module} "$@"\n')
        program.chmod(0o755)
    shutil.copy(EXAMPLES / "edge_agent.py", tmp_path / "opt" / "execstore")
    with Store(tmp_path / "var/lib/execstore/store", clock=lambda: 1_760_000_000_000_000_000) as store:
        for number in range(5):
            store.create_execution(make_execution(f"e{number}"))
            store.update_execution_state(make_request(f"e{number}", ExecutionState.COMPLETED))
    return tmp_path


def below(root: Path, text: str) -> str:
    """A unit's text with its absolute paths below ``root``."""
    return re.sub(r"/(opt|var)/", rf"{root}/\1/", text)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_the_units_are_valid(installed: Path) -> None:
    folder = installed / "units"
    folder.mkdir()
    for unit in UNITS:
        (folder / unit.name).write_text(below(installed, unit.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(path) for path in folder.iterdir())],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    if "Failed to initialize manager" in done.stderr or "No such file or directory" in done.stderr:
        pytest.skip(f"systemd-analyze can't work here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def commands(unit: Path, root: Path) -> list[str]:
    """What a service runs, in order, as a shell would be given it."""
    lines = [line.partition("=") for line in unit.read_text().splitlines() if line.startswith("Exec")]
    order = {"ExecStartPre": 0, "ExecStart": 1, "ExecStartPost": 2}
    texts = [value for name, _, value in sorted(lines, key=lambda line: order[line[0]])]
    # systemd runs no shell, so each word is quoted; %% and $$ are its ways to write % and $.
    words = [
        [word.replace("%%", "%").replace("$$", "$").replace("%H", "host") for word in shlex.split(t)] for t in texts
    ]
    return [below(root, shlex.join(each)) for each in words]


def run(unit: str, root: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "EXECSTORE_DIR": str(root / "var/lib/execstore/store")}
    for command in commands(EXAMPLES / "systemd" / unit, root):
        subprocess.run(
            ["sh", "-c", command], check=True, env=environment, capture_output=True, timeout=PATIENCE_SECONDS
        )


def test_metrics_are_written_where_the_exporter_looks(installed: Path) -> None:
    run("execstore-metrics.service", installed)
    (file,) = (installed / "var/lib/prometheus/node-exporter").iterdir()
    assert file.name == "execstore.prom"
    assert parse(file.read_text())


def test_a_backup_is_made_and_old_ones_go(installed: Path) -> None:
    folder = installed / "var/backups/execstore"
    for name, days in (("store-2001-01-01.tar.gz", 20), ("store-2001-01-02.tar.gz", 3), ("other.tar.gz", 20)):
        (folder / name).touch()
        then = (folder / name).stat().st_mtime - days * 86400
        os.utime(folder / name, (then, then))
    run("execstore-backup.service", installed)
    names = sorted(path.name for path in folder.iterdir())
    assert names[:2] == ["other.tar.gz", "store-2001-01-02.tar.gz"]
    (new,) = names[2:]
    assert re.fullmatch(r"store-\d{4}-\d\d-\d\d\.tar\.gz", new)
    assert Store.restore(folder / new, installed / "restored").executions == 5


def test_what_ended_long_ago_goes(installed: Path) -> None:
    run("execstore-prune.service", installed)
    with Store(installed / "var/lib/execstore/store", read_only=True) as store:
        assert [each.id for each in store.list_executions()] == ["e2", "e3", "e4"]  # --keep-per-job 3
        assert store.verify().ok


def test_the_agent_takes_the_arguments_of_its_unit(installed: Path) -> None:
    (command,) = commands(EXAMPLES / "systemd" / "execstore-agent.service", installed)
    inbox = installed / "var/lib/execstore/inbox"
    inbox.mkdir()
    (inbox / "hello-1.json").write_text('{"Name": "hello", "Command": ["echo", "hello"]}')
    subprocess.run(["sh", "-c", f"{command} --once"], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    with Store(installed / "var/lib/execstore/store", read_only=True) as store:
        execution = store.get_execution("e-hello-1")
        assert (execution.node_id, execution.compute_state.state_type) == ("host", ExecutionState.COMPLETED)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_belong_together(unit: Path) -> None:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(unit)
    assert parsed["Unit"]["Description"]
    if unit.suffix == ".timer":
        assert unit.with_suffix(".service").exists()
        assert parsed["Install"]["WantedBy"] == "timers.target"
    else:
        assert (parsed["Service"]["User"], parsed["Service"]["NoNewPrivileges"]) == ("execstore", "yes")
    name = unit.name if unit.name == "execstore-agent.service" else unit.with_suffix(".timer").name
    assert re.search(rf"enable --now .*{name}", RECIPE)
    assert f"`{name}`" in RECIPE


def test_what_the_recipe_names_is_there() -> None:
    for name in re.findall(r"(?:examples|tests)/[\w/.-]+\.(?:py|md)", RECIPE):
        assert (ROOT / name).exists(), name
    assert "'.[cli,watch]'" in RECIPE


def test_what_is_written_can_be_measured(tmp_path: Path) -> None:
    import json

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "measure_writes.py"), str(tmp_path / "try"), "--executions", "20", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE_SECONDS,
    )
    assert not (tmp_path / "try").exists()
    if done.returncode:
        pytest.skip(f"the temporary folder is on no device to count for: {done.stderr}")
    results = json.loads(done.stdout)
    assert [each["changes"] for each in results] == [60, 60, 60]
    # Others may write to the same device meanwhile, so only the least is known; and of a device without a cache of its
    # own, which has nothing to flush, the kernel counts no flushes.
    assert results[0]["bytes_per_change"] > 500
    assert results[0]["flushes_per_change"] >= 0
