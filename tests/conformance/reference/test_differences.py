"""Where execstore differs from the reference on purpose: a test for each, named after it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from execstore import Execution, ExecutionState, SpecConfig, Store, UpdateExecutionRequest
from execstore.errors import (
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionError,
    StoreBusyError,
    StoreClosedError,
)
from execstore.watcher import EventIterator, GetEventsRequest, Operation
from tests.conformance.content import content_of
from tests.support import PATIENCE_SECONDS, log_entries, make_event, make_execution, make_request, python

if TYPE_CHECKING:
    from tests.conformance.conftest import Stores

RUNNING = ExecutionState.RUNNING


def test_begin_tx_is_a_real_transaction_over_every_method(store: Store) -> None:
    transaction = store.begin_tx()
    transaction.create_execution(make_execution("e1"))
    transaction.rollback()
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e1")
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution("e1"))
    assert store.get_execution("e1").revision == 1


def test_any_number_of_handles_may_have_the_store_open(store: Store, open_store: Stores) -> None:
    others = [open_store() for _ in range(5)]
    for number, handle in enumerate([store, *others]):
        handle.create_execution(make_execution(f"e{number}"))
    assert all(len(handle.get_executions("job1")) == 6 for handle in others)


@pytest.mark.folder
def test_a_lock_that_can_not_be_had_in_time_names_its_holder(store: Store, open_store: Stores) -> None:
    program = (
        "import sys; from execstore import Store\n"
        "with Store(sys.argv[1]).begin_tx():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    waiting = open_store(lock_timeout=0.2)
    with python("-c", program, str(open_store.path())) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(StoreBusyError) as caught:
                waiting.create_execution(make_execution())
            assert caught.value.holder_pid == holder.pid
            assert f"process {holder.pid} (" in str(caught.value)
            assert "stop it, then try again" in str(caught.value)
            assert waiting.counts()[ExecutionState.NEW] == 0, "reading needs no lock"
        finally:
            holder.communicate(timeout=PATIENCE_SECONDS)
    assert waiting.create_execution(make_execution()).revision == 1


def test_delete_emits_an_event(store: Store) -> None:
    created = store.create_execution(make_execution())
    store.delete_execution("e1")
    event = log_entries(store)[-1]
    assert (event.operation, event.object_type) == (Operation.DELETE, "ExecutionUpsert")
    assert (event.object.current, event.object.previous) == (None, created)


def test_an_execution_event_in_the_log_says_which_execution_it_is_of(store: Store) -> None:
    given = make_event("m")
    store.create_execution(make_execution(), given)
    logged = log_entries(store)[0].object
    assert logged.execution_id == "e1"
    assert logged.to_dict() == {**given.to_dict(), "ExecutionID": "e1"}
    assert store.get_execution_events("e1")[0].to_dict() == given.to_dict()


def test_new_values_of_another_id_are_refused(store: Store) -> None:
    store.create_execution(make_execution())
    before = content_of(store)
    with pytest.raises(InvalidExecutionError, match="ID"):
        store.update_execution_state(make_request("e1", RUNNING, make_event(), id="e2"))
    assert content_of(store) == before
    assert store.update_execution_state(make_request("e1", RUNNING, id="e1")).revision == 2


def test_the_job_index_moves_with_the_job_id(store: Store) -> None:
    store.create_execution(make_execution())
    updated = store.update_execution_state(make_request("e1", job_id="job2"))
    assert store.get_executions("job2") == [updated]
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job1")
    store.delete_execution("e1")
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions("job2")


@pytest.mark.folder
def test_a_dangling_index_entry_takes_no_list_down(
    store: Store, open_store: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_execution(make_execution("e1", state=ExecutionState.BID_ACCEPTED))
    store.create_execution(make_execution("e2", state=ExecutionState.BID_ACCEPTED))
    (open_store.path() / "executions" / "e1.json").unlink()
    with caplog.at_level(logging.WARNING, "execstore"):
        assert [execution.id for execution in store.get_executions("job1")] == ["e2"]
        assert [execution.id for execution in store.get_live_executions()] == ["e2"]
        assert [execution.id for execution in store.list_executions()] == ["e2"]
    assert "e1" in caplog.text
    assert not store.verify().ok
    assert store.repair().ok
    assert store.get_execution_count(ExecutionState.BID_ACCEPTED) == 2, "the log still had it"


@pytest.mark.folder
def test_a_damaged_record_takes_no_list_down(
    store: Store, open_store: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_execution(make_execution("e1", state=ExecutionState.BID_ACCEPTED))
    store.create_execution(make_execution("e2", state=ExecutionState.BID_ACCEPTED))
    (open_store.path() / "executions" / "e1.json").write_bytes(b"{broken")
    with caplog.at_level(logging.WARNING, "execstore"):
        assert [execution.id for execution in store.get_executions("job1")] == ["e2"]
        assert [execution.id for execution in store.get_live_executions()] == ["e2"]
        assert [execution.id for execution in store.list_executions()] == ["e2"]
    assert "e1" in caplog.text
    assert [problem.path for problem in store.verify().problems] == ["executions/e1.json"]
    report = store.repair()
    assert report.ok
    assert (open_store.path() / "quarantine" / "executions!e1.json").read_bytes() == b"{broken"


def test_a_field_can_be_set_back_to_its_zero_value(store: Store) -> None:
    store.create_execution(make_execution(name="named", published_result=SpecConfig("s3", {"a": 1})))
    cleared = store.update_execution_state(make_request("e1", clear=("name", "published_result.params")))
    assert (cleared.name, cleared.published_result) == ("", SpecConfig("s3"))
    with pytest.raises(InvalidExecutionError, match="can't be cleared"):
        store.update_execution_state(make_request("e1", clear=("id",)))


def test_values_are_kept_exactly_through_an_update(store: Store) -> None:
    params = {"null": None, "integer": 2**53 + 1, "map": {"a": "1", "c": "3"}, "list": ["a", None]}
    store.create_execution(make_execution(published_result=SpecConfig("s3", params)))
    store.update_execution_state(
        UpdateExecutionRequest("e1", Execution(published_result=SpecConfig("", {"map": {"a": "2"}})))
    )
    result = store.get_execution("e1").published_result
    assert result == SpecConfig("s3", params | {"map": {"a": "2", "c": "3"}})


def test_a_partial_jobs_namespace_is_kept(store: Store) -> None:
    store.create_execution(make_execution(job={"ID": "job1", "Namespace": "ns-job"}))
    store.update_execution_state(make_request("e1", job={"Name": "new"}))
    assert store.get_execution("e1").job == {"ID": "job1", "Namespace": "ns-job", "Name": "new"}


def test_the_callers_objects_are_never_changed(store: Store) -> None:
    job, details = {"ID": "job1"}, {"a": 1}
    store.create_execution(make_execution(job=job, published_result=SpecConfig("s3", details)))
    job["ID"] = "changed by the caller"
    details["a"] = 2
    stored = store.get_execution("e1")
    assert stored.job == {"ID": "job1"}
    assert stored.published_result == SpecConfig("s3", {"a": 1})
    store.update_execution_state(make_request("e1", job={"Name": "new"}))
    assert (job, details) == ({"ID": "changed by the caller"}, {"a": 2})


@pytest.mark.folder
def test_counting_costs_the_same_at_any_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        store.create_execution(make_execution(f"e{number}"))
    engine = store.tree("file system")

    def refuse(path: str) -> list[str]:
        raise AssertionError(f"counting looked into {path}")

    monkeypatch.setattr(engine._fs, "names", refuse)
    monkeypatch.setattr(engine._fs, "read", refuse)
    assert store.get_execution_count(ExecutionState.NEW) == 30
    assert store.counts()[ExecutionState.NEW] == 30


def test_what_is_in_a_job_is_its_owners_business(store: Store) -> None:
    job = {"Type": "no such type", "Count": -1, "Tasks": "none"}
    store.create_execution(make_execution(job=job))
    assert store.get_execution("e1").job == job


@pytest.mark.parametrize("job", ["text", [1], 5, {1: "key"}])
def test_a_job_must_be_a_json_object(store: Store, job: object) -> None:
    with pytest.raises(InvalidExecutionError, match="Job"):
        store.create_execution(make_execution(job=job))


def test_a_closed_event_store_is_closed(store: Store) -> None:
    events = store.event_store
    events.close()
    events.close()
    with pytest.raises(StoreClosedError):
        events.get_events(GetEventsRequest(EventIterator.trim_horizon()))
    assert store.create_execution(make_execution()).revision == 1, "the store goes on"


@pytest.mark.folder
def test_states_are_written_by_name_and_read_by_name_or_number(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution())
    record = open_store.path() / "executions" / "e1.json"
    assert b'"ComputeState":{"StateType":"New"}' in record.read_bytes()
    record.write_bytes(record.read_bytes().replace(b'"StateType":"New"', b'"StateType":1'))
    assert store.get_execution("e1").compute_state.state_type is ExecutionState.NEW


def test_the_latest_number_never_goes_back(store: Store, open_store: Stores) -> None:
    store.create_execution(make_execution())
    store.delete_execution("e1")
    store.close()
    again = open_store(event_retention=timedelta(0))
    assert again.event_store.get_latest_event_num() == 2
