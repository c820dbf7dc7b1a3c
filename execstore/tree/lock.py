"""The store's locks: one holder among all threads of all processes.

A lock is a ``flock(2)`` on a file of its own, taken through filelock on a descriptor that is kept open, with a thread
lock in front of it: to the kernel all threads of a process are one holder. The files are never removed: a lock on a
removed file excludes nobody.

Ctrl-C raises ``KeyboardInterrupt`` between any two steps of Python, most often right behind a call that waited: just
when the lock was had. The program may go on after that, and then no lock may stay taken. So each attempt is an object
of its own, and one step both takes the lock for it and says so. Who releases the lock may be interrupted before it
has: what begins a call is such a place, too. So it is released behind the work, and, whatever is raised, once more.
"""

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

__all__ = ["Handles", "Lock", "release_once"]

# Waiting starts short since most holders need some 0.1 ms, and stays short while it may be for a flush, so that the
# next one catches all who wait. It grows then, lest waiters keep a small device awake.
_SHORTEST_WAIT_SECONDS = 0.00005
_FLUSH_WAIT_SECONDS = 0.0003
_FLUSH_SECONDS = 0.03
_LONGEST_WAIT_SECONDS = 0.002
# Who has the inner lock for longer than this is the one to name.
_LONGEST_HOLD_SECONDS = 0.01
# Who was to wake the next one may be interrupted before it does.
_LONGEST_SLEEP_SECONDS = 0.1


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
        self._attempt: dict[str, object] = {}  # the one that has it, among the threads of this handle
        self._waiting: dict[threading.Lock, bool] = {}  # what wakes each thread: whether it is in `acquire_unless`
        self.was_contended = False  # whether its holder had to wait for it
        self._descriptor = fs.open(path, write=write)

    def acquire(self, timeout_seconds: float | None = None, attempt: object = None) -> None:
        """Wait for the lock. ``attempt``: any object, by which `release` knows later whether this one has it.

        Raises:
            StoreBusyError: it wasn't had within the timeout, or its own.
        """
        deadline = time.monotonic() + (self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        attempt = object() if attempt is None else attempt
        try:
            if not self._take(attempt) and not self._wait_for_threads(attempt, deadline):
                raise self.busy()  # noqa: TRY301
            if not self._fs.try_lock(self._descriptor):
                self._wait(deadline)
        except BaseException:
            self.release(attempt)
            raise

    def acquire_unless(self, is_done: Callable[[], bool], attempt: object = None) -> bool:
        """Wait for the lock, or for somebody else to have done what it is wanted for; whether it was had.

        Returns without the lock only if ``is_done()``, which is asked while waiting. ``attempt``: as in `acquire`.

        Raises:
            StoreBusyError: neither came about within the timeout.
        """
        deadline = time.monotonic() + self._timeout_seconds
        attempt = object() if attempt is None else attempt
        try:
            had_to_wait = not self._take(attempt)
            if had_to_wait and not self._wait_for_threads(attempt, deadline, is_done):
                if is_done():
                    return False
                raise self.busy()  # noqa: TRY301
            if not self._fs.try_lock(self._descriptor):
                had_to_wait = True
                if not self._wait(deadline, is_done):
                    self.release(attempt)
                    return False
            self.was_contended = had_to_wait
        except BaseException:
            self.release(attempt)
            raise
        return True

    def try_acquire(self, attempt: object = None) -> bool:
        """Take the lock if nobody has it. ``attempt``: as in `acquire`."""
        attempt = object() if attempt is None else attempt
        try:
            if self._take(attempt) and self._fs.try_lock(self._descriptor):
                return True
        except BaseException:
            self.release(attempt)
            raise
        self.release(attempt)
        return False

    def release(self, attempt: object = None) -> None:
        """Give it back, on whatever thread. With an ``attempt``: if that one has it, which it needn't know, maybe among
        threads only."""
        if attempt is not None and self._attempt.get("") is not attempt:
            return
        try:
            self._fs.unlock(self._descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.unlock(self._descriptor)  # it may have been interrupted before it did anything
            raise
        finally:
            self._attempt.clear()
            # Who comes to wait after this look finds the lock free: it says so before it tries.
            if self._waiting:
                for number, (wake, may_be_done) in enumerate(list(self._waiting.items())):
                    # Those whose work was done go, rather than stand in line behind the next one's flush.
                    if number == 0 or may_be_done:
                        release_once(wake)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have it for a ``with``."""
        attempt = object()
        try:
            self.acquire(attempt=attempt)
            yield
            self.release(attempt)
        except BaseException:
            self.release(attempt)
            raise

    def _take(self, attempt: object) -> bool:
        return self._attempt.setdefault("", attempt) is attempt

    def _wait_for_threads(self, attempt: object, deadline: float, is_done: Callable[[], bool] | None = None) -> bool:
        """Wait until the lock is had among threads; ``False`` if it isn't by then, or once ``is_done()``."""
        wake = threading.Lock()
        wake.acquire()
        try:
            self._waiting[wake] = is_done is not None
            while is_done is None or not is_done():
                if self._take(attempt):
                    return True
                seconds = deadline - time.monotonic()
                if seconds <= 0:
                    return False
                wake.acquire(timeout=min(seconds, _LONGEST_SLEEP_SECONDS))
        finally:
            self._waiting.pop(wake, None)
        return False

    def close(self) -> None:
        if self._descriptor >= 0:
            self._fs.close(self._descriptor)
            self._descriptor = -1

    __del__ = close  # see RealFileSystem.__del__

    def _wait(self, deadline: float, is_done: Callable[[], bool] | None = None) -> bool:
        """Wait for the lock among processes; ``False`` once ``is_done()``."""
        started = time.monotonic()
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


def release_once(lock: threading.Lock) -> None:
    """Release it, on whatever thread, unless it is free: another thread may be doing the same."""
    try:
        lock.release()
    except RuntimeError:
        return


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
