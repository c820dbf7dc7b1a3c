"""What is told of a commit is what happened, whatever order the engine works in, and what is wrong would be told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import execstore
from execstore import Event
from execstore.explain.commit import create
from execstore.explain.parts import Heading, Step, Verdict
from execstore.explain.recording import CHANGES, FOLDER, RETURNED, Call, Item, Recording
from execstore.explain.scratch import make_store, new_execution, open_recorded
from execstore.explain.story import is_shown, steps
from execstore.explain.summary import summarise
from execstore.explain.wording import FLUSH, PUBLISH, RETURN, STAGE, describe, difference
from execstore.tree.names import JOURNAL_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.explain.parts import Part
    from execstore.explain.place import Place

    Explained = Callable[..., Sequence[Part]]

FORMAT = (Path(execstore.__file__).parent / "tree" / "FORMAT.md").read_text()
SECTIONS = set(re.findall(r"^#+ (.*)$", FORMAT, re.MULTILINE))


def told(parts: Sequence[Part]) -> tuple[list[Step], Verdict]:
    verdict = parts[-1]
    assert isinstance(parts[0], Heading)
    assert isinstance(verdict, Verdict)
    return [part for part in parts if isinstance(part, Step)], verdict


def test_the_steps_are_the_calls_that_the_engine_makes(explained: Explained, tmp_path: Path) -> None:
    """Compared with a recording of its own, of the same create on a store of its own."""
    path = str(tmp_path / "other")
    make_store(path, new_execution("e-1"))
    recording = Recording()
    with open_recorded(path, recording) as store:
        first = len(recording.calls)
        store.create_execution(new_execution("e-2"), Event("Execution", "the bid was accepted"))
        calls = [call for call in recording.calls[first:] if is_shown(call)]
    shown, _ = told(explained("commit"))
    assert [(step.call.operation, step.call.path) for step in shown[:-1]] == [(c.operation, c.path) for c in calls]
    assert shown[-1].call.operation == RETURNED
    assert [step.number for step in shown] == list(range(1, len(shown) + 1))


def test_what_is_told_of_it(explained: Explained) -> None:
    shown, verdict = told(explained("commit"))
    assert verdict.ok
    phases = [step.words.phase for step in shown]
    assert phases[0] == STAGE
    assert set(phases) == {STAGE, FLUSH, PUBLISH, RETURN}
    flushes = [step for step in shown if step.words.phase == FLUSH]
    assert [step.call.path in JOURNAL_PATHS for step in flushes] == [True]
    # Before the flush it may be there or not; after it, and for ever, it is.
    before = [step for step in shown if step.number < flushes[0].number]
    assert {cut.number for step in before for cut in step.cuts} == {0, 1}
    assert {cut.number for step in shown if step not in before for cut in step.cuts} == {1}
    assert {cut.name for step in shown for cut in step.cuts} >= {"nothing", "everything", "torn", "names", "NULs"}
    # A reader never sees it before a power cut couldn't take it away.
    assert shown[0].reader.outcome == "e-2 is not there at all"
    assert shown[-1].reader.outcome == "e-2 is there, whole"
    for step in shown:
        if step.reader.outcome == "e-2 is there, whole":
            assert all(cut.number == 1 for cut in step.cuts)
        assert step.reader.ok
    assert f"From step {flushes[0].number} on (Flush journal.0) no power cut takes it away." in verdict.sentences
    assert flushes[0].settled == ("journal.0",)
    assert "The caller waited for the disk once." in verdict.sentences


def test_each_step_names_a_part_of_the_format_document(explained: Explained) -> None:
    shown, _ = told(explained("commit"))
    for step in shown:
        assert step.words.section in SECTIONS
        assert step.words.sentences
        assert all(sentence.endswith((".", "?")) and len(sentence) < 110 for sentence in step.words.sentences)


def test_before_and_after_are_what_was_written(explained: Explained) -> None:
    shown, _ = told(explained("commit"))
    by_path = {step.call.path: step for step in shown}
    record = by_path["executions/e-2.json"]
    assert record.difference.summary.startswith("nothing → ")
    assert ("+", '"ID":"e-2",') in record.difference.lines
    journal = shown[0]
    assert journal.difference.lines[0] == ("-", "(filling: newlines)")
    assert any("executions/e-2.json" in line for _, line in journal.difference.lines)
    heads = [step for step in shown if step.call.path == "head"]
    assert len(heads) >= 2
    for step in heads:
        assert {mark for mark, _ in step.difference.lines} == {"-", "+"}
    (entry,) = (step for path, step in by_path.items() if path.startswith("idx_executions_by_job_id/"))
    assert entry.difference.lines == (("+", "e-2 → ../../.e/e-2.json"),)


def test_a_disk_that_lies_loses_what_was_promised(explained: Explained) -> None:
    shown, verdict = told(explained("commit", lies=True))
    assert not verdict.ok
    returned = shown[-1]
    lost = [cut for cut in returned.cuts if not cut.kept]
    assert "nothing" in {cut.name for cut in lost}
    assert all("LOST" in cut.outcome for cut in lost)
    assert any("What is not promised" in sentence for sentence in verdict.broken)
    assert any(cut.number is None for step in shown for cut in step.cuts)  # and may leave half of it


@pytest.mark.parametrize("mistake", ["the flush comes last", "the flush is left out", "the journal is left out"])
def test_an_engine_with_a_mistake_would_be_told_of(place: Place, mistake: str) -> None:
    """The calls of a real create, in an order or a number that no sound engine would make."""
    created = create(place, observed=False)
    numbers = {call.number for call in created.shown}
    early = [call for call in created.calls if call.number not in numbers]
    flush = [call for call in created.shown if call.makes_durable]
    others = [call for call in created.shown if not call.makes_durable]
    calls = {
        "the flush comes last": [*others, *flush],
        "the flush is left out": others,
        "the journal is left out": [call for call in created.shown if call.path not in JOURNAL_PATHS],
    }[mistake]
    # Numbers tell the order; a flush covers what stands before it.
    ordered = [replace(call, number=number, covers=number) for number, call in enumerate([*early, *calls])]
    shown = ordered[len(early) :]
    found = list(steps(place, created.start, ordered, shown, created.story))
    verdict = summarise(found)
    assert not verdict.ok
    assert "defect of the engine" in verdict.broken[-1]
    assert any(cut.number is None for step in found for cut in step.cuts)


@pytest.mark.parametrize("operation", [*sorted(CHANGES - {"pwrite"}), "flush"])
@pytest.mark.parametrize(
    "path",
    [
        "head",
        "journal.1",
        "unflushed",
        "reserve/3",
        "quarantine/x",
        "checkpoints/w.json",
        "events/00000000000000000009.jsonl",
        "idx_executions_by_state/New",
        "idx_executions_by_state/New/e-1",
        "something/else",
        "new.file",
    ],
)
def test_whatever_the_engine_may_come_to_do_is_told(operation: str, path: str) -> None:
    """Every kind of call on every kind of file has words, and its before and after."""
    before = None if operation in {"create", "link", "make_folder"} else Item("file", b"old\n")
    others = {"remove": None, "remove_folder": None, "make_folder": FOLDER, "link": Item("link", b"", "there")}
    after = others.get(operation, Item("file", b"new\n"))
    call = Call(7, operation, path, "t", 0, 1, 7, data=b"new\n", source="old", before=before, after=after)
    words = describe(call, 0)
    assert words.title
    assert words.section in SECTIONS
    shown = difference(call, 0)
    assert bool(shown.lines) or operation == "flush"
