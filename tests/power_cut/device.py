"""A block device's image that remembers: one file, in a FUSE file system of its own, that records what it is sent.

The file's bytes are those of an image given. Each write and each flush that arrives is applied and appended to a log,
in the order of arrival; how many there were is told to other processes through eight bytes of shared memory, so that
anybody can note at which moment something was known to be done. A flush may take a while, as on a slow disk.

This speaks the kernel's own protocol (``linux/fuse.h``, fuse(4)) on ``/dev/fuse``: for one file that is a dozen
requests, while a library would bring libfuse, its options and its threads into every machine that runs the test.

``python -m tests.power_cut.device FOLDER IMAGE LOG MOMENT [FLUSH_SECONDS]`` serves ``FOLDER/device`` until it is
unmounted or killed.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import stat
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FLUSH", "NAME", "Entry", "RecordingDevice", "moment_reader", "read_log"]

NAME = "device"
#: Stands in the log where a write's offset would.
FLUSH = -1
_LOG_HEADER = struct.Struct("<qI")  # offset, length

_LOOKUP, _FORGET, _GETATTR, _SETATTR = 1, 2, 3, 4
_OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC = 14, 15, 16, 17, 18, 20
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _DESTROY = 25, 26, 27, 28, 29, 36, 38
_BATCH_FORGET = 42
_UNANSWERED = {_FORGET, _BATCH_FORGET, _INTERRUPT}
_ANSWERED_EMPTY = {_FLUSH, _RELEASE, _RELEASEDIR, _READDIR, _SETATTR, _DESTROY}

_IN_HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, extension's length, padding
_OUT_HEADER = struct.Struct("<IiQ")  # length, error, unique
_INIT_OUT = struct.Struct(
    "<IIIIHHIIHHI28x"
)  # version, read-ahead, flags, background, most to write, granularity, pages
_IO_IN = struct.Struct("<QQIIQI4x")  # handle, offset, size, flags, lock owner, flags
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_VALID_SECONDS = 3600

_VERSION = (7, 31)
_ASYNC_READ, _BIG_WRITES, _ASYNC_DIRECT, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
_OPEN_DIRECT = 1  # no page cache in between: what a file system sends arrives, and nothing else
_MAX_WRITE = 1 << 20
_ROOT, _FILE = 1, 2


class Entry(NamedTuple):
    """A write, or a flush (``offset == FLUSH``, no bytes)."""

    offset: int
    data: bytes


def read_log(path: str) -> Iterator[Entry]:
    """What was recorded, in order."""
    with open(path, "rb") as file:
        while header := file.read(_LOG_HEADER.size):
            offset, length = _LOG_HEADER.unpack(header)
            yield Entry(offset, file.read(length))


def moment_reader(path: str) -> memoryview[int]:
    """Its item 0 is the number of entries in the log by now."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")


class RecordingDevice:
    """Serves one image as ``folder/device`` and records what comes.

    ``flush_seconds`` is what each flush takes; like a disk that empties its cache, it answers nothing else meanwhile.
    """

    def __init__(self, folder: str, image: str, log: str, moment: str, flush_seconds: float = 0.0) -> None:
        self._flush_seconds = flush_seconds
        with open(image, "r+b") as file:
            self._image = mmap.mmap(file.fileno(), 0)
        self._bytes = memoryview(self._image)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._moment = moment_reader(moment)
        self._connection = os.open("/dev/fuse", os.O_RDWR)
        _mount(self._connection, folder)

    def serve(self) -> None:
        """Answer until the file system is unmounted."""
        request = bytearray(_MAX_WRITE + 65536)
        view = memoryview(request)
        while True:
            try:
                length = os.readv(self._connection, [request])
            except OSError as error:
                if error.errno in {errno.EINTR, errno.ENOENT, errno.EAGAIN}:
                    continue
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise
            _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
            if opcode in _UNANSWERED:
                continue
            try:
                parts = self._answer(opcode, node, view[_IN_HEADER.size : length])
                code = 0
            except OSError as error:
                parts, code = [], error.errno or errno.EIO
            header = _OUT_HEADER.pack(_OUT_HEADER.size + sum(map(len, parts)), -code, unique)
            with suppress(FileNotFoundError):  # who asked was interrupted
                os.writev(self._connection, [header, *parts])

    def _answer(self, opcode: int, node: int, body: memoryview[int]) -> list[bytes | memoryview[int]]:
        if opcode == _WRITE:
            return [self._write(body)]
        if opcode == _FSYNC:
            time.sleep(self._flush_seconds)
            self._record(FLUSH, b"")
            return []
        if opcode == _READ:
            _, offset, size, *_ = _IO_IN.unpack_from(body)
            return [self._bytes[offset : offset + size]]
        if opcode == _LOOKUP:
            if bytes(body).rstrip(b"\0") != NAME.encode():
                raise FileNotFoundError(errno.ENOENT, "no such file")
            valid = struct.pack("<QQQQII", _FILE, 0, _VALID_SECONDS, _VALID_SECONDS, 0, 0)
            return [valid + self._attributes(_FILE)]
        if opcode == _GETATTR:
            return [struct.pack("<QII", _VALID_SECONDS, 0, 0) + self._attributes(node)]
        if opcode in {_OPEN, _OPENDIR}:
            return [struct.pack("<QII", 0, _OPEN_DIRECT if opcode == _OPEN else 0, 0)]
        if opcode == _INIT:
            flags = struct.unpack_from("<IIII", body)[3]
            flags &= _ASYNC_READ | _BIG_WRITES | _ASYNC_DIRECT | _MAX_PAGES
            pages = _MAX_WRITE // mmap.PAGESIZE
            return [_INIT_OUT.pack(*_VERSION, 65536, flags, 64, 48, _MAX_WRITE, 1, pages, 0, 0)]
        if opcode == _STATFS:
            return [struct.pack("<QQQQQIIII24x", 0, 0, 0, 2, 0, mmap.PAGESIZE, 255, mmap.PAGESIZE, 0)]
        if opcode in _ANSWERED_EMPTY:
            return []
        # Among them fallocate: a disk that can't discard.
        raise OSError(errno.ENOSYS, "not needed")

    def _write(self, body: memoryview[int]) -> bytes:
        _, offset, size, *_ = _IO_IN.unpack_from(body)
        data = body[_IO_IN.size : _IO_IN.size + size]
        self._bytes[offset : offset + size] = data
        self._record(offset, data)
        return struct.pack("<II", size, 0)

    def _record(self, offset: int, data: bytes | memoryview[int]) -> None:
        """Before the answer: what was answered has a moment of its own."""
        parts = [_LOG_HEADER.pack(offset, len(data)), data]
        if os.writev(self._log, parts) != sum(map(len, parts)):
            raise OSError(errno.ENOSPC, "no room to record a write")
        self._moment[0] += 1

    def _attributes(self, node: int) -> bytes:
        size = len(self._image) if node == _FILE else 0
        mode = stat.S_IFREG | 0o600 if node == _FILE else stat.S_IFDIR | 0o700
        return _ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _mount(connection: int, folder: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={connection},rootmode=40000,user_id=0,group_id=0,max_read={_MAX_WRITE}"
    if libc.mount(b"execstore-power-cut", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), folder)


def die_with_parent() -> None:
    """What is left of a test that was killed must not hold a mount."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(folder: str, image: str, log: str, moment: str, flush_seconds: str = "0") -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the test, which then unmounts
    device = RecordingDevice(folder, image, log, moment, float(flush_seconds))
    print("serving", flush=True)
    device.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
