"""One line of the event log: built, and taken apart again. Pure functions, no I/O.

A line is the reference's JSON of an event (``pkg/lib/watcher/serializer.go``) and a checksum, without the newline::

    {"seqNum":7,"operation":"CREATE","objectType":"ExecutionUpsert","object":{...},"timestamp":1795489652174612621,"crc32":"0a1b2c3d"}

Number, operation and type stand in front of the object and the time behind it, so a reader that filters, or that only
counts, looks at the two ends of a line. The checksum (CRC-32, 8 hex digits, of everything in front of its own comma)
is what allows that: a third of all single-bit flips leave valid JSON behind, and it finds them for a microsecond. A
line without one, or with its members in another order, is read just as well, only slower: it is parsed whole at once.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Final, NamedTuple, TypeGuard

from execstore import codec
from execstore.errors import DeserializationError
from execstore.watcher.events import MAX_SEQUENCE_NUMBER, Operation

__all__ = ["LineEnds", "encode_line", "object_json", "parse_ends", "parse_line", "parse_number", "parse_object"]

_OPERATIONS = {operation.value: operation for operation in Operation}
_WRITTEN_OPERATIONS = {operation.value.encode(): operation for operation in Operation}

_TIMES_NS = range(-1 << 63, 1 << 63)  # the reference's is an int64, and what is longer can't be found at a line's end

# Only a type's name without escapes and non-ASCII letters; any other is left to the JSON parser.
_HEAD = re.compile(rb'\{"seqNum":([0-9]{1,20}),"operation":"([A-Z]+)","objectType":"([ !#-\[\]-~]*)","object":')
_TIMESTAMP = b',"timestamp":'
_CHECKSUM = b',"crc32":"'
_CHECKSUM_BYTES = len(_CHECKSUM) + 8 + len(b'"}')
_NUMBER = b'{"seqNum":%d,"operation":"'
_OBJECT = b',"object":'
_LONGEST_TAIL = len(_TIMESTAMP) + 20 + _CHECKSUM_BYTES
_TAIL = re.compile(rb',"timestamp":(-?[0-9]{1,20})(,"crc32":"([0-9a-f]{8})"\})')


class LineEnds(NamedTuple):
    """What a line says without its object being looked at. ``timestamp`` is in nanoseconds since the epoch."""

    seq_num: int
    operation: Operation
    object_type: str
    timestamp: int


class _KnownKinds:
    """What stands between a line's number and its object, and what it says. There are few of them in a log."""

    _LARGEST: Final = 256

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[Operation, str]] = {}
        self.get = self._found.get

    def add(self, text: bytes, operation: Operation, object_type: str) -> None:
        if len(self._found) < self._LARGEST:
            self._found[text] = (operation, object_type)


_kinds = _KnownKinds()


def encode_line(seq_num: int, operation: Operation, object_type: str, object_json: bytes, timestamp: int) -> bytes:
    """Build a line, without its newline. ``object_json`` is taken as it is and must be JSON on a single line.

    Raises ``UnicodeEncodeError`` for a type's name that holds a lone surrogate.
    """
    name = codec.encode_text(object_type)
    head = f'{{"seqNum":{seq_num},"operation":"{operation.value}","objectType":{name},"object":'
    line = b'%b%b,"timestamp":%d' % (head.encode(), object_json, timestamp)
    return b'%b,"crc32":"%08x"}' % (line, zlib.crc32(line))


def parse_line(line: bytes, seq_num: int) -> tuple[LineEnds, int, int]:
    """As ``parse_ends``, and where the JSON of the object begins and ends; 0 and 0 if ``object_json`` must look for it.

    Nearly every line is one that this program wrote, of a kind that was seen before: for that, no pattern is needed.
    """
    end = line.rfind(_TIMESTAMP, -_LONGEST_TAIL)
    written = line[end + len(_TIMESTAMP) : -_CHECKSUM_BYTES]
    if end > 0 and written.isdigit():
        number = _NUMBER % seq_num
        start = line.find(_OBJECT, len(number))
        kind = _kinds.get(line[len(number) : start]) if start < end and line.startswith(number) else None
        checksum = b',"crc32":"%08x"}' % zlib.crc32(line[:-_CHECKSUM_BYTES])
        timestamp = int(written)
        if kind is not None and seq_num > 0 and timestamp in _TIMES_NS and line.endswith(checksum):
            return LineEnds(seq_num, kind[0], kind[1], timestamp), start + len(_OBJECT), end
    ends = parse_ends(line, seq_num)
    head = _HEAD.match(line)
    # A line with a member twice may say something else than its beginning does.
    if head is not None and (head[2].decode(), head[3].decode()) == (ends.operation, ends.object_type):
        _kinds.add(line[head.start(2) : head.end() - len(_OBJECT)], ends.operation, ends.object_type)
    return ends, 0, 0


