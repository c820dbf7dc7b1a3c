"""The calls of Windows that Python's ``os`` doesn't have, or not in the way that is needed here."""

# ruff: noqa: E402 - mypy reads no further on another system
from __future__ import annotations

import sys

assert sys.platform == "win32"  # noqa: S101

import ctypes
import msvcrt
import os
from ctypes import wintypes

__all__ = ["Win32"]

_GENERIC_READ = 0x80000000
_GENERIC_WRITE = 0x40000000
_SHARE_ALL = 0x1 | 0x2 | 0x4  # for reading, for writing, and for renaming and deleting
_CREATE_NEW, _OPEN_EXISTING, _OPEN_ALWAYS = 1, 3, 4
_FLAG_BACKUP_SEMANTICS = 0x02000000  # opens folders, too
_FLAG_OPEN_REPARSE_POINT = 0x00200000  # opens a link itself
_INVALID_HANDLE = ctypes.c_void_p(-1).value
_ERROR_HANDLE_EOF = 38
_ERROR_LOCK_VIOLATION = 33
_LOCKFILE_FAIL_IMMEDIATELY = 0x1
_DRIVE_REMOTE = 4


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("Internal", ctypes.c_size_t),
        ("InternalHigh", ctypes.c_size_t),
        ("Offset", wintypes.DWORD),
        ("OffsetHigh", wintypes.DWORD),
        ("hEvent", wintypes.HANDLE),
    )

    def __init__(self, offset: int = 0) -> None:
        super().__init__(0, 0, offset & 0xFFFFFFFF, offset >> 32, None)


_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateFileW.restype = wintypes.HANDLE
_kernel.CreateFileW.argtypes = (
    wintypes.LPCWSTR,
    wintypes.DWORD,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    wintypes.DWORD,
    wintypes.HANDLE,
)
_BUFFER_CALL = (
    wintypes.HANDLE,
    ctypes.c_char_p,
    wintypes.DWORD,
    ctypes.POINTER(wintypes.DWORD),
    ctypes.POINTER(_Overlapped),
)
_kernel.ReadFile.argtypes = _BUFFER_CALL
_kernel.WriteFile.argtypes = _BUFFER_CALL
_kernel.LockFileEx.argtypes = (
    wintypes.HANDLE,
    wintypes.DWORD,
    wintypes.DWORD,
    wintypes.DWORD,
    wintypes.DWORD,
    ctypes.POINTER(_Overlapped),
)
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
_kernel.FlushFileBuffers.argtypes = (wintypes.HANDLE,)


def _failure(path: str | None = None) -> OSError:
    code = ctypes.get_last_error()
    return OSError(0, ctypes.FormatError(code).strip(), path, code)


class Win32:
    """`execstore.tree.windows.System`, as it is."""

    def open(self, path: str, *, write: bool, create: bool = False, new: bool = False) -> int:
        # os.open lets nobody rename or delete the file meanwhile, and follows links.
        handle = _kernel.CreateFileW(
            path,
            _GENERIC_READ | _GENERIC_WRITE if write else _GENERIC_READ,
            _SHARE_ALL,
            None,  # no child inherits it
            _CREATE_NEW if new else _OPEN_ALWAYS if create else _OPEN_EXISTING,
            _FLAG_OPEN_REPARSE_POINT,
            None,
        )
        if handle == _INVALID_HANDLE:
            raise _failure(path)
        return msvcrt.open_osfhandle(handle, os.O_NOINHERIT | os.O_BINARY | (os.O_RDWR if write else os.O_RDONLY))

    def read_at(self, descriptor: int, length: int, offset: int) -> bytes:
        # os.lseek and os.read would be two calls, and other threads use the same descriptor.
        buffer = ctypes.create_string_buffer(length)
        done = wintypes.DWORD()
        place = _Overlapped(offset)
        handle = msvcrt.get_osfhandle(descriptor)
        if not _kernel.ReadFile(handle, buffer, length, ctypes.byref(done), ctypes.byref(place)):
            if ctypes.get_last_error() == _ERROR_HANDLE_EOF:
                return b""
            raise _failure()
        return buffer.raw[: done.value]

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        done = wintypes.DWORD()
        place = _Overlapped(offset)
        handle = msvcrt.get_osfhandle(descriptor)
        if not _kernel.WriteFile(handle, data, len(data), ctypes.byref(done), ctypes.byref(place)):
            raise _failure()
        return done.value

    def lock_shared(self, descriptor: int) -> bool:
        # The byte that filelock locks, so that the two exclude each other.
        place = _Overlapped()
        handle = msvcrt.get_osfhandle(descriptor)
        if _kernel.LockFileEx(handle, _LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, ctypes.byref(place)):
            return True
        if ctypes.get_last_error() == _ERROR_LOCK_VIOLATION:
            return False
        raise _failure()

    def flush_folder(self, path: str) -> None:
        handle = _kernel.CreateFileW(
            path, _GENERIC_READ | _GENERIC_WRITE, _SHARE_ALL, None, _OPEN_EXISTING, _FLAG_BACKUP_SEMANTICS, None
        )
        if handle == _INVALID_HANDLE:
            raise _failure(path)
        try:
            if not _kernel.FlushFileBuffers(handle):
                raise _failure(path)
        finally:
            _kernel.CloseHandle(handle)

    def is_remote(self, path: str) -> bool:
        drive = os.path.splitdrive(path)[0]
        return drive.startswith("\\\\") or _kernel.GetDriveTypeW(f"{drive}\\") == _DRIVE_REMOTE
