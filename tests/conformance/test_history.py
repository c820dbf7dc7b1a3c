"""What the event log still tells of one execution."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import ExecutionState, RunCommandResult
from execstore.errors import ExecutionNotFoundError, InvalidArgumentError, StoreClosedError, StoreCorruptedError
from execstore.history import FieldChange, Revision, compare
from execstore.watcher import Operation, StoreEventRequest
from tests.support import FakeClock, full_execution, make_event, make_execution, make_request

if TYPE_CHECKING:
    from execstore import Store
    from tests.conformance.conftest import Stores

RUNNING, COMPLETED = ExecutionState.RUNNING, ExecutionState.COMPLETED


def changes_of(revision: Revision) -> dict[str, tuple[Any, Any]]:
    return {change.member: (change.old, change.new) for change in revision.changes}


def test_each_revision_says_when_and_what_changed(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    created = clock.now_ns
    store.create_execution(make_execution("e1", "j", node_id="n"), make_event())
    store.create_execution(make_execution("e2"))
    clock.now_ns += 1000
    store.update_execution_state(make_request("e1", RUNNING))
    clock.now_ns += 1000
    store.update_execution_state(make_request("e1", COMPLETED, run_output=RunCommandResult(stdout="out", exit_code=3)))
    first, second, third = store.history("e1")
    assert (first.seq_num, first.time_ns, first.operation, first.revision, first.state) == (
        2,
        created,
        Operation.CREATE,
        1,
        "New",
    )
    told = changes_of(first)
    assert told["ID"] == ("", "e1")
    assert told["NodeID"] == ("", "n")
    assert told["Job"][1]["Name"] == "test"
    assert "EvalID" not in told, "what has no value hasn't changed"
    assert (second.revision, second.state, second.time_ns) == (2, "Running", created + 1000)
    assert changes_of(second) == {"ComputeState.StateType": ("New", "Running")}
    assert third.operation is Operation.UPDATE
    assert changes_of(third) == {
        "ComputeState.StateType": ("Running", "Completed"),
        "RunOutput.Stdout": ("", "out"),
        "RunOutput.ExitCode": (0, 3),
    }


def test_a_deleted_execution_is_still_known(store: Store) -> None:
    store.create_execution(make_execution())
    store.delete_execution("e1")
    created, deleted = store.history("e1")
    assert (created.operation, deleted.operation) == (Operation.CREATE, Operation.DELETE)
    assert (deleted.revision, deleted.state, deleted.changes) == (1, "New", ())
    store.create_execution(make_execution())
    assert [revision.revision for revision in store.history("e1")] == [1, 1, 1]


def test_what_was_collected_is_gone_and_the_execution_still_known(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    store.create_execution(full_execution())
    clock.now_ns += 10**12
    store.collect_events(retention=timedelta(0))
    assert store.history("e1") == []
    store.update_execution_state(make_request("e1", RUNNING))
    assert [revision.revision for revision in store.history("e1")] == [2]


@pytest.mark.parametrize("execution_id", ["nope", "", "e", "e11", "a\nb", "\ud800"])
def test_what_nobody_knows_is_not_found(store: Store, execution_id: str) -> None:
    store.create_execution(make_execution("e1"))
    store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Note", {"ID": execution_id.strip("\ud800")}))
    with pytest.raises(ExecutionNotFoundError) as caught:
        store.history(execution_id)
    assert caught.value.execution_id == execution_id


def test_a_key_that_is_no_text_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgumentError):
        store.history(7)  # type: ignore[arg-type]


def test_a_closed_store_has_no_history(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        store.history("e1")


@pytest.mark.parametrize("execution_id", ["e-1", "a/b", 'quo"te', "<&>", "ü", "back\\slash", "x" * 3000])
def test_any_id_has_its_history(store: Store, execution_id: str) -> None:
    other = make_execution(execution_id + "0")
    store.create_execution(make_execution(execution_id))
    store.create_execution(other)
    store.update_execution_state(make_request(execution_id, RUNNING))
    assert [revision.revision for revision in store.history(execution_id)] == [1, 2]


def test_others_that_mention_the_id_are_not_taken_for_it(store: Store) -> None:
    store.create_execution(make_execution("e1"))
    store.create_execution(make_execution("e2", previous_execution="e1", job={"ID": "e1"}))
    store.event_store.store_event(StoreEventRequest(Operation.UPDATE, "Note", {"Current": {"ID": "e1"}}))
    assert [revision.seq_num for revision in store.history("e1")] == [1]


def test_it_reaches_over_many_segments(open_store: Stores) -> None:
    store = open_store(durability="relaxed")
    store.create_execution(make_execution("e1"))
    for number in range(40):
        store.create_execution(make_execution(f"other-{number}"))
        store.update_execution_state(make_request("e1", name=f"name {number}"))
    revisions = store.history("e1")
    assert [revision.revision for revision in revisions] == list(range(1, 42))
    assert changes_of(revisions[-1]) == {"Name": ("name 38", "name 39")}
    assert [revision.seq_num for revision in revisions] == [1, *range(3, 82, 2)]
    assert open_store(read_only=True).history("e1") == revisions


@pytest.mark.folder
def test_a_damaged_line_is_left_out_with_a_warning(store: Store, open_store: Stores, caplog: Any) -> None:
    store.create_execution(make_execution("e1"))
    store.update_execution_state(make_request("e1", RUNNING))
    path = open_store.path() / "events" / f"{1:020d}.jsonl"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"UPDATE"', b'"UPDOTE"'))
    assert [revision.revision for revision in store.history("e1")] == [1]
    assert "the history of execution e1 may lack a revision" in caplog.text
    assert "event 2" in caplog.text
    path.write_bytes(data)


@pytest.mark.folder
def test_a_missing_segment_is_told(store: Store, open_store: Stores) -> None:
    for number in range(12):
        store.create_execution(make_execution(f"e{number}"))
    paths = sorted((open_store.path() / "events").iterdir())
    assert len(paths) > 2
    data = paths[1].read_bytes()
    paths[1].unlink()
    # The names tell which segments there are; one that goes between the look at them and the reading is told of.
    assert {revision.seq_num for revision in store.history("e0")} == {1}
    paths[1].write_bytes(data)
    look = store.look
    seen: list[Any] = []

    def losing(query: Any) -> Any:
        found = look(query)
        if not seen:
            seen.append(found)
            paths[1].unlink()
        return found

    store.look = losing  # type: ignore[method-assign]
    with pytest.raises(StoreCorruptedError, match=paths[1].name):
        store.history("e0")
    store.look = look  # type: ignore[method-assign]
    paths[1].write_bytes(data)


def test_a_revision_as_json(store: Store) -> None:
    store.create_execution(make_execution())
    store.update_execution_state(make_request("e1", RUNNING))
    document = json.loads(json.dumps([revision.to_dict() for revision in store.history("e1")]))
    assert document[1] == {
        "seq_num": 2,
        "time_ns": store.get_execution("e1").modify_time,
        "operation": "UPDATE",
        "revision": 2,
        "state": "Running",
        "changes": [{"member": "ComputeState.StateType", "old": "New", "new": "Running"}],
    }


# --- comparing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({}, {"a": {"b": 1}}, [("a", None, {"b": 1})]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("a.c", 2, 3)]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("a[1].b", 2, 3)]),
        ({"a": [1]}, {"a": [1, 2]}, [("a", [1], [1, 2])]),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ({"a": 0}, {"a": 0.0}, [("a", 0, 0.0)]),
        ({"a": None}, {}, []),
    ],
)
def test_comparing(old: dict[str, Any], new: dict[str, Any], changes: list[tuple[str, Any, Any]]) -> None:
    assert list(compare(old, new)) == [FieldChange(*change) for change in changes]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "x"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.sampled_from("abc"), json_values), other=json_values)
def test_equal_values_have_no_changes_and_a_new_member_is_one(value: dict[str, Any], other: Any) -> None:
    assert list(compare(value, value)) == []
    expected = [] if other is None else [FieldChange("new", None, other)]
    assert list(compare(value, {**value, "new": other})) == expected
