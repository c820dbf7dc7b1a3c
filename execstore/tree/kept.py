"""What was read and made sense of, kept as long as it is true, so that who reads the same again needn't.

Invariants:

- What is kept is of one transaction. A change of this handle's own drops what it touched; if another handle changed
  anything, all goes.
- Nothing is given out unless the file, or the folder, still has the stamp that it had before it was read. So what was
  changed by hand, or damaged, is read again.
- What is kept is never given out itself, but a copy of it, which its receiver may change.

Keeping costs more than it spares once, so only what is read a second time without having changed is kept. Who walks
over the whole store once pays nothing, and drives nothing out; nor does who reads what is changed all the time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from execstore.tree.steps import Move

if TYPE_CHECKING:
    from collections.abc import Iterable

    from execstore.tree.journal import Record

__all__ = ["KEPT_BYTES", "Entry", "Kept"]

KEPT_BYTES = 4 << 20
# More than what a decoded document of so many bytes needs on top of that, and what an entry costs at the least.
_ENTRY_BYTES = 256
_READ_ONCE = 8192  # so many paths are remembered that were read once


class Entry(NamedTuple):
    """What was made of a file or folder that had this stamp."""

    stamp: tuple[int, ...]
    value: Any
    size: int


class Kept:
    """Values by the path of the file or folder that they were made of; those that were used longest ago go first."""

    def __init__(self, maximum_bytes: int = KEPT_BYTES) -> None:
        """``maximum_bytes``: of the files that the values were made of; the values may be a few times as large."""
        self._maximum = maximum_bytes
        self._lock = threading.Lock()
        self._transaction = 0
        self._entries: dict[str, Entry] = {}
        self._bytes = 0
        self._read_once: set[str] = set()

    def look(self, transaction: int, path: str, *, is_change: bool = False) -> tuple[Entry | None, bool]:
        """What is kept of a path at a transaction, and, if nothing is, whether to keep what is read now.

        ``is_change``: it is read to be changed, so the answer to the latter is no.
        """
        with self._lock:
            if transaction == self._transaction:
                entry = self._entries.pop(path, None)
                if entry is not None:
                    self._entries[path] = entry  # the newest now
                    return entry, not is_change
            if is_change:
                return None, False
            if path in self._read_once:
                return None, True
            if len(self._read_once) >= _READ_ONCE:
                self._read_once.clear()
            self._read_once.add(path)
            return None, False

    def put(self, transaction: int, path: str, stamp: tuple[int, ...], value: Any, size: int) -> None:
        """Keep what was made of a path that was read at a transaction, if that still is the newest known."""
        size += _ENTRY_BYTES
        if size > self._maximum // 8:
            return
        with self._lock:
            if transaction > self._transaction:  # another handle's change
                self._clear(transaction)
            if transaction == self._transaction:
                self._drop(path)
                self._entries[path] = Entry(stamp, value, size)
                self._bytes += size
                while self._bytes > self._maximum:
                    self._drop(next(iter(self._entries)))

    def published(self, before: int, records: Iterable[Record]) -> None:
        """This handle brought these records, which follow transaction ``before``, into the tree."""
        with self._lock:
            if before != self._transaction:
                self._clear(self._transaction)
            for record in records:
                self._transaction = record.transaction
                if self._entries or self._read_once:
                    for step in record.steps:
                        self._drop_with_folder(step.path)
                        if isinstance(step, Move):
                            self._drop_with_folder(step.source)

    def clear(self) -> None:
        """Forget everything: the tree was made anew."""
        with self._lock:
            self._clear(0)

    def _clear(self, transaction: int) -> None:
        self._entries, self._bytes, self._transaction = {}, 0, transaction

    def _drop_with_folder(self, path: str) -> None:
        self._drop(path)
        self._drop(path.rpartition("/")[0])

    def _drop(self, path: str) -> None:
        self._read_once.discard(path)
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._bytes -= entry.size
