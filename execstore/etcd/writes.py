"""What a change writes, as it will be in one transaction of etcd: the last word on each key."""

from __future__ import annotations

from typing import NamedTuple

from execstore.etcd.wire import delete, put

__all__ = ["Saved", "Writes"]


class Saved(NamedTuple):
    """A state of `Writes` to go back to."""

    puts: dict[bytes, bytes]
    removed: set[bytes]
    ranges: list[tuple[bytes, bytes]]


class Writes:
    """Keys to put, keys to remove, and ranges of keys to remove, each the outcome of all that was asked for so far."""

    def __init__(self) -> None:
        self.puts: dict[bytes, bytes] = {}
        self._removed: set[bytes] = set()
        self._ranges: list[tuple[bytes, bytes]] = []

    @property
    def is_empty(self) -> bool:
        return not (self.puts or self._removed or self._ranges)

    @property
    def removals(self) -> int:
        """How many operations the removing takes, about."""
        return len(self._removed) + len(self._ranges)

    @property
    def size_bytes(self) -> int:
        """How many bytes are put."""
        return sum(len(key) + len(value) for key, value in self.puts.items())

    def put(self, key: bytes, value: bytes) -> None:
        self._removed.discard(key)
        self.puts[key] = value

    def remove(self, key: bytes) -> None:
        self.puts.pop(key, None)
        self._removed.add(key)

    def remove_range(self, start: bytes, end: bytes) -> None:
        """Remove all keys from ``start`` up to ``end``."""
        for key in [key for key in self.puts if start <= key < end]:
            del self.puts[key]
        self._removed = {key for key in self._removed if not start <= key < end}
        self._ranges.append((start, end))

    def tells(self, key: bytes) -> bool:
        """Whether these writes alone say what is under the key."""
        return key in self.puts or key in self._removed or any(start <= key < end for start, end in self._ranges)

    def put_between(self, start: bytes, end: bytes) -> list[bytes]:
        """The keys of a range that are put."""
        return [key for key in self.puts if start <= key < end]

    def operations(self) -> list[bytes]:
        """All as operations of which none has to do with the key of another, as etcd wants it."""
        found = [put(key, value) for key, value in self.puts.items()]
        found += [delete(key) for key in self._removed if not any(start <= key < end for start, end in self._ranges)]
        for start, end in self._ranges:
            found += [delete(*piece) for piece in _without(start, end, self.put_between(start, end))]
        return found

    def save(self) -> Saved:
        return Saved(dict(self.puts), set(self._removed), list(self._ranges))

    def restore(self, saved: Saved) -> None:
        """Go back; ``saved`` is used up."""
        self.puts, self._removed, self._ranges = saved


def _without(start: bytes, end: bytes, keys: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The range in pieces that leave out ``keys``."""
    pieces = []
    for key in sorted(keys):
        if start < key:
            pieces.append((start, key))
        start = key + b"\0"
    if start < end:
        pieces.append((start, end))
    return pieces
