"""Waiting for other processes' commits: notifiers tell that the head may have changed, a lookout acts on it.

The head file is the truth; a notifier only says when to look. So a notification that is lost makes an event late, by
``longest_sleep_seconds`` at most, one too many costs a look, and none can make an event be missed, doubled or moved.

Every commit overwrites the head in place, so one watch on one file (``inotify(7)``, ``IN_MODIFY``) is enough. Without
it, the head's first 88 bytes are looked at ten times a second.
"""

from __future__ import annotations

import logging
import math
import os
import select
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "POLLING_SECONDS",
    "SAFETY_SECONDS",
    "InotifyNotifier",
    "Lookout",
    "Notifier",
    "PollingNotifier",
    "open_notifier",
]

POLLING_SECONDS: Final = 0.1
"""How often the head is looked at where nothing tells of its changes."""

SAFETY_SECONDS: Final = 60.0
"""How often it is looked at even if the kernel tells. It needs to be: inotify knows only what goes through the same
mount in the same kernel. What a container writes into its own layer, seen from outside, or what the other side of a
shared folder (virtiofs, 9p, FUSE) writes, it never tells; such events are late then, instead of never coming."""

# A publication takes well below a millisecond. One that takes longer may have been cut off, and no notification comes
# of that; a full look finishes it, or waits for it.
_UNSETTLED_SECONDS: Final = 0.005

_GATHERING_SECONDS: Final = 0.001

_CLOSING_SECONDS: Final = 1.0

_logger = logging.getLogger("execstore")


class Notifier(Protocol):
    """Sleeps until a file may have changed. One thread at a time sleeps in it."""

    wakeups: int
    """How many times ``sleep`` has returned: how often it woke the machine."""

    @property
    def tells_own_changes(self) -> bool:
        """Whether it also notices what this process writes, so that nobody needs to ``rouse`` it for that."""

    @property
    def longest_sleep_seconds(self) -> float:
        """How long it may be trusted before the file is looked at all the same."""

    def sleep(self, timeout_seconds: float) -> None:
        """Return once the file may have changed, after ``rouse``, when the time is over, or for nothing."""

    def rouse(self) -> None:
        """End the sleep, or the next one if there is none. Safe from any thread."""

    def close(self) -> None:
        """Give everything back. Nobody may be asleep in it. Twice is fine."""


class PollingNotifier:
    """Needs nothing, knows nothing: whoever sleeps in it looks at the end of each ``interval_seconds``."""

    tells_own_changes = False

    def __init__(self, interval_seconds: float = POLLING_SECONDS) -> None:
        self.wakeups = 0
        self._interval_seconds = interval_seconds
        self._roused = threading.Event()

    @property
    def longest_sleep_seconds(self) -> float:
        """The interval."""
        return self._interval_seconds

    def sleep(self, timeout_seconds: float) -> None:
        """See ``Notifier``."""
        self._roused.wait(min(timeout_seconds, threading.TIMEOUT_MAX))
        self._roused.clear()
        self.wakeups += 1

    def rouse(self) -> None:
        """See ``Notifier``."""
        self._roused.set()

    def close(self) -> None:
        """See ``Notifier``."""


