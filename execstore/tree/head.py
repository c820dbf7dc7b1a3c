"""The head: one small file that says which transaction the tree shows, and what must not cost a walk.

Invariants:

- ``begun`` is written before the first file of a transaction changes, ``published`` after the last one did. Where the
  two are equal, the tree is exactly that transaction's outcome; a reader that saw the same first line before and
  after, with the two equal, read one moment.
- The head is only ever written by the holder of the change lock. It is never flushed but at a clean end: after a power
  cut it is rebuilt from the newest record of the journal, which holds the same values.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from execstore import codec
from execstore.tree.filesystem import write_all
from execstore.tree.names import HEAD_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.tree.filesystem import FileSystem

__all__ = ["FIRST_LINE_BYTES", "Head", "HeadFile", "encode_head", "is_settled", "parse_head"]

FIRST_LINE_BYTES = 88

_PATTERN = re.compile(rb"begun ([0-9]{20}) published ([0-9]{20}) bytes ([0-9]{8}) crc32 ([0-9a-f]{8})\n")
_CHECKSUM = re.compile(r"[0-9a-f]{8}")
_LARGEST_FILE = 1 << 62  # what lies behind this no file system holds, and no call to the system takes
_BLOCK = 512  # the file is filled up to a multiple of this, so that a shorter head leaves nothing of a longer one


_NO_VALUES: Final[Mapping[str, Any]] = {}


class Head(NamedTuple):
    """What the head file says.

    ``journal``, ``epoch`` and ``offset`` are the place right behind the record of ``published``: the next record goes
    there, and names that record's ``checksum``. ``clean``: the tree holds durably all there is. ``retired``: so much is
    known of all records of the epochs up to this one, at least. ``values`` belong to the layers above.
    """

    begun: int
    published: int
    journal: int
    epoch: int
    offset: int
    checksum: int
    clean: bool
    values: Mapping[str, Any] = _NO_VALUES
    retired: int = 0


def encode_head(head: Head) -> bytes:
    """The bytes of the head file: a line of fixed length, then JSON in one line."""
    return _with_first_line(head, _body(head))


def _body(head: Head) -> bytes:
    members = {
        "journal": head.journal,
        "epoch": head.epoch,
        "offset": head.offset,
        "checksum": f"{head.checksum:08x}",
        "clean": head.clean,
        "retired": head.retired,
        "values": head.values,
    }
    return codec.encode_trusted(members) + b"\n"


def _with_first_line(head: Head, body: bytes) -> bytes:
    prefix = b"begun %020d published %020d bytes %08d" % (head.begun, head.published, len(body))
    return b"%b crc32 %08x\n%b" % (prefix, zlib.crc32(body, zlib.crc32(prefix)), body)


def parse_head(data: bytes) -> Head | None:
    """The inverse; ``None`` if the bytes are torn, damaged, or were read while they were written."""
    match = _PATTERN.match(data)
    if match is None:
        return None
    body = data[match.end() : match.end() + int(match[3])]
    prefix = data[: match.start(4) - len(b" crc32 ")]
    if len(body) != int(match[3]) or zlib.crc32(body, zlib.crc32(prefix)) != int(match[4], 16):
        return None
    try:
        members = codec.decode(body)
    except codec.CodecError:
        return None
    match members:
        case {
            "journal": 0 | 1 as journal,
            "epoch": int(epoch),
            "offset": int(offset),
            "checksum": str(checksum),
            "clean": bool(clean),
            "retired": int(retired),
            "values": dict(values),
        } if type(journal) is int and epoch >= 0 and 0 <= offset < _LARGEST_FILE and _CHECKSUM.fullmatch(checksum):
            return Head(
                begun=int(match[1]),
                published=int(match[2]),
                journal=journal,
                epoch=int(epoch),
                offset=int(offset),
                checksum=int(checksum, 16),
                clean=clean,
                values=values,
                retired=int(retired),
            )
    return None


def _has_the_body_of(head: Head, other: Head) -> bool:
    return head[2:] == other[2:]  # all but the numbers of the first line


def is_settled(first_line: bytes) -> bool:
    """Whether the tree is one transaction's outcome: ``begun`` equals ``published``."""
    return len(first_line) >= FIRST_LINE_BYTES and first_line[6:26] == first_line[37:57]


class HeadFile:
    """The head file, kept open."""

    _descriptor = -1  # what is closed in the end even if it could never be opened

    def __init__(self, fs: FileSystem, *, write: bool) -> None:
        self._fs = fs
        self._descriptor = fs.open(HEAD_PATH, write=write)
        self._known: tuple[bytes, Head] | None = None
        self._body: tuple[Head, bytes] | None = None  # of the head written last: the next is often but begun

    @staticmethod
    def make(fs: FileSystem, head: Head) -> None:
        if fs.kind(HEAD_PATH) is not None:
            fs.remove(HEAD_PATH)
        fs.create(HEAD_PATH, encode_head(head))

    def close(self) -> None:
        if self._descriptor >= 0:
            self._fs.close(self._descriptor)
            self._descriptor = -1

    __del__ = close  # see RealFileSystem.__del__

    def first_line(self) -> bytes:
        """What tells one moment of the tree from another; cheap."""
        return self._fs.pread(self._descriptor, FIRST_LINE_BYTES, 0)

    def read(self) -> Head | None:
        """The head, ``None`` if it is damaged or just being written."""
        return self.at(self.first_line())

    def at(self, first_line: bytes) -> Head | None:
        """The head whose first line this is, or a newer one; without a system call if it was read before."""
        known = self._known
        if known is not None and known[0] == first_line:
            return known[1]
        data = self._fs.pread(self._descriptor, 65536, 0)
        head = parse_head(data)
        if head is not None:
            self._known = (data[:FIRST_LINE_BYTES], head)
        return head

    def write(self, head: Head) -> None:
        if self._body is None or not _has_the_body_of(head, self._body[0]):
            self._body = head, _body(head)
        data = _with_first_line(head, self._body[1])
        data += b"\n" * (-len(data) % _BLOCK)
        self._known = None
        write_all(self._fs, self._descriptor, data, 0)
        self._known = (data[:FIRST_LINE_BYTES], head)

    def invalidate(self) -> None:
        """Make every handle bring the whole tree up to date from the journal before it does anything else."""
        self._known = None
        write_all(self._fs, self._descriptor, b"\0" * FIRST_LINE_BYTES, 0)

    def flush(self) -> None:
        self._fs.flush(self._descriptor)
