"""A file system that passes every call on, and notes it: what it did to which file, by which thread, under which locks.

Changes are noted in the order in which they took effect. Of a flush it is noted when it began, too: what others write
meanwhile isn't covered by it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from execstore.tree.filesystem import FileSystem

__all__ = ["CHANGES", "DURABLE", "FOLDER", "OPENED", "RETURNED", "Call", "Item", "Recorder", "Recording", "snapshot"]

CHANGES: Final = frozenset(
    {"create", "overwrite", "pwrite", "truncate", "rename", "link", "remove", "make_folder", "remove_folder"}
)
"""The calls that change something."""

DURABLE: Final = frozenset({"flush", "sync", "sync_folder"})
"""The calls that make something durable."""

RETURNED: Final = "returned"
"""No call of the engine: the store's method has returned to its caller, who may now rely on it."""

OPENED: Final = "opened"
"""No call of the engine: the store has been opened."""

_LARGEST_FILE_BYTES: Final = 1 << 26


class Item(NamedTuple):
    """What stands at a path: a ``"file"`` of these bytes, a ``"link"`` to this target, or a ``"folder"``."""

    kind: str
    data: bytes = b""
    target: str = ""


FOLDER: Final = Item("folder")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the engine.

    ``path`` of an open file is the one that it was opened by. ``offset`` and ``data`` are what was written (or read);
    ``source`` is a rename's old name. ``before`` and ``after`` are what stood at ``path``. ``covers``: the calls with a
    number below this had been done when this one began. Times are nanoseconds of ``time.monotonic_ns``.
    """

    number: int
    operation: str
    path: str
    thread: str
    began_ns: int
    ended_ns: int
    covers: int
    locks: tuple[str, ...] = ()
    offset: int = 0
    data: bytes = b""
    ends: bool = False
    source: str = ""
    before: Item | None = None
    after: Item | None = None

    @property
    def changes(self) -> bool:
        """Whether it changed something."""
        return self.operation in CHANGES

    @property
    def makes_durable(self) -> bool:
        """Whether it made something durable."""
        return self.operation in DURABLE


@dataclass(slots=True)
class Recording:
    """The calls so far. ``while_flushing`` is called within each flush, with the path; ``after`` after each call."""

    calls: list[Call] = field(default_factory=list)
    while_flushing: Callable[[str], None] | None = None
    after: Callable[[Call], None] | None = None
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def note(self, operation: str, path: str = "") -> Call:
        """Note something that isn't a call of the engine."""
        now_ns = time.monotonic_ns()
        with self.mutex:
            number = len(self.calls)
            call = Call(number, operation, path, threading.current_thread().name, now_ns, now_ns, number)
            self.calls.append(call)
        if self.after is not None:
            self.after(call)
        return call


