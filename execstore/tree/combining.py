"""Changes of several threads, done by one of them in one go.

Threads that wait for the change lock in turn hand each other the interpreter, too: at each of its system calls the one
that has the lock lets another run, which soon stands still for that lock, and so on; most of the time goes into that.
So whoever has the change lock leads: it does what others came to ask for meanwhile, each as a change and a journal
record of its own, then flushes and publishes once for all, while they sleep. (Known as flat combining: Hendler, Incze,
Shavit and Tzafrir, "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010.)

Who leads takes all that wait by then; their threads don't come back before it told them, so it comes to an end.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

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
        self.told: threading.Lock  # whose release wakes its thread, if that waits

    def do(self, committer: Committer, *, is_first: bool) -> None:
        """Decide and stage it. Holds the change lock."""
        try:
            change = committer.next_change(is_first=is_first)
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
        self._is_led = False
        self._waiting: list[_Request[Any]] = []

    def change(self, operation: Callable[[Change], _T], committer: Committer, timeout_seconds: float) -> _T:
        """Have an operation's change done, by this thread or another, and give what the operation returned.

        ``committer`` is the handle, handed in at each call lest the two keep each other alive.

        Raises:
            StoreBusyError: its turn didn't come within ``timeout_seconds``.
            Exception: what the operation, or committing it, raised.
        """
        request: _Request[_T] = _Request(operation, time.monotonic() + timeout_seconds)
        while not request.is_done:
            if self._is_to_lead(request):
                return self._lead(request, committer)
            self._wait(request, committer)
        return request.answer(committer, request.transaction)

    def _is_to_lead(self, request: _Request[Any]) -> bool:
        with self._lock:
            if self._is_led:
                request.told = threading.Lock()
                request.told.acquire()
                self._waiting.append(request)
                return False
            self._is_led = True
            return True

    def _wait(self, request: _Request[Any], committer: Committer) -> None:
        try:
            if request.told.acquire(timeout=max(request.wait_until - time.monotonic(), 0)):
                return
        except BaseException:
            self._withdraw(request)
            raise
        if self._withdraw(request):
            raise committer.busy()
        request.told.acquire()  # who took it is done with it in a time that is bounded

    def _withdraw(self, request: _Request[Any]) -> bool:
        """Whether nobody took it yet, and nobody will."""
        with self._lock:
            if request not in self._waiting:
                return False
            self._waiting.remove(request)
            return True

    def _lead(self, own: _Request[_T], committer: Committer) -> _T:
        taken: list[_Request[Any]] = []
        try:
            newest = self._stage_all(own, taken, committer)
            return own.answer(committer, newest)
        finally:
            # Whatever happened, nobody may be left asleep.
            for request in taken:
                request.is_shown = own.is_shown
                request.told.release()

    def _stage_all(self, own: _Request[Any], taken: list[_Request[Any]], committer: Committer) -> int:
        """Do what is asked for, until nobody waits; gives the newest transaction that an answer hangs on."""
        try:
            committer.lock(max(own.wait_until - time.monotonic(), 0))
            try:
                own.do(committer, is_first=True)
                newest = own.transaction
                while new := self._take(taken):
                    for request in new:
                        request.do(committer, is_first=False)
                        newest = max(newest, request.transaction)
                return newest
            finally:
                committer.unlock()
        except BaseException:
            while self._take(taken):
                pass  # they begin again
            raise

    def _take(self, taken: list[_Request[Any]]) -> list[_Request[Any]]:
        """Those who wait; if there are none, nobody leads any more."""
        with self._lock:
            new = self._waiting
            taken += new
            self._waiting = []
            self._is_led = bool(new)
            return new
