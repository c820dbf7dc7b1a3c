"""Executions whose job stays a text until it is looked at: nothing else about them is different, and damage shows."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import Execution, ExecutionState, ExecutionUpsert, State, codec, job_text
from execstore.codec import CodecError
from execstore.errors import InvalidExecutionError
from execstore.merge import merge_execution
from execstore.records import compact, encode_execution, encode_upsert, parse_execution
from execstore.validation import normalize_for_create
from tests.strategies import executions_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, json_values, max_size=3)
extras: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.dictionaries(
    texts.map(lambda text: f"x{text}"), json_values, max_size=2
)
executions = executions_of(
    texts=texts,
    objects=objects,
    extras=extras,
    details=st.just({}) | st.dictionaries(texts, texts, max_size=3),
    integers=st.just(0) | st.integers(),
    counts=st.integers(0, 2**70),
    state_numbers=st.integers(0, 15),
)
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOB = {"ID": "j-1", "Tasks": [{"Name": "main", "Env": {"KEY": 'a "quoted" \\ one'}}], "Count": 3}


@pytest.fixture(autouse=True, scope="module")
def _nothing_known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_text, "_known", job_text._KnownTexts())
        yield


def an_execution(**fields: Any) -> Execution:
    given: dict[str, Any] = {"id": "e-1", "job_id": "j-1", "job": JOB, "compute_state": State(ExecutionState.NEW)}
    return normalize_for_create(Execution(**(given | fields))).replace(revision=1, create_time=5, modify_time=6)


def parsed_late(record: bytes) -> Execution:
    """As the second reader of a record gets it."""
    parse_execution(record)
    execution = parse_execution(record)
    assert is_late(execution)
    return execution


def is_late(execution: Execution) -> bool:
    return "job" not in vars(execution)


def outcome(read: Callable[[], Execution]) -> Execution | str:
    try:
        return read()
    except (CodecError, InvalidExecutionError) as error:
        return repr(error)


def test_the_first_reader_parses_the_job_and_the_next_leaves_it() -> None:
    job = JOB | {"Name": "nobody has read it yet"}
    record = encode_execution(an_execution(job=job))
    assert not is_late(parse_execution(record))
    execution = parse_execution(record)
    assert is_late(execution)
    assert execution.job == job
    assert not is_late(execution)
    assert execution.job is execution.job


def test_another_revision_with_the_same_job_is_late_at_once() -> None:
    parse_execution(encode_execution(an_execution()))
    assert is_late(parse_execution(encode_execution(an_execution(id="e-2", name="another"))))


def test_everything_about_it_is_as_ever() -> None:
    execution = an_execution()
    record = encode_execution(execution)
    assert parsed_late(record) == execution
    assert execution == parsed_late(record)
    assert repr(parsed_late(record)) == repr(execution)
    assert parsed_late(record).to_dict() == execution.to_dict()
    assert encode_execution(parsed_late(record), trusted=True) == record
    assert dataclasses.asdict(parsed_late(record)) == dataclasses.asdict(execution)
    assert dataclasses.replace(parsed_late(record), name="n") == execution.replace(name="n")
    assert copy.copy(parsed_late(record)) == execution
    assert copy.deepcopy(parsed_late(record)) == execution
    assert pickle.loads(pickle.dumps(parsed_late(record))) == execution
    assert parsed_late(record).replace(name="n") == execution.replace(name="n")
    assert parsed_late(record).replace(job={"a": 1}) == execution.replace(job={"a": 1})
    assert parsed_late(record).replace(job=None).job is None
    with pytest.raises(TypeError, match="no field 'jobs'"):
        parsed_late(record).replace(jobs={})
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed_late(record).job = {}  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(parsed_late(record))
    assert Execution.job is None


def test_two_readers_never_share_a_job() -> None:
    record = encode_execution(an_execution())
    first, second = parsed_late(record), parsed_late(record)
    assert isinstance(first.job, dict)
    first.job["ID"] = "changed"
    assert second.job == parse_execution(record).job == JOB


def test_all_threads_are_given_the_same_job() -> None:
    record = encode_execution(an_execution(job={"Tasks": [{"n": number} for number in range(900)]}))
    for _ in range(20):
        execution = parsed_late(record)
        together = threading.Barrier(4)
        found: list[Any] = []

        def look(
            execution: Execution = execution, together: threading.Barrier = together, found: list[Any] = found
        ) -> None:
            together.wait()
            found.append(execution.job)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(job) for job in found}) == 1


@given(executions, executions)
def test_any_execution_is_read_the_same_late_or_not(one: Execution, other: Execution) -> None:
    for execution in (one, other.replace(job=one.job)):
        record = encode_execution(execution)
        expected = Execution.from_dict(codec.decode(record))
        for _ in range(2):
            assert parse_execution(record) == expected
            assert encode_execution(parse_execution(record)) == record
    line = encode_upsert(compact(encode_execution(one)), compact(encode_execution(other)), [])
    expected_upsert = ExecutionUpsert.from_dict(codec.decode(line))
    for _ in range(2):
        assert ExecutionUpsert.from_json(line) == expected_upsert


@given(objects, objects)
def test_any_job_is_read_the_same_late_or_not(job: dict[str, Any], other: dict[str, Any]) -> None:
    # What looks like the end of a job, or like another one, as a member and as text, at any depth.
    nested = {"a": job, "JobVersion": 2, "b": {"Job": other, "JobVersion": 3}, 'x"Job': other, "t": '"JobVersion":'}
    for each in (job, nested, {"Job": job}, {"Job": None}, {'"Job":': nested}):
        record = encode_execution(an_execution(job=each))
        for _ in range(2):
            assert parse_execution(record).job == each
            assert parse_execution(record) == Execution.from_dict(codec.decode(record))


def test_a_job_cant_pass_for_what_stands_around_it() -> None:
    """A job whose members are those of an execution doesn't make an upsert say something else than it does."""
    forged = codec.decode(encode_execution(an_execution(id="forged")))
    hostile = {"f": {name: forged[name] for name in list(forged)[7:]}, "Previous": forged}
    for job in (hostile, {"Job": hostile, "JobVersion": 1}, forged):
        record = compact(encode_execution(an_execution(job=job)))
        for line in (encode_upsert(record, None), encode_upsert(None, record), encode_upsert(record, record)):
            for _ in range(2):
                assert ExecutionUpsert.from_json(line) == ExecutionUpsert.from_dict(codec.decode(line))
                parse_execution(encode_execution(an_execution(job=forged)))


