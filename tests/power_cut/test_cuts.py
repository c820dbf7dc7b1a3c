"""What the power cuts themselves are made of, tried without a device."""

from __future__ import annotations

import shutil
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from tests.power_cut.cuts import SECTOR, Cut, Recording, choose_cuts
from tests.power_cut.device import FLUSH

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cp") is None, reason="sparse files are copied by GNU cp"
)

WRITES = [(0, b"a" * 1024), (FLUSH, b""), (0, b"b" * 1024), (1024, b"c" * 1024), (FLUSH, b""), (1024, b"d" * 512)]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two flushes, with two writes between them."""
    (tmp_path / "base").write_bytes(b"." * 2048)
    with open(tmp_path / "log", "wb") as file:
        file.writelines(struct.pack("<qI", offset, len(data)) + data for offset, data in WRITES)
    return Recording(tmp_path / "base", tmp_path / "log")


@pytest.mark.parametrize(
    ("moment", "kept", "expected"),
    [
        (0, (), "...."),
        (1, (), "...."),
        (1, ((0, None),), "aa.."),
        (1, ((0, (1,)),), ".a.."),
        (2, (), "aa.."),
        (4, (), "aa.."),
        (4, ((2, None), (3, None)), "bbcc"),
        (4, ((3, None),), "aacc"),
        (4, ((2, (1,)), (3, (0,))), "abc."),
        (5, (), "bbcc"),
        (6, ((5, None),), "bbdc"),
    ],
)
def test_an_image_has_what_was_flushed_and_what_was_kept(
    recording: Recording, tmp_path: Path, moment: int, kept: tuple[tuple[int, None], ...], expected: str
) -> None:
    for _, image in recording.images([Cut(moment, "", kept)], tmp_path):
        assert image.read_bytes()[::SECTOR].decode() == expected


def test_images_come_in_order_and_each_is_its_own(recording: Recording, tmp_path: Path) -> None:
    cuts = [Cut(5, "", ()), Cut(4, "", ((2, None),)), Cut(2, "", ())]
    found = [(cut.moment, image.read_bytes()[::SECTOR]) for cut, image in recording.images(cuts, tmp_path)]
    assert found == [(2, b"aa.."), (4, b"bb.."), (5, b"bbcc")]


def test_the_same_seed_makes_the_same_cuts(recording: Recording) -> None:
    first, again, other = (choose_cuts(recording, [3], seed, 50) for seed in ("1", "1", "2"))
    assert first == again
    assert first != other
    assert [Cut.from_dict(cut.to_dict()) for cut in first] == first


def test_cuts_keep_only_writes_since_the_last_flush(recording: Recording) -> None:
    for cut in choose_cuts(recording, [], "1", 300):
        assert {index for index, _ in cut.kept} <= set(range(recording.durable(cut.moment), cut.moment))


def test_all_that_can_stay_of_two_writes_comes_about(recording: Recording) -> None:
    cuts = choose_cuts(recording, [], "1", 3000)
    found = {tuple((index, sectors and len(sectors)) for index, sectors in cut.kept) for cut in cuts if cut.moment == 4}
    assert {(), ((2, None),), ((3, None),), ((2, None), (3, None)), ((2, 1), (3, None)), ((2, 1), (3, 1))} <= found


@pytest.mark.parametrize(
    ("offset", "sectors", "expected"),
    [
        (0, (0, 1), (0, 1, 2, 3, 4, 5, 6, 7)),
        (0, (1, 8, 15), (8, 9, 10, 11, 12, 13, 14, 15)),
        (4096 - 512, (0, 9), (0, 9, 10, 11, 12, 13, 14, 15)),
        (4096 - 512, (2,), None),
    ],
)
def test_whole_blocks_go_by_the_first_sector_that_was_written(
    tmp_path: Path, offset: int, sectors: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    (tmp_path / "log").write_bytes(struct.pack("<qI", offset, 8192) + bytes(8192))
    recording = Recording(tmp_path / "base", tmp_path / "log")
    found = recording.with_whole_blocks(Cut(1, "", ((0, sectors),)))
    assert found.kept == (() if expected is None else ((0, expected),))
