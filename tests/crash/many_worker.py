"""What the processes of `test_many_processes` do: ``many_worker.py ROLE STORE NAME FILE``, for ever.

Each appends to FILE, in one write a line, what it is about to do and what came of it: a process that is killed leaves
whole lines behind, since the kernel keeps what was written. Times are of the machine's one monotonic clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from typing import TYPE_CHECKING, Any

from execstore import Execution, ExecutionState, State, Store, UpdateExecutionCondition, UpdateExecutionRequest
from execstore.errors import (
    ExecutionAlreadyExistsError,
    ExecutionNotFoundError,
    InvalidExecutionRevisionError,
    StoreBusyError,
)
from execstore.watcher import WatcherManager, WatcherState

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.watcher import Event

ACCOUNTS = 6
TOTAL = 600
COUNTERS = 2
REGISTERS = 3
REGISTER_SECONDS = 1.0  # then new ones are used, so that the history of each stays short
LOCK_TIMEOUT_SECONDS = 0.5
CHECKPOINT_EACH = 7


def make(execution_id: str, job_id: str, name: str = "") -> Execution:
    return Execution(id=execution_id, job_id=job_id, job={}, name=name, compute_state=State(ExecutionState.NEW))


def prepare(path: str) -> None:
    """What must be there before the others start."""
    with Store(path) as store:
        for number in range(ACCOUNTS):
            store.create_execution(make(f"account-{number}", "accounts", str(TOTAL // ACCOUNTS)))
        for number in range(COUNTERS):
            store.create_execution(make(f"counter-{number}", "counters", "0"))


class Log:
    """A file that only this process, and those of its name before it, append to."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, **facts: Any) -> None:
        os.write(self._descriptor, json.dumps(facts).encode() + b"\n")


def rename(execution: Execution, name: str) -> UpdateExecutionRequest:
    condition = UpdateExecutionCondition(expected_revision=execution.revision)
    return UpdateExecutionRequest(execution.id, Execution(name=name), condition)


class Writer:
    """Counts up, swaps registers, moves money between accounts, creates and deletes."""

    def __init__(self, store: Store, name: str, log: Log) -> None:
        self.store, self.name, self.log = store, name, log
        self.chance = random.Random(f"{name} {time.monotonic_ns()}")

    def step(self) -> None:
        self.chance.choice((self.count, self.swap, self.swap, self.move, self.create))()

    def attempt(self, call: Callable[[], object], **facts: Any) -> None:
        """Do one thing, and say before and after what it is. ``done``: true, false, or null for "nobody knows"."""
        start = time.monotonic_ns()
        number = f"{os.getpid()}-{start}"
        self.log(number=number, start=start, **facts)
        found = None
        try:
            call()
        except StoreBusyError as error:
            done = None if error.outcome_open else False
            self.log(number=number, done=done, busy=True, holder=error.holder_pid)
            return
        except InvalidExecutionRevisionError as error:
            done, found = False, error.actual
        except (ExecutionAlreadyExistsError, ExecutionNotFoundError):
            done = False
        else:
            done = True
        self.log(number=number, done=done, end=time.monotonic_ns(), found=found)

    def count(self) -> None:
        counter = self.store.get_execution(f"counter-{self.chance.randrange(COUNTERS)}")
        request = rename(counter, str(int(counter.name) + 1))
        self.attempt(lambda: self.store.update_execution_state(request), kind="count", key=counter.id)

    def swap(self) -> None:
        key = f"register-{int(time.monotonic() / REGISTER_SECONDS)}-{self.chance.randrange(REGISTERS)}"
        value = f"{os.getpid()}-{time.monotonic_ns()}"
        try:
            register = read(self.store, self.log, key)
        except ExecutionNotFoundError:
            execution = make(key, "registers", value)
            self.attempt(lambda: self.store.create_execution(execution), kind="create", key=key, value=value)
            return
        request = rename(register, value)
        self.attempt(
            lambda: self.store.update_execution_state(request),
            kind="swap",
            key=key,
            value=value,
            expected=register.revision,
        )

    def move(self) -> None:
        giver, taker = self.chance.sample(range(ACCOUNTS), 2)

        def transfer() -> None:
            with self.store.begin_tx() as transaction:
                one = transaction.get_execution(f"account-{giver}")
                other = transaction.get_execution(f"account-{taker}")
                amount = self.chance.randrange(int(one.name) + 1)
                transaction.update_execution_state(rename(one, str(int(one.name) - amount)))
                transaction.update_execution_state(rename(other, str(int(other.name) + amount)))

        self.attempt(transfer, kind="move")

    def create(self) -> None:
        key = f"{self.name}-{time.monotonic_ns()}"
        self.attempt(lambda: self.store.create_execution(make(key, self.name)), kind="make", key=key)


