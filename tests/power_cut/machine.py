"""The machine's part: file systems, loop devices and mounts, and none of them left behind.

Everything stands below one folder in memory that has this process's number in its name. What a test that was killed
left there is taken down by the next.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.power_cut.device import NAME
from tests.support import python

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE_SYSTEMS", "FileSystemKind", "MountError", "copy_sparse", "mounted", "recording", "sweep", "workplace"]

_MEMORY = Path("/dev/shm")
_PREFIX = "execstore-power-cut-"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class FileSystemKind:
    """How one is made and mounted."""

    name: str
    size_bytes: int
    make: tuple[str, ...]
    mount_options: str

    def missing(self) -> str | None:
        """Why it can't be had here, ``None`` if it can."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "mounting file systems needs root on Linux"
        if not _may_mount():
            return "this root may not mount (CAP_SYS_ADMIN)"
        for device in ("/dev/fuse", "/dev/loop-control", "/dev/shm"):
            if not os.path.exists(device):
                return f"there is no {device}"
        for program in (self.make[0], "losetup", "mount", "umount", "cp"):
            if shutil.which(program) is None:
                return f"{program} isn't installed"
        names = Path("/proc/filesystems").read_text(encoding="ascii").split()
        if self.name not in names and shutil.which("modprobe") is not None:
            subprocess.run(["modprobe", "-q", self.name], check=False)
            names = Path("/proc/filesystems").read_text(encoding="ascii").split()
        return None if self.name in names else f"this kernel has no {self.name}"

    def make_image(self, path: Path) -> None:
        """An empty file system in a new sparse file."""
        full = path.with_suffix(".full")
        with open(full, "wb") as file:
            file.truncate(self.size_bytes)
        _run(*self.make, str(full))
        copy_sparse(full, path)
        full.unlink()


FILE_SYSTEMS = (
    FileSystemKind("ext4", 64 << 20, ("mkfs.ext4", "-q", "-F", "-b", "4096"), "nodiscard"),
    FileSystemKind("xfs", 300 << 20, ("mkfs.xfs", "-q", "-K"), "nouuid"),
    FileSystemKind("btrfs", 128 << 20, ("mkfs.btrfs", "-q", "-K"), "nodiscard"),
)


def _may_mount() -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> 21 & 1)


class MountError(Exception):
    """The file system itself doesn't come up."""


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MountError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def copy_sparse(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", str(source), str(target))


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder in memory, for this process."""
    sweep()
    folder = _MEMORY / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _take_down(folder)


def sweep() -> None:
    """Take down what processes that are no more left behind."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        number = folder.name.removeprefix(_PREFIX)
        if number.isdigit() and not os.path.exists(f"/proc/{number}"):
            _take_down(folder)


def _take_down(folder: Path) -> None:
    for mount in reversed(_mounts_below(folder)):
        _unmount(mount)
    for loop in json.loads(_run("losetup", "--json", "--list") or '{"loopdevices": []}')["loopdevices"]:
        if (loop["back-file"] or "").startswith(f"{folder}/"):
            with suppress(MountError):  # it may go by itself, now that nothing uses it
                _run("losetup", "--detach", loop["name"])
    shutil.rmtree(folder)


def _mounts_below(folder: Path) -> list[Path]:
    text = Path("/proc/self/mounts").read_text(encoding="utf-8")
    points = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[1]) for line in text.splitlines()]
    return [Path(point) for point in points if point.startswith(f"{folder}/")]


def _unmount(folder: Path) -> None:
    """Also when something is still busy there, for a while: then without it."""
    for _ in range(20):
        try:
            _run("umount", str(folder))
        except MountError:
            time.sleep(0.05)
        else:
            return
    _run("umount", "--lazy", str(folder))


@contextmanager
def mounted(kind: FileSystemKind, image: Path, folder: Path, *, direct: bool = False) -> Iterator[Path]:
    """The file system in ``image``, mounted at ``folder``. Raises `MountError`.

    ``direct``: the loop device has no cache of its own, so that what the file system flushes is flushed.
    """
    folder.mkdir(exist_ok=True)
    if kind.name == "btrfs":
        # The kernel remembers which device it saw a file system on last, though that has gone.
        with suppress(MountError):
            _run("btrfs", "device", "scan", "--forget")
    if direct:
        loop = _run("losetup", "--direct-io=on", "--find", "--show", str(image))
        try:
            _run("mount", "-t", kind.name, "-o", kind.mount_options, loop, str(folder))
        finally:
            _run("losetup", "--detach", loop)  # as soon as it is unmounted
    else:
        _run("mount", "-t", kind.name, "-o", f"loop,{kind.mount_options}", str(image), str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def recording(image: Path, folder: Path, flush_seconds: float = 0.0) -> Iterator[tuple[Path, Path]]:
    """Serve ``image`` as a recording device, its log being ``folder/log``; the device, and the file with the moment."""
    point, log, moment = folder / "fuse", folder / "log", folder / "moment"
    point.mkdir()
    moment.write_bytes(bytes(8))
    arguments = [str(point), str(image), str(log), str(moment), str(flush_seconds)]
    server = python("-m", "tests.power_cut.device", *arguments)
    try:
        if server.stdout is None or server.stdout.readline() != "serving\n":
            raise MountError("the recording device doesn't start; its error is above")
        yield point / NAME, moment
    finally:
        if point in _mounts_below(folder):
            _unmount(point)
        with server:  # its pipes are closed and it is waited for
            try:
                server.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
