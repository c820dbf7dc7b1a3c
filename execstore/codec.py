"""JSON, in one place: the only module that knows ujson, and what it must be kept from.

ujson is fast, but it writes ``Decimal`` as a rounded float, turns keys of any type into strings (``{1: …, "1": …}``
becomes an object with two equal keys), calls any object's ``__json__``, and lets lone surrogates through until the text
is turned into bytes. So a value from outside is checked by type before it is written; what was read from JSON, or was
checked once, needs no second look (``encode_trusted``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

import ujson

from execstore.errors import ExecStoreError, InvalidExecutionError

__all__ = [
    "MAX_DEPTH",
    "CodecError",
    "check",
    "decode",
    "decode_strict",
    "encode",
    "encode_members",
    "encode_text",
    "encode_trusted",
    "encode_utf8",
    "inner_member",
]

MAX_DEPTH: Final = 1000
"""How deep lists and objects may be nested in a value; ujson itself stops at 1024, and a log line adds a few levels."""

_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_TEXT: Final = frozenset((str,))


class CodecError(ExecStoreError, ValueError):
    """Bytes that aren't the JSON they should be. ``line`` and ``column`` count from 1, 0 if they aren't known."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"line {line}, column {column}: {reason}" if line else reason)
        self.reason = reason
        self.line = line
        self.column = column


def inner_member(member: str, key: str | int) -> str:
    """The path of what stands under ``key`` (a name, or a list's index) inside ``member``."""
    if isinstance(key, int):
        return f"{member}[{key}]"
    return f"{member}.{key}" if member else key


# --- writing --------------------------------------------------------------------------------------------------------


def encode(value: Any, *, member: str = "") -> bytes:
    """``value`` as compact UTF-8 JSON, exactly: no number is rounded, nothing is turned into something else.

    Tuples are written as lists, mappings as objects, an enum or another subclass of ``str``, ``int`` or ``float`` as
    the value it holds.

    Args:
        member: where ``value`` stands, the beginning of the path that an error names.

    Raises:
        InvalidExecutionError: naming the place, for anything JSON can't hold: NaN and infinities, lone surrogates,
            bytes, ``Decimal``, sets and other types, keys that aren't strings, cycles, more than ``MAX_DEPTH`` levels,
            integers of more digits than Python converts (4300, unless it was told otherwise).
    """
    text = _dumps(value)
    if text is None or not _is_plain(value):
        return _dumps_plain(_to_plain(value, member), member)
    return _to_utf8(text, value, member)


def encode_trusted(value: Any, *, member: str = "") -> bytes:
    """As ``encode``, for a value that was read from JSON: its types aren't looked at.

    To have passed ``check`` isn't enough: a mapping may say something else of itself (``__json__``).

    Raises:
        InvalidExecutionError: naming the place, where the value can't be written.
    """
    text = _dumps(value)
    if text is None:
        return _dumps_plain(_to_plain(value, member), member)
    return _to_utf8(text, value, member)


def encode_members(members: Mapping[str, Any]) -> bytes:
    """A JSON object with a line for each of its members, as small files hold it, for ``cat`` and ``grep``.

    Raises:
        InvalidExecutionError: naming the member that can't be written.
    """
    lines = ",\n".join(f"{encode_text(name)}:{encode(value, member=name).decode()}" for name, value in members.items())
    return f"{{\n{lines}\n}}\n".encode()


def encode_text(text: str) -> str:
    """A JSON string with its quotes, for templates; like all here, it leaves what isn't ASCII as it is.

    Raises:
        TypeError: if it isn't a string. Lone surrogates show when the whole is turned into bytes.
    """
    return encode_basestring(text)


def encode_utf8(text: str, member: str) -> bytes:
    """The text's own bytes.

    Raises:
        InvalidExecutionError: naming ``member``, for lone surrogates.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _to_plain_text(text, member).encode()


def check(value: Any, member: str = "") -> None:
    """See to it that ``value`` can be written as it is.

    Raises:
        InvalidExecutionError: as ``encode`` does.
    """
    encode(value, member=member)


def _dumps(value: Any) -> str | None:
    try:
        text: str = ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False)
    except Exception:  # noqa: BLE001 - a value's own __json__ may raise anything; the slow way then says what is wrong
        return None
    return text


def _dumps_plain(value: Any, member: str) -> bytes:
    text = _dumps(value)
    if text is None:
        raise InvalidExecutionError(member, "can't be written as JSON")
    return text.encode()


def _to_utf8(text: str, value: Any, member: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _dumps_plain(_to_plain(value, member), member)


def _is_plain(value: Any) -> bool:
    """Whether ``value``, which must be free of cycles, is made of JSON's own types alone, and not nested too deep."""
    if type(value) in _SCALARS:
        return True
    level = [value]
    for _ in range(MAX_DEPTH):
        below = []
        for container in level:
            items = container
            if type(container) is dict:
                if not _TEXT.issuperset(map(type, container)):
                    return False
                items = container.values()
            elif type(container) is not list:
                return False
            if not _SCALARS.issuperset(map(type, items)):
                below += [item for item in items if type(item) not in _SCALARS]
        if not below:
            return True
        level = below
    return False


