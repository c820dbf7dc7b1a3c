"""A disk with a slow flush, as an SD card has: the power-cut tests' device, but it forgets what it was sent."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from execstore.bench.adapters.base import Unavailable
from execstore.bench.disks import FRESH
from tests.power_cut.device import NAME, RecordingDevice, die_with_parent
from tests.power_cut.machine import FileSystemKind, MountError, _mounts_below, _unmount, mounted, workplace
from tests.support import PATIENCE_SECONDS, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SlowDevice", "slow_disk"]

_KINDS = {
    "ext4": FileSystemKind("ext4", 4 << 30, (*FRESH["ext4"][:-1], "250000"), "nodiscard"),
    "xfs": FileSystemKind("xfs", 4 << 30, FRESH["xfs"], "nouuid"),
}


class SlowDevice(RecordingDevice):
    """Serves the image and sleeps in each flush."""

    def _record(self, offset: int, data: bytes | memoryview[int]) -> None:
        """Nobody asks for it later."""


@contextmanager
def slow_disk(flush_seconds: float, kind_name: str) -> Iterator[Path]:
    """A new file system on such a disk, all of it in memory. Raises `Unavailable`."""
    kind = _KINDS[kind_name]
    if missing := kind.missing():
        raise Unavailable(f"a disk with a slow flush can't be had here: {missing}")
    with workplace() as folder:
        image = folder / "image"
        kind.make_image(image)
        point = folder / "fuse"
        point.mkdir()
        (folder / "moment").write_bytes(bytes(8))
        arguments = [str(point), str(image), str(folder / "log"), str(folder / "moment"), str(flush_seconds)]
        server = python("-m", "tests.bench.slow_disk", *arguments)
        try:
            if server.stdout is None or server.stdout.readline() != "serving\n":
                raise Unavailable("the slow device doesn't start; its error is above")
            with mounted(kind, point / NAME, folder / "mounted", direct=True) as mount:
                yield mount
        except MountError as error:
            raise Unavailable(str(error)) from None
        finally:
            if point in _mounts_below(folder):
                _unmount(point)
            with server:  # its pipes are closed and it is waited for
                try:
                    server.wait(PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()


def main(folder: str, image: str, log: str, moment: str, flush_seconds: str) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the benchmark, which then unmounts
    device = SlowDevice(folder, image, log, moment, float(flush_seconds))
    print("serving", flush=True)
    device.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
