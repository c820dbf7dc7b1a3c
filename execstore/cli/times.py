"""Points in time, given in nanoseconds since 1970, as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

__all__ = ["TimeStyle", "format_duration", "format_time", "parse_duration"]

_NS_PER_SECOND: Final = 1_000_000_000
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_DURATION: Final = re.compile(r"([0-9]{1,9})([dhms])")


class TimeStyle(Enum):
    """How times are shown: ``3m ago``, ``2026-11-24 03:55:01``, or the integer itself."""

    AGE = "age"
    UTC = "utc"
    NS = "ns"


def format_time(time_ns: int, style: TimeStyle, now_ns: int) -> str:
    """Return a time in the given style; ``-`` if it isn't set, which is 0."""
    if time_ns == 0:
        return "-"
    if style is TimeStyle.NS:
        return str(time_ns)
    if style is TimeStyle.UTC:
        try:
            return datetime.fromtimestamp(time_ns // _NS_PER_SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
        except (OverflowError, OSError, ValueError):
            return str(time_ns)
    age_seconds = (now_ns - time_ns) // _NS_PER_SECOND
    if age_seconds < -1:
        return f"in {format_duration(-age_seconds)}"
    return "now" if age_seconds < 1 else f"{format_duration(age_seconds)} ago"


def format_duration(seconds: int) -> str:
    """Return the largest unit alone: ``45s``, ``3m``, ``5h``, ``12d``."""
    for unit, unit_seconds in _UNITS:
        if seconds >= unit_seconds:
            return f"{seconds // unit_seconds}{unit}"
    return "0s"


def parse_duration(text: str) -> timedelta:
    """Return what ``45s``, ``3m``, ``5h`` or ``12d`` stands for; ``0`` needs no unit.

    Raises:
        ValueError: for anything else.
    """
    match = _DURATION.fullmatch(text)
    if text != "0" and match is None:
        raise ValueError(f"{text!r} is no duration; write it like 45s, 30m, 36h or 7d")
    return timedelta(0) if match is None else timedelta(seconds=int(match[1]) * dict(_UNITS)[match[2]])
