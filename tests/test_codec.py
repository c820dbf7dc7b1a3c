from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict, defaultdict
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from execstore import codec
from execstore.codec import MAX_DEPTH, CodecError
from execstore.errors import ExecStoreError, InvalidExecutionError


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Half(float):
    pass


class Lying(int):
    def __str__(self) -> str:
        return "7"

    __repr__ = __str__


class WithJson:
    def __json__(self) -> str:
        return '{"broken"'


class WithToDict:
    def toDict(self) -> dict[str, int]:  # noqa: N802 - the name that ujson looks for
        return {"a": 1}


class Raising:
    def __json__(self) -> str:
        msg = "never again"
        raise RuntimeError(msg)


def nested_list(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def exact(value: Any) -> Any:
    """A form of a JSON value that compares equal only if types and signs of zero are equal too."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value).__name__, repr(value)


texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_comes_back_as_it_was(value: Any) -> None:
    data = codec.encode(value)
    assert exact(codec.decode(data)) == exact(value)
    assert exact(codec.decode_strict(data)) == exact(value)
    assert codec.encode_trusted(value) == data
    assert b"\n" not in data


@given(texts)
def test_a_text_is_the_same_json_by_itself(text: str) -> None:
    assert codec.encode_text(text).encode() == codec.encode(text)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e20, 1e23) | st.floats(0, 1e-5))
def test_floats_are_exact(value: float) -> None:
    assert exact(json.loads(codec.encode(value))) == exact(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, True, None, -0.0, 1.0]}, b'{"a":[1,true,null,-0.0,1.0]}'),
        ("</é\u2028\x7f\x00\n", '"</é\u2028\x7f\\u0000\\n"'.encode()),
        (2**64, b"18446744073709551616"),
        (-(10**30), b"-1" + b"0" * 30),
        pytest.param(10**4299, b"1" + b"0" * 4299, id="4300 digits"),
        ((1, (2,)), b"[1,[2]]"),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
        (OrderedDict(b=1, a=2), b'{"b":1,"a":2}'),
        (defaultdict(list, a=[]), b'{"a":[]}'),
        ({Colour.RED: Level.HIGH, "half": Half(0.5)}, b'{"red":3,"half":0.5}'),
        ([Lying(5), Lying(2**70)], b"[5,1180591620717411303424]"),
        ({"1": 1, "true": 2}, b'{"1":1,"true":2}'),
    ],
)
def test_what_is_written(value: Any, expected: bytes) -> None:
    assert codec.encode(value) == expected


@pytest.mark.parametrize(
    ("value", "member", "reason"),
    [
        (math.nan, "Job.x", "nan is not a number"),
        (math.inf, "Job.x", "inf is not a number"),
        (-math.inf, "Job.x", "-inf is not a number"),
        (b"x", "Job.x", "type bytes"),
        (bytearray(b"x"), "Job.x", "type bytearray"),
        (Decimal("1.5"), "Job.x", "type Decimal"),
        (Fraction(1, 2), "Job.x", "type Fraction"),
        ({1, 2}, "Job.x", "type set"),
        (1j, "Job.x", "type complex"),
        (object(), "Job.x", "type object"),
        (WithJson(), "Job.x", "type WithJson"),
        (WithToDict(), "Job.x", "type WithToDict"),
        (Raising(), "Job.x", "type Raising"),
        (iter([1]), "Job.x", "type list_iterator"),
        ({1: 2}, "Job.x", "a key is 1"),
        ({"1": 1, 1: 2}, "Job.x", "a key is 1"),
        ({None: 2}, "Job.x", "a key is None"),
        ({True: 2}, "Job.x", "a key is True"),
        ({b"a": 2}, "Job.x", "a key is b'a'"),
        ("\ud800", "Job.x", r"lone surrogate \(U\+D800\)"),
        ("a\udc80", "Job.x", r"lone surrogate \(U\+DC80\)"),
        ({"\udc80": 1}, "Job.x", r"lone surrogate \(U\+DC80\)"),
        pytest.param(10**4300, "Job.x", "more digits", id="4301 digits"),
        ([{"Params": {"y": [0, Decimal(1)]}}], "Job.x[0].Params.y[1]", "type Decimal"),
        ({"a": {"b": (1, math.nan)}}, "Job.x.a.b[1]", "nan is not a number"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_named(value: Any, member: str, reason: str) -> None:
    with pytest.raises(InvalidExecutionError, match=reason) as caught:
        codec.encode({"ok": 1, "x": value}, member="Job")
    assert caught.value.member == member
    str(caught.value).encode()


def test_the_first_of_several_culprits_is_named() -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        codec.encode({"a": [1, {"b": b""}], "c": b""})
    assert caught.value.member == "a[1].b"


def test_the_deepest_value_can_be_written_and_read() -> None:
    value = nested_list(MAX_DEPTH)
    assert codec.encode(value) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert codec.decode(codec.encode(value)) is not None


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1024, 1025, 5000, 200_000])
def test_a_deeper_one_is_refused(depth: int) -> None:
    with pytest.raises(InvalidExecutionError, match="nested more than 1000 levels"):
        codec.encode(nested_list(depth))


def test_a_culprit_at_the_bottom_is_named() -> None:
    value: Any = math.nan
    for _ in range(MAX_DEPTH):
        value = [value]
    with pytest.raises(InvalidExecutionError, match="nan is not a number"):
        codec.encode(value)


def test_a_value_in_itself_is_refused() -> None:
    members: dict[str, Any] = {}
    members["a"] = [members]
    with pytest.raises(InvalidExecutionError, match=r"Job\.a\[0\]: the value contains itself"):
        codec.encode(members, member="Job")


def test_a_value_that_contains_itself_twice_is_refused_in_no_time() -> None:
    value: list[Any] = []
    value += [value, value]
    with pytest.raises(InvalidExecutionError, match="contains itself"):
        codec.encode(value)


def test_a_part_that_stands_in_two_places_is_no_cycle() -> None:
    part = {"a": 1}
    assert codec.encode([part, part]) == b'[{"a":1},{"a":1}]'


def test_trusted_values_still_fail_by_name() -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        codec.encode_trusted({"a": "\ud800"}, member="Job")
    assert caught.value.member == "Job.a"


def test_the_argument_is_not_changed() -> None:
    value = {"a": (1, {"b": Level.HIGH})}
    codec.encode(value)
    assert exact(value["a"]) == exact((1, {"b": Level.HIGH}))


@pytest.mark.parametrize(
    ("path", "key", "expected"), [("", "a", "a"), ("a", "b", "a.b"), ("a", 3, "a[3]"), ("", 0, "[0]")]
)
def test_paths(path: str, key: str | int, expected: str) -> None:
    assert codec.inner_member(path, key) == expected


MALFORMED = [
    b"",
    b" ",
    b"nul",
    b"nulll",
    b"1 x",
    b"[1,]",
    b'{"a":1,}',
    b"{a:1}",
    b'{"a" 1}',
    b'{"a":1',
    b'"abc',
    b'"\\x"',
    b'"\\u12"',
    b'"\xff"',
    b'"\xc3"',
    b"\x80\xff\xfe",
    b"+1",
    b".5",
    b"1e",
    b"0x10",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 5000,
    b"\x00",
    b"1\x00",
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data[:12]))
@pytest.mark.parametrize("decode", [codec.decode, codec.decode_strict])
def test_malformed_json_is_one_kind_of_error(data: bytes, decode: Any) -> None:
    with pytest.raises(CodecError) as caught:
        decode(data)
    assert caught.value.reason
    assert isinstance(caught.value, ExecStoreError)
    assert isinstance(caught.value, ValueError)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for decode in (codec.decode, codec.decode_strict):
        try:
            decode(data)
        except CodecError as error:
            assert error.reason  # noqa: PT017 - most bytes are no JSON, a few are


@pytest.mark.parametrize(
    ("data", "reason", "line", "column"),
    [
        (b"NaN", "NaN is not a number that JSON has", 1, 1),
        (b'{"NaN":\n "Infinity", "a": -Infinity}', "-Infinity is not a number that JSON has", 2, 19),
        (b'["1e400",\n\n  1e400]', "1e400 is not a number that JSON has", 3, 3),
        (b"01", "Extra data", 1, 2),
        (b"-", "Expecting value", 1, 1),
        (b'{"a":\n"x\ny"}', "Invalid control character", 2, 3),
        (b'"\t"', "Invalid control character", 1, 2),
        (b'{"a":1} {"b":2}', "Extra data", 1, 9),
        (b'{"a":1,\n"b":{"c":1,"c":2}}', 'the member "c" stands twice in one object', 0, 0),
        (b'{"a":\n "\xff"}', "not UTF-8 text", 2, 3),
        (b'"\xed\xa0\x80"', "not UTF-8 text", 1, 2),
    ],
)
def test_json_from_people_is_taken_at_its_word(data: bytes, reason: str, line: int, column: int) -> None:
    with pytest.raises(CodecError) as caught:
        codec.decode_strict(data)
    assert reason in caught.value.reason
    assert (caught.value.line, caught.value.column) == (line, column)
    if line:
        assert str(caught.value) == f"line {line}, column {column}: {caught.value.reason}"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_from_people_that_is_nested_too_deep(depth: int, opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    with pytest.raises(CodecError, match="nested too deep"):
        codec.decode_strict(opening * depth + b"1" + closing * depth)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'\xef\xbb\xbf{"a": 1}\n', {"a": 1}),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b' [ 1.5e3 , "\xc3\xa9" ] ', [1500.0, "é"]),
    ],
)
def test_json_from_people(data: bytes, expected: Any) -> None:
    assert exact(codec.decode_strict(data)) == exact(expected)


# What ujson does by itself, which is why this module is there. If one of these changes, the guard can go.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1: 1, "1": 2}, '{"1":1,"1":2}'),
        (Decimal("1.5"), "1.5"),
        ({b"a": 1}, '{"a":1}'),
        (WithJson(), '{"broken"'),
        (WithToDict(), '{"a":1}'),
        ("\ud800", '"\ud800"'),
    ],
)
def test_traps_of_ujson_when_writing(value: Any, text: str) -> None:
    assert ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False) == text


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"-", 0), (b"01", 1), (b'"a\nb"', "a\nb"), (b'{"a":1,"a":2}', {"a": 2}), (b"1.", 1.0), (b'"\\ud800"', "\ud800")],
)
def test_traps_of_ujson_when_reading(data: bytes, value: Any) -> None:
    assert codec.decode(data) == value
