"""Objects to JSON and back, by registered type."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from execstore import models
from execstore.errors import DeserializationError, InvalidArgumentError, SerializationError
from execstore.watcher import JSONSerializer

SERIALIZER = JSONSerializer()


@dataclass(frozen=True)
class Point:
    x: int

    @classmethod
    def from_dict(cls, value: Any, /) -> Point:
        return cls(value["x"])

    def to_dict(self) -> dict[str, int]:
        return {"x": self.x}


class Changeable(dict[str, Any]):
    @classmethod
    def from_dict(cls, value: Any, /) -> Changeable:
        return cls(value)

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


@pytest.fixture(autouse=True)
def types() -> None:
    for name, kind in (("Point", Point), ("Changeable", Changeable), ("List", list), ("Text", str), ("Any", object)):
        JSONSerializer.register_type(name, kind)


@pytest.mark.parametrize(
    ("object_type", "value", "json"),
    [
        ("Point", Point(3), b'{"x":3}'),
        ("Point", None, b"null"),
        ("Plain", {"a": ["ä", 2**60, None]}, '{"a":["ä",1152921504606846976,null]}'.encode()),
        ("List", [1, [2]], b"[1,[2]]"),
        ("Text", "a\nb", b'"a\\nb"'),
        ("Any", 5, b"5"),
        ("Any", False, b"false"),
        ("Changeable", Changeable(k="v"), b'{"k":"v"}'),
    ],
)
def test_objects_go_there_and_back(object_type: str, value: Any, json: bytes) -> None:
    from execstore import codec

    assert SERIALIZER.encode(value) == json
    decoded = SERIALIZER.decode(object_type, codec.decode(json), 1)
    assert decoded == value
    assert type(decoded) is type(value)


def test_the_stores_own_types_are_known_from_the_start() -> None:
    assert JSONSerializer.is_type_registered("ExecutionUpsert")
    assert JSONSerializer.is_type_registered("ExecutionEvent")
    upsert = SERIALIZER.decode("ExecutionUpsert", {"Current": None, "Previous": None, "Events": None}, 1)
    assert type(upsert) is models.ExecutionUpsert
    assert JSONSerializer.is_shared("ExecutionUpsert")


def test_the_models_are_imported_only_when_they_are_needed() -> None:
    # The package's own __init__ imports the models; the watcher package alone must not.
    folder = str(Path(models.__file__).parent)
    code = (
        f"import sys, types; package = types.ModuleType('execstore'); package.__path__ = [{folder!r}]; "
        "sys.modules['execstore'] = package; import execstore.watcher as w; early = 'execstore.models' in sys.modules; "
        "w.JSONSerializer.is_type_registered('ExecutionUpsert'); print(early, 'execstore.models' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "True"]


def test_an_unregistered_type_can_be_written_but_not_read() -> None:
    assert SERIALIZER.encode({"a": 1}) == b'{"a":1}'
    with pytest.raises(DeserializationError) as raised:
        SERIALIZER.decode("U", {"a": 1}, 10)
    assert str(raised.value) == "failed to unmarshal event: deserialization error: unknown object type: U"
    assert raised.value.seq_num == 10


@pytest.mark.parametrize(
    ("object_type", "value", "message"),
    [
        ("Plain", [1], "failed to unmarshal object type: Plain list is no dict"),
        ("List", {}, "failed to unmarshal object type: List dict is no list"),
        ("Text", 5, "failed to unmarshal object type: Text int is no str"),
        ("Point", {}, "failed to unmarshal object type: Point 'x'"),
        ("Point", 5, "failed to unmarshal object type: Point "),
        ("ExecutionUpsert", [], "failed to unmarshal object type: ExecutionUpsert "),
    ],
)
def test_a_value_that_its_type_does_not_take(object_type: str, value: Any, message: str) -> None:
    with pytest.raises(DeserializationError, match=message) as raised:
        SERIALIZER.decode(object_type, value, 4)
    assert raised.value.seq_num == 4


def test_the_cause_of_a_failed_from_dict_is_kept() -> None:
    with pytest.raises(DeserializationError) as raised:
        SERIALIZER.decode("Point", {}, 1)
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, object(), b"x", "\ud800", {"a": {1, 2}}])
def test_an_object_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match=r"^serialization error: "):
        SERIALIZER.encode(value)


def test_a_serialization_error_names_the_place() -> None:
    with pytest.raises(SerializationError, match=r"a\.b\[0\]: "):
        SERIALIZER.encode({"a": {"b": [float("inf")]}})


@pytest.mark.parametrize("kind", [int, Point(1), "dict", None, bytes])
def test_a_type_that_can_not_be_read_is_not_registered(kind: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^type: "):
        JSONSerializer.register_type("Wrong", kind)
    assert not JSONSerializer.is_type_registered("Wrong")


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_name_is_a_string_that_is_not_empty(name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^name: "):
        JSONSerializer.register_type(name, dict)


@pytest.mark.parametrize(("name", "known"), [("Point", "Point"), ("ExecutionUpsert", "ExecutionUpsert")])
def test_a_name_keeps_its_type(name: str, known: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"type {name} is already registered, as {known}"):
        JSONSerializer.register_type(name, dict)


def test_the_same_can_be_registered_again() -> None:
    JSONSerializer.register_type("Point", Point)
    JSONSerializer().register_type("Point", Point)
    assert isinstance(SERIALIZER.decode("Point", {"x": 1}, 1), Point)


def test_only_what_can_not_be_changed_is_shared() -> None:
    shared = {name for name in ("Point", "Changeable", "Plain", "Text", "U") if JSONSerializer.is_shared(name)}
    assert shared == {"Point"}
