"""etcd's v3 requests and answers as the JSON of its gateway: pure functions, bytes in and out.

Keys and values go in base64, 64-bit numbers as strings. Requests are put together from templates rather than encoded
from dicts: nothing in them needs escaping, and a change carries most of its bytes in a few values.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore.codec import CodecError, decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "MAX_OPERATIONS",
    "KeyValue",
    "WireError",
    "compare_absent",
    "compare_created",
    "compare_modified",
    "delete",
    "encoded_size",
    "key_values",
    "nest",
    "put",
    "range_request",
    "responses",
    "revision_of",
    "transaction",
]

_OUTER: Final = 60
_INNER: Final = 64
_RESERVED: Final = 4
MAX_OPERATIONS: Final = (_OUTER - _RESERVED) * _INNER
"""etcd takes 128 operations a transaction, but one of them may be a transaction again, which may have as many as are
left: 60 of 64."""


class WireError(ValueError):
    """An answer that isn't what etcd's gateway gives."""


class KeyValue(NamedTuple):
    """A key as it stands in etcd."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int


# --- requests -------------------------------------------------------------------------------------------------------


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)


def put(key: bytes, value: bytes, lease: int = 0) -> bytes:
    """The operation that sets a key."""
    if lease:
        return b'{"request_put":{"key":"%b","value":"%b","lease":"%d"}}' % (_base64(key), _base64(value), lease)
    return b'{"request_put":{"key":"%b","value":"%b"}}' % (_base64(key), _base64(value))


def delete(key: bytes, end: bytes | None = None) -> bytes:
    """The operation that removes a key, or all from it up to ``end``."""
    if end is None:
        return b'{"request_delete_range":{"key":"%b"}}' % _base64(key)
    return b'{"request_delete_range":{"key":"%b","range_end":"%b"}}' % (_base64(key), _base64(end))


def range_request(
    key: bytes,
    end: bytes | None = None,
    *,
    keys_only: bool = False,
    count_only: bool = False,
    limit: int = 0,
    revision: int = 0,
) -> bytes:
    """The body of a range request: one key, or all up to ``end`` in their order, as of ``revision`` if it is given."""
    parts = [b'{"key":"%b"' % _base64(key)]
    if end is not None:
        parts.append(b'"range_end":"%b"' % _base64(end))
    if keys_only:
        parts.append(b'"keys_only":true')
    if count_only:
        parts.append(b'"count_only":true')
    if limit:
        parts.append(b'"limit":"%d"' % limit)
    if revision:
        parts.append(b'"revision":"%d"' % revision)
    return b",".join(parts) + b"}"


def compare_modified(key: bytes, revision: int) -> bytes:
    """True if the key's last change was at this revision; 0: there is no such key."""
    return b'{"target":"MOD","result":"EQUAL","key":"%b","mod_revision":"%d"}' % (_base64(key), revision)


def compare_created(key: bytes, revision: int) -> bytes:
    """True if the key has been there since this revision."""
    return b'{"target":"CREATE","result":"EQUAL","key":"%b","create_revision":"%d"}' % (_base64(key), revision)


def compare_absent(key: bytes, end: bytes | None = None) -> bytes:
    """True if there is no such key, or none in the range."""
    range_end = b"" if end is None else b',"range_end":"%b"' % _base64(end)
    return b'{"target":"VERSION","result":"EQUAL","key":"%b"%b,"version":"0"}' % (_base64(key), range_end)


def transaction(compares: Iterable[bytes], success: Iterable[bytes], ranges: Iterable[bytes] = ()) -> bytes:
    """A transaction: ``success`` happens if all ``compares`` are true, else the ``ranges`` are read."""
    failure = b",".join([b'{"request_range":%b}' % each for each in ranges])
    return b'{"compare":[%b],"success":[%b],"failure":[%b]}' % (b",".join(compares), b",".join(success), failure)


def read_transaction(ranges: Iterable[bytes]) -> bytes:
    """Several ranges of one moment."""
    return b'{"success":[%b]}' % b",".join([b'{"request_range":%b}' % each for each in ranges])


def nest(operations: Sequence[bytes]) -> list[bytes]:
    """The same operations as no more than a transaction takes, by putting them into transactions within it.

    There may be ``MAX_OPERATIONS``, of which none has to do with the key of another.
    """
    if len(operations) <= 2 * _INNER - _RESERVED:
        return list(operations)
    return [
        b'{"request_txn":{"success":[%b]}}' % b",".join(operations[start : start + _INNER])
        for start in range(0, len(operations), _INNER)
    ]


def encoded_size(puts: Mapping[bytes, bytes], others: int) -> int:
    """About how many bytes etcd counts for a transaction: its own encoding has some twenty bytes an operation."""
    return sum(len(key) + len(value) + 24 for key, value in puts.items()) + 120 * others + 1024


# --- answers --------------------------------------------------------------------------------------------------------


def revision_of(answer: Mapping[str, Any]) -> int:
    """The store's revision when the answer was given.

    Raises:
        WireError: this is no answer of etcd's.
    """
    try:
        return int(answer["header"]["revision"])
    except (KeyError, TypeError, ValueError):
        raise WireError("the answer has no revision") from None


def key_values(answer: Mapping[str, Any]) -> list[KeyValue]:
    """The keys that a range found. Raises ``WireError``."""
    try:
        return [
            KeyValue(
                a2b_base64(found["key"], strict_mode=True),
                a2b_base64(found.get("value", ""), strict_mode=True),
                int(found["create_revision"]),
                int(found["mod_revision"]),
            )
            for found in answer.get("kvs", ())
        ]
    except (KeyError, TypeError, ValueError, AttributeError, Base64Error):
        raise WireError("the answer holds something else than keys and values") from None


def responses(answer: Mapping[str, Any]) -> list[list[KeyValue]]:
    """What each range of a transaction found. Raises ``WireError``."""
    try:
        return [key_values(each["response_range"]) for each in answer.get("responses", ())]
    except (KeyError, TypeError):
        raise WireError("the answer of a transaction lacks a range") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises ``WireError``."""
    try:
        value = decode(data)
    except CodecError as error:
        raise WireError(error.reason) from None
    if not isinstance(value, dict):
        raise WireError("it is no JSON object")
    return value
