"""The other topics: each is told of what really happened, and each promise that it shows was kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import execstore
from execstore.explain.kinds import UNKNOWN, kind_of
from execstore.explain.parts import Entry, Heading, Lane, Step, Verdict
from execstore.explain.recording import OPENED, RETURNED
from execstore.explain.topics import TOPICS, explainer
from execstore.tree.names import JOURNAL_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.explain.parts import Part
    from execstore.explain.place import Place

    Explained = Callable[..., Sequence[Part]]

FORMAT = (Path(execstore.__file__).parent / "tree" / "FORMAT.md").read_text()
SECTIONS = set(re.findall(r"^#+ (.*)$", FORMAT, re.MULTILINE))


def check(parts: Sequence[Part]) -> Sequence[Part]:
    """What holds of each."""
    for part in parts:
        if isinstance(part, Step | Entry):
            assert (part.words if isinstance(part, Step) else part).section in SECTIONS
        if isinstance(part, Step):
            assert all(cut.ok for cut in part.cuts), part
        if isinstance(part, Verdict):
            assert part.ok
    return parts


def steps_of(parts: Sequence[Part]) -> list[Step]:
    return [part for part in parts if isinstance(part, Step)]


def test_recovery(explained: Explained) -> None:
    parts = check(explained("recovery"))
    acts = [part.title for part in parts if isinstance(part, Heading)]
    opened = [title for title in acts if title.startswith("The store is open: ")]
    # What was flushed is finished; what wasn't, and is torn, is as if it had never been.
    assert opened == ["The store is open: e-2 is there, whole", "The store is open: e-2 is not there at all"]
    damaged = {part.path: part.what for part in parts if isinstance(part, Entry)}
    assert "full of NULs" in damaged.values() or "empty" in damaged.values()
    assert damaged["journal.0"] == "torn"
    shown = steps_of(parts)
    assert [step.call.operation for step in shown].count(OPENED) == 2
    assert {"read", "lock"} <= {step.call.operation for step in shown}
    # A recovery is cut off at each of its changes, too.
    assert all(step.cuts for step in shown if step.call.changes)
    assert {step.call.path for step in shown} >= {"FORMAT", "head", *JOURNAL_PATHS, "executions/e-2.json"}


def test_checkpoint(explained: Explained) -> None:
    parts = check(explained("checkpoint"))
    shown = steps_of(parts)
    (verdict,) = (part for part in parts if isinstance(part, Verdict))
    assert re.search(r"made durable at step \d+, before step \d+ wrote over an old record", " ".join(verdict.sentences))
    assert {step.call.path for step in shown if step.call.path in JOURNAL_PATHS} == set(JOURNAL_PATHS)
    titles = " ".join(part.title for part in parts if isinstance(part, Heading))
    assert "the first record in journal.1" in titles
    assert "the tree is made durable" in titles
    assert "old records are written over" in titles


def test_group_commit(explained: Explained) -> None:
    parts = check(explained("group-commit"))
    moments = [part for part in parts if isinstance(part, Lane)]
    (verdict,) = (part for part in parts if isinstance(part, Verdict))
    counted = re.match(r"(\d+) creates were made durable by (\d+) flush", verdict.sentences[0])
    assert counted is not None
    creates, flushes = map(int, counted.groups())
    assert creates == len({moment.who for moment in moments})
    assert flushes < creates
    # Everybody wrote while the first one was flushing, and nobody returned before a flush that covers him.
    titles = [moment.title for moment in moments]
    assert sum(title.startswith("writes transaction") for title in titles) == creates
    assert sum(title.startswith("returns:") for title in titles) == creates
    shown = steps_of(parts)
    for step in shown:
        if step.call.operation == RETURNED:
            assert all(step.call.path in cut.outcome for cut in step.cuts)
    # What is there is a beginning of the order of writing, which the records tell: one thread writes for several.
    records = [step.call.data for step in shown if step.call.path in JOURNAL_PATHS and step.call.changes]
    order = [re.findall(rb"executions/(e-[a-z]+)\.json", record)[0].decode() for record in records]
    for step in shown:
        for cut in step.cuts:
            there = cut.outcome.removeprefix("there: ").split(", ") if cut.outcome.startswith("there") else []
            assert there == order[: len(there)]


@pytest.mark.parametrize("notified", [True, False])
def test_watch(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notified: bool) -> None:
    """Also where the kernel can't be asked."""
    if notified:
        pytest.importorskip("inotify_simple")
    else:
        (tmp_path / "without").mkdir()
        (tmp_path / "without" / "inotify_simple.py").write_text("raise ImportError\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    parts = check(list(explainer("watch")(place)))
    verdict = parts[-1]
    assert isinstance(verdict, Verdict)
    assert verdict.sentences[0] == "The handlers were given the events 1, 2, 2, of 2 in the log."
    moments = [part for part in parts if isinstance(part, Lane)]
    assert {moment.who for moment in moments} == {"writer", "mailer"}
    titles = [moment.title for moment in moments]
    assert any("inotify" in title for title in titles) == notified
    assert any("polling" in title for title in titles) != notified
    # No handler is called before the event is shown: cause comes before effect, in two processes.
    first = titles.index("handler is given event 1 (CREATE)")
    assert any(title.startswith("head: transaction") and title.endswith("is shown") for title in titles[:first])
    assert sum(title == "is killed, before it could store a checkpoint" for title in titles) == 1


def test_layout(place: Place) -> None:
    parts = check(list(explainer("layout")(place)))
    entries = [part for part in parts if isinstance(part, Entry)]
    for entry in entries:
        assert os.path.lexists(os.path.join(place.store, entry.path))
        assert kind_of(entry.path) is not UNKNOWN
    shown = {entry.path for entry in entries}
    assert set(os.listdir(place.store)) <= shown
    for folder, _, files in os.walk(place.store):
        for name in files:
            path = os.path.relpath(os.path.join(folder, name), place.store)
            assert path in shown or path.startswith("reserve/")


def test_each_topic_is_there() -> None:
    assert list(TOPICS) == ["layout", "commit", "recovery", "checkpoint", "group-commit", "watch"]
    for _, about in TOPICS.values():
        assert about.endswith(".")
