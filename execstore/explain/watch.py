"""``execstore explain watch``: how an event gets from a commit in one process to a handler in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import execstore
from execstore.errors import CheckpointNotFoundError
from execstore.explain.follower import HANDLED, SLEEPS, moment_of, tell_call
from execstore.explain.parts import Heading, Lane, Verdict
from execstore.explain.recording import RETURNED, Recording, snapshot
from execstore.explain.scratch import make_store, new_execution, open_recorded
from execstore.explain.wording import seed_of
from execstore.tree.filesystem import RealFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from execstore import Store
    from execstore.explain.parts import Part
    from execstore.explain.place import Place

__all__ = ["explain"]

_WATCHER: Final = "mailer"
_WRITER: Final = "writer"
_PATIENCE_SECONDS: Final = 60.0


class _Follower:
    """The other process, and what it tells."""

    def __init__(self, path: str, *, dies: bool = False) -> None:
        root = os.path.dirname(os.path.dirname(os.path.abspath(execstore.__file__)))
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(  # noqa: S603 - this Python, this package, a path of ours
            [sys.executable, "-m", "execstore.explain.follower", path, _WATCHER, *(["die"] if dies else [])],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        # Nothing here takes a second; who hangs is ended rather than waited for.
        self._timer = threading.Timer(_PATIENCE_SECONDS, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        self.moments: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it hasn't ended by itself: nobody listens any more."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def read(self, until: str = "") -> None:
        """Take what it tells, to its end or to the first of these."""
        output = self._process.stdout
        if output is None:
            return
        for line in output:
            moment: dict[str, Any] = json.loads(line)
            self.moments.append(moment)
            if until and moment["what"] == until:
                return
        self._process.wait()

    def handled(self) -> list[int]:
        """The numbers of the events that its handler was given."""
        return [moment["number"] for moment in self.moments if moment["what"] == HANDLED]


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:  # noqa: ARG001 - nothing is cut off here
    """The parts of the explanation, each as soon as it is known."""
    make_store(place.store)
    checksum_seed = seed_of(snapshot(RealFileSystem(place.store)))
    moments: list[dict[str, Any]] = []
    recording = Recording()
    with open_recorded(place.store, recording) as store:
        yield Heading(
            "An event goes from one process to another",
            (
                f"Two processes have the store open: a {_WRITER}, and {_WATCHER}, a watcher with a handler.",
                "They share nothing but the files. The event log is what is handed over.",
                "Head is the bell: each commit writes to it, so it is enough to wait for that.",
            ),
        )
        with _Follower(place.store) as follower:
            follower.read(SLEEPS)
            moments = _create(store, recording, "e-1", checksum_seed)
            follower.read()
        yield from _lanes([*moments, *_told(follower)])
        yield _checkpoint(store)
        yield Heading(
            "The watcher is killed behind its handler",
            ("It has handled the event, and can't say so any more: kill -9 comes before the checkpoint.",),
        )
        with _Follower(place.store, dies=True) as dying:
            dying.read(SLEEPS)
            moments = _create(store, recording, "e-2", checksum_seed)
            dying.read()
        yield from _lanes([*moments, *_told(dying)])
        yield _checkpoint(store)
        yield Heading(
            "It is started again",
            ("It goes on behind its checkpoint, and not behind what it may have handled.",),
        )
        with _Follower(place.store) as again:
            again.read()
        yield from _lanes(_told(again))
        yield _checkpoint(store)
        checkpoint = _stored(store)
        latest = store.event_store.get_latest_event_num()
    yield _verdict([*follower.handled(), *dying.handled(), *again.handled()], checkpoint, latest)


def _create(store: Store, recording: Recording, execution_id: str, checksum_seed: int) -> list[dict[str, Any]]:
    """Create an execution; what this process did."""
    first = len(recording.calls)
    store.create_execution(new_execution(execution_id))
    recording.note(RETURNED, execution_id)
    moments = []
    for call in recording.calls[first:]:
        title, phase = tell_call(call, checksum_seed)
        if title and call.operation != "read":
            title = "create_execution returns" if call.operation == RETURNED else title
            moments.append({"who": _WRITER, "at_ns": moment_of(call), "title": title, "phase": phase})
    return moments


def _told(follower: _Follower) -> list[dict[str, Any]]:
    """What the other process told, from the first sleep, or all of it."""
    return [{"who": _WATCHER, **moment} for moment in follower.moments]


def _lanes(moments: list[dict[str, Any]]) -> Iterator[Lane]:
    moments = sorted(moments, key=lambda moment: moment["at_ns"])
    began_ns = next((each["at_ns"] for each in moments if each["who"] == _WRITER), moments[0]["at_ns"])
    number = 0
    last = ("", "")
    for moment in moments:
        this = (moment["who"], moment["title"])
        if this == last:
            continue
        last = this
        number += 1
        at_us = (moment["at_ns"] - began_ns) / 1000
        yield Lane(number, moment["who"], at_us, moment["title"], moment["phase"])


def _stored(store: Store) -> int:
    try:
        return store.event_store.get_checkpoint(_WATCHER)
    except CheckpointNotFoundError:
        return 0


def _checkpoint(store: Store) -> Verdict:
    latest = store.event_store.get_latest_event_num()
    return Verdict((f"checkpoints/{_WATCHER}.json says {_stored(store)}; the newest event of the log is {latest}.",))


def _verdict(handled: list[int], checkpoint: int, latest: int) -> Verdict:
    missed = sorted(set(range(1, latest + 1)) - set(handled))
    twice = sorted({number for number in handled if handled.count(number) > 1})
    in_order = handled == sorted(handled)
    broken = []
    sentences = [f"The handlers were given the events {', '.join(map(str, handled))}, of {latest} in the log."]
    if missed:
        broken.append(f"Left out: {', '.join(map(str, missed))}.")
    else:
        sentences.append("None was left out.")
    if in_order:
        sentences.append("They came in order.")
    else:
        broken.append("They came in another order.")
    if checkpoint != latest:
        broken.append(f"In the end the checkpoint says {checkpoint}.")
    if twice:
        sentences.append(
            f"Event {twice[0]} came twice: at least once is the promise. "
            "A handler must bear that, or keep the number together with its effect, in one transaction."
        )
    return Verdict(tuple(sentences), tuple(broken))
