"""The recording device itself, without a file system on it."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.power_cut.device import FLUSH, Entry, moment_reader, read_log
from tests.power_cut.machine import FILE_SYSTEMS, recording, workplace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.power_cut

SIZE = 1 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory with an image full of dots."""
    missing = FILE_SYSTEMS[0].missing()
    if missing is not None:
        pytest.skip(missing)
    with workplace() as folder:
        (folder / "image").write_bytes(b"." * SIZE)
        yield folder


def test_every_write_and_flush_is_recorded_in_order(folder: Path) -> None:
    with recording(folder / "image", folder) as (device, moment):
        now = moment_reader(str(moment))
        with open(device, "r+b", buffering=0) as file:
            assert os.pwrite(file.fileno(), b"one", 5) == 3
            assert now[0] == 1
            os.fsync(file.fileno())
            assert now[0] == 2
            os.pwrite(file.fileno(), b"two", 7)
            os.fdatasync(file.fileno())
            assert os.pread(file.fileno(), 8, 4) == b".ontwo.."
        assert now[0] == 4
    assert list(read_log(str(folder / "log"))) == [
        Entry(5, b"one"),
        Entry(FLUSH, b""),
        Entry(7, b"two"),
        Entry(FLUSH, b""),
    ]
    assert (folder / "image").read_bytes()[:12] == b".....ontwo.."


def test_a_large_write_is_recorded_whole(folder: Path) -> None:
    with recording(folder / "image", folder) as (device, _), open(device, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"x" * SIZE, 0)
        assert os.pread(file.fileno(), SIZE, 0) == b"x" * SIZE
    assert b"".join(entry.data for entry in read_log(str(folder / "log"))) == b"x" * SIZE


def test_a_slow_disk_takes_its_time_to_flush(folder: Path) -> None:
    with recording(folder / "image", folder, flush_seconds=0.02) as (device, _), open(device, "r+b") as file:
        started = time.monotonic()
        for _ in range(5):
            os.fsync(file.fileno())
        assert time.monotonic() - started >= 0.1


def test_there_is_no_other_file(folder: Path) -> None:
    with recording(folder / "image", folder) as (device, _):
        assert os.stat(device).st_size == SIZE
        assert not (device.parent / "other").exists()
        with pytest.raises(OSError) as caught:
            (device.parent / "other").write_bytes(b"")
        assert caught.value.errno == errno.ENOSYS
