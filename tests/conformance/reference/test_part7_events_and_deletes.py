"""Part 7 of the reference's behaviour: execution events, lists, deletes, and what each leaves in the event log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore import Event, ExecutionState, Store
from execstore.errors import (
    ExecStoreError,
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionError,
)
from execstore.timestamps import Timestamp
from tests.conformance.content import content_of
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("key", ["nope", ""])
@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda store, key: store.get_execution(key), ExecutionNotFoundError, "execution not found: "),
        (
            lambda store, key: store.get_executions(key),
            ExecutionsNotFoundForJobError,
            "no executions found for job: ",
        ),
        (
            lambda store, key: store.get_execution_events(key),
            ExecutionEventsNotFoundError,
            "no events found for execution: ",
        ),
        (
            lambda store, key: store.add_execution_event(key, make_event()),
            ExecutionNotFoundError,
            "execution not found: ",
        ),
        (lambda store, key: store.add_execution_event(key), ExecutionNotFoundError, "execution not found: "),
        (lambda store, key: store.delete_execution(key), ExecutionNotFoundError, "execution not found: "),
    ],
    ids=["get", "list", "events", "add event", "add no event", "delete"],
)
def test_what_is_not_there(
    store: Store, call: Callable[[Store, str], object], kind: type[ExecStoreError], message: str, key: str
) -> None:
    with pytest.raises(kind) as caught:
        call(store, key)
    assert str(caught.value) == message + key


def test_no_live_executions_are_an_empty_list(store: Store) -> None:
    assert store.get_live_executions() == []


def test_an_execution_without_events(store: Store) -> None:
    store.create_execution(make_execution())
    with pytest.raises(ExecutionEventsNotFoundError, match="no events found for execution: e1"):
        store.get_execution_events("e1")


def test_adding_no_event_writes_nothing(store: Store) -> None:
    store.create_execution(make_execution())
    before = content_of(store)
    store.add_execution_event("e1")
    assert content_of(store) == before


def test_no_event_among_others_is_the_zero_event(store: Store) -> None:
    store.create_execution(make_execution())
    store.add_execution_event("e1", make_event("m1"), None, make_event("m3"))
    events = store.get_execution_events("e1")
    assert [event.message for event in events] == ["m1", "", "m3"]
    assert events[1] == Event("", "", Timestamp.ZERO)
    assert events[1].to_dict() == {"Message": "", "Topic": "", "Timestamp": "0001-01-01T00:00:00Z"}


def test_an_event_that_can_not_be_written_undoes_the_whole_call(store: Store) -> None:
    store.create_execution(make_execution(), make_event("m1"))
    wrong = make_event("wrong")
    object.__setattr__(wrong, "message", b"bytes")
    with pytest.raises(InvalidExecutionError, match="Message"):
        store.add_execution_event("e1", make_event("m2"), wrong)
    assert [event.message for event in store.get_execution_events("e1")] == ["m1"]
    assert len(log_entries(store)) == 2


@pytest.mark.parametrize("year", ["10000", "-0001"])
def test_a_year_that_has_no_text_is_refused(store: Store, year: str) -> None:
    store.create_execution(make_execution())
    with pytest.raises(InvalidExecutionError, match="Timestamp"):
        store.add_execution_event("e1", Event("t", "m", f"{year}-01-01T00:00:00Z"))


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-01-02T03:04:05.1234567Z",
        "2026-01-02T03:04:05.123456789+05:30",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999-11:59",
    ],
)
def test_an_event_keeps_its_nanoseconds_and_offset(store: Store, timestamp: str) -> None:
    store.create_execution(make_execution(), make_event(timestamp=timestamp))
    assert store.get_execution_events("e1")[0].to_dict()["Timestamp"] == timestamp


@pytest.mark.parametrize("state", list(ExecutionState))
def test_an_execution_is_deleted_in_whatever_state(store: Store, state: ExecutionState) -> None:
    store.create_execution(make_execution(), make_event())
    store.update_execution_state(make_request("e1", state))
    store.delete_execution("e1")
    for call, message in (
        (store.get_execution_events, "no events found for execution: e1"),
        (store.get_execution, "execution not found: e1"),
        (store.delete_execution, "execution not found: e1"),
    ):
        with pytest.raises(ExecStoreError) as caught:
            call("e1")
        assert str(caught.value) == message
    with pytest.raises(ExecutionsNotFoundForJobError, match="no executions found for job: job1"):
        store.get_executions("job1")
    assert set(store.counts().values()) == {0}
    assert list(store.list_executions()) == []


def test_the_same_id_can_be_created_again(store: Store) -> None:
    store.create_execution(make_execution(), make_event("old"), make_event("old"))
    store.delete_execution("e1")
    created = store.create_execution(make_execution(), make_event("new"))
    assert created.revision == 1
    assert [event.message for event in store.get_execution_events("e1")] == ["new"]


def test_what_each_method_leaves_in_the_event_log(store: Store) -> None:
    store.create_execution(make_execution(), make_event("a"), make_event("b"))
    store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event("c")))
    store.add_execution_event("e1", make_event("d"))
    store.checkpoint("cp", 1)
    assert [f"{event.seq_num} {event.operation} {event.object_type}" for event in log_entries(store)] == [
        "1 CREATE ExecutionEvent",
        "2 CREATE ExecutionEvent",
        "3 CREATE ExecutionUpsert",
        "4 CREATE ExecutionEvent",
        "5 UPDATE ExecutionUpsert",
        "6 CREATE ExecutionEvent",
    ]


def test_the_event_log_holds_the_execution_before_and_after(store: Store) -> None:
    created = store.create_execution(make_execution(), make_event("a"))
    updated = store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    logged = log_entries(store)
    assert logged[0].object.message == "a"
    assert (logged[1].object.current, logged[1].object.previous) == (created, None)
    assert [event.message for event in logged[1].object.events] == ["a"]
    assert (logged[2].object.current, logged[2].object.previous, logged[2].object.events) == (updated, created, None)
    assert [event.timestamp for event in logged] == [created.create_time, created.create_time, updated.modify_time]
