"""The store's locks: one holder among all threads of all processes.

A lock is a ``flock(2)`` on a file of its own, taken through filelock on a descriptor that is kept open, with a thread
lock in front of it: to the kernel all threads of a process are one holder. The files are never removed: a lock on a
removed file excludes nobody."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from execstore.errors import StoreBusyError
from execstore.tree.names import HANDLES_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.tree.filesystem import FileSystem

__all__ = ["Handles", "Lock"]

# Waiting starts short since most holders need some 0.1 ms, and stays short while it may be for a flush, so that the
# next one catches all who wait. It grows then, lest waiters keep a small device awake.
_SHORTEST_WAIT_SECONDS = 0.00005
_FLUSH_WAIT_SECONDS = 0.0003
_FLUSH_SECONDS = 0.03
_LONGEST_WAIT_SECONDS = 0.002
# Who has the inner lock for longer than this is the one to name.
_LONGEST_HOLD_SECONDS = 0.01


class Lock:
    """One lock. Not reentrant: its users know whether they hold it."""

    _descriptor = -1  # what is closed in the end even if it could never be opened

    def __init__(
        self,
        fs: FileSystem,
        path: str,
        store_path: str,
        timeout_seconds: float,
        *,
        write: bool,
        inner: Lock | None = None,
    ) -> None:
        """``inner``: the lock that holders of this one wait for, so that whoever keeps that one keeps this one too."""
        self._inner = inner
        self._fs = fs
        self._store_path = store_path
        self._timeout_seconds = timeout_seconds
        self._threads = threading.Lock()
        self._freed = threading.Condition(threading.Lock())
        self._waiting = 0  # in `acquire_unless`
        self.was_contended = False  # whether its holder had to wait for it
        self._descriptor = fs.open(path, write=write)

    def acquire(self, timeout_seconds: float | None = None) -> None:
        """Wait for the lock.

        Raises:
            StoreBusyError: it wasn't had within the timeout, or its own.
        """
        seconds = max(self._timeout_seconds if timeout_seconds is None else timeout_seconds, 0)
        if not self._threads.acquire(timeout=seconds):
            raise self.busy()
        try:
            if not self._fs.try_lock(self._descriptor):
                self._wait(seconds)
        except BaseException:
            self._release_to_threads()
            raise

    def acquire_unless(self, is_done: Callable[[], bool]) -> bool:
        """Wait for the lock, or for somebody else to have done what it is wanted for; whether it was had.

        Returns without the lock only if ``is_done()``, which is asked while waiting.

        Raises:
            StoreBusyError: neither came about within the timeout.
        """
        had_to_wait = not self._threads.acquire(blocking=False)
        if had_to_wait and not self._wait_for_threads(is_done):
            return False
        taken = False
        try:
            taken = self._fs.try_lock(self._descriptor)
            if not taken:
                had_to_wait = True
                taken = self._wait(self._timeout_seconds, is_done)
            self.was_contended = had_to_wait
        finally:
            if not taken:
                self._release_to_threads()
        return taken

    def _wait_for_threads(self, is_done: Callable[[], bool]) -> bool:
        """Wait for the thread lock; ``False`` once ``is_done()``.

        All who wait are woken whenever it comes free: one takes it, and those whose work was done go, rather than
        stand in line behind that one's flush.
        """
        deadline = time.monotonic() + self._timeout_seconds
        with self._freed:
            self._waiting += 1
            try:
                while not is_done():
                    if self._threads.acquire(blocking=False):
                        return True
                    if not self._freed.wait(max(deadline - time.monotonic(), 0)):
                        raise self.busy()
            finally:
                self._waiting -= 1
        return False

    def _release_to_threads(self) -> None:
        self._threads.release()
        # Who comes to wait after this look finds the lock free: it counts itself before it tries.
        if self._waiting:
            with self._freed:
                self._freed.notify_all()

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it."""
        if not self._threads.acquire(blocking=False):
            return False
        try:
            taken = self._fs.try_lock(self._descriptor)
        except BaseException:
            self._release_to_threads()
            raise
        if not taken:
            self._release_to_threads()
            return False
        return True

    def release(self) -> None:
        try:
            self._fs.unlock(self._descriptor)
        finally:
            self._release_to_threads()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._fs.close(self._descriptor)
            self._descriptor = -1

    __del__ = close  # see RealFileSystem.__del__

    def _wait(self, timeout_seconds: float, is_done: Callable[[], bool] | None = None) -> bool:
        started = time.monotonic()
        deadline = started + timeout_seconds
        pause = _SHORTEST_WAIT_SECONDS
        while not self._fs.try_lock(self._descriptor):
            if is_done is not None and is_done():
                return False
            now = time.monotonic()
            if now >= deadline:
                raise self.busy()
            time.sleep(min(pause, deadline - now))
            longest = _FLUSH_WAIT_SECONDS if now - started < _FLUSH_SECONDS else _LONGEST_WAIT_SECONDS
            pause = min(pause * 1.5, longest)
        return True

    def busy(self) -> StoreBusyError:
        """The error that names who holds the lock."""
        holder = self._stuck_holder_of(self._inner) or self._fs.lock_holder(self._descriptor)
        return StoreBusyError(self._store_path, self._timeout_seconds, holder, _command_of(holder))

    def _stuck_holder_of(self, inner: Lock | None) -> int | None:
        """Who keeps the inner lock, if it isn't one of those who have it for a moment each."""
        if inner is None:
            return None
        holder = self._fs.lock_holder(inner.descriptor)
        if holder is not None:
            time.sleep(_LONGEST_HOLD_SECONDS)
        return holder if holder == self._fs.lock_holder(inner.descriptor) else None

    @property
    def descriptor(self) -> int:
        """The file that carries the lock."""
        return self._descriptor


class Handles:
    """Who has the store open for writing: each such handle keeps a shared lock on one file.

    Ask and join only under the change lock. Then a reader that asks is never taken for a handle, and going from the
    exclusive lock to the shared one, which may let go in between, lets nobody in.
    """

    _descriptor = -1

    def __init__(self, fs: FileSystem, *, write: bool) -> None:
        self._fs = fs
        self._descriptor = fs.open(HANDLES_PATH, write=write)
        self._joined = False

    def are_none(self) -> bool:
        """Whether no other handle has the store open for writing."""
        alone = self._fs.try_lock(self._descriptor)
        if alone:
            if self._joined:
                self._fs.try_lock_shared(self._descriptor)
            else:
                self._fs.unlock(self._descriptor)
        elif self._joined:
            # A failed conversion of a flock may have dropped the shared lock that was there.
            self._fs.try_lock_shared(self._descriptor)
        return alone

    def are_known(self) -> bool:
        """Whether a handle is seen to have joined; the system may not tell. Needs no lock and disturbs nobody."""
        return self._fs.is_lock_shared(self._descriptor)

    def join(self) -> None:
        self._fs.try_lock_shared(self._descriptor)
        self._joined = True

    def leave(self) -> None:
        if self._joined:
            self._joined = False
            self._fs.unlock(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._fs.close(self._descriptor)
            self._descriptor = -1

    __del__ = close  # see RealFileSystem.__del__


def _command_of(pid: int | None) -> str:
    """What the process is running, where the system tells; for the error's text only."""
    if pid is None:
        return ""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(200).split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "replace").strip()
