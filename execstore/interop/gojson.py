"""The exact text that Go's ``encoding/json`` writes, so that data can go back to a Bacalhau node byte for byte.

The rules are those of Go's ``encoding/json/encode.go`` (``appendString``, ``floatEncoder``) and of the reference's
stored bytes: no spaces, keys of maps sorted by byte, members of structs in the order of their declaration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from execstore import codec

if TYPE_CHECKING:
    from execstore.models import Execution

__all__ = ["encode", "execution_bytes", "format_float", "sort_maps"]

# Go escapes what would be unsafe inside HTML and JavaScript. None of these stands outside of a string in JSON.
_HTML_UNSAFE: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_STRING_OR_FLOAT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+)')

# Bacalhau's models: members of these names are maps (of strings, of anything, of resources by task).
_MAPS: Final = frozenset(("Details", "Env", "Labels", "Meta", "Tasks"))
_MAPS_OF_ANYTHING: Final = "Params"


def format_float(number: float) -> str:
    """A float64 as Go writes it: its shortest digits, with an exponent only below 1e-6 and from 1e21 on.

    >>> [format_float(number) for number in (0.5, 1e20, 1e21, 1e-6, 1e-7, -0.0)]
    ['0.5', '100000000000000000000', '1e+21', '0.000001', '1e-7', '-0']
    """
    sign = "-" if repr(number).startswith("-") else ""
    mantissa, _, exponent_text = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign + "0"
    # The value is 0.DIGITS times ten to the power of `point`.
    point = int(exponent_text or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not 1e-6 <= abs(number) < 1e21:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def encode(value: Any) -> bytes:
    """``value`` as Go writes it, its members in the order they have.

    Raises:
        InvalidExecutionError: for what JSON can't hold.
    """
    text = codec.encode(value).decode()
    return _STRING_OR_FLOAT.sub(_to_go, text).translate(_HTML_UNSAFE).encode()


def _to_go(token: re.Match[str]) -> str:
    text = token[0]
    return text if text.startswith('"') else format_float(float(text))


def sort_maps(value: Any) -> Any:
    """A copy of an execution or event in the reference's JSON names, its maps sorted as Go does."""
    root = [value]
    pending: list[tuple[Any, Any, bool, bool]] = [(root, 0, False, False)]
    while pending:
        target, key, is_map, all_maps = pending.pop()
        item = target[key]
        if isinstance(item, dict):
            copy = {name: item[name] for name in sorted(item)} if is_map or all_maps else dict(item)
            pending.extend(
                (copy, name, name in _MAPS and not is_map, all_maps or (name == _MAPS_OF_ANYTHING and not is_map))
                for name in copy
            )
            target[key] = copy
        elif isinstance(item, list | tuple):
            target[key] = list(item)
            pending.extend((target[key], index, False, all_maps) for index in range(len(item)))
    return root[0]


def execution_bytes(execution: Execution) -> bytes:
    """An execution as the reference stores it: numbers for states, Go's text."""
    return encode(sort_maps(execution.to_dict(numbers=True)))
