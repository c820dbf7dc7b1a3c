"""Sixteen processes on one store, killed and stopped at random: nothing that was acknowledged is lost or undone.

``EXECSTORE_LONG_SECONDS=120`` runs it for that long; ``EXECSTORE_CRASH_SEED=7`` kills in another order.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from execstore import Store
from execstore.errors import StoreBusyError
from execstore.tree.filesystem import parse_lock_holder
from tests.crash import many_worker
from tests.crash.linearizability import Operation, is_linearizable
from tests.crash.many_worker import COUNTERS, TOTAL, prepare
from tests.support import PATIENCE_SECONDS, log_entries, make_execution, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = float(os.environ.get("EXECSTORE_LONG_SECONDS", "4"))
ROLES = {"write": 8, "read": 4, "watch": 4}
WORKER = many_worker.__file__

Facts = dict[str, Any]


class Worker:
    """One name, under which process after process does the same."""

    def __init__(self, role: str, number: int, store: Path, folder: Path) -> None:
        self.role = role
        self.name = f"{role}-{number}"
        self.file = folder / f"{self.name}.jsonl"
        self.file.touch()
        self._store = store
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return python(WORKER, self.role, str(self._store), self.name, str(self.file), stderr=subprocess.PIPE)

    def kill(self) -> None:
        """SIGKILL. One that had ended by itself has failed."""
        process = self.process
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"{self.name} has ended by itself: {process.stderr.read()} {self.said()[-1:]}")
        process.kill()
        process.wait(PATIENCE_SECONDS)
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()

    def replace(self) -> None:
        self.kill()
        self.process = self._start()

    def said(self) -> list[Facts]:
        return [json.loads(line) for line in self.file.read_bytes().splitlines()]


class Crowd:
    """All workers, and what is done to them."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.store = store
        self.workers = [Worker(role, number, store, folder) for role, count in ROLES.items() for number in range(count)]
        self.done: Counter[str] = Counter()
        self.writer = Store(store, lock_timeout=0)
        self.reader = Store(store, read_only=True)

    def of(self, role: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.role == role]

    def wait_until_all_are_at_work(self) -> None:
        wait_until(lambda: all(worker.file.stat().st_size for worker in self.workers))

    def stop_one_that_holds_the_lock(self, seconds: float) -> Worker | None:
        """SIGSTOP a process at the moment in which it holds the change lock; ``None`` if none was caught."""
        status = os.stat(self.store / "lock")
        by_pid = {worker.process.pid: worker for worker in self.workers}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            worker = by_pid.get(self._holder(status) or 0)
            if worker is None:
                continue
            os.kill(worker.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if self._holder(status) == worker.process.pid:
                return worker
            os.kill(worker.process.pid, signal.SIGCONT)
        return None

    @staticmethod
    def _holder(status: os.stat_result) -> int | None:
        locks = Path("/proc/locks").read_text()
        return parse_lock_holder(locks, os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it has been waited for in vain"
        time.sleep(0.01)


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    if not Path("/proc/locks").exists():
        pytest.skip("who holds a lock can't be told without /proc/locks")
    prepare(str(tmp_path / "store"))
    (tmp_path / "said").mkdir()
    crowd = Crowd(tmp_path / "store", tmp_path / "said")
    try:
        yield crowd
    finally:
        crowd.reader.close()
        crowd.writer.close()
        for worker in crowd.workers:
            worker.process.kill()
            worker.process.wait(PATIENCE_SECONDS)
            for pipe in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
                if pipe is not None:
                    pipe.close()


def test_sixteen_processes_killed_and_stopped(crowd: Crowd) -> None:
    seed = int(os.environ.get("EXECSTORE_CRASH_SEED", str(random.randrange(2**32))))
    print(f"EXECSTORE_CRASH_SEED={seed}")
    chance = random.Random(seed)
    crowd.wait_until_all_are_at_work()
    deadline = time.monotonic() + SECONDS
    stop_others(crowd, chance)
    while time.monotonic() < deadline:
        time.sleep(chance.random() * 0.1)
        if chance.random() < 0.15:
            stop_others(crowd, chance)
        else:
            worker = chance.choice(crowd.workers)
            worker.replace()
            crowd.done[f"killed {worker.role}"] += 1
    for worker in [*crowd.of("write"), *crowd.of("read")]:
        worker.kill()
    check(crowd)


def stop_others(crowd: Crowd, chance: random.Random) -> None:
    """Stop one that holds the lock: others are told who it is, and readers read on. Then it goes on, or is killed."""
    stopped = crowd.stop_one_that_holds_the_lock(PATIENCE_SECONDS)
    assert stopped is not None, "no process was caught while it held the lock"
    pid = stopped.process.pid
    others = [worker for worker in crowd.of("write") if worker is not stopped]
    sizes = {worker.name: worker.file.stat().st_size for worker in crowd.workers}

    def said_since(worker: Worker) -> str:
        with worker.file.open("rb") as file:
            file.seek(sizes[worker.name])
            return file.read().decode()

    wait_until(lambda: any(f'"holder": {pid}' in said_since(worker) for worker in others))
    for call in (
        lambda: crowd.writer.create_execution(make_execution("never")),
        lambda: Store(crowd.store, lock_timeout=0),
    ):
        with pytest.raises(StoreBusyError, match=f"process {pid} ") as caught:
            call()
        assert caught.value.holder_pid == pid
    accounts = crowd.reader.get_executions("accounts")
    assert sum(int(account.name) for account in accounts) == TOTAL
    crowd.done["stopped"] += 1
    if chance.random() < 0.3:
        stopped.replace()
        crowd.done["killed while stopped"] += 1
    else:
        os.kill(pid, signal.SIGCONT)


def check(crowd: Crowd) -> None:
    """Hold what every process was told against what is there now."""
    said = {worker.name: worker.said() for worker in crowd.workers}
    failures = [facts for facts in chain.from_iterable(said.values()) if facts.get("kind") == "failure"]
    assert failures == []
    with Store(crowd.store) as store:
        latest = store.event_store.get_latest_event_num()
        wait_until(lambda: all(many_worker.last_recorded(str(w.file)) == latest for w in crowd.of("watch")))
        for watcher in crowd.of("watch"):
            watcher.kill()
        for watcher in crowd.of("watch"):
            numbers = [facts["seq"] for facts in watcher.said() if "seq" in facts]
            assert numbers == list(range(1, latest + 1)), "every number, once and in order"
        report = store.verify()
        assert report.ok, report.problems
        logged = log_entries(store)
        assert [event.seq_num for event in logged] == list(range(1, latest + 1))
        operations = operations_of(said)
        check_counters(store, operations)
        check_accounts(store)
        check_creations(store, operations)
    histories = registers_of(said, operations)
    wrong = [key for key, history in histories.items() if not is_linearizable(history)]
    assert wrong == []
    checked = sum(len(history) for history in histories.values())
    looks = sum(facts.get("kind") == "looked" for each in said.values() for facts in each)
    assert looks
    print(
        f"{SECONDS:g} s: {dict(crowd.done)}, {len(operations)} changes of which "
        f"{sum(facts['done'] is None for facts in operations)} unknown, {latest} events to each watcher, {looks} looks "
        f"at the accounts, {checked} operations on {len(histories)} registers linearizable"
    )


def operations_of(said: dict[str, list[Facts]]) -> list[Facts]:
    """What the writers tried, each with what came of it (``done`` is ``None`` if nobody knows)."""
    found: dict[str, Facts] = {}
    for facts in chain.from_iterable(said.values()):
        if "number" in facts:
            found.setdefault(facts["number"], {"done": None, "end": None}).update(facts)
    return list(found.values())


def check_counters(store: Store, operations: list[Facts]) -> None:
    for number in range(COUNTERS):
        counter = store.get_execution(f"counter-{number}")
        results = Counter(facts["done"] for facts in operations if facts.get("key") == counter.id)
        assert results[True] <= int(counter.name) <= results[True] + results[None]
        assert counter.revision == int(counter.name) + 1


def check_accounts(store: Store) -> None:
    assert sum(int(account.name) for account in store.get_executions("accounts")) == TOTAL


def check_creations(store: Store, operations: list[Facts]) -> None:
    there = {execution.id for execution in store.list_executions() if execution.job_id.startswith("write-")}
    made = [facts for facts in operations if facts["kind"] == "make"]
    assert {facts["key"] for facts in made if facts["done"]} <= there
    assert there <= {facts["key"] for facts in made if facts["done"] is not False}
    assert "never" not in {execution.id for execution in store.list_executions()}


def registers_of(said: dict[str, list[Facts]], operations: list[Facts]) -> dict[str, list[Operation]]:
    """The history of each register."""
    histories: dict[str, list[Operation]] = defaultdict(list)
    for facts in chain.from_iterable(said.values()):
        if facts.get("kind") == "read":
            state = facts["state"]
            found = None if state is None else (state[0], state[1])
            histories[facts["key"]].append(Operation("read", facts["start"], facts["end"], found=found))
    for facts in operations:
        if facts["kind"] not in {"create", "swap"} or (facts.get("busy") and facts["done"] is False):
            continue
        histories[facts["key"]].append(
            Operation(
                facts["kind"],
                facts["start"],
                facts["end"],
                facts["value"],
                facts.get("expected", 0),
                facts["done"],
                None if facts.get("found") is None else (facts["found"], ""),
            )
        )
    return histories
