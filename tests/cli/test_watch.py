"""``watch`` and ``watchers``, and following the log with ``tail -f``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Event as ExecutionEvent
from execstore import Execution, ExecutionState, State, Store, UpdateExecutionRequest
from execstore.cli.table import cell_width
from execstore.watcher import Operation, StoreEventRequest
from tests.support import PATIENCE_SECONDS, log_entries, make_execution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import CommandLine
    from tests.conftest import StoreFactory

TRIM = ("--from", "trim-horizon")


def numbers_of(text: str) -> list[int]:
    """The event numbers of lines, plain or JSON."""
    return [json.loads(line)["seqNum"] if line.startswith("{") else int(line.split()[0]) for line in text.splitlines()]


def store_event(store: Store, object_type: str = "Mine", value: object = None) -> int:
    return store.event_store.store_event(StoreEventRequest(Operation.CREATE, object_type, value))


def test_a_line_tells_what_happened(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    with Store(path) as store:
        store.delete_execution(ids[1])
        latest = store_event(store, "Mine\u202e", {"text": "\x1b[2J"})
    result = execstore_cli("watch", *TRIM, "--limit", str(latest))
    lines = result.stdout.splitlines()
    assert (result.status, result.stderr) == (0, "")
    assert numbers_of(result.stdout) == list(range(1, latest + 1))
    words = [line.split() for line in lines]
    assert [(line[3], line[4], " ".join(line[6:])) for line in words[:5]] == [
        ("CREATE", "ExecutionEvent", "Execution: made 0"),
        ("CREATE", "ExecutionUpsert", "New"),
        ("CREATE", "ExecutionEvent", "Execution: made 1"),
        ("CREATE", "ExecutionUpsert", "New"),
        ("UPDATE", "ExecutionUpsert", "New → Running"),
    ]
    assert [line[5] for line in words[:5]] == [ids[0], ids[0], ids[1], ids[1], ids[1]]
    assert lines[-2].endswith(f"DELETE  ExecutionUpsert  {ids[1]}  Running → deleted")
    assert lines[-1].endswith(r'CREATE  Mine\u202e       -  {"text":"\u001b[2J"}')


@pytest.mark.parametrize("width", [20, 80, 109])
def test_a_narrow_terminal_gets_short_lines(
    execstore_cli: CommandLine, path: Path, ids: list[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("execstore.cli.watch.terminal_width", lambda: width)
    with Store(path) as store:
        store.add_execution_event(ids[0], ExecutionEvent("Test", "日本語 and more of it " * 9))
        latest = store_event(store, "Mine", {"text": "long " * 50})
    lines = execstore_cli("watch", *TRIM, "--limit", str(latest)).stdout.splitlines()
    assert len(lines) == latest
    if width > 60:
        assert all(cell_width(line) <= width for line in lines)
        assert [" ".join(line.split()[2:]) for line in (lines[1], lines[4])] == [
            f"CREATE {ids[0][:10]} New",
            f"UPDATE {ids[1][:10]} New → Running",
        ]
        assert lines[-1].split()[2:4] == ["CREATE", "Mine:"]
        assert lines[-1].endswith("…")
    assert re.fullmatch(r"[0-9]{2}:[0-9]{2}:[0-9]{2}", lines[0].split()[1])
    dated = execstore_cli("watch", *TRIM, "--limit", "1", "--utc").stdout.split()
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", dated[1])


def test_json_is_what_stands_in_the_log(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path, read_only=True) as store:
        latest = store.event_store.get_latest_event_num()
    result = execstore_cli("watch", *TRIM, "--limit", str(latest), "--json")
    logged = [json.loads(line) for file in sorted(path.glob("events/*")) for line in file.read_text().splitlines()]
    for line in logged:
        del line["crc32"]
    assert [json.loads(line) for line in result.stdout.splitlines()] == logged


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--from", "3", "--limit", "2"], [3, 4]),
        (["--from", "0", "--limit", "1"], [1]),
        ([*TRIM, "--type", "ExecutionEvent", "--limit", "3"], [1, 3, 6]),
        ([*TRIM, "--type", "executionupsert", "--type", "EXECUTIONEVENT", "--limit", "3"], [1, 2, 3]),
        ([*TRIM, "--operation", "update", "--limit", "2"], [5, 8]),
        (
            [*TRIM, "--operation", "UPDATE", "--operation", "CREATE", "--type", "ExecutionUpsert", "--limit", "3"],
            [2, 4, 5],
        ),
        ([*TRIM, "--type", "ExecutionUpsert", "--type", "ExecutionEvent", "--limit", "3"], [1, 2, 3]),
    ],
)
def test_events_are_selected(execstore_cli: CommandLine, options: list[str], numbers: list[int]) -> None:
    result = execstore_cli("watch", *options)
    assert (numbers_of(result.stdout), result.stderr) == (numbers, "")


def test_a_named_one_goes_on_behind_what_was_printed(execstore_cli: CommandLine, path: Path) -> None:
    assert numbers_of(execstore_cli("watch", "--name", "../w", "--limit", "3").stdout) == [1, 2, 3]
    assert numbers_of(execstore_cli("watch", "--name", "../w", "--limit", "2", *TRIM).stdout) == [4, 5]
    with Store(path, read_only=True) as store:
        assert store.event_store.list_checkpoints() == {"../w": 5}


def test_a_named_one_passes_what_its_filter_drops(execstore_cli: CommandLine, path: Path) -> None:
    with Store(path) as store:
        latest = store_event(store)
    execstore_cli("watch", "--name", "w", "--type", "Mine", "--limit", "1")
    with Store(path, read_only=True) as store:
        assert store.event_store.get_checkpoint("w") == latest


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--from", "yesterday"], "'yesterday' is not trim-horizon, latest or an event's number"),
        (["--from", "-1"], "'-1' is not trim-horizon"),
        (["--operation", "MOVE"], "'MOVE' is no operation; it is one of CREATE, UPDATE, DELETE"),
        (["--limit", "0"], "--limit"),
        (["--name", " "], "blank"),
    ],
)
def test_wrong_usage(execstore_cli: CommandLine, options: list[str], text: str) -> None:
    result = execstore_cli("watch", *options)
    assert (result.status, result.stdout) == (2, "")
    assert text in result.stderr


@pytest.mark.parametrize("options", [[], ["--name", "w"]])
def test_a_wrong_path_makes_no_store(tmp_path: Path, execstore_cli: CommandLine, options: list[str]) -> None:
    result = execstore_cli("--store", str(tmp_path / "none"), "watch", *options)
    assert (result.status, (tmp_path / "none").exists()) == (3, False)


# --- what was collected, what is damaged ------------------------------------------------------------------------------


@pytest.fixture
def collected(open_store: StoreFactory) -> tuple[str, int]:
    """A store's path, and its oldest event's number."""
    with open_store("collected", event_retention=timedelta(days=1)) as store:
        for number in range(60):
            store_event(store, value={"filling": "x" * 200, "number": number})
        store.event_store.store_checkpoint("half", 30)
        store.collect_events(retention=timedelta(0))
        store.event_store.remove_checkpoint("half")
        oldest = store.event_store.get_oldest_event_num()
    assert 2 < oldest <= 31
    return str(open_store.path("collected")), oldest


def test_a_place_that_was_collected_is_an_error(execstore_cli: CommandLine, collected: tuple[str, int]) -> None:
    path, oldest = collected
    result = execstore_cli("--store", path, "watch", "--from", "1", "--limit", "1")
    assert (result.status, result.stdout) == (1, "")
    sentence = f"event 1 is no longer in the event log, the oldest is {oldest}; begin there with --from trim-horizon"
    assert result.stderr == f"execstore: {sentence}\n"


def test_trim_horizon_begins_with_the_oldest(execstore_cli: CommandLine, collected: tuple[str, int]) -> None:
    path, oldest = collected
    assert numbers_of(execstore_cli("--store", path, "watch", *TRIM, "--limit", "1").stdout) == [oldest]


def test_a_checkpoint_that_was_collected(execstore_cli: CommandLine, collected: tuple[str, int]) -> None:
    path, oldest = collected
    with Store(path) as store:
        store.event_store.store_checkpoint("w", 1)
    listed = execstore_cli("--store", path, "watchers", "--json").json()
    assert [(each["checkpoint"], each["lag"], each["lost"]) for each in listed] == [(1, 59, oldest - 2)]
    assert execstore_cli("--store", path, "watch", "--name", "w", "--from", "latest", "--limit", "1").status == 1
    result = execstore_cli("--store", path, "watch", "--name", "w", *TRIM, "--limit", "1")
    assert numbers_of(result.stdout) == [oldest]
    assert f"the events 2 to {oldest - 1} were collected" in result.stderr


def test_a_damaged_event_is_told_and_the_rest_printed(execstore_cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    with Store(path) as store:
        for number in range(5):
            store_event(store, value=f"value {number}")
    segment = next(path.glob("events/*"))
    segment.write_bytes(segment.read_bytes().replace(b"value 2", b"value X"))
    result = execstore_cli("--store", str(path), "watch", *TRIM, "--limit", "4")
    assert (result.status, numbers_of(result.stdout)) == (0, [1, 2, 4, 5])
    assert "event 3 is damaged" in result.stderr


# --- watchers ---------------------------------------------------------------------------------------------------------


def test_watchers_are_listed_and_removed(execstore_cli: CommandLine, path: Path) -> None:
    assert execstore_cli("watchers").stderr == "no watchers\n"
    assert execstore_cli("watchers", "--json").json() == []
    with Store(path) as store:
        latest = store.event_store.get_latest_event_num()
        store.event_store.store_checkpoint("two", latest)
        store.event_store.store_checkpoint("one\n", 2)
    lines = execstore_cli("watchers").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["NAME", "CHECKPOINT", "LAG"],
        ["one\\n", "2", str(latest - 2)],
        ["two", str(latest), "0"],
    ]
    listed = execstore_cli("watchers", "--json").json()
    assert [(each["watcher_id"], each["checkpoint"], each["lag"]) for each in listed] == [
        ("one\n", 2, latest - 2),
        ("two", latest, 0),
    ]
    assert execstore_cli("watchers", "remove", "two").stdout == f"removed two, which had come to event {latest}\n"
    result = execstore_cli("watchers", "remove", "one\n", "--json")
    assert result.json() == {"watcher_id": "one\n", "checkpoint": 2}
    result = execstore_cli("watchers", "remove", "two")
    assert (result.status, result.stderr) == (
        1,
        "execstore: checkpoint error for watcher two: checkpoint not found\n",
    )


# --- as a program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def live(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


class Program:
    """``execstore watch`` at work, or another program that follows the log."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        """Its status, and what it said that wasn't read."""
        output, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, output, errors


