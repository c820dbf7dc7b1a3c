"""An edge agent: runs the jobs that are put into a folder, some at a time, and records each execution's life.

It shows how a program on a device lives with a store: what it was told to do is in the store before it is begun, every
change names the state that it expects, and whatever happens to the process, the next start finds out how things stand.

    python examples/edge_agent.py --store my-store --inbox inbox

    echo '{"Name": "hello", "Command": ["sh", "-c", "sleep 3; echo hello"]}' > new.json
    mv new.json inbox/hello-1.json               # moved, not written there: a file in the inbox is whole
    execstore --store my-store ls                # from another terminal
    execstore --store my-store update e-hello-1 --state Cancelled --message 'not today'   # and its process ends

A job file is a JSON object: "Command" (a list of texts), and if you like "Name" and "TimeoutSeconds". It becomes the
execution e-NAME of the job j-NAME, NAME being the file's without .json, and goes to inbox/accepted; what can't be run
goes to inbox/rejected, with the reason beside it.

Killed (kill -9, a power cut) it goes on at the next start: what was accepted, but not begun, is run. What was running
is failed, or run again with --on-restart resume. SIGTERM and Ctrl-C end it in order: running jobs are stopped, and
recorded, first. Needs Linux, or another Unix; where there is setpriv (Linux) no job outlives the agent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import filelock

from execstore import (
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    State,
    Store,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.errors import (
    ExecutionAlreadyExistsError,
    ExecutionAlreadyTerminalError,
    ExecutionNotFoundError,
    InvalidExecutionError,
    InvalidExecutionStateError,
    NotAStoreError,
    StoreBusyError,
    StoreFullError,
)

OUTPUT_BYTES = 64 * 1024
GRACE_SECONDS = 5.0
LIVE = (ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING)
# The store may be asked again later: the disk has no room at present, or somebody holds the lock.
NOT_NOW = (StoreFullError, StoreBusyError)
# Somebody else has changed or removed the execution: it isn't ours any more.
OVERTAKEN = (ExecutionNotFoundError, ExecutionAlreadyTerminalError, InvalidExecutionStateError)


@dataclass
class Running:
    """A job's process, and when it has to be over (by ``time.monotonic``)."""

    execution_id: str
    process: subprocess.Popen[bytes]
    deadline: float
    timeout_seconds: float
    timed_out: bool = False


