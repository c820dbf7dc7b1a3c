"""FORMAT: three different answers for older, newer and damaged stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore.errors import StoreCorruptedError, UnsupportedFormatError
from execstore.tree.format_file import FORMAT_VERSION, Format, encode_format, parse_format

if TYPE_CHECKING:
    from execstore.errors import ExecStoreError

FORM = Format("5f1e", 4096, 1024)


def test_it_comes_back() -> None:
    assert parse_format(encode_format(FORM), "s") == FORM


@pytest.mark.parametrize(
    ("version", "words"),
    [(FORMAT_VERSION + 1, "newer"), (FORMAT_VERSION + 1000, "newer"), (FORMAT_VERSION - 1, "older")],
)
def test_another_version_says_which_and_what_to_do(version: int, words: str) -> None:
    data = b'{"format":"execstore","version":%d,"members":"of another kind"}' % version
    with pytest.raises(UnsupportedFormatError, match=words) as caught:
        parse_format(data, "s")
    assert (caught.value.found, caught.value.supported) == (version, FORMAT_VERSION)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\0" * 100,
        b'{"format":"sqlite","version":1}',
        b'{"format":"execstore"}',
        b'{"format":"execstore","version":"1"}',
        b'{"format":"execstore","version":true}',
        b'{"format":"execstore","version":-1}',
        b'{"format":"execstore","version":1}',
        b'{"format":"execstore","version":1,"store_id":"x","journal_bytes":0,"segment_bytes":1}',
        b'{"format":"execstore","version":1,"store_id":5,"journal_bytes":1,"segment_bytes":1}',
    ],
)
def test_a_damaged_one_is_called_damaged(data: bytes) -> None:
    expected: type[ExecStoreError] = StoreCorruptedError
    with pytest.raises(expected):
        parse_format(data, "s")
