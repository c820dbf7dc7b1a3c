"""What a workload did, by when, and what must therefore be found in a store that a power cut left."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.crash.workload import Content, Model, check_model, view_of
from tests.power_cut.worker import NUMBERS_EACH, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from execstore import Store
    from tests.crash.workload import Step
    from tests.power_cut.worker import Task

__all__ = ["History", "LossError", "Seen", "content_of"]


def content_of(store: Store) -> Content:
    """All that a handle shows of its store."""
    files, values = store.look(view_of)
    return Content({path: data if isinstance(data, bytes) else "" for path, data in files.items()}, values)


class LossError(AssertionError):
    """A power cut left what it must not leave."""


@dataclass(frozen=True)
class Seen:
    """An event that a watcher was shown."""

    moment: int
    number: int
    words: tuple[str, ...]  # what it was


@dataclass(frozen=True)
class _Writer:
    """``begun[i]``: the moment before which step i can't have happened; ``done[i]``: by which it was acknowledged."""

    number: int
    steps: Sequence[Step]
    begun: Sequence[int]
    done: Sequence[int]

    def possible(self, moment: int) -> list[int]:
        """How many steps may have happened if the power is cut at this moment."""
        least = sum(done <= moment for done in self.done)
        return [least] if least == len(self.begun) or self.begun[least] > moment else [least, least + 1]

    def model(self, count: int) -> Model:
        model = Model()
        for step in self.steps[:count]:
            step.imagine(model)
        return model


class History:
    """All writers' steps and a watcher's events, read from their notes."""

    def __init__(self, writers: Sequence[_Writer], seen: Sequence[Seen]) -> None:
        self._writers = writers
        self._seen = seen

    @classmethod
    def read(cls, notes: Path, task: Task) -> History:
        found = []
        for number in range(1, task.writers + 1):
            moments: dict[str, list[int]] = defaultdict(list)
            for moment, what, index in _lines(notes / f"writer-{number}"):
                if int(index) != len(moments[what]):
                    raise ValueError(f"writer {number} didn't note its step {index} in order")
                moments[what].append(moment)
            found.append(_Writer(number, steps_of(task, number), moments["begun"], moments["done"]))
        seen = [Seen(moment, int(words[0]), tuple(words[1:])) for moment, _, *words in _lines(notes / "watcher")]
        return cls(found, seen)

    def __str__(self) -> str:
        return f"{self.acknowledged()} operations acknowledged, {len(self._seen)} events seen"

    def acknowledged(self) -> int:
        return sum(len(writer.done) for writer in self._writers)

    def moments(self) -> list[int]:
        """Those by which a step was known to be done."""
        return sorted(moment for writer in self._writers for moment in writer.done)

    def check(self, content: Content, moment: int) -> None:
        """All that was acknowledged by this moment is in the content; what was under way is so whole or not at all.

        Raises:
            LossError: it isn't so; says how each of the possible outcomes differs.
        """
        reasons = []
        for counts in itertools.product(*(writer.possible(moment) for writer in self._writers)):
            try:
                check_model(content, self._merged(content, counts))
            except AssertionError as error:
                reasons.append(f"after {counts} steps: {error}")
            else:
                return
        raise LossError("\n".join(["the store holds no possible outcome", *reasons]))

    def seen_by(self, moment: int) -> Iterator[Seen]:
        """What a watcher was shown by this moment."""
        return (seen for seen in self._seen if seen.moment <= moment)

    def _merged(self, content: Content, counts: Sequence[int]) -> Model:
        """One model of what all writers did. Only the store's own log tells in which order."""
        merged = Model()
        logs: dict[int, list[tuple[str, str, str]]] = {}
        for writer, count in zip(self._writers, counts, strict=True):
            model = writer.model(count)
            merged.executions.update(model.executions)
            merged.sequences.update({f"w{writer.number}-{name}": value for name, value in model.sequences.items()})
            merged.watchers.update({f"w{writer.number}-{name}": value for name, value in model.watchers.items()})
            logs[writer.number] = model.log[::-1]
        for path, data in sorted(content.files.items()):
            if path.startswith("events/"):
                for line in data.splitlines():
                    log = logs.get(_owner(json.loads(line)))
                    assert log, f"event {line[:30]!r} is nobody's, or one too many"
                    merged.log.append(log.pop())
        for number, left in logs.items():
            assert not left, f"{len(left)} events of writer {number} are missing"
        return merged


def _lines(path: Path) -> Iterator[tuple[Any, ...]]:
    for line in path.read_text(encoding="ascii").splitlines():
        moment, *words = line.split()
        yield (int(moment), *words)


def _owner(line: dict[str, Any]) -> int:
    body = line["object"]
    if line["objectType"] == "ExecutionUpsert":
        key = (body["Current"] or body["Previous"])["ID"]
    else:
        key = body.get("ExecutionID") or f"e-{body['Number']}"
    return int(key.removeprefix("e-")) // NUMBERS_EACH
