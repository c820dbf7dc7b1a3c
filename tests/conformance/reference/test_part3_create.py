"""Part 3 of the reference's behaviour: what may be created, in which order it is checked, what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from execstore import Execution, ExecutionState, RunCommandResult, SpecConfig, Store
from execstore.errors import (
    ExecStoreError,
    ExecutionAlreadyExistsError,
    InvalidExecutionError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
    NilExecutionError,
)
from tests.conformance.content import content_of
from tests.support import FakeClock, docker_execution, log_entries, make_execution

NEW, BID_ACCEPTED, RUNNING = ExecutionState.NEW, ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING


@pytest.mark.parametrize(
    "execution",
    [
        make_execution(revision=0),
        make_execution(revision=1, state=BID_ACCEPTED),
        make_execution(job={"ID": "another"}),
        make_execution(job={}),
        make_execution(job={"Count": 1}, partition_index=7),
        make_execution("x" * 32768),
    ],
    ids=["revision 0", "revision 1", "job of another ID", "empty job", "partition of one", "longest ID"],
)
def test_what_can_be_created(store: Store, execution: Execution) -> None:
    created = store.create_execution(execution)
    assert created.revision == 1
    assert store.get_execution(execution.id) == created


NOT_NEW = "but expected one of [New BidAccepted]"


@pytest.mark.parametrize(
    ("execution", "kind", "message"),
    [
        (
            make_execution(state=ExecutionState.UNDEFINED),
            InvalidExecutionStateError,
            f"execution e1 is in state Undefined {NOT_NEW}",
        ),
        (make_execution(state=RUNNING), InvalidExecutionStateError, f"execution e1 is in state Running {NOT_NEW}"),
        (make_execution(revision=2), InvalidExecutionRevisionError, "execution e1 has revision 2 but expected 1"),
        (
            make_execution("", state=RUNNING, revision=2),
            InvalidExecutionStateError,
            f"execution  is in state Running {NOT_NEW}",
        ),
        (make_execution("", revision=2), InvalidExecutionRevisionError, "execution  has revision 2 but expected 1"),
        (make_execution(""), InvalidExecutionError, "CreateExecution failure: missing execution ID"),
        (
            make_execution("   "),
            InvalidExecutionError,
            "CreateExecution failure: missing execution ID\nexecution ID contains a space",
        ),
        (make_execution("a b"), InvalidExecutionError, "CreateExecution failure: execution ID contains a space"),
        (make_execution("a\tb"), InvalidExecutionError, "CreateExecution failure: execution ID contains a space"),
        (make_execution("a\nb"), InvalidExecutionError, "CreateExecution failure: execution ID contains a space"),
        (
            make_execution("a\0b"),
            InvalidExecutionError,
            "CreateExecution failure: execution ID contains a null character",
        ),
        (
            make_execution(namespace=""),
            InvalidExecutionError,
            "CreateExecution failure: execution must be in a namespace",
        ),
        (make_execution(job_id=""), InvalidExecutionError, "CreateExecution failure: missing execution job ID"),
        (
            make_execution("", "", namespace=""),
            InvalidExecutionError,
            "CreateExecution failure: missing execution ID\nexecution must be in a namespace\nmissing execution job ID",
        ),
        (make_execution(job=None), InvalidExecutionError, "CreateExecution failure: job is nil"),
        (
            make_execution(job=None, namespace=""),
            InvalidExecutionError,
            "CreateExecution failure: execution must be in a namespace",
        ),
        (
            make_execution(job={"Count": 3}, partition_index=3),
            InvalidExecutionError,
            "CreateExecution failure: partition index must be between 0 and 2",
        ),
        (
            make_execution(job={"Count": 3}, partition_index=-1),
            InvalidExecutionError,
            "CreateExecution failure: partition index must be between 0 and 2",
        ),
    ],
)
def test_what_can_not_be_created(store: Store, execution: Execution, kind: type[ExecStoreError], message: str) -> None:
    before = content_of(store)
    with pytest.raises(kind) as caught:
        store.create_execution(execution)
    assert str(caught.value) == message
    assert content_of(store) == before


def test_an_id_of_over_32768_bytes_is_refused(store: Store) -> None:
    with pytest.raises(InvalidExecutionError, match="32769 bytes long, but at most 32768 can be stored"):
        store.create_execution(make_execution("x" * 32769))


def test_nothing_is_no_execution(store: Store) -> None:
    with pytest.raises(NilExecutionError, match=r"^execution is nil$"):
        store.create_execution(None)  # type: ignore[arg-type]


def test_the_same_id_again(store: Store) -> None:
    first = store.create_execution(make_execution())
    with pytest.raises(ExecutionAlreadyExistsError, match=r"^execution already exists: e1$"):
        store.create_execution(make_execution(name="second"))
    assert store.get_execution("e1") == first
    assert len(log_entries(store)) == 1


def test_the_same_id_again_in_a_state_that_may_not_be_created(store: Store) -> None:
    store.create_execution(make_execution())
    with pytest.raises(InvalidExecutionStateError) as caught:
        store.create_execution(make_execution(state=ExecutionState.COMPLETED))
    assert str(caught.value) == f"execution e1 is in state Completed {NOT_NEW}"


def test_times_are_the_stores(store: Store, clock: FakeClock) -> None:
    given = make_execution(create_time=1, modify_time=2)
    created = store.create_execution(given)
    assert (created.create_time, created.modify_time, created.revision) == (clock.now_ns, clock.now_ns, 1)
    assert (given.create_time, given.modify_time) == (1, 2)
    assert store.create_execution(make_execution("e2")).create_time == clock.now_ns + 1, "no two times are equal"


def test_what_has_no_value_gets_the_references_initial_one(store: Store) -> None:
    created = store.create_execution(make_execution())
    assert created.allocated_resources == {"Tasks": {}}
    assert created.published_result == SpecConfig()
    assert created.run_output == RunCommandResult()


def test_a_docker_execution_is_stored_as_the_reference_stores_it(store: Store) -> None:
    given = docker_execution()
    created = store.create_execution(replace(given, revision=0))
    written = store.get_execution(given.id)
    assert written == created
    times: dict[str, Any] = {"CreateTime": written.create_time, "ModifyTime": written.modify_time}
    assert written.to_dict(numbers=True) == given.to_dict(numbers=True) | times
