"""``execstore explain recovery``: what the first user after a power cut does, and that it may be cut off, too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from execstore.explain.commit import NEW, create
from execstore.explain.crash import Disk
from execstore.explain.kinds import kind_of
from execstore.explain.parts import Entry, Heading, Step
from execstore.explain.recording import OPENED, Recording, snapshot
from execstore.explain.scratch import build, open_recorded
from execstore.explain.story import Story, is_shown, steps
from execstore.explain.summary import summarise
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.head import parse_head
from execstore.tree.names import HEAD_PATH, JOURNAL_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from execstore.explain.commit import Created
    from execstore.explain.crash import Cut
    from execstore.explain.parts import Part
    from execstore.explain.place import Place
    from execstore.explain.recording import Call, Item

__all__ = ["damage", "explain"]

# Of a cut in the middle of showing a change, the messiest first.
_MESSY = ("NULs", "names", "not oldest", "torn last", "everything")


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:  # noqa: ARG001 - it is of a disk that keeps its word
    """The parts of the explanation, each as soon as it is known."""
    created = create(place, observed=False)
    shutil.rmtree(place.store)
    middle = _messy_cut(_cuts_where(created, _is_half_shown) or _cuts_where(created, _is_durable))
    wanted = _after(created)
    yield Heading(
        "The power went in the middle",
        (
            f"A program was creating {NEW}. Its record was flushed, and its files were being written.",
            "Then the power went. Of the files, the disk had this:",
        ),
    )
    yield from damage(middle.files, wanted, created.start)
    first: list[Step] = []
    for part in _opening(place, middle, created.story, place.store):
        if isinstance(part, Step):
            first.append(part)
        yield part
    yield Heading(
        "The power went a moment earlier",
        (
            "The record was still being written, and wasn't flushed. Its first half reached the disk.",
            "Nobody had been told that it is done.",
        ),
    )
    torn = _torn_cut(_cuts_where(created, _is_staging))
    yield from damage(torn.files, wanted, created.start, only=JOURNAL_PATHS)
    second: list[Step] = []
    for part in _opening(place, torn, created.story, place.new("opened"), first_number=len(first) + 1):
        if isinstance(part, Step):
            second.append(part)
        yield part
    yield summarise([*first, *second], also=_same((first, second)))


def _same(openings: Sequence[Sequence[Step]]) -> Iterator[str]:
    """That a recovery which is cut off comes to the same, as it happened."""
    outcomes = [[cut.number for step in opening for cut in step.cuts] for opening in openings]
    if all(len(set(numbers)) == 1 for numbers in outcomes):
        number = sum(map(len, outcomes))
        yield f"The recoveries themselves were cut off {number} times. They always came to the same in the end."
        yield "That is why each step of a record says what is to be, and not what to add."


# --- choosing a cut by what it is, not by its place in the engine's order -------------------------------------------


def _is_half_shown(call: Call, disk: Disk) -> bool:
    """The head on this disk, had all been written back, says that files are being changed."""
    item = next(cut for cut in disk.cuts() if cut.name in {"everything", "as it is"}).files.get(HEAD_PATH)
    head = None if item is None else parse_head(item.data)
    return head is not None and head.begun != head.published and kind_of(call.path).name != "head"


def _is_durable(call: Call, disk: Disk) -> bool:  # noqa: ARG001 - any disk
    return call.makes_durable


def _is_staging(call: Call, disk: Disk) -> bool:
    return call.path in JOURNAL_PATHS and call.changes and bool(disk.pending())


def _cuts_where(created: Created, fits: Callable[[Call, Disk], bool]) -> list[Cut]:
    """The cuts after the last of the shown calls that fits."""
    disk = Disk(created.start)
    numbers = {call.number for call in created.shown}
    found: list[Cut] = []
    for call in created.calls:
        disk.apply(call)
        if call.number in numbers and fits(call, disk):
            found = disk.cuts()
    return found


def _messy_cut(cuts: Sequence[Cut]) -> Cut:
    return next((cut for name in _MESSY for cut in cuts if cut.name == name), cuts[0])


def _torn_cut(cuts: Sequence[Cut]) -> Cut:
    return next((cut for cut in cuts if cut.name == "torn"), cuts[0])


def _after(created: Created) -> Mapping[str, Item]:
    disk = Disk(created.start)
    for call in created.calls:
        disk.apply(call)
    return next(cut for cut in disk.cuts() if cut.name in {"everything", "as it is"}).files


def damage(
    found: Mapping[str, Item],
    wanted: Mapping[str, Item],
    before: Mapping[str, Item],
    *,
    only: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """How files differ from what they were to be. ``before`` is how they were before the change."""
    for path in sorted(wanted.keys() | found.keys()) if only is None else only:
        have, want = found.get(path), wanted.get(path)
        if have != want:
            kind = kind_of(path)
            yield Entry(path, _how(have, want, before.get(path)), kind.sentence, kind.section, in_tree=False)


def _how(have: Item | None, want: Item | None, old: Item | None) -> str:
    if have is None:
        return "missing"
    if want is None or have.kind != want.kind:
        return "left over"
    if have == old:
        return "as it was before"
    if not have.data:
        return "empty"
    if not have.data.strip(b"\0"):
        return "full of NULs"
    if len(have.data) != len(want.data):
        return f"{len(have.data):,} of {len(want.data):,} bytes"
    return "torn"


# --- opening it -----------------------------------------------------------------------------------------------------


def _opening(place: Place, cut: Cut, story: Story, path: str, *, first_number: int = 1) -> Iterator[Part]:
    """Build what a cut left at ``path``, and open it, step by step."""
    expected = place.recover(cut.files, f"{first_number:02}-found")
    number = story.number_of(expected.content) or 0
    build(path, cut.files)
    start = snapshot(RealFileSystem(path))
    recording = Recording()
    with open_recorded(path, recording):
        recording.note(OPENED)
        calls = list(recording.calls)
    again = replace(story, promised=lambda _: number)
    shown = _without_repetition(call for call in calls if is_shown(call) or call.operation in {"read", "lock"})
    yield from steps(place, start, calls, shown, again, first_number=first_number)
    outcome = again.say(expected.content, expected.problem)
    yield Heading(f"The store is open: {outcome}")


def _without_repetition(calls: Iterator[Call]) -> list[Call]:
    """Many reads of one file, one after the other, are one step."""
    found: list[Call] = []
    for call in calls:
        if found and call.operation == "read" and (call.operation, call.path) == (found[-1].operation, found[-1].path):
            continue
        found.append(call)
    return found