def _to_plain(value: Any, member: str) -> Any:
    """The same value in JSON's own types; raises for what has none. Slow: it finds and names the culprit."""
    # A stack of our own, since Python's is too shallow for a thousand levels.
    root: list[Any] = [None]
    pending: list[tuple[Any, str, Any, Any, tuple[int, ...]]] = [(value, member, root, 0, ())]
    while pending:
        item, place, target, key, parents = pending.pop()
        if not isinstance(item, Mapping | list | tuple):
            target[key] = _to_plain_scalar(item, place)
            continue
        if id(item) in parents:
            raise InvalidExecutionError(_shorten(place), "the value contains itself")
        if len(parents) >= MAX_DEPTH:
            raise InvalidExecutionError(_shorten(place), f"nested more than {MAX_DEPTH} levels deep")
        parents = (*parents, id(item))
        if isinstance(item, Mapping):
            names = [_to_plain_key(name, place) for name in item]
            target[key] = dict.fromkeys(names)
            children: list[tuple[Any, str, Any, Any, tuple[int, ...]]] = [
                (child, inner_member(place, name), target[key], name, parents)
                for name, child in zip(names, item.values(), strict=True)
            ]
        else:
            target[key] = [None] * len(item)
            children = [
                (child, inner_member(place, index), target[key], index, parents) for index, child in enumerate(item)
            ]
        pending.extend(reversed(children))
    return root[0]


def _to_plain_scalar(value: Any, member: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _to_plain_text(value, member)
    if isinstance(value, int):
        return _to_plain_integer(value, member)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidExecutionError(member, f"{float.__repr__(value)} is not a number that JSON has")
        return float.__float__(value)
    raise InvalidExecutionError(member, f"a value of type {type(value).__name__} can't be written as JSON")


def _to_plain_key(key: Any, member: str) -> str:
    if not isinstance(key, str):
        raise InvalidExecutionError(member, f"a key is {key!r}, but the keys of a JSON object are strings")
    return _to_plain_text(key, member)


def _to_plain_text(value: str, member: str) -> str:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        reason = f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}), which is not a character"
        raise InvalidExecutionError(member.encode(errors="backslashreplace").decode(), reason) from None
    return text


def _to_plain_integer(value: int, member: str) -> int:
    try:
        int.__repr__(value)
    except ValueError:
        raise InvalidExecutionError(member, "the integer has more digits than can be written") from None
    return int.__int__(value)


def _shorten(member: str) -> str:
    # The path to a place a thousand levels down is longer than anybody reads.
    return member if len(member) <= 200 else f"{member[:100]}…{member[-60:]}"


# --- reading --------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Any:
    """The value of JSON that this program has written itself.

    It's fast, and takes some things that JSON forbids (``01``, ``NaN``, lone surrogates, raw newlines in strings); what
    comes from people, or is to be judged, goes through ``decode_strict``.

    Raises:
        CodecError: if it is no JSON.
    """
    try:
        return ujson.loads(data)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise CodecError(_first_sentence(error)) from None


def decode_strict(data: bytes) -> Any:
    """The value of JSON from outside, taken at its word: no NaN, no repeated keys, nothing behind the value.

    Raises:
        CodecError: with line and column where they are known.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise CodecError("not UTF-8 text", before.count(b"\n") + 1, column) from None
    try:
        value = json.loads(
            text, object_pairs_hook=_to_unique_members, parse_constant=_refuse_number, parse_float=_to_finite_float
        )
    except json.JSONDecodeError as error:
        raise CodecError(error.msg, error.lineno, error.colno) from None
    except _ForbiddenNumberError as error:
        raise CodecError(
            f"{error.literal[:40]} is not a number that JSON has", *_position(text, error.literal)
        ) from None
    except RecursionError:
        raise CodecError(_TOO_DEEP) from None
    except CodecError:
        raise
    except ValueError as error:
        raise CodecError(_first_sentence(error)) from None
    if not _is_plain(value):
        raise CodecError(_TOO_DEEP)
    return value


_TOO_DEEP: Final = f"nested too deep; at most {MAX_DEPTH} levels can be stored"


class _ForbiddenNumberError(Exception):
    def __init__(self, literal: str) -> None:
        super().__init__(literal)
        self.literal = literal


def _position(text: str, token: str) -> tuple[int, int]:
    """Line and column of the first ``token`` in JSON ``text`` that doesn't stand in a string."""
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+', text):
        if match[0] == token:
            before = text[: match.start()]
            return before.count("\n") + 1, match.start() - before.rfind("\n")
    return 0, 0


def _to_unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise CodecError(f"the member {encode_text(name)} stands twice in one object")
            seen.add(name)
    return members


def _refuse_number(literal: str) -> NoReturn:
    raise _ForbiddenNumberError(literal)


def _to_finite_float(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise _ForbiddenNumberError(literal)
    return number


def _first_sentence(error: BaseException) -> str:
    # Python adds advice for programmers ("use sys.set_int_max_str_digits() to …") that is of no use here.
    return str(error).partition(";")[0] or type(error).__name__
