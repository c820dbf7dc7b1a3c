"""The other process of ``execstore explain watch``: a watcher that tells each thing it does, as a line of JSON.

``python -m execstore.explain.follower STORE WATCHER [die]``; with ``die`` it kills itself behind the handler, before
the checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from execstore.event_log import StoreEventLog
from execstore.explain.kinds import kind_of
from execstore.explain.recording import Recording
from execstore.explain.scratch import open_recorded
from execstore.explain.story import is_shown
from execstore.explain.wording import RETURN, STAGE, describe, seed_of_folder, told_of
from execstore.notify import open_notifier
from execstore.watcher import EventStore, PlainSerializer, WatcherManager

if TYPE_CHECKING:
    from execstore.explain.recording import Call
    from execstore.notify import Notifier
    from execstore.watcher import Event

__all__ = ["HANDLED", "SLEEPS", "main", "moment_of", "tell_call"]

SLEEPS = "sleeps"
HANDLED = "handled"
_OF_THE_TREE = frozenset({"record", "events", "job", "job entry", "state", "state entry", "new"})


def tell_call(call: Call, checksum_seed: int) -> tuple[str, str]:
    """What to say of a call, and its phase; empty for what isn't worth a line."""
    if call.operation == "read":
        return ("reads the event log", "open") if kind_of(call.path).name == "log" else ("", "")
    if not is_shown(call):
        return "", ""
    words = describe(call, checksum_seed)
    if words.phase not in {STAGE, RETURN} and kind_of(call.path).name in _OF_THE_TREE:
        return "writes files of the tree", words.phase
    return told_of(words.title), words.phase


def moment_of(call: Call) -> int:
    """When it took effect, as far as another process can tell: a write once it began, all else once it is over."""
    return call.began_ns if call.changes else call.ended_ns


class _Told:
    """A notifier that tells when it sleeps and when it wakes."""

    def __init__(self, inner: Notifier) -> None:
        self._inner = inner

    @property
    def wakeups(self) -> int:
        return self._inner.wakeups

    @wakeups.setter
    def wakeups(self, number: int) -> None:
        self._inner.wakeups = number

    @property
    def tells_own_changes(self) -> bool:
        return self._inner.tells_own_changes

    @property
    def longest_sleep_seconds(self) -> float:
        return self._inner.longest_sleep_seconds

    def sleep(self, timeout_seconds: float) -> None:
        by_kernel = self._inner.tells_own_changes
        how = "until head is written (inotify)" if by_kernel else f"for {self.longest_sleep_seconds:g} s (polling)"
        _tell(SLEEPS, f"sleeps {how}", "open")
        self._inner.sleep(timeout_seconds)
        _tell("", "wakes up, and looks at head", "open")

    def rouse(self) -> None:
        self._inner.rouse()

    def close(self) -> None:
        self._inner.close()


def _tell(what: str, title: str, phase: str, at_ns: int | None = None, number: int = 0) -> None:
    moment = {"what": what, "title": title, "phase": phase, "number": number}
    line = json.dumps(moment | {"at_ns": time.monotonic_ns() if at_ns is None else at_ns})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(path: str, watcher_id: str, *, dies: bool) -> None:
    """Follow until one event was handled."""
    checksum_seed = seed_of_folder(path)
    is_open = False

    def told(call: Call) -> None:
        title, phase = tell_call(call, checksum_seed)
        if title and is_open:
            _tell("", title, phase, moment_of(call))

    handled = threading.Event()

    def handle(event: Event) -> None:
        _tell(
            HANDLED, f"handler is given event {event.seq_num} ({event.operation.value})", RETURN, number=event.seq_num
        )
        if dies:
            _tell("", "is killed, before it could store a checkpoint", "dead")
            os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined, unused-ignore]
        watcher.checkpoint(event.seq_num)
        _tell("", f"checkpoint({event.seq_num}) returns", RETURN)
        handled.set()

    with open_recorded(path, Recording(after=told)) as store:
        is_open = True
        log = StoreEventLog(store, notifier=lambda head: _Told(open_notifier(head)))
        with WatcherManager(EventStore(log, serializer=PlainSerializer())) as manager:
            watcher = manager.create(watcher_id, handler=handle)
            watcher.start()
            handled.wait()
            is_open = False


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], dies="die" in sys.argv[3:])
