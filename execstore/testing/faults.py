"""Faults of the disk and the death of the process, planted between the store and the operating system.

The store runs on real files. What is planted here answers some of its system calls in the system's stead, as the
system would: a full disk refuses what needs room, and gives room back for what is removed; a flush fails once; a
process that is dead makes no call any more, and its locks are free.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from execstore.tree.filesystem import RealFileSystem

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem

__all__ = ["FLUSHING", "WRITING", "Faults", "ProcessDied", "Step"]

_BLOCK_BYTES: Final = 4096
FLUSHING: Final = frozenset({"flush", "sync", "sync_folder"})
WRITING: Final = frozenset(
    {"create", "overwrite", "pwrite", "rename", "link", "remove", "make_folder", "remove_folder", "truncate"}
)
_ON_DESCRIPTORS: Final = frozenset({"pwrite", "truncate", "flush"})


class ProcessDied(BaseException):
    """The process of a store's handle is dead, as after ``kill -9``: no call of it reaches the disk any more.

    It is no ``Exception``, so that a program's ``except Exception`` doesn't take it for something to go on from. A
    thread that goes on using the handle, a watcher's say, meets it, too.
    """


class Step(NamedTuple):
    """A call that changes the disk, or makes durable what was changed. ``path`` is relative to the store's folder."""

    operation: str
    path: str


