"""Many processes on one store: nothing is lost, whoever is killed, and whenever."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from execstore.errors import ExecutionNotFoundError, StoreBusyError
from tests.support import PATIENCE_SECONDS, log_entries, make_event, make_execution, make_request, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StoreFactory

WORKER = str(Path(__file__).parent / "worker.py")
PROCESSES = 8


@contextlib.contextmanager
def workers(path: Path, command: str, names: list[str], count: int = 0) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that do ``command``, one for each name; they are gone at the end."""
    started = [python(WORKER, command, str(path), name, str(count)) for name in names]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            rest_of(process)


def finish(processes: list[subprocess.Popen[str]]) -> list[list[dict[str, Any]]]:
    """Wait for all of them; what each said."""
    said = []
    for process in processes:
        output = rest_of(process)
        assert process.returncode == 0
        said.append([json.loads(line) for line in output.splitlines()])
    return said


def rest_of(process: subprocess.Popen[str]) -> str:
    """Wait for its end; what it said that wasn't read yet."""
    # Not communicate(): that would leave out what readline() has read ahead.
    output = ""
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None and not process.stdout.closed:
        output = process.stdout.read()
        process.stdout.close()
    process.wait(PATIENCE_SECONDS)
    return output


def next_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it has ended"
    found: dict[str, Any] = json.loads(line)
    return found


def test_eight_processes_create_at_once_and_nothing_is_lost(store: Store, open_store: StoreFactory) -> None:
    names = [f"p{number}" for number in range(PROCESSES)]
    with workers(open_store.path(), "create", names, 25) as processes:
        said = finish(processes)
    expected = {f"{name}-{number}" for name in names for number in range(25)}
    assert {line["id"] for lines in said for line in lines} == expected
    assert {execution.id for execution in store.list_executions()} == expected
    assert store.get_execution_count(ExecutionState.BID_ACCEPTED) == len(expected)
    logged = log_entries(store)
    assert [event.seq_num for event in logged] == list(range(1, 2 * len(expected) + 1))
    assert len({event.timestamp for event in logged}) == len(expected)
    assert [event.timestamp for event in logged] == sorted(event.timestamp for event in logged)
    for name in names:
        in_order = [event.object.current.id for event in logged if getattr(event.object, "current", None)]
        own = [execution_id for execution_id in in_order if execution_id.startswith(f"{name}-")]
        assert own == [f"{name}-{number}" for number in range(25)]


def test_eight_processes_count_up_and_no_addition_is_lost(store: Store, open_store: StoreFactory) -> None:
    store.create_execution(make_execution("counter"))
    with workers(open_store.path(), "count_up", [f"p{number}" for number in range(PROCESSES)], 10) as processes:
        finish(processes)
    assert store.get_execution("counter").revision == 1 + PROCESSES * 10
    assert len(log_entries(store)) == 1 + PROCESSES * 10


def test_several_processes_make_the_same_store(open_store: StoreFactory) -> None:
    names = [f"p{number}" for number in range(4)]
    with workers(open_store.path(), "create", names, 1) as processes:
        finish(processes)
    assert len(list(open_store().list_executions())) == 4