def read(store: Store, log: Log, key: str) -> Execution:
    """Read a register, and say what was found and when."""
    start = time.monotonic_ns()
    try:
        execution = store.get_execution(key)
    except ExecutionNotFoundError:
        log(kind="read", key=key, start=start, end=time.monotonic_ns(), state=None)
        raise
    log(kind="read", key=key, start=start, end=time.monotonic_ns(), state=[execution.revision, execution.name])
    return execution


def look(store: Store, log: Log) -> None:
    """Read, and see to it that no half of a transaction shows."""
    accounts = store.get_executions("accounts")
    balances = {account.id: int(account.name) for account in accounts}
    if len(balances) != ACCOUNTS or sum(balances.values()) != TOTAL:
        log(kind="failure", reason=f"half a transaction: {balances}")
        sys.exit(1)
    log(kind="looked")
    key = f"register-{int(time.monotonic() / REGISTER_SECONDS)}-{random.randrange(REGISTERS)}"
    with contextlib.suppress(ExecutionNotFoundError):
        read(store, log, key)
    time.sleep(0.004)  # so that readers leave the writers some of the processors


def write_for_ever(path: str, name: str, log: Log) -> None:
    with open_patiently(path, log) as store:
        log(kind="started")
        writer = Writer(store, name, log)
        while True:
            try:
                writer.step()
            except StoreBusyError as error:  # it didn't come to a change: a read waited for too long
                log(kind="busy", holder=error.holder_pid)


def read_for_ever(path: str, name: str, log: Log) -> None:
    with open_patiently(path, log, read_only=name.endswith(("0", "2"))) as store:
        log(kind="started")
        while True:
            try:
                look(store, log)
            except StoreBusyError as error:
                log(kind="busy", holder=error.holder_pid)


def watch_for_ever(path: str, name: str, log: Log) -> None:
    """Record each event's number, once: those that come again after a restart are passed over by the record itself."""
    last = last_recorded(sys.argv[4])

    def record(event: Event) -> None:
        nonlocal last
        if event.seq_num <= last:
            return
        log(seq=event.seq_num)
        last = event.seq_num
        if last % CHECKPOINT_EACH == 0:
            try:
                watcher.checkpoint(last)
            except StoreBusyError as error:
                log(kind="busy", holder=error.holder_pid)  # the next one will do

    with open_patiently(path, log) as store, WatcherManager(store.event_store) as manager:
        watcher = manager.create(name, handler=record)
        watcher.start()
        while watcher.stats().state is WatcherState.RUNNING:
            time.sleep(0.1)
        log(kind="failure", reason=f"the watcher has ended: {watcher.stats().error}")
        sys.exit(1)


def last_recorded(path: str) -> int:
    with open(path, "rb") as file:
        numbers = [json.loads(line).get("seq", 0) for line in file]
    return max(numbers, default=0)


def open_patiently(path: str, log: Log, *, read_only: bool = False) -> Store:
    while True:
        try:
            return Store(path, lock_timeout=LOCK_TIMEOUT_SECONDS, read_only=read_only)
        except StoreBusyError as error:
            log(kind="busy", holder=error.holder_pid)


ROLES = {"write": write_for_ever, "read": read_for_ever, "watch": watch_for_ever}


if __name__ == "__main__":
    ROLES[sys.argv[1]](sys.argv[2], sys.argv[3], Log(sys.argv[4]))