def test_damage_inside_a_job_shows_when_it_is_read() -> None:
    record = encode_execution(an_execution())
    parsed_late(record)
    start, end = record.index(b'"Job":'), record.index(b'"JobVersion":')
    for position in range(start, end):
        for damaged in (record[:position] + record[position + 1 :], record[:position] + b"\0" + record[position + 1 :]):
            read, expected = (
                outcome(lambda: parse_execution(damaged)),  # noqa: B023
                outcome(lambda: Execution.from_dict(codec.decode(damaged))),  # noqa: B023
            )
            assert read == expected


@pytest.mark.parametrize(
    "change",
    [
        (b'"ID":"e-1",\n', b""),
        (b'"ID":"e-1"', b'"ID":7'),
        (b'"Name":"",\n', b'"X":{"Job":{"a":1},"JobVersion":1},\n"Name":"",\n'),
        (b'"Revision":1', b'"Job":{"b":2},\n"Revision":1'),
        (b'"Revision":1', b'"Job":null,\n"Revision":1'),
        (b'"Revision":1', b'"Revision":-1'),
        (b'"JobVersion":0,\n', b""),
        (b',\n"JobVersion"', b' ,\n"JobVersion"'),
        (b'{"StateType":"New"}', b'{"StateType":"Nowhere"}'),
        (b'{"StateType":"New"}', b'{"StateType":["New"]}'),
        (b'{"StateType":"New"}', b'{"StateType":1}'),
        (b'{"Type":""}', b'{"Type":7}'),
        (b'"ExitCode":0', b'"ExitCode":false'),
        (b'"StdoutTruncated":false', b'"StdoutTruncated":0'),
    ],
)
def test_a_record_edited_by_hand_is_read_as_ever(change: tuple[bytes, bytes]) -> None:
    record = encode_execution(an_execution())
    parsed_late(record)
    assert change[0] in record
    edited = record.replace(*change)
    assert outcome(lambda: parse_execution(edited)) == outcome(lambda: Execution.from_dict(codec.decode(edited)))


