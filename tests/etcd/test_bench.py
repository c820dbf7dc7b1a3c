"""``execstore bench etcd``: it measures what it says, and leaves nothing behind. How fast it is decides nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execstore.bench.etcd import own_server
from tests.etcd.server import etcdctl
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def run_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "execstore", "bench", "etcd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_it_measures_and_leaves_nothing(endpoint: str) -> None:
    before = etcdctl(endpoint, "get", "--prefix", "", "--keys-only")
    done = run_bench("--quick", "--json", "--at", endpoint)
    assert done.returncode == 0, done.stderr
    found = {(each["name"], each["unit"]): each for each in map(json.loads, done.stdout.splitlines())}
    assert list(found) == [
        ("create", "µs"),
        ("update", "µs"),
        ("get", "µs"),
        ("list of 10", "µs"),
        ("list of 10", "round trips"),
        ("creates", "a second"),
        ("watch", "ms"),
    ]
    for name in ("create", "update", "get"):
        values = found[name, "µs"]["values"]
        assert values["times the bare"] == pytest.approx(values["ours"] / values["bare"])
        assert values["bare"] > 10
    assert found["list of 10", "round trips"]["values"] == {"most": 1.0, "the first time by another handle": 2.0}
    assert etcdctl(endpoint, "get", "--prefix", "", "--keys-only") == before


def test_a_server_of_its_own(tmp_path: Path) -> None:
    if shutil.which("etcd") is None:
        pytest.skip("etcd isn't installed (Debian: apt-get install etcd-server etcd-client)")
    with own_server(str(tmp_path)) as endpoint:
        assert etcdctl(endpoint, "endpoint", "health", "--write-out=json")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_etcd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="install etcd-server, or name a running one"), own_server():
        pass


def test_where_no_server_is() -> None:
    done = run_bench("--at", "127.0.0.1:1")
    assert done.returncode == 3
    assert "can't be reached" in done.stderr
    assert "Traceback" not in done.stderr