class InotifyNotifier:
    """Is told by Linux. Needs ``inotify_simple``, one inotify instance and two descriptors.

    Raises ``ImportError`` if the library isn't there, and ``OSError`` if the system has no instance or watch left (or
    no such file).
    """

    _closed = True  # what is closed in the end even if it could never be opened

    def __init__(self, path: str) -> None:
        from inotify_simple import INotify, flags  # noqa: PLC0415 - an extra

        self.wakeups = 0
        self._is_gone = False
        self._gone_mask = flags.IGNORED | flags.UNMOUNT
        self._inotify = INotify(nonblocking=True)
        try:
            self._inotify.add_watch(path, flags.MODIFY)
            self._rouser = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            self._inotify.close()
            raise
        self._poll = select.poll()  # type: ignore[attr-defined, unused-ignore]
        self._poll.register(self._inotify.fileno(), select.POLLIN)  # type: ignore[attr-defined, unused-ignore]
        self._poll.register(self._rouser, select.POLLIN)  # type: ignore[attr-defined, unused-ignore]
        self._closed = False

    @property
    def tells_own_changes(self) -> bool:
        """True, unless the file that was watched is gone."""
        return not self._is_gone

    @property
    def longest_sleep_seconds(self) -> float:
        """Long, unless the file that was watched is gone."""
        return POLLING_SECONDS if self._is_gone else SAFETY_SECONDS

    def sleep(self, timeout_seconds: float) -> None:
        """See ``Notifier``."""
        # Rounded up, or the last part of a millisecond would be a busy loop.
        timeout_ms = None if math.isinf(timeout_seconds) else math.ceil(min(timeout_seconds, 86400) * 1000)
        for descriptor, _ in self._poll.poll(timeout_ms):
            if descriptor == self._rouser:
                os.eventfd_read(self._rouser)  # type: ignore[attr-defined, unused-ignore]
            else:
                # An overflow (IN_Q_OVERFLOW) needs nothing of its own: whatever is read here leads to a look.
                for event in self._inotify.read(timeout=0):
                    if event.mask & self._gone_mask:
                        _logger.info("the head file isn't watched any more (it was removed, or unmounted); polling it")
                        self._is_gone = True
        self.wakeups += 1

    def rouse(self) -> None:
        """See ``Notifier``."""
        try:
            os.eventfd_write(self._rouser, 1)  # type: ignore[attr-defined, unused-ignore]
        except BlockingIOError:  # it was roused 2**64 - 2 times
            return

    def close(self) -> None:
        """See ``Notifier``."""
        if not self._closed:
            self._closed = True
            self._inotify.close()
            os.close(self._rouser)

    def __del__(self) -> None:
        self.close()


def open_notifier(path: str) -> Notifier:
    """The best notifier for the file at ``path`` that there is here. It never fails: polling always works."""
    if sys.platform == "linux":
        try:
            return InotifyNotifier(path)
        except ImportError:
            _logger.info("%s is polled every %g s; with execstore[watch] the kernel would tell", path, POLLING_SECONDS)
        except (OSError, AttributeError) as error:
            # AttributeError: a C library without inotify.
            _logger.info("%s is polled every %g s, since inotify can't be had: %s", path, POLLING_SECONDS, error)
    return PollingNotifier()


