"""``execstore prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import Execution, ExecutionState, State, Store, UpdateExecutionRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import CommandLine


def left(execstore_cli: CommandLine) -> list[str]:
    return [execution["ID"] for execution in execstore_cli("ls", "--json").json()]


def test_a_dry_run_lists_what_would_go_and_its_bytes(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    result = execstore_cli("prune", "--older-than", "0", "--dry-run", "--ns")
    assert (result.status, result.stderr) == (0, "")
    title, *rows, verdict = result.stdout.splitlines()
    assert title.split() == ["ID", "JOB", "STATE", "CHANGED", "BYTES"]
    assert [row.split()[0] for row in rows] == ids[2:]
    size = sum((path / "executions" / f"{each}.json").stat().st_size for each in ids[2:])
    size += sum((path / "execution_events" / f"{each}.jsonl").stat().st_size for each in ids[2:])
    assert verdict == f"would remove 2 executions, {size} bytes"
    planned = execstore_cli("prune", "--older-than", "0", "--dry-run", "--json").json()
    assert (planned["count"], planned["bytes"], planned["dry_run"]) == (2, size, True)
    assert [each["id"] for each in planned["executions"]] == ids[2:]
    assert left(execstore_cli) == ids
    assert execstore_cli("prune", "--older-than", "0").stdout == f"removed 2 executions, {size} bytes\n"
    assert left(execstore_cli) == ids[:2]


def test_only_what_is_asked_for_goes(execstore_cli: CommandLine, path: Path, ids: list[str]) -> None:
    assert execstore_cli("prune", "--older-than", "7d").stdout == "removed 0 executions, 0 bytes\n"
    done = execstore_cli("prune", "--older-than", "0s", "--state", "failed", "--state", "cancelled", "--json").json()
    assert [each["id"] for each in done["executions"]] == [ids[3]]
    with Store(path) as store:
        store.create_execution(
            Execution(id="z", job_id="j-0" + "0" * 34, job={}, compute_state=State(ExecutionState.NEW))
        )
        store.update_execution_state(UpdateExecutionRequest("z", Execution(compute_state=State(ExecutionState.FAILED))))
    done = execstore_cli("prune", "--older-than", "0", "--keep-per-job", "1", "--json").json()
    assert [each["id"] for each in done["executions"]] == [ids[2]]
    assert execstore_cli("prune", "--older-than", "0", "--keep-per-job", "1", "--json").json()["executions"] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Missing option '--older-than'"),
        (["--older-than", "7"], "write it like 45s, 30m, 36h or 7d"),
        (["--older-than", "0", "--state", "Running"], "live executions are never pruned"),
        (["--older-than", "0", "--state", "Bogus"], "'Bogus' is no state"),
        (["--older-than", "0", "--keep-per-job", "-1"], "--keep-per-job"),
    ],
)
def test_what_is_wrong_is_said(execstore_cli: CommandLine, ids: list[str], arguments: list[str], text: str) -> None:
    result = execstore_cli("prune", *arguments)
    assert (result.status, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert text in result.stderr
    assert left(execstore_cli) == ids
