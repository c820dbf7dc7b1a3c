"""Reading single members of a JSON object into typed values; each error names the member's path.

A member that is missing has its zero value, as in Go. What isn't checked here: the inside of free JSON (a job).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from execstore.codec import inner_member
from execstore.errors import InvalidExecutionError

__all__ = [
    "Layout",
    "check_count",
    "check_flag",
    "check_integer",
    "check_object",
    "check_text",
    "check_texts",
    "read_count",
    "read_extra",
    "read_flag",
    "read_integer",
    "read_object",
    "read_optional_object",
    "read_text",
    "read_texts",
    "require_object",
]

_T = TypeVar("_T")


class Layout:
    """The members that an object has as this program writes it: their names in order, fields, and types.

    Nearly every object that is read is of that kind. To see that, and to take all its values at once, needs a fifth of
    the time of looking at each member; whatever is different in any way is read member by member.
    """

    def __init__(self, *members: tuple[str, str, type], empty: tuple[str, ...] = ("extra",)) -> None:
        """``members`` are name, field and type of each; ``empty`` are the fields that are an object without members."""
        self._names, self._fields, self._types = zip(*members, strict=True)
        self._empty = empty

    def make(self, model: type[_T], data: Mapping[str, Any]) -> _T | None:
        """A ``model``, which is a frozen dataclass, of the values of ``data``.

        ``None`` if ``data`` has other members, in another order, or one that isn't of exactly its type.
        """
        values = data.values()
        if tuple(data) != self._names or tuple(map(type, values)) != self._types:
            return None
        made = object.__new__(model)
        own = made.__dict__
        own.update(zip(self._fields, values))  # noqa: B905 - of one length, as was seen
        for field in self._empty:
            own[field] = {}
        return made


def _refuse(member: str, name: str, expected: str, value: Any) -> NoReturn:
    kinds = {type(None): "null", dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    found = kinds.get(type(value), type(value).__name__)
    raise InvalidExecutionError(inner_member(member, name) if name else member, f"must be {expected}, not {found}")


def require_object(value: Any, member: str) -> Mapping[str, Any]:
    """``value`` itself, if it is an object."""
    # Nearly always it is a dict, and asking an abstract class takes three times as long.
    if type(value) is not dict and not isinstance(value, Mapping):
        _refuse(member, "", "an object", value)
    return value


def check_text(value: Any, name: str, member: str) -> str:
    """``value`` itself, if it is a string."""
    if not isinstance(value, str):
        _refuse(member, name, "a string", value)
    return value


def check_integer(value: Any, name: str, member: str) -> int:
    """``value`` itself, if it is an integer and no boolean."""
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(member, name, "an integer", value)
    return value


def check_count(value: Any, name: str, member: str) -> int:
    """``value`` itself, if it is an integer that isn't negative: what is unsigned in Go."""
    if check_integer(value, name, member) < 0:
        raise InvalidExecutionError(inner_member(member, name), "must not be negative")
    return int(value)


def check_flag(value: Any, name: str, member: str) -> bool:
    """``value`` itself, if it is a boolean."""
    if not isinstance(value, bool):
        _refuse(member, name, "true or false", value)
    return value


def check_object(value: Any, name: str, member: str) -> Mapping[str, Any]:
    """``value`` itself, if it is an object."""
    if type(value) is not dict and not isinstance(value, Mapping):
        _refuse(member, name, "an object", value)
    return value


def check_texts(value: Any, name: str, member: str) -> Mapping[str, str]:
    """``value`` itself, if it is an object of strings."""
    for key, text in check_object(value, name, member).items():
        if not isinstance(key, str):
            raise InvalidExecutionError(inner_member(member, name), f"a key is {key!r}, but keys are strings")
        if not isinstance(text, str):
            _refuse(inner_member(member, name), key, "a string", text)
    return value  # type: ignore[no-any-return]


def read_text(data: Mapping[str, Any], name: str, member: str) -> str:
    """The string that is the member ``name`` of ``data``, which stands at ``member``."""
    value = data.get(name, "")
    return value if type(value) is str else check_text(value, name, member)


def read_integer(data: Mapping[str, Any], name: str, member: str) -> int:
    """The integer ``name``, of any size."""
    value = data.get(name, 0)
    return value if type(value) is int else check_integer(value, name, member)


def read_count(data: Mapping[str, Any], name: str, member: str) -> int:
    """The integer ``name``, not negative."""
    value = data.get(name, 0)
    return value if type(value) is int and value >= 0 else check_count(value, name, member)


def read_flag(data: Mapping[str, Any], name: str, member: str) -> bool:
    """The boolean ``name``."""
    return check_flag(data.get(name, False), name, member)


def read_optional_object(data: Mapping[str, Any], name: str, member: str) -> Mapping[str, Any] | None:
    """The object ``name``, ``None`` if it is missing or null."""
    value = data.get(name)
    return value if value is None or type(value) is dict else check_object(value, name, member)


def read_object(data: Mapping[str, Any], name: str, member: str) -> Mapping[str, Any]:
    """The object ``name``, an empty one if it is missing or null."""
    value = data.get(name)
    return {} if value is None else check_object(value, name, member)


def read_texts(data: Mapping[str, Any], name: str, member: str) -> Mapping[str, str]:
    """The object of strings ``name``, an empty one if it is missing or null."""
    value = data.get(name)
    return {} if value is None else check_texts(value, name, member)


def read_extra(data: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    """The members of ``data`` that this version doesn't know, in their order."""
    if known.issuperset(data):
        return {}
    return {name: value for name, value in data.items() if name not in known}
