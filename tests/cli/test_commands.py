"""The commands that look at a store: what they print, as text and as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from execstore import Event, Execution, ExecutionState, State, Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


# --- ls -------------------------------------------------------------------------------------------------------------


def test_ls_lists_executions_in_the_order_of_ids(execstore_cli: CommandLine, ids: list[str]) -> None:
    result = execstore_cli("ls")
    lines = result.stdout.splitlines()
    assert (result.status, result.stderr) == (0, "")
    assert lines[0].split() == ["ID", "JOB", "PART", "STATE", "EXIT", "REV", "CHANGED", "MESSAGE"]
    assert [line.split()[0] for line in lines[1:]] == ids
    assert lines[4].split()[1:6] == ["job", "1", "1", "Failed", "3"]


def test_ls_prints_the_same_as_json(execstore_cli: CommandLine, path: Path) -> None:
    result = execstore_cli("ls", "--json")
    with Store(path, read_only=True) as store:
        assert result.json() == [execution.to_dict() for execution in store.list_executions()]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--state", "Failed"], [3]),
        (["--state", "running"], [1]),
        (["--job", "j-1" + "0" * 34], [1, 3]),
        (["--job", "j-1"], [1, 3]),
        (["--job", "job 0"], [0, 2]),
        (["--namespace", "other"], [3]),
        (["--live"], [1]),
        (["--live", "--job", "job 0"], []),
        (["--live", "--namespace", "default", "--limit", "1"], [1]),
        (["--limit", "2"], [0, 1]),
        (["--after", "e-11aa-" + "0" * 28, "--limit", "1"], [2]),
        (["--after", "e-2"], [2, 3]),
        (["--state", "Cancelled"], []),
    ],
)
def test_ls_selects(execstore_cli: CommandLine, ids: list[str], options: list[str], numbers: list[int]) -> None:
    result = execstore_cli("ls", "--json", *options)
    assert (result.status, [execution["ID"] for execution in result.json()]) == (0, [ids[n] for n in numbers])


def test_ls_of_nothing_says_so_on_stderr_alone(execstore_cli: CommandLine) -> None:
    result = execstore_cli("ls", "--state", "Cancelled")
    assert (result.status, result.stdout, result.stderr) == (0, "", "no executions\n")


def test_ls_shows_times_as_asked(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, read_only=True) as store:
        times = [execution.modify_time for execution in store.list_executions()]
    assert all(str(time_ns) in execstore_cli("ls", "--ns").stdout for time_ns in times)
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(times[0] // 1_000_000_000))
    assert date in execstore_cli("ls", "--utc").stdout
    assert date not in execstore_cli("ls").stdout


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_tells_everything_of_one(execstore_cli: CommandLine, ids: list[str], path: Path) -> None:
    result = execstore_cli("show", ids[3])
    assert result.status == 0
    for text in (ids[3], "Failed", "job 1, batch", "1 of 2", "other", "message 3", "out 3", f"{path}/executions/"):
        assert text in result.stdout
    assert "exit code  3" in result.stdout


def test_show_prints_a_list_of_one_as_of_many(execstore_cli: CommandLine, ids: list[str]) -> None:
    assert [e["ID"] for e in execstore_cli("show", "--json", "e-1").json()] == [ids[1]]
    assert [e["ID"] for e in execstore_cli("show", "--json", "e-3", "e-0").json()] == [ids[3], ids[0]]


def test_an_id_that_is_the_beginning_of_others_is_itself(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, durability="relaxed") as store:
        for execution_id in ("x", "xx"):
            state = State(ExecutionState.NEW)
            store.create_execution(Execution(id=execution_id, job_id="j", job={}, compute_state=state))
    assert [e["ID"] for e in execstore_cli("show", "--json", "x").json()] == ["x"]


def test_output_cannot_play_tricks_on_the_terminal(execstore_cli: CommandLine, path: Path) -> None:
    nasty = "\x1b[31mred\a\r\u202ereversed"
    with Store(path, durability="relaxed") as store:
        state = State(ExecutionState.NEW, nasty)
        store.create_execution(
            Execution(id="x", job_id="j", job={"Name": nasty}, compute_state=state), Event(nasty, nasty)
        )
    for command in (["ls"], ["show", "x"], ["events", "x"], ["jobs"]):
        result = execstore_cli(*command)
        assert not set(result.stdout) & set("\x1b\a\r\u202e")
        assert r"\x1b[31mred" in result.stdout


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_are_listed_in_the_order_they_came(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    with Store(path, durability="relaxed") as store:
        store.add_execution_event(ids[0], Event("Topic", "second", details={"key": "value"}))
    lines = execstore_cli("events", "e-0").stdout.splitlines()
    assert lines[0].split() == ["TIME", "TOPIC", "MESSAGE", "DETAILS"]
    assert "made 0" in lines[1]
    assert "second" in lines[2]
    assert "key=value" in lines[2]


def test_events_print_the_same_as_json(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    with Store(path, read_only=True) as store:
        events = [event.to_dict() for event in store.get_execution_events(ids[2])]
    assert execstore_cli("events", "--json", ids[2]).json() == events


def test_an_execution_without_events_has_an_empty_list(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, durability="relaxed") as store:
        store.create_execution(Execution(id="x", job_id="j", job={}, compute_state=State(ExecutionState.NEW)))
    assert execstore_cli("events", "x", "--json").json() == []
    result = execstore_cli("events", "x")
    assert (result.status, result.stdout, result.stderr) == (0, "", "no events of x\n")


# --- jobs, stats, verify, init ---------------------------------------------------------------------------------------


def test_jobs_are_counted_by_state_the_latest_first(execstore_cli: CommandLine) -> None:
    first, second = execstore_cli("jobs", "--json").json()
    assert (first["job_id"], first["name"], first["type"]) == ("j-1" + "0" * 34, "job 1", "batch")
    assert (first["executions"], first["states"]) == (2, {"Failed": 1, "Running": 1})
    assert second["states"] == {"Completed": 1, "New": 1}
    assert second["modify_time"] < first["modify_time"]


def test_jobs_can_be_limited(execstore_cli: CommandLine) -> None:
    assert [job["name"] for job in execstore_cli("jobs", "--json", "--limit", "1").json()] == ["job 1"]
    assert [job["states"] for job in execstore_cli("jobs", "--json", "--namespace", "other").json()] == [{"Failed": 1}]
    assert execstore_cli("jobs", "--json", "--namespace", "nobody's").json() == []


def test_jobs_are_listed_as_a_table(execstore_cli: CommandLine) -> None:
    lines = execstore_cli("jobs").stdout.splitlines()
    assert lines[0].split() == ["JOB", "NAME", "TYPE", "EXECUTIONS", "CHANGED", "STATES"]
    assert lines[1].endswith("1 Running, 1 Failed")


def test_stats_count(execstore_cli: CommandLine, path: Path) -> None:
    document = execstore_cli("stats", "--json").json()
    assert (document["path"], document["executions"], document["live"]) == (str(path), 4, 1)
    assert document["states"] == {"New": 1, "Running": 1, "Completed": 1, "Failed": 1}
    assert document["latest_event"] == 4 + 4 + 3
    assert document["free_bytes"] > 0
    text = execstore_cli("stats").stdout
    assert "executions           4 (1 live)" in text
    assert "latest event         11" in text


def test_verify_of_a_store_that_is_whole(execstore_cli: CommandLine) -> None:
    result = execstore_cli("verify")
    assert (result.status, result.stdout.startswith("no problems in 4 executions")) == (0, True)
    document = execstore_cli("verify", "--json").json()
    assert (document["ok"], document["problems"]) == (True, [])


def test_verify_names_what_is_damaged(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    record = path / "executions" / f"{ids[0]}.json"
    content = record.read_bytes()
    record.write_bytes(content[:-20])
    try:
        result = execstore_cli("verify")
        document = execstore_cli("verify", "--json")
    finally:
        record.write_bytes(content)
    assert result.status == document.status == 1
    assert f"executions/{ids[0]}.json: " in result.stdout
    assert document.json()["ok"] is False
    assert document.json()["problems"][0]["path"] == f"executions/{ids[0]}.json"


def test_ls_goes_on_without_a_damaged_record_and_says_so(
    execstore_cli: CommandLine, path: Path, ids: list[str]
) -> None:
    record = path / "executions" / f"{ids[1]}.json"
    content = record.read_bytes()
    record.write_bytes(b"{")
    try:
        result = execstore_cli("ls", "--json")
        damaged = execstore_cli("show", ids[1])
    finally:
        record.write_bytes(content)
    assert (result.status, [e["ID"] for e in result.json()]) == (0, [ids[0], ids[2], ids[3]])
    assert result.stderr.startswith("execstore: warning: ")
    assert ids[1] in result.stderr
    assert (damaged.status, damaged.stdout, damaged.stderr.count("\n")) == (3, "", 1)


def test_init_makes_a_store_once(execstore_cli: CommandLine, tmp_path: Path) -> None:
    new = str(tmp_path / "new")
    result = execstore_cli("--store", new, "init")
    assert (result.status, result.stdout, result.stderr) == (0, "", f"created a store at {new}\n")
    assert execstore_cli("--store", new, "init").stderr == f"there is a store at {new} already\n"
    assert execstore_cli("--store", new, "init", "--json").json() == {"path": new, "created": False}
    assert execstore_cli("--store", new, "ls", "--json").json() == []
    assert execstore_cli("--store", new, "jobs").stderr == "no jobs\n"


def test_the_store_can_be_named_behind_the_command_too(execstore_cli: CommandLine, tmp_path: Path) -> None:
    new = str(tmp_path / "new")
    execstore_cli("init", "--store", new)
    assert execstore_cli("stats", "--json", "--store", new).json()["path"] == new
    assert execstore_cli("--store", "/nowhere", "stats", "--json", "--store", new).json()["executions"] == 0


def test_reading_commands_write_nothing(execstore_cli: CommandLine, path: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in path.rglob("*")}

    before = state()
    for command in (["ls"], ["show", "e-0"], ["events", "e-0"], ["jobs"], ["stats"], ["verify"]):
        assert execstore_cli(*command).status == 0
    assert state() == before


def test_a_job_s_states_stay_with_their_numbers_on_a_terminal(
    execstore_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execstore.cli.jobs.terminal_width", lambda: 62)
    lines = execstore_cli("jobs").stdout.splitlines()
    assert [line.split() for line in lines[1:3]][1] == ["1", "Failed"]
    assert lines[1].endswith("1\u00a0Running,")
