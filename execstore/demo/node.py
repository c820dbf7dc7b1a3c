"""The compute node: runs jobs' executions as subprocesses, a few at a time, and records their whole life in the store.

Every step is one call to the store, conditional on the state and revision that the node saw last, and is acknowledged
before the next step is taken. So the node can be killed at any moment: what it has acknowledged is there, and the next
run settles what was left live, as Bacalhau's node does (``pkg/compute/startup.go``). Topics, messages and the keys of
details are Bacalhau's (``pkg/compute/events.go``, ``errors.go``, ``pkg/models/error.go``, ``pkg/bacerrors/codes.go``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from execstore import (
    DesiredState,
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    State,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.demo.jobs import Command, Job, JobFileError, Refusal, command_of, parse_job
from execstore.demo.process import OUTPUT_LIMIT_BYTES, Outcome, ProgramNotFoundError, RunningCommand, start_command
from execstore.errors import (
    ExecutionAlreadyTerminalError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore import Store

__all__ = ["NODE_ID", "Node", "RunReport"]

NODE_ID = "n-execstore-demo"

# Bacalhau's topics.
_TOPIC_EXECUTION = "Execution"
_TOPIC_SCANNING = "Exec Scanning"
_TOPIC_PREPARING = "Preparing Environment"
_TOPIC_RUNNING = "Running Execution"
_TOPIC_PUBLISHING = "Publishing Results"
_TOPIC_RESTART = "Restart"

# An execution that ended with one of these did not fail of itself; its part of the job is run again, by a new one.
_NODE_RESTART = "NodeRestart"
_NODE_STOPPED = "NodeStopped"
_INTERRUPTED = frozenset((_NODE_RESTART, _NODE_STOPPED))

_WAIT_SECONDS = 0.2

_RERUN_TYPES = frozenset(("service", "daemon"))
_INHERITED_VARIABLES = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

# Somebody else (a person with the command line, say) changed or removed the execution meanwhile: theirs stands.
_CONFLICTS = (
    ExecutionAlreadyTerminalError,
    ExecutionNotFoundError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
)


@dataclass(slots=True)
class RunReport:
    """What one ``Node.run`` did, by execution IDs; ``done_before`` holds the names of jobs that needed nothing."""

    failed_after_restart: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    taken_up: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)
    done_before: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    error_code: str
    topic: str
    hint: str = ""
    retryable: bool = False


class Node:
    """Runs jobs on this machine.

    Args:
        store: an open, writable store; only one node at a time may work on it.
        workers: how many executions run at the same time.
        observer: called with the stored execution after each step, from several threads at once.
        output_limit_bytes: how much of stdout and of stderr is kept.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int | None = None,
        observer: Callable[[Execution], None] = lambda execution: None,  # noqa: ARG005
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> None:
        self._store = store
        self._workers = workers or os.cpu_count() or 1
        self._observer = observer
        self._output_limit_bytes = output_limit_bytes
        self._running: set[RunningCommand] = set()
        self._running_lock = threading.Lock()
        self._stopping = False
        self._report = RunReport()

    def run(self, jobs: Sequence[Job], *, again: bool = False) -> RunReport:
        """Settle what an earlier run left, then run every part of every job that isn't done, and wait for them.

        A part is done when its newest execution has ended by itself, completed or failed. ``again`` runs all anew.
        Ended early by an exception (``KeyboardInterrupt`` among them), it stops the commands, records that, and raises.
        """
        self._report = RunReport()
        self._stopping = False
        work = [*self._settle(), *self._take_up()]
        started = {execution.id for execution, _ in work}
        for job in jobs:
            work += [(execution, job) for execution in self._create(job, started, again=again)]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="execstore-demo") as pool:
            futures = [pool.submit(self._work, execution, job) for execution, job in work]
            try:
                pending = set(futures)
                while pending:
                    # Not without a limit: a signal that comes just before the wait begins isn't noticed until its end.
                    done, pending = wait(pending, _WAIT_SECONDS, FIRST_EXCEPTION)
                    for future in done:
                        future.result()
            except BaseException:
                self._stop()
                raise
        return self._report

    # --- before anything runs ---------------------------------------------------------------------------------------

    def _settle(self) -> list[tuple[Execution, Job | None]]:
        """Fail the batch and ops executions that a killed run left live; return the service and daemon ones."""
        to_run: list[tuple[Execution, Job | None]] = []
        for execution in self._store.get_live_executions():
            if execution.node_id != NODE_ID:
                continue
            _remove_directory(execution)
            job = _recorded_job(execution)
            if job is not None and job.job_type in _RERUN_TYPES:
                event = Event(
                    _TOPIC_RESTART, f"Running again, found {execution.compute_state.state_type} at node start"
                )
                stored = self._update(
                    execution, State(ExecutionState.BID_ACCEPTED), events=(event,), clear=("run_output",)
                )
                if stored is not None:
                    self._report.restarted.append(execution.id)
                    to_run.append((stored, job))
            else:
                # It isn't known what the command did before the node died, so it isn't simply run again.
                event = Event(_TOPIC_EXECUTION, "Failing due to node restart", details={"FailsExecution": "true"})
                details = {"ErrorCode": _NODE_RESTART}
                state = State(ExecutionState.FAILED, "Failed due to node restart", details)
                if self._update(execution, state, events=(event,)) is not None:
                    self._report.failed_after_restart.append(execution.id)
        return to_run

    def _take_up(self) -> list[tuple[Execution, Job | None]]:
        """Return the executions that were created, but never started."""
        found = [e for e in self._store.list_executions(state=ExecutionState.NEW) if e.node_id == NODE_ID]
        self._report.taken_up += [execution.id for execution in found]
        return [(execution, _recorded_job(execution)) for execution in found]

    def _create(self, job: Job, started: set[str], *, again: bool) -> list[Execution]:
        try:
            existing = self._store.get_executions(job.job_id)
        except ExecutionsNotFoundForJobError:
            existing = []
        newest = {execution.partition_index: execution for execution in reversed(existing)}
        created = []
        for index in range(job.count):
            previous = newest.get(index)
            if previous is not None and (previous.id in started or (_is_done(previous) and not again)):
                continue
            stored = self._store.create_execution(
                Execution(
                    id=f"e-{uuid.uuid4()}",
                    namespace=job.namespace,
                    name=job.name,
                    node_id=NODE_ID,
                    job_id=job.job_id,
                    job=job.document,
                    desired_state=State(DesiredState.RUNNING),
                    compute_state=State(ExecutionState.NEW),
                    previous_execution=previous.id if previous is not None else "",
                    partition_index=index,
                ),
                Event(_TOPIC_EXECUTION, f"Created from {os.path.basename(job.source)}"),
            )
            self._observer(stored)
            created.append(stored)
        self._report.created += [execution.id for execution in created]
        if not created and job.job_id not in {execution.job_id for execution in existing if execution.id in started}:
            self._report.done_before.append(job.name)
        return created

    # --- one execution's life ---------------------------------------------------------------------------------------

    def _work(self, execution: Execution, job: Job | None) -> None:
        if self._stopping:
            return
        try:
            self._execute(execution, job)
        except BaseException:
            # Before this thread takes the next one: with a store that fails, nothing more may be begun.
            self._stop()
            raise

    def _execute(self, execution: Execution, job: Job | None) -> None:
        command = command_of(job) if job is not None else Refusal("its job can't be read", "ValidationError")
        if isinstance(command, Refusal):
            self._fail(execution, _Failure(command.reason, command.error_code, _TOPIC_SCANNING, command.hint))
            return
        if execution.compute_state.state_type == ExecutionState.NEW:
            event = Event(_TOPIC_SCANNING, f"Bid accepted, the node runs {self._workers} at a time")
            accepted = self._update(execution, State(ExecutionState.BID_ACCEPTED), events=(event,))
            if accepted is None:
                return
            execution = accepted
        try:
            environment = _environment(execution, command)
        except KeyError as error:
            reason = f"the environment variable {error.args[0]} is not set on this node"
            self._fail(execution, _Failure(reason, "NotFound", _TOPIC_PREPARING, "Set it before the node is started"))
            return
        running = self._update(execution, State(ExecutionState.RUNNING), events=(Event(_TOPIC_RUNNING, "Running"),))
        if running is None:
            return
        directory = _directory(execution)
        try:
            os.mkdir(directory, 0o700)
            outcome = self._run_command(running, command, environment, command.working_directory or directory)
        except ProgramNotFoundError as error:
            self._fail(
                running, _Failure(str(error), "NotFound", _TOPIC_PREPARING, "Install it, or correct the job file")
            )
            return
        except OSError as error:
            self._fail(running, _Failure(f"the command can't be started: {error}", "IOError", _TOPIC_PREPARING))
            return
        finally:
            _remove_directory(execution)
        if outcome is None or (outcome.stopped and outcome.signal_name and not outcome.timed_out):
            self._record_stop(running)
        else:
            self._record_outcome(running, command, outcome)

    def _run_command(
        self, execution: Execution, command: Command, environment: dict[str, str], directory: str
    ) -> Outcome | None:
        """Run the command to its end; ``None`` if the node stops and it wasn't even started."""
        with self._running_lock:
            if self._stopping:
                return None
            process = start_command(command.arguments, environment, directory, self._output_limit_bytes)
            self._running.add(process)
        try:
            with contextlib.suppress(ExecutionNotFoundError):
                event = Event(_TOPIC_RUNNING, f"Started process {process.pid}", details={"PID": str(process.pid)})
                self._store.add_execution_event(execution.id, event)
        except BaseException:
            process.stop()
            raise
        finally:
            outcome = process.wait(command.timeout_seconds)
            with self._running_lock:
                self._running.discard(process)
        return outcome

    def _record_stop(self, execution: Execution) -> None:
        # A service stays live, and the next run goes on with it.
        if (execution.job or {}).get("Type") not in _RERUN_TYPES:
            state = State(ExecutionState.CANCELLED, "Stopped together with the node", {"ErrorCode": _NODE_STOPPED})
            self._update(execution, state, events=(Event(_TOPIC_EXECUTION, "Stopped together with the node"),))

    def _record_outcome(self, execution: Execution, command: Command, outcome: Outcome) -> None:
        seconds = f"{outcome.duration_seconds:.2f} s"
        failure = None
        if outcome.timed_out:
            failure = _Failure(
                f"Execution timed out after {command.timeout_seconds}s",
                "TimeOut",
                _TOPIC_RUNNING,
                "Increase the task timeout or allocate more resources",
                retryable=True,
            )
        elif outcome.signal_name:
            failure = _Failure(f"killed by {outcome.signal_name} after {seconds}", "Killed", _TOPIC_RUNNING)
        elif outcome.exit_code:
            failure = _Failure(f"exit code {outcome.exit_code} after {seconds}", "NonZeroExitCode", _TOPIC_RUNNING)
        output = RunCommandResult(
            stdout=outcome.stdout,
            stdout_truncated=outcome.stdout_truncated,
            stderr=outcome.stderr,
            stderr_truncated=outcome.stderr_truncated,
            exit_code=outcome.exit_code,
            error_msg=failure.message if failure is not None else "",
        )
        if failure is not None:
            self._fail(execution, failure, output)
            return
        size_bytes = len(outcome.stdout.encode()) + len(outcome.stderr.encode())
        event = Event(_TOPIC_PUBLISHING, f"Kept {size_bytes} bytes of output")
        publishing = self._update(execution, State(ExecutionState.PUBLISHING), events=(event,), run_output=output)
        if publishing is not None:
            state = State(ExecutionState.COMPLETED, f"exit code 0 after {seconds}")
            self._update(publishing, state, events=(Event(_TOPIC_EXECUTION, "Completed successfully"),))

    def _fail(self, execution: Execution, failure: _Failure, run_output: RunCommandResult | None = None) -> None:
        details = {"ErrorCode": failure.error_code}
        event_details = {**details, "IsError": "true", "FailsExecution": "true"}
        if failure.hint:
            event_details["Hint"] = failure.hint
        if failure.retryable:
            event_details["Retryable"] = "true"
        event = Event(failure.topic, failure.message, details=event_details)
        state = State(ExecutionState.FAILED, failure.message, details)
        self._update(execution, state, events=(event,), run_output=run_output)

    def _update(
        self,
        execution: Execution,
        state: State[ExecutionState],
        *,
        events: tuple[Event, ...],
        run_output: RunCommandResult | None = None,
        clear: tuple[str, ...] = (),
    ) -> Execution | None:
        """Take the execution from what it was to a new state; ``None`` if somebody else changed it meanwhile."""
        request = UpdateExecutionRequest(
            execution_id=execution.id,
            new_values=Execution(compute_state=state, run_output=run_output),
            condition=UpdateExecutionCondition(
                expected_states=(execution.compute_state.state_type,), expected_revision=execution.revision
            ),
            events=events,
            clear=clear,
        )
        try:
            stored = self._store.update_execution_state(request)
        except _CONFLICTS:
            self._report.overtaken.append(execution.id)
            return None
        self._observer(stored)
        return stored

    def _stop(self) -> None:
        with self._running_lock:
            self._stopping = True
            for process in self._running:
                process.stop()


