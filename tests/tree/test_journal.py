"""The journal's records and files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.tree.filesystem import RealFileSystem
from execstore.tree.journal import JournalFiles, Record, encode_record, parse_record, seed
from execstore.tree.steps import Append, Mark, Put, Remove, Step

if TYPE_CHECKING:
    from pathlib import Path

SEED = seed("5f1e3c6a90b7d248")
STEPS: tuple[Step, ...] = (Put("a/x", b'{\n"a":1\n}\n'), Append("b/y", 7, b"1\n"), Mark("i/g/x", "t"), Remove("a/z"))


def _record(number: int = 7, epoch: int = 3, previous: int = 5, values: dict[str, Any] | None = None) -> bytes:
    return encode_record(number, epoch, previous, STEPS, values or {"é": [1]}, SEED)[0]


def test_a_record_comes_back() -> None:
    data, checksum = encode_record(7, 3, 5, STEPS, {"counts": {"New": 1}}, SEED)
    assert parse_record(b"xx" + data, 2, SEED) == Record(
        transaction=7,
        epoch=3,
        steps=STEPS,
        values={"counts": {"New": 1}},
        previous=5,
        checksum=checksum,
        end=2 + len(data),
    )


def test_a_record_can_be_read_by_a_person() -> None:
    lines = _record().split(b"\n")
    assert lines[0].startswith(b"@transaction 7 epoch 3 after 00000005 bytes ")
    assert lines[2:5] == [b"{", b'"a":1', b"}"]


@given(st.integers(0, 8 * len(_record()) - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(_record())
    data[bit // 8] ^= 1 << bit % 8
    assert parse_record(bytes(data), 0, SEED) is None


@given(st.integers(0, len(_record()) - 1))
def test_a_record_that_was_cut_short_is_none(length: int) -> None:
    assert parse_record(_record()[:length], 0, SEED) is None
    assert parse_record(_record()[:length] + b"x" * 300, 0, SEED) is None


def test_a_record_of_another_store_is_none() -> None:
    assert parse_record(_record(), 0, seed("other")) is None


@given(st.binary(max_size=200))
def test_no_bytes_are_anything_but_none(data: bytes) -> None:
    assert parse_record(data, 0, SEED) is None


def test_what_no_program_of_this_format_wrote_is_an_error() -> None:
    data, _ = encode_record(1, 1, 0, (Put("../x", b"1"),), {}, SEED)
    with pytest.raises(ValueError, match="outside"):
        parse_record(data, 0, SEED)


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    fs = RealFileSystem(str(tmp_path))
    first, _ = encode_record(1, 1, 0, (), {}, SEED)
    JournalFiles.make(fs, 8192, first)
    return JournalFiles(fs, SEED, write=True)


def _chain(files: JournalFiles, number: int, count: int, *, epoch: int, first: int, previous: int) -> list[int]:
    """Writes a chain at the beginning of a file; gives where each record ends."""
    ends, offset = [], 0
    for transaction in range(first, first + count):
        data, checksum = encode_record(transaction, epoch, previous, STEPS, {}, SEED)
        files.append(number, offset, data)
        previous, offset = checksum, offset + len(data)
        ends.append(offset)
    return ends


def test_new_files_are_filled_and_hold_the_first_record(tmp_path: Path, files: JournalFiles) -> None:
    assert (tmp_path / "journal.0").stat().st_size == 8192
    assert set((tmp_path / "journal.1").read_bytes()) == {ord("\n")}
    assert [record.transaction for record in files.chain(0)] == [1]
    assert files.chain(1) == []


def test_a_chain_ends_at_the_first_torn_record(tmp_path: Path, files: JournalFiles) -> None:
    ends = _chain(files, 1, 4, epoch=2, first=2, previous=9)
    with (tmp_path / "journal.1").open("r+b") as file:
        file.seek(ends[1] + 40)
        file.write(b"torn")
    assert [record.transaction for record in files.chain(1)] == [2, 3]


def test_a_chain_ends_where_an_older_epoch_begins(files: JournalFiles) -> None:
    old = _chain(files, 0, 5, epoch=1, first=2, previous=9)
    new = _chain(files, 0, 2, epoch=3, first=20, previous=9)
    assert new[1] == old[1] + 2  # one digit more in each number: the old records don't stand where they could go on
    assert [record.transaction for record in files.chain(0)] == [20, 21]


def test_a_record_behind_a_torn_one_is_not_woken_by_another_in_its_place(files: JournalFiles) -> None:
    ends = _chain(files, 0, 3, epoch=1, first=1, previous=0)
    first = files.chain(0)[0]
    other, _ = encode_record(2, 1, first.checksum, (Put("a/x", b'{\n"a":2\n}\n'), *STEPS[1:]), {}, SEED)
    files.append(0, ends[0], other)
    assert files.read_at(0, ends[0]) is not None
    assert files.read_at(0, ends[0] + len(other)) is not None, "the old third record stands right there, and is whole"
    assert [record.transaction for record in files.chain(0)] == [1, 2]


def test_reading_at_a_place_gives_the_record_there(files: JournalFiles) -> None:
    ends = _chain(files, 1, 3, epoch=2, first=2, previous=9)
    record = files.read_at(1, ends[0])
    assert record is not None
    assert (record.transaction, record.end) == (3, ends[1])
    assert files.read_at(1, ends[2]) is None
    assert files.read_at(1, ends[0] + 1) is None
    assert files.read_at(1, 1 << 40) is None


def test_a_record_larger_than_the_file_makes_it_longer(tmp_path: Path, files: JournalFiles) -> None:
    data, _ = encode_record(2, 1, 0, (Put("a/x", b"x" * 20000),), {}, SEED)
    files.append(1, 0, data)
    files.flush(1)
    assert len(files.chain(1)) == 1
    files.shorten(1, 8192)
    assert (tmp_path / "journal.1").stat().st_size == 8192


def test_rewriting_dirties_whole_pages_and_changes_nothing(tmp_path: Path) -> None:
    written: list[tuple[int, int]] = []

    class Recording(RealFileSystem):
        def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:  # type: ignore[override]
            written.append((offset, len(data)))
            return os.pwrite(descriptor, data, offset)

    fs = Recording(str(tmp_path))
    JournalFiles.make(fs, 16384, _record(1, 1, 0))
    files = JournalFiles(fs, SEED, write=True)
    before = (tmp_path / "journal.0").read_bytes()
    written.clear()
    files.rewrite(0, 5000, 9000)
    assert written == [(4096, 4904)]
    assert (tmp_path / "journal.0").read_bytes() == before
