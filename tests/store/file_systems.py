"""File systems that count what is asked of them, or fail at a chosen call."""

from __future__ import annotations

import collections
import functools
from typing import TYPE_CHECKING, Any

from execstore.tree.filesystem import RealFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CutOff", "Recording", "failing_at"]

WRITING = ("create", "overwrite", "rename", "link", "remove", "make_folder", "remove_folder", "pwrite", "truncate")
FLUSHING = ("flush", "sync", "sync_folder")
CALLS = (
    *WRITING,
    *FLUSHING,
    *("read", "size", "names", "kind", "link_target", "open", "pread", "length"),
)


class CutOff(BaseException):
    """The machine, or the process, ends here; no program catches this."""


class Recording(RealFileSystem):
    """The real file system, with account kept of each kind of call. ``before`` is called before each."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.counts: collections.Counter[str] = collections.Counter()
        self.before: Callable[[str], None] = lambda name: None
        for name in CALLS:
            setattr(self, name, self._recorded(name, getattr(self, name)))

    def _recorded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def recorded(*arguments: Any, **options: Any) -> Any:
            self.before(name)
            self.counts[name] += 1
            return call(*arguments, **options)

        return recorded

    def flushes(self) -> int:
        return sum(self.counts[name] for name in FLUSHING)

    def writes(self) -> int:
        return sum(self.counts[name] for name in WRITING)


def failing_at(number: int) -> Callable[[str], None]:
    """For ``before``: cut off at the writing call of this number, counted from 0, and at every one after it."""
    left = number

    def before(name: str) -> None:
        nonlocal left
        if name in WRITING:
            if left <= 0:
                raise CutOff(name)
            left -= 1

    return before