def parse_ends(line: bytes, seq_num: int) -> LineEnds:
    """Check a line and read all but its object. ``seq_num`` is the number that the line must have.

    Raises ``DeserializationError`` for a line that is damaged, no event, or another one than ``seq_num``.
    """
    tail = _TAIL.fullmatch(line, max(line.rfind(_TIMESTAMP), 0))
    if tail is not None and zlib.crc32(memoryview(line)[: tail.start(2)]) != int(tail[3], 16):
        raise DeserializationError(f"event {seq_num} is damaged: its checksum doesn't fit", seq_num)
    head = _HEAD.match(line)
    if tail is not None and head is not None:
        operation, timestamp = _WRITTEN_OPERATIONS.get(head[2]), int(tail[1])
        if int(head[1]) == seq_num > 0 and operation is not None and timestamp in _TIMES_NS:
            return LineEnds(seq_num, operation, head[3].decode(), timestamp)
        return _checked_ends(seq_num, int(head[1]), head[2].decode(), head[3].decode(), int(tail[1]))
    members = _parse_members(line, seq_num)
    if tail is None and "crc32" in members:
        raise DeserializationError(f"event {seq_num} is damaged: its checksum doesn't fit", seq_num)
    if "object" not in members:
        raise DeserializationError(f"event {seq_num} has no object", seq_num)
    return _checked_ends(
        seq_num, members.get("seqNum"), members.get("operation"), members.get("objectType"), members.get("timestamp")
    )


def parse_number(line: bytes) -> int | None:
    """The number that a line gives itself, for ``parse_ends`` to check; ``None`` if it has none where it belongs."""
    head = _HEAD.match(line)
    return int(head[1]) if head is not None else None


def object_json(line: bytes, seq_num: int) -> bytes:
    """The JSON of the object of a line that ``parse_ends`` took.

    Raises ``DeserializationError`` if the line is no JSON all the same.
    """
    head = _HEAD.match(line)
    tail = line.rfind(_TIMESTAMP)
    if head is not None and line.startswith(_CHECKSUM, -_CHECKSUM_BYTES) and tail >= head.end():
        return line[head.end() : tail]
    return codec.encode_trusted(parse_object(line, seq_num))


def parse_object(line: bytes, seq_num: int) -> Any:
    """The JSON value of the object of a line that ``parse_ends`` took.

    Raises ``DeserializationError`` if it is no JSON all the same.
    """
    return _parse_members(line, seq_num)["object"]


def _parse_members(line: bytes, seq_num: int) -> dict[str, Any]:
    try:
        members = codec.decode(line)
    except codec.CodecError as error:
        raise DeserializationError(f"event {seq_num} is not JSON: {error.reason}", seq_num) from None
    if not isinstance(members, dict):
        raise DeserializationError(f"event {seq_num} is not a JSON object", seq_num)
    return members


def _checked_ends(expected: int, found: object, operation: object, object_type: object, timestamp: object) -> LineEnds:
    if not _is_integer(found) or not 0 < found <= MAX_SEQUENCE_NUMBER:
        raise DeserializationError(f"event {expected} has no sequence number", expected)
    if found != expected:
        raise DeserializationError(f"event {found} stands where event {expected} belongs", expected)
    known = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if known is None:
        raise DeserializationError(f"event {expected} has no known operation: {operation!r}", expected)
    if not isinstance(object_type, str):
        raise DeserializationError(f"event {expected} has no object type", expected)
    if not _is_integer(timestamp) or timestamp not in _TIMES_NS:
        raise DeserializationError(f"event {expected} has no timestamp", expected)
    return LineEnds(found, known, object_type, timestamp)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