class Faults:
    """What goes wrong for the handles that were opened with it. Nothing does, until one of its methods is called.

    ``met`` is the step that the last planted fault hit, ``None`` as long as it hasn't come to that. So a test goes
    through all places where a process can die like this:

        for at_step in itertools.count(1):
            faults.die(at_step=at_step)
            with contextlib.suppress(ProcessDied), stores(str(at_step)) as store:
                work(store)
            if faults.met is None:
                break  # it was through before
            with stores(str(at_step)) as store:  # the next process
                ...  # it is all there, or nothing
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: list[_FaultyFileSystem] = []
        self.steps: list[Step] = []
        self.met: Step | None = None
        self._room_bytes: int | None = None
        self._dies_in: int | None = None
        self._refuses_in: int | None = None

    def fill_disk(self, *, room_bytes: int = 0) -> None:
        """Leave no more room than this, in blocks of 4,096 bytes, until `clear`.

        A store keeps a little room back for this case, so the first change may still be made. The next is refused by
        ``StoreFullError``, and so on until there is room again; what is there can be read all the time.

        Raises:
            ValueError: ``room_bytes`` is negative.
        """
        if room_bytes < 0:
            raise ValueError(f"room_bytes must not be negative, but is {room_bytes}")
        with self._lock:
            self._room_bytes = room_bytes
            self.met = None

    def refuse_flush(self, *, after: int = 0) -> None:
        """Let one flush fail with EIO, once so many have succeeded.

        The handle then refuses every change by ``StoreFailedError``, since nobody can know what is on the disk; open
        the store again to find out.

        Raises:
            ValueError: ``after`` is negative.
        """
        if after < 0:
            raise ValueError(f"after must not be negative, but is {after}")
        with self._lock:
            self._refuses_in = after
            self.met = None

    def die(self, *, at_step: int = 1) -> None:
        """Let the process die just before the step of this number, counted from now on: 1 is the very next.

        All handles that have these faults die at once, and every call of theirs raises ``ProcessDied`` from then on.
        Handles that are opened later are of another process, and live.

        Raises:
            ValueError: ``at_step`` is less than 1.
        """
        if at_step < 1:
            raise ValueError(f"at_step counts from 1, but is {at_step}")
        with self._lock:
            self._dies_in = at_step - 1
            self.met = None

    def clear(self) -> None:
        """Plant nothing any more: the disk has room, flushes succeed, nobody dies. Who is dead stays dead."""
        with self._lock:
            self._room_bytes = self._dies_in = self._refuses_in = None

    def file_system(self, root: str) -> FileSystem:
        """The files below ``root`` as a new handle sees them; for ``Tree(file_system=…)``."""
        handle = _FaultyFileSystem(root, self)
        with self._lock:
            self._handles.append(handle)
        return cast("FileSystem", handle)

    # --- for the file system ---

    def before(self, step: Step, needed_bytes: int) -> None:
        """Called before each step of a handle that is alive. Raises what becomes of it."""
        with self._lock:
            self.steps.append(step)
            if self._dies_in is not None:
                if self._dies_in == 0:
                    self._dies_in, self.met = None, step
                    for handle in self._handles:
                        handle.kill()
                    self._handles = []
                    raise ProcessDied(f"the process died before {step.operation} of {step.path or 'the tree'}")
                self._dies_in -= 1
            if step.operation in FLUSHING and self._refuses_in is not None:
                if self._refuses_in == 0:
                    self._refuses_in, self.met = None, step
                    raise OSError(errno.EIO, os.strerror(errno.EIO), step.path)
                self._refuses_in -= 1
            if self._room_bytes is not None:
                if needed_bytes > self._room_bytes:
                    self.met = step
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), step.path)
                self._room_bytes -= needed_bytes

    def free_bytes(self) -> int | None:
        """How much room there is; ``None``: as much as the real disk has."""
        return self._room_bytes


class _FaultyFileSystem:
    """A ``FileSystem``: the real one, but for what its faults say. One handle's."""

    def __init__(self, root: str, faults: Faults) -> None:
        self._real = RealFileSystem(root)
        self._faults = faults
        self._paths: dict[int, str] = {}  # of what is kept open, by descriptor
        self._dead = False

    def __getattr__(self, name: str) -> Any:
        # Whatever the protocol has or comes to have: the dead call nothing, and a step is a step.
        call = getattr(self._real, name)
        if not callable(call):
            return call

        def called(*arguments: Any, **options: Any) -> Any:
            self._check_alive()
            if name in WRITING or name in FLUSHING:
                self._faults.before(self._step(name, arguments), self._needed_bytes(name, arguments))
            return call(*arguments, **options)

        return called

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        self._check_alive()
        if create and self._real.kind(path) is None:
            self._faults.before(Step("create", path), 0)
        descriptor = self._real.open(path, write=write, create=create)
        self._paths[descriptor] = path
        return descriptor

    def close(self, descriptor: int) -> None:
        # The dead have nothing open, and the number may be another's by now.
        if not self._dead:
            self._paths.pop(descriptor, None)
            self._real.close(descriptor)

    def free(self) -> tuple[int, int | None]:
        self._check_alive()
        free_bytes, free_inodes = self._real.free()
        room_bytes = self._faults.free_bytes()
        return free_bytes if room_bytes is None else min(room_bytes, free_bytes), free_inodes

    def dispose(self) -> None:
        """Close every descriptor that the real one keeps."""
        self._real.dispose()

    def kill(self) -> None:
        """What the kernel does to a dead process: its descriptors are closed, and so its locks are free."""
        self._dead = True
        for descriptor in self._paths:
            self._real.close(descriptor)
        self._paths = {}

    def _check_alive(self) -> None:
        if self._dead:
            raise ProcessDied("the process of this handle is dead")

    def _step(self, name: str, arguments: tuple[Any, ...]) -> Step:
        if name == "sync":
            return Step(name, "")
        if name in _ON_DESCRIPTORS:
            return Step(name, self._paths.get(arguments[0], ""))
        return Step(name, arguments[0])

    def _needed_bytes(self, name: str, arguments: tuple[Any, ...]) -> int:
        """The room that a call takes; negative if it gives some back."""
        match name, arguments:
            case "create", (_, data):
                return _blocks(len(data))
            case "overwrite", (path, offset, data):
                old = self._real.size(path) or 0
                return _blocks(max(old, offset + len(data))) - _blocks(old)
            case "pwrite", (descriptor, data, offset):
                old = self._real.length(descriptor)
                return _blocks(max(old, offset + len(data))) - _blocks(old)
            case "truncate", (descriptor, length):
                return min(_blocks(length) - _blocks(self._real.length(descriptor)), 0)
            case "make_folder", _:
                return _BLOCK_BYTES
            case ("remove", (path,)) | ("rename", (_, path)):
                return -_blocks(self._real.size(path) or 0) if self._real.kind(path) == "file" else 0
            case "remove_folder", _:
                return -_BLOCK_BYTES
        return 0


def _blocks(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
