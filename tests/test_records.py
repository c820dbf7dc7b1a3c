from __future__ import annotations

import json
import lzma
import math
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import codec
from execstore.codec import MAX_DEPTH, CodecError
from execstore.errors import InvalidExecutionError
from execstore.models import (
    Event,
    Execution,
    ExecutionEvent,
    ExecutionUpsert,
    RunCommandResult,
    SpecConfig,
    State,
)
from execstore.records import (
    compact,
    encode_checkpoint,
    encode_event,
    encode_execution,
    encode_upsert,
    parse_checkpoint,
    parse_event,
    parse_execution,
)
from execstore.states import ExecutionState
from execstore.timestamps import Timestamp
from tests.strategies import executions_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**70), 2**70)
counts = st.integers(0, 2**70)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, json_values, max_size=3)
# Names that no model knows, so that they land in extra again.
extras = st.dictionaries(texts.map(lambda text: f"x{text}"), json_values, max_size=2)
details = st.dictionaries(texts, texts, max_size=3)
executions = executions_of(
    texts=texts,
    objects=objects,
    extras=extras,
    details=details,
    integers=integers,
    counts=counts,
    state_numbers=st.integers(0, 15) | st.just(2**63 - 1),
)
events = st.builds(Event, texts, texts, st.builds(Timestamp, st.integers(-(10**18), 10**18)), details, extra=extras)


@given(executions)
def test_every_execution_comes_back_from_its_record(execution: Execution) -> None:
    record = encode_execution(execution)
    assert parse_execution(record) == execution
    assert parse_execution(compact(record)) == execution
    assert encode_execution(execution, trusted=True) == record


@given(executions)
def test_a_record_is_what_to_dict_says_with_a_line_for_each_member(execution: Execution) -> None:
    record = encode_execution(execution)
    lines = record.split(b"\n")
    assert (lines[0], lines[-2], lines[-1]) == (b"{", b"}", b"")
    members = execution.to_dict()
    assert len(lines) == len(members) + 3
    for line, (name, value) in zip(lines[1:-2], members.items(), strict=True):
        assert line.removesuffix(b",") == codec.encode(name) + b":" + codec.encode(value)
    assert compact(record) == codec.encode(members)


def test_a_record_is_strict_json() -> None:
    execution = Execution(id='"\\\n\x00\x7f\u2028</é\U0001f600', job={"a\n": "\r\n"}, extra={'"': 1})
    assert Execution.from_dict(codec.decode_strict(encode_execution(execution))) == execution


def test_what_a_record_looks_like() -> None:
    execution = Execution(id="e-1", job={"Count": 1}, compute_state=State(ExecutionState.NEW, "why"), revision=1)
    assert encode_execution(execution).decode() == (
        "{\n"
        '"ID":"e-1",\n'
        '"Namespace":"default",\n'
        '"EvalID":"",\n'
        '"Name":"",\n'
        '"NodeID":"",\n'
        '"JobID":"",\n'
        '"Job":{"Count":1},\n'
        '"JobVersion":0,\n'
        '"AllocatedResources":null,\n'
        '"DesiredState":{"StateType":"Pending"},\n'
        '"ComputeState":{"StateType":"New","Message":"why"},\n'
        '"PublishedResult":null,\n'
        '"RunOutput":null,\n'
        '"PreviousExecution":"",\n'
        '"NextExecution":"",\n'
        '"FollowupEvalID":"",\n'
        '"Revision":1,\n'
        '"CreateTime":0,\n'
        '"ModifyTime":0\n'
        "}\n"
    )


def test_what_the_reference_stored_can_be_read_and_kept() -> None:
    path = Path(__file__).parent / "data" / "bacalhau-expected.json.xz"
    stored = json.loads(lzma.decompress(path.read_bytes()))["executions_stored_bytes"]
    for text in stored.values():
        execution = parse_execution(text.encode())
        assert json.dumps(execution.to_dict(numbers=True)) == json.dumps(json.loads(text))
        assert parse_execution(encode_execution(execution, trusted=True)) == execution


