"""The two keys that aren't data: ``FORMAT``, which makes a prefix a store, and ``head``, which every change writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.codec import CodecError, decode, decode_strict, encode, encode_trusted
from execstore.errors import StoreCorruptedError, UnsupportedFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.etcd.wire import KeyValue

__all__ = ["FORMAT_VERSION", "Format", "Head", "encode_format", "encode_head", "parse_format", "parse_head"]

FORMAT_VERSION: Final = 1
_FORMAT_NAME: Final = "execstore-etcd"


class Format(NamedTuple):
    """What a store was made with: what tells it from every other, and how large a segment of its log may become."""

    store_id: str
    segment_bytes: int


class Head(NamedTuple):
    """How the store stands after its change number ``transaction``. ``revision`` is etcd's, of when it was written."""

    revision: int
    transaction: int
    values: Mapping[str, Any]


def encode_head(transaction: int, values: Mapping[str, Any]) -> bytes:
    return encode_trusted({"transaction": transaction, "values": values})


def parse_head(found: KeyValue, path: str) -> Head:
    """Raises ``StoreCorruptedError``."""
    try:
        value = decode(found.value)
        transaction, values = value["transaction"], value["values"]
    except (CodecError, KeyError, TypeError):
        raise StoreCorruptedError(f"{path}/head", "it isn't the JSON it should be") from None
    if type(transaction) is not int or transaction < 0 or not isinstance(values, dict):
        raise StoreCorruptedError(f"{path}/head", "its members aren't of their types")
    return Head(found.mod_revision, transaction, values)


def encode_format(form: Format) -> bytes:
    return encode(
        {
            "format": _FORMAT_NAME,
            "version": FORMAT_VERSION,
            "store_id": form.store_id,
            "segment_bytes": form.segment_bytes,
        }
    )


def parse_format(data: bytes, path: str) -> Format:
    """What the store was made with.

    Raises:
        UnsupportedFormatError: it is of a newer or older version, which is looked at before anything else.
        StoreCorruptedError: it isn't the FORMAT of such a store.
    """
    try:
        value = decode_strict(data)
    except CodecError as error:
        raise StoreCorruptedError(f"{path}/FORMAT", f"it is no JSON ({error})") from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT_NAME or type(value.get("version")) is not int:
        raise StoreCorruptedError(f"{path}/FORMAT", "it isn't that of a store in etcd")
    if value["version"] != FORMAT_VERSION:
        raise UnsupportedFormatError(path, value["version"], FORMAT_VERSION)
    store_id, segment_bytes = value.get("store_id"), value.get("segment_bytes")
    if not isinstance(store_id, str) or not (store_id.isascii() and store_id.isalnum()):
        raise StoreCorruptedError(f"{path}/FORMAT", "it has no store_id")
    if type(segment_bytes) is not int or segment_bytes <= 0:
        raise StoreCorruptedError(f"{path}/FORMAT", "it has no segment_bytes")
    return Format(store_id, segment_bytes)
