"""What the command line's tests share: running it in this process and as a program, on stores that end up whole."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import execstore
from execstore import Event, Execution, ExecutionState, RunCommandResult, State, Store, UpdateExecutionRequest
from execstore.cli.app import run
from execstore.codec import decode_strict

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Result:
    """What a command line came to."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """What it printed, which must be one JSON document."""
        return decode_strict(self.stdout.encode())


class CommandLine(Protocol):
    """Runs a command line on the test's store."""

    def __call__(self, *arguments: str) -> Result: ...


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The folder of a store with a few executions; it must be whole when the test is over."""
    path = tmp_path / "store"
    with Store(path, durability="relaxed") as store:
        for number, (state, exit_code) in enumerate(
            [
                (ExecutionState.NEW, 0),
                (ExecutionState.RUNNING, 0),
                (ExecutionState.COMPLETED, 0),
                (ExecutionState.FAILED, 3),
            ]
        ):
            job = {"Name": f"job {number % 2}", "Type": "batch", "Count": 2}
            execution = Execution(
                id=f"e-{number}{number}aa-{'0' * 28}",
                namespace="default" if number < 3 else "other",
                job_id=f"j-{number % 2}{'0' * 34}",
                job=job,
                node_id="n-1",
                partition_index=number // 2,
                compute_state=State(ExecutionState.NEW),
            )
            store.create_execution(execution, Event("Execution", f"made {number}"))
            if state is not ExecutionState.NEW:
                output = RunCommandResult(stdout=f"out {number}\n", exit_code=exit_code) if number > 1 else None
                new_values = Execution(compute_state=State(state, f"message {number}"), run_output=output)
                store.update_execution_state(UpdateExecutionRequest(execution.id, new_values))
    yield path
    with Store(path, read_only=True) as store:
        report = store.verify()
        assert report.ok, report.problems


@pytest.fixture
def ids(path: Path) -> list[str]:
    with Store(path, read_only=True) as store:
        return [execution.id for execution in store.list_executions()]


@pytest.fixture
def execstore_cli(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Run a command line on ``path`` in this process."""
    monkeypatch.setenv("EXECSTORE_DIR", str(path))

    def run_here(*arguments: str) -> Result:
        capsys.readouterr()
        status = run(arguments, "execstore")
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run_here


@pytest.fixture
def program_environment() -> dict[str, str]:
    """The environment in which ``python -m execstore`` finds the package that is tested."""
    root = str(Path(execstore.__file__).parent.parent)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EXECSTORE_", "NO_COLOR"))}
    return {**inherited, "PYTHONPATH": root}


@pytest.fixture
def program(tmp_path: Path, program_environment: dict[str, str]) -> CommandLine:
    """Run the command line as a program of its own; no store is given."""

    def run_there(*arguments: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "execstore", *arguments],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=program_environment,
            timeout=60,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run_there
