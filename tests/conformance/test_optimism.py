"""The rules on engines that don't lock: run twice on guesses they come to the same, and a lost race is told of."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from execstore import ExecutionState, Store
from execstore.errors import ExecutionNotFoundError, TransactionClosedError, TransactionConflictError
from execstore.memory.content import Content
from tests.conformance.engines import load_factory
from tests.conformance.optimism import ConflictingEngine, GuessingPlace
from tests.conformance.test_state_machine import StoreMachine
from tests.support import ROOT, FakeClock, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_operations_may_be_run_again_on_other_answers() -> None:
    class Machine(StoreMachine):
        place = GuessingPlace

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[Store]:
    """A store whose engine lets transactions fail when it is told to."""
    opener = partial(ConflictingEngine, Content("optimistic", 4096))
    with Store.on(opener, clock=clock, event_retention=timedelta(hours=1), retention=timedelta(hours=1)) as store:
        yield store
        assert store.verify().ok


def conflict(store: Store, times: int) -> ConflictingEngine:
    engine = cast("ConflictingEngine", store.engine())
    engine.conflicts = times
    return engine


def test_a_transaction_that_lost_a_race_says_so_and_did_nothing(store: Store) -> None:
    conflict(store, 1)
    transaction = store.begin_tx()
    transaction.create_execution(make_execution())
    with pytest.raises(TransactionConflictError, match="nothing was changed, do it again"):
        transaction.commit()
    assert transaction.closed
    with pytest.raises(TransactionClosedError):
        transaction.get_execution("e1")
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e1")
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution())
    assert store.get_execution("e1").revision == 1


def test_what_is_done_beside_commits_waits_for_another_time(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Collecting and pruning after a commit are no failure of that commit if they come too late."""
    store.create_execution(make_execution("old"), make_event("x" * 3000))
    store.update_execution_state(make_request("old", ExecutionState.COMPLETED))
    clock.now_ns += 3 * 3600 * 10**9
    engine = conflict(store, 100)
    store.create_execution(make_execution("new"))
    assert engine.conflicts < 100, "both were tried"
    assert {execution.id for execution in store.list_executions()} == {"old", "new"}
    assert store.event_store.get_oldest_event_num() == 1
    assert caplog.records == []
    engine.conflicts = 0
    for number in range(5):
        clock.now_ns += 10**9
        store.checkpoint("cp", number)
    assert {execution.id for execution in store.list_executions()} == {"new"}
    assert store.event_store.get_oldest_event_num() > 1


def test_a_stranger_can_bring_an_engine() -> None:
    suite = "tests/conformance/reference/test_own_suite.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", suite, "--engine", "tests.conformance.optimism:guessing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    assert "[100%]" in done.stdout


@pytest.mark.parametrize("name", ["nonsense", "oracle"])
def test_an_engine_that_nobody_knows(name: str) -> None:
    with pytest.raises(ValueError, match=r"write one of tree, memory, etcd, or package\.module:factory"):
        load_factory(name, lambda: "")