def test_only_so_many_texts_are_kept() -> None:
    for number in range(2000):
        parse_execution(encode_execution(an_execution(job={"n": number})))
    known = job_text._known.texts
    assert len(known) == 512
    assert b'{"n":1999}' in known
    parse_execution(encode_execution(an_execution(job={"n": "x" * 20000})))
    assert max(map(len, known)) <= 16384


def test_each_execution_of_an_upsert_has_its_own_job_in_any_order() -> None:
    current, previous = (compact(encode_execution(an_execution(job={"ID": name}))) for name in ("new", "old"))
    for _ in range(2):  # the second time the jobs are known
        upsert = ExecutionUpsert.from_json(b'{"Previous":%b,"Current":%b,"Events":null}' % (previous, current))
        assert upsert.current is not None
        assert upsert.previous is not None
        assert (upsert.current.job, upsert.previous.job) == ({"ID": "new"}, {"ID": "old"})


def test_a_job_that_nobody_looked_into_is_written_as_it_was_read() -> None:
    record = encode_execution(an_execution())
    execution = parsed_late(record)
    assert job_text.unread_job(execution) is not None
    assert encode_execution(execution.replace(revision=2)) == record.replace(b'"Revision":1', b'"Revision":2')
    assert execution.job == JOB
    assert job_text.unread_job(execution) is None, "it may have been changed since"


@pytest.mark.parametrize(
    "text", [b'"Count": 3', b'"Count":NaN', b'"Count":1e999', b'"Count":"\\u00e9"', b'"Count":\n3']
)
def test_a_job_as_no_program_of_this_format_writes_it_is_always_parsed(text: bytes) -> None:
    """What comes of a record must not depend on what was read before."""
    record = encode_execution(an_execution()).replace(b'"Count":3', text)
    written = [outcome_of_writing(record) for _ in range(3)]
    assert not is_late(parse_execution(record))
    assert written[0] == written[1] == written[2]
    assert text not in str(written[0]).encode()


def outcome_of_writing(record: bytes) -> bytes | str:
    try:
        return encode_execution(parse_execution(record), trusted=True)
    except InvalidExecutionError as error:
        return str(error)


def test_a_job_given_twice_is_that_of_the_execution_which_has_it() -> None:
    current, previous = (compact(encode_execution(an_execution(job={"ID": name}))) for name in ("new", "old"))
    line = b'{"Current":null,"Previous":%b,"Events":null,"Current":%b}' % (previous, current)
    twice = compact(encode_execution(an_execution())).replace(b'"JobVersion"', b'"Job" :null,"JobVersion"')
    beside = compact(encode_execution(an_execution(job=None))).replace(b'"Job":null', b'"Job" :null')
    beside = beside[:-1] + b',"x":{"Job":{"q":1},"JobVersion":5}}'
    for _ in range(2):  # the second time the jobs are known
        assert ExecutionUpsert.from_json(line) == ExecutionUpsert.from_dict(codec.decode(line))
        for record in (twice, beside):
            assert parse_execution(record) == Execution.from_dict(codec.decode(record))
            assert parse_execution(record).job is None


def test_an_update_leaves_the_job_unread() -> None:
    stored = parsed_late(encode_execution(an_execution()))
    merged = merge_execution(stored, Execution(compute_state=State(ExecutionState.RUNNING)))
    assert job_text.unread_job(merged) == job_text.unread_job(stored) is not None
    changed = merge_execution(stored, Execution(job={"Count": 4}))
    assert changed.job == JOB | {"Count": 4}


def test_a_job_over_several_lines_is_brought_into_one() -> None:
    """Somebody edited the record; a newline in a string, which no JSON has, is one of the string."""
    record = encode_execution(an_execution()).replace(b'"Name":"main"', b'"Name":\n"ma\nin"')
    for _ in range(2):
        written = encode_execution(parse_execution(record))
        assert rb'"Name":"ma\nin"' in written
        job = parse_execution(compact(written)).job
        assert job is not None
        assert job["Tasks"][0]["Name"] == "ma\nin"