@pytest.fixture
def watch(path: Path, program_environment: dict[str, str]) -> Iterator[Any]:
    started: list[Program] = []

    def start(*arguments: str) -> Program:
        command = [sys.executable, "-m", "execstore", "--store", str(path), "watch", *arguments]
        started.append(Program(command, program_environment))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.end()


def test_events_are_printed_as_they_come(live: Store, watch: Any) -> None:
    latest = live.event_store.get_latest_event_num()
    program = watch("--from", str(latest))
    assert numbers_of(program.line()) == [latest]
    for number in range(latest + 1, latest + 4):
        store_event(live)
        assert numbers_of(program.line()) == [number]


@pytest.mark.parametrize("where", [(), TRIM, ("--name", "w")])
def test_a_type_that_nobody_has_stored_is_said_once(live: Store, watch: Any, where: tuple[str, ...]) -> None:
    store_event(live, "Mine")
    program = watch("--type", "Foo", "--type", "Mine", "--type", "Foo", *where)
    said = program.process.stderr.readline()
    assert "the log holds no event of type 'Foo' so far, waiting for one" in said
    assert "ExecutionUpsert and ExecutionEvent" in said
    if where:
        assert "Mine" in program.line()
    latest = store_event(live, "Foo")
    assert numbers_of(program.line()) == [latest]
    latest = store_event(live, "Foo")
    assert numbers_of(program.line()) == [latest]
    program.process.send_signal(signal.SIGINT)
    _, output, errors = program.end()
    assert (output, errors.strip()) == ("", ""), "once, and nothing of the type that is there"


