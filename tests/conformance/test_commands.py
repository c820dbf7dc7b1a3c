"""The command line on each engine: every command takes an address, and what needs files says so with exit status 3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, connect
from execstore.cli.app import run
from execstore.memory import forget
from tests.support import docker_execution, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conformance.conftest import Stores
    from tests.conformance.engines import Place

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def address(place: Place, tmp_path: Path, open_store: Stores) -> Iterator[str]:
    """The address of a store with two executions; in this process one in memory has one, too."""
    found = place.address("store") or f"memory:{tmp_path.name}"
    with connect(found) as store:
        store.create_execution(make_execution("e-1"), make_event("made"))
        store.create_execution(make_execution("e-2", "job2"))
        store.update_execution_state(make_request("e-2", ExecutionState.FAILED))
        store.event_store.store_checkpoint("mailer", 2)
    yield found
    with connect(found, read_only=True) as store:
        assert store.verify().ok
    forget(tmp_path.name)


@pytest.fixture
def run_on(address: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line with ``--store ADDRESS``; returns its status, stdout and stderr."""

    def run_here(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(["--store", address, *arguments], "execstore")
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_here


def test_commands_that_look(run_on: Run) -> None:
    def document(*arguments: str) -> Any:
        status, out, err = run_on(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    assert {each["ID"] for each in document("ls")} == {"e-1", "e-2"}
    assert [each["ID"] for each in document("ls", "--state", "failed")] == ["e-2"]
    assert document("show", "e-1")[0]["JobID"] == "job1"
    assert [each["Message"] for each in document("events", "e-1")] == ["made"]
    assert {each["job_id"] for each in document("jobs")} == {"job1", "job2"}
    stats = document("stats")
    assert (stats["executions"], stats["live"], stats["latest_event"]) == (2, 0, 4)
    assert [each["watcher_id"] for each in document("watchers")] == ["mailer"]
    assert [each["operation"] for each in document("history", "e-2")] == ["CREATE", "UPDATE"]
    assert document("verify")["ok"]
    assert document("gc", "--dry-run")["events"] == 0
    assert document("prune", "--older-than", "0s", "--dry-run")["count"] == 1
    assert document("init")["created"] is False
    status, out, _ = run_on("watch", "--from", "trim-horizon", "--limit", "4", "--json")
    assert (status, [json.loads(line)["seqNum"] for line in out.splitlines()]) == (0, [1, 2, 3, 4])
    for command in (["stats"], ["show", "e-1"], ["metrics"], ["ls"], ["jobs"], ["verify"]):
        status, out, err = run_on(*command)
        assert (status, bool(out)) == (0, True), err


def test_commands_that_write(run_on: Run, address: str, tmp_path: Path) -> None:
    file, exported = tmp_path / "new.json", tmp_path / "out.jsonl"
    file.write_text(json.dumps(docker_execution().replace(revision=0).to_dict()))
    assert run_on("create", str(file))[0] == 0
    assert run_on("update", "e-1", "--state", "Running", "--expect-revision", "1", "--event", "T=m")[0] == 0
    status, _, err = run_on("update", "e-1", "--state", "Running", "--expect-revision", "1")
    assert (status, "has revision 2 but expected 1" in err) == (1, True)
    assert run_on("add-event", "e-1", "--topic", "T", "--message", "n")[0] == 0
    assert run_on("export", "jsonl", str(exported))[0] == 0
    assert run_on("delete", "e-1", "--yes")[0] == 0
    with connect(address, read_only=True) as store:
        assert store.get_execution_count(ExecutionState.RUNNING) == 0
    status, _, err = run_on("import", "jsonl", "--merge", str(exported))
    assert status == 0, err
    with connect(address, read_only=True) as store:
        assert [event.message for event in store.get_execution_events("e-1")] == ["made", "m", "n"]
        assert len(list(store.list_executions())) == 3
    assert run_on("prune", "--older-than", "0s")[0] == 0
    assert run_on("watchers", "remove", "mailer")[0] == 0
    assert run_on("gc", "--older-than", "0s")[0] == 0
    with connect(address, read_only=True) as store:
        assert "e-2" not in {execution.id for execution in store.list_executions()}
        assert store.event_log_status().watchers == ()
        assert store.event_log_status().events == 0


def test_commands_on_files_say_where_they_work(run_on: Run, address: str, engine: str, tmp_path: Path) -> None:
    if engine == "tree":
        assert run_on("backup", str(tmp_path / "backup.tar"))[0] == 0
        assert run_on("repair")[0] == 0
        return
    given = tmp_path / "some.file"
    given.write_bytes(b"")
    for operation, command in (
        ("backup", ["backup", str(tmp_path / "backup.tar")]),
        ("repair", ["repair"]),
        ("repair", ["repair", "--dry-run"]),
        ("restore", ["restore", str(given)]),
        ("demo", ["demo"]),
        ("import into a new store", ["import", "jsonl", str(given)]),
    ):
        status, out, err = run_on(*command)
        assert (status, out) == (3, ""), err
        assert f"{operation} is only for a store in a folder, and {address} is none; " in err
    assert not (tmp_path / "backup.tar").exists()


def test_a_store_that_is_not_there(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = place.address("nowhere") or "memory:nowhere"
    for command in (["ls"], ["update", "e-1", "--state", "Running"], ["verify"], ["gc"]):
        assert run(["--store", address, *command], "execstore") == 3
        assert "no" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