class Recorder:
    """The file system: a ``FileSystem`` around another one."""

    def __init__(self, inner: FileSystem, recording: Recording) -> None:
        self._inner = inner
        self._recording = recording
        self._paths: dict[int, str] = {}
        self._holders: dict[int, str] = {}  # descriptor -> the thread that holds its lock

    # --- noting ---

    def _locks(self) -> tuple[str, ...]:
        thread = threading.current_thread().name
        return tuple(sorted(self._paths[each] for each, holder in self._holders.items() if holder == thread))

    def _item(self, path: str) -> Item | None:
        kind = self._inner.kind(path)
        if kind == "file":
            return Item("file", self._inner.read(path, _LARGEST_FILE_BYTES) or b"")
        if kind == "link":
            return Item("link", b"", self._inner.link_target(path) or "")
        return None if kind is None else FOLDER

    @contextlib.contextmanager
    def _change(
        self, operation: str, path: str, *, offset: int = 0, data: bytes = b"", ends: bool = False, source: str = ""
    ) -> Iterator[None]:
        """The call is made within; nobody else's change comes between it and what is noted of it."""
        recording = self._recording
        with recording.mutex:
            before = self._item(path)
            began_ns = time.monotonic_ns()
            yield
            ended_ns = time.monotonic_ns()
            number = len(recording.calls)
            call = Call(
                number,
                operation,
                path,
                threading.current_thread().name,
                began_ns,
                ended_ns,
                number,
                self._locks(),
                offset,
                bytes(data),
                ends,
                source,
                before,
                self._item(path),
            )
            recording.calls.append(call)
        if recording.after is not None:
            recording.after(call)

    @contextlib.contextmanager
    def _durable(self, operation: str, path: str) -> Iterator[None]:
        """The call is made within; others go on meanwhile."""
        recording = self._recording
        covers, began_ns = len(recording.calls), time.monotonic_ns()
        if recording.while_flushing is not None:
            recording.while_flushing(path)
        yield
        self._done(operation, path, began_ns, covers)

    def _done(
        self, operation: str, path: str, began_ns: int, covers: int | None = None, data: bytes = b"", offset: int = 0
    ) -> None:
        recording = self._recording
        with recording.mutex:
            number = len(recording.calls)
            thread = threading.current_thread().name
            covers = number if covers is None else covers
            ended_ns = time.monotonic_ns()
            call = Call(number, operation, path, thread, began_ns, ended_ns, covers, self._locks(), offset, bytes(data))
            recording.calls.append(call)
        if recording.after is not None:
            recording.after(call)

    # --- reading ---

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        began_ns = time.monotonic_ns()
        data = self._inner.read(path, maximum, offset)
        self._done("read", path, began_ns, data=data or b"", offset=offset)
        return data

    def size(self, path: str) -> int | None:
        return self._inner.size(path)

    def stamp(self, path: str) -> tuple[int, ...] | None:
        return self._inner.stamp(path)

    def names(self, path: str) -> list[str]:
        return self._inner.names(path)

    def kind(self, path: str) -> str | None:
        return self._inner.kind(path)

    def link_target(self, path: str) -> str | None:
        return self._inner.link_target(path)

    # --- changing names and whole files ---

    def create(self, path: str, data: bytes) -> None:
        with self._change("create", path, data=data):
            self._inner.create(path, data)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        with self._change("overwrite", path, offset=offset, data=data, ends=truncate):
            self._inner.overwrite(path, offset, data, truncate=truncate)

    def rename(self, source: str, path: str) -> None:
        with self._change("rename", path, source=source):
            self._inner.rename(source, path)

    def link(self, path: str, target: str) -> None:
        with self._change("link", path):
            self._inner.link(path, target)

    def remove(self, path: str) -> None:
        with self._change("remove", path):
            self._inner.remove(path)

    def make_folder(self, path: str) -> None:
        with self._change("make_folder", path):
            self._inner.make_folder(path)

    def remove_folder(self, path: str) -> None:
        with self._change("remove_folder", path):
            self._inner.remove_folder(path)

    # --- files that are kept open ---

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        if create and self._inner.kind(path) is None:
            with self._change("create", path):
                descriptor = self._inner.open(path, write=write, create=True)
        else:
            descriptor = self._inner.open(path, write=write, create=create)
        self._paths[descriptor] = path
        return descriptor

    def close(self, descriptor: int) -> None:
        self._holders.pop(descriptor, None)
        self._inner.close(descriptor)

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        began_ns = time.monotonic_ns()
        data = self._inner.pread(descriptor, length, offset)
        self._done("read", self._paths[descriptor], began_ns, data=data, offset=offset)
        return data

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        with self._change("pwrite", self._paths[descriptor], offset=offset, data=data):
            return self._inner.pwrite(descriptor, data, offset)

    def flush(self, descriptor: int) -> None:
        with self._durable("flush", self._paths[descriptor]):
            self._inner.flush(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        with self._change("truncate", self._paths[descriptor], offset=length):
            self._inner.truncate(descriptor, length)

    def length(self, descriptor: int) -> int:
        return self._inner.length(descriptor)

    def sync(self, paths: Iterable[str]) -> None:
        # What is asked for is the whole; a system without syncfs(2) makes the same of each path.
        with self._durable("sync", ""):
            self._inner.sync(paths)

    def write_back(self) -> None:
        self._inner.write_back()  # of no meaning for what is promised, and at any time

    def sync_folder(self, path: str) -> None:
        with self._durable("sync_folder", path):
            self._inner.sync_folder(path)

    # --- locks and the device ---

    def try_lock(self, descriptor: int) -> bool:
        began_ns = time.monotonic_ns()
        taken = self._inner.try_lock(descriptor)
        if taken:
            self._holders[descriptor] = threading.current_thread().name
            self._done("lock", self._paths[descriptor], began_ns)
        return taken

    def try_lock_shared(self, descriptor: int) -> bool:
        self._holders.pop(descriptor, None)
        return self._inner.try_lock_shared(descriptor)

    def unlock(self, descriptor: int) -> None:
        began_ns = time.monotonic_ns()
        self._done("unlock", self._paths[descriptor], began_ns)
        self._holders.pop(descriptor, None)
        self._inner.unlock(descriptor)

    def lock_holder(self, descriptor: int) -> int | None:
        return self._inner.lock_holder(descriptor)

    def is_lock_shared(self, descriptor: int) -> bool:
        return self._inner.is_lock_shared(descriptor)

    def free(self) -> tuple[int, int | None]:
        return self._inner.free()

    def remote_kind(self) -> str | None:
        return self._inner.remote_kind()

    def longest_name_bytes(self) -> int:
        return self._inner.longest_name_bytes()


def snapshot(fs: FileSystem) -> dict[str, Item]:
    """Everything that stands in a store's folder, folders before what is in them."""
    found: dict[str, Item] = {}

    def walk(folder: str) -> None:
        for name in sorted(fs.names(folder)):
            path = f"{folder}/{name}" if folder else name
            kind = fs.kind(path)
            if kind == "folder":
                found[path] = FOLDER
                walk(path)
            elif kind == "file":
                found[path] = Item("file", fs.read(path, _LARGEST_FILE_BYTES) or b"")
            elif kind == "link":
                found[path] = Item("link", b"", fs.link_target(path) or "")

    walk("")
    return found
