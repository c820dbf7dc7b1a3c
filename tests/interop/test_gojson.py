"""Go's JSON text, against what Go wrote."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import records
from execstore.errors import InvalidExecutionError
from execstore.interop import gojson
from execstore.models import Execution

FLOATS = [
    (0.0, "0"),
    (-0.0, "-0"),
    (1.0, "1"),
    (-2.5, "-2.5"),
    (100.0, "100"),
    (0.1, "0.1"),
    (1 / 3, "0.3333333333333333"),
    (123456789.125, "123456789.125"),
    (1e-6, "0.000001"),
    (1.25e-6, "0.00000125"),
    (9.99e-7, "9.99e-7"),
    (1e-7, "1e-7"),
    (5e-324, "5e-324"),
    (1e20, "100000000000000000000"),
    (float(2**63), "9223372036854776000"),
    (1.5e20, "150000000000000000000"),
    (1e21, "1e+21"),
    (1.5e300, "1.5e+300"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (-1e-9, "-1e-9"),
]


@pytest.mark.parametrize(("number", "text"), FLOATS)
def test_float_forms(number: float, text: str) -> None:
    assert gojson.format_float(number) == text
    assert gojson.encode([number, {"a": number}]) == f'[{text},{{"a":{text}}}]'.encode()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_back_exactly(number: float) -> None:
    text = gojson.format_float(number)
    assert float(text) == number
    assert text.startswith("-") == (str(number)[0] == "-")
    assert ("e" in text) == (number != 0 and not 1e-6 <= abs(number) < 1e21)


STRINGS = [
    ('<a href="x">&</a>', r'"\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e"'),
    ("\u2028\u2029", r'"\u2028\u2029"'),
    ("\b\f\n\r\t\\", r'"\b\f\n\r\t\\"'),
    ("\0\x01\x0b\x1b\x1f\x7f", '"\\u0000\\u0001\\u000b\\u001b\\u001f\x7f"'),
    ("é日本🎉\ufeff\ufffd", '"é日本🎉\ufeff\ufffd"'),
    ("1.50 and 1e5, -0.0", '"1.50 and 1e5, -0.0"'),
    ('"1.50"\\', r'"\"1.50\"\\"'),
]


@pytest.mark.parametrize(("value", "text"), STRINGS)
def test_strings(value: str, text: str) -> None:
    assert gojson.encode(value) == text.encode()
    assert gojson.encode({value: [value]}) == f"{{{text}:[{text}]}}".encode()


def test_integers_of_any_size_are_exact() -> None:
    assert (
        gojson.encode([2**64 - 1, -(2**63), 0, 10**30])
        == b"[18446744073709551615,-9223372036854775808,0,1" + b"0" * 30 + b"]"
    )


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidExecutionError):
        gojson.encode({"a": float("nan")})


def parse(text: str) -> Any:
    return json.loads(text, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))


def test_every_text_of_the_real_store_is_written_the_same(expected: dict[str, Any]) -> None:
    texts = [*expected["executions_stored_bytes"].values()]
    assert len(texts) > 200
    for text in texts:
        assert gojson.encode(parse(text)).decode() == text
        assert gojson.encode(gojson.sort_maps(parse(text))).decode() == text


def shuffled(value: Any, name: str = "", *, inside: bool = False) -> Any:
    """The same, with the members of maps in another order."""
    if isinstance(value, list):
        return [shuffled(item, "", inside=inside) for item in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    is_map = inside or name in {"Params", "Details", "Env", "Labels", "Meta", "Tasks"}
    if is_map:
        random.Random(7).shuffle(names)
    below = {each: "" if is_map else each for each in names}
    return {each: shuffled(value[each], below[each], inside=inside or name == "Params") for each in names}


def test_maps_are_sorted_and_structs_are_not(expected: dict[str, Any]) -> None:
    changed = 0
    for text in expected["executions_stored_bytes"].values():
        value = shuffled(parse(text))
        changed += gojson.encode(value).decode() != text
        assert gojson.encode(gojson.sort_maps(value)).decode() == text
    assert changed > 100


def test_sorting_keeps_the_original_and_stands_any_depth() -> None:
    deep: Any = {"b": 1, "a": 2}
    for _ in range(900):
        deep = {"Params": [deep]}
    original = {"Params": {"z": 1, "a": deep}}
    assert list(gojson.sort_maps(original)["Params"]) == ["a", "z"]
    assert list(original["Params"]) == ["z", "a"]


def test_executions_go_back_byte_for_byte(expected: dict[str, Any]) -> None:
    for text in expected["executions_stored_bytes"].values():
        execution = Execution.from_dict(parse(text))
        assert gojson.execution_bytes(execution).decode() == text


def test_executions_go_back_byte_for_byte_after_they_were_stored(expected: dict[str, Any]) -> None:
    for text in expected["executions_stored_bytes"].values():
        execution = records.parse_execution(records.encode_execution(Execution.from_dict(parse(text))))
        assert gojson.execution_bytes(execution).decode() == text
