"""What a check found and what a repair did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackupReport", "Problem", "RepairAction", "RepairReport", "RestoreReport", "VerifyReport"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    ``kind`` is a short word for programs (``"record"``, ``"index"``, ``"events"``, ``"counts"``, ``"log"``, ``"head"``,
    ``"checkpoint"``, ``"folder"``, ``"stranger"``); ``path`` is relative to the store's folder; ``reason``
    is a sentence.
    """

    path: str
    kind: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """A JSON object."""
        return {"path": self.path, "kind": self.kind, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every problem, in the order of their paths, and how much was looked at.

    ``warnings`` are sentences about what is no damage but may lead to some.
    """

    problems: tuple[Problem, ...]
    executions: int
    execution_events: int
    log_events: int
    warnings: tuple[str, ...] = ()

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
            "warnings": list(self.warnings),
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


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What is in a backup.

    ``transaction`` is the number of the last one that it holds, ``bytes`` those of its files before they are packed.
    ``skipped`` has a sentence for each damaged thing that was left out.
    """

    transaction: int
    executions: int
    execution_events: int
    log_events: int
    checkpoints: int
    bytes: int
    skipped: tuple[str, ...]
    seconds: float = 0.0

    def after(self, seconds: float) -> Self:
        """The same, with how long it took."""
        return replace(self, seconds=seconds)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "transaction": self.transaction,
            "executions": self.executions,
            "execution_events": self.execution_events,
            "log_events": self.log_events,
            "checkpoints": self.checkpoints,
            "bytes": self.bytes,
            "skipped": list(self.skipped),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored to ``path``.

    ``clamped`` names the watchers whose checkpoint was ahead of the log and now is at its end; ``problems`` are damaged
    lines of the event log that were in the store when the backup was made.
    """

    path: str
    executions: int
    execution_events: int
    log_events: int
    checkpoints: int
    clamped: tuple[str, ...]
    problems: tuple[Problem, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "path": self.path,
            "executions": self.executions,
            "execution_events": self.execution_events,
            "log_events": self.log_events,
            "checkpoints": self.checkpoints,
            "clamped": list(self.clamped),
            "problems": [problem.to_dict() for problem in self.problems],
            "seconds": self.seconds,
        }
