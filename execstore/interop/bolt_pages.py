"""The pages of a bbolt file: what lies where, checked before it is believed.

A bbolt file is an array of pages of one size. Pages 0 and 1 are *meta* pages, written in turn by every transaction;
the valid one with the higher transaction number is the database. It leads to a tree of *branch* and *leaf* pages. A
page may run on over the pages after it (*overflow*). The free list is of no use to a reader and never looked at.

    page     id u64 | flags u16 | count u16 | overflow u32 | elements | their keys and values, packed, in order
    branch element    position u32 | key size u32 | page id u64                     (position counts from the element)
    leaf element      flags u32 | position u32 | key size u32 | value size u32
    bucket   root page u64 | sequence u64 | if the root page is 0: a leaf page (an *inline* bucket)
    meta     magic u32 | version u32 | page size u32 | flags u32 | root bucket | free list u64 | number of pages u64
             | transaction u64 | FNV-1a of all before it u64

Numbers have the byte order of the machine that wrote them. Source: go.etcd.io/bbolt, internal/common: page.go, meta.go,
bucket.go, inode.go. Only meta pages carry a checksum, so everything else is checked for sense: a page says its own
number, is of the kind that belongs there, is referred to once, and its elements lie packed within it, as every bbolt
writes them.
"""

from __future__ import annotations

import mmap
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from execstore.errors import SourceDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LEAF_BUCKET_FLAG", "Meta", "Page", "Pages", "find_meta", "fnv1a_64", "parse_meta"]

MAGIC = 0xED0CDAED
VERSION = 2
HEADER_BYTES = 16
ELEMENT_BYTES = 16
BUCKET_HEADER_BYTES = 16
META_BYTES = 64
CHECKED_META_BYTES = 56
BRANCH_FLAG = 0x01
LEAF_FLAG = 0x02
LEAF_BUCKET_FLAG = 0x01
SMALLEST_PAGE_BYTES = 1024
LARGEST_PAGE_BYTES = 1024 << 14

# A mapping counts as this process's memory as far as it has been touched. Given back every so often, it stays flat
# however large the file; the kernel maps up to 16 neighbours at each touch, so this is at most 32 MiB at 4 KiB a page.
PAGES_BEFORE_RELEASE = 512

ByteOrder = Literal["<", ">"]


@dataclass(frozen=True, slots=True)
class Meta:
    """What a meta page says: where the root bucket is and how far the file goes."""

    byte_order: ByteOrder
    page_size: int
    root_page: int
    root_sequence: int
    page_count: int
    transaction_id: int

    @property
    def page_id(self) -> int:
        """The page this meta is on: they take turns."""
        return self.transaction_id % 2


@dataclass(frozen=True, slots=True)
class Page:
    """A branch or leaf page with all its bytes. One in an inline bucket has the number of the page it lies on."""

    page_id: int
    is_leaf: bool
    count: int
    data: bytes