def _is_done(execution: Execution) -> bool:
    state = execution.compute_state
    return state.state_type.is_terminal and state.details.get("ErrorCode") not in _INTERRUPTED


def _recorded_job(execution: Execution) -> Job | None:
    try:
        return parse_job(execution.job, f"the job of execution {execution.id}")
    except JobFileError:
        return None


def _directory(execution: Execution) -> str:
    # It follows from the ID, so that the next run can remove what a killed one left, and is safe for any ID.
    return os.path.join(tempfile.gettempdir(), f"execstore-demo-{uuid.uuid5(uuid.NAMESPACE_OID, execution.id)}")


def _remove_directory(execution: Execution) -> None:
    shutil.rmtree(_directory(execution), ignore_errors=True)


def _environment(execution: Execution, command: Command) -> dict[str, str]:
    """Return the command's whole environment; raises ``KeyError`` with the name of a host's variable that isn't set."""
    environment = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    for name, value in command.environment:
        environment[name] = os.environ[value.removeprefix("env:")] if value.startswith("env:") else value
    job = execution.job or {}
    # pkg/compute/envvars.go; the system's variables win over the task's.
    own = {
        "EXECUTION_ID": execution.id,
        "JOB_ID": execution.job_id,
        "JOB_NAME": job.get("Name", ""),
        "JOB_NAMESPACE": execution.namespace,
        "JOB_TYPE": job.get("Type", ""),
        "NODE_ID": execution.node_id,
        "PARTITION_COUNT": job.get("Count", 1),
        "PARTITION_INDEX": execution.partition_index,
    }
    return {**environment, **{f"BACALHAU_{name}": str(value) for name, value in own.items()}}