class _Waiter:
    """A thread that waits for the number to be above ``after``, on a lock of its own.

    On a condition they would all have to come through its one lock after each change, one after the other.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self._bell = threading.Lock()
        self._bell.acquire()

    def sleep(self, timeout_seconds: float) -> bool:
        """Whether it was roused, rather than that the time is over."""
        return self._bell.acquire(timeout=min(timeout_seconds, threading.TIMEOUT_MAX))

    def rouse(self) -> None:
        """Once."""
        self._bell.release()


class Lookout:
    """Lets any number of threads wait for a number to grow, at the cost of one that sleeps.

    There is no thread of its own: of those who wait, one keeps the lookout and tells the others; when it has what it
    waited for, another takes over. So nothing runs while nobody waits. Whoever asks for less than was told already gets
    its answer without a lock or a system call.

    ``latest`` gives the number whatever it takes; ``peek`` gives it if that is cheap, else ``None``. What they raise
    reaches the one thread that keeps the lookout. It calls ``on_news`` with each new number before it tells the others.
    Of news in quick succession all are told together, every millisecond.
    """

    def __init__(
        self,
        latest: Callable[[], int],
        peek: Callable[[], int | None],
        open_notifier: Callable[[], Notifier],
        on_news: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._look_thoroughly = latest
        self._peek = peek
        self._open_notifier = open_notifier
        self._on_news = on_news
        self._told_at = -math.inf
        self._changed = threading.Condition()  # its lock guards all below; only `close` waits on it
        self._latest = -1
        self._waiting: dict[_Waiter, None] = {}
        self._keeper: threading.Thread | None = None
        self._notifier: Notifier | None = None
        self._closed = False

    @property
    def notifier(self) -> Notifier | None:
        """What tells it, once anybody has waited."""
        return self._notifier

    def wait(self, after: int, timeout_seconds: float, interrupted: Callable[[], bool]) -> int:
        """Wait until the number is above ``after``, and return it, or a lower one that is above ``after``, too.

        It returns 0 after ``timeout_seconds``, when ``interrupted()`` is true, and when it is closed. Every ``wake``
        makes it ask ``interrupted`` again.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while True:
                if self._closed or interrupted():
                    return 0
                if self._latest > after:
                    return self._latest
                waiter = self._keep_or_queue(after, deadline, interrupted)
                if waiter is not None and not waiter.sleep(max(deadline - time.monotonic(), 0)):
                    with self._changed:
                        self._waiting.pop(waiter, None)
                if self._latest <= after and time.monotonic() >= deadline:
                    return 0
        finally:
            if self._keeper is None and self._waiting:
                with self._changed:
                    if self._keeper is None:
                        self._rouse(islice(self._waiting, 1))

    def _keep_or_queue(self, after: int, deadline: float, interrupted: Callable[[], bool]) -> _Waiter | None:
        """Keep the lookout if nobody does; else be queued among those who are told."""
        with self._changed:
            if self._keeper is None:
                # Even if the time is over: the number known here is old if nobody has waited for a while.
                self._keep(after, deadline, interrupted)
                return None
            # Asked under the lock that `wake` takes, so that no request falls between the question and the queue.
            if self._closed or interrupted() or self._latest > after:
                return None
            waiter = _Waiter(after)
            self._waiting[waiter] = None
            return waiter

    def _rouse(self, waiters: Iterable[_Waiter]) -> None:
        """Rouse some of those who wait. Under the lock, so that each is roused once."""
        for waiter in list(waiters):
            del self._waiting[waiter]
            waiter.rouse()

    def wake(self) -> None:
        """Make every waiting thread ask its ``interrupted`` at once."""
        with self._changed:
            self._rouse(self._waiting)
            self._rouse_keeper()

    def own_change(self) -> None:
        """Say that this process has committed something. Cheap."""
        notifier = self._notifier
        # Without the lock, since whoever becomes the keeper after this looks before it sleeps.
        if notifier is not None and self._keeper is not None and not notifier.tells_own_changes:
            with self._changed:
                self._rouse_keeper()

    def close(self) -> None:
        """Let every waiting thread return, and give back what the notifier took. Twice is fine."""
        with self._changed:
            self._closed = True
            self._rouse(self._waiting)
            self._rouse_keeper()
            if self._keeper is not threading.current_thread():
                # Only so long: the keeper may be in a look that waits for another process's lock. It then cleans up.
                self._changed.wait_for(lambda: self._keeper is None, _CLOSING_SECONDS)
            if self._keeper is None:
                self._drop_notifier()

    def abandon(self) -> None:
        """Give back what a forked child has inherited, without touching what it shares with its parent."""
        self._drop_notifier()

    # --- the keeper; all but its sleep and its looks is done under the lock ---

    def _keep(self, after: int, deadline: float, interrupted: Callable[[], bool]) -> None:
        """Keep the lookout until the number is above ``after``, or there is something else to do."""
        self._keeper = threading.current_thread()
        try:
            notifier = self._notifier
            if notifier is None:
                notifier = self._notifier = self._open_notifier()
            self._changed.release()
            try:
                self._let_news_gather()
                number: int | None = self._look_thoroughly()
                while True:
                    if number is not None and number > self._latest:
                        self._tell(number)
                    if self._latest > after or self._closed or interrupted():
                        return
                    remaining_seconds = deadline - time.monotonic()
                    if remaining_seconds <= 0:
                        return
                    number = self._sleep_and_look(notifier, remaining_seconds, was_unsettled=number is None)
            finally:
                self._changed.acquire()
        finally:
            self._keeper = None
            if self._closed:
                self._drop_notifier()
                self._changed.notify_all()

    def _sleep_and_look(self, notifier: Notifier, remaining_seconds: float, *, was_unsettled: bool) -> int | None:
        if not was_unsettled:
            notifier.sleep(min(remaining_seconds, notifier.longest_sleep_seconds))
            self._let_news_gather()
            return self._peek()
        started = time.monotonic()
        notifier.sleep(min(remaining_seconds, notifier.longest_sleep_seconds, _UNSETTLED_SECONDS))
        number = self._peek()
        if number is None and time.monotonic() - started >= _UNSETTLED_SECONDS:
            return self._look_thoroughly()
        return number

    def _let_news_gather(self) -> None:
        """To wake many threads for each of many commits in a row would take more time than the commits."""
        soon_seconds = self._told_at + _GATHERING_SECONDS - time.monotonic()
        if soon_seconds > 0:
            time.sleep(soon_seconds)

    def _tell(self, number: int) -> None:
        self._on_news(number)
        with self._changed:
            self._latest = number
            self._told_at = time.monotonic()
            self._rouse([waiter for waiter in self._waiting if waiter.after < number])

    def _rouse_keeper(self) -> None:
        if self._keeper is not None and self._notifier is not None:
            self._notifier.rouse()

    def _drop_notifier(self) -> None:
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.close()
