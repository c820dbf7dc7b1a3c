"""A reader of any bbolt database, in pure Python: ``python -m execstore.interop.bolt FILE`` lists what is in it.

    with BoltFile.open("executions.db") as database:
        for name, bucket in database.root.items():
            ...

The file is opened read-only and mapped; nothing is ever written to it.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import json
import mmap
import os
import stat
import sys
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from execstore.errors import ExecStoreError, SourceBusyError, SourceDamagedError
from execstore.interop.bolt_pages import LEAF_BUCKET_FLAG, Pages, find_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.interop.bolt_pages import Meta, Page

__all__ = ["BoltFile", "Bucket", "main", "readable_key"]

if sys.platform == "win32":
    _READ = os.O_RDONLY | os.O_BINARY
else:
    import fcntl

    _READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make it wait

DEEPEST_NESTING = 200


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a bucket is: its root page and the element that refers to it, or (root page 0) all of it, inline."""

    root_page: int
    parent_id: int
    index: int
    inline: bytes = b""
    depth: int = 0


class Bucket:
    """A bucket: keys (bytes) in ascending order, each with a value (bytes) or a bucket of its own.

    ``sequence`` is the number that the bucket gave out last (bbolt's ``NextSequence``).
    """

    def __init__(self, pages: Pages, place: _Place, sequence: int) -> None:
        self.sequence = sequence
        self._pages = pages
        self._place = place

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Every key and its value or bucket, by key. Raises: SourceDamagedError."""
        for page_id, index, flags, key, value in self._elements():
            yield key, self._open(value, page_id, index) if flags & LEAF_BUCKET_FLAG else value

    def get(self, key: bytes) -> bytes | None:
        """The value of ``key``; ``None`` if it isn't there or is a bucket. Raises: SourceDamagedError."""
        found = self._find(key)
        return found if isinstance(found, bytes) else None

    def bucket(self, name: bytes) -> Bucket | None:
        """The bucket called ``name``; ``None`` if it isn't there or is a value. Raises: SourceDamagedError."""
        found = self._find(name)
        return found if isinstance(found, Bucket) else None

    def count(self) -> int:
        """How many keys it has. Raises: SourceDamagedError."""
        return sum(page.count for page, _, _ in self._leaves())

    def _open(self, value: bytes, page_id: int, index: int) -> Bucket:
        if self._place.inline:
            raise self._pages.damaged(page_id, "there is a bucket inside an inline bucket")
        if self._place.depth >= DEEPEST_NESTING:
            raise self._pages.damaged(page_id, f"buckets are nested more than {DEEPEST_NESTING} deep")
        root_page, sequence = self._pages.bucket_header(value, page_id)
        inline = b"" if root_page else value
        return Bucket(self._pages, _Place(root_page, page_id, index, inline, self._place.depth + 1), sequence)

    def _root(self) -> Page:
        place = self._place
        if place.inline:
            return self._pages.inline(place.inline, place.parent_id)
        return self._pages.read(place.root_page, place.parent_id, place.index)

    def _elements(self) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        """(page number, element number, flags, key, value) of every element, by key."""
        for page, lowest, above_all in self._leaves():
            page_id = page.page_id
            previous = b""  # below every key, since none is empty
            for index, (flags, key, value) in enumerate(self._pages.leaf_elements(page)):
                if key <= previous or key < lowest or (above_all is not None and key >= above_all):
                    raise self._pages.damaged(page_id, f"the key of element {index} is out of order")
                previous = key
                yield page_id, index, flags, key, value

    def _leaves(self) -> Iterator[tuple[Page, bytes, bytes | None]]:
        """Every leaf page by its keys, and the bounds of these: at least the one, below the other.

        A branch's key is a lower bound of all that is below it, the next one's an upper bound (bbolt, tx_check.go).
        """
        pages = self._pages
        pending: list[tuple[Callable[[], Page], bytes, bytes | None]] = [(self._root, b"", None)]
        while pending:
            read, lowest, above_all = pending.pop()
            page = read()
            if page.is_leaf:
                if not page.count and page.page_id not in {self._place.root_page, self._place.parent_id}:
                    raise pages.damaged(page.page_id, "an empty leaf page below a branch")
                yield page, lowest, above_all
                continue
            children = pages.branch_elements(page)
            upper = above_all
            for index, (key, child) in reversed(list(enumerate(children))):
                if key < lowest or (upper is not None and key >= upper):
                    raise pages.damaged(page.page_id, f"the key of element {index} is out of order")
                pending.append((partial(pages.read, child, page.page_id, index), key, upper))
                upper = key

    def _find(self, wanted: bytes) -> bytes | Bucket | None:
        pages, page = self._pages, self._root()
        while not page.is_leaf:
            children = pages.branch_elements(page)
            index = max(bisect.bisect_right(children, wanted, key=itemgetter(0)) - 1, 0)
            page = pages.read(children[index][1], page.page_id, index)
        for index, (flags, key, value) in enumerate(pages.leaf_elements(page)):
            if key == wanted:
                return self._open(value, page.page_id, index) if flags & LEAF_BUCKET_FLAG else value
        return None


