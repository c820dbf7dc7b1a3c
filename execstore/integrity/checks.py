"""What must hold of each thing on disk: pure functions from its bytes to what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from execstore.codec import CodecError
from execstore.errors import DeserializationError, InvalidExecutionError
from execstore.records import parse_checkpoint, parse_event, parse_execution
from execstore.watcher.lines import parse_ends, parse_object

if TYPE_CHECKING:
    from execstore.models import Execution

__all__ = ["CheckedLines", "check_checkpoint", "check_event_lines", "check_log_lines", "check_record"]


class CheckedLines(NamedTuple):
    """The lines that can be read, and what is wrong with the others, as (line number from 1, reason)."""

    good: list[bytes]
    damaged: list[tuple[int, str]]


def check_record(data: bytes) -> Execution | str:
    """The execution of a record, or what is wrong with it."""
    try:
        return parse_execution(data)
    except (CodecError, InvalidExecutionError) as error:
        return str(error)


def check_checkpoint(data: bytes) -> str | tuple[str, int]:
    """Name and number of a checkpoint, or what is wrong with it."""
    try:
        return parse_checkpoint(data)
    except CodecError as error:
        return error.reason


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, and what stands behind the last newline."""
    *lines, rest = data.split(b"\n")
    return lines, rest


def check_event_lines(data: bytes) -> CheckedLines:
    """The lines of one execution's events."""
    lines, rest = _split(data)
    good: list[bytes] = []
    damaged: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        try:
            parse_event(line)
        except (CodecError, InvalidExecutionError) as error:
            damaged.append((number, str(error)))
        else:
            good.append(line)
    if rest:
        damaged.append((len(lines) + 1, "the line isn't ended: a part of it is missing"))
    return CheckedLines(good, damaged)


def check_log_lines(data: bytes, first: int) -> CheckedLines:
    """The lines of a log segment whose first line is numbered ``first``. A damaged line keeps its place."""
    lines, rest = _split(data)
    good: list[bytes] = []
    damaged: list[tuple[int, str]] = []
    for position, line in enumerate(lines):
        try:
            parse_ends(line, first + position)
            parse_object(line, first + position)
        except DeserializationError as error:
            damaged.append((position + 1, error.reason))
        else:
            good.append(line)
    if rest:
        damaged.append((len(lines) + 1, "the line isn't ended: a part of it is missing"))
    return CheckedLines(good, damaged)