def fnv1a_64(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def parse_meta(body: bytes) -> Meta | str:
    """Parse a meta page's 64 bytes (after the page header): the meta, or why it isn't one."""
    if len(body) < META_BYTES:
        return "it is no bolt database: the file ends in its first page"
    order: ByteOrder
    if body[:4] == struct.pack("<I", MAGIC):
        order = "<"
    elif body[:4] == struct.pack(">I", MAGIC):
        order = ">"
    else:
        return "it is no bolt database, or its beginning is lost (no magic number)"
    _, version, page_size, _, root_page, root_sequence, _, page_count, transaction_id, checksum = struct.unpack(
        order + "IIIIQQQQQQ", body[:META_BYTES]
    )
    if version != VERSION:
        return f"it is of bbolt format version {version}, only version {VERSION} is known"
    actual = fnv1a_64(body[:CHECKED_META_BYTES])
    if checksum != actual:
        return f"wrong checksum: {checksum:016x} is stored, {actual:016x} is right"
    if page_size & (page_size - 1) or not SMALLEST_PAGE_BYTES <= page_size <= LARGEST_PAGE_BYTES:
        return f"a page size of {page_size} bytes can't be"
    return Meta(order, page_size, root_page, root_sequence, page_count, transaction_id)


def find_meta(path: str, view: mmap.mmap, size_bytes: int) -> tuple[Meta, tuple[str, ...]]:
    """Return the meta that holds, and notes on the other one if it is damaged.

    As bbolt does (``db.go``, ``getPageSize`` and ``meta``): the first meta gives the page size; if it is damaged the
    second is looked for at every page size there is; of two valid ones the later transaction holds.

    Raises: SourceDamagedError if there is none, or if the file is shorter than it says.
    """
    first = parse_meta(view[HEADER_BYTES : HEADER_BYTES + META_BYTES])
    second: Meta | str = "it is where no page size leads"
    sizes = [first.page_size] if isinstance(first, Meta) else [SMALLEST_PAGE_BYTES << shift for shift in range(15)]
    for page_size in sizes:
        candidate = parse_meta(view[page_size + HEADER_BYTES : page_size + HEADER_BYTES + META_BYTES])
        if isinstance(candidate, str):
            if isinstance(first, Meta):
                second = candidate
        elif candidate.page_size == page_size:
            second = candidate
            break
        elif isinstance(first, Meta):
            second = f"it says that pages have {candidate.page_size} bytes, page 0 says {page_size}"
    notes: tuple[str, ...]
    if isinstance(first, Meta) and isinstance(second, Meta):
        meta, notes = max(first, second, key=lambda each: each.transaction_id), ()
    elif isinstance(first, Meta):
        meta, notes = first, (f"page 1 is damaged: {second}; read as of transaction {first.transaction_id}, page 0",)
    elif isinstance(second, Meta):
        meta, notes = second, (f"page 0 is damaged: {first}; read as of transaction {second.transaction_id}, page 1",)
    else:
        place = "" if size_bytes < HEADER_BYTES + META_BYTES else "page 0"
        raise SourceDamagedError(path, place, first)
    if meta.page_count * meta.page_size > size_bytes:
        raise SourceDamagedError(
            path,
            f"page {size_bytes // meta.page_size}",
            f"the file is cut off here: it has {size_bytes} bytes, its {meta.page_count} pages take "
            f"{meta.page_count * meta.page_size}",
        )
    return meta, notes


class Pages:
    """Branch and leaf pages by number. Every fault is a ``SourceDamagedError`` that names the page."""

    def __init__(self, path: str, view: mmap.mmap, meta: Meta) -> None:
        self.path = path
        self.meta = meta
        self._view = view
        self._header = struct.Struct(meta.byte_order + "QHHI")
        self._branch_element = struct.Struct(meta.byte_order + "IIQ")
        self._leaf_element = struct.Struct(meta.byte_order + "IIII")
        self._bucket_header = struct.Struct(meta.byte_order + "QQ")
        # For every page the place that refers to it, so that a second one is noticed: without it a file of some pages
        # that refer to each other could be read for ever. Anonymous memory: takes room only for pages looked at.
        self._referrers_memory = mmap.mmap(-1, max(8 * meta.page_count, 8))
        self._referrers = memoryview(self._referrers_memory).cast("Q")
        self._reads_until_release = PAGES_BEFORE_RELEASE

    def close(self) -> None:
        """Give the memory back."""
        self._referrers.release()
        self._referrers_memory.close()

    def damaged(self, place: int | str, reason: str) -> SourceDamagedError:
        """The error to raise for a page (by number) or another place (by its name)."""
        return SourceDamagedError(self.path, f"page {place}" if isinstance(place, int) else place, reason)

    def read(self, page_id: int, parent_id: int, index: int) -> Page:
        """Read the page that element ``index`` of page ``parent_id`` refers to."""
        page_count, page_size = self.meta.page_count, self.meta.page_size
        if not 2 <= page_id < page_count:
            raise self.damaged(parent_id, f"it refers to page {page_id}; there are pages 2 to {page_count - 1}")
        self._release_now_and_then()
        start = page_id * page_size
        own_id, flags, count, overflow = self._header.unpack_from(self._view, start)
        if own_id != page_id:
            raise self.damaged(page_id, f"it says that it is page {own_id}")
        if flags not in {BRANCH_FLAG, LEAF_FLAG}:
            raise self.damaged(page_id, f"page {parent_id} refers to it, but it is no branch or leaf ({flags:#06x})")
        if page_id + overflow >= page_count:
            raise self.damaged(page_id, f"it runs on to page {page_id + overflow}; the last is {page_count - 1}")
        self._claim(page_id, overflow, parent_id, index)
        data = self._view[start : start + (overflow + 1) * page_size]
        return Page(page_id, flags == LEAF_FLAG, count, data)

    def inline(self, value: bytes, page_id: int) -> Page:
        """The leaf page inside an inline bucket's value, which lies on page ``page_id``."""
        data = value[BUCKET_HEADER_BYTES:]
        if len(data) < HEADER_BYTES:
            raise self.damaged(page_id, f"a bucket's value of {len(value)} bytes is too short for an inline bucket")
        own_id, flags, count, overflow = self._header.unpack_from(data)
        if own_id or flags != LEAF_FLAG or overflow:
            raise self.damaged(page_id, f"an inline bucket is no leaf page ({own_id}, {flags:#06x}, {overflow})")
        return Page(page_id, is_leaf=True, count=count, data=data)

    def bucket_header(self, value: bytes, page_id: int) -> tuple[int, int]:
        """A bucket's root page (0: inline) and sequence, from its value on page ``page_id``."""
        if len(value) < BUCKET_HEADER_BYTES:
            raise self.damaged(page_id, f"a bucket's value has {len(value)} bytes, it needs {BUCKET_HEADER_BYTES}")
        root_page, sequence = self._bucket_header.unpack_from(value)
        return root_page, sequence

    def branch_elements(self, page: Page) -> list[tuple[bytes, int]]:
        """(key, page number) of every element of a branch page."""
        if not page.count:
            raise self.damaged(page.page_id, "a branch page without elements")
        data, elements = page.data, []
        end = self._headers_end(page)
        for index, (position, key_size, child) in enumerate(self._branch_element.iter_unpack(data[HEADER_BYTES:end])):
            start, end = end, end + key_size
            if HEADER_BYTES + index * ELEMENT_BYTES + position != start or not key_size or end > len(data):
                raise self._bad_element(page, index, position, key_size, end)
            elements.append((data[start:end], child))
        return elements

    def leaf_elements(self, page: Page) -> Iterator[tuple[int, bytes, bytes]]:
        """(flags, key, value) of every element of a leaf page, in order."""
        data = page.data
        end = self._headers_end(page)
        headers = self._leaf_element.iter_unpack(data[HEADER_BYTES:end])
        for index, (flags, position, key_size, value_size) in enumerate(headers):
            start, key_end = end, end + key_size
            end = key_end + value_size
            if HEADER_BYTES + index * ELEMENT_BYTES + position != start or not key_size or end > len(data):
                raise self._bad_element(page, index, position, key_size, end)
            if flags & ~LEAF_BUCKET_FLAG:
                raise self.damaged(page.page_id, f"element {index} has unknown flags {flags:#010x}")
            yield flags, data[start:key_end], data[key_end:end]

    def _headers_end(self, page: Page) -> int:
        end = HEADER_BYTES + page.count * ELEMENT_BYTES
        if end > len(page.data):
            raise self.damaged(page.page_id, f"{page.count} elements don't fit into its {len(page.data)} bytes")
        return end

    def _bad_element(self, page: Page, index: int, position: int, key_size: int, end: int) -> SourceDamagedError:
        if not key_size:
            return self.damaged(page.page_id, f"element {index} has an empty key")
        if end > len(page.data):
            return self.damaged(page.page_id, f"element {index} ends at byte {end}, there are {len(page.data)}")
        lies_at = HEADER_BYTES + index * ELEMENT_BYTES + position
        return self.damaged(page.page_id, f"element {index} lies at byte {lies_at}, not behind the one before it")

    def _claim(self, page_id: int, overflow: int, parent_id: int, index: int) -> None:
        referrer = (parent_id << 16 | index) + 1
        known = self._referrers[page_id]
        if known == referrer:
            return
        if known:
            raise self.damaged(parent_id, self._second_reference(page_id, parent_id, (known - 1) >> 16))
        self._referrers[page_id] = referrer
        inside = (page_id << 16 | 0xFFFF) + 1  # no page has an element of this number
        for continued in range(page_id + 1, page_id + overflow + 1):
            if self._referrers[continued]:
                raise self.damaged(page_id, f"it runs on into page {continued}, which is in use elsewhere")
            self._referrers[continued] = inside

    def _second_reference(self, page_id: int, parent_id: int, known_parent_id: int) -> str:
        above = parent_id
        while above > 1:
            if above == page_id:
                return f"it refers to page {page_id}, which leads to it: the pages point in a circle"
            above = (self._referrers[above] - 1) >> 16
        return f"it refers to page {page_id}, to which page {known_parent_id} refers already"

    def _release_now_and_then(self) -> None:
        self._reads_until_release -= 1
        if not self._reads_until_release:
            self._reads_until_release = PAGES_BEFORE_RELEASE
            if sys.platform != "win32" and hasattr(mmap, "MADV_DONTNEED"):
                self._view.madvise(mmap.MADV_DONTNEED)
