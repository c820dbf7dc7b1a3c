"""What is measured: the operations, the execution they work on, and on which of a store's executions.

Each contender is given the same numbers in the same order. Execution ``n`` has an ID that is scattered like a UUID (the
key order that real IDs have; B-trees like consecutive ones better), and ten consecutive numbers make a job. Of a store
that was filled, every hundredth execution is Running, the others are New.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "BY_NAME",
    "DOCUMENT_PATH",
    "LIFECYCLE_STATES",
    "LIVE_EVERY",
    "OPERATIONS",
    "Operation",
    "Plan",
    "execution_id",
    "job_id",
    "load_document",
    "payload_bytes",
]

DOCUMENT_PATH: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "docker-execution.json")
LIVE_EVERY: Final = 100
LIFECYCLE_STATES: Final = ("BidAccepted", "Running", "Publishing", "Completed")
#: The golden ratio in 32 bits: odd, so multiplying by it shuffles the numbers without two of them falling together.
_SCATTER: Final = 2654435761
_UPDATE_STATES: Final = ("AskForBid", "AskForBidAccepted")


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a store does.

    ``per_round`` is how many are done in a row of a round, ``quick`` the same with ``--quick``.
    """

    name: str
    title: str
    writes: bool
    per_round: int
    quick: int


OPERATIONS: Final = (
    Operation("create", "create", True, 100, 20),
    Operation("update", "update", True, 100, 20),
    Operation("add_event", "add event", True, 100, 20),
    Operation("lifecycle", "lifecycle (5)", True, 20, 4),
    Operation("delete", "delete", True, 120, 24),
    Operation("get", "get", False, 200, 50),
    Operation("list_job", "list of 10", False, 50, 10),
    Operation("live", "live (1 %)", False, 5, 2),
    Operation("count", "count a state", False, 50, 10),
    Operation("events", "events of one", False, 200, 50),
    Operation("watch", "100 log events", False, 10, 3),
    Operation("open", "open, first get", False, 2, 1),
)
"""In the order of a round: the deletes remove what the creates and lifecycles of the same round made."""

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}


def load_document() -> dict[str, Any]:
    """The execution of a docker job in the JSON of Bacalhau's store, 2.4 KB in one line."""
    with open(DOCUMENT_PATH, "rb") as file:
        document: dict[str, Any] = json.load(file)
    return document


def execution_id(number: int) -> str:
    """Each number's own."""
    return f"e-{number * _SCATTER & 0xFFFFFFFF:08x}-4b1c-4a6e-9d43-0123456789ab"


def job_id(number: int) -> str:
    """That of ten consecutive numbers."""
    return f"j-{number // 10 * _SCATTER & 0xFFFFFFFF:08x}-77e0-4d5b-8a3e-0123456789ab"


def payload_bytes(operation: str) -> int:
    """How many bytes of JSON a writing operation brings to the disk at the least: what the floor writes.

    They are the record, the events, and both again in the event log, an update's and a delete's log entry with the
    execution as it was before.
    """
    record = len(json.dumps(load_document(), separators=(",", ":")))
    event, frame = 130, 110
    both_events = event + event + frame
    return {
        "create": record + both_events + record + event + frame,
        "update": record + both_events + 2 * record + event + frame,
        "add_event": both_events,
        "delete": record + frame,
    }[operation]


@dataclass(slots=True)
class Plan:
    """Says which numbers the next batch of an operation takes, in a store that was filled with ``size`` executions."""

    size: int
    quick: bool = False
    _made: int = 0
    _updated: int = 0
    _read: int = 0
    _to_delete: tuple[int, ...] = ()

    def next(self, name: str, count: int | None = None) -> tuple[list[int], str]:
        """The numbers, and the argument: an update's state, a count's state, or nothing.

        ``count`` stands in for the operation's own number.
        """
        operation = BY_NAME[name]
        wanted = count if count is not None else operation.quick if self.quick else operation.per_round
        if name in {"create", "lifecycle"}:
            numbers = list(range(self.size + self._made, self.size + self._made + wanted))
            self._made += wanted
            self._to_delete += tuple(numbers)
            return numbers, ""
        if name == "delete":
            numbers, self._to_delete = list(self._to_delete), ()
            return numbers, ""
        if name == "update":
            return self._updates(wanted)
        if name == "count":
            return [0] * wanted, self._commonest_state()
        numbers = [self._scattered(self._read + offset) for offset in range(wanted)]
        self._read += wanted
        if name == "watch":
            numbers = [1 + number * 2 % max(2 * self.size - 100, 1) for number in numbers]
        return numbers, ""

    @property
    def _ordinary(self) -> int:
        """How many aren't live."""
        return self.size - (self.size + LIVE_EVERY - 1) // LIVE_EVERY

    def _commonest_state(self) -> str:
        turn, position = divmod(self._updated, self._ordinary)
        before = _UPDATE_STATES[(turn - 1) % 2] if turn else "New"
        return before if position * 2 < self._ordinary else _UPDATE_STATES[turn % 2]

    def _updates(self, wanted: int) -> tuple[list[int], str]:
        """Those that aren't live, one after the other; a batch ends where a turn through the store does.

        Each turn sets the other of two states, so that every update moves an index entry.
        """
        ordinary = self._ordinary
        turn, position = divmod(self._updated, ordinary)
        wanted = min(wanted, ordinary - position)
        ordinals = [self._shuffled(position + offset, ordinary) for offset in range(wanted)]
        self._updated += wanted
        return [ordinal + ordinal // (LIVE_EVERY - 1) + 1 for ordinal in ordinals], _UPDATE_STATES[turn % 2]

    def give_back_updates(self, count: int) -> None:
        """The last so many updates of the last batch weren't done."""
        self._updated -= count

    def _scattered(self, position: int) -> int:
        return self._shuffled(position % self.size, self.size)

    @staticmethod
    def _shuffled(position: int, size: int) -> int:
        """A permutation of ``range(size)``: neighbours in time are none in the store."""
        step = next(step for step in (7919, 7927, 7933, 1) if size % step)
        return position * step % size
