"""Simulated systems that are not Linux: `tests.crash.simulated` with the traits of macOS's and of Windows' files.

They stand in for `tests.crash.simulated.SimulatedFileSystem`, so everything that is tried on that can be tried on them.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from typing import TYPE_CHECKING, Any

from tests.crash.simulated import File, Folder, SimulatedFileSystem, sync_each

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MacLike", "WindowsLike"]

_BY_PATH = (
    *("read", "size", "names", "kind", "link_target", "create", "overwrite", "remove", "make_folder", "remove_folder"),
    *("open", "sync_folder", "link"),
)
_CHANGED_BY_WINDOWS = re.compile(
    r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|.*[. ]|.*[\x00-\x1f<>:\"|?*\\].*", re.DOTALL
)


class MacLike(SimulatedFileSystem):
    """Keeps the case of names and doesn't look at it. No call flushes everything, and nobody tells who holds a lock."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["syncs_all"] = False
        super().__init__(*arguments, **options)
        for name in _BY_PATH:
            setattr(self, name, self._any_case(getattr(self, name)))

    def _any_case(self, call: Any) -> Any:
        @functools.wraps(call)
        def called(path: str, *arguments: Any, **options: Any) -> Any:
            return call(self._as_it_stands(path), *arguments, **options)

        return called

    def _as_it_stands(self, path: str) -> str:
        """The path in the letters that its parts were given."""
        folder: object = self.image.root
        parts = []
        for part in path.split("/"):
            known = part
            if isinstance(folder, Folder):
                known = next((name for name in folder.live if name.lower() == part.lower()), part)
                folder = folder.live.get(known)
            parts.append(known)
        return "/".join(parts)

    def rename(self, source: str, path: str) -> None:
        super().rename(self._as_it_stands(source), self._as_it_stands(path))

    def is_lock_shared(self, descriptor: int) -> bool:
        return False


class WindowsLike(MacLike):
    """Besides: no links, no folder sync, names that can't be had, and files that can't be replaced while they are open.

    Names become durable in order, with the next flush of any file (NTFS's log). A lock must be let go before one of the
    other kind is taken.
    """

    def _new(self, path: str) -> tuple[Folder, str]:
        for part in path.split("/"):
            if _CHANGED_BY_WINDOWS.fullmatch(part) or len(part) > 255:
                raise AssertionError(f"Windows doesn't take {part!r} for a name")
        return super()._new(path)

    def link(self, path: str, target: str) -> None:
        self.create(path, b"")

    def flush(self, descriptor: int) -> None:
        super().flush(descriptor)
        for node in self.image.nodes():
            if isinstance(node, Folder):
                node.sync()

    def sync(self, paths: Iterable[str]) -> None:
        sync_each(self, paths)

    def sync_folder(self, path: str) -> None:
        self._folder(path)  # which must be there

    def rename(self, source: str, path: str) -> None:
        self._must_be_closed(path)
        super().rename(source, path)

    def remove(self, path: str) -> None:
        self._must_be_closed(path)
        super().remove(path)

    def _must_be_closed(self, path: str) -> None:
        node = self._node(self._as_it_stands(path))
        if isinstance(node, File) and node.opened:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def _lock(self, descriptor: int, *, exclusive: bool) -> bool:
        self._opened(descriptor)[1].locks.pop(descriptor, None)  # as WindowsFileSystem does
        return super()._lock(descriptor, exclusive=exclusive)
