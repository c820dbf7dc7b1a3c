"""What an explanation is made of: plain data, for the terminal and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from execstore.explain.recording import Call
    from execstore.explain.wording import Difference, Words

__all__ = ["HALF", "LOST", "CutResult", "Entry", "Heading", "Lane", "Part", "Seen", "Step", "Verdict"]

HALF: Final = "HALF a change is there"
LOST: Final = "LOST although it was promised"
"""How the outcomes begin that must never be."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A new act begins."""

    title: str
    sentences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {"kind": "heading", "title": self.title, "sentences": list(self.sentences)}


@dataclass(frozen=True, slots=True)
class CutResult:
    """What one power cut left, and what the next opening made of it.

    ``number`` is how many of the changes are there, ``None`` if the store is not what any number of them makes it.
    ``kept``: what was promised is there. ``outcome`` says it in words, ``short`` in one or two. ``rewritten`` are the
    files that the opening brought up to date.
    """

    name: str
    sentence: str
    number: int | None
    kept: bool
    outcome: str
    short: str
    rewritten: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it is whole, and nothing that was promised is lost."""
        return self.kept and self.number is not None

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "name": self.name,
            "left": self.sentence,
            "outcome": self.outcome,
            "ok": self.ok,
            "rewritten": list(self.rewritten),
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader saw, in words and in one or two; empty if nobody looked. ``ok``: it was the outcome of whole
    changes."""

    outcome: str = ""
    short: str = ""
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the engine: what it did, what a reader saw right after it, and what power cuts there came to.

    ``unflushed`` are the paths of which something isn't durable after it, ``settled`` those that it made so.
    """

    number: int
    call: Call
    words: Words
    difference: Difference
    unflushed: tuple[str, ...]
    settled: tuple[str, ...]
    reader: Seen
    cuts: tuple[CutResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        call = self.call
        return {
            "kind": "step",
            "number": self.number,
            "phase": self.words.phase,
            "operation": call.operation,
            "path": call.path,
            "thread": call.thread,
            "locks": list(call.locks),
            "title": self.words.title,
            "sentences": list(self.words.sentences),
            "section": self.words.section,
            "change": self.difference.summary,
            "lines": [f"{mark} {line}" for mark, line in self.difference.lines],
            "unflushed": list(self.unflushed),
            "made_durable": list(self.settled),
            "reader": self.reader.outcome,
            "power_cuts": [cut.to_dict() for cut in self.cuts],
        }


@dataclass(frozen=True, slots=True)
class Lane:
    """One moment of several who work at once: who, when (microseconds from the first), and what."""

    number: int
    who: str
    at_us: float
    title: str
    phase: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "kind": "moment",
            "number": self.number,
            "who": self.who,
            "at_us": round(self.at_us, 1),
            "title": self.title,
            "phase": self.phase,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of a store, and what it is. ``in_tree``: it comes behind the folder that it is in."""

    path: str
    what: str
    detail: str
    section: str
    in_tree: bool = True

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "kind": "path",
            "path": self.path,
            "what": self.what,
            "detail": self.detail,
            "section": self.section,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it came to: sentences that follow from what happened, and, in ``broken``, those of promises that weren't
    kept."""

    sentences: tuple[str, ...]
    broken: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "kind": "verdict",
            "ok": self.ok,
            "sentences": list(self.sentences),
            "broken": list(self.broken),
        }


Part: TypeAlias = Heading | Step | Lane | Entry | Verdict
