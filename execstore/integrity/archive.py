"""What stands in a backup: a tar archive of plain names, in this order.

- ``BACKUP``: JSON, what follows (see `Manifest`);
- for each execution ``executions/NAME.json`` and, right behind it if it has events, ``execution_events/NAME.jsonl``;
- its index entries as symbolic links and, before them all, the alias ``.e`` that they go through: for those who look
  into an unpacked archive; a restore makes its own;
- ``events/FIRST.jsonl``, the segments of the event log, in order;
- ``checkpoints/NAME.json`` and ``sequence_tracking/NAME.json``;
- ``SHA256SUMS``: of all these files but ``BACKUP``; ``sha256sum -c SHA256SUMS`` checks an unpacked archive.

Everything here is pure: from bytes to facts and back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeGuard

from execstore import codec
from execstore.errors import SourceDamagedError, UnsupportedFormatError
from execstore.schema import CHECKPOINTS, EXECUTION_EVENTS, EXECUTIONS, LAYOUT, SEQUENCE_TRACKING
from execstore.states import ExecutionState
from execstore.tree.paths import decode_name, segment_first, stem

__all__ = [
    "LONGEST_SUM_LINE",
    "MANIFEST_NAME",
    "MAXIMUM_MANIFEST_BYTES",
    "SUMS_NAME",
    "Manifest",
    "Place",
    "encode_manifest",
    "encode_sum",
    "parse_manifest",
    "parse_place",
    "parse_sums",
]

MANIFEST_NAME: Final = "BACKUP"
SUMS_NAME: Final = "SHA256SUMS"
MAXIMUM_MANIFEST_BYTES: Final = 65536
LONGEST_SUM_LINE: Final = 64 + 2 + 600

_FORMAT: Final = "execstore-backup"
_VERSION: Final = 1
_LARGEST: Final = 2**63 - 1
_SUM: Final = re.compile(rb"([0-9a-f]{64})  ([^\n]+)")
_SUFFIXES: Final = {EXECUTIONS: ".json", EXECUTION_EVENTS: ".jsonl", CHECKPOINTS: ".json", SEQUENCE_TRACKING: ".json"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup announces of itself.

    ``files``, ``links`` and ``bytes`` are the number of files (without ``BACKUP`` and ``SHA256SUMS``), of links, and of
    the files' bytes. ``transaction`` is the moment, ``time_ns`` the newest time that the store had given by then;
    ``latest_event`` and ``oldest_event`` are numbers of the event log, and ``damaged_events`` counts lines in it that
    were damaged when the backup was made, and are in it as they are. ``event_limits`` is what the store was told,
    ``None`` if nothing.
    """

    transaction: int
    time_ns: int
    counts: dict[str, int]
    files: int
    links: int
    bytes: int
    latest_event: int
    oldest_event: int
    damaged_events: int
    event_limits: tuple[int, int] | None


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``BACKUP``: JSON, a member a line."""
    members: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "transaction": manifest.transaction,
        "time_ns": manifest.time_ns,
        "counts": manifest.counts,
        "files": manifest.files,
        "links": manifest.links,
        "bytes": manifest.bytes,
        "latest_event": manifest.latest_event,
        "oldest_event": manifest.oldest_event,
        "damaged_events": manifest.damaged_events,
        "event_limits": None if manifest.event_limits is None else list(manifest.event_limits),
    }
    return b"{\n%b\n}\n" % b",\n".join(b"%b:%b" % (codec.encode(n), codec.encode(v)) for n, v in members.items())


def parse_manifest(data: bytes, path: str) -> Manifest:
    """The inverse; ``path`` is the archive's, for errors.

    Raises:
        UnsupportedFormatError: the backup is of another version.
        SourceDamagedError: this isn't what a backup begins with.
    """
    try:
        members = codec.decode(data)
    except codec.CodecError as error:
        raise SourceDamagedError(path, MANIFEST_NAME, f"it is no JSON ({error})") from None
    if not isinstance(members, dict) or members.get("format") != _FORMAT:
        raise SourceDamagedError(path, MANIFEST_NAME, "it doesn't say that this is a backup of an execstore")
    version = members.get("version")
    if not _is_count(version):
        raise SourceDamagedError(path, MANIFEST_NAME, f"it has no version number but {version!r}")
    if version != _VERSION:
        raise UnsupportedFormatError(path, version, _VERSION)
    numbers: dict[str, int] = {}
    for name in ("transaction", "time_ns", "files", "links", "bytes", "latest_event", "oldest_event", "damaged_events"):
        number = members.get(name)
        if not _is_count(number):
            raise SourceDamagedError(path, MANIFEST_NAME, f"{name} must be a number that isn't negative")
        numbers[name] = number
    counts, limits = members.get("counts"), members.get("event_limits")
    states = {state.value for state in ExecutionState}
    if not isinstance(counts, dict) or not all(name in states and _is_count(n) for name, n in counts.items()):
        raise SourceDamagedError(path, MANIFEST_NAME, "counts must hold a number for each state")
    if limits is not None and not (isinstance(limits, list) and len(limits) == 2 and all(map(_is_count, limits))):
        raise SourceDamagedError(path, MANIFEST_NAME, "event_limits must be two numbers")
    if not 1 <= numbers["oldest_event"] <= numbers["latest_event"] + 1:
        raise SourceDamagedError(path, MANIFEST_NAME, "oldest_event and latest_event contradict one another")
    return Manifest(counts=counts, event_limits=None if limits is None else (limits[0], limits[1]), **numbers)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


class Place(NamedTuple):
    """Where a member belongs: a folder of the store, and a name in it without its suffix. ``group`` is of indexes."""

    folder: str
    name: str
    group: str = ""


def parse_place(name: str) -> Place | str:
    """The place of a member with this name, or why a backup can't hold it."""
    if name.startswith("/"):
        return "its path is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "its path leads out of the store"
    unknown = "no backup holds a file of this name"
    try:
        match parts:
            case [LAYOUT.log, file] if segment_first(file) is not None:
                return Place(LAYOUT.log, file)
            case [folder, file] if folder in _SUFFIXES:
                text = stem(file, _SUFFIXES[folder])
                if text:
                    decode_name(text)
                    return Place(folder, text)
            case [index, group, file] if index in LAYOUT.indexes:
                decode_name(group)
                decode_name(file)
                return Place(index, file, group)
    except ValueError:
        return unknown
    return unknown


def encode_sum(name: str, digest: str) -> bytes:
    """A line of ``SHA256SUMS``, as sha256sum(1) reads it."""
    return f"{digest}  {name}\n".encode()


def parse_sums(data: bytes) -> dict[str, str] | None:
    """Name to digest, ``None`` if this isn't such a file."""
    *lines, rest = data.split(b"\n")
    found: dict[str, str] = {}
    for line in lines:
        match = _SUM.fullmatch(line)
        if match is None:
            return None
        found[match[2].decode("utf-8", "surrogateescape")] = match[1].decode()
    return None if rest else found