class BoltFile:
    """A bbolt database, open for reading. Use ``BoltFile.open`` in a ``with`` statement.

    ``root`` is the bucket of the top-level buckets, ``notes`` says what was odd about the file and could be got over.
    """

    def __init__(self, path: str, view: mmap.mmap, descriptor: int, meta: Meta, notes: tuple[str, ...]) -> None:
        self.path = path
        self.meta = meta
        self.notes = notes
        self._view = view
        self._descriptor = descriptor
        self._pages = Pages(path, view, meta)
        self.root = Bucket(self._pages, _Place(meta.root_page, meta.page_id, 0), meta.root_sequence)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, force: bool = False) -> Self:
        """Open a database and hold bbolt's shared lock on it, so that nobody changes it meanwhile.

        With ``force`` it is read even if a process has it open for writing; what that process writes meanwhile may then
        show as damage.

        Raises: SourceBusyError, SourceDamagedError, OSError if the file can't be opened.
        """
        name = os.fspath(path)
        descriptor = os.open(name, _READ)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceDamagedError(name, "", "it isn't a file")
            notes = _lock(name, descriptor, status, force=force)
            if not status.st_size:
                raise SourceDamagedError(name, "", "the file is empty")
            # Taken again: a node may have let the file grow before it gave up the lock.
            size_bytes = os.fstat(descriptor).st_size
            view = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)
            on_failure.callback(view.close)
            meta, damage = find_meta(name, view, size_bytes)
            opened = cls(name, view, descriptor, meta, notes + damage)
            on_failure.pop_all()
        return opened

    def close(self) -> None:
        """Close the file; twice is fine. Buckets of it can't be read any more."""
        if self._descriptor >= 0:
            self._pages.close()
            self._view.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def walk(self) -> Iterator[tuple[tuple[bytes, ...], bytes | Bucket]]:
        """Everything in the file, depth first: (names of the buckets above and the key, value or bucket)."""
        levels: list[tuple[tuple[bytes, ...], Iterator[tuple[bytes, bytes | Bucket]]]] = [((), self.root.items())]
        while levels:
            above, items = levels[-1]
            for key, value in items:
                path = (*above, key)
                yield path, value
                if isinstance(value, Bucket):
                    levels.append((path, value.items()))
                    break
            else:
                levels.pop()


def _lock(path: str, descriptor: int, status: os.stat_result, *, force: bool) -> tuple[str, ...]:
    """Take bbolt's lock (``flock``, shared) for as long as the file is open."""
    if sys.platform == "win32":  # bbolt locks in another way there
        return ("this system doesn't tell whether it is in use: make sure that no process writes to it",)
    else:  # noqa: RET505 - or mypy would read on
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if not force:
                raise SourceBusyError(path, _lock_holder(status)) from None
            return ("it is open in a running process: what that writes meanwhile is missed, or shows as damage",)
        except OSError as error:
            return (f"its file system has no locks ({error.strerror}): make sure that no process writes to it",)
        return ()


def _lock_holder(status: os.stat_result) -> int | None:
    """The process that has the file locked, as far as Linux tells (``proc_locks(5)``)."""
    if sys.platform != "linux":
        return None
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5] == wanted:
                holder = int(fields[4])
                return holder if holder > 0 else None
    return None


def main(arguments: list[str] | None = None) -> int:
    """The command: list buckets and keys. Returns the exit status: 0, or 3 if the file can't be read."""
    parser = argparse.ArgumentParser(
        prog="python -m execstore.interop.bolt", description="List the buckets and keys of a bbolt database."
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--force", action="store_true", help="read it even if a process has it open for writing")
    options = parser.parse_args(arguments)
    describe = _describe_json if options.json else _describe
    try:
        with BoltFile.open(options.file, force=options.force) as database:
            for note in database.notes:
                print(f"note: {note}", file=sys.stderr)
            for path, value in database.walk():
                print(describe(path, value))
    except BrokenPipeError:
        # The reader (head, say) has seen enough; without this Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ExecStoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def readable_key(key: bytes) -> str:
    """A key as text if it is printable UTF-8, else in hexadecimal: ``0x0000000000000001``."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return f"0x{key.hex()}"
    return text if text.isprintable() else f"0x{key.hex()}"


def _describe(path: tuple[bytes, ...], value: bytes | Bucket) -> str:
    name = "  " * (len(path) - 1) + readable_key(path[-1])
    if isinstance(value, Bucket):
        return f"{name}/" + (f"  (sequence {value.sequence})" if value.sequence else "")
    return f"{name}  {len(value)} bytes"


def _describe_json(path: tuple[bytes, ...], value: bytes | Bucket) -> str:
    item: dict[str, Any] = {
        "bucket": [readable_key(name) for name in path[:-1]],
        "key": readable_key(path[-1]),
        "key_hex": path[-1].hex(),
    }
    if isinstance(value, Bucket):
        return json.dumps(item | {"type": "bucket", "sequence": value.sequence}, ensure_ascii=False)
    return json.dumps(item | {"type": "value", "bytes": len(value)}, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
