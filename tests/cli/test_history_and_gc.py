"""``execstore history`` and ``execstore gc``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.cli.times import format_duration, parse_duration
from execstore.watcher import Operation, StoreEventRequest, WatcherManager

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


# --- history --------------------------------------------------------------------------------------------------------


def test_the_history_is_a_table(execstore_cli: CommandLine, ids: list[str]) -> None:
    result = execstore_cli("history", ids[1][:8], "--ns")
    assert (result.status, result.stderr) == (0, "")
    title, *lines = result.stdout.splitlines()
    assert title.split() == ["TIME", "EVENT", "REV", "STATE", "WHAT", "CHANGED"]
    assert lines[0].split()[-2:] == ["New", "created"]
    assert len(lines) == 3
    assert lines[-2].split()[2:] == ["2", "Running", "ComputeState.StateType:", "New", "→", "Running"]
    assert lines[-1].strip() == "ComputeState.Message: → message 1"


def test_the_history_as_json(execstore_cli: CommandLine, ids: list[str]) -> None:
    created, updated = execstore_cli("history", ids[3], "--json").json()
    assert (created["operation"], created["revision"], created["state"]) == ("CREATE", 1, "New")
    assert {"member": "RunOutput.ExitCode", "old": 0, "new": 3} in updated["changes"]


def test_the_history_of_a_deleted_execution_needs_its_whole_id(
    execstore_cli: CommandLine, path: Path, ids: list[str]
) -> None:
    with Store(path) as store:
        store.delete_execution(ids[0])
    result = execstore_cli("history", ids[0], "--utc")
    assert result.status == 0
    assert result.stdout.splitlines()[-1].split()[-1] == "deleted"
    assert execstore_cli("history", ids[0][:6]).status == 1


def test_an_execution_whose_events_are_gone_has_no_history(
    execstore_cli: CommandLine, path: Path, ids: list[str]
) -> None:
    with Store(path) as store:
        store.collect_events(retention=timedelta(0))
    result = execstore_cli("history", ids[0])
    assert (result.status, result.stdout) == (0, "")
    assert result.stderr == f"the event log no longer holds a revision of {ids[0]}\n"
    assert execstore_cli("history", ids[0], "--json").json() == []


def test_nobodys_history(execstore_cli: CommandLine) -> None:
    result = execstore_cli("history", "nope")
    assert (result.status, result.stdout, result.stderr) == (1, "", "execstore: execution not found: nope\n")


# --- gc -------------------------------------------------------------------------------------------------------------


def test_nothing_goes_that_is_young(execstore_cli: CommandLine, path: Path) -> None:
    result = execstore_cli("gc")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == "removed 0 events in 0 segments, 0 bytes; 11 events stay\n"


def test_a_dry_run_only_tells(execstore_cli: CommandLine, path: Path) -> None:
    planned = execstore_cli("gc", "--older-than", "0", "--dry-run", "--json").json()
    assert (planned["events"], planned["segments"], planned["dry_run"]) == (11, 1, True)
    text = execstore_cli("gc", "--older-than", "0", "--dry-run").stdout
    assert text == f"would remove 11 events in 1 segments, {planned['bytes']} bytes; 0 events stay\n"
    with Store(path, read_only=True) as store:
        assert store.event_store.get_oldest_event_num() == 1


def test_old_events_go(execstore_cli: CommandLine, path: Path) -> None:
    done = execstore_cli("gc", "--older-than", "0s", "--json").json()
    assert (done["events"], done["oldest"], done["latest"], done["dry_run"]) == (11, 12, 11, False)
    assert execstore_cli("gc", "--older-than", "0").stdout.startswith("removed 0 events")


def test_who_holds_the_log_is_named(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path) as store:
        store.event_store.store_checkpoint("audit", 3)
    result = execstore_cli("gc", "--older-than", "0")
    assert result.stdout.startswith("removed 0 events")
    assert "watcher audit holds the rest" in result.stderr
    with Store(path) as store:
        WatcherManager(store.event_store).remove_checkpoint("audit")
    assert execstore_cli("gc", "--older-than", "0").stdout.startswith("removed 11 events")


def test_stats_say_who_holds_the_log_and_who_lost_events(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, event_retention=timedelta(0), event_max_bytes=16384) as store:
        store.event_store.store_checkpoint("audit", 3)
        note = StoreEventRequest(Operation.CREATE, "Note", {"text": "x" * 20_000})
        latest = store.event_store.store_event(note)
    text = execstore_cli("stats").stdout
    assert "  1 events in 1 segments, " in text
    assert f"held by watcher audit, which has {latest - 3} events to handle" in text
    assert f"watcher audit lost {latest - 1 - 3} events that it hadn't handled" in text
    status = execstore_cli("stats", "--json").json()["event_log"]
    assert (status["held_by"], status["events"], status["watchers"][0]["lost"]) == ("audit", 1, latest - 4)


def test_what_the_store_was_told_counts(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, event_retention=timedelta(0)) as store:
        store.event_store.store_checkpoint("w", 0)
    assert execstore_cli("gc", "--dry-run", "--json").json()["held_by"] == "w"


def test_a_path_without_a_store_does_not_become_one(execstore_cli: CommandLine, tmp_path: Path) -> None:
    result = execstore_cli("gc", "--store", str(tmp_path / "nowhere"))
    assert result.status == 3
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("text", ["7", "1w", "-1d", "", "1.5h", "1 d", "9999999999d"])
def test_an_age_that_is_none(execstore_cli: CommandLine, text: str) -> None:
    result = execstore_cli("gc", "--older-than", text)
    assert result.status == 2
    assert "write it like 45s, 30m, 36h or 7d" in result.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("0s", 0), ("45s", 45), ("3m", 180), ("5h", 18_000), ("12d", 1_036_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert format_duration(seconds).rstrip("s") == text.rstrip("s")