@pytest.mark.parametrize(
    ("execution", "member"),
    [
        (Execution(job={"x": math.nan}), "Job.x"),
        (Execution(allocated_resources={"x": b""}), "AllocatedResources.x"),
        (Execution(published_result=SpecConfig("s3", {"x": {1}})), "PublishedResult.Params.x"),
        (Execution(published_result=SpecConfig("s3", extra={"x": {1}})), "PublishedResult.x"),
        (Execution(run_output=RunCommandResult(extra={"x": {1}})), "RunOutput.x"),
        (Execution(compute_state=State(ExecutionState.NEW, extra={"x": {1}})), "ComputeState.x"),
        (Execution(extra={"x": {1}}), "x"),
        (Execution(extra={5: 1}), ""),  # type: ignore[dict-item]
        (Execution(extra={"\udc80": 1}), ""),
        (Execution(name="\ud800"), "Name"),
        (Execution(compute_state=State(ExecutionState.NEW, "\ud800")), "ComputeState.Message"),
        (Execution(compute_state=State(ExecutionState.NEW, details={"k": "\ud800"})), "ComputeState.Details.k"),
        (Execution(run_output=RunCommandResult(stdout="\ud800")), "RunOutput.Stdout"),
        pytest.param(Execution(revision=10**5000), "Revision", id="digits"),
        (Execution(id=5), "ID"),  # type: ignore[arg-type]
        (Execution(revision="1"), "Revision"),  # type: ignore[arg-type]
        (Execution(compute_state=None), "ComputeState"),  # type: ignore[arg-type]
        (Execution(compute_state=State("New")), "ComputeState.StateType"),  # type: ignore[arg-type]
        (Execution(published_result={}), "PublishedResult"),  # type: ignore[arg-type]
        (Execution(run_output={}), "RunOutput"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("trusted", [False, True])
def test_what_cannot_be_written_is_named(execution: Execution, member: str, trusted: bool) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        encode_execution(execution, trusted=trusted)
    assert caught.value.member == member


@pytest.mark.parametrize("value", [{1: 2}, {"1": 1, 1: 2}, Decimal("0.1")])
def test_what_ujson_would_turn_into_something_else_is_named_unless_trusted(value: Any) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        encode_execution(Execution(job={"Tasks": [{"Params": value}]}))
    assert caught.value.member == "Job.Tasks[0].Params"


def test_encoding_changes_nothing() -> None:
    job = MappingProxyType({"a": (1, 2)})
    execution = Execution(job=job)
    assert parse_execution(encode_execution(execution)).job == {"a": [1, 2]}
    assert execution.job is job


def test_the_deepest_job_can_stand_in_the_log() -> None:
    job: Any = {}
    for _ in range(MAX_DEPTH - 1):
        job = {"a": job}
    record = encode_execution(Execution(job=job))
    upsert = encode_upsert(compact(record), None)
    # The line around it has one more level.
    logged = ExecutionUpsert.from_dict(codec.decode(b'{"object":%b}' % upsert)["object"])
    assert logged.current is not None
    assert encode_execution(logged.current) == record


# --- reading what isn't right ---------------------------------------------------------------------------------------

NO_JSON = [
    b"",
    b"\n",
    b"{",
    b"{}x",
    b'{"ID":"e-1",}',
    b'{"ID":"e-1"',
    b'{"ID":"e-1"}{"ID":"e-2"}',
    b'{"ID":"\xff"}',
    b'{"ID":"e\x00"}',
    b"\x00" * 100,
    b"[" * 5000,
    b'{"Revision":' + b"9" * 5000 + b"}",
    encode_execution(Execution())[:-3],
    encode_execution(Execution())[1:],
]
NO_EXECUTION = [
    b"null",
    b"[]",
    b'"e-1"',
    b"5",
    b'{"ID":5}',
    b'{"Revision":-1}',
    b'{"Revision":1e3}',
    b'{"ComputeState":{"StateType":"running"}}',
    b'{"ComputeState":{"StateType":99999999999999999999}}',
    b'{"Job":"{}"}',
    b'{"RunOutput":{"ExitCode":null}}',
]


@pytest.mark.parametrize("data", NO_JSON, ids=lambda data: repr(data[:16]))
@pytest.mark.parametrize("parse", [parse_execution, parse_event, parse_checkpoint])
def test_damaged_bytes_are_a_codec_error(parse: Any, data: bytes) -> None:
    with pytest.raises(CodecError):
        parse(data)


@pytest.mark.parametrize("data", NO_EXECUTION)
def test_json_that_is_no_execution(data: bytes) -> None:
    with pytest.raises(InvalidExecutionError):
        parse_execution(data)


@given(executions, st.data())
def test_a_flipped_bit_is_another_execution_or_one_of_two_errors(execution: Execution, data: st.DataObject) -> None:
    record = bytearray(encode_execution(execution))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    try:
        assert isinstance(parse_execution(bytes(record)), Execution)
    except (CodecError, InvalidExecutionError):
        return


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for parse in (parse_execution, parse_event, parse_checkpoint):
        try:
            parse(data)
        except (CodecError, InvalidExecutionError):
            continue


def test_a_record_may_be_laid_out_and_numbered_otherwise() -> None:
    data = b'{ "ComputeState": {\n  "StateType": 6\n }, "ID": "e-1", "ModifyTime": 7 }'
    running = State(ExecutionState.RUNNING)
    assert parse_execution(data) == Execution(id="e-1", compute_state=running, modify_time=7)


# --- events ---------------------------------------------------------------------------------------------------------


@given(events)
def test_every_event_comes_back_from_its_line(event: Event) -> None:
    line = encode_event(event)
    assert b"\n" not in line
    assert parse_event(line) == event
    of = ExecutionEvent.of(event, "e-1")
    assert ExecutionEvent.from_dict(codec.decode(encode_event(of))) == of


def test_what_an_event_looks_like() -> None:
    event = Event("Execution", "created", "2026-01-02T03:04:05.1234567Z", {"b": "1 <&>", "a": "é"})
    assert encode_event(event).decode() == (
        '{"Message":"created","Topic":"Execution","Timestamp":"2026-01-02T03:04:05.1234567Z",'
        '"Details":{"b":"1 <&>","a":"é"}}'
    )


def test_null_is_the_zero_event() -> None:
    assert parse_event(b"null") == Event("", "", Timestamp.ZERO)


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"0", b'{"Timestamp":""}', b'{"Topic":null}', b'{"Details":{"a":1}}'])
def test_json_that_is_no_event(data: bytes) -> None:
    with pytest.raises(InvalidExecutionError):
        parse_event(data)


@pytest.mark.parametrize(
    ("event", "member"),
    [
        (Event("t", "\ud800"), "Events[1].Message"),
        (Event("t", details={"k": "\ud800"}), "Events[1].Details.k"),
        (Event(5), "Events[1].Topic"),  # type: ignore[arg-type]
        (Event("t", extra={"x": {1}}), "Events[1].x"),
        (Event("t", extra={"x": {1: 1}}), "Events[1].x"),
        (Event("t", timestamp=Timestamp(10**30)), "Events[1].Timestamp"),
        (None, "Events[1]"),
    ],
)
def test_an_event_that_cannot_be_written_is_named(event: Any, member: str) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        encode_event(event, member="Events[1]")
    assert caught.value.member == member


# --- upserts and checkpoints ----------------------------------------------------------------------------------------


def test_what_an_upsert_looks_like() -> None:
    upsert = encode_upsert(b'{"ID":"new"}', b'{"ID":"old"}', [b'{"Topic":"a"}', b'{"Topic":"b"}'])
    assert upsert == b'{"Current":{"ID":"new"},"Previous":{"ID":"old"},"Events":[{"Topic":"a"},{"Topic":"b"}]}'


@pytest.mark.parametrize("given_events", [None, []])
def test_no_events_are_null_as_in_the_reference(given_events: list[bytes] | None) -> None:
    assert encode_upsert(None, b"{}", given_events) == b'{"Current":null,"Previous":{},"Events":null}'


@given(executions, st.lists(events, max_size=3))
def test_an_upsert_out_of_parts_reads_as_the_model(execution: Execution, given_events: list[Event]) -> None:
    part = compact(encode_execution(execution))
    upsert = encode_upsert(part, None, [encode_event(event) for event in given_events])
    expected = ExecutionUpsert(execution, None, tuple(given_events) or None)
    assert ExecutionUpsert.from_dict(codec.decode(upsert)) == expected


@given(texts, counts)
def test_a_checkpoint_comes_back(name: str, sequence_number: int) -> None:
    data = encode_checkpoint(name, sequence_number)
    assert parse_checkpoint(data) == (name, sequence_number)
    assert json.loads(data) == {"Name": name, "SequenceNumber": sequence_number}


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b"5",
        b"{}",
        b'{"Name":"a"}',
        b'{"SequenceNumber":1}',
        b'{"Name":1,"SequenceNumber":1}',
        b'{"Name":"a","SequenceNumber":-1}',
        b'{"Name":"a","SequenceNumber":1.0}',
        b'{"Name":"a","SequenceNumber":true}',
        b'{"Name":"a","SequenceNumber":null}',
    ],
)
def test_json_that_is_no_checkpoint(data: bytes) -> None:
    with pytest.raises(CodecError, match="no checkpoint"):
        parse_checkpoint(data)
