"""From calls to steps: each with what it did, what a reader saw, and power cuts that are really made and recovered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from execstore import Store
from execstore.errors import ExecStoreError
from execstore.explain.crash import Disk
from execstore.explain.parts import HALF, LOST, CutResult, Seen, Step
from execstore.explain.recording import OPENED, RETURNED
from execstore.explain.scratch import glance
from execstore.explain.wording import describe, difference, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from execstore.explain.crash import Cut
    from execstore.explain.place import Place
    from execstore.explain.recording import Call, Item
    from execstore.explain.scratch import Content

__all__ = ["Observer", "Story", "is_shown", "steps"]


@dataclass(frozen=True, slots=True)
class Story:
    """What may be: the content after so many of the changes, and how to say it.

    ``contents[k]`` is what there is after ``k`` changes, ``words(k)`` says so, ``short(k)`` for a narrow column.
    ``promised`` gives how many must be there once the calls for these things (the paths of the notes `RETURNED`) have
    returned.
    """

    contents: Sequence[Content]
    words: Callable[[int], str]
    short: Callable[[int], str]
    promised: Callable[[Sequence[str]], int]

    def number_of(self, content: Content | None) -> int | None:
        """How many changes make this content; ``None``: no number does."""
        return next((number for number, each in enumerate(self.contents) if each == content), None)

    def number_seen(self, glance: Content | None) -> int | None:
        """The same for what `glance` saw."""
        return next((number for number, each in enumerate(self.contents) if each.at_a_glance() == glance), None)

    def say(self, content: Content | None, problem: str = "") -> str:
        """What there is, in words."""
        if content is None:
            return f"it can't be opened: {problem}"
        number = self.number_of(content)
        if number is None or problem:
            return f"{HALF}{': ' + problem if problem else ''}"
        return self.words(number)


@dataclass(slots=True)
class Observer:
    """Looks into the store, as a reader in another process would, right after each call that is shown.

    What it saw is kept as content: what it means is known once the story is over.
    """

    path: str
    seen: dict[int, Content | None] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    on: bool = False

    def look(self, call: Call) -> None:
        """For ``Recording.after``."""
        if not self.on or not is_shown(call):
            return
        try:
            with Store(self.path, read_only=True) as store:
                self.seen[call.number] = glance(store)
        except ExecStoreError as error:
            self.seen[call.number] = None
            self.problems[call.number] = str(error)


def is_shown(call: Call) -> bool:
    """Whether a call is a step: it changes something, makes it durable, or tells the caller."""
    return call.changes or call.makes_durable or call.operation in {OPENED, RETURNED}


def steps(
    place: Place,
    start: Mapping[str, Item],
    calls: Sequence[Call],
    shown: Iterable[Call],
    story: Story,
    *,
    observer: Observer | None = None,
    lies: bool = False,
    first_number: int = 1,
) -> Iterator[Step]:
    """Tell each of these calls, with power cuts right after it.

    ``start`` is the folder before the first of ``calls``, all of it durable. ``lies``: the disk reports flushes that it
    didn't do.
    """
    checksum_seed = seed_of(start)
    disk = Disk(start, lies=lies)
    numbers = {call.number for call in shown}
    returned: list[str] = []
    number = first_number - 1
    for call in calls:
        unflushed = _paths(disk) if call.makes_durable else ()
        disk.apply(call)
        if call.operation == RETURNED:
            returned.append(call.path)
        if call.number not in numbers:
            continue
        number += 1
        promised = story.promised(returned)
        cuts = disk.cuts() if is_shown(call) else []  # what only reads leaves nothing new
        results = [_result(place, cut, story, promised, f"{number:02}") for cut in cuts]
        yield Step(
            number,
            call,
            describe(call, checksum_seed),
            difference(call, checksum_seed),
            _paths(disk),
            tuple(path for path in unflushed if path not in _paths(disk)),
            _seen(observer, story, call),
            tuple(results),
        )


def _paths(disk: Disk) -> tuple[str, ...]:
    """Of what not all is durable."""
    return tuple(sorted({effect.path for effect in disk.pending()}))


def _result(place: Place, cut: Cut, story: Story, promised: int, prefix: str) -> CutResult:
    recovered = place.recover(cut.files, f"{prefix}-{cut.name.replace(' ', '-')}")
    number = None if recovered.problem else story.number_of(recovered.content)
    kept = number is None or number >= promised
    outcome = story.say(recovered.content, recovered.problem)
    if not kept:
        outcome = f"{LOST}: {outcome}"
    short = "half of it" if number is None else story.short(number) if kept else "lost"
    return CutResult(cut.name, cut.sentence, number, kept, outcome, short, recovered.rewritten)


def _seen(observer: Observer | None, story: Story, call: Call) -> Seen:
    if observer is None or call.number not in observer.seen:
        return Seen()
    content = observer.seen[call.number]
    number = story.number_seen(content)
    if number is not None:
        return Seen(story.words(number), story.short(number))
    return Seen(story.say(content, observer.problems.get(call.number, "")), "half of it", ok=False)
