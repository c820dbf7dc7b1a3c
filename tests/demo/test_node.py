"""The node: what it records of a run, what it settles of an earlier one, and what it leaves to others."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from execstore import DesiredState, Event, Execution, ExecutionState, RunCommandResult, State, UpdateExecutionRequest
from execstore.demo.jobs import parse_job
from execstore.demo.node import NODE_ID, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore import Store
    from execstore.demo.jobs import Job

_NEW = State(ExecutionState.NEW)


def _only(store: Store, job: Job) -> Execution:
    (execution,) = store.get_executions(job.job_id)
    return execution


def _topics(store: Store, execution: Execution) -> list[str]:
    return [event.topic for event in store.get_execution_events(execution.id)]


def _leave(store: Store, job: Job, state: ExecutionState, *, execution_id: str = "e-left", index: int = 0) -> Execution:
    """Store what a killed node leaves behind: an execution of the job in this state."""
    execution = Execution(
        id=execution_id,
        node_id=NODE_ID,
        job_id=job.job_id,
        job=job.document,
        compute_state=_NEW,
        partition_index=index,
    )
    store.create_execution(execution)
    if state is not ExecutionState.NEW:
        store.update_execution_state(UpdateExecutionRequest(execution_id, Execution(compute_state=State(state))))
    return store.get_execution(execution_id)


def test_a_job_that_succeeds_is_recorded_step_by_step(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("hello", "echo out; echo err >&2")
    seen: list[tuple[str, int]] = []

    def observe(execution: Execution) -> None:
        seen.append((execution.compute_state.state_type.value, execution.revision))

    report = Node(store, observer=observe).run([job])
    execution = _only(store, job)
    assert report.created == [execution.id]
    assert seen == [("New", 1), ("BidAccepted", 2), ("Running", 3), ("Publishing", 4), ("Completed", 5)]
    assert execution.id.startswith("e-")
    assert (execution.job_id, execution.job, execution.node_id) == (job.job_id, job.document, NODE_ID)
    assert execution.desired_state.state_type is DesiredState.RUNNING
    assert execution.run_output is not None
    assert (execution.run_output.stdout, execution.run_output.stderr) == ("out\n", "err\n")
    assert (execution.run_output.exit_code, execution.run_output.error_msg) == (0, "")
    assert _topics(store, execution) == [
        "Execution",
        "Exec Scanning",
        "Running Execution",
        "Running Execution",
        "Publishing Results",
        "Execution",
    ]
    events = store.get_execution_events(execution.id)
    assert events[0].message == "Created from hello.json"
    assert int(events[3].details["PID"]) > 0
    assert events[-1].message == "Completed successfully"


def test_a_job_that_fails_keeps_its_exit_code_output_and_reason(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("fails", "echo out; echo err >&2; exit 3")
    Node(store).run([job])
    execution = _only(store, job)
    assert execution.compute_state.state_type is ExecutionState.FAILED
    assert execution.compute_state.message.startswith("exit code 3 after ")
    assert execution.compute_state.details == {"ErrorCode": "NonZeroExitCode"}
    assert execution.run_output is not None
    assert (execution.run_output.exit_code, execution.run_output.stdout) == (3, "out\n")
    assert execution.run_output.error_msg == execution.compute_state.message
    last = store.get_execution_events(execution.id)[-1]
    assert last.details == {"ErrorCode": "NonZeroExitCode", "IsError": "true", "FailsExecution": "true"}


def test_a_job_over_its_time_is_failed(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("slow", "echo begun; sleep 60", Timeouts={"ExecutionTimeout": 1})
    Node(store).run([job])
    execution = _only(store, job)
    assert execution.compute_state.message == "Execution timed out after 1s"
    assert execution.compute_state.details == {"ErrorCode": "TimeOut"}
    assert execution.run_output is not None
    assert execution.run_output.stdout == "begun\n"
    last = store.get_execution_events(execution.id)[-1]
    assert (last.details["Retryable"], "timeout" in last.details["Hint"]) == ("true", True)


def test_output_over_the_limit_is_cut_and_said_to_be(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("long", "printf 1234567890; printf abc >&2")
    Node(store, output_limit_bytes=4).run([job])
    output = _only(store, job).run_output
    assert output is not None
    assert (output.stdout, output.stdout_truncated) == ("1234", True)
    assert (output.stderr, output.stderr_truncated) == ("abc", False)


def test_each_part_of_a_job_knows_its_index(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("parts", 'echo "$BACALHAU_PARTITION_INDEX of $BACALHAU_PARTITION_COUNT"', count=3)
    Node(store).run([job])
    executions = {execution.partition_index: execution for execution in store.get_executions(job.job_id)}
    outputs = [executions[index].run_output for index in range(3)]
    assert [output.stdout for output in outputs if output] == ["0 of 3\n", "1 of 3\n", "2 of 3\n"]


def test_the_task_and_the_node_set_the_environment(
    store: Store, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECSTORE_TEST_HOST", "host value")
    monkeypatch.setenv("EXECSTORE_TEST_SECRET", "not for jobs")
    script = 'echo "$GREETING, $FROM_HOST, $EXECSTORE_TEST_SECRET"; echo "$BACALHAU_EXECUTION_ID $BACALHAU_JOB_ID"'
    job = make_job("env", script, Env={"GREETING": "hello", "FROM_HOST": "env:EXECSTORE_TEST_HOST"})
    Node(store).run([job])
    execution = _only(store, job)
    assert execution.run_output is not None
    assert execution.run_output.stdout == f"hello, host value, \n{execution.id} {job.job_id}\n"


def test_a_variable_the_host_lacks_is_a_recorded_failure(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("env", "true", Env={"A": "env:EXECSTORE_TEST_NOT_SET"})
    Node(store).run([job])
    execution = _only(store, job)
    assert execution.compute_state.state_type is ExecutionState.FAILED
    assert "EXECSTORE_TEST_NOT_SET is not set" in execution.compute_state.message


@pytest.mark.parametrize(
    ("engine", "reason", "code"),
    [
        ({"Type": "docker", "Params": {"Image": "ubuntu"}}, "doesn't support engine 'docker'", "NotImplemented"),
        ({"Type": "exec", "Params": {"Command": "no-such-program"}}, "no program 'no-such-program'", "NotFound"),
        ({"Type": "exec", "Params": {"Command": "true", "WorkingDirectory": "/no/such"}}, "'/no/such'", "NotFound"),
        ({"Type": "exec", "Params": {"Command": "true", "Parameters": ["a" * 300_000]}}, "can't be started", "IOError"),
    ],
)
def test_what_cannot_be_run_is_a_recorded_failure(
    store: Store, engine: dict[str, object], reason: str, code: str
) -> None:
    job = parse_job({"Name": "x", "Type": "batch", "Tasks": [{"Name": "main", "Engine": engine}]}, "x.json")
    Node(store).run([job])
    execution = _only(store, job)
    assert execution.compute_state.state_type is ExecutionState.FAILED
    assert reason in execution.compute_state.message
    assert execution.compute_state.details == {"ErrorCode": code}


def test_each_execution_has_a_directory_of_its_own_that_is_gone_afterwards(
    store: Store, make_job: Callable[..., Job]
) -> None:
    job = make_job("pwd", "pwd; touch left-behind", count=2)
    Node(store).run([job])
    outputs = [execution.run_output for execution in store.get_executions(job.job_id)]
    directories = {output.stdout.strip() for output in outputs if output}
    assert len(directories) == 2
    assert not any(os.path.exists(directory) for directory in directories)


def test_a_job_that_is_done_is_not_run_again(store: Store, make_job: Callable[..., Job]) -> None:
    jobs = [make_job("good", "true"), make_job("bad", "false")]
    Node(store).run(jobs)
    report = Node(store).run(jobs)
    assert (report.created, report.done_before) == ([], ["good", "bad"])
    assert sum(store.counts().values()) == 2


def test_again_runs_everything_anew_and_links_it_to_what_was_before(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("good", "true", count=2)
    before = {store.get_execution(e).partition_index: e for e in Node(store).run([job]).created}
    again = [store.get_execution(e) for e in Node(store).run([job], again=True).created]
    assert {e.partition_index: e.previous_execution for e in again} == before


def test_changed_content_is_another_job(store: Store, make_job: Callable[..., Job]) -> None:
    Node(store).run([make_job("good", "true")])
    assert len(Node(store).run([make_job("good", "true ")]).created) == 1


@pytest.mark.parametrize("state", [ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.PUBLISHING])
@pytest.mark.parametrize("job_type", ["batch", "ops"])
def test_batch_and_ops_left_live_are_failed_and_run_by_a_new_one(
    store: Store, make_job: Callable[..., Job], job_type: str, state: ExecutionState
) -> None:
    job = make_job("left", "echo done", job_type=job_type)
    left = _leave(store, job, state)
    report = Node(store).run([job])
    assert report.failed_after_restart == [left.id]
    failed = store.get_execution(left.id)
    assert failed.compute_state == State(
        ExecutionState.FAILED, "Failed due to node restart", {"ErrorCode": "NodeRestart"}
    )
    (event,) = store.get_execution_events(left.id)
    assert (event.message, event.details) == ("Failing due to node restart", {"FailsExecution": "true"})
    (new_id,) = report.created
    new = store.get_execution(new_id)
    assert (new.compute_state.state_type, new.previous_execution) == (ExecutionState.COMPLETED, left.id)


@pytest.mark.parametrize("state", [ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.PUBLISHING])
@pytest.mark.parametrize("job_type", ["service", "daemon"])
def test_services_and_daemons_left_live_run_again_as_themselves(
    store: Store, make_job: Callable[..., Job], job_type: str, state: ExecutionState
) -> None:
    job = make_job("left", "echo done", job_type=job_type)
    left = _leave(store, job, state)
    report = Node(store).run([job])
    assert (report.restarted, report.created, report.failed_after_restart) == ([left.id], [], [])
    execution = store.get_execution(left.id)
    assert execution.compute_state.state_type is ExecutionState.COMPLETED
    assert store.get_execution_events(left.id)[0].message == f"Running again, found {state.value} at node start"


def test_a_service_that_runs_again_does_not_keep_its_earlier_output(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("left", "echo new", job_type="service")
    left = _leave(store, job, ExecutionState.RUNNING)
    output = RunCommandResult(stdout="old", stderr="old", stdout_truncated=True, exit_code=9)
    store.update_execution_state(
        UpdateExecutionRequest(left.id, Execution(compute_state=State(ExecutionState.PUBLISHING), run_output=output))
    )
    Node(store).run([job])
    assert store.get_execution(left.id).run_output == RunCommandResult(stdout="new\n")


def test_executions_that_were_not_begun_are_taken_up(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("left", "echo done", count=2)
    left = _leave(store, job, ExecutionState.NEW, index=1)
    report = Node(store).run([job])
    assert report.taken_up == [left.id]
    assert len(report.created) == 1
    assert store.get_execution(left.id).compute_state.state_type is ExecutionState.COMPLETED
    assert store.get_execution_count(ExecutionState.COMPLETED) == 2


def test_what_was_left_is_settled_even_if_its_job_file_is_gone(store: Store, make_job: Callable[..., Job]) -> None:
    service = _leave(store, make_job("service", "true", job_type="service"), ExecutionState.RUNNING, execution_id="e-1")
    batch = _leave(store, make_job("batch", "true"), ExecutionState.RUNNING, execution_id="e-2")
    new = _leave(store, make_job("new", "true"), ExecutionState.NEW, execution_id="e-3")
    Node(store).run([])
    states = [store.get_execution(e.id).compute_state.state_type for e in (service, batch, new)]
    assert states == [ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.COMPLETED]


def test_what_other_nodes_have_is_left_alone(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("theirs", "true")
    for execution_id, state in (("e-1", ExecutionState.NEW), ("e-2", ExecutionState.BID_ACCEPTED)):
        store.create_execution(
            Execution(
                id=execution_id, node_id="n-other", job_id=job.job_id, job=job.document, compute_state=State(state)
            )
        )
    Node(store).run([])
    assert [store.get_execution(e).revision for e in ("e-1", "e-2")] == [1, 1]


def test_a_left_execution_without_a_readable_job_is_failed(store: Store) -> None:
    store.create_execution(Execution(id="e-1", node_id=NODE_ID, job_id="j-1", job={"a": 1}, compute_state=_NEW))
    Node(store).run([])
    assert store.get_execution("e-1").compute_state.message == "its job can't be read"


def test_an_execution_that_somebody_else_ends_meanwhile_is_theirs(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("taken", "true")

    def cancel(execution: Execution) -> None:
        if execution.compute_state.state_type is ExecutionState.RUNNING:
            state = State(ExecutionState.CANCELLED, "by hand")
            store.update_execution_state(UpdateExecutionRequest(execution.id, Execution(compute_state=state)))

    report = Node(store, observer=cancel).run([job])
    execution = _only(store, job)
    assert report.overtaken == [execution.id]
    assert execution.compute_state.message == "by hand"
    assert Node(store).run([job]).created == []


def test_an_execution_that_somebody_else_deletes_meanwhile_is_let_go(
    store: Store, make_job: Callable[..., Job]
) -> None:
    job = make_job("deleted", "true")

    def delete(execution: Execution) -> None:
        if execution.compute_state.state_type is ExecutionState.RUNNING:
            store.delete_execution(execution.id)

    report = Node(store, observer=delete).run([job])
    assert report.overtaken == report.created
    assert sum(store.counts().values()) == 0


def test_an_interrupted_node_stops_its_commands_and_says_so(store: Store, make_job: Callable[..., Job]) -> None:
    batch = make_job("batch", "sleep 60")
    service = make_job("service", "sleep 60", job_type="service")
    queued = make_job("queued", "sleep 60")
    started = threading.Barrier(3)

    class Spy:
        """The store, telling when both commands have been started."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def add_execution_event(self, execution_id: str, *events: Event) -> None:
            store.add_execution_event(execution_id, *events)
            started.wait(30)

    def interrupt() -> None:
        started.wait(30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        Node(Spy(), workers=2).run([batch, service, queued])  # type: ignore[arg-type]
    interrupter.join()
    cancelled = _only(store, batch).compute_state
    assert (cancelled.state_type, cancelled.details) == (ExecutionState.CANCELLED, {"ErrorCode": "NodeStopped"})
    assert _only(store, service).compute_state.state_type is ExecutionState.RUNNING
    assert _only(store, queued).compute_state.state_type is ExecutionState.NEW


def test_a_part_that_was_stopped_with_the_node_is_run_by_the_next(store: Store, make_job: Callable[..., Job]) -> None:
    job = make_job("stopped", "echo done")
    left = _leave(store, job, ExecutionState.RUNNING)
    state = State(ExecutionState.CANCELLED, "Stopped together with the node", {"ErrorCode": "NodeStopped"})
    store.update_execution_state(UpdateExecutionRequest(left.id, Execution(compute_state=state)))
    (new_id,) = Node(store).run([job]).created
    assert store.get_execution(new_id).previous_execution == left.id


def test_an_error_of_the_store_ends_the_run(store: Store, make_job: Callable[..., Job]) -> None:
    def fail(execution: Execution) -> None:
        if execution.compute_state.state_type is ExecutionState.RUNNING:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Node(store, workers=1, observer=fail).run([make_job("a", "true"), make_job("b", "true")])
    assert store.get_execution_count(ExecutionState.NEW) == 1
