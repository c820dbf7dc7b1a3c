from __future__ import annotations

import copy
import dataclasses
import json
import lzma
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from execstore.errors import InvalidExecutionError
from execstore.models import (
    Event,
    Execution,
    ExecutionEvent,
    ExecutionUpsert,
    RunCommandResult,
    SpecConfig,
    State,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.records import encode_execution
from execstore.states import DesiredState, ExecutionState
from execstore.timestamps import Timestamp

MODELS = [Event, Execution, ExecutionEvent, ExecutionUpsert, RunCommandResult, SpecConfig, State]
BIG = 2**64 + 1


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """What a real Bacalhau store gave out; see tests/data/bacalhau-expected-format.md."""
    path = Path(__file__).parent / "data" / "bacalhau-expected.json.xz"
    expected: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    return expected


def full() -> dict[str, Any]:
    """An execution with every member, an unknown one at each level, and integers that no float holds."""
    return {
        "ID": "e-1",
        "Namespace": "ns",
        "EvalID": "eval",
        "Name": "name",
        "NodeID": "node",
        "JobID": "job",
        "Job": {"ID": "job", "Count": 1, "Big": BIG},
        "JobVersion": BIG,
        "AllocatedResources": {"Tasks": {"main": {"CPU": 0.5, "Memory": BIG}}, "New": 1},
        "DesiredState": {"StateType": "Running", "Message": "m", "Details": {"b": "1", "a": "2"}, "New": [1]},
        "ComputeState": {"StateType": "ExecutionStateType(99)", "New": None},
        "PublishedResult": {"Type": "s3", "Params": {"n": None, "Size": BIG}, "New": {"x": {}}},
        "RunOutput": {
            "Stdout": "out",
            "StdoutTruncated": True,
            "stderr": "err",
            "StderrTruncated": True,
            "ExitCode": -1,
            "ErrorMsg": "msg",
            "New": 1.0,
        },
        "PreviousExecution": "previous",
        "NextExecution": "next",
        "FollowupEvalID": "followup",
        "PartitionIndex": 3,
        "Revision": BIG,
        "CreateTime": -BIG,
        "ModifyTime": BIG,
        "New": {"first": 1},
        "Newer": False,
    }


def test_what_the_reference_stored_comes_back_to_the_byte_order(reference: dict[str, Any]) -> None:
    for text in reference["executions_stored_bytes"].values():
        stored = json.loads(text)
        execution = Execution.from_dict(stored)
        assert json.dumps(execution.to_dict(numbers=True)) == json.dumps(stored)
        assert execution.extra == {}
        assert Execution.from_dict(execution.to_dict()) == execution


def test_what_the_reference_says_of_events_comes_back(reference: dict[str, Any]) -> None:
    events = [event for events in reference["execution_events"].values() for event in events]
    assert events
    for event in events:
        assert Event.from_dict(event).to_dict() == event


def test_what_the_reference_logged_comes_back(reference: dict[str, Any]) -> None:
    zero_event = Event.from_dict(None).to_dict()
    for logged in reference["watcher_events"]:
        event = logged["event"]
        if event["objectType"] == "ExecutionEvent":
            assert Event.from_dict(event["object"]).to_dict() == (event["object"] or zero_event)
            continue
        upsert = ExecutionUpsert.from_dict(event["object"]).to_dict(numbers=True)
        if event["object"]["Events"] is not None:
            event["object"]["Events"] = [given or zero_event for given in event["object"]["Events"]]
        assert upsert == event["object"]


def test_every_member_comes_back_in_its_place() -> None:
    assert json.dumps(Execution.from_dict(full()).to_dict()) == json.dumps(full())


def test_where_the_members_go() -> None:
    execution = Execution.from_dict(full())
    assert execution.id == "e-1"
    assert execution.job == full()["Job"]
    assert execution.job_version == execution.revision == execution.modify_time == -execution.create_time == BIG
    assert execution.desired_state == State(DesiredState.RUNNING, "m", {"a": "2", "b": "1"}, extra={"New": [1]})
    assert execution.compute_state == State(ExecutionState.from_number(99), extra={"New": None})
    assert execution.published_result == SpecConfig("s3", {"n": None, "Size": BIG}, extra={"New": {"x": {}}})
    assert execution.run_output == RunCommandResult("out", True, "err", True, -1, "msg", extra={"New": 1.0})
    assert execution.followup_eval_id == "followup"
    assert execution.partition_index == 3
    assert execution.extra == {"New": {"first": 1}, "Newer": False}


def test_the_zero_execution() -> None:
    assert Execution.from_dict({}) == Execution()
    assert Execution().to_dict() == {
        "ID": "",
        "Namespace": "default",
        "EvalID": "",
        "Name": "",
        "NodeID": "",
        "JobID": "",
        "Job": None,
        "JobVersion": 0,
        "AllocatedResources": None,
        "DesiredState": {"StateType": "Pending"},
        "ComputeState": {"StateType": "Undefined"},
        "PublishedResult": None,
        "RunOutput": None,
        "PreviousExecution": "",
        "NextExecution": "",
        "FollowupEvalID": "",
        "Revision": 0,
        "CreateTime": 0,
        "ModifyTime": 0,
    }


def test_nulls_for_containers_read_as_empty() -> None:
    nulls = {"Job": None, "AllocatedResources": None, "ComputeState": None, "DesiredState": None}
    assert Execution.from_dict({**nulls, "PublishedResult": None, "RunOutput": None}) == Execution()
    assert State.from_dict({"StateType": 1, "Details": None}) == State(ExecutionState.NEW)
    assert SpecConfig.from_dict({"Params": None}) == SpecConfig()
    assert ExecutionUpsert.from_dict({"Current": None, "Previous": None, "Events": None}) == ExecutionUpsert()
    assert Event.from_dict({"Details": None}) == Event.from_dict(None)


def test_a_namespace_that_is_not_given_is_told_from_one_that_is() -> None:
    assert Execution().namespace == Execution(namespace="default").namespace == "default"
    assert not Execution().namespace_is_given
    assert not Execution.from_dict({}).namespace_is_given
    assert not pickle.loads(pickle.dumps(Execution())).namespace_is_given
    assert not copy.deepcopy(Execution()).replace(name="n").namespace_is_given
    assert Execution(namespace="default").namespace_is_given
    assert Execution.from_dict({"Namespace": "default"}).namespace_is_given
    assert Execution.from_dict(Execution().to_dict()).namespace_is_given


WRONG_MEMBERS: list[tuple[str, Any]] = [
    ("ID", 5),
    ("ID", None),
    ("Namespace", ["ns"]),
    ("EvalID", 1.5),
    ("Name", True),
    ("NodeID", {}),
    ("JobID", b"x"),
    ("Job", []),
    ("Job", "job"),
    ("JobVersion", -1),
    ("JobVersion", True),
    ("JobVersion", 1.0),
    ("JobVersion", "1"),
    ("AllocatedResources", [1]),
    ("DesiredState", "Running"),
    ("DesiredState.StateType", "New"),
    ("DesiredState.StateType", 1.0),
    ("ComputeState", 6),
    ("ComputeState.StateType", "Stopped"),
    ("ComputeState.StateType", None),
    ("ComputeState.StateType", -1),
    ("ComputeState.StateType", True),
    ("ComputeState.Message", 1),
    ("ComputeState.Message", None),
    ("ComputeState.Details", []),
    ("ComputeState.Details.k", 1),
    ("ComputeState.Details.k", None),
    ("PublishedResult", ""),
    ("PublishedResult.Type", 1),
    ("PublishedResult.Params", [1]),
    ("RunOutput", 0),
    ("RunOutput.Stdout", 1),
    ("RunOutput.StdoutTruncated", 1),
    ("RunOutput.StdoutTruncated", None),
    ("RunOutput.stderr", []),
    ("RunOutput.StderrTruncated", "true"),
    ("RunOutput.ExitCode", True),
    ("RunOutput.ExitCode", 1.0),
    ("RunOutput.ErrorMsg", None),
    ("PreviousExecution", 1),
    ("NextExecution", 1),
    ("FollowupEvalID", 1),
    ("PartitionIndex", "3"),
    ("Revision", -1),
    ("Revision", False),
    ("CreateTime", 1.5),
    ("ModifyTime", "now"),
]


@pytest.mark.parametrize(("member", "value"), WRONG_MEMBERS)
def test_a_wrong_member_is_named(member: str, value: Any) -> None:
    data = full()
    outer = data
    *path, last = member.split(".")
    for name in path:
        outer = outer.setdefault(name, {})
    outer[last] = value
    with pytest.raises(InvalidExecutionError) as caught:
        Execution.from_dict(data)
    assert caught.value.member == member
    with pytest.raises(InvalidExecutionError) as caught:
        ExecutionUpsert.from_dict({"Current": data})
    assert caught.value.member == f"Current.{member}"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("data", [[], "text", 5, True])
def test_a_model_is_an_object(model: Any, data: Any) -> None:
    with pytest.raises(InvalidExecutionError, match="must be an object"):
        model.from_dict(data)


@pytest.mark.parametrize("model", [model for model in MODELS if not issubclass(model, Event)])
def test_null_is_no_model(model: Any) -> None:
    with pytest.raises(InvalidExecutionError, match="must be an object, not null"):
        model.from_dict(None)


@pytest.mark.parametrize("model", MODELS)
def test_unknown_members_survive_in_their_order(model: Any) -> None:
    extra = {"zzz": 1, "aaa": {"Message": None}, "Id": [0]}
    read = model.from_dict(extra)
    assert read.extra == extra
    assert list(read.to_dict())[-3:] == ["zzz", "aaa", "Id"]
    assert model.from_dict(read.to_dict()) == read


@pytest.mark.parametrize("model", MODELS)
def test_known_members_are_the_ones_written_and_read(model: Any) -> None:
    data = {"Execution": full(), "State": full()["DesiredState"], "SpecConfig": full()["PublishedResult"]}
    data["RunCommandResult"] = full()["RunOutput"]
    details = {"Details": {"a": "b"}}
    data["Event"] = data["ExecutionEvent"] = details
    arguments = {"state_class": DesiredState} if model is State else {}
    written = model.from_dict(data.get(model.__name__, {}), **arguments).to_dict()
    assert {name for name in written if not name.startswith("New")} == model.known_members


def test_models_share_what_they_are_given_and_change_nothing() -> None:
    data = full()
    execution = Execution.from_dict(data)
    execution.to_dict()["Job"] = None
    assert execution.job is data["Job"]
    assert data == full()


@pytest.mark.parametrize(
    "model",
    [
        Execution.from_dict(full()),
        Event("t", "m", Timestamp(5), {"a": "b"}, extra={"x": 1}),
        ExecutionEvent("t", "m", Timestamp(5), {"a": "b"}, "e-1", extra={"x": 1}),
        ExecutionUpsert(Execution(), None, [Event("t")]),
        UpdateExecutionRequest("e-1", Execution(), UpdateExecutionCondition([ExecutionState.NEW]), [Event("t")]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_are_values(model: Any) -> None:
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == model
    assert dataclasses.replace(model) == model
    field = dataclasses.fields(model)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(model, field, None)


def test_defaults_are_not_shared() -> None:
    assert Execution().compute_state.details is not Execution().compute_state.details
    assert Event("t").details is not Event("t").details
    assert SpecConfig().params is not SpecConfig().params


def test_replace_changes_only_what_it_is_told() -> None:
    execution = Execution.from_dict(full())
    changed = execution.replace(revision=7)
    assert changed.to_dict() == {**full(), "Revision": 7}
    assert execution.to_dict() == full()
    with pytest.raises(TypeError):
        execution.replace(unknown=1)


# --- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (Timestamp(1), "1970-01-01T00:00:00.000000001Z"),
        ("2026-01-02T03:04:05.123456789+05:30", "2026-01-02T03:04:05.123456789+05:30"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    ],
)
def test_an_event_takes_its_time_in_several_forms(timestamp: Timestamp | datetime | str, text: str) -> None:
    event = Event("topic", "message", timestamp, {"a": "b"})
    assert isinstance(event.timestamp, Timestamp)
    assert event.to_dict() == {"Message": "message", "Topic": "topic", "Timestamp": text, "Details": {"a": "b"}}
    assert list(event.to_dict()) == ["Message", "Topic", "Timestamp", "Details"]
    assert Event.from_dict(event.to_dict()) == event


def test_an_event_is_of_now_if_nothing_else_is_said() -> None:
    before = datetime.now(UTC)
    assert before <= Event("topic").timestamp.to_datetime() <= datetime.now(UTC)


@pytest.mark.parametrize("timestamp", ["yesterday", 5, 1.5, b"x", datetime(2026, 1, 1)])  # noqa: DTZ001
def test_an_event_needs_a_point_in_time(timestamp: Any) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        Event("topic", timestamp=timestamp)
    assert caught.value.member == "Timestamp"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Topic", 1),
        ("Message", None),
        ("Timestamp", 5),
        ("Timestamp", None),
        ("Timestamp", ""),
        ("Timestamp", "2026-01-02"),
        ("Details", []),
        ("Details.a", 1),
    ],
)
def test_a_wrong_member_of_an_event_is_named(member: str, value: Any) -> None:
    name, _, inner = member.partition(".")
    data = {name: {inner: value} if inner else value}
    with pytest.raises(InvalidExecutionError) as caught:
        Event.from_dict(data)
    assert caught.value.member == member
    with pytest.raises(InvalidExecutionError) as caught:
        ExecutionUpsert.from_dict({"Events": [{}, data]})
    assert caught.value.member == f"Events[1].{member}"


def test_the_zero_event_has_gos_zero_time() -> None:
    zero = {"Message": "", "Topic": "", "Timestamp": "0001-01-01T00:00:00Z"}
    assert Event.from_dict(None).to_dict() == Event.from_dict({}).to_dict() == zero


def test_an_execution_event_says_which_execution_it_is_of() -> None:
    event = Event("t", "m", Timestamp(0), {"a": "b"}, extra={"x": 1})
    of = ExecutionEvent.of(event, "e-1")
    assert of == ExecutionEvent("t", "m", Timestamp(0), {"a": "b"}, "e-1", extra={"x": 1})
    assert list(of.to_dict()) == ["Message", "Topic", "Timestamp", "Details", "ExecutionID", "x"]
    assert of.to_dict()["ExecutionID"] == "e-1"
    assert ExecutionEvent.from_dict(of.to_dict()) == of
    assert of != event


def test_an_execution_event_of_the_reference_has_no_execution() -> None:
    assert ExecutionEvent.from_dict({"Message": "m"}).execution_id == ""


def test_an_event_copied_out_of_the_log_can_be_added_to_another_execution() -> None:
    logged = ExecutionEvent("t", execution_id="e-1").to_dict()
    copied = Event.from_dict(logged)
    assert copied.extra == {"ExecutionID": "e-1"}
    assert ExecutionEvent.of(copied, "e-2").to_dict() == {**logged, "ExecutionID": "e-2"}


# --- requests -------------------------------------------------------------------------------------------------------


def request_data() -> dict[str, Any]:
    return {
        "ExecutionID": "e-1",
        "NewValues": full(),
        "Condition": {"ExpectedStates": ["New", "Running"], "ExpectedRevision": 3, "UnexpectedStates": ["Failed"]},
        "Events": [{"Message": "m", "Topic": "t", "Timestamp": "2026-01-02T03:04:05Z"}],
        "Clear": ["run_output"],
    }


def test_a_request_comes_back() -> None:
    request = UpdateExecutionRequest.from_dict(request_data())
    assert request.to_dict() == request_data()
    assert request.condition == UpdateExecutionCondition(
        (ExecutionState.NEW, ExecutionState.RUNNING), 3, (ExecutionState.FAILED,)
    )
    assert request.to_dict(numbers=True)["Condition"]["ExpectedStates"] == [1, 6]


def test_a_request_that_gives_nothing_changes_nothing() -> None:
    request = UpdateExecutionRequest("e-1")
    assert UpdateExecutionRequest.from_dict({"ExecutionID": "e-1"}) == request
    assert not UpdateExecutionRequest.from_dict(request.to_dict()).new_values.namespace_is_given


@pytest.mark.parametrize(
    ("name", "value", "member"),
    [
        ("ExecutionID", 1, "ExecutionID"),
        ("NewValues", [], "NewValues"),
        ("NewValues", {"RunOutput": {"ExitCode": "1"}}, "NewValues.RunOutput.ExitCode"),
        ("Condition", [], "Condition"),
        ("Condition", {"ExpectedStates": "Running"}, "Condition.ExpectedStates"),
        ("Condition", {"ExpectedStates": ["New", "Nothing"]}, "Condition.ExpectedStates[1]"),
        ("Condition", {"UnexpectedStates": [None]}, "Condition.UnexpectedStates[0]"),
        ("Condition", {"ExpectedRevision": -1}, "Condition.ExpectedRevision"),
        ("Events", {}, "Events"),
        ("Events", [{"Topic": 1}], "Events[0].Topic"),
        ("Clear", "run_output", "Clear"),
        ("Clear", ["a", 1], "Clear[1]"),
    ],
)
def test_a_wrong_member_of_a_request_is_named(name: str, value: Any, member: str) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        UpdateExecutionRequest.from_dict({**request_data(), name: value})
    assert caught.value.member == member


def test_an_upsert_writes_no_events_as_null_and_none_as_a_list() -> None:
    assert ExecutionUpsert(Execution()).to_dict()["Events"] is None
    assert ExecutionUpsert.from_dict({"Events": []}).events == ()
    assert list(ExecutionUpsert(Execution()).to_dict()) == ["Current", "Previous", "Events"]


@dataclasses.dataclass(frozen=True)
class _NotedState(State[ExecutionState]):
    notes: list[str] = dataclasses.field(default_factory=list, kw_only=True)


@dataclasses.dataclass(frozen=True)
class _NotedExecution(Execution):
    notes: list[str] = dataclasses.field(default_factory=list, kw_only=True)


def test_a_class_of_somebodys_own_has_its_own_fields_too() -> None:
    record = encode_execution(Execution(id="e", job_id="j", job={}, compute_state=State(ExecutionState.NEW)))
    assert _NotedExecution.from_json(record).notes == []
    assert _NotedState.from_dict({"StateType": "New"}).notes == []
