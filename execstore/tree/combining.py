"""Changes of several threads, done by one of them in one go.

Threads that wait for the change lock in turn hand each other the interpreter, too: at each of its system calls the one
that has the lock lets another run, which soon stands still for that lock, and so on; most of the time goes into that.
So whoever has the change lock leads: it does what others came to ask for meanwhile, each as a change and a journal
record of its own, then flushes and publishes once for all, while they sleep. (Known as flat combining: Hendler, Incze,
Shavit and Tzafrir, "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010.)

Who leads takes one after the other, until nobody waits; their threads don't come back before it told them, so it comes
to an end. Who waits behind a long change still goes when its time is up. The main thread does its own only: Ctrl-C
interrupts it anywhere, and what it interrupts should be its own call.

Any other thread may be interrupted, too (``PyThreadState_SetAsyncExc``). Whoever is, and wherever, nobody may be left
waiting for it: those it took, or would have taken, or was about to let lead, are told. What was done stands, and is
never done again; the rest begins anew, each as another request, for which a late word to the last one means nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from execstore.errors import ExecStoreError
from execstore.tree.lock import release_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.tree.change import Change
    from execstore.tree.lock import Lock

__all__ = ["Combining", "Committer"]

_T = TypeVar("_T")


class Committer(Protocol):
    """What combining asks of its handle. Whatever else these raise is the system's errors in their final form."""

    def next_change(self, *, is_first: bool) -> Change:
        """A new change, which sees all that is staged; ``is_first``: since the lock was taken. Holds the lock."""

    def stage(self, change: Change) -> int:
        """Write a change's record, and give its transaction. Holds the lock."""

    def newest_staged(self) -> int:
        """The newest transaction that is neither durable nor shown yet, 0 if there is none. Holds the lock."""

    def find_staged(self) -> int:
        """The same by a look at the journal, after `stage` was cut off somewhere. Holds the lock."""

    def conclude(self, transaction: int) -> None:
        """Have a change of one's own, and all before it, made durable and shown."""

    def await_shown(self, transaction: int) -> None:
        """The same where the changes are others', and one's own answer hangs on them; 0 for none."""


class _Request(Generic[_T]):
    """A thread's operation on its way: one attempt. What is said of it is written by who leads, before it is told."""

    def __init__(self, operation: Callable[[Change], _T], wait_until: float) -> None:
        self.operation = operation
        self.wait_until = wait_until
        self.is_done = False  # or else to be begun again
        self.is_shown = False  # or else its thread sees to that
        self.changes_something = False
        self.transaction = 0  # the newest that the answer hangs on
        self.result: _T | None = None
        self.error: Exception | None = None
        self.taken: list[_Request[Any]] = []  # by this one's thread, which leads
        self.heir: _Request[Any] | None = None  # which is to lead instead of it
        self._told = threading.Lock()  # whose release wakes its thread

    def sleep(self) -> None:
        """From now on it must be told before `wait` returns."""
        self._told.acquire(blocking=False)

    def wait(self, seconds: float = -1) -> bool:
        """Whether it was told within that time."""
        return self._told.acquire(timeout=seconds)

    def tell(self) -> None:
        """Wake its thread. Once too often does no harm."""
        release_once(self._told)

    def do(self, committer: Committer, *, is_first: bool, is_own: bool) -> bool:
        """Decide and stage it; gives whether a change could be begun. ``is_own``: this thread's. Holds the lock."""
        is_begun = False
        handled = sys.exception()  # by the thread that leads, maybe further up
        try:
            change = committer.next_change(is_first=is_first)
            is_begun = True
            try:
                self.result = self.operation(change)
            except Exception as error:  # noqa: BLE001 - its own thread raises it
                # The answer may be because of what others staged. It must not come before that is durable and shown:
                # who is told that an execution exists may look for it at once, or after a power cut.
                self.error = error
                self.transaction = committer.newest_staged()
            else:
                self.changes_something = not change.is_empty
                # If it is empty, what it read must stand, too.
                newest = committer.newest_staged()
                self.transaction = self._stage(change, newest, committer) if self.changes_something else newest
        except Exception as error:  # noqa: BLE001
            self.error = error
        if self.error is not None and not is_own:
            _set_apart(self.error, handled)
        self.is_done = True
        return is_begun

    def _stage(self, change: Change, newest: int, committer: Committer) -> int:
        try:
            return committer.stage(change)
        except Exception:
            raise
        except BaseException:
            # The thread is interrupted. If all was written by then it will be committed, and must not be done again.
            with contextlib.suppress(OSError):
                found = committer.find_staged()
                if found > newest:
                    self.transaction, self.is_done = found, True
            raise

    def answer(self, committer: Committer, transaction: int) -> _T:
        """What the operation gave, once a transaction is durable and shown, which is this one's or a later one."""
        if not self.is_shown:
            try:
                if self.changes_something and self.error is None:
                    committer.conclude(transaction)
                else:
                    committer.await_shown(transaction)
                self.is_shown = True
            except ExecStoreError:
                if self.transaction:
                    raise
                # Nothing of this one's answer hangs on it. Those whose changes can't be shown find out themselves.
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # its traceback has this frame, and would keep all in it alive
        return cast("_T", self.result)


class Combining:
    """The requests of one handle's threads."""

    def __init__(self, change_lock: Lock) -> None:
        self._change_lock = change_lock
        self._lock = threading.Lock()  # of what follows
        self._leader: _Request[Any] | None = None
        self._waiting: list[_Request[Any]] = []

    def change(self, operation: Callable[[Change], _T], committer: Committer, timeout_seconds: float) -> _T:
        """Have an operation's change done, by this thread or another, and give what the operation returned.

        ``committer`` is the handle, handed in at each call lest the two keep each other alive.

        Raises:
            StoreBusyError: its turn didn't come within ``timeout_seconds``.
            Exception: what the operation, or committing it, raised.
        """
        wait_until = time.monotonic() + timeout_seconds
        while True:
            request: _Request[_T] = _Request(operation, wait_until)
            try:
                if self._is_to_lead(request) or self._wait(request):
                    return self._lead(request, committer)
            except BaseException:
                self._leave(request)
                self._change_lock.release(request)
                raise
            if request.is_done:
                return request.answer(committer, request.transaction)

    def _is_to_lead(self, request: _Request[Any]) -> bool:
        with self._lock:
            if self._leader is None:
                self._leader = request
                return True
            request.sleep()
            self._waiting.append(request)
            return False

    def _wait(self, request: _Request[Any]) -> bool:
        """Wait to be told; whether to lead."""
        if not request.wait(max(request.wait_until - time.monotonic(), 0)):
            with self._lock:
                is_too_late = request in self._waiting
                if is_too_late:
                    self._waiting.remove(request)
            if is_too_late:
                raise self._change_lock.busy()
            request.wait()  # who took it is at it
        return self._leader is request

    def _lead(self, own: _Request[_T], committer: Committer) -> _T:
        newest = self._stage_all(own, committer)
        result = own.answer(committer, newest)
        self._tell_all(own)
        return result

    def _stage_all(self, own: _Request[Any], committer: Committer) -> int:
        """Do what is asked for, until nobody waits; gives the newest transaction that an answer hangs on."""
        newest = 0
        is_first = True
        self._change_lock.acquire(max(own.wait_until - time.monotonic(), 0), own)
        request: _Request[Any] | None = own
        while request is not None:
            # Until one could begin, nobody knows what stands in the journal by now.
            is_first = not request.do(committer, is_first=is_first, is_own=request is own) and is_first
            newest = max(newest, request.transaction)
            request = self._take(own)
        self._change_lock.release(own)
        return newest

    def _take(self, own: _Request[Any]) -> _Request[Any] | None:
        """The one whose change is to be done now; if there is none, this one leads no more."""
        with self._lock:
            if not self._waiting:
                self._leader = None
                return None
            following = self._waiting[0]
            if threading.current_thread() is threading.main_thread():
                own.heir = self._leader = following
                del self._waiting[0]
            else:
                own.taken.append(following)
                del self._waiting[0]
                return following
        following.tell()
        return None

    def _leave(self, request: _Request[Any]) -> None:
        """Nothing may hang on its thread any more: those whom it took, or would have taken, begin again."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            if self._leader is request:
                request.taken += self._waiting
                self._waiting = []
                self._leader = None
        if request.heir is not None:
            request.heir.tell()
        self._tell_all(request)

    @staticmethod
    def _tell_all(leader: _Request[Any]) -> None:
        for request in leader.taken:
            request.is_shown = leader.is_shown
            request.tell()
        leader.taken.clear()  # who keeps an error keeps what it came through


def _set_apart(error: BaseException, handled: BaseException | None) -> None:
    """Python notes with an error what its thread was just handling. That is none of another thread's."""
    while handled is not None and error.__context__ is not None:
        if error.__context__ is handled:
            error.__context__ = None
            return
        error = error.__context__