def test_a_place_that_is_yet_to_come_is_said(live: Store, watch: Any) -> None:
    latest = live.event_store.get_latest_event_num()
    program = watch("--from", str(latest + 2))
    assert program.process.stderr.readline() == (
        f"execstore: the newest event is {latest}; waiting for event {latest + 2}\n"
    )
    store_event(live)
    store_event(live)
    assert numbers_of(program.line()) == [latest + 2]


def test_the_next_event_is_no_place_that_is_yet_to_come(live: Store, watch: Any) -> None:
    latest = live.event_store.get_latest_event_num()
    program = watch("--from", str(latest + 1), "--limit", "1")
    store_event(live)
    assert numbers_of(program.line()) == [latest + 1]
    assert program.end() == (0, "", "")


def test_ctrl_c_ends_it_without_a_word(live: Store, watch: Any) -> None:
    program = watch("--name", "w")
    latest = live.event_store.get_latest_event_num()
    assert [numbers_of(program.line()) for _ in range(latest)] == [[number] for number in range(1, latest + 1)]
    program.process.send_signal(signal.SIGINT)
    status, output, errors = program.end()
    assert (status, output, errors.strip()) == (-signal.SIGINT, "", "")
    # The signal may have come between the printing of the last line and the next step.
    assert live.event_store.get_checkpoint("w") in {latest - 1, latest}


@pytest.mark.skipif(sys.platform != "linux", reason="others tell only when something is written")
def test_it_ends_when_nobody_reads_any_more(live: Store, watch: Any) -> None:
    program = watch("--from", str(live.event_store.get_latest_event_num()))
    program.line()
    program.process.stdout.close()
    program.process.stdout = None
    status, _, errors = program.end()
    assert (status, errors) == (0, "")


@pytest.mark.skipif(shutil.which("tail") is None, reason="there is no tail here")
def test_tail_follows_the_log_too(path: Path, live: Store) -> None:
    segments = sorted(str(each) for each in path.glob("events/*"))
    tail = Program(["tail", "-n", "+1", "-f", *segments], dict(os.environ))
    try:
        before = [json.loads(tail.line())["seqNum"] for _ in log_entries(live)]
        assert before == list(range(1, len(before) + 1))
        for number in range(20):
            with live.begin_tx() as transaction:
                for each in "ab":
                    execution = make_execution(f"t{number}{each}", name="x" * 50 * number)
                    transaction.create_execution(execution)
                    new_values = Execution(compute_state=State(ExecutionState.RUNNING))
                    transaction.update_execution_state(UpdateExecutionRequest(execution.id, new_values))
            # Whole lines, each of them JSON, as soon as they are committed.
            lines = [json.loads(tail.line()) for _ in range(4)]
            latest = live.event_store.get_latest_event_num()
            assert [line["seqNum"] for line in lines] == list(range(latest - 3, latest + 1))
    finally:
        tail.process.kill()
        tail.end()
