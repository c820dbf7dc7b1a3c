"""Runs steps on a simulated store, stops at every call, and checks what every crash there leaves.

What holds of each state is said in `Explorer.check`. A failure names the seed and the place, so it can be run again.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from execstore.errors import ExecStoreError, StoreBusyError, StoreNotFoundError
from execstore.watcher import EventIterator, GetEventsRequest
from tests.crash.simulated import Image, Plan
from tests.crash.workload import (
    LATER_NS,
    Content,
    Model,
    SimulatedStore,
    check_model,
    content_of,
    view_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.crash.simulated import Call
    from tests.crash.workload import Step

__all__ = ["EMPTY", "Explorer", "LossError", "Reference", "Thoroughness"]

EMPTY = Content({}, {})


class LossError(AssertionError):
    """A crash left what it must not leave."""


class Thoroughness(NamedTuple):
    """How many states are made of each stop."""

    #: Take every combination if there are no more than this many.
    bound: int = 12
    #: Else this many: corners, then by chance.
    limit: int = 6
    #: Of so many states, one has its recovery cut off at every call, and one is worked on afterwards.
    recovery_every: int = 150
    work_every: int = 12
    #: States made of each stop within a recovery.
    recovery_limit: int = 2


class Reference:
    """What each of some steps must leave, found by doing them without a crash, and checked against the model.

    ``contents[i]`` is what there is after ``i`` steps; ``images[i]`` the same as a store that was closed cleanly.
    """

    def __init__(self, steps: Sequence[Step], start: Image | None = None, model: Model | None = None) -> None:
        self.steps = list(steps)
        image = Image() if start is None else start.fork()
        model = Model() if model is None else model
        store = SimulatedStore(image)
        self.contents = [content_of(image)]
        self.images = [_closed(image)]
        for step in self.steps:
            step.run(store)
            step.imagine(model)
            content = content_of(image)
            check_model(content, model)
            self.contents.append(content)
            self.images.append(_closed(image))

    def after(self, index: int, steps: Sequence[Step]) -> list[Content]:
        """What other steps, at a later time, make of the content after ``index`` steps; one for each of them."""
        image = self.images[index].fork()
        store = SimulatedStore(image, now_ns=LATER_NS)
        found = []
        for step in steps:
            step.run(store)
            found.append(content_of(image))
        return found


def _closed(image: Image) -> Image:
    """The image once its store was opened by another process and closed."""
    image = image.fork()
    SimulatedStore(image).close()
    return image


class Explorer:
    """Counts the states that it checks."""

    def __init__(self, seed: int, thoroughness: Thoroughness | None = None, *, syncs_all: bool = True) -> None:
        self.seed = seed
        self.thoroughness = Thoroughness() if thoroughness is None else thoroughness
        self.syncs_all = syncs_all
        self.states = 0
        self.stops = 0
        self.chance = random.Random(seed)
        #: Handles without the right to write, open beside those that write; what they are shown must stay.
        self.reader: SimulatedStore | None = None
        self._seen: set[tuple[int, ...]] = set()
        self._verified: set[int] = set()
        self._place: list[object] = []

    def __str__(self) -> str:
        return f"{self.states} crash states at {self.stops} stops (seed {self.seed})"

    # --- one process ---

    def history(self, reference: Reference, *, with_making: bool = False) -> None:
        """Do the steps one after the other, and close the store; stop at every call.

        ``with_making``: also at each call of making the store.
        """
        image = Image()
        allowed: tuple[Content, ...] = (EMPTY,)
        index: int | None = -1

        def after(image: Image, found: Content) -> None:
            if index is not None:
                self._work_on(image, found, reference, index)

        def watch(call: Call) -> None:
            with self.at(call):
                self.stop(image, self.narrowed(image, allowed), after)

        with self.at("making the store"):
            store = SimulatedStore(image, watch if with_making else None, syncs_all=self.syncs_all)
            store.file_system.watch = watch
        self.reader = SimulatedStore(image, read_only=True)
        for index, step in enumerate(reference.steps):
            allowed = (reference.contents[index], reference.contents[index + 1])
            with self.at(f"step {index}, {step.kind}"):
                step.run(store)
                allowed = (reference.contents[index + 1],)
                self.stop(image, allowed)
        index = None
        with self.at("closing the store"):
            store.close()
            self.stop(image, allowed)

    def stop(
        self, image: Image, allowed: Sequence[Content], after: Callable[[Image, Content], None] | None = None
    ) -> None:
        """Check what may be left of this moment: by the death of all processes, and by a power cut."""
        self.stops += 1
        self.check(image.fork(), allowed, after)
        amount = self.thoroughness
        for number, cut in enumerate(Plan(image).images(self.chance, amount.bound, amount.limit)):
            with self.at(f"cut {number}"):
                self.check(cut, allowed, after)

    def check(
        self,
        image: Image,
        allowed: Sequence[Content],
        after: Callable[[Image, Content], None] | None = None,
        *,
        depth: int = 0,
    ) -> None:
        """A store in this state

        - shows a reader without the right to write exactly one of the allowed contents, and isn't touched by that,
        - has that content, in every byte, once a writer opened it,
        - has it again if that writer dies, and if the power is cut before it did anything more,
        - is without a fault for `Store.verify`, and a watcher sees every event,
        - and, for some of them: gets there too if it is cut off at any call of its recovery, and works afterwards.
        """
        key = (image.fingerprint(), *map(id, allowed))
        if depth == 0:
            if key in self._seen:
                return
            self._seen.add(key)
        self.states += 1
        number = self.states
        amount = self.thoroughness
        cut_recovery = depth == 0 and number % amount.recovery_every == 0
        before = image.fork() if cut_recovery else None
        seen = self._seen_by_reader(image, allowed)
        try:
            store = SimulatedStore(image, syncs_all=self.syncs_all)
        except ExecStoreError as error:
            raise self._lost(f"the store can't be opened: {error!r}") from error
        found = content_of(image)
        if found not in allowed:
            raise self._lost(f"the store holds what it must not hold: {_difference(found, allowed)}")
        if seen is not None and seen != (found.seen(), found.values):
            raise self._lost("a handle that may only read saw something else than what a recovery brought")
        self._verify(store, found)
        store.kill()
        work = after is not None and number % amount.work_every == 0
        worked_on = image.fork() if work else None
        cut = Plan(image).nothing()
        for state, reason in ((image, "its process died"), (cut, "the power was cut")):
            try:
                SimulatedStore(state, syncs_all=self.syncs_all).kill()
            except ExecStoreError as error:
                raise self._lost(f"the store can't be opened a second time, after {reason}: {error!r}") from error
            if content_of(state) != found:
                raise self._lost(f"a recovery was undone when {reason}: {_difference(content_of(state), [found])}")
        if before is not None:
            with self.at("in the recovery"):
                self._cut_recovery(before, allowed)
        if worked_on is not None and after is not None:
            with self.at("afterwards"):
                after(worked_on, found)

    def _cut_recovery(self, image: Image, allowed: Sequence[Content]) -> None:
        """Recover with a stop at every call."""

        def watch(call: Call) -> None:
            with self.at(call):
                narrowed = self.narrowed(image, tuple(allowed))
                self.check(image.fork(), narrowed, depth=1)
                for cut in Plan(image).images(self.chance, 2, self.thoroughness.recovery_limit):
                    self.check(cut, narrowed, depth=1)

        SimulatedStore(image, watch, syncs_all=self.syncs_all).kill()

    def _work_on(self, image: Image, found: Content, reference: Reference, index: int) -> None:
        """A user tries again what wasn't answered, then goes on; all of it is there after one more power cut."""
        if found not in reference.contents[max(index, 0) : index + 2]:
            raise self._lost("there is nothing to go on from")
        done = index + 1 if found == reference.contents[index + 1] else index
        steps = reference.steps[done : done + 2]
        expected = reference.after(done, steps)
        store = SimulatedStore(image, syncs_all=self.syncs_all, now_ns=LATER_NS)
        for step, content in zip(steps, expected, strict=True):
            step.run(store)
            if content_of(image) != content:
                raise self._lost(f"work after a recovery: {_difference(content_of(image), [content])}")
            for cut in (Plan(image).nothing(), Plan(image).everything(), image.fork()):
                self.check(cut, (content,), depth=1)

    # --- looking ---

    def _seen_by_reader(
        self, image: Image, allowed: Sequence[Content]
    ) -> tuple[dict[str, bytes | bool], object] | None:
        before = image.stamp
        try:
            reader = SimulatedStore(image, read_only=True)
            seen = reader.look(view_of)
        except StoreNotFoundError:
            if EMPTY not in allowed:
                raise self._lost("a handle that may only read finds no store") from None
            return None
        except ExecStoreError as error:
            raise self._lost(f"a handle that may only read can't: {error!r}") from error
        reader.kill()
        if image.stamp != before:
            raise self._lost("a handle that may only read has written")
        return seen

    def narrowed(self, image: Image, allowed: tuple[Content, ...]) -> tuple[Content, ...]:
        """What others have been shown by now must stay, whether its writer was told or not. Oldest content first."""
        if len(allowed) == 1:
            return allowed
        shown = self.shown(image, allowed)
        return allowed if shown is None else allowed[allowed.index(shown) :]

    def shown(self, image: Image, allowed: Sequence[Content]) -> Content | None:
        """What a reader sees beside the processes that there are; ``None`` if it would have to wait."""
        reader = self.reader
        if reader is None or reader.file_system.image is not image:
            reader = SimulatedStore(image, read_only=True)
        try:
            seen, values = reader.look(view_of)
        except StoreBusyError:
            return None
        finally:
            if reader is not self.reader:
                reader.kill()
        for content in allowed:
            if content.values == values and content.seen() == seen:
                return content
        raise self._lost("a reader beside the writer sees half of a change, or goes back")

    def _verify(self, store: SimulatedStore, found: Content) -> None:
        """Once for each content: a store's own checks, and its events as a watcher gets them."""
        key = hash((frozenset(found.files.items()), repr(found.values)))
        if key in self._verified:
            return
        self._verified.add(key)
        report = store.verify()
        if not report.ok:
            raise self._lost(f"verify finds {report.problems}")
        latest = store.event_store.get_latest_event_num()
        log = store.tree("log").log
        oldest = store.event_store.get_oldest_event_num()
        numbers = [number for number, _ in store.tree("log").read(lambda reader: log.read(reader, oldest, latest))]
        if numbers != list(range(oldest, latest + 1)):
            raise self._lost(f"a watcher gets the events {numbers} of {latest}")
        request = GetEventsRequest(EventIterator.latest())
        if store.event_store.get_events(request, timeout=0).events:
            raise self._lost("there is an event behind the latest one")

    @contextmanager
    def at(self, place: object) -> Iterator[None]:
        """Where a failure happens, for its message."""
        self._place.append(place)
        yield
        self._place.pop()

    def _lost(self, what: str) -> LossError:
        return LossError(f"{what}\nat {' / '.join(map(str, self._place))}\nafter {self}")


def _difference(found: Content, allowed: Sequence[Content]) -> str:
    """In what ``found`` differs from the nearest of the contents that would be right."""
    texts = []
    for content in allowed:
        paths = sorted(
            path for path in {*found.files, *content.files} if found.files.get(path) != content.files.get(path)
        )
        lines = [f"{path}: {found.files.get(path)!r:.300}, not {content.files.get(path)!r:.300}" for path in paths]
        if found.values != content.values:
            lines.append(f"values: {found.values}, not {content.values}")
        texts.append("\n  ".join(lines))
    return min(texts, key=len)
