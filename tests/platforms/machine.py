"""File systems that this machine can make and mount, and other kernels that it can run."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["EXERCISE", "HERE", "IN_USER_MODE_LINUX", "Kind", "mounted", "user_mode_linux", "windows_python"]

EXERCISE = ROOT / "tests" / "platforms" / "exercise.py"
IMAGE_BYTES = 400 << 20
TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Kind:
    """How to make and mount one. ``{device}`` and ``{place}`` are filled in; without ``make`` it needs no device."""

    name: str
    make: tuple[str, ...]
    mount: tuple[str, ...]
    takes_a_for_capital_a: bool = False
    is_refused: bool = False


def _kind(name: str, make: str, mount: str, **options: bool) -> Kind:
    return Kind(name, tuple(make.split()), tuple(mount.split()), **options)


HERE = [
    _kind("ext4", "mkfs.ext4 -q {device}", "mount -t ext4 {device} {place}"),
    _kind("xfs", "mkfs.xfs -q {device}", "mount -t xfs {device} {place}"),
    _kind("btrfs", "mkfs.btrfs -q {device}", "mount -t btrfs {device} {place}"),
    _kind("tmpfs", "", "mount -t tmpfs tmpfs {place}"),
    _kind("overlayfs", "", "mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {place}"),
    _kind("vfat", "mkfs.vfat -F 32 {device}", "mount -t vfat {device} {place}", takes_a_for_capital_a=True),
    _kind("exfat", "mkfs.exfat {device}", "mount -t exfat {device} {place}", takes_a_for_capital_a=True),
    _kind("exfat-fuse", "mkfs.exfat {device}", "mount.exfat-fuse {device} {place}", takes_a_for_capital_a=True),
    _kind("ntfs-3g", "mkfs.ntfs -Q -F {device}", "ntfs-3g {device} {place}"),
    _kind(
        "lowntfs-3g",
        "mkfs.ntfs -Q -F {device}",
        "lowntfs-3g -o ignore_case,windows_names {device} {place}",
        is_refused=True,  # it gives every name in small letters
    ),
]

IN_USER_MODE_LINUX = [
    _kind("vfat", "mkfs.vfat -F 32 {device}", "mount -t vfat {device} {place}", takes_a_for_capital_a=True),
    _kind("msdos", "mkfs.vfat -F 16 {device}", "mount -t msdos {device} {place}", is_refused=True),
    # Both keep case but don't look at it, have links and sync folders, as macOS's file system does.
    _kind("jfs -O", "mkfs.jfs -q -O {device}", "mount -t jfs {device} {place}", takes_a_for_capital_a=True),
    _kind(
        "xfs ascii-ci",
        "mkfs.xfs -q -n version=ci {device}",
        "mount -t xfs {device} {place}",
        takes_a_for_capital_a=True,
    ),
    _kind("f2fs", "mkfs.f2fs -q {device}", "mount -t f2fs {device} {place}"),
    _kind("nilfs2", "mkfs.nilfs2 -q {device}", "mount -t nilfs2 {device} {place}"),
]


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on this machine")


def _run(words: Sequence[str], **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([word.format(**values) for word in words], capture_output=True, text=True, check=False)


def make_image(kind: Kind, path: Path) -> None:
    """Make this file system in a new file, or skip the test."""
    _needs(kind.make[0])
    with open(path, "wb") as file:
        file.truncate(IMAGE_BYTES)
    made = _run(kind.make, device=str(path))
    if made.returncode:
        pytest.skip(f"{kind.make[0]} can't make it: {made.stderr.strip()}")


@contextlib.contextmanager
def mounted(kind: Kind, folder: Path) -> Iterator[Path]:
    """A new file system of this kind; the test is skipped where it can't be had."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount file systems")
    _needs(kind.mount[0])
    place = folder / "mounted"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        values = {"place": str(place)}
        if kind.make:
            image = folder / "image"
            make_image(kind, image)
            attached = _run(("losetup", "-f", "--show", str(image)))
            if attached.returncode:
                pytest.skip(f"there is no loop device: {attached.stderr.strip()}")
            values["device"] = attached.stdout.strip()
            stack.callback(_run, ("losetup", "-d", values["device"]))
        elif kind.name == "overlayfs":
            base = folder / "base"  # an overlay can't lie on another one, which a container's own folders may be
            base.mkdir()
            _run(("mount", "-t", "tmpfs", "tmpfs", str(base)))
            stack.callback(_run, ("umount", str(base)))
            for name in ("lower", "upper", "work"):
                (base / name).mkdir()
                values[name] = str(base / name)
        done = _run(kind.mount, **values)
        if done.returncode:
            pytest.skip(f"this system can't mount it: {done.stderr.strip()}")
        stack.callback(_run, ("umount", str(place)))
        yield place


_INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t tmpfs tmpfs /run; mkdir /run/place
export TMPDIR=/run
for module in {modules}; do insmod $module 2>/dev/null; done
if {mount}; then
  mkdir /run/place/here
  {python} {exercise} /run/place/here 2>&1
  echo "ended with $?"
  umount /run/place
else
  echo "cannot mount"
fi
poweroff -f
"""
_MODULES = (
    "crypto/crc32_generic",
    *(f"fs/nls/nls_{name}" for name in ("cp437", "iso8859-1", "utf8", "ascii")),
    *("fs/fat/fat", "fs/fat/vfat", "fs/fat/msdos", "fs/f2fs/f2fs", "fs/nilfs2/nilfs2"),
)


def user_mode_linux(kind: Kind, folder: Path) -> str:
    """Exercise a store on this file system of another kernel, Debian's user-mode-linux, and return what was said."""
    _needs("linux.uml", "insmod", "poweroff")
    image = folder / "image"
    make_image(kind, image)
    kernels = sorted(glob.glob("/usr/lib/uml/modules/*/kernel"))
    init = folder / "init.sh"
    init.write_text(
        _INIT.format(
            modules=" ".join(f"{kernels[-1]}/{module}.ko" for module in _MODULES) if kernels else "",
            mount=" ".join(kind.mount).format(device="/dev/ubda", place="/run/place"),
            python=sys.executable,
            exercise=EXERCISE,
        )
    )
    init.chmod(0o755)
    done = subprocess.run(
        [
            "linux.uml",
            "rootfstype=hostfs",
            "ro",
            "mem=1G",
            f"init={init}",
            "con=null",
            "con0=fd:0,fd:1",
            f"ubd0={image}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace").partition("as init process")[2]
    if "cannot mount" in text:
        pytest.skip(f"that kernel can't mount it: {text.strip()[-300:]}")
    return text


def windows_python() -> list[str]:
    """The command that runs Python for Windows under Wine: ``EXECSTORE_WINDOWS_PYTHON`` is its ``python.exe``."""
    program = os.environ.get("EXECSTORE_WINDOWS_PYTHON")
    if not program:
        pytest.skip("EXECSTORE_WINDOWS_PYTHON names no python.exe that has filelock and ujson beside it")
    _needs("wine")
    return ["wine", program]
