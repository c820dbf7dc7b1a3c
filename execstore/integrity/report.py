"""What a check found and what a repair did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Problem", "RepairAction", "RepairReport", "VerifyReport"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    ``kind`` is a short word for programs (``"record"``, ``"index"``, ``"events"``, ``"counts"``, ``"log"``, ``"head"``,
    ``"checkpoint"``, ``"stranger"``); ``path`` is relative to the store's folder; ``reason`` is a sentence.
    """

    path: str
    kind: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """A JSON object."""
        return {"path": self.path, "kind": self.kind, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every problem, in the order of their paths, and how much was looked at."""

    problems: tuple[Problem, ...]
    executions: int
    execution_events: int
    log_events: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "ok": self.ok,
            "executions": self.executions,
            "execution_events": self.execution_events,
            "log_events": self.log_events,
            "problems": [problem.to_dict() for problem in self.problems],
        }


@dataclass(frozen=True, slots=True, order=True)
class RepairAction:
    """One thing that was done. ``quarantined`` is where a damaged file now lies, empty if none was moved."""

    path: str
    action: str
    quarantined: str = ""

    def to_dict(self) -> dict[str, str]:
        """A JSON object."""
        return {"path": self.path, "action": self.action, "quarantined": self.quarantined}


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was done, and what is still wrong afterwards."""

    actions: tuple[RepairAction, ...]
    remaining: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return not self.remaining

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "ok": self.ok,
            "actions": [action.to_dict() for action in self.actions],
            "remaining": [problem.to_dict() for problem in self.remaining],
        }
