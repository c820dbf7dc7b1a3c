"""The fleet: a quick run of its simulation, and that its page says what was measured."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FLEET = ROOT / "examples" / "fleet"


def run(name: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FLEET / name), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("central", ["folder", "etcd"])
def test_a_small_fleet_comes_to_be_in_one_place(tmp_path: Path, central: str) -> None:
    if central == "etcd" and shutil.which("etcd") is None:
        pytest.skip("etcd isn't installed (Debian: apt-get install etcd-server)")
    arguments = ("--devices", "12", "--rounds", "5", "--seed", "7", "--central", central, "--json")
    outcome = json.loads(run("simulate.py", tmp_path, *arguments, "--folder", str(tmp_path / "stores")))
    assert outcome["wrong"] == 0
    assert outcome["executions"] > 12
    assert outcome["offline_rounds"] > 0
    assert outcome["cut_off"] > 0
    assert outcome["events"] >= 8 * outcome["executions"]


def test_it_can_be_measured(tmp_path: Path) -> None:
    measured = tmp_path / "measured.json"
    run("measure.py", tmp_path, "--executions", "2", "--central", "folder", "--output", str(measured))
    (run_of_one, *_) = json.loads(measured.read_text())["central"]["folder"]["by_forwarders"]
    assert (run_of_one["events"], run_of_one["executions"]) == (16, 2)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(FLEET))
    return runpy.run_path(str(FLEET / "model.py"))


def test_the_page_says_what_was_measured(model: dict[str, Any]) -> None:
    """As 'model.py --write' would."""
    text = (FLEET / "README.md").read_text()
    measured, simulated = (json.loads((FLEET / f"{name}.json").read_text()) for name in ("measured", "simulated"))
    assert text == model["fill"](text, model["sections"](measured, simulated))
    assert f"| etcd | 1 | 256 | {measured['central']['etcd']['by_forwarders'][0]['events_per_second']:,} |" in text


def test_the_model_multiplies(model: dict[str, Any]) -> None:
    unit = model["Unit"](events_a_second=1000.0, sent_bytes=10_000.0, stored_bytes=20_000.0)
    need = model["need"](10_000, model["Workload"]("hourly", 24), unit)
    assert need.events_a_second == pytest.approx(10_000 * 24 * 8 / 86_400)
    assert need.bytes_a_second == pytest.approx(10_000 * 24 * 10_000 / 86_400)
    assert need.kept_bytes == 10_000 * 24 * 7 * 20_000
    assert (need.stores, need.databases) == (1, 4)
