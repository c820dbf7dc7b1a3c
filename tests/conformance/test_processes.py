"""Several processes on one store, where the engine lets them: nothing is lost, and a death holds nobody up for ever."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from execstore import Execution
from tests.support import PATIENCE_SECONDS, log_entries, make_execution, make_request, python

if TYPE_CHECKING:
    from tests.conformance.conftest import Stores

_COUNTING = """
import sys
from execstore import Execution, UpdateExecutionCondition, UpdateExecutionRequest, connect
from execstore.errors import InvalidExecutionRevisionError

address, times = sys.argv[1], int(sys.argv[2])
with connect(address) as store:
    print("open", flush=True)
    sys.stdin.readline()
    done = 0
    while done < times:
        found = store.get_execution("e1")
        values = Execution(partition_index=found.partition_index + 1)
        try:
            condition = UpdateExecutionCondition(expected_revision=found.revision)
            store.update_execution_state(UpdateExecutionRequest("e1", values, condition))
        except InvalidExecutionRevisionError:
            continue
        done += 1
"""

_HOLDING = """
import sys
from execstore import Execution, ExecutionState, State, connect

with connect(sys.argv[1]) as store:
    transaction = store.begin_tx()
    transaction.create_execution(Execution(id="never", job_id="j", job={}, compute_state=State(ExecutionState.NEW)))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_compare_and_swap_adds_up_over_processes(open_store: Stores) -> None:
    store = open_store()
    store.create_execution(make_execution())
    address = open_store.address()
    processes = [python("-c", _COUNTING, address, "25") for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert store.get_execution("e1").partition_index == 75
    assert store.get_execution("e1").revision == 76
    assert [entry.seq_num for entry in log_entries(store)] == list(range(1, 77))
    assert [entry.object.current.partition_index for entry in log_entries(store)] == list(range(76))


def test_a_transaction_whose_process_is_killed_is_as_if_it_had_never_been(open_store: Stores) -> None:
    store = open_store(lock_timeout=PATIENCE_SECONDS)
    store.create_execution(make_execution())
    with python("-c", _HOLDING, open_store.address()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert store.update_execution_state(make_request("e1", name="goes on")).revision == 2
    assert [execution.id for execution in store.list_executions()] == ["e1"]
    assert isinstance(store.get_execution("e1"), Execution)
