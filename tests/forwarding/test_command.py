"""``execstore forward`` and the fleet's views, as programs: killed, ended, and what they print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import execstore
from execstore import ExecutionState, Store
from execstore.cli.app import run
from execstore.forwarding import load_streams
from tests.forwarding.support import as_node, content, messages, stream_of
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from tests.conftest import StoreFactory

_PATIENCE_SECONDS = 60


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(execstore.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "execstore", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def number_of(central: Path) -> int:
    """How far a central store is, that needn't be there yet."""
    if not (central / "FORMAT").exists():
        return 0
    with Store(central, read_only=True) as store:
        streams = store.look(load_streams)
        return streams[0].sequence_number if streams else 0


def wait_until(central: Path, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while number_of(central) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def work(store: Store, first: int, last: int) -> None:
    for number in range(first, last):
        store.create_execution(make_execution(f"e{number:03}"), make_event(f"{number} a"), make_event(f"{number} b"))
        store.update_execution_state(make_request(f"e{number:03}", ExecutionState.RUNNING, make_event(f"{number} c")))


def test_killed_again_and_again_it_brings_everything_once(open_store: StoreFactory) -> None:
    device = open_store("device", durability="relaxed", small=False)
    source, central = open_store.path("device"), open_store.path("central")
    work(device, 0, 1)  # so that it begins with the log, which the central one is compared with
    for life in range(4):
        process = start("forward", "--from", source, "--to", central, "--node", "n1", "--batch", "2")
        try:
            work(device, life * 15 + 1, life * 15 + 16)
            wait_until(central, number_of(central) + 10, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=_PATIENCE_SECONDS)
    last = start("forward", "--from", source, "--to", central, "--node", "n1", "--once", "--json")
    output, errors = last.communicate(timeout=_PATIENCE_SECONDS)
    assert (last.returncode, json.loads(output)["lag"]) == (0, 0), errors
    with Store(central) as store:
        assert content(store) == as_node(device, "n1")
        told = messages(store)
        assert len(told) == len(set(told))


def test_sigterm_ends_it_quietly(open_store: StoreFactory) -> None:
    device = open_store("device", durability="relaxed")
    source, central = open_store.path("device"), open_store.path("central")
    work(device, 0, 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("forward", "--from", source, "--to", central, "--node", "n1")
        work(device, 10 * number, 10 * number + 3)
        latest = device.event_store.get_latest_event_num()
        wait_until(central, latest, process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=_PATIENCE_SECONDS)
        assert (process.returncode, errors) == (0, "")
        assert output.startswith("node n1: up to event ")
    assert device.event_log_status().watchers[0].lag == 0


# --- in this process ------------------------------------------------------------------------------------------------


@pytest.fixture
def central(open_store: StoreFactory, capsys: pytest.CaptureFixture[str]) -> Path:
    """Two nodes' executions, one ID of which both have."""
    path = open_store.path("central")
    for node, ids in (("n1", ("a", "same")), ("n2", ("b", "same"))):
        device = open_store(node, durability="relaxed")
        for execution_id in ids:
            device.create_execution(make_execution(execution_id), make_event(f"{execution_id} of {node}"))
        device.update_execution_state(make_request(ids[0], ExecutionState.RUNNING))
        status = run(["forward", "--from", str(open_store.path(node)), "--to", str(path), "--node", node, "--once"])
        assert status == (node == "n2")
    captured = capsys.readouterr()
    assert "execution same of node n2 was left out: node n1 has one of this ID" in captured.err
    assert "node n1: up to event 5, 0 to come; 5 events brought" in captured.out
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def test_ls_of_a_node(central: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = printed(capsys, "--store", central, "ls")
    assert [line.split()[:2] for line in everything.splitlines()] == [
        ["ID", "NODE"],
        ["a", "n1"],
        ["b", "n2"],
        ["same", "n1"],
    ]
    assert "NODE" not in printed(capsys, "--store", central, "ls", "--node", "n1")
    for options in ((), ("--live",)):
        found = json.loads(printed(capsys, "--store", central, "ls", "--node", "n2", "--json", *options))
        assert [each["ID"] for each in found] == ["b"]


def test_stats_of_a_fleet(central: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "2 forwarded, the last one " in printed(capsys, "--store", central, "stats")
    assert json.loads(printed(capsys, "--store", central, "stats", "--json"))["forwarded_nodes"] == 2
    statuses = json.loads(printed(capsys, "--store", central, "stats", "--by-node", "--json"))
    assert [(each["node"], each["executions"], each["live"]) for each in statuses] == [("n1", 2, 1), ("n2", 1, 1)]
    assert statuses[0]["forwarded"]["sequence_number"] == 5
    assert statuses[1]["forwarded"]["conflicts"] > 0
    table = printed(capsys, "--store", central, "stats", "--node", "n2")
    assert [line.split()[:3] for line in table.splitlines()] == [["NODE", "EXECUTIONS", "LIVE"], ["n2", "1", "1"]]
    assert "left out" in table


def test_watch_of_a_node(central: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched = printed(
        capsys, "--store", central, "watch", "--from", "trim-horizon", "--node", "n2", "--limit", "3", "--json"
    )
    events = [json.loads(line) for line in watched.splitlines()]
    assert [event["objectType"] for event in events] == ["ExecutionEvent", "ExecutionUpsert", "ExecutionUpsert"]
    assert events[0]["object"]["ExecutionID"] == "b"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--to", "central"), 2, "give the node's name (--node NAME)"),
        (("--to", "device", "--node", "n1"), 2, "the store that is to be forwarded"),
        (("--to", "elsewhere://central", "--node", "n1"), 2, "nothing here opens elsewhere://"),
        (("--from", "nowhere", "--to", "central", "--node", "n1"), 3, "nowhere: there is no store"),
        (("--to", "central", "--node", "n1", "--max-bytes-per-second", "fast"), 2, "write it like 65536, 64k or 2M"),
        (("--node", "n1"), 2, "Missing option '--to'"),
    ],
)
def test_bad_input(
    open_store: StoreFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    open_store("device")
    monkeypatch.chdir(open_store.folder)
    assert run(["--store", "device", "forward", "--once", *options]) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_replaced_store_takes_a_word(open_store: StoreFactory, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        open_store(name).create_execution(make_execution(name))
    central = open_store.path("central")
    line = ["forward", "--to", str(central), "--node", "n1", "--once", "--from"]
    assert run([*line, str(open_store.path("one"))]) == 0
    assert run([*line, str(open_store.path("other"))]) == 1
    assert "--resync" in capsys.readouterr().err
    assert run([*line, str(open_store.path("other")), "--resync", "--keep-ended"]) == 0
    with Store(central) as store:
        assert set(content(store)) == {"other"}
        assert stream_of(store).source_id == open_store("other").store_id
