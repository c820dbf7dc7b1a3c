"""Engines that use what the seam allows: they guess, run operations again, and let a transaction fail at its commit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from execstore.errors import TransactionConflictError
from execstore.memory.change import MemoryChange
from execstore.memory.content import Content
from execstore.memory.engine import MemoryEngine
from tests.conformance.engines import SEGMENT_BYTES, MemoryPlace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execstore.engine import EngineOptions

__all__ = ["ConflictingEngine", "GuessingEngine", "GuessingPlace", "guessing"]

_T = TypeVar("_T")


class GuessingEngine(MemoryEngine):
    """First takes the store for empty, then for what it is without the newest values, and only then looks."""

    def change(self, operation: Callable[[MemoryChange], _T]) -> _T:
        real = self.begin()
        try:
            stale = Content(self.path, SEGMENT_BYTES)
            for content in (stale, self._content):
                guess = MemoryChange(content, self._options.rotation({}).within(SEGMENT_BYTES))
                if content is self._content:
                    guess._own_values.clear()
                # What it is told of a guess is never passed on; its outcome is forgotten.
                with contextlib.suppress(Exception):
                    operation(guess)
            result = operation(real)
        except BaseException:
            self.rollback(real)
            raise
        self.commit(real)
        return result


class GuessingPlace(MemoryPlace):
    """Stores on guessing engines."""

    def open(self, name: str, options: EngineOptions, *, small: bool = True) -> GuessingEngine:
        engine = super().open(name, options, small=small)
        return GuessingEngine(engine._content, options)


class ConflictingEngine(MemoryEngine):
    """Lets so many transactions fail at their commit, as if others had been faster. One-shot changes never do."""

    def __init__(self, content: Content, options: EngineOptions) -> None:
        super().__init__(content, options)
        self.conflicts = 0

    def change(self, operation: Callable[[MemoryChange], _T]) -> _T:
        conflicts, self.conflicts = self.conflicts, 0
        try:
            return super().change(operation)
        finally:
            self.conflicts = conflicts

    def commit(self, change: MemoryChange) -> None:
        if self.conflicts:
            self.conflicts -= 1
            self.rollback(change)
            raise TransactionConflictError(self.path)
        super().commit(change)


def guessing(folder: Path) -> GuessingPlace:
    """For ``--engine tests.conformance.optimism:guessing``."""
    return GuessingPlace(folder)
