"""``execstore explain commit``: one create, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore import Event
from execstore.explain.parts import Heading, Step
from execstore.explain.recording import Recording, snapshot
from execstore.explain.scratch import content_of, make_store, new_execution, open_recorded
from execstore.explain.story import Observer, Story, is_shown, steps
from execstore.explain.summary import summarise
from execstore.tree.filesystem import RealFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.explain.parts import Part
    from execstore.explain.place import Place
    from execstore.explain.recording import Call, Item
    from execstore.explain.scratch import Content

__all__ = ["Created", "create", "explain", "story_of_one"]

OLD, NEW = "e-1", "e-2"


class Created:
    """A create that was recorded: ``calls`` from the opening to the closing, ``shown`` those of the create itself."""

    def __init__(
        self, start: Mapping[str, Item], calls: list[Call], shown: list[Call], story: Story, observer: Observer
    ) -> None:
        self.start, self.calls, self.shown, self.story, self.observer = start, calls, shown, story, observer


def story_of_one(before: Content, after: Content) -> Story:
    """Of one change: before it, and after it."""
    words = (f"{NEW} is not there at all", f"{NEW} is there, whole")
    return Story((before, after), words.__getitem__, ("not there", "there").__getitem__, len)


def create(place: Place, *, observed: bool = True) -> Created:
    """Make a store with one execution, create another one, and record it."""
    make_store(place.store, new_execution(OLD))
    start = snapshot(RealFileSystem(place.store))
    observer = Observer(place.store)
    recording = Recording(after=observer.look)
    with open_recorded(place.store, recording) as store:
        before = content_of(store)
        first = len(recording.calls)
        observer.on = observed
        store.create_execution(new_execution(NEW), Event("Execution", "the bid was accepted"))
        recording.note("returned", NEW)
        observer.on = False
        last = len(recording.calls)
        after = content_of(store)
    calls = recording.calls[:last]
    return Created(
        start, calls, [call for call in calls[first:] if is_shown(call)], story_of_one(before, after), observer
    )


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:
    """The parts of the explanation, each as soon as it is known."""
    yield Heading(
        "How a create becomes durable, whole, and visible at one moment",
        (
            f"A store holds the execution {OLD}. A program calls create_execution for {NEW}.",
            "Below is each call that the engine then makes to the file system, in order.",
            "After each of them the power is cut, in several ways, and the store is opened again.",
            "All of that really happens.",
        ),
    )
    created = create(place)
    told: list[Step] = []
    for step in steps(
        place, created.start, created.calls, created.shown, created.story, observer=created.observer, lies=lies
    ):
        told.append(step)
        yield step
    yield summarise(told, lies=lies)
