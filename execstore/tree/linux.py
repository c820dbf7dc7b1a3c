"""Files on Linux: one call makes a whole file system durable, and the kernel tells who holds a lock."""

# ruff: noqa: E402 - mypy reads no further on another system
from __future__ import annotations

import sys

assert sys.platform == "linux"  # noqa: S101

import os
from typing import TYPE_CHECKING

from execstore.tree.posix import PosixFileSystem
from execstore.tree.proc_locks import parse_lock_holder
from execstore.tree.seam import sync_each

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LinuxFileSystem"]

# File systems on which syncfs(2) is known to write back and flush everything, and (since Linux 5.8) to report errors.
# (On FAT it doesn't flush the device.)
_SYNCFS_MAGIC = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x794C7630})
# flock(2) there may succeed on two machines at once. (What is mounted through FUSE can't be told apart.)
_REMOTE_MAGIC = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB2",
    0xFF534D42: "CIFS",
    0x5346414F: "AFS",
    0x00C36400: "Ceph",
}

_LOOKS_AT_LOCKS = 3


class LinuxFileSystem(PosixFileSystem):
    """The kernel's files, below one folder that exists."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._magic: int | None = None

    def flush(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync(self, paths: Iterable[str]) -> None:
        if self._magic_number() in _SYNCFS_MAGIC:
            self._sync_all()
        else:
            sync_each(self, paths)

    def write_back(self) -> None:
        if self._magic_number() in _SYNCFS_MAGIC:
            self._sync_all()

    def _sync_without_folders(self) -> None:
        self._sync_all()

    def _sync_all(self) -> None:
        import ctypes  # noqa: PLC0415 - dear to import, and only who fills a journal needs it

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(self._root) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self.root)

    def lock_holder(self, descriptor: int) -> int | None:
        return _holder_of(descriptor, "WRITE")

    def is_lock_shared(self, descriptor: int) -> bool:
        return _holder_of(descriptor, "READ") is not None

    def remote_kind(self) -> str | None:
        return _REMOTE_MAGIC.get(self._magic_number())

    def _magic_number(self) -> int:
        if self._magic is None:
            self._magic = _statfs_magic(self._root)
        return self._magic


def _holder_of(descriptor: int, kind: str) -> int | None:
    status = os.fstat(descriptor)
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    # The list is read page by page, and what others lock or unlock meanwhile may shift a line out of sight.
    for _ in range(_LOOKS_AT_LOCKS):
        try:
            with open("/proc/locks", encoding="ascii") as file:
                text = file.read()
        except OSError:  # no /proc
            return None
        holder = parse_lock_holder(text, major, minor, status.st_ino, kind)
        if holder is not None:
            return holder
    return None


def _statfs_magic(descriptor: int) -> int:
    """The file system's type number: ``f_type``, the first long of struct statfs (os.statvfs leaves it out)."""
    import ctypes  # noqa: PLC0415

    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, buffer) != 0:
        return 0
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
