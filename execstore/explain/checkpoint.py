"""``execstore explain checkpoint``: the journal's turn to its other file, and when old records may be written over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore import Execution, ExecutionState, State, UpdateExecutionRequest
from execstore.explain.parts import Heading, Step
from execstore.explain.recording import RETURNED, Recording, snapshot
from execstore.explain.scratch import JOURNAL_BYTES, content_of, make_store, new_execution, open_recorded
from execstore.explain.story import Story, is_shown, steps
from execstore.explain.summary import summarise
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.names import JOURNAL_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from execstore import Store
    from execstore.explain.parts import Part
    from execstore.explain.place import Place
    from execstore.explain.recording import Call

__all__ = ["explain"]

_ID: Final = "e-1"
_MOST_COMMITS: Final = 100


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:
    """The parts of the explanation, each as soon as it is known."""
    make_store(place.store, new_execution(_ID))
    start = snapshot(RealFileSystem(place.store))
    recording = Recording()
    with open_recorded(place.store, recording) as store:
        contents = [content_of(store)]
        commits: list[list[Call]] = []
        opened = first = len(recording.calls)
        while len(commits) < _MOST_COMMITS and _written_over(recording.calls[opened:]) is None:
            _update(store, len(commits) + 1)
            recording.note(RETURNED, _name(len(commits) + 1))
            last = len(recording.calls)
            commits.append(recording.calls[first:last])
            first = last
            contents.append(content_of(store))
        calls = list(recording.calls)
    story = Story(contents, _words, lambda updates: f"revision {updates + 1}", len)
    yield Heading(
        "The journal is full, and turns to its other file",
        (
            f"Each journal file of this store has {JOURNAL_BYTES:,} bytes. A program updates {_ID}, again and again.",
            "A record is the only durable copy of its change. So it can't simply be written over by a newer one.",
            "Below are the updates in which something happens, until a record is written over.",
        ),
    )
    told: list[Step] = []
    quiet = 0

    for number, commit in enumerate(commits, 1):
        reasons = _reasons(commit, calls)
        if not reasons:
            quiet += 1
            continue
        before = f"{quiet} updates later" if quiet else "The next update"
        quiet = 0
        yield Heading(f"{before}, number {number}: {', '.join(reasons)}")
        shown = [call for call in commit if is_shown(call)]
        # The whole of `calls`, since a cut leaves what any of them wrote.
        for step in steps(place, start, calls, shown, story, lies=lies, first_number=len(told) + 1):
            told.append(step)
            yield step
    yield summarise(told, lies=lies, also=_order(told))


def _update(store: Store, number: int) -> None:
    running = State(ExecutionState.RUNNING, f"{number} birds counted")
    store.update_execution_state(UpdateExecutionRequest(_ID, Execution(compute_state=running)))


def _name(number: int) -> str:
    return f"update {number}"


def _words(updates: int) -> str:
    return f"{_ID} has revision {updates + 1}, whole"


def _is_written_over(call: Call) -> bool:
    """A record was written over: where this call wrote there was more than filling."""
    if call.path not in JOURNAL_PATHS or not call.changes or call.before is None or call.after == call.before:
        return False
    return bool(call.before.data[call.offset : call.offset + len(call.data)].strip(b"\n\0"))


def _written_over(calls: Sequence[Call]) -> Call | None:
    return next((call for call in calls if _is_written_over(call)), None)


def _reasons(commit: Sequence[Call], calls: Sequence[Call]) -> list[str]:
    """What happens in a commit that doesn't in each."""
    reasons = []
    first = commit[0].number
    earlier = [call.path for call in calls[:first] if call.path in JOURNAL_PATHS and call.changes]
    writes = [call.path for call in commit if call.path in JOURNAL_PATHS and call.changes]
    if writes and earlier and writes[0] != earlier[-1]:
        reasons.append(f"the first record in {writes[0]}")
    if any(call.operation == "sync" for call in commit):
        reasons.append("the tree is made durable")
    if _written_over(commit) is not None:
        reasons.append("old records are written over")
    return reasons


def _order(told: Sequence[Step]) -> Iterator[str]:
    """That the sync came first, as it happened."""
    over = next((step for step in told if _is_written_over(step.call)), None)
    sync = next((step for step in told if step.call.operation == "sync"), None)
    if over is not None and sync is not None:
        order = "before" if sync.number < over.number else "AFTER"
        yield f"The tree was made durable at step {sync.number}, {order} step {over.number} wrote over an old record."
