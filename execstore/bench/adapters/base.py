"""What a contender must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any, ClassVar

from execstore.bench.workloads import LIFECYCLE_STATES, load_document

__all__ = ["Adapter", "Unavailable", "new_event"]


class Unavailable(Exception):  # noqa: N818 - it is no error: the contender is left out
    """A contender can't be had here; the message says what is missing."""


class Adapter(ABC):
    """A store of executions in a folder. Each operation returns a number by which a test can tell that it was done.

    The docstring of each adapter says what it does, and what it spares itself, per operation.
    """

    #: Whether several processes may use one store at once.
    shares: ClassVar[bool] = True
    #: The operations that it has; ``None`` for all.
    only: ClassVar[frozenset[str] | None] = None

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.document = load_document()
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Open the store, or make it."""

    @abstractmethod
    def close(self) -> None:
        """Close it; it can be opened again."""

    @abstractmethod
    def fill(self, count: int) -> None:
        """Store executions 0 up to ``count`` as fast as may be, without flushing each."""

    @abstractmethod
    def create(self, number: int, state: str) -> int:
        """Store a new execution with one event."""

    @abstractmethod
    def update(self, number: int, state: str) -> int:
        """Set the state of one that hasn't ended, with one event; returns the new revision."""

    @abstractmethod
    def add_event(self, number: int, argument: str) -> int:
        """Add an event."""

    @abstractmethod
    def delete(self, number: int, argument: str) -> int:
        """Remove an execution and its events."""

    def lifecycle(self, number: int, argument: str) -> int:  # noqa: ARG002
        """Five transactions, from New to Completed; returns the last revision."""
        self.create(number, "")
        return [self.update(number, state) for state in LIFECYCLE_STATES][-1]

    @abstractmethod
    def get(self, number: int, argument: str) -> int:
        """Read an execution; returns its revision."""

    @abstractmethod
    def list_job(self, number: int, argument: str) -> int:
        """Read the executions of a job, newest first; returns how many."""

    @abstractmethod
    def live(self, number: int, argument: str) -> int:
        """Read those in BidAccepted, Running and Publishing, newest first; returns how many."""

    @abstractmethod
    def count(self, number: int, state: str) -> int:
        """How many are in a state."""

    @abstractmethod
    def events(self, number: int, argument: str) -> int:
        """Read an execution's events; returns how many."""

    @abstractmethod
    def watch(self, number: int, argument: str) -> int:
        """Read 100 entries of the event log, from sequence number ``number`` on; returns how many."""


def new_event(message: str) -> dict[str, Any]:
    """An event that happens now."""
    return {"Message": message, "Topic": "Execution", "Timestamp": datetime.now(UTC).isoformat()}
