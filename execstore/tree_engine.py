"""The directory tree as an engine: what the seam asks for beyond what a tree is by itself."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypedDict

from execstore.tree.making import read_format
from execstore.tree.segments import LogState
from execstore.tree.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from execstore.engine import EngineOptions
    from execstore.notify import Notifier
    from execstore.tree.reader import Reader
    from execstore.tree.retirement import RunLater
    from execstore.tree.seam import FileSystem

__all__ = ["TreeDetails", "TreeEngine", "open_tree"]


class TreeEngine(Tree):
    """See ``engine.Engine``. It also has files: backup, repair and quarantine are for it alone."""

    instead: Final[Mapping[str, str]] = {}

    @cached_property
    def store_id(self) -> str:
        """See ``Engine``."""
        form = read_format(self._fs, self.path)
        return "" if form is None else form.store_id

    def values(self) -> Mapping[str, Any]:
        """See ``Engine``. Nearly always the head's first line says that they are the ones known, or all of it does."""
        try:
            values = self.peek()
        except OSError:  # of which `read` has more to say
            values = None
        return self.read(lambda reader: reader.values) if values is None else values

    def read_log(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        """See ``Engine``."""

        def look(reader: Reader) -> list[tuple[int, bytes]]:
            return self.log.read(reader, max(first, LogState.of(reader.values).oldest), maximum)

        return self.read(look)

    def open_notifier(self) -> Notifier:
        """See ``Engine``."""
        from execstore.notify import open_notifier  # noqa: PLC0415 - only who waits pays for it

        return open_notifier(self.head_path)


class TreeDetails(TypedDict, total=False):
    """What of a tree isn't the store layer's to ask for; see ``Tree``."""

    may_create: bool
    journal_bytes: int
    segment_bytes: int
    file_system: Callable[[str], FileSystem]
    run_later: RunLater
    kept_bytes: int


def open_tree(path: str, options: EngineOptions, **details: Unpack[TreeDetails]) -> TreeEngine:
    """Open the store in the folder at ``path``. Raises what ``Tree`` raises."""
    return TreeEngine(
        path,
        options.layout,
        read_only=options.read_only,
        flush_commits=options.flush_commits,
        lock_timeout_seconds=options.timeout_seconds,
        rotation=options.rotation,
        mend=options.mend,
        **details,
    )
