"""The seam to the operating system: every system call of the engine goes through one object.

Paths are relative to the store's folder and use ``/``. A path has at most three parts, and no part of it is ever
followed if it is a symbolic link: each folder on the way is opened by its own name with ``O_NOFOLLOW``.
Errors are plain ``OSError``; what they mean for the store is decided by the callers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FileSystem", "RealFileSystem", "parse_lock_holder", "sync_each", "write_all"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# File systems on which syncfs(2) is known to write back and flush everything, and (since Linux 5.8) to report errors.
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

_WITHOUT_BYTES = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.EINVAL})


class FileSystem(Protocol):
    """What the engine asks of a file system. The real one is below; tests bring simulated and faulty ones."""

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        """The file from ``offset`` on, ``None`` if there is none.

        ``OSError(EFBIG)`` if that is over ``maximum`` bytes, ``EINVAL`` if it isn't a regular file.
        """

    def size(self, path: str) -> int | None:
        """The file's size in bytes, ``None`` if there is none."""

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
        """Make a symbolic link. ``FileExistsError`` if the name is taken."""

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

    def sync_folder(self, path: str) -> None:
        """Make the names in one folder durable."""

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


class RealFileSystem:
    """The operating system's own files, below one folder that exists."""

    def __init__(self, root: str) -> None:
        # A third of the time that importing execstore would take otherwise, and needed by those who open a store only.
        from filelock import lock_descriptor, unlock_descriptor  # noqa: PLC0415

        self._lock_descriptor, self._unlock_descriptor = lock_descriptor, unlock_descriptor
        self.root = root
        # The store's own folder may be reached through a link: the caller named it. Nothing below may.
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Only folders that are never removed while a store is in use are kept open: those at the top.
        self._top: dict[str, int] = {"": self._root}
        self._lost: list[int] = []  # may still be in use by another thread, so closed only at the end
        self._magic: int | None = None

    def dispose(self) -> None:
        """Close every descriptor that this object keeps."""
        descriptors = [*self._top.values(), *self._lost]
        self._top, self._lost = {}, []
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
        old_folder, _, old_name = source.rpartition("/")
        new_folder, _, new_name = path.rpartition("/")
        old_parent, old_transient = self._folder(old_folder)
        try:
            if new_folder == old_folder:
                os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=old_parent)
                return
            new_parent, new_transient = self._folder(new_folder)
            try:
                os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
            finally:
                if new_transient >= 0:
                    os.close(new_transient)
        finally:
            if old_transient >= 0:
                os.close(old_transient)

    def link(self, path: str, target: str) -> None:
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        try:
            os.symlink(target, name, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)

    def remove(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        parent, transient = self._folder(folder)
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            if transient >= 0:
                os.close(transient)

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

    if sys.platform == "darwin":

        def flush(self, descriptor: int) -> None:
            # fsync on macOS only reaches the drive's cache; F_FULLFSYNC empties that as well.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        flush = staticmethod(os.fdatasync)

    def sync(self, paths: Iterable[str]) -> None:
        if sys.platform == "linux" and self._magic_number() in _SYNCFS_MAGIC:
            import ctypes  # noqa: PLC0415 - dear to import, and only who fills a journal needs it

            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(self._root) == 0:
                return
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self.root)
        sync_each(self, paths)

    def sync_folder(self, path: str) -> None:
        descriptor, transient = self._folder(path)
        try:
            os.fsync(descriptor)
        finally:
            if transient >= 0:
                os.close(transient)

    # --- locks and the device ---

    def try_lock(self, descriptor: int) -> bool:
        return self._lock_descriptor(descriptor, blocking=False)

    def try_lock_shared(self, descriptor: int) -> bool:
        # filelock has no shared lock on a descriptor; flock(2) is the same lock that its exclusive one takes.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, descriptor: int) -> None:
        self._unlock_descriptor(descriptor)

    def lock_holder(self, descriptor: int) -> int | None:
        return self._holder_of(descriptor, "WRITE")

    def is_lock_shared(self, descriptor: int) -> bool:
        return self._holder_of(descriptor, "READ") is not None

    @staticmethod
    def _holder_of(descriptor: int, kind: str) -> int | None:
        status = os.fstat(descriptor)
        major, minor = os.major(status.st_dev), os.minor(status.st_dev)
        # The list is read page by page, and what others lock or unlock meanwhile may shift a line out of sight.
        for _ in range(_LOOKS_AT_LOCKS):
            try:
                with open("/proc/locks", encoding="ascii") as file:
                    text = file.read()
            except OSError:  # not Linux, or no /proc
                return None
            holder = parse_lock_holder(text, major, minor, status.st_ino, kind)
            if holder is not None:
                return holder
        return None

    def free(self) -> tuple[int, int | None]:
        status = os.fstatvfs(self._root)
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None

    def remote_kind(self) -> str | None:
        return _REMOTE_MAGIC.get(self._magic_number())

    def _magic_number(self) -> int:
        if self._magic is None:
            self._magic = _statfs_magic(self._root) if sys.platform == "linux" else 0
        return self._magic


def parse_lock_holder(text: str, major: int, minor: int, inode: int, kind: str = "WRITE") -> int | None:
    """A holder of a file's exclusive flock (or, ``"READ"``, its shared one) in ``/proc/locks`` (proc_locks(5)).

    Some file systems (btrfs, overlayfs) show another device there than stat(2) does, so the inode alone will do if
    nothing fits better.
    """
    found: int | None = None
    for line in text.splitlines():
        match line.split():
            case [_, "FLOCK", _, access, pid, place, *_] if access == kind and pid.isdigit() and int(pid) > 0:
                device, _, number = place.rpartition(":")
                if number == str(inode):
                    if device == f"{major:02x}:{minor:02x}":
                        return int(pid)
                    found = int(pid)
    return found


def _statfs_magic(descriptor: int) -> int:
    """The file system's type number: ``f_type``, the first long of struct statfs (os.statvfs leaves it out)."""
    import ctypes  # noqa: PLC0415

    buffer = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fstatfs(descriptor, buffer) != 0:
        return 0
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF
