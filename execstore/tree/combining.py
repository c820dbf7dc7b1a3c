"""Changes of several threads, done by one of them in one go.

Threads that wait for the change lock in turn hand each other the interpreter, too: at each of its system calls the one
that has the lock lets another run, which soon stands still for that lock, and so on; most of the time goes into that.
So whoever has the change lock leads: it does what others came to ask for meanwhile, each as a change and a journal
record of its own, then flushes and publishes once for all, while they sleep. (Known as flat combining: Hendler, Incze,
Shavit and Tzafrir, "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010.)

Who leads takes all that wait by then; their threads don't come back before it told them, so it comes to an end. The
main thread does its own only: Ctrl-C interrupts it anywhere, and what it interrupts should be its own call.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from execstore.tree.lock import release_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.errors import StoreBusyError
    from execstore.tree.change import Change

__all__ = ["Combining", "Committer"]

_T = TypeVar("_T")


class Committer(Protocol):
    """What combining asks of its handle. Whatever else these raise is the system's errors in their final form."""

    def lock(self, timeout_seconds: float) -> None:
        """Take the change lock. Raises ``StoreBusyError``."""

    def unlock(self) -> None:
        """Let go of it."""

    def busy(self) -> StoreBusyError:
        """The error of who waited in vain."""

    def next_change(self, *, is_first: bool) -> Change:
        """A new change, which sees all that is staged; ``is_first``: since the lock was taken. Holds the lock."""

    def stage(self, change: Change) -> int:
        """Write a change's record, and give its transaction. Holds the lock."""

    def newest_staged(self) -> int:
        """The newest transaction that is neither durable nor shown yet, 0 if there is none. Holds the lock."""

    def conclude(self, transaction: int) -> None:
        """Have a change of one's own, and all before it, made durable and shown."""

    def await_shown(self, transaction: int) -> None:
        """The same where the changes are others', and one's own answer hangs on them; 0 for none."""


class _Request(Generic[_T]):
    """A thread's operation on its way. What is said of it is written by who leads, before it is told."""

    def __init__(self, operation: Callable[[Change], _T], wait_until: float) -> None:
        self.operation = operation
        self.wait_until = wait_until
        self.is_done = False  # or else to be begun again
        self.is_shown = False  # or else its thread sees to that
        self.changes_something = False
        self.transaction = 0  # the newest that the answer hangs on
        self.result: _T | None = None
        self.error: Exception | None = None
        self.taken: list[_Request[Any]] = []  # by this one's thread, which leads; none of them may be left asleep
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

    def do(self, committer: Committer, *, is_first: bool) -> bool:
        """Decide and stage it; gives whether a change could be begun. Holds the change lock."""
        is_begun = False
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
                self.transaction = committer.stage(change) if self.changes_something else committer.newest_staged()
        except Exception as error:  # noqa: BLE001
            self.error = error
        self.is_done = True
        return is_begun

    def answer(self, committer: Committer, transaction: int) -> _T:
        """What the operation gave, once a transaction is durable and shown, which is this one's or a later one."""
        if not self.is_shown:
            if self.changes_something and self.error is None:
                committer.conclude(transaction)
            else:
                committer.await_shown(transaction)
            self.is_shown = True
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                del error  # its traceback has this frame, and would keep all in it alive
        return cast("_T", self.result)


class Combining:
    """The requests of one handle's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leader: _Request[Any] | None = None
        self._waiting: list[_Request[Any]] = []

    def change(self, operation: Callable[[Change], _T], committer: Committer, timeout_seconds: float) -> _T:
        """Have an operation's change done, by this thread or another, and give what the operation returned.

        ``committer`` is the handle, handed in at each call lest the two keep each other alive.

        Raises:
            StoreBusyError: its turn didn't come within ``timeout_seconds``.
            Exception: what the operation, or committing it, raised.
        """
        request: _Request[_T] = _Request(operation, time.monotonic() + timeout_seconds)
        try:
            while not request.is_done:
                if self._is_to_lead(request):
                    return self._lead(request, committer)
                self._wait(request, committer)
            return request.answer(committer, request.transaction)
        finally:
            # What is left to do here is so only after an interrupt, or if the lock wasn't had.
            if self._leader is request or request.taken or request in self._waiting:
                self._withdraw(request)

    def _is_to_lead(self, request: _Request[Any]) -> bool:
        with self._lock:
            if self._leader is None or self._leader is request:
                self._leader = request
                return True
            if request not in self._waiting:
                request.sleep()
                self._waiting.append(request)
            return False

    def _wait(self, request: _Request[Any], committer: Committer) -> None:
        if request.wait(max(request.wait_until - time.monotonic(), 0)):
            return
        with self._lock:
            is_too_late = request in self._waiting
            if is_too_late:
                self._waiting.remove(request)
        if is_too_late:
            raise committer.busy()
        request.wait()  # who took it is done with it in a time that is bounded

    def _withdraw(self, request: _Request[Any]) -> None:
        """Nothing may hang on its thread any more: those whom it took, or would have taken, begin again."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            if self._leader is request:
                self._leader = None
                request.taken += self._waiting
                self._waiting = []
        self._tell_all(request)

    def _lead(self, own: _Request[_T], committer: Committer) -> _T:
        newest = self._stage_all(own, committer)
        try:
            return own.answer(committer, newest)
        finally:
            for request in own.taken:
                request.is_shown = own.is_shown
            self._tell_all(own)

    def _stage_all(self, own: _Request[Any], committer: Committer) -> int:
        """Do what is asked for, until nobody waits; gives the newest transaction that an answer hangs on."""
        committer.lock(max(own.wait_until - time.monotonic(), 0))
        try:
            # Until one could begin, nobody knows what stands in the journal by now.
            is_first = not own.do(committer, is_first=True)
            newest = own.transaction
            while new := self._take(own):
                for request in new:
                    is_first = not request.do(committer, is_first=is_first) and is_first
                    newest = max(newest, request.transaction)
            return newest
        finally:
            committer.unlock()

    def _take(self, own: _Request[Any]) -> list[_Request[Any]]:
        """Those whose changes are to be done now; if there are none, this one leads no more."""
        with self._lock:
            new = self._waiting
            if new and threading.current_thread() is threading.main_thread():
                self._leader = new.pop(0)
                self._leader.tell()
                return []
            own.taken += new
            self._waiting = []
            if not new and self._leader is own:
                self._leader = None
            return new

    @staticmethod
    def _tell_all(leader: _Request[Any]) -> None:
        while leader.taken:
            leader.taken[-1].tell()
            leader.taken.pop()
