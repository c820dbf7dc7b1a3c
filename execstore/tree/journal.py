"""The journal: two files of one size, written over in place, that make each change whole.

Invariants:

- A record is valid if its checksum, seeded with the store's own ID, covers exactly its header and body.
- Within a file, from offset 0, valid records of one epoch follow one another: each has the next transaction number and
  names the checksum of the one before it. The first place where that ends is the end of the file's chain; what stands
  behind is of no meaning. (Without the checksum, a record that was torn by a power cut and written anew could be
  followed by one that stood behind its first form, and was never committed.)
- The two files carry consecutive epochs. A file is written over from its start, with the next epoch, only after the
  tree holds durably all that its old records did.

The files are filled beforehand with newlines, by writing: flushing an overwrite of written blocks touches no metadata
of the file system, which is most of what a durable commit costs elsewhere.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from execstore import codec
from execstore.tree.filesystem import write_all
from execstore.tree.names import JOURNAL_PATHS
from execstore.tree.steps import Step, describe_steps, parse_steps, payload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from execstore.tree.filesystem import FileSystem

__all__ = ["JournalFiles", "Record", "encode_record", "parse_record", "seed"]

_HEADER = re.compile(
    rb"@transaction ([0-9]{1,19}) epoch ([0-9]{1,19}) after ([0-9a-f]{8}) bytes ([0-9]{1,12}) crc32 ([0-9a-f]{8})\n"
)
_HEADER_MAXIMUM = 128
_FILL = b"\n" * 65536
_PAGE = 4096
_MAXIMUM_BYTES = 1 << 30  # a file of 10 GB is damage, and isn't to be read into memory


class Record(NamedTuple):
    """One committed change: its steps, and all of the head's values once it is done."""

    transaction: int
    epoch: int
    steps: tuple[Step, ...]
    values: Mapping[str, Any]
    previous: int  # the checksum of the record before it, 0 of the very first
    checksum: int
    end: int  # the offset in the file right behind the record

    def is_followed_by(self, record: Record | None) -> bool:
        """Whether the other one is the next of the same chain."""
        return record is not None and record.continues(self.transaction, self.epoch, self.checksum)

    def continues(self, transaction: int, epoch: int, checksum: int) -> bool:
        """Whether this record is the next one after that of these numbers, in the same file."""
        return (self.transaction, self.epoch, self.previous) == (transaction + 1, epoch, checksum)


def seed(store_id: str) -> int:
    """Where checksums of this store start, so that another store's records never pass for this one's."""
    return zlib.crc32(store_id.encode())


def encode_record(
    transaction: int,
    epoch: int,
    previous: int,
    steps: Sequence[Step],
    values: Mapping[str, Any],
    checksum_seed: int,
) -> tuple[bytes, int]:
    """The bytes of one record, and its checksum.

    They are a header line, a line of JSON that says what to do, and the bytes to do it with.
    """
    head = codec.encode_trusted({"steps": describe_steps(steps), "values": values})
    body = b"%b\n%b\n" % (head, payload(steps))
    prefix = b"@transaction %d epoch %d after %08x bytes %d" % (transaction, epoch, previous, len(body))
    checksum = zlib.crc32(body, zlib.crc32(prefix, checksum_seed))
    return b"%b crc32 %08x\n%b" % (prefix, checksum, body), checksum


def parse_record(data: bytes, offset: int, checksum_seed: int) -> Record | None:
    """The valid record that starts at ``offset``, ``None`` if there is none (the end of the chain, or damage).

    Raises:
        ValueError: the checksum is right, but the content makes no sense: no program of this format wrote it.
    """
    header = _HEADER.match(data, offset)
    if header is None:
        return None
    start, length, checksum = header.end(), int(header[4]), int(header[5], 16)
    body = data[start : start + length]
    if len(body) != length:
        return None
    prefix = data[offset : header.start(5) - len(b" crc32 ")]
    if zlib.crc32(body, zlib.crc32(prefix, checksum_seed)) != checksum:
        return None
    line_end = body.find(b"\n")
    head = codec.decode(body[:line_end])
    match head:
        case {"steps": list(described), "values": dict(values)}:
            steps = parse_steps(described, body[line_end + 1 : -1])
        case _:
            raise ValueError("a record of the journal has no steps or no values")
    return Record(
        transaction=int(header[1]),
        epoch=int(header[2]),
        steps=steps,
        values=values,
        previous=int(header[3], 16),
        checksum=checksum,
        end=start + length,
    )


class JournalFiles:
    """The two files, kept open. Who may write is the callers' business: see `execstore.tree.tree`."""

    def __init__(self, fs: FileSystem, checksum_seed: int, *, write: bool) -> None:
        self._fs = fs
        self._seed = checksum_seed
        self._descriptors: list[int] = []
        try:
            for path in JOURNAL_PATHS:
                self._descriptors.append(fs.open(path, write=write))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def make(fs: FileSystem, size: int, first_record: bytes) -> None:
        """Make both files, filled and durable; the first one holds one record."""
        for path, start in zip(JOURNAL_PATHS, (first_record, b""), strict=True):
            if fs.kind(path) is not None:  # an opening that was cut off before
                fs.remove(path)
            fs.create(path, start)
            descriptor = fs.open(path, write=True)
            try:
                position = len(start)
                while position < size:
                    fill = _FILL[: size - position]
                    write_all(fs, descriptor, fill, position)
                    position += len(fill)
                fs.flush(descriptor)
            finally:
                fs.close(descriptor)

    def close(self) -> None:
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            self._fs.close(descriptor)

    __del__ = close  # see RealFileSystem.__del__

    def append(self, number: int, offset: int, record: bytes) -> None:
        """Write a record; it counts once `flush` returned."""
        write_all(self._fs, self._descriptors[number], record, offset)

    def flush(self, number: int) -> None:
        self._fs.flush(self._descriptors[number])

    def read_at(self, number: int, offset: int) -> Record | None:
        """The valid record at this place, if there is one."""
        descriptor = self._descriptors[number]
        header = self._fs.pread(descriptor, _HEADER_MAXIMUM, offset)
        match = _HEADER.match(header)
        if match is None:
            return None
        data = self._read(descriptor, offset, match.end() + int(match[4]))
        record = parse_record(data, 0, self._seed)
        return record and record._replace(end=offset + record.end)

    def chain(self, number: int) -> list[Record]:
        """All valid records of one file, in order."""
        descriptor = self._descriptors[number]
        data = self._read(descriptor, 0, min(self._fs.length(descriptor), _MAXIMUM_BYTES))
        records: list[Record] = []
        record = parse_record(data, 0, self._seed)
        while record is not None:
            records.append(record)
            following = parse_record(data, record.end, self._seed)
            record = following if record.is_followed_by(following) else None
        return records

    def rewrite(self, number: int, start: int, end: int) -> None:
        """Write bytes of unknown durability once more, over themselves, and flush them.

        After a failed flush the kernel holds pages for clean that never reached the disk, so flushing alone would
        succeed and prove nothing. Writing makes them dirty again.
        """
        start -= start % _PAGE
        descriptor = self._descriptors[number]
        write_all(self._fs, descriptor, self._read(descriptor, start, end - start), start)
        self._fs.flush(descriptor)

    def shorten(self, number: int, size: int) -> None:
        """Give back what a very large record had added to the file."""
        if self._fs.length(self._descriptors[number]) > size:
            self._fs.truncate(self._descriptors[number], size)

    def _read(self, descriptor: int, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            part = self._fs.pread(descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)
