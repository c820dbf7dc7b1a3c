"""The one place that builds and reads file names.

A key (an ID, a state's name, a watcher's name: any text) becomes one file name that is safe on every file system:

- letters, digits, ``-``, ``_`` and, inside, ``.`` stand for themselves;
- every other byte of the key's UTF-8 form, a dot at either end, and the first letter of a name that Windows reserves
  (``con``, ``nul`` …) become ``%XX``;
- the empty key is ``%``;
- what would be longer than `NAME_LIMIT` is cut and ends in ``%-`` and the SHA-256 of the key. Only such a name can't
  be turned back by itself; the key then stands in the file's content.
"""

from __future__ import annotations

import functools
import re

__all__ = [
    "DOTTED",
    "NAME_LIMIT",
    "decode_name",
    "encode_name",
    "is_safe_path",
    "lines_path",
    "marker_path",
    "marker_target",
    "record_path",
    "segment_first",
    "segment_path",
    "stem",
]

NAME_LIMIT = 240  # bytes; with the longest suffix (.jsonl) and some to spare this fits the usual 255
DOTTED = "."  # what the engine makes for itself inside a folder starts with a dot, which no encoded name does

_PLAIN = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_KEEP = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_HASHED = re.compile(r".+%-[0-9a-f]{64}")
_NO_PARTS = frozenset(("", ".", ".."))
_ESCAPE_CUT = re.compile(r"%[0-9A-F]?$")
_SEGMENT = re.compile(r"([0-9]{20})\.jsonl")
_KEPT_OF_LONG = 160


def encode_name(key: str) -> str:
    """The file name (without suffix) for a key. Different keys have different names, case aside."""
    return _encode_short(key) if len(key) <= NAME_LIMIT else _encode(key)


# One change asks for the same few names again and again. Long keys would make the cache large.
@functools.lru_cache(maxsize=512)
def _encode_short(key: str) -> str:
    return _encode(key)


def _encode(key: str) -> str:
    if _PLAIN.fullmatch(key) and not _RESERVED.fullmatch(key):
        if len(key) <= NAME_LIMIT:
            return key
        name = key
    elif not key:
        return "%"
    else:
        # Lone surrogates can't be stored, but may be asked for; they get a name that nothing else has.
        raw = key.encode("utf-8", "surrogatepass")
        last = len(raw) - 1
        reserved = _RESERVED.fullmatch(key) is not None
        name = "".join(
            chr(byte)
            if byte in _KEEP and not (byte == 0x2E and position in (0, last)) and not (reserved and position == 0)
            else f"%{byte:02X}"
            for position, byte in enumerate(raw)
        )
        if len(name) <= NAME_LIMIT:
            return name
    import hashlib  # noqa: PLC0415 - dear to import, and most names are short

    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_ESCAPE_CUT.sub('', name[:_KEPT_OF_LONG])}%-{digest}"


def decode_name(name: str) -> str | None:
    """The key behind a file name (without suffix), ``None`` where it ends in a hash.

    Raises:
        ValueError: this is no name that `encode_name` makes, so the file isn't the store's.
    """
    if _PLAIN.fullmatch(name) and len(name) <= NAME_LIMIT and not _RESERVED.fullmatch(name):
        return name
    if _HASHED.fullmatch(name):
        return None
    if name == "%":
        return ""
    parts = name.split("%")
    raw = bytearray(parts[0].encode())
    for part in parts[1:]:
        raw.append(int(part[:2], 16))
        raw += part[2:].encode()
    key = raw.decode("utf-8")
    if encode_name(key) != name:
        raise ValueError(f"{name!r} is not the name of {key!r}")
    return key


def record_path(collection: str, key: str) -> str:
    """The file of one record: a JSON document."""
    return f"{collection}/{encode_name(key)}.json"


def lines_path(collection: str, key: str) -> str:
    """The file of one list of lines: JSON, a document a line."""
    return f"{collection}/{encode_name(key)}.jsonl"


def marker_path(index: str, group: str, key: str) -> str:
    """The index entry that says that ``key`` belongs to ``group``."""
    return f"{index}/{encode_name(group)}/{encode_name(key)}"


def marker_target(alias: str, key: str) -> str:
    """Where an index entry points to, from its own folder: through the short alias, so that it fits the inode."""
    return f"../../{alias}/{encode_name(key)}.json"


def stem(name: str, suffix: str) -> str | None:
    """A file name without its suffix, ``None`` if it has another or is the engine's own."""
    return name[: -len(suffix)] if name.endswith(suffix) and not name.startswith(DOTTED) else None


def segment_path(log: str, first: int) -> str:
    """The segment of the log that starts with sequence number ``first``."""
    return f"{log}/{first:020d}.jsonl"


def segment_first(name: str) -> int | None:
    """The first sequence number of a segment, ``None`` if the name isn't a segment's."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None


def is_safe_path(path: str) -> bool:
    """Whether a path read from disk stays inside the store: one to three plain parts."""
    parts = path.split("/")
    return len(parts) <= 3 and "\0" not in path and _NO_PARTS.isdisjoint(parts)
