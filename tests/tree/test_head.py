"""The head file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.tree.filesystem import RealFileSystem
from execstore.tree.head import FIRST_LINE_BYTES, Head, HeadFile, encode_head, is_settled, parse_head

if TYPE_CHECKING:
    from pathlib import Path

HEAD = Head(
    begun=12,
    published=12,
    journal=1,
    epoch=3,
    offset=4711,
    checksum=0xF9A57FCB,
    clean=False,
    values={"counts": {"New": 2}},
)


def test_a_head_comes_back() -> None:
    assert parse_head(encode_head(HEAD)) == HEAD
    assert parse_head(encode_head(HEAD) + b"\n\nrest of a longer one") == HEAD


def test_its_first_line_has_a_fixed_length() -> None:
    for head in (HEAD, HEAD._replace(begun=10**19, published=0, values={"x": "y" * 5000})):
        assert encode_head(head).index(b"\n") + 1 == FIRST_LINE_BYTES


@given(st.integers(0, 8 * len(encode_head(HEAD)) - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(encode_head(HEAD))
    data[bit // 8] ^= 1 << bit % 8
    assert parse_head(bytes(data)) is None


@pytest.mark.parametrize("data", [b"", b"\0" * 512, encode_head(HEAD)[:100], b"begun", encode_head(HEAD)[1:]])
def test_what_is_torn_is_none(data: bytes) -> None:
    assert parse_head(data) is None


@pytest.mark.parametrize(
    ("line", "settled"),
    [
        (encode_head(HEAD)[:FIRST_LINE_BYTES], True),
        (encode_head(HEAD._replace(begun=13))[:FIRST_LINE_BYTES], False),
        (b"", False),
        (encode_head(HEAD)[: FIRST_LINE_BYTES - 1], False),
        (b"\0" * FIRST_LINE_BYTES, False),
    ],
)
def test_the_first_line_tells_whether_a_publication_goes_on(line: bytes, settled: bool) -> None:
    if line != b"\0" * FIRST_LINE_BYTES:
        assert is_settled(line) is settled
    else:
        assert parse_head(line) is None  # an invalid head is never read as one, settled or not


def test_a_shorter_head_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    fs = RealFileSystem(str(tmp_path))
    HeadFile.make(fs, HEAD)
    file = HeadFile(fs, write=True)
    file.write(HEAD._replace(values={"x": "y" * 300}))
    file.write(HEAD)
    text = (tmp_path / "head").read_bytes()
    assert text.rstrip(b"\n") + b"\n" == encode_head(HEAD)
    assert file.read() == HEAD


def test_an_invalid_head_reads_as_none(tmp_path: Path) -> None:
    fs = RealFileSystem(str(tmp_path))
    HeadFile.make(fs, HEAD)
    file = HeadFile(fs, write=True)
    assert file.read() == HEAD
    file.invalidate()
    assert file.read() is None
    assert HeadFile(fs, write=False).read() is None


def test_another_handles_write_is_seen(tmp_path: Path) -> None:
    fs = RealFileSystem(str(tmp_path))
    HeadFile.make(fs, HEAD)
    mine, others = HeadFile(fs, write=True), HeadFile(fs, write=True)
    assert mine.read() == HEAD
    others.write(HEAD._replace(published=13, begun=13))
    assert mine.read() == HEAD._replace(published=13, begun=13)
