"""``examples/edge_agent.py``: jobs as real processes, a limit, kills, and what is made of them."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Execution, ExecutionState, State, Store, UpdateExecutionRequest
from tests.examples.conftest import poll_until, wait_until
from tests.support import PATIENCE_SECONDS

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.examples.conftest import Examples

S = ExecutionState


def put(folder: Path, name: str, *command: str, **members: Any) -> None:
    """Put a job into the inbox as one should: whole."""
    inbox = folder / "inbox"
    inbox.mkdir(exist_ok=True)
    (folder / "new.json").write_text(json.dumps({"Command": list(command), **members}))
    os.replace(folder / "new.json", inbox / f"{name}.json")


def agent(*options: str) -> tuple[str, ...]:
    return ("edge_agent.py", "--store", "store", "--inbox", "inbox", "--poll", "0.2", "--node", "n-1", *options)


def executions(folder: Path) -> dict[str, Execution]:
    with Store(folder / "store", read_only=True) as store:
        return {execution.id: execution for execution in store.list_executions()}


def is_in(execution_id: str, state: ExecutionState) -> Any:
    return lambda store: any(each.id == execution_id for each in store.list_executions(state=state))


def stop(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    return process.wait(PATIENCE_SECONDS)


def test_jobs_are_run_and_recorded(tmp_path: Path, examples: Examples) -> None:
    put(tmp_path, "good", "sh", "-c", "echo out; echo err >&2", Name="a good one")
    put(tmp_path, "bad", "sh", "-c", "exit 3")
    put(tmp_path, "long", "sleep", "600", TimeoutSeconds=0.2)
    put(tmp_path, "much", "head", "-c", "70000", "/dev/zero")
    put(tmp_path, "none", "no-such-program")
    examples.run(*agent("--once"))
    found = executions(tmp_path)
    assert {key: each.compute_state.state_type for key, each in found.items()} == {
        "e-good": S.COMPLETED,
        "e-bad": S.FAILED,
        "e-long": S.FAILED,
        "e-much": S.COMPLETED,
        "e-none": S.FAILED,
    }
    good, much = found["e-good"], found["e-much"]
    assert (good.name, good.node_id, good.job_id) == ("a good one", "n-1", "j-good")
    assert good.run_output is not None
    assert (good.run_output.stdout, good.run_output.stderr, good.run_output.exit_code) == ("out\n", "err\n", 0)
    assert much.run_output is not None
    assert (len(much.run_output.stdout), much.run_output.stdout_truncated) == (65536, True)
    messages = {key: each.compute_state.message for key, each in found.items()}
    assert messages["e-bad"] == "exit code 3"
    assert messages["e-long"] == "not done within 0.2 s"
    assert messages["e-none"] == "can't be started: there is no program 'no-such-program'"
    assert sorted(path.name for path in (tmp_path / "inbox" / "accepted").iterdir()) == [
        "bad.json",
        "good.json",
        "long.json",
        "much.json",
        "none.json",
    ]
    with Store(tmp_path / "store", read_only=True) as store:
        told = [event.message for event in store.get_execution_events("e-good")]
    assert told == ["accepted good.json", "Running", "Completed"]


def test_no_more_than_the_limit_run_at_once(tmp_path: Path, examples: Examples) -> None:
    """Each job fails if another one is at work: a folder can be made by one at a time."""
    for number in range(5):
        put(tmp_path, str(number), "sh", "-c", f"mkdir {tmp_path}/busy && sleep 0.05 && rmdir {tmp_path}/busy")
    examples.run(*agent("--once", "--limit", "1"))
    assert {each.compute_state.state_type for each in executions(tmp_path).values()} == {S.COMPLETED}
    for number in range(2):  # each waits for the other, so they must be at work together
        mine, other = tmp_path / f"there{number}", tmp_path / f"there{1 - number}"
        script = f"touch {mine}; while [ ! -e {other} ]; do sleep 0.01; done"
        put(tmp_path, f"pair{number}", "sh", "-c", script, TimeoutSeconds=PATIENCE_SECONDS)
    examples.run(*agent("--once", "--limit", "2"))
    assert {each.compute_state.state_type for each in executions(tmp_path).values()} == {S.COMPLETED}


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"Name": "x"}', '{"Command": "echo"}', '{"Command": ["a", 1]}'])
def test_what_is_no_job_is_set_aside_with_the_reason(tmp_path: Path, examples: Examples, text: str) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "odd.json").write_text(text)
    put(tmp_path, "good", "true")
    examples.run(*agent("--once"))
    assert list(executions(tmp_path)) == ["e-good"]
    assert (tmp_path / "inbox" / "rejected" / "odd.json").read_text() == text
    assert len((tmp_path / "inbox" / "rejected" / "odd.json.reason").read_text()) > 10


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("on_restart", ["fail", "resume"])
def test_cut_off_it_goes_on(tmp_path: Path, examples: Examples, number: int, on_restart: str) -> None:
    """The first job only ends once it is run a second time; the next one waits for its turn behind it."""
    begun = tmp_path / "begun"
    script = f"if [ -e {begun} ]; then exit 0; fi; touch {begun}; sleep 600"
    put(tmp_path, "first", "sh", "-c", script)
    options = agent("--limit", "1", "--on-restart", on_restart)
    process = examples.start(*options)
    wait_until(tmp_path / "store", is_in("e-first", S.RUNNING), process)
    put(tmp_path, "second", "true")
    wait_until(tmp_path / "store", is_in("e-second", S.BID_ACCEPTED), process)
    poll_until(begun.exists, process)  # the job's own doing
    assert stop(process, number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert executions(tmp_path)["e-first"].compute_state.state_type is not S.RUNNING
    examples.run(*options, "--once")
    states = {key: each.compute_state.state_type for key, each in executions(tmp_path).items()}
    assert states == {"e-first": S.COMPLETED if on_restart == "resume" else S.FAILED, "e-second": S.COMPLETED}


def test_a_job_that_was_cancelled_in_the_store_ends(tmp_path: Path, examples: Examples) -> None:
    put(tmp_path, "long", "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    process = examples.start(*agent())
    wait_until(tmp_path / "store", is_in("e-long", S.RUNNING), process)
    poll_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), process)
    with Store(tmp_path / "store") as store:
        cancelled = Execution(compute_state=State(S.CANCELLED, "not today"))
        store.update_execution_state(UpdateExecutionRequest("e-long", cancelled))
    pid = int((tmp_path / "pid").read_text())
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), process)
    assert stop(process, signal.SIGTERM) == 0
    state = executions(tmp_path)["e-long"].compute_state
    assert (state.state_type, state.message) == (S.CANCELLED, "not today")


def test_there_is_one_agent_to_an_inbox(tmp_path: Path, examples: Examples) -> None:
    put(tmp_path, "long", "sleep", "600")
    process = examples.start(*agent())
    wait_until(tmp_path / "store", is_in("e-long", S.RUNNING), process)
    second = examples.start(*agent("--once"))
    assert "another agent is at work" in second.communicate(timeout=PATIENCE_SECONDS)[1]
    assert second.returncode == 1
    assert stop(process, signal.SIGTERM) == 0


def test_the_same_name_twice_is_run_once(tmp_path: Path, examples: Examples) -> None:
    """What the agent finds in its inbox if it was killed after it had accepted a file, and before it moved it."""
    for _ in range(2):
        put(tmp_path, "job", "sh", "-c", f"echo ran >> {tmp_path}/log")
        examples.run(*agent("--once"))
    assert (tmp_path / "log").read_text() == "ran\n"
    assert executions(tmp_path)["e-job"].revision == 3
