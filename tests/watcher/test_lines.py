"""Lines of the log: what is written is read, and nothing damaged passes for an event."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.errors import DeserializationError
from execstore.watcher import Operation, encode_line, parse_ends, parse_object
from execstore.watcher.lines import LineEnds, object_json, parse_line

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = encode_line(7, Operation.UPDATE, "Plain", b'{"a":[1,2]}', 1795489652174612621)
BARE = b'{"seqNum":7,"operation":"UPDATE","objectType":"Plain","object":{"a":[1,2]},"timestamp":1795489652174612621}'


def test_a_line_is_the_references_json_and_a_checksum() -> None:
    body, _, end = LINE.rpartition(b',"crc32":')
    assert body + b"}" == BARE
    assert json.loads(end.removesuffix(b"}")) == f"{zlib.crc32(body):08x}"
    assert list(json.loads(LINE)) == ["seqNum", "operation", "objectType", "object", "timestamp", "crc32"]


OTHER_SHAPES = [
    pytest.param(LINE, id="as written"),
    pytest.param(BARE, id="the reference's, without a checksum"),
    pytest.param(
        b'{"timestamp":1795489652174612621,"object":{"a":[1,2]},"objectType":"Plain","operation":"UPDATE","seqNum":7}',
        id="another order",
    ),
    pytest.param(BARE[:-1] + b',"more":{"crc32":1}}', id="one more member"),
    pytest.param(BARE.replace(b":", b": ").replace(b",", b" , "), id="spaces"),
]


@pytest.mark.parametrize("line", OTHER_SHAPES)
def test_every_shape_is_read_the_same(line: bytes) -> None:
    assert parse_ends(line, 7) == (7, Operation.UPDATE, "Plain", 1795489652174612621)
    assert parse_object(line, 7) == {"a": [1, 2]}


NAMES = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


@given(st.integers(1, 2**64 - 1), st.sampled_from(list(Operation)), NAMES, JSON, st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_is_read(number: int, operation: Operation, name: str, value: object, timestamp: int) -> None:
    object_json = json.dumps(value, ensure_ascii=False).encode()
    line = encode_line(number, operation, name, object_json, timestamp)
    assert b"\n" not in line
    assert parse_ends(line, number) == (number, operation, name, timestamp)
    assert parse_object(line, number) == value


def test_an_object_that_looks_like_the_end_of_a_line_is_not_taken_for_it() -> None:
    line = encode_line(1, Operation.CREATE, "Plain", b'{"x":",\\"timestamp\\":5","timestamp":6,"crc32":"00000000"}', 9)
    assert parse_ends(line, 1).timestamp == 9
    bare = line[: line.rindex(b',"crc32"')] + b"}"
    assert parse_ends(bare, 1).timestamp == 9


def test_every_single_bit_flip_is_noticed_or_harmless() -> None:
    for index in range(len(LINE)):
        for bit in range(8):
            damaged = bytearray(LINE)
            damaged[index] ^= 1 << bit
            try:
                ends = parse_ends(bytes(damaged), 7)
            except DeserializationError:
                continue
            # Only the checksum's own name may change unnoticed: the line then counts as one without a checksum.
            assert ends == (7, Operation.UPDATE, "Plain", 1795489652174612621)
            assert parse_object(bytes(damaged), 7) == {"a": [1, 2]}
            assert b'"crc32"' not in damaged


DAMAGED = [
    (b"", "event 7 is not JSON: "),
    (b"\x00" * 40, "event 7 is not JSON: "),
    (LINE[:50], "event 7 is not JSON: "),
    (LINE[:-1], "event 7 is not JSON: "),
    (LINE + LINE, "event 7 is "),
    (b"[7]", "event 7 is not a JSON object"),
    (LINE.replace(b"[1,2]", b"[1,3]"), "event 7 is damaged: its checksum doesn't fit"),
    (LINE[:-1] + b',"more":1}', "event 7 is damaged: its checksum doesn't fit"),
    (BARE.replace(b'"seqNum":7', b'"seqNum":8'), "event 8 stands where event 7 belongs"),
    (encode_line(8, Operation.CREATE, "Plain", b"1", 0), "event 8 stands where event 7 belongs"),
    (BARE.replace(b'"seqNum":7', b'"seqNum":0'), "event 7 has no sequence number"),
    (BARE.replace(b'"seqNum":7', b'"seqNum":true'), "event 7 has no sequence number"),
    (BARE.replace(b'"seqNum":7', b'"seqNum":"7"'), "event 7 has no sequence number"),
    (BARE.replace(b'"UPDATE"', b'"MOVE"'), "event 7 has no known operation: 'MOVE'"),
    (BARE.replace(b'"UPDATE"', b"[]"), r"event 7 has no known operation: \[\]"),
    (BARE.replace(b'"Plain"', b"5"), "event 7 has no object type"),
    (BARE.replace(b'"object":', b'"thing":'), "event 7 has no object"),
    (BARE.replace(b"1795489652174612621", b'"now"'), "event 7 has no timestamp"),
    (BARE.replace(b"1795489652174612621", b"true"), "event 7 has no timestamp"),
]


@pytest.mark.parametrize(("line", "message"), DAMAGED)
def test_a_damaged_line_is_refused_with_its_number(line: bytes, message: str) -> None:
    with pytest.raises(
        DeserializationError, match=f"^failed to unmarshal event: deserialization error: {message}"
    ) as raised:
        parse_ends(line, 7)
    assert raised.value.seq_num == 7


def test_an_object_that_is_no_json_behind_a_right_checksum_is_refused() -> None:
    line = encode_line(7, Operation.CREATE, "Plain", b'{"a":', 0)
    with pytest.raises(DeserializationError, match="event 7 is not JSON"):
        parse_object(line, 7)


def test_the_objects_json_is_what_was_put_in() -> None:
    for value in (b"null", b"1", b'{"a":[1,2]}', b'{"x":",\\"timestamp\\":5","timestamp":6,"crc32":"00000000"}'):
        assert object_json(encode_line(7, Operation.CREATE, "Plain", value, -5), 7) == value
    assert object_json(BARE, 7) == b'{"a":[1,2]}'


def test_a_name_with_a_lone_surrogate_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_line(1, Operation.CREATE, "\ud800", b"1", 0)


def outcome(parse: Callable[[], LineEnds]) -> object:
    """What it returns, or the error that it raises."""
    try:
        return parse()
    except DeserializationError as error:
        return str(error)


@given(st.data())
def test_a_line_of_a_known_kind_is_judged_as_any_other(data: st.DataObject) -> None:
    object_json = b'{"a":",\\"timestamp\\":1,\\"object\\":"}'
    line = bytearray(
        encode_line(7, Operation.UPDATE, "Thing, \N{SNOWMAN}" if data.draw(st.booleans()) else "T,:", object_json, 5)
    )
    parse_line(bytes(line), 7)  # from here on its kind is known
    for _ in range(data.draw(st.integers(0, 2))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    seq_num = data.draw(st.sampled_from((0, 7, 8)))
    damaged = bytes(line)
    assert outcome(lambda: parse_line(damaged, seq_num)[0]) == outcome(lambda: parse_ends(damaged, seq_num))


def test_where_the_object_of_a_known_kind_stands() -> None:
    line = encode_line(7, Operation.UPDATE, "Known", b'{"timestamp":1,"object":2}', 5)
    assert parse_line(line, 7)[1:] in ((0, 0), (line.find(b'{"timestamp"'), line.rfind(b',"timestamp"')))
    ends, start, end = parse_line(line, 7)
    assert ends == parse_ends(line, 7)
    assert line[start:end] == object_json(line, 7) == b'{"timestamp":1,"object":2}'


def test_a_line_with_a_member_twice_teaches_nothing_wrong() -> None:
    start = b'{"seqNum":7,"operation":"UPDATE","objectType":"Twice","object":1'
    assert parse_line(start + b',"objectType":"Other","timestamp":5}', 7)[0].object_type == "Other"
    line = encode_line(7, Operation.UPDATE, "Twice", b"1", 5)
    assert parse_line(line, 7)[0].object_type == "Twice"
    assert parse_line(line, 7)[0].object_type == "Twice"
