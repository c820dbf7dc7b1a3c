"""``execstore demo`` from the outside: what it prints, how it goes on after a first run, Ctrl-C and ``kill -9``."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from execstore import ExecutionState, RunCommandResult, Store
from execstore.demo.jobs import packaged_job_folder, read_job_folder
from execstore.demo.lock import node_lock

if TYPE_CHECKING:
    from tests.cli.conftest import CommandLine

_STATES = {state.value for state in ExecutionState}


def _write_job(folder: Path, name: str, script: str, *, job_type: str = "batch", count: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    engine = {"Type": "exec", "Params": {"Command": "sh", "Parameters": ["-c", script]}}
    job = {"Name": name, "Type": job_type, "Count": count, "Tasks": [{"Name": "main", "Engine": engine}]}
    (folder / f"{name}.json").write_text(json.dumps(job))


def _assert_whole(path: Path) -> None:
    with Store(path, read_only=True) as store:
        report = store.verify()
        assert report.ok, report.problems


class _Start(Protocol):
    def __call__(self, path: Path, *arguments: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def start(program_environment: dict[str, str]) -> _Start:
    """Start a demo, its progress to be read from its ``stderr``."""

    def start_demo(path: Path, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "execstore", "demo", str(path), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=program_environment,
        )

    return start_demo


def _acknowledged(lines: list[str]) -> dict[str, tuple[int, str]]:
    """From the demo's step lines: each execution's last revision and state that it was told of."""
    newest: dict[str, tuple[int, str]] = {}
    for line in lines:
        fields = line.split("  ")
        if len(fields) >= 4 and fields[1] in _STATES:
            newest[fields[0]] = (int(fields[2].removeprefix("revision ")), fields[1])
    return newest


def test_the_packaged_jobs_run_as_they_are_meant_to(program: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "store"
    result = program("demo", str(path))
    assert result.status == 0
    _assert_whole(path)
    with Store(path, read_only=True) as store:
        executions = list(store.list_executions())
    jobs = read_job_folder(packaged_job_folder())
    by_name = {execution.name: execution for execution in executions}
    assert sorted(execution.name for execution in executions) == sorted(
        job.name for job in jobs for _ in range(job.count)
    )
    failed = {
        e.name: e.compute_state.message for e in executions if e.compute_state.state_type is ExecutionState.FAILED
    }
    assert failed.keys() == {"docker-hello", "exit-code-3", "times-out"}
    assert failed["times-out"] == "Execution timed out after 1s"
    assert all(e.compute_state.state_type is ExecutionState.COMPLETED for e in executions if e.name not in failed)
    outputs = {name: execution.run_output or RunCommandResult() for name, execution in by_name.items()}
    assert outputs["exit-code-3"].exit_code == 3
    assert outputs["word-count"].stdout.split()[:2] == ["10", "is"]
    assert outputs["prime-sieve"].stdout.startswith("2 3 5 7 11 13 ")
    assert outputs["prime-sieve"].stdout_truncated
    assert "row 2 has no date" in outputs["stderr"].stderr
    assert {"🐟", "\x1b", "\0", "\ufffd"} <= set(outputs["unicode"].stdout)
    assert "__init__.py" in outputs["checksums"].stdout
    assert outputs["heartbeat"].stdout.count("beat") == 5
    parts = [(e.run_output or RunCommandResult()).stdout for e in executions if e.name == "partitioned-sum"]
    assert sum(int(part.rpartition(" ")[2]) for part in parts) == sum(range(3_000_000))


def test_the_last_page_shows_the_store_and_three_commands_that_work(
    program: CommandLine, tmp_path: Path, program_environment: dict[str, str]
) -> None:
    path = tmp_path / "my store"
    _write_job(tmp_path / "jobs", "fails", "echo why >&2; exit 3")
    _write_job(tmp_path / "jobs", "works", "echo fine")
    result = program("demo", str(path), "--jobs", str(tmp_path / "jobs"))
    assert result.status == 0
    assert "my store/" in result.stdout
    assert "├── executions/" in result.stdout
    assert " -> " in result.stdout
    assert '"stderr":"why' in result.stdout.replace(": ", ":")
    assert "exit code 3" in result.stdout
    assert "Failed       1" in result.stdout
    assert "Completed    1" in result.stdout
    commands = [line.strip() for line in result.stdout.splitlines()[-3:]]
    for command in commands:
        done = subprocess.run(
            shlex.split(command), capture_output=True, text=True, check=True, env=program_environment, cwd=tmp_path
        )
        assert "fails" in done.stdout


def test_progress_goes_to_stderr_a_line_a_step(program: CommandLine, tmp_path: Path) -> None:
    _write_job(tmp_path / "jobs", "works", "true")
    result = program("demo", str(tmp_path / "store"), "--jobs", str(tmp_path / "jobs"), "--json")
    states = [line.split("  ")[1] for line in result.stderr.splitlines()]
    assert states == ["New", "BidAccepted", "Running", "Publishing", "Completed"]
    document = result.json()
    assert [execution["ID"] for execution in document["executions"]] == document["created"]
    assert document["states"] == {"Completed": 1}


def test_a_second_run_has_nothing_to_do_unless_asked(execstore_cli: CommandLine, tmp_path: Path) -> None:
    path, jobs = str(tmp_path / "new"), str(tmp_path / "jobs")
    _write_job(tmp_path / "jobs", "works", "true")
    first = execstore_cli("demo", path, "--jobs", jobs, "--json").json()
    second = execstore_cli("demo", path, "--jobs", jobs, "--json").json()
    assert (len(first["created"]), second["created"], second["done_before"]) == (1, [], ["works"])
    assert "done before, not run again" in execstore_cli("demo", path, "--jobs", jobs).stderr
    assert len(execstore_cli("demo", path, "--jobs", jobs, "--json", "--again").json()["created"]) == 1
    _assert_whole(Path(path))


def test_the_store_is_that_of_the_option_without_dir(execstore_cli: CommandLine, tmp_path: Path) -> None:
    _write_job(tmp_path / "jobs", "works", "true")
    path = str(tmp_path / "new")
    assert execstore_cli("--store", path, "demo", "--jobs", str(tmp_path / "jobs"), "--json").json()["path"] == path


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"Name": "x", "Type": "cron"}', "bad.json: Type: 'cron' is no job type"),
        ('{"Name": "x",', "bad.json: line 1 column"),
    ],
)
def test_a_bad_job_file_is_told_before_anything_is_made(
    execstore_cli: CommandLine, tmp_path: Path, content: str, text: str
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "bad.json").write_text(content)
    result = execstore_cli("demo", str(tmp_path / "new"), "--jobs", str(tmp_path / "jobs"))
    assert (result.status, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert text in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_second_node_on_the_same_store_is_refused(program: CommandLine, path: Path) -> None:
    with node_lock(str(path)):
        result = program("demo", str(path))
    assert result.status == 3
    assert "another 'execstore demo' is running" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_quietly_and_goes_on_later(
    start: _Start, tmp_path: Path, number: signal.Signals
) -> None:
    path, jobs = tmp_path / "store", tmp_path / "jobs"
    gate = tmp_path / "gate"
    _write_job(jobs, "batch", f"test -e {gate} || sleep 60")
    _write_job(jobs, "service", f"test -e {gate} || sleep 60", job_type="service")
    with start(path, "--jobs", str(jobs), "--workers", "2") as demo:
        assert demo.stderr is not None
        running = 0
        while running < 2:
            running += "  Running  " in demo.stderr.readline()
        demo.send_signal(number)
        rest = demo.stderr.read()
    assert demo.returncode == -signal.SIGINT
    assert "Traceback" not in rest
    with Store(path, read_only=True) as store:
        states = {e.name: e.compute_state.state_type for e in store.list_executions()}
    assert states == {"batch": ExecutionState.CANCELLED, "service": ExecutionState.RUNNING}
    gate.touch()
    with start(path, "--jobs", str(jobs)) as demo:
        demo.communicate(timeout=60)
    assert demo.returncode == 0
    with Store(path, read_only=True) as store:
        ended = sorted((e.name, e.compute_state.state_type.value) for e in store.list_executions())
    assert ended == [("batch", "Cancelled"), ("batch", "Completed"), ("service", "Completed")]


@pytest.mark.parametrize("seed", range(6))
def test_a_demo_killed_at_any_moment_loses_nothing_and_goes_on(start: _Start, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path, jobs = tmp_path / "store", tmp_path / "jobs"
    _write_job(jobs, "batch", "echo out; sleep 0.02", count=6)
    _write_job(jobs, "fails", "echo no >&2; exit 3", count=3)
    _write_job(jobs, "service", "echo served; sleep 0.05", job_type="service", count=3)
    lines: list[str] = []
    for _ in range(2):
        with start(path, "--jobs", str(jobs), "--workers", "4") as demo:
            assert demo.stderr is not None
            for _ in range(chance.randrange(1, 30)):
                lines.append(demo.stderr.readline())
            time.sleep(chance.random() * 0.03)
            demo.kill()
            # What it had still told before it died was acknowledged too; the last line may be torn.
            rest = demo.stderr.read()
            lines += rest[: rest.rfind("\n") + 1].splitlines()
        assert demo.returncode == -signal.SIGKILL
        _assert_whole(path)
        _assert_acknowledged(path, _acknowledged(lines))
    with start(path, "--jobs", str(jobs), "--workers", "4") as demo:
        _, last = demo.communicate(timeout=60)
    assert demo.returncode == 0, last
    _assert_whole(path)
    _assert_acknowledged(path, _acknowledged(lines))
    _assert_all_done(path)


def _assert_acknowledged(path: Path, acknowledged: dict[str, tuple[int, str]]) -> None:
    with Store(path, read_only=True) as store:
        for execution_id, (revision, state) in acknowledged.items():
            execution = store.get_execution(execution_id)
            assert execution.revision >= revision
            if execution.revision == revision:
                assert execution.compute_state.state_type.value == state
            if ExecutionState(state).is_terminal:
                assert (execution.revision, execution.compute_state.state_type.value) == (revision, state)


def _assert_all_done(path: Path) -> None:
    with Store(path, read_only=True) as store:
        executions = list(store.list_executions())
    assert all(execution.compute_state.state_type.is_terminal for execution in executions)
    completed = [e for e in executions if e.compute_state.state_type is ExecutionState.COMPLETED]
    failed = [e for e in executions if e.compute_state.details.get("ErrorCode") == "NonZeroExitCode"]
    restarted = [e for e in executions if e.compute_state.details.get("ErrorCode") == "NodeRestart"]
    # Each part of a job has ended by itself exactly once; what else there is was settled after a kill, never a service.
    assert sorted((e.name, e.partition_index) for e in completed) == [
        *(("batch", index) for index in range(6)),
        *(("service", index) for index in range(3)),
    ]
    assert sorted((e.name, e.partition_index) for e in failed) == [("fails", index) for index in range(3)]
    assert len(executions) == len(completed) + len(failed) + len(restarted)
    assert not {"service"} & {e.name for e in restarted}
    assert all(e.run_output and e.run_output.stdout for e in completed)


def test_a_terminal_gets_a_table_without_colour_if_not_wanted(
    tmp_path: Path, program_environment: dict[str, str]
) -> None:
    _write_job(tmp_path / "jobs", "works", "true")
    shown = {}
    for name, variables in (("colour", {"TERM": "xterm-256color"}), ("plain", {"TERM": "xterm", "NO_COLOR": "1"})):
        master, slave = os.openpty()
        command = [sys.executable, "-m", "execstore", "demo", str(tmp_path / name), "--jobs", str(tmp_path / "jobs")]
        with subprocess.Popen(command, stdout=slave, stderr=slave, env={**program_environment, **variables}) as process:
            os.close(slave)
            shown[name] = _read_all(master)
        assert process.returncode == 0
    assert "Completed" in shown["plain"]
    assert "\x1b[32m" in shown["colour"]
    assert "\x1b[32m" not in shown["plain"]


def _read_all(descriptor: int) -> str:
    data = b""
    # A terminal whose other end was closed is read with an error on Linux.
    try:
        while chunk := os.read(descriptor, 65536):
            data += chunk
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return data.decode()
