"""One line of the event log: built, and taken apart again. Pure functions, no I/O.

A line is the reference's JSON of an event (``pkg/lib/watcher/serializer.go``), without the newline::

    {"seqNum":7,"operation":"CREATE","objectType":"ExecutionUpsert","object":{...},"timestamp":1795489652174612621}

Number, operation and type stand in front of the object, so a reader that filters looks at the head of the line only.
A line whose members stand in another order, or that has more of them, is read just as well, only slower.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from execstore import codec
from execstore.errors import DeserializationError
from execstore.watcher.events import MAX_SEQUENCE_NUMBER, Operation

__all__ = ["LineBody", "LineHead", "encode_line", "parse_body", "parse_head"]

_OPERATIONS = {operation.value: operation for operation in Operation}

# Only a type's name without escapes and non-ASCII letters; any other is left to the JSON parser.
_HEAD = re.compile(rb'\{"seqNum":([0-9]{1,20}),"operation":"([A-Z]+)","objectType":"([ !#-\[\]-~]*)","object":')


class LineHead(NamedTuple):
    """What a line says without its object being looked at."""

    seq_num: int
    operation: Operation
    object_type: str


class LineBody(NamedTuple):
    """A line taken apart whole. ``value`` is the object's JSON value, ``timestamp`` in nanoseconds since the epoch."""

    head: LineHead
    value: Any
    timestamp: int


def encode_line(seq_num: int, operation: Operation, object_type: str, object_json: bytes, timestamp: int) -> bytes:
    """Build a line, without its newline. ``object_json`` is taken as it is and must be JSON on a single line.

    Raises ``UnicodeEncodeError`` for a type's name that holds a lone surrogate.
    """
    name = codec.encode_text(object_type)
    head = f'{{"seqNum":{seq_num},"operation":"{operation.value}","objectType":{name},"object":'
    return b"".join((head.encode(), object_json, b',"timestamp":%d}' % timestamp))


def parse_head(line: bytes, seq_num: int) -> LineHead:
    """Read number, operation and type. ``seq_num`` is the number that the line must have.

    Raises ``DeserializationError`` for a line that is no event, or another one. What follows the head isn't checked.
    """
    match = _HEAD.match(line)
    if match is None:
        return parse_body(line, seq_num).head
    operation = _OPERATIONS.get(match[2].decode())
    return _checked_head(
        seq_num, int(match[1]), match[2].decode() if operation is None else operation, match[3].decode()
    )


def parse_body(line: bytes, seq_num: int) -> LineBody:
    """Read the whole line. ``seq_num`` is the number that the line must have.

    Raises ``DeserializationError`` for a line that is no event, or another one. Members it doesn't know are left alone.
    """
    try:
        members = codec.decode(line)
    except codec.CodecError as error:
        raise DeserializationError(f"event {seq_num} is not JSON: {error.reason}", seq_num) from None
    if not isinstance(members, dict):
        raise DeserializationError(f"event {seq_num} is not a JSON object", seq_num)
    head = _checked_head(seq_num, members.get("seqNum"), members.get("operation"), members.get("objectType"))
    timestamp = members.get("timestamp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        raise DeserializationError(f"event {seq_num} has no timestamp", seq_num)
    if "object" not in members:
        raise DeserializationError(f"event {seq_num} has no object", seq_num)
    return LineBody(head, members["object"], timestamp)


def _checked_head(expected: int, found: object, operation: object, object_type: object) -> LineHead:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MAX_SEQUENCE_NUMBER:
        raise DeserializationError(f"event {expected} has no sequence number", expected)
    if found != expected:
        raise DeserializationError(f"event {found} stands where event {expected} belongs", expected)
    known = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if known is None:
        raise DeserializationError(f"event {expected} has no known operation: {operation!r}", expected)
    if not isinstance(object_type, str):
        raise DeserializationError(f"event {expected} has no object type", expected)
    return LineHead(found, known, object_type)
