"""The one place that builds and reads the names of keys. They mirror the tree's folders (see ``FORMAT.md``).

``PREFIX/executions/NAME`` is a record, ``PREFIX/execution_events/NAME/NUMBER`` some of its lines,
``PREFIX/INDEX/GROUP/NAME`` an index entry, ``PREFIX/events/NUMBER`` a line of the log. NAME and GROUP are made by the
rule for file names (`execstore.tree.paths`), so a key has no slash but those that stand here.
"""

from __future__ import annotations

from typing import Final

from execstore.tree.paths import encode_name

__all__ = ["Keys", "end_of", "number_of"]

FORMAT: Final = b"FORMAT"
HEAD: Final = b"head"
LOCK: Final = b"lock"
SEGMENTS: Final = b"log_segments"
TRANSACTIONS: Final = b"transactions"


def end_of(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin with ``prefix``, whose last byte is below 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def number_of(key: bytes) -> int:
    """The number that a key ends in.

    Raises:
        ValueError: it ends in something else.
    """
    digits = key.rpartition(b"/")[2]
    if len(digits) != 20 or not digits.isdigit():
        raise ValueError("the key doesn't end in a number of 20 digits")
    return int(digits)


class Keys:
    """The names of one store's keys."""

    def __init__(self, prefix: str) -> None:
        self.root = prefix.encode() + b"/"
        self.format = self.root + FORMAT
        self.head = self.root + HEAD
        self.lock = self.root + LOCK
        self.transactions = self.folder("transactions")
        self.segments = self.folder("log_segments")

    def folder(self, name: str) -> bytes:
        """What all keys of a collection begin with."""
        return b"%b%b/" % (self.root, name.encode())

    def record(self, collection: str, key: str) -> bytes:
        return self.record_named(collection, encode_name(key))

    def record_named(self, collection: str, name: str) -> bytes:
        return b"%b%b/%b" % (self.root, collection.encode(), name.encode())

    def lines(self, collection: str, name: str) -> bytes:
        """What the keys of all lines under a name begin with."""
        return b"%b%b/%b/" % (self.root, collection.encode(), name.encode())

    def some_lines(self, collection: str, name: str, number: int) -> bytes:
        """The lines that transaction ``number`` added."""
        return b"%b%020d" % (self.lines(collection, name), number)

    def group(self, index: str, group_name: str) -> bytes:
        """What the keys of all entries of a group begin with."""
        return b"%b%b/%b/" % (self.root, index.encode(), group_name.encode())

    def marker(self, index: str, group: str, key: str) -> bytes:
        return self.group(index, encode_name(group)) + encode_name(key).encode()

    def log_line(self, log: str, number: int) -> bytes:
        return b"%b%b/%020d" % (self.root, log.encode(), number)

    def segment(self, first: int) -> bytes:
        """Where a segment of the log begins."""
        return b"%b%020d" % (self.segments, first)

    def transaction(self, session: str) -> bytes:
        """Where a session keeps the number of its newest transaction."""
        return self.transactions + session.encode()
