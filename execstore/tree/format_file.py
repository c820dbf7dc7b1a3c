"""FORMAT: what marks a folder as a store, and of which version. It is written last when a store is made."""

from __future__ import annotations

from dataclasses import dataclass

from execstore import codec
from execstore.errors import StoreCorruptedError, UnsupportedFormatError

__all__ = ["CASE_SAFE", "FORMAT_VERSION", "PLAIN", "Format", "encode_format", "parse_format"]

FORMAT_VERSION = 1
PLAIN = "plain"
CASE_SAFE = "case-safe"
_NAME = "execstore"


@dataclass(frozen=True, slots=True)
class Format:
    """``store_id`` is random; ``journal_bytes``: the size of each journal file; ``segment_bytes``: of a log segment.

    ``names``: `PLAIN`, or `CASE_SAFE` where the file system takes ``A`` and ``a`` for one name; see ``names_apart``.
    """

    store_id: str
    journal_bytes: int
    segment_bytes: int
    version: int = FORMAT_VERSION
    names: str = PLAIN


def encode_format(form: Format) -> bytes:
    """The file's bytes: JSON, a member a line."""
    members = {
        "format": _NAME,
        "version": form.version,
        "store_id": form.store_id,
        "journal_bytes": form.journal_bytes,
        "segment_bytes": form.segment_bytes,
    }
    if form.names != PLAIN:
        members["names"] = form.names
    lines = [b"%b:%b" % (codec.encode(name), codec.encode(value)) for name, value in members.items()]
    return b"{\n%b\n}\n" % b",\n".join(lines)


def parse_format(data: bytes, path: str) -> Format:
    """The inverse.

    Raises:
        UnsupportedFormatError: the store is older or newer than this program.
        StoreCorruptedError: the file isn't a FORMAT file any more.
    """
    try:
        members = codec.decode(data)
    except ValueError as error:
        raise StoreCorruptedError(path, f"FORMAT is no JSON ({error})") from error
    if not isinstance(members, dict) or members.get("format") != _NAME:
        raise StoreCorruptedError(path, "FORMAT doesn't say that this is an execstore")
    version = members.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise StoreCorruptedError(path, f"FORMAT has no version number but {version!r}")
    # The version speaks first: what the other members mean is that version's business.
    if version != FORMAT_VERSION:
        raise UnsupportedFormatError(path, version, FORMAT_VERSION)
    names = members.get("names", PLAIN)
    if names not in (PLAIN, CASE_SAFE):  # no set: it may be of a type that no set takes
        raise StoreCorruptedError(path, f"FORMAT has names of a kind that isn't known: {names!r}")
    match members:
        case {"store_id": str(store_id), "journal_bytes": int(journal_bytes), "segment_bytes": int(segment_bytes)} if (
            journal_bytes > 0 and segment_bytes > 0 and store_id.isascii()
        ):
            return Format(store_id, journal_bytes, segment_bytes, names=names)
    raise StoreCorruptedError(path, "FORMAT lacks store_id, journal_bytes or segment_bytes")
