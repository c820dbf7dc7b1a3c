"""Where it is measured, and what that is: a folder, a fresh file system in an image, or a disk with a slow flush."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from execstore.bench.adapters.base import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FRESH", "describe_disk", "describe_machine", "fresh_file_system", "plain_folder", "slow_disk"]

#: How each is made. Executions take four inodes each, more than mkfs.ext4 plans for.
FRESH: Final = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "2000000"),
    "xfs": ("mkfs.xfs", "-q", "-K"),
}
_PREFIX: Final = "execstore-bench-"
_UNESCAPED: Final = re.compile(r"\\([0-7]{3})")


@contextlib.contextmanager
def plain_folder(parent: str | None) -> Iterator[str]:
    """A new folder in ``parent``, or where temporary files are; removed at the end."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        yield folder


@contextlib.contextmanager
def fresh_file_system(kind: str, parent: str | None, *, inodes: int = 2_000_000, gigabytes: int = 24) -> Iterator[str]:
    """A new file system in a sparse image below ``parent``, mounted for the time being. It needs root, on Linux.

    Raises:
        Unavailable: this can't be had here.
    """
    make = [str(inodes) if each == "2000000" else each for each in FRESH[kind]]
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable(f"a fresh {kind} needs root on Linux, to mount it; leave --fresh out to measure in a folder")
    for program in (make[0], "mount", "umount"):
        if shutil.which(program) is None:
            raise Unavailable(f"a fresh {kind} needs {program}, which isn't installed")
    with plain_folder(parent) as folder:
        image, point = os.path.join(folder, "image"), os.path.join(folder, "mounted")
        with open(image, "wb") as file:
            file.truncate(gigabytes << 30)
        os.mkdir(point)
        _run(*make, image)
        _run("mount", "-t", kind, "-o", "loop", image, point)
        try:
            yield point
        finally:
            _unmount(point)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - of the table above
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed: {' '.join(done.stderr.split())}")


def _unmount(point: str) -> None:
    """What a contender that was killed still holds lets go in a moment."""
    for _ in range(50):
        try:
            _run("umount", point)
        except Unavailable:
            time.sleep(0.1)
        else:
            return
    _run("umount", "--lazy", point)


@contextlib.contextmanager
def slow_disk(flush_ms: float, kind: str) -> Iterator[str]:
    """A fresh file system in memory, on a device whose flush takes so long, as an SD card's does.

    The device is that of the power-cut tests, so this works from a checkout only.

    Raises:
        Unavailable: there is no checkout, or no root, or no FUSE.
    """
    try:
        module = importlib.import_module("tests.bench.slow_disk")
    except ImportError:
        raise Unavailable("--flush-ms needs a checkout: run it there, as python -m execstore bench") from None
    with module.slow_disk(flush_ms / 1e3, kind) as folder:
        yield str(folder)


# --- what it is -------------------------------------------------------------------------------------------------------


def describe_disk(path: str) -> str:
    """The file system that a folder lies on, and whether it has a journal: ``ext4 (journaled, loop0)``."""
    best: tuple[int, str, str] = (-1, "unknown", "")
    with contextlib.suppress(OSError), open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            device, point, kind, *_ = line.split()
            point = _UNESCAPED.sub(lambda code: chr(int(code[1], 8)), point)
            inside = os.path.realpath(path) == point or os.path.realpath(path).startswith(point.rstrip("/") + "/")
            if inside and len(point) >= best[0]:
                best = (len(point), kind, device)
    _, kind, device = best
    details = []
    if kind == "ext4":
        details.append("journaled" if _has_journal(path) else "no journal")
    if device.startswith("/dev/loop"):
        details.append("in an image")
    return f"{kind} ({', '.join(details)})" if details else kind


def _has_journal(path: str) -> bool:
    number = os.stat(path).st_dev
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))  # type: ignore[attr-defined, unused-ignore]
    return os.path.isdir("/proc/fs/jbd2") and any(each.startswith(f"{name}-") for each in os.listdir("/proc/fs/jbd2"))


def describe_machine() -> dict[str, Any]:
    """What the figures hang on: processor, system, versions, the load, the date."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),  # type: ignore[attr-defined, unused-ignore]
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),  # type: ignore[attr-defined, unused-ignore]
        "versions": {
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
            **{name: _version(name) for name in ("execstore", "filelock", "ujson", "lmdb", "diskcache")},
            "Go": _go_version(),
        },
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "a checkout" if package == "execstore" else "none"


def _go_version() -> str:
    go = shutil.which("go")
    if go is None:
        return "none"
    done = subprocess.run([go, "version"], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.split()[2].removeprefix("go") if done.stdout else "none"