class Acknowledged:
    """What a killed worker had been told is done, out of the lines it could print."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.created: list[tuple[str, str]] = []
        self.deleted: list[tuple[str, str]] = []
        self.running: set[str] = set()
        self.events: dict[str, int] = {}
        self.checkpoint = 0

    def hear(self, output: str) -> None:
        for line in output.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # it was killed while it printed
            facts = json.loads(line)
            if "created" in facts:
                self.created.append(tuple(facts["created"]))
            elif "deleted" in facts:
                self.deleted.append(tuple(facts["deleted"]))
            elif "running" in facts:
                self.running.add(facts["running"])
                self.events[facts["running"]] = 1
            elif "event" in facts:
                self.events[facts["event"]] = 2
            elif "checkpoint" in facts:
                self.checkpoint = facts["checkpoint"]

    def check(self, store: Store) -> None:
        """All of it is there, and of what was under way all or nothing."""
        there = {execution.id for execution in store.list_executions() if execution.job_id == self.name}
        following = (f"{self.name}-{len(self.created)}-a", f"{self.name}-{len(self.created)}-b")
        for pair in [*self.created, following]:
            both = [execution_id in there for execution_id in pair]
            assert both[0] == both[1], f"half of a transaction: {pair}"
            if pair in self.deleted:
                assert both == [False, False]
            elif pair in self.created[:-1]:
                assert both == [pair not in self.deleted] * 2
            elif pair in self.created and len(self.created) % 3:
                assert both == [True, True], "the last pair may only be gone if it is one that gets deleted"
        for execution_id in self.running & there:
            assert store.get_execution(execution_id).compute_state.state_type is ExecutionState.RUNNING
        for execution_id, number in self.events.items():
            if execution_id in there:
                assert len(store.get_execution_events(execution_id)) >= number
        assert store.get_checkpoint(self.name) >= self.checkpoint


def test_what_was_acknowledged_survives_the_death_of_its_writers(store: Store, open_store: StoreFactory) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store.close()
    for round_number in range(4):
        names = [f"r{round_number}p{number}" for number in range(3)]
        heard = {name: Acknowledged(name) for name in names}
        with workers(open_store.path(), "live", names) as processes:
            lines = {process.pid: [json.dumps(next_line(process)) + "\n"] for process in processes}
            victims = processes[:]
            chance.shuffle(victims)
            for victim in victims:
                for _ in range(chance.randrange(20)):
                    lines[victim.pid].append(json.dumps(next_line(victim)) + "\n")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    victim.wait(chance.random() / 50)
                victim.send_signal(signal.SIGKILL)
            for name, process in zip(names, processes, strict=True):
                heard[name].hear("".join(lines[process.pid]) + rest_of(process))
        with open_store() as again:
            report = again.verify()
            assert report.ok, report.problems
            for each in heard.values():
                each.check(again)
            logged = log_entries(again)
            assert [event.seq_num for event in logged] == list(range(1, len(logged) + 1))


def test_a_killed_process_takes_its_open_transaction_with_it(store: Store, open_store: StoreFactory) -> None:
    with workers(open_store.path(), "hold", ["held"]) as (holder,):
        assert next_line(holder) == {"held": "held"}
        holder.kill()
        holder.wait(PATIENCE_SECONDS)
        assert store.create_execution(make_execution("after")).revision == 1
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("held")
    assert [event.seq_num for event in log_entries(store)] == [1]


def test_a_held_lock_is_named_and_reading_goes_on(store: Store, open_store: StoreFactory) -> None:
    store.create_execution(make_execution("before"))
    impatient = open_store(lock_timeout=0.2)
    with workers(open_store.path(), "hold", ["held"]) as (holder,):
        assert next_line(holder) == {"held": "held"}
        for call in (
            lambda: impatient.create_execution(make_execution("e2")),
            lambda: impatient.update_execution_state(make_request("before", ExecutionState.RUNNING)),
            lambda: impatient.add_execution_event("before", make_event()),
            lambda: impatient.delete_execution("before"),
            lambda: impatient.checkpoint("cp", 1),
            impatient.begin_tx,
        ):
            with pytest.raises(StoreBusyError, match=f"process {holder.pid}") as caught:
                call()
            assert (caught.value.holder_pid, caught.value.timeout_seconds) == (holder.pid, 0.2)
        assert [execution.id for execution in impatient.list_executions()] == ["before"]
        assert json.loads(rest_of(holder)) == {"committed": "held"}
    assert {execution.id for execution in impatient.list_executions()} == {"before", "held"}


def test_opening_waits_for_no_reader_and_no_idle_writer(store: Store, open_store: StoreFactory) -> None:
    open_store(read_only=True)
    assert open_store(lock_timeout=0).create_execution(make_execution()).revision == 1
