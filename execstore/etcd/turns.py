"""Whose turn it is among the threads of one handle: one leads, and does what others want done along with its own."""

from __future__ import annotations

import copy
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from execstore.errors import StoreBusyError, StoreClosedError, StoreUnreachableError
from execstore.etcd.change import StaleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.engine import Change
    from execstore.etcd.change import EtcdChange

__all__ = ["Job", "Turns"]

_T = TypeVar("_T")
_MOST_JOBS: Final = 32


class Job(Generic[_T]):
    """An operation on its way to be committed."""

    def __init__(self, operation: Callable[[Change], _T], wait_until: float) -> None:
        self._operation = operation
        self.wait_until = wait_until
        self.is_taken = False
        self.is_done = False
        self.result: _T | None = None
        self.error: BaseException | None = None

    def run(self, change: EtcdChange) -> None:
        """Run it on top of what the change holds; if it raises, the change is as before."""
        self.result, self.error = None, None
        saved = change.save()
        try:
            self.result = self._operation(change)
        except StaleError:
            raise
        except Exception as error:  # noqa: BLE001 - whose it is gets it
            change.restore(saved)
            self.error = error


def _copy_of(error: Exception) -> Exception:
    """The same for another thread: each that raises it adds its own traceback."""
    try:
        return copy.copy(error)
    except Exception:  # noqa: BLE001 - a class whose instances can't be copied; one shared by several threads will do
        return error


class Turns:
    """Lets one thread at a time have the turn, and gives whoever leads what has come by then."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._jobs: list[Job[Any]] = []
        self._is_taken = False
        self._is_closed = False

    def do(
        self,
        operation: Callable[[Change], _T],
        wait_until: float,
        lead: Callable[[list[Job[Any]]], int],
    ) -> _T:
        """See to it that an operation is done, by this thread or another, and give what it returned.

        ``lead`` does several, and returns how many: the first of them.

        Raises:
            StoreBusyError: it didn't come to it before ``wait_until``.
            StoreClosedError: the handle was closed before.
        """
        job: Job[_T] = Job(operation, wait_until)
        with self._changed:
            self._jobs.append(job)
        while self._is_to_lead(job, wait_until):
            try:
                self._lead(job, lead)
            finally:
                self.end()
        if job.error is not None:
            raise job.error
        return cast("_T", job.result)

    def begin(self, wait_until: float) -> None:
        """Take the turn, for what isn't done with others'. Raises ``StoreBusyError``, ``StoreClosedError``."""
        with self._changed:
            self._wait(lambda: False, wait_until)
            self._is_taken = True

    def try_begin(self) -> bool:
        """The same if it can be had at once."""
        with self._changed:
            if self._is_taken:
                return False
            self._is_taken = True
            return True

    def end(self) -> None:
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()

    def close(self, wait_seconds: float) -> None:
        """Let who has the turn finish, for so long at most; nobody gets it afterwards."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_taken, wait_seconds)
            self._is_closed = True
            self._changed.notify_all()

    def _is_to_lead(self, job: Job[Any], wait_until: float) -> bool:
        """Wait until the job is done, or it is this thread's turn, which it then has."""
        with self._changed:
            try:
                self._wait(lambda: job.is_taken, wait_until)
                # Who took it will be done with it in a time that is bounded.
                while job.is_taken and not job.is_done and self._is_taken:
                    self._changed.wait()
            except BaseException:
                if job in self._jobs:
                    self._jobs.remove(job)
                raise
            if job.is_done:
                return False
            if self._is_taken:  # put back just now, and another leads already
                return self._is_to_lead(job, wait_until)
            self._is_taken = True
            return True

    def _wait(self, is_enough: Callable[[], bool], wait_until: float) -> None:
        """Wait for the turn, or for what else is enough."""
        while self._is_taken and not is_enough():
            remaining_seconds = wait_until - time.monotonic()
            if remaining_seconds <= 0:
                raise StoreBusyError(self._path, self._timeout_seconds, os.getpid(), "this one")
            self._changed.wait(min(remaining_seconds, threading.TIMEOUT_MAX))
        if self._is_closed and not is_enough():
            raise StoreClosedError(self._path)

    def _lead(self, own: Job[Any], lead: Callable[[list[Job[Any]]], int]) -> None:
        with self._changed:
            batch = self._jobs[:_MOST_JOBS]
            if own not in batch:
                batch = [own]
            self._jobs = [job for job in self._jobs if job not in batch]
            for job in batch:
                job.is_taken = True
        left_over: list[Job[Any]] = []
        try:
            left_over = batch[lead(batch) :]
        except Exception as error:  # noqa: BLE001 - each of them gets it
            if isinstance(error, StoreBusyError):
                # It is this thread's time that is over. Who came later goes on waiting.
                now = time.monotonic()
                left_over = [job for job in batch if job is not own and job.wait_until > now]
            for job in batch:
                if job not in left_over:
                    job.result, job.error = None, error if job is own else _copy_of(error)
        except BaseException:
            # Whoever interrupts this thread means its own call; whether the others' changes were made isn't known.
            for job in batch:
                job.error = StoreUnreachableError(self._path, "the call was interrupted", outcome_open=True)
            raise
        finally:
            with self._changed:
                for job in batch:
                    job.is_done = job not in left_over
                    job.is_taken = job.is_done
                self._jobs[:0] = left_over
