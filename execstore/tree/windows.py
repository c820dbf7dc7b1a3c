"""Files on Windows, where much is different.

- There are no descriptors of folders, so each path is taken from the top. A link on the way is looked for, not opened.
- Names stand under ``\\\\?\\``: longer ones than 260 letters are no trouble then, none is changed (``con``, ``a.``).
- Index entries are empty files always: making a link needs a right that most don't have.
- A file that another program has open can often be neither replaced nor removed. Most have it for a moment only (virus
  scanners, the search index), so that is tried again for a while.
- Folders can be flushed by those who may write to them on NTFS, and not at all elsewhere. NTFS keeps changes of names
  in order in its own log, which every flush of a file there writes out.
- Locks are ``LockFileEx``'s, of the first byte. A lock of one kind must be let go before another kind is taken.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import stat
import sys
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from execstore.tree.seam import sync_each, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PATIENCE_SECONDS", "System", "WindowsFileSystem", "extended_path"]

PATIENCE_SECONDS = 5.0
"""For how long a call is tried again that fails because another program has the file open."""

_SHORTEST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05
# Access denied (also what a file says that is about to be deleted), sharing violation, lock violation, delete pending
_IN_USE = frozenset({5, 32, 33, 303})
# What a folder's flush says where there is none: no such function, access denied, invalid handle, not supported
_NO_FOLDER_SYNC = frozenset({1, 5, 6, 50})
_LINK_TAGS = frozenset({0xA000000C, 0xA0000003})  # a symbolic link, a junction
_REPARSE_POINT = 0x400
_LONGEST_NAME = 255

_T = TypeVar("_T")


class System(Protocol):
    """What else is asked of Windows than ``os`` has."""

    def open(self, path: str, *, write: bool, create: bool = False, new: bool = False) -> int:
        """A descriptor on the file (or link) itself; others may do with it what they like."""

    def read_at(self, descriptor: int, length: int, offset: int) -> bytes: ...
    def write_at(self, descriptor: int, data: bytes, offset: int) -> int: ...
    def lock_shared(self, descriptor: int) -> bool:
        """Take a shared lock of the first byte if it can be had at once."""

    def flush_folder(self, path: str) -> None: ...
    def is_remote(self, path: str) -> bool: ...


def extended_path(path: str) -> str:
    """An absolute path in the form that is taken as it stands."""
    if path.startswith("\\\\?\\"):
        return path
    return f"\\\\?\\UNC\\{path[2:]}" if path.startswith("\\\\") else f"\\\\?\\{path}"


class WindowsFileSystem:
    """Windows' own files, below one folder that exists."""

    def __init__(self, root: str, system: System | None = None) -> None:
        from filelock import lock_descriptor, unlock_descriptor  # noqa: PLC0415 - see PosixFileSystem

        self._lock_descriptor, self._unlock_descriptor = lock_descriptor, unlock_descriptor
        self.root = root
        self._system = _own_system() if system is None else system
        self._absolute = os.path.abspath(root)
        self._base = extended_path(self._absolute) if os.sep == "\\" else self._absolute
        self._top: set[str] = set()  # folders at the top that were looked at; while a store is in use they stay
        self._is_exclusive: dict[int, bool] = {}  # by the descriptor of a lock that is held
        self.pread = self._system.read_at
        self.pwrite = self._system.write_at
        if not os.path.isdir(self._base):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)

    def dispose(self) -> None:
        """Nothing is kept open."""

    # --- the way to a name ---

    def _place(self, path: str) -> str:
        """The whole path, after a look at each folder on the way: none may be a link."""
        *folders, name = path.split("/") if path else [""]
        place = self._base
        for number, folder in enumerate(folders):
            place = f"{place}{os.sep}{folder}"
            if number or folder not in self._top:
                kind = _kind(place)
                if kind == "link":
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if kind == "folder" and not number:
                    self._top.add(folder)
        return f"{place}{os.sep}{name}" if name else place

    def _explained(self, error: OSError, path: str, place: str) -> OSError:
        """The same failure by the code that other systems give it."""
        if error.errno in {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOENT}:
            code = 0
            if _kind(place) == "folder":
                code = errno.EISDIR
            elif _kind(os.path.dirname(place)) not in {"folder", None}:
                code = errno.ENOTDIR
            if code:
                return OSError(code, os.strerror(code), path)
        error.filename = path
        return error

    def _patiently(self, path: str, place: str, call: Callable[[], _T]) -> _T:
        """Call it, again and again for a while if another program is in the way."""
        deadline = 0.0
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except OSError as error:
                explained = self._explained(error, path, place)
                if explained is not error or getattr(error, "winerror", None) not in _IN_USE:
                    raise explained from None
                now = time.monotonic()
                if not deadline:
                    deadline = now + PATIENCE_SECONDS
                    # It may be this very process: a store's files are closed with its last user, not by its `close`.
                    gc.collect()
                if now >= deadline:
                    raise OSError(
                        errno.EBUSY, f"another program has kept it open for {PATIENCE_SECONDS:g} s", path
                    ) from error
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _opened(self, path: str, *, write: bool, create: bool = False, new: bool = False) -> int:
        place = self._place(path)
        descriptor = self._patiently(path, place, lambda: self._system.open(place, write=write, create=create, new=new))
        status = os.fstat(descriptor)
        code = 0
        if getattr(status, "st_file_attributes", 0) & _REPARSE_POINT:
            code = errno.ELOOP
        elif not stat.S_ISREG(status.st_mode):
            code = errno.EINVAL
        if code:
            os.close(descriptor)
            raise OSError(code, os.strerror(code), path)
        return descriptor

    # --- reading ---

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        try:
            descriptor = self._opened(path, write=False)
        except FileNotFoundError:
            return None
        try:
            length = os.fstat(descriptor).st_size - offset
            if length > maximum:
                raise OSError(errno.EFBIG, f"larger than {maximum} bytes", path)
            data = b""
            while len(data) < length:
                more = self._system.read_at(descriptor, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(descriptor)

    def _status(self, path: str) -> os.stat_result | None:
        try:
            place = self._place(path)
            return os.lstat(place)
        except FileNotFoundError:
            if _kind(os.path.dirname(place)) not in {"folder", None}:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            return None

    def size(self, path: str) -> int | None:
        status = self._status(path)
        return None if status is None else status.st_size

    def stamp(self, path: str) -> tuple[int, ...] | None:
        status = self._status(path)
        return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def kind(self, path: str) -> str | None:
        status = self._status(path)
        return None if status is None else _kind_of(status)

    def link_target(self, path: str) -> str | None:
        status = self._status(path)
        if status is None or _kind_of(status) != "link":
            return None
        return os.readlink(self._place(path)).removeprefix("\\\\?\\").replace("\\", "/")

    def names(self, path: str) -> list[str]:
        place = self._place(path)
        if path and _kind(place) == "link":
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        try:
            return os.listdir(place)
        except FileNotFoundError:
            return []
        except OSError:
            if _kind(place) in {"file", "other"}:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            raise

    # --- changing names and whole files ---

    def create(self, path: str, data: bytes) -> None:
        descriptor = self._opened(path, write=True, new=True)
        try:
            if data:
                write_all(self, descriptor, data, 0)
        finally:
            os.close(descriptor)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        descriptor = self._opened(path, write=True, create=True)
        try:
            write_all(self, descriptor, data, offset)
            if truncate and os.fstat(descriptor).st_size > offset + len(data):
                os.ftruncate(descriptor, offset + len(data))
        finally:
            os.close(descriptor)

    def rename(self, source: str, path: str) -> None:
        old, new = self._place(source), self._place(path)
        self._patiently(path, new, lambda: os.replace(old, new))

    def link(self, path: str, target: str) -> None:  # noqa: ARG002 - an empty file leads nowhere
        self.create(path, b"")

    def remove(self, path: str) -> None:
        place = self._place(path)
        self._patiently(path, place, lambda: os.unlink(place))

    def make_folder(self, path: str) -> None:
        place = self._place(path)
        self._patiently(path, os.path.dirname(place) + os.sep + ".", lambda: os.mkdir(place, 0o700))

    def remove_folder(self, path: str) -> None:
        os.rmdir(self._place(path))

    # --- files that are kept open ---

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        return self._opened(path, write=write, create=create)

    def close(self, descriptor: int) -> None:
        self._is_exclusive.pop(descriptor, None)
        os.close(descriptor)

    truncate = staticmethod(os.ftruncate)

    def length(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    flush = staticmethod(os.fsync)

    def sync(self, paths: Iterable[str]) -> None:
        sync_each(self, paths)

    def write_back(self) -> None:
        """One file after the other would cost more than it spares."""

    def sync_folder(self, path: str) -> None:
        place = self._place(path)
        if _kind(place) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            self._system.flush_folder(place)
        except OSError as error:
            if getattr(error, "winerror", None) not in _NO_FOLDER_SYNC:
                raise

    # --- locks and the device ---

    def try_lock(self, descriptor: int) -> bool:
        if self._is_exclusive.get(descriptor) is True:
            return True
        self.unlock(descriptor)
        if not self._lock_descriptor(descriptor, blocking=False):
            return False
        self._is_exclusive[descriptor] = True
        return True

    def try_lock_shared(self, descriptor: int) -> bool:
        if self._is_exclusive.get(descriptor) is False:
            return True
        self.unlock(descriptor)
        if not self._system.lock_shared(descriptor):
            return False
        self._is_exclusive[descriptor] = False
        return True

    def unlock(self, descriptor: int) -> None:
        if self._is_exclusive.pop(descriptor, None) is not None:
            self._unlock_descriptor(descriptor)

    def lock_holder(self, descriptor: int) -> int | None:  # noqa: ARG002 - Windows doesn't tell
        return None

    def is_lock_shared(self, descriptor: int) -> bool:  # noqa: ARG002
        return False

    def free(self) -> tuple[int, int | None]:
        return shutil.disk_usage(self._base).free, None

    def remote_kind(self) -> str | None:
        return "a network drive" if self._system.is_remote(self._absolute) else None

    def longest_name_bytes(self) -> int:
        return _LONGEST_NAME


def _kind_of(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) in _LINK_TAGS:
        return "link"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return "file" if stat.S_ISREG(status.st_mode) else "other"


def _kind(place: str) -> str | None:
    with contextlib.suppress(OSError):
        return _kind_of(os.lstat(place))
    return None


def _own_system() -> System:
    if sys.platform == "win32":
        from execstore.tree.win32 import Win32  # noqa: PLC0415

        return Win32()
    raise OSError(errno.ENOSYS, "this is not Windows")
