"""A checker of histories of one register: is there an order of its operations that explains every answer?

The order must keep real time: an operation that had ended before another began comes before it. One whose end isn't
known (its process was killed) may have taken effect at any time after its beginning, or never. The search is Wing and
Gong's, with the states that were seen before remembered (Lowe's): next comes any operation that began before the first
of the others ended, and whose answer fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Operation", "State", "is_linearizable"]

State: TypeAlias = tuple[int, str] | None
"""Revision and value of the register, ``None`` before it was created."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What was asked, between which moments, and what came of it.

    ``kind`` is ``"read"`` (``found`` is what it saw), ``"create"`` (of ``value``) or ``"swap"`` (to ``value`` if the
    revision is ``expected``). ``done``: it took effect; ``None``: nobody knows, then ``end`` is ``None`` too. A swap
    that failed saw ``found``'s revision.
    """

    kind: str
    start: int
    end: int | None
    value: str = ""
    expected: int = 0
    done: bool | None = True
    found: State = None

    def after(self, state: State) -> tuple[bool, State]:
        """Whether the answer fits a register in this state, and its state afterwards."""
        if self.kind == "read":
            return state == self.found, state
        if self.kind == "create":
            new: State = (1, self.value)
            applies = state is None
        else:
            new = (self.expected + 1, self.value)
            applies = state is not None and state[0] == self.expected
        if self.done is not False:
            return applies, new
        seen = self.found is None or (state is not None and state[0] == self.found[0])
        return not applies and seen, state


def is_linearizable(history: list[Operation]) -> bool:
    """Whether such an order exists. The register isn't there in the beginning."""
    operations = sorted(history, key=lambda operation: operation.start)
    count = len(operations)
    needed = sum(1 << number for number, operation in enumerate(operations) if operation.end is not None)
    stack: list[tuple[int, int, State]] = [(0, 0, None)]  # which are done, the first that isn't, the register
    seen: set[tuple[int, State]] = set()
    while stack:
        done, first, state = stack.pop()
        if done & needed == needed:
            return True
        earliest_end: float = float("inf")
        candidates = []
        for number in range(first, count):
            operation = operations[number]
            if operation.start > earliest_end:
                break
            if not done >> number & 1:
                candidates.append(number)
                if operation.end is not None:
                    earliest_end = min(earliest_end, operation.end)
        for number in reversed(candidates):
            operation = operations[number]
            fits, after = operation.after(state) if operation.start <= earliest_end else (False, state)
            if not fits:
                continue
            now = done | 1 << number
            if (now, after) in seen:
                continue
            seen.add((now, after))
            following = first
            while following < count and now >> following & 1:
                following += 1
            stack.append((now, following, after))
    return False
