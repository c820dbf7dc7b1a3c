"""The seam to the operating system: what the engine asks of a file system. Every system call of it goes through here.

Paths are relative to the store's folder and use ``/``. A path has at most three parts, and no part of it is ever
followed if it is a symbolic link. Errors are plain ``OSError``; what they mean for the store is decided by the callers.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FileSystem", "sync_each", "write_all"]

_WITHOUT_BYTES = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.EINVAL})


class FileSystem(Protocol):
    """What the engine asks of a file system. ``filesystem`` has the real one; tests bring simulated and faulty ones."""

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        """The file from ``offset`` on, ``None`` if there is none.

        ``OSError(EFBIG)`` if that is over ``maximum`` bytes, ``EINVAL`` if it isn't a regular file.
        """

    def size(self, path: str) -> int | None:
        """The file's size in bytes, ``None`` if there is none."""

    def stamp(self, path: str) -> tuple[int, ...] | None:
        """What is another one once the file, or the names in the folder, changed; ``None`` if there is nothing.

        Two changes within one tick of the system's clock may leave the same. An empty one: it can't be told.
        """

    def names(self, path: str) -> list[str]:
        """The names in a folder, unsorted; empty if there is no such folder."""

    def kind(self, path: str) -> str | None:
        """``"file"``, ``"folder"``, ``"link"``, ``"other"``, or ``None`` if there is nothing."""

    def link_target(self, path: str) -> str | None:
        """Where a symbolic link points to, ``None`` if there is no link. The target is never visited."""

    def create(self, path: str, data: bytes) -> None:
        """Make a new file of mode 0600 with these bytes. ``FileExistsError`` if the name is taken."""

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        """Write into a file at ``offset``, making it if it isn't there; ``truncate`` ends the file after the bytes."""

    def rename(self, source: str, path: str) -> None:
        """Give a file or link another name, replacing what has it."""

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, or an empty file where none can be had. ``FileExistsError`` if the name is taken."""

    def remove(self, path: str) -> None:
        """Remove a file or link. ``FileNotFoundError`` if there is none."""

    def make_folder(self, path: str) -> None:
        """Make a folder of mode 0700. ``FileExistsError`` if the name is taken."""

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder. ``OSError(ENOTEMPTY)`` if it isn't."""

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open a file that is kept open (journal, head, locks); a descriptor for the calls below."""

    def close(self, descriptor: int) -> None: ...
    def pread(self, descriptor: int, length: int, offset: int) -> bytes: ...
    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int: ...
    def flush(self, descriptor: int) -> None:
        """Make the file's bytes and size durable (fdatasync). A failure must never be retried by flushing again."""

    def truncate(self, descriptor: int, length: int) -> None: ...
    def length(self, descriptor: int) -> int: ...

    def sync(self, paths: Iterable[str]) -> None:
        """Make the tree durable: everything at once where that can be had, else each of these files and its folder."""

    def write_back(self) -> None:
        """The same without any promise, if one call makes everything durable; else nothing.

        ``OSError`` if something couldn't be written back. The system tells so only once, so nothing may be taken for
        durable then.
        """

    def sync_folder(self, path: str) -> None:
        """Make the names in one folder durable, as far as the system can."""

    def try_lock(self, descriptor: int) -> bool:
        """Take the exclusive lock of a file without waiting."""

    def try_lock_shared(self, descriptor: int) -> bool:
        """Take or go back to a shared lock of a file without waiting."""

    def unlock(self, descriptor: int) -> None: ...

    def lock_holder(self, descriptor: int) -> int | None:
        """The process that holds the exclusive lock of a file, ``None`` if that can't be told."""

    def is_lock_shared(self, descriptor: int) -> bool:
        """Whether some process is seen to hold the shared lock of a file; ``False`` where that can't be told."""

    def free(self) -> tuple[int, int | None]:
        """Free bytes, and free inodes (``None`` where they aren't limited)."""

    def remote_kind(self) -> str | None:
        """The name of a network file system whose locks can't be trusted, ``None`` on a local one."""

    def longest_name_bytes(self) -> int:
        """How long a name in a folder may be."""


def write_all(fs: FileSystem, descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data``; a write may be cut short by a signal or a nearly full disk."""
    written = fs.pwrite(descriptor, data, offset)
    while written < len(data):
        written += fs.pwrite(descriptor, data[written:], offset + written)


def sync_each(fs: FileSystem, paths: Iterable[str]) -> None:
    """Make each of these files and its folder durable, one after the other: `FileSystem.sync` without a syncfs(2)."""
    folders: set[str] = set()
    for path in paths:
        folders.add(path.rpartition("/")[0])
        try:
            descriptor = fs.open(path, write=True)
        except OSError as error:
            if error.errno not in _WITHOUT_BYTES:
                raise
            continue  # a link, a folder, or gone since: its folder tells all there is to keep
        try:
            fs.flush(descriptor)
        finally:
            fs.close(descriptor)
    # A folder's own name stands in the folder above it, so go all the way up.
    parents = {parent for folder in folders for parent in (folder.rpartition("/")[0], "") if folder}
    for folder in sorted(folders | parents):
        with contextlib.suppress(FileNotFoundError):
            fs.sync_folder(folder)
