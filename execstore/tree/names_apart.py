"""Keeping names apart where the file system doesn't: ``Exec-A`` and ``exec-a`` are one file on macOS, Windows, FAT.

A store that is made in such a place says so in FORMAT (``"names": "case-safe"``), and from then on each capital letter
in the name of a file or folder inside the store's folders has a ``+`` before it: ``executions/+Exec-+A.json``. That is
the seam's business alone: all above it, the journal too, has the names as they are everywhere else. Names that are the
engine's own are left as they are, and so are those of an index whose groups are a fixed set (``Running``).
"""

from __future__ import annotations

import errno
import functools
import os
import re
from typing import TYPE_CHECKING

from execstore.errors import UnsupportedFilesystemError
from execstore.tree.format_file import CASE_SAFE, PLAIN
from execstore.tree.names import CHANGE_LOCK_PATH, FORMAT_PATH
from execstore.tree.paths import NAME_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from execstore.tree.layout import Layout
    from execstore.tree.seam import FileSystem
    from execstore.tree.steps import Step

__all__ = [
    "NamesApart",
    "check_file_system",
    "check_names",
    "is_case_blind",
    "kept_name",
    "names_for",
    "names_seen",
    "wished_name",
    "with_names",
]

_LONGEST_SUFFIX_BYTES = len(".jsonl")
_CAPITAL = re.compile(r"(%[0-9A-F]{2})|([A-Z])")  # an escape's own letters are capitals always
_KEPT_CAPITAL = re.compile(r"\+([A-Z])")
# It names a hash of the whole text, so it is like no other name, case aside.
_HASHED = re.compile(r".+%-[0-9a-f]{64}(?:\.jsonl?)?")
_STRANGER = "+"


def check_file_system(fs: FileSystem, path: str) -> None:
    """See that a store can be kept on this file system.

    Raises:
        UnsupportedFilesystemError: it can't.
    """
    remote = fs.remote_kind()
    if remote is not None:
        raise UnsupportedFilesystemError(path, remote, "locks there don't keep two machines apart")
    longest = fs.longest_name_bytes()
    if longest < NAME_LIMIT + _LONGEST_SUFFIX_BYTES:
        raise UnsupportedFilesystemError(
            path,
            f"a file system whose names have {longest} bytes at most",
            f"a store's have up to {NAME_LIMIT + _LONGEST_SUFFIX_BYTES}",
        )


def is_case_blind(fs: FileSystem) -> bool:
    """Whether the file system takes names that differ in case for the same. The store's lock files must be there."""
    other = CHANGE_LOCK_PATH.upper()
    return fs.kind(other) is not None and other not in fs.names("")


def names_for(fs: FileSystem) -> str:
    """What FORMAT says of the names of a store that is made here."""
    return CASE_SAFE if is_case_blind(fs) else PLAIN


def names_seen(fs: FileSystem, layout: Layout) -> str:
    """The same of a store that has lost its FORMAT."""
    names = fs.names("")
    if any(fs.kind(other) is not None and other not in names for other in map(str.swapcase, names)):
        return CASE_SAFE
    is_marked = any(_KEPT_CAPITAL.search(name) for folder in layout.folders() for name in fs.names(folder))
    return CASE_SAFE if is_marked else PLAIN


def with_names(fs: FileSystem, path: str, layout: Layout, names: str) -> FileSystem:
    """The file system as a store sees it whose FORMAT says ``names``.

    Raises:
        UnsupportedFilesystemError: the store's names may differ in nothing but case, and were brought to a file system
            that doesn't tell them apart; or it doesn't even keep the case that a name was given.
    """
    if names == CASE_SAFE:
        top = fs.names("")
        if FORMAT_PATH not in top and FORMAT_PATH.lower() in top:
            raise UnsupportedFilesystemError(
                path,
                "a file system that turns capital letters into small ones",
                "it must keep names as they are given; mount it with other options (vfat: shortname=mixed)",
            )
        return NamesApart(fs, layout.fixed_groups)
    if is_case_blind(fs):
        raise UnsupportedFilesystemError(
            path,
            "a file system that doesn't tell capital letters from small ones",
            "this store was made on one that does; copy it back there, and bring it here by backup and restore",
        )
    return fs


def check_names(fs: FileSystem, path: str, steps: Iterable[Step]) -> None:
    """See that this store's file system can hold the names that a change makes.

    Raises:
        UnsupportedFilesystemError: one is too long there. Nothing was changed.
    """
    if isinstance(fs, NamesApart):
        for step in steps:
            try:
                fs.kept_path(step.path)
            except OSError as error:
                raise UnsupportedFilesystemError(
                    path,
                    "a file system that doesn't tell capital letters from small ones",
                    f"with its capitals marked the name {step.path.rpartition('/')[2][:60]}… is too long for it; "
                    "give shorter IDs, or fewer capital letters",
                ) from error


