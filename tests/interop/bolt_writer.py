"""Writes small bbolt files, right or wrong on purpose, page by page: the tests' own second opinion of the format."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = ["BoltWriter", "bucket_value", "inline_bucket_value", "leaf_page"]

MAGIC = 0xED0CDAED


def fnv1a(data: bytes) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def leaf_page(page_id: int, items: list[tuple[bytes, bytes, bool]], *, order: str = "<", overflow: int = 0) -> bytes:
    """A leaf page of (key, value, is a bucket)."""
    headers, payload = b"", b""
    for index, (key, value, is_bucket) in enumerate(items):
        position = 16 * (len(items) - index) + len(payload)
        headers += struct.pack(order + "IIII", int(is_bucket), position, len(key), len(value))
        payload += key + value
    return struct.pack(order + "QHHI", page_id, 2, len(items), overflow) + headers + payload


def branch_page(page_id: int, children: list[tuple[bytes, int]], *, order: str = "<") -> bytes:
    """A branch page of (key, child page)."""
    headers, payload = b"", b""
    for index, (key, child) in enumerate(children):
        headers += struct.pack(order + "IIQ", 16 * (len(children) - index) + len(payload), len(key), child)
        payload += key
    return struct.pack(order + "QHHI", page_id, 1, len(children), 0) + headers + payload


def bucket_value(root_page: int, sequence: int = 0, *, order: str = "<") -> bytes:
    """The value of a bucket with pages of its own."""
    return struct.pack(order + "QQ", root_page, sequence)


def inline_bucket_value(items: list[tuple[bytes, bytes]], sequence: int = 0, *, order: str = "<") -> bytes:
    """The value of a bucket that lies in it."""
    page = leaf_page(0, [(key, value, False) for key, value in items], order=order)
    return bucket_value(0, sequence, order=order) + page


@dataclass
class BoltWriter:
    """Pages by number, and the two meta pages made around them."""

    page_size: int = 4096
    order: str = "<"
    root_page: int = 3
    transaction_id: int = 7
    pages: dict[int, bytes] = field(default_factory=dict)

    def leaf(self, page_id: int, items: list[tuple[bytes, bytes, bool]]) -> None:
        """Add a leaf page, with as much overflow as it needs."""
        length = len(leaf_page(page_id, items, order=self.order))
        overflow = (length - 1) // self.page_size
        self.pages[page_id] = leaf_page(page_id, items, order=self.order, overflow=overflow)

    def branch(self, page_id: int, children: list[tuple[bytes, int]]) -> None:
        """Add a branch page."""
        self.pages[page_id] = branch_page(page_id, children, order=self.order)

    def meta(self, page_id: int, transaction_id: int, page_count: int) -> bytes:
        """A meta page."""
        body = struct.pack(
            self.order + "IIIIQQQQQ",
            *(MAGIC, 2, self.page_size, 0),
            *(self.root_page, 0, 2, page_count, transaction_id),
        )
        header = struct.pack(self.order + "QHHI", page_id, 4, 0, 0)
        return header + body + struct.pack(self.order + "Q", fnv1a(body))

    def build(self, *, page_count: int = 0) -> bytes:
        """The file's bytes."""
        last = max(number + (len(page) - 1) // self.page_size for number, page in self.pages.items())
        page_count = page_count or last + 1
        data = bytearray(page_count * self.page_size)
        self.pages.setdefault(2, struct.pack(self.order + "QHHI", 2, 16, 0, 0))
        for number, page in self.pages.items():
            data[number * self.page_size : number * self.page_size + len(page)] = page
        for number, transaction_id in (
            (self.transaction_id % 2, self.transaction_id),
            (1 - self.transaction_id % 2, 0),
        ):
            meta = self.meta(number, transaction_id or self.transaction_id - 1, page_count)
            data[number * self.page_size : number * self.page_size + len(meta)] = meta
        return bytes(data)
