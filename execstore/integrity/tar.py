"""Tar archives as a stream, and no more of the format than a backup needs.

Writing is ``tarfile``'s headers. Reading takes files and symbolic links, with long names (pax ``path`` and
``linkpath``), and refuses all else. It is done here, and not by ``tarfile``, since that reads what a header calls an
extended header into memory however large it is, and skips over what it can't read.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import re
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from execstore.errors import InvalidArgumentError, SourceDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Member", "Readable", "TarReader", "TarWriter", "Writable", "compressed", "decompressed"]

_BLOCK: Final = 512
_ARCHIVE_BLOCK: Final = 10240  # what tar programs fill an archive up to
_CHUNK: Final = 1 << 20
_LONGEST_EXTENDED_HEADER: Final = 4096
_LONGEST_END: Final = 1 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

_EXTENDED: Final = re.compile(rb"([0-9]{1,5}) (path|linkpath)=([^\n\0]*)\n")
_KINDS: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Readable(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object: ...


class Member(NamedTuple):
    """A file of ``size`` bytes, or a symbolic link that leads to ``target`` (``None``: a file)."""

    name: str
    size: int
    target: str | None


# --- compression ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def compressed(stream: BinaryIO, name: str) -> Iterator[Writable]:
    """What to write to, so that ``stream`` gets it as the suffix of ``name`` says: .tar.gz, .tgz, .tar.zst, .tzst.

    Raises ``InvalidArgumentError`` where this Python has no zstd.
    """
    if name.endswith((".gz", ".tgz")):
        # Without the name and the time, the same backup is the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=6, mtime=0) as packed:
            yield packed
    elif name.endswith((".zst", ".tzst")):
        with _zstd("destination").ZstdFile(stream, "wb") as packed:
            yield packed
    else:
        yield stream


@contextlib.contextmanager
def decompressed(stream: BinaryIO) -> Iterator[Readable]:
    """What to read the archive from, whose first bytes tell how it is compressed.

    Raises ``InvalidArgumentError`` where this Python has no zstd.
    """
    buffered = io.BufferedReader(_Raw(stream), _CHUNK)
    magic = buffered.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        with gzip.GzipFile(fileobj=buffered, mode="rb") as unpacked:
            yield unpacked
    elif magic == _ZSTD_MAGIC:
        with _zstd("archive").ZstdFile(buffered, "rb") as unpacked:
            yield unpacked
    else:
        yield buffered


class _Raw(io.RawIOBase):
    """Any object with ``read``, as what a buffered reader wants. It doesn't close the object."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _zstd(argument: str) -> Any:
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        raise InvalidArgumentError(argument, "zstd needs Python 3.14; take .tar.gz, or the zstd program") from None


# --- writing --------------------------------------------------------------------------------------------------------


class TarWriter:
    """Writes members one after the other; `finish` ends the archive."""

    def __init__(self, stream: Writable, time_ns: int) -> None:
        self._stream = stream
        self._seconds = time_ns // 1_000_000_000
        self._written = 0

    def add_file(self, name: str, data: bytes) -> None:
        """A file with these bytes, for its owner alone to read."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o600, self._seconds
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8"))
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))

    def add_link(self, name: str, target: str) -> None:
        """A symbolic link."""
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode, info.mtime = tarfile.SYMTYPE, target, 0o777, self._seconds
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8"))

    def finish(self) -> None:
        """Write the end."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self._written % _ARCHIVE_BLOCK))

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self._stream.write(data)


# --- reading --------------------------------------------------------------------------------------------------------


class TarReader:
    """Reads members one after the other. Every error is a ``SourceDamagedError`` that names the member."""

    def __init__(self, stream: Readable, path: str) -> None:
        self._stream = stream
        self._path = path
        self._name = ""
        self._unread = 0
        self._padding = 0

    def next(self) -> Member | None:
        """The next member, ``None`` at the archive's end. The one before must have been read whole."""
        header = self._take(self._padding + _BLOCK)[self._padding :]
        self._padding = 0
        if not any(header):
            self._read_end()
            return None
        info = self._parse(header)
        extended: dict[str, str] = {}
        if info.type == tarfile.XHDTYPE:
            extended = self._read_extended(info)
            info = self._parse(self._take(_BLOCK))
        self._name = extended.get("path", info.name)
        target = extended.get("linkpath", info.linkname) if info.type == tarfile.SYMTYPE else None
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE}:
            raise self.damage(f"it is {_KINDS.get(info.type, 'something')} that no backup holds")
        if info.size < 0 or (target is not None and info.size):
            raise self.damage("its size makes no sense")
        self._unread, self._padding = info.size, -info.size % _BLOCK
        return Member(self._name, info.size, target)

    def read(self) -> bytes:
        """The bytes of the file that `next` gave. Its size was looked at before."""
        size, self._unread = self._unread, 0
        return self._take(size)

    def damage(self, reason: str) -> SourceDamagedError:
        """The error that names the member that `next` gave."""
        return SourceDamagedError(self._path, self._name, reason)

    def _parse(self, header: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            place = f"behind {self._name}" if self._name else "its beginning"
            raise SourceDamagedError(self._path, place, f"it is no tar archive, or damaged there: {error}") from None

    def _read_extended(self, info: tarfile.TarInfo) -> dict[str, str]:
        self._name = info.name
        if not 0 <= info.size <= _LONGEST_EXTENDED_HEADER:
            raise self.damage(f"its extended header is of {info.size} bytes")
        data = self._take(info.size + -info.size % _BLOCK)[: info.size]
        found: dict[str, str] = {}
        position = 0
        while position < len(data):
            match = _EXTENDED.match(data, position)
            if match is None or int(match[1]) != len(match[0]):
                raise self.damage("its extended header holds something that no backup does")
            found[match[2].decode()] = match[3].decode("utf-8", "surrogateescape")
            position = match.end()
        return found

    def _take(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = self._read_some(min(size, _CHUNK))
            if not part:
                place = self._name or "its beginning"
                raise SourceDamagedError(self._path, place, "the archive ends here: it was cut off, or is no backup")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_some(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._bad_compression(error) from None
        except Exception as error:
            # Python has no zstd before 3.14, so its error can't be named here.
            if type(error).__name__ != "ZstdError":
                raise
            raise self._bad_compression(error) from None

    def _bad_compression(self, error: Exception) -> SourceDamagedError:
        place = f"behind {self._name}" if self._name else "its beginning"
        return SourceDamagedError(self._path, place, f"it can't be decompressed: {error}")

    def _read_end(self) -> None:
        """Read what an archive is filled up with, which also makes gzip look at its checksum."""
        left = _LONGEST_END
        while part := self._read_some(_ARCHIVE_BLOCK):
            left -= len(part)
            if any(part) or left < 0:
                raise SourceDamagedError(self._path, "its end", "something stands behind the archive's end")
