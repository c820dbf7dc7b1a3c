"""Tests of second_try.py with the fixtures of execstore.testing. See there for how to run them."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from second_try import PAUSE, TRIES, retry_failed

from execstore import Execution, ExecutionState, State, UpdateExecutionRequest
from execstore.errors import StoreFullError
from execstore.testing import ProcessDied

if TYPE_CHECKING:
    from execstore import Store
    from execstore.testing import FakeClock, Faults, TemporaryStores

# The clock stands still, but no two changes of a store have the same time: each is a nanosecond later at least.
SECOND = timedelta(seconds=1)


def create(store: Store, execution_id: str) -> None:
    state = State(ExecutionState.NEW)
    store.create_execution(Execution(id=execution_id, job_id="j-1", job={"Name": "report"}, compute_state=state))


def fail(store: Store, execution_id: str) -> None:
    failed = Execution(compute_state=State(ExecutionState.FAILED, "no answer"))
    store.update_execution_state(UpdateExecutionRequest(execution_id, failed))


def test_it_is_tried_again_after_a_pause(execstore_store: Store, execstore_clock: FakeClock) -> None:
    create(execstore_store, "e-1")
    fail(execstore_store, "e-1")
    assert retry_failed(execstore_store, clock=execstore_clock) == []
    execstore_clock.advance(PAUSE + SECOND)
    assert retry_failed(execstore_store, clock=execstore_clock) == ["e-1-try2"]
    assert retry_failed(execstore_store, clock=execstore_clock) == []
    assert execstore_store.get_execution("e-1-try2").previous_execution == "e-1"


def test_it_is_not_tried_for_ever(execstore_store: Store, execstore_clock: FakeClock) -> None:
    create(execstore_store, "e-1")
    fail(execstore_store, "e-1")
    for _ in range(10):
        execstore_clock.advance(timedelta(days=1))
        for successor in retry_failed(execstore_store, clock=execstore_clock):
            fail(execstore_store, successor)
    assert execstore_store.counts()[ExecutionState.FAILED] == TRIES


def test_a_full_disk_puts_it_off(execstore_store: Store, execstore_clock: FakeClock, execstore_faults: Faults) -> None:
    create(execstore_store, "e-1")
    fail(execstore_store, "e-1")
    execstore_clock.advance(PAUSE + SECOND)
    execstore_faults.fill_disk()
    with contextlib.suppress(StoreFullError):  # the store keeps room for a few more changes
        for number in itertools.count():
            create(execstore_store, f"filler-{number}")
    with pytest.raises(StoreFullError):
        retry_failed(execstore_store, clock=execstore_clock)
    execstore_faults.clear()
    assert retry_failed(execstore_store, clock=execstore_clock) == ["e-1-try2"]


def test_wherever_it_dies_each_has_one_successor(
    execstore_stores: TemporaryStores, execstore_clock: FakeClock, execstore_faults: Faults
) -> None:
    for at_step in itertools.count(1):
        name = f"store-{at_step}"
        store = execstore_stores(name)
        for execution_id in ("e-1", "e-2"):
            create(store, execution_id)
            fail(store, execution_id)
        execstore_clock.advance(PAUSE + SECOND)
        execstore_faults.die(at_step=at_step)
        with contextlib.suppress(ProcessDied):
            retry_failed(store, clock=execstore_clock)
        execstore_faults.clear()
        with execstore_stores(name) as again:  # the next process
            retry_failed(again, clock=execstore_clock)
            successors = [each.previous_execution for each in again.list_executions(state=ExecutionState.NEW)]
        assert successors == ["e-1", "e-2"]
        if execstore_faults.met is None:
            break  # it was done before it could die
    assert at_step > 10
