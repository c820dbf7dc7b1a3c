"""Files on systems that keep to POSIX: what Linux and macOS have in common.

Each folder on the way to a name is opened by its own name with ``O_NOFOLLOW``, so no link is ever followed.
"""

# ruff: noqa: E402 - mypy reads no further on another system
from __future__ import annotations

import sys

assert sys.platform != "win32"  # noqa: S101

import contextlib
import errno
import fcntl
import os
import stat
from functools import cached_property
from typing import TYPE_CHECKING

from execstore.tree.seam import sync_each, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PosixFileSystem"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_KEPT_FOLDERS = 8  # those of the commonest states, and of the jobs at hand

# What a file system says that has no symbolic links, and one that can't flush a folder.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


class PosixFileSystem:
    """The operating system's own files, below one folder that exists."""

    def __init__(self, root: str) -> None:
        self.root = root
        # The store's own folder may be reached through a link: the caller named it. Nothing below may.
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Only folders that are never removed while a store is in use are kept open: those at the top.
        self._top: dict[str, int] = {"": self._root}
        self._kept: dict[str, int] = {}  # see _in_folder_of; the one used longest ago first
        self._lost: list[int] = []  # may still be in use by another thread, so closed only at the end

    def dispose(self) -> None:
        """Close every descriptor that this object keeps."""
        descriptors = [*self._top.values(), *self._kept.values(), *self._lost]
        self._top, self._kept, self._lost = {}, {}, []
        for descriptor in descriptors:
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def __del__(self) -> None:
        # A thread may read while another closes the store: descriptors go with the last user, not before, lest a
        # number be given to another file under a reader's hands.
        if hasattr(self, "_lost"):
            self.dispose()

    # --- the way to a name ---

    def _top_folder(self, name: str) -> int:
        descriptor = self._top.get(name)
        if descriptor is None:
            descriptor = os.open(name, _FOLDER, dir_fd=self._root)
            known = self._top.setdefault(name, descriptor)
            if known is not descriptor:  # another thread was first
                os.close(descriptor)
                descriptor = known
        return descriptor

    def _folder(self, path: str) -> tuple[int, int]:
        """A folder's descriptor, and the same again if it must be closed after use, else -1."""
        top, separator, below = path.partition("/")
        descriptor = self._top_folder(top)
        if not separator:
            return descriptor, -1
        descriptor = os.open(below, _FOLDER, dir_fd=descriptor)
        return descriptor, descriptor

    def _in_folder_of(self, path: str, act: Callable[[str, int], None]) -> None:
        """Call ``act`` with an index entry's name and the descriptor of its folder, which is kept for the next entry.

        A folder that is kept may have been removed, and made anew under its name, meanwhile. Then nothing is found in
        it and nothing can be made in it, so ``act`` is called again with the one that is there now.
        """
        folder, _, name = path.rpartition("/")
        if "/" not in folder:
            act(name, self._top_folder(folder))
            return
        # While it is used nobody else finds it, so nobody closes it.
        descriptor = self._kept.pop(folder, -1)
        if descriptor >= 0:
            try:
                act(name, descriptor)
            except FileNotFoundError:
                os.close(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                self._keep(folder, descriptor)
                return
        descriptor = self._folder(folder)[0]
        try:
            act(name, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._keep(folder, descriptor)

    def _keep(self, folder: str, descriptor: int) -> None:
        if self._kept.setdefault(folder, descriptor) != descriptor:  # another thread was first
            os.close(descriptor)
        for name in list(self._kept)[:-_KEPT_FOLDERS]:
            oldest = self._kept.pop(name, -1)
            if oldest >= 0:
                os.close(oldest)

    # --- reading ---

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        folder, _, name = path.rpartition("/")
        try:
            parent, transient = self._folder(folder)
            try:
                descriptor = os.open(name, _READ, dir_fd=parent)
            finally:
                if transient >= 0:
                    os.close(transient)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            length = status.st_size - offset
            if length > maximum:
                raise OSError(errno.EFBIG, f"larger than {maximum} bytes", path)
            if length <= 0:
                return b""
            data = os.pread(descriptor, length, offset)
            while len(data) < length:
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(descriptor)

    def _status(self, path: str) -> os.stat_result | None:
        folder, _, name = path.rpartition("/")
        try:
            parent, transient = self._folder(folder)
            try:
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
            finally:
                if transient >= 0:
                    os.close(transient)
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        status = self._status(path)
        return None if status is None else status.st_size

    def kind(self, path: str) -> str | None:
        status = self._status(path)
        if status is None:
            return None
        if stat.S_ISREG(status.st_mode):
            return "file"
        if stat.S_ISDIR(status.st_mode):
            return "folder"
        return "link" if stat.S_ISLNK(status.st_mode) else "other"

    def link_target(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        try:
            parent, transient = self._folder(folder)
            try:
                return os.readlink(name, dir_fd=parent)
            finally:
                if transient >= 0:
                    os.close(transient)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:  # something, but no link
                return None
            raise

    def stamp(self, path: str) -> tuple[int, ...] | None:
        status = self._status(path)
        return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def names(self, path: str) -> list[str]:
        try:
            descriptor, transient = self._folder(path)
        except FileNotFoundError:
            return []
        try:
            if transient < 0:
                # A kept descriptor has one position for all threads, so two listings at once would share the names out.
                descriptor = transient = os.open(".", _FOLDER, dir_fd=descriptor)
            return os.listdir(descriptor)
        finally:
            if transient >= 0:
                os.close(transient)

    # --- changing names and whole files ---

    def create(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        try:
            descriptor = os.open(name, _CREATE, 0o600, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
        finally:
            os.close(descriptor)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        try:
            # A pipe or the like in its place fails at the write.
            descriptor = os.open(name, _WRITE | os.O_CREAT, 0o600, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)
        try:
            write_all(self, descriptor, data, offset)
            if truncate and os.fstat(descriptor).st_size > offset + len(data):
                os.ftruncate(descriptor, offset + len(data))
        finally:
            os.close(descriptor)

    def rename(self, source: str, path: str) -> None:
        def from_there(old_name: str, old_parent: int) -> None:
            def to_here(new_name: str, new_parent: int) -> None:
                os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)

            self._in_folder_of(path, to_here)

        self._in_folder_of(source, from_there)

    def link(self, path: str, target: str) -> None:
        def make(name: str, parent: int) -> None:
            try:
                os.symlink(target, name, dir_fd=parent)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # FAT and exFAT have none, as other file systems under FUSE may not. (If it is the folder that may not
                # be written to, this fails in the same way.)
                os.close(os.open(name, _CREATE, 0o600, dir_fd=parent))

        self._in_folder_of(path, make)

    def remove(self, path: str) -> None:
        self._in_folder_of(path, lambda name, parent: os.unlink(name, dir_fd=parent))

    def make_folder(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        if not folder:
            # The folder was missing: what is kept open under its name, if anything, was removed by somebody.
            self._lost.append(self._top.pop(name, -1))
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)

    def remove_folder(self, path: str) -> None:
        kept = self._kept.pop(path, -1)
        if kept >= 0:
            os.close(kept)
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        try:
            os.rmdir(name, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)

    # --- files that are kept open ---

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        folder, _, name = path.rpartition("/")
        flags = _WRITE if write else _READ
        parent, transient = self._folder(folder)
        try:
            descriptor = os.open(name, flags | os.O_CREAT if create else flags, 0o600, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return descriptor

    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    truncate = staticmethod(os.ftruncate)

    def length(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def flush(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync(self, paths: Iterable[str]) -> None:
        sync_each(self, paths)

    def write_back(self) -> None:
        """One file after the other would cost more than it spares."""

    def sync_folder(self, path: str) -> None:
        descriptor, transient = self._folder(path)
        try:
            self._flush_folder(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
            self._sync_without_folders()
        finally:
            if transient >= 0:
                os.close(transient)

    def _flush_folder(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def _sync_without_folders(self) -> None:
        """What can be done where folders can't be flushed."""

    # --- locks and the device ---

    @cached_property
    def _filelock(self) -> tuple[Callable[..., bool], Callable[[int], None]]:
        # A tenth of the time that a command takes which only reads, and so needs no lock.
        from filelock import lock_descriptor, unlock_descriptor  # noqa: PLC0415

        return lock_descriptor, unlock_descriptor

    def try_lock(self, descriptor: int) -> bool:
        return self._filelock[0](descriptor, blocking=False)

    def try_lock_shared(self, descriptor: int) -> bool:
        # filelock has no shared lock on a descriptor; flock(2) is the same lock that its exclusive one takes.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, descriptor: int) -> None:
        self._filelock[1](descriptor)

    def lock_holder(self, descriptor: int) -> int | None:  # noqa: ARG002 - POSIX doesn't tell
        return None

    def is_lock_shared(self, descriptor: int) -> bool:  # noqa: ARG002
        return False

    def free(self) -> tuple[int, int | None]:
        status = os.fstatvfs(self._root)
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None

    def remote_kind(self) -> str | None:
        return None

    def longest_name_bytes(self) -> int:
        return os.fstatvfs(self._root).f_namemax