def kept_name(name: str) -> str:
    """The name under which a file is kept."""
    if name.islower() or _HASHED.fullmatch(name):
        return name
    if name.startswith(_STRANGER):  # see `wished_name`
        return name[1:]
    return _CAPITAL.sub(lambda match: match[1] or f"+{match[2]}", name)


def wished_name(kept: str) -> str:
    """The inverse. A name that is no store's gets a ``+`` before it, which no name of a store begins with."""
    if kept.islower():
        return kept
    name = _KEPT_CAPITAL.sub(r"\1", kept)
    return name if kept_name(name) == kept else _STRANGER + kept


@functools.lru_cache(maxsize=512)
def _kept_path(path: str, fixed_groups: frozenset[str]) -> str:
    top, *below = path.split("/")
    if not below:
        return path
    kept = below[:1] if top in fixed_groups else []
    kept += map(kept_name, below[len(kept) :])
    longest = max(kept, key=len)
    if len(longest) > NAME_LIMIT + _LONGEST_SUFFIX_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return "/".join([top, *kept])


class NamesApart:
    """A file system with the store's names for those that its files are kept under; all else is as it is."""

    def __init__(self, inner: FileSystem, fixed_groups: Iterable[str] = ()) -> None:
        self._inner = inner
        self._fixed_groups = frozenset(fixed_groups)
        self.close = inner.close
        self.pread = inner.pread
        self.pwrite = inner.pwrite
        self.flush = inner.flush
        self.truncate = inner.truncate
        self.length = inner.length
        self.try_lock = inner.try_lock
        self.try_lock_shared = inner.try_lock_shared
        self.unlock = inner.unlock
        self.lock_holder = inner.lock_holder
        self.is_lock_shared = inner.is_lock_shared
        self.free = inner.free
        self.remote_kind = inner.remote_kind
        self.longest_name_bytes = inner.longest_name_bytes

    def dispose(self) -> None:
        dispose = getattr(self._inner, "dispose", None)
        if dispose is not None:
            dispose()

    def kept_path(self, path: str) -> str:
        """The path under which a file is kept. ``OSError(ENAMETOOLONG)`` if none can be."""
        return _kept_path(path, self._fixed_groups)

    def _sought_path(self, path: str) -> str | None:
        try:
            return self.kept_path(path)
        except OSError:  # too long a name; so there is no such file
            return None

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        kept = self._sought_path(path)
        return None if kept is None else self._inner.read(kept, maximum, offset)

    def size(self, path: str) -> int | None:
        kept = self._sought_path(path)
        return None if kept is None else self._inner.size(kept)

    def stamp(self, path: str) -> tuple[int, ...] | None:
        kept = self._sought_path(path)
        return None if kept is None else self._inner.stamp(kept)

    def kind(self, path: str) -> str | None:
        kept = self._sought_path(path)
        return None if kept is None else self._inner.kind(kept)

    def names(self, path: str) -> list[str]:
        kept = self._sought_path(path)
        if kept is None:
            return []
        names = self._inner.names(kept)
        return names if not path or path in self._fixed_groups else [wished_name(name) for name in names]

    def link_target(self, path: str) -> str | None:
        kept = self._sought_path(path)
        target = None if kept is None else self._inner.link_target(kept)
        if target is None:
            return None
        folder, separator, name = target.rpartition("/")
        return f"{folder}{separator}{wished_name(name)}"

    def link(self, path: str, target: str) -> None:
        folder, separator, name = target.rpartition("/")
        self._inner.link(self.kept_path(path), f"{folder}{separator}{kept_name(name)}")

    def create(self, path: str, data: bytes) -> None:
        self._inner.create(self.kept_path(path), data)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        self._inner.overwrite(self.kept_path(path), offset, data, truncate=truncate)

    def rename(self, source: str, path: str) -> None:
        self._inner.rename(self.kept_path(source), self.kept_path(path))

    def remove(self, path: str) -> None:
        self._inner.remove(self.kept_path(path))

    def make_folder(self, path: str) -> None:
        self._inner.make_folder(self.kept_path(path))

    def remove_folder(self, path: str) -> None:
        self._inner.remove_folder(self.kept_path(path))

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        return self._inner.open(self.kept_path(path), write=write, create=create)

    def sync(self, paths: Iterable[str]) -> None:
        self._inner.sync(map(self.kept_path, paths))

    def write_back(self) -> None:
        self._inner.write_back()

    def sync_folder(self, path: str) -> None:
        self._inner.sync_folder(self.kept_path(path))