class Agent:
    """One agent on one inbox. All of its state that matters is in the store and in the inbox."""

    def __init__(self, store: Store, inbox: Path, node_id: str, limit: int) -> None:
        self.store = store
        self.inbox = inbox
        self.node_id = node_id
        self.limit = limit
        self.work = inbox / "work"
        self.waiting: deque[str] = deque()  # IDs, oldest first
        self.running: list[Running] = []
        self.unstarted: dict[str, str] = {}  # IDs and reasons, until they are recorded
        for name in ("accepted", "rejected", "work"):
            (inbox / name).mkdir(parents=True, exist_ok=True)

    # --- how things stand after a start ---

    def settle(self, *, resume: bool) -> None:
        """Decide what becomes of executions that an earlier process of this agent has left live."""
        mine = [execution for execution in self.store.get_live_executions() if execution.node_id == self.node_id]
        for execution in sorted(mine, key=lambda each: (each.create_time, each.id)):
            if execution.compute_state.state_type is ExecutionState.RUNNING:
                if not resume:
                    self.change(execution.id, ExecutionState.FAILED, "the agent died while it ran", LIVE)
                    continue
                self.change(execution.id, ExecutionState.BID_ACCEPTED, "to be run again", LIVE)
            self.waiting.append(execution.id)

    # --- the inbox ---

    def accept_files(self) -> None:
        """Bring the inbox's files into the store, oldest first. A file leaves the inbox after that, not before."""
        files = [path for path in self.inbox.glob("*.json") if path.is_file()]
        for path in sorted(files, key=lambda each: (each.stat().st_mtime_ns, each.name)):
            try:
                job = read_job(path)
                execution = Execution(
                    id=f"e-{path.stem}",
                    name=str(job.get("Name", path.stem)),
                    job_id=f"j-{path.stem}",
                    node_id=self.node_id,
                    job=job,
                    compute_state=State(ExecutionState.BID_ACCEPTED, "waiting"),
                )
                self.store.create_execution(execution, Event("Agent", f"accepted {path.name}"))
                self.waiting.append(execution.id)
            except ExecutionAlreadyExistsError:
                pass  # the agent was killed just before the file was moved, or somebody gave the same name again
            except (ValueError, InvalidExecutionError) as error:
                say(f"{path.name} is rejected: {error}")
                (self.inbox / "rejected" / f"{path.name}.reason").write_text(f"{error}\n")
                os.replace(path, self.inbox / "rejected" / path.name)
                continue
            os.replace(path, self.inbox / "accepted" / path.name)

    # --- processes ---

    def start_waiting(self) -> None:
        """Begin as many as the limit allows."""
        while self.waiting and len(self.running) < self.limit:
            execution_id = self.waiting[0]
            # Recorded before it is begun: a process that nobody knows of is worse than one that is said to run.
            if self.change(execution_id, ExecutionState.RUNNING, "", (ExecutionState.BID_ACCEPTED,)):
                try:
                    self._start(self.store.get_execution(execution_id))
                except OSError as error:
                    self.unstarted[execution_id] = f"can't be started: {error}"
            self.waiting.popleft()

    def _start(self, execution: Execution) -> None:
        job = execution.job or {}
        if shutil.which(job["Command"][0]) is None:
            raise FileNotFoundError(f"there is no program {job['Command'][0]!r}")
        folder = self.work / execution.id
        folder.mkdir(exist_ok=True)
        with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
            process = subprocess.Popen(
                [*dies_with_us(), *job["Command"]],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # so that all of its processes can be ended together
            )
        timeout_seconds = float(job.get("TimeoutSeconds", 3600))
        deadline = time.monotonic() + timeout_seconds
        self.running.append(Running(execution.id, process, deadline, timeout_seconds))

    def look_after_running(self) -> None:
        """Record what has ended, and end what takes too long or was cancelled in the store."""
        for execution_id, reason in list(self.unstarted.items()):
            self.change(execution_id, ExecutionState.FAILED, reason, LIVE)
            del self.unstarted[execution_id]
        for each in list(self.running):
            if each.process.poll() is not None:
                self._record(each)
                self.running.remove(each)
            elif not self._is_wanted(each.execution_id):
                say(f"{each.execution_id} was cancelled")
                end(each.process)
                self.running.remove(each)
            elif time.monotonic() > each.deadline:
                each.timed_out = True
                end(each.process)  # the next look records it

    def _is_wanted(self, execution_id: str) -> bool:
        try:
            return self.store.get_execution(execution_id).compute_state.state_type is ExecutionState.RUNNING
        except ExecutionNotFoundError:
            return False

    def _record(self, each: Running) -> None:
        folder = self.work / each.execution_id
        stdout, stdout_truncated = beginning_of(folder / "stdout")
        stderr, stderr_truncated = beginning_of(folder / "stderr")
        exit_code = each.process.returncode
        output = RunCommandResult(stdout, stdout_truncated, stderr, stderr_truncated, exit_code)
        if each.timed_out:
            state, message = ExecutionState.FAILED, f"not done within {each.timeout_seconds:g} s"
        elif exit_code == 0:
            state, message = ExecutionState.COMPLETED, ""
        else:
            state, message = ExecutionState.FAILED, f"exit code {exit_code}"
        self.change(each.execution_id, state, message, LIVE, output)
        shutil.rmtree(folder, ignore_errors=True)

    def change(
        self,
        execution_id: str,
        state: ExecutionState,
        message: str,
        expected: tuple[ExecutionState, ...],
        output: RunCommandResult | None = None,
    ) -> bool:
        """Set the state if it still is one of those expected; ``False`` if somebody was quicker."""
        request = UpdateExecutionRequest(
            execution_id,
            Execution(compute_state=State(state, message), run_output=output),
            UpdateExecutionCondition(expected_states=expected),
            [Event("Agent", f"{state.value}: {message}" if message else state.value)],
            # A message of the state before would stay, since an update's empty values change nothing.
            () if message else ("compute_state.message",),
        )
        try:
            self.store.update_execution_state(request)
        except OVERTAKEN as error:
            say(f"{execution_id} is left alone: {error}")
            return False
        say(f"{execution_id}: {state.value} {message}".rstrip())
        return True

    def stop(self, *, resume: bool) -> None:
        """End what runs, and record it: as failed, or so that the next start runs it again."""
        for each in self.running:
            end(each.process)
            try:
                if each.process.returncode == 0:  # it was done just now
                    self._record(each)
                elif resume:
                    self.change(each.execution_id, ExecutionState.BID_ACCEPTED, "to be run again", LIVE)
                else:
                    self.change(each.execution_id, ExecutionState.FAILED, "the agent was stopped", LIVE)
            except NOT_NOW as error:
                say(f"{each.execution_id} is left to the next start: {error}")

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do, and nothing in the inbox."""
        return not (self.waiting or self.running or self.unstarted or any(self.inbox.glob("*.json")))


def read_job(path: Path) -> dict[str, Any]:
    """A job file's object. Raises ``ValueError``, which says what is wrong with it."""
    try:
        job = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(job, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - one error for all that can be wrong with a file
    command = job.get("Command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) and part for part in command):
        raise ValueError('"Command" must be a list of texts, such as ["echo", "hello"]')
    timeout_seconds = job.get("TimeoutSeconds", 1)
    if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, int | float) or timeout_seconds <= 0:
        raise ValueError('"TimeoutSeconds" must be a number over 0')
    return job


def dies_with_us() -> list[str]:
    """What to put before a command so that the kernel kills it when this process dies."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if sys.platform == "linux" and shutil.which("setpriv") else []


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it has started: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
            break


def beginning_of(path: Path) -> tuple[str, bool]:
    """A file's text, and whether it had to be cut."""
    with open(path, "rb") as file:
        data = file.read(OUTPUT_BYTES + 1)
    return data[:OUTPUT_BYTES].decode(errors="replace"), len(data) > OUTPUT_BYTES


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Signals:
    """Wakes the loop when a child has ended or the agent is asked to stop, without a race between the two."""

    def __init__(self) -> None:
        self.stopping = False
        self._reading, writing = socket.socketpair()
        self._reading.setblocking(False)
        writing.setblocking(False)
        self._writing = writing
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def wait(self, seconds: float) -> None:
        """Until a signal has come, or so many seconds have passed."""
        select.select([self._reading], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while self._reading.recv(4096):
                pass


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the jobs of a folder and record them in a store.")
    parser.add_argument("--store", required=True, metavar="DIR")
    parser.add_argument("--inbox", required=True, metavar="DIR", type=Path)
    parser.add_argument("--node", default=socket.gethostname(), metavar="ID", help="this agent's name in the store")
    parser.add_argument("--limit", type=int, default=2, metavar="N", help="how many jobs at a time (2)")
    parser.add_argument("--poll", type=float, default=1.0, metavar="SECONDS", help="between looks at the inbox (1)")
    parser.add_argument("--on-restart", choices=["fail", "resume"], default="fail", help="what becomes of cut-off jobs")
    parser.add_argument("--keep-days", type=float, default=7.0, metavar="N", help="how long ended executions stay (7)")
    parser.add_argument("--once", action="store_true", help="end when there is nothing left to do")
    arguments = parser.parse_args()
    if arguments.limit < 1 or arguments.poll <= 0 or arguments.keep_days < 0:
        parser.error("--limit must be at least 1, --poll over 0, --keep-days not negative")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    resume = arguments.on_restart == "resume"
    signals = Signals()
    arguments.inbox.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(arguments.inbox / ".agent.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        say(f"another agent is at work on {arguments.inbox}")
        return 1
    keep = timedelta(days=arguments.keep_days)
    with lock, Store(arguments.store, retention=keep, event_retention=keep) as store:
        agent = Agent(store, arguments.inbox, arguments.node, arguments.limit)
        agent.settle(resume=resume)
        say(f"agent {arguments.node} is ready")
        while not signals.stopping:
            try:
                agent.look_after_running()
                agent.accept_files()
                agent.start_waiting()
            except NOT_NOW as error:
                say(f"later: {error}")
            if arguments.once and agent.is_idle:
                break
            signals.wait(arguments.poll)
        agent.stop(resume=resume)
    say("stopped")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotAStoreError as error:
        sys.exit(str(error))
