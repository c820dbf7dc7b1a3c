"""Files on macOS: a flush that empties the drive's cache as well; network file systems told by their mounts' flags."""

# ruff: noqa: E402 - mypy reads no further on another system
from __future__ import annotations

import sys

assert sys.platform != "win32"  # noqa: S101

import errno
import fcntl
import os
from typing import Final

from execstore.tree.posix import PosixFileSystem

__all__ = ["MacFileSystem", "full_flush", "parse_remote_kind"]

F_FULLFSYNC: Final = 51  # <sys/fcntl.h>; the fcntl module has it on macOS only
# What a file system says that doesn't know the call (SMB, FAT).
_NO_FULL_FLUSH = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY})

# struct statfs with 64-bit inodes, <sys/mount.h>
_STATFS_BYTES = 2168
_FLAGS = slice(64, 68)
_TYPE_NAME = slice(72, 88)
_MNT_LOCAL = 0x00001000


def full_flush(descriptor: int) -> None:
    """Make a file or a folder durable. fsync(2) there only reaches the drive, which may keep it in its cache."""
    try:
        fcntl.fcntl(descriptor, F_FULLFSYNC)
    except OSError as error:
        if error.errno not in _NO_FULL_FLUSH:
            raise
        os.fsync(descriptor)


class MacFileSystem(PosixFileSystem):
    """macOS's files, below one folder that exists."""

    def flush(self, descriptor: int) -> None:
        full_flush(descriptor)

    def _flush_folder(self, descriptor: int) -> None:
        full_flush(descriptor)

    def remote_kind(self) -> str | None:
        return parse_remote_kind(_statfs(self._root))


def parse_remote_kind(status: bytes) -> str | None:
    """The name of a file system that isn't on this machine (``smbfs``), from the bytes of a struct statfs."""
    if len(status) < _STATFS_BYTES or int.from_bytes(status[_FLAGS], sys.byteorder) & _MNT_LOCAL:
        return None
    return status[_TYPE_NAME].split(b"\0")[0].decode("ascii", "replace")


def _statfs(descriptor: int) -> bytes:
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None)
    # On Intel the plain name is the older structure's.
    fstatfs = getattr(libc, "fstatfs$INODE64", None) or libc.fstatfs
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    return buffer.raw if fstatfs(descriptor, buffer) == 0 else b""
