"""``execstore explain group-commit``: several threads at once, and how few flushes they need."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from execstore.explain.parts import Heading, Lane, Step
from execstore.explain.recording import RETURNED, Recording, snapshot
from execstore.explain.scratch import Content, content_of, make_store, new_execution, open_recorded
from execstore.explain.story import Story, is_shown, steps
from execstore.explain.summary import summarise
from execstore.explain.wording import FLUSH, STAGE, describe, seed_of, told_of
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.names import JOURNAL_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from execstore import Store
    from execstore.explain.parts import Part
    from execstore.explain.place import Place
    from execstore.explain.recording import Call

__all__ = ["THREADS", "explain"]

THREADS: Final = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn")
_JOURNAL_BYTES: Final = 65536
# Long enough for any machine; it only passes if the engine doesn't let others write while one flushes.
_PATIENCE_SECONDS: Final = 2.0


class _SlowDisk:
    """The first flush of the journal takes until everybody has written: a disk that takes its time."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._written = 0
        self._all = threading.Event()
        self._held = False
        self.on = False

    def while_flushing(self, path: str) -> None:
        """For ``Recording.while_flushing``."""
        if self.on and path in JOURNAL_PATHS and not self._held:
            self._held = True
            self._recording.note("flushing", path)
            self._all.wait(_PATIENCE_SECONDS)

    def after(self, call: Call) -> None:
        """For ``Recording.after``."""
        if self.on and call.path in JOURNAL_PATHS and call.changes:
            self._written += 1
            if self._written == len(THREADS):
                self._all.set()


def explain(place: Place, *, lies: bool = False) -> Iterator[Part]:
    """The parts of the explanation, each as soon as it is known."""
    yield Heading(
        "Six threads create at once",
        (
            f"{', '.join(THREADS)} each create one execution, at the same moment, in one store.",
            "Waiting for the disk is what takes time. A flush covers all that was written before it, whoever wrote it.",
            "Who comes first writes for those who come meanwhile, too.",
            "To be seen on any disk, the first flush is slowed down: it is held until all have written.",
            "All else is as it happened, just now.",
        ),
    )
    make_store(place.store, new_execution("e-1"), journal_bytes=_JOURNAL_BYTES)
    start = snapshot(RealFileSystem(place.store))
    recording = Recording()
    disk = _SlowDisk(recording)
    recording.while_flushing, recording.after = disk.while_flushing, disk.after
    with open_recorded(place.store, recording) as store:
        before = content_of(store)
        first = len(recording.calls)
        disk.on = True
        _create_all(store, recording)
        disk.on = False
        last = len(recording.calls)
        after = content_of(store)
    calls = recording.calls[:last]
    order = _order_of(before, after)
    yield from _lanes(calls[first:], seed_of(start))
    yield Heading(
        "And if the power goes?",
        (
            "After a cut there is always a beginning of the order in which they wrote.",
            "Never the third without the second.",
        ),
    )
    story = Story(
        [_beginning(before, after, order[:number]) for number in range(len(order) + 1)],
        lambda number: _words(order[:number]),
        lambda number: f"{number} of {len(order)}" if number else "none",
        lambda returned: max((order.index(each) + 1 for each in returned), default=0),
    )
    told: list[Step] = []
    for step in steps(place, start, calls, [call for call in calls[first:] if _matters(call)], story, lies=lies):
        told.append(step)
        yield step
    yield summarise(told, lies=lies, also=_count(calls[first:]))


def _create_all(store: Store, recording: Recording) -> None:
    start = threading.Barrier(len(THREADS))

    def create(name: str) -> None:
        start.wait()
        store.create_execution(new_execution(_execution(name)))
        recording.note(RETURNED, _execution(name))

    threads = [threading.Thread(target=create, args=(name,), name=name) for name in THREADS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _execution(name: str) -> str:
    return f"e-{name.lower()}"


def _order_of(before: Content, after: Content) -> list[str]:
    """The executions that were created, in the order of the event log."""
    new = [execution_id for _, _, _, execution_id in after.log[len(before.log) :]]
    return list(dict.fromkeys(new))


def _beginning(before: Content, after: Content, created: Sequence[str]) -> Content:
    """What there is once these were created."""
    there = {*before.executions, *created}
    counts: dict[str, int] = {}
    for execution_id in there:
        state = after.executions[execution_id]["ComputeState"]["StateType"]
        counts[state] = counts.get(state, 0) + 1
    jobs = {job_id: [each for each in ids if each in there] for job_id, ids in after.jobs.items()}
    return Content(
        executions={execution_id: value for execution_id, value in after.executions.items() if execution_id in there},
        events={execution_id: value for execution_id, value in after.events.items() if execution_id in there},
        jobs={job_id: ids for job_id, ids in jobs.items() if ids},
        counts=counts,
        log=tuple(entry for entry in after.log if entry[3] in there),
        checkpoints=after.checkpoints,
    )


def _words(created: Sequence[str]) -> str:
    return f"there: {', '.join(created)}" if created else "none of them is there"


def _matters(call: Call) -> bool:
    """What decides between being there and not: the journal, and the returns."""
    return is_shown(call) and (call.path in JOURNAL_PATHS or not call.changes)


def _lanes(calls: Sequence[Call], checksum_seed: int) -> Iterator[Lane]:
    """What each thread did, as it happened."""
    began_ns = min(call.began_ns for call in calls)
    number = 0
    last = ("", "")
    for call in calls:
        title, phase, note = _told(call, checksum_seed)
        # What one thread does with several files of the tree is one entry here: it is told by `explain commit`.
        if not title or (call.thread, title) == last:
            continue
        last = (call.thread, title)
        number += 1
        yield Lane(number, call.thread, (call.ended_ns - began_ns) / 1000, title, phase, note)


def _told(call: Call, checksum_seed: int) -> tuple[str, str, str]:
    if call.operation == "flushing":
        return f"begins to flush {call.path} …", FLUSH, ""
    if call.operation == RETURNED:
        return f"returns: {call.path} is promised", "return", ""
    if not is_shown(call):
        return "", "", ""
    words = describe(call, checksum_seed)
    if words.phase == STAGE:
        return told_of(words.title), STAGE, ""
    if words.phase == FLUSH:
        return f"… has flushed {call.path}", FLUSH, f"after {(call.ended_ns - call.began_ns) / 1e6:.2f} ms"
    if words.title.startswith("Head"):
        return told_of(words.title), words.phase, ""
    return "writes files of the tree", words.phase, ""


def _count(calls: Sequence[Call]) -> Iterator[str]:
    flushes = sum(call.makes_durable and call.path in JOURNAL_PATHS for call in calls)
    commits = sum(call.operation == RETURNED for call in calls)
    yield f"{commits} creates were made durable by {flushes} flush{'es' * (flushes != 1)}."
    if flushes < commits:
        yield f"Each caller alone would have needed one: {commits} in all."
