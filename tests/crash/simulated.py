"""A file system in memory that knows what is durable and what a power cut may take.

Durable are only: a file's bytes and size once that file was flushed, names once their folder was synced, and everything
after a `sync` of the whole. All else is up to chance: `Plan` lists what is open at a moment, and builds the images that
a cut could leave: every unsynced name kept or lost by itself (real file systems mostly keep an order; that is one of
the outcomes), every unsynced file as it was at any moment since its last flush, torn at its sectors, empty, or long
enough but full of NULs.

A handle (`SimulatedFileSystem`) is one process. When it is killed its locks are free and its writes stay.
"""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from execstore.tree.filesystem import sync_each

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Call", "File", "Folder", "Image", "Killed", "Link", "Plan", "SimulatedFileSystem", "sync_each"]

SECTOR_BYTES = 512
PAGE_BYTES = 4096


class Killed(BaseException):
    """The process of this handle is dead: nothing that it does from now on reaches the file system."""


class Call(NamedTuple):
    """A call that changes something or makes it durable. ``path`` of an open file is the one it was opened by."""

    operation: str
    path: str


@dataclass(eq=False, slots=True)
class File:
    """A file's contents since it was last flushed, oldest first: the durable one, and at the end the live one."""

    versions: list[bytes]
    stamps: list[int] = field(default_factory=lambda: [0])
    #: Pages that a failed flush has marked clean: they are in memory, and no later flush writes them.
    forgotten: set[int] = field(default_factory=set)
    locks: dict[int, bool] = field(default_factory=dict)  # descriptor -> whether it is exclusive
    opened: set[int] = field(default_factory=set)  # descriptors
    failing: set[int] = field(default_factory=set)  # descriptors that have yet to be told of a failed flush

    @property
    def live(self) -> bytes:
        return self.versions[-1]

    def write(self, content: bytes, offset: int, length: int, stamp: int) -> None:
        self.versions.append(content)
        self.stamps.append(stamp)
        if self.forgotten:
            self.forgotten -= set(range(offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES + 1))

    def flush(self) -> None:
        live = self.live
        if not self.forgotten:
            self.versions, self.stamps = [live], [0]
            return
        disk = _with_pages(live, self.versions[0], self.forgotten)
        self.versions, self.stamps = [disk, live], [0, self.stamps[-1]]

    def fail_flush(self, told: set[int]) -> None:
        """The device refused: the disk has what it had (or any of it), and the kernel takes the pages for clean.

        Whoever has the file open is told at his next flush, but for those that are told now.
        """
        old, live = self.versions[0], self.live
        for page in range(max(len(old), len(live)) // PAGE_BYTES + 1):
            part = slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
            if old[part] != live[part]:
                self.forgotten.add(page)
        self.failing |= self.opened - told


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Effect(NamedTuple):
    """What an operation did to one name: what it leads to now. Two of one rename have the same stamp."""

    stamp: int
    name: str
    node: Node | None


@dataclass(eq=False, slots=True)
class Folder:
    """Names as they are, as they are on disk, and what happened between the two."""

    live: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    history: list[Effect] = field(default_factory=list)

    def put(self, name: str, node: Node | None, stamp: int) -> None:
        if node is None:
            del self.live[name]
        else:
            self.live[name] = node
        self.history.append(Effect(stamp, name, node))

    def sync(self) -> None:
        self.durable = dict(self.live)
        self.history = []


Node: TypeAlias = File | Link | Folder


def _with_pages(content: bytes, other: bytes, pages: Iterable[int]) -> bytes:
    """``content`` with these pages as they are in ``other`` (NULs where that is shorter)."""
    mixed = bytearray(content)
    for page in pages:
        start, end = page * PAGE_BYTES, min((page + 1) * PAGE_BYTES, len(content))
        if start < end:
            mixed[start:end] = other[start:end].ljust(end - start, b"\0")
    return bytes(mixed)


@dataclass(eq=False, slots=True)
class Image:
    """The device with what the kernel holds of it in memory."""

    root: Folder = field(default_factory=Folder)
    stamp: int = 0
    descriptor: int = 2
    #: Free bytes and inodes; ``None``: there is always room.
    room_bytes: int | None = None
    room_inodes: int | None = None

    def fork(self) -> Image:
        """The same moment once more, without any process: what is unsynced stays unsynced."""
        copies: dict[int, Node] = {}

        def copy(node: Node) -> Node:
            known = copies.get(id(node))
            if known is None:
                if isinstance(node, Link):
                    return node
                if isinstance(node, File):
                    known = File(list(node.versions), list(node.stamps), set(node.forgotten))
                else:
                    known = copies[id(node)] = Folder()
                    known.live = {name: copy(each) for name, each in node.live.items()}
                    known.durable = {name: copy(each) for name, each in node.durable.items()}
                    known.history = [
                        Effect(stamp, name, None if each is None else copy(each)) for stamp, name, each in node.history
                    ]
                copies[id(node)] = known
            return known

        root = copy(self.root)
        if not isinstance(root, Folder):
            raise TypeError(root)
        return Image(root, self.stamp, self.descriptor, self.room_bytes, self.room_inodes)

    def folder(self, path: str) -> Folder:
        """The folder that stands at a path. Raises what the system does where there is none."""
        folder = self.root
        for part in path.split("/") if path else ():
            node = folder.live.get(part)
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            folder = node
        return folder

    def files(self) -> dict[str, bytes | str]:
        """Every file (its bytes) and link (its target) as a process sees it now."""
        found: dict[str, bytes | str] = {}

        def walk(folder: Folder, prefix: str) -> None:
            for name, node in folder.live.items():
                if isinstance(node, File):
                    found[prefix + name] = node.versions[-1]
                elif isinstance(node, Link):
                    found[prefix + name] = node.target
                else:
                    walk(node, f"{prefix}{name}/")

        walk(self.root, "")
        return found

    def used(self) -> tuple[int, int]:
        """Bytes, in whole blocks, and inodes."""
        files = self.files()
        size = sum(-(-len(data) // PAGE_BYTES) * PAGE_BYTES for data in files.values() if isinstance(data, bytes))
        return size, len(files)

    def fingerprint(self) -> int:
        """What tells two images apart in which everything is durable, or nothing matters but what a process sees."""

        def walk(folder: Folder) -> int:
            return hash(
                frozenset(
                    (name, node.versions[-1])
                    if isinstance(node, File)
                    else (name, node.target if isinstance(node, Link) else walk(node))
                    for name, node in folder.live.items()
                )
            )

        return walk(self.root)

    def sync(self) -> None:
        """Make everything durable."""
        for node in self.nodes():
            if isinstance(node, File):
                node.flush()
            elif isinstance(node, Folder):
                node.sync()

    def nodes(self) -> Iterator[Node]:
        """Every file and folder that a process can see or a power cut could bring back, each once."""
        seen: set[int] = set()
        waiting: list[Node] = [self.root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen or isinstance(node, Link):
                continue
            seen.add(id(node))
            yield node
            if isinstance(node, Folder):
                waiting += node.live.values()
                waiting += node.durable.values()
                waiting += [effect.node for effect in node.history if effect.node is not None]


# --- power cuts -----------------------------------------------------------------------------------------------------


class _Name(NamedTuple):
    """An unsynced name: what it may lead to, on disk first, and when it came to that."""

    folder: Folder
    name: str
    nodes: list[Node | None]
    stamps: list[int]


class _Data(NamedTuple):
    """An unsynced file: what it may hold. ``stamps`` are of the first so many, the moments it went through."""

    file: File
    contents: list[bytes]
    stamps: list[int]


class Plan:
    """What is open in an image at this moment, and the images that a power cut could make of it."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._names: list[_Name] = []
        self._data: list[_Data] = []
        for node in image.nodes():
            if isinstance(node, File):
                if len(node.versions) > 1:
                    self._data.append(_Data(node, _contents(node), node.stamps))
            elif isinstance(node, Folder):
                units: dict[str, _Name] = {}
                for stamp, name, leads_to in node.history:
                    unit = units.get(name)
                    if unit is None:
                        unit = units[name] = _Name(node, name, [node.durable.get(name)], [0])
                    unit.nodes.append(leads_to)
                    unit.stamps.append(stamp)
                self._names += units.values()

    @property
    def combinations(self) -> int:
        """How many images there are, without the torn ones."""
        number = 1
        for name in self._names:
            number *= len(name.nodes)
        for data in self._data:
            number *= len(data.contents)
        return number

    def images(self, chance: random.Random, bound: int, limit: int) -> Iterator[Image]:
        """All images if there are at most ``bound``, else ``limit`` of them: the two extremes, then corners and others
        by chance. Torn files come by chance in any case.
        """
        if self.combinations <= bound:
            names = [range(len(unit.nodes)) for unit in self._names]
            for choice in itertools.product(*names):
                for contents in itertools.product(*(unit.contents for unit in self._data)):
                    yield self.build(choice, contents)
            left = limit if self._data else 0
        else:
            yield self.nothing()
            yield self.everything()
            left = limit - 2
        for _ in range(left):
            yield self._corner(chance) if chance.random() < 0.4 else self._by_chance(chance)

    def nothing(self) -> Image:
        """Only what is durable."""
        return self.build([0] * len(self._names), [unit.contents[0] for unit in self._data])

    def everything(self) -> Image:
        """As if all had been written back just in time."""
        return self.until(self._image.stamp)

    def until(self, stamp: int) -> Image:
        """What happened up to a moment, in order: what a file system does that journals everything."""
        names = [_latest(unit.stamps, stamp) for unit in self._names]
        return self.build(names, [unit.contents[_latest(unit.stamps, stamp)] for unit in self._data])

    def first_sector(self) -> Image:
        """Only what is durable, but of the file that was written last the first changed sector as it is now."""
        contents = [unit.contents[0] for unit in self._data]
        last = self._last()
        if last is not None:
            old, new = contents[last], self._data[last].file.live
            for start in range(0, len(old), SECTOR_BYTES):
                end = min(start + SECTOR_BYTES, len(old))
                if old[start:end] != new[start:end]:
                    contents[last] = old[:start] + new[start:end] + old[end:]
                    break
        return self.build([0] * len(self._names), contents)

    def _last(self) -> int | None:
        """Which of the files was written last."""
        return max(range(len(self._data)), key=lambda index: self._data[index].stamps[-1], default=None)

    def _corner(self, chance: random.Random) -> Image:
        all_names, no_names = [len(unit.nodes) - 1 for unit in self._names], [0] * len(self._names)
        old = [unit.contents[0] for unit in self._data]
        new = [unit.contents[len(unit.stamps) - 1] for unit in self._data]
        last = self._last()
        kind = chance.randrange(7)
        if kind == 0:  # names without their data: what XFS and ext4 are known for
            return self.build(all_names, old)
        if kind == 1:  # … or full of NULs
            return self.build(all_names, [unit.contents[-1] for unit in self._data])
        if kind == 2:
            return self.build(no_names, new)
        if kind == 3:
            lists = [*(unit.stamps for unit in self._names), *(unit.stamps for unit in self._data)]
            return self.until(chance.choice(sorted({stamp for stamps in lists for stamp in stamps})))
        # A write in the making is told apart from all before it: each pattern of its sectors matters most.
        names, contents = (no_names, old) if kind < 6 else (all_names, new)
        if last is not None:
            contents[last] = _torn(self._data[last].file, chance)
        return self.build(names, contents)

    def _by_chance(self, chance: random.Random) -> Image:
        keep = chance.choice((0.1, 0.5, 0.9))

        def pick(count: int) -> int:
            return count - 1 if chance.random() < keep else chance.randrange(count)

        names = [pick(len(unit.nodes)) for unit in self._names]
        contents = []
        for unit in self._data:
            kind = chance.random()
            if kind < 0.3:
                contents.append(_torn(unit.file, chance))
            elif kind < 0.5:
                contents.append(chance.choice(unit.contents))
            else:
                contents.append(unit.contents[pick(len(unit.stamps))])
        return self.build(names, contents)

    def build(self, names: Sequence[int], contents: Sequence[bytes]) -> Image:
        """The image with these choices, all of it durable."""
        chosen: dict[int, dict[str, Node | None]] = {}
        for unit, index in zip(self._names, names, strict=True):
            chosen.setdefault(id(unit.folder), {})[unit.name] = unit.nodes[index]
        data = {id(unit.file): content for unit, content in zip(self._data, contents, strict=True)}
        copies: dict[int, Node] = {}

        def copy(node: Node) -> Node:
            if isinstance(node, Link):
                return node
            known = copies.get(id(node))
            if known is None:
                if isinstance(node, File):
                    known = File([data.get(id(node), node.versions[0])])
                else:
                    entries = dict(node.durable)
                    for name, leads_to in chosen.get(id(node), {}).items():
                        if leads_to is None:
                            entries.pop(name, None)
                        else:
                            entries[name] = leads_to
                    live = {name: copy(each) for name, each in entries.items()}
                    known = Folder(live, dict(live))
                copies[id(node)] = known
            return known

        root = copy(self._image.root)
        if not isinstance(root, Folder):
            raise TypeError(root)
        built = Image(root)
        if self._image.room_bytes is not None and self._image.room_inodes is not None:
            # What was lost is room again.
            (old_bytes, old_inodes), (new_bytes, new_inodes) = self._image.used(), built.used()
            built.room_bytes = max(self._image.room_bytes + old_bytes - new_bytes, 0)
            built.room_inodes = max(self._image.room_inodes + old_inodes - new_inodes, 0)
        return built


def _latest(stamps: Sequence[int], stamp: int) -> int:
    return max(index for index, each in enumerate(stamps) if each <= stamp)


def _contents(file: File) -> list[bytes]:
    """The whole contents that a cut may leave: each version, an empty file, and the new size without the data."""
    contents = list(file.versions)
    old, live = contents[0], contents[-1]
    grown = old.ljust(len(live), b"\0")
    if grown not in contents:
        contents.append(grown)
    return contents


def _torn(file: File, chance: random.Random) -> bytes:
    """Each sector as in one of the versions; the size is one of theirs too, or ends at a sector of the newest."""
    sizes = [len(version) for version in file.versions]
    size = chance.choice(sizes)
    if chance.random() < 0.2:
        size = max(min(sizes), chance.randrange(max(sizes) // SECTOR_BYTES + 1) * SECTOR_BYTES)
    weight = chance.random()
    torn = bytearray(size)
    for start in range(0, size, SECTOR_BYTES):
        version = file.versions[-1] if chance.random() < weight else chance.choice(file.versions)
        part = version[start : min(start + SECTOR_BYTES, size)]
        torn[start : start + len(part)] = part
    return bytes(torn)


# --- a process ------------------------------------------------------------------------------------------------------


class SimulatedFileSystem:
    """One process's view of an image: the ``FileSystem`` that the engine is given.

    ``watch`` is called before each call that changes something or makes it durable. It may raise; an ``OSError`` then
    is the call's outcome. ``syncs_all=False``: a kernel without a syncfs(2) that can be trusted.
    """

    def __init__(
        self,
        image: Image,
        watch: Callable[[Call], None] | None = None,
        *,
        writable: bool = True,
        syncs_all: bool = True,
    ) -> None:
        self.image = image
        self.watch = watch
        self.dead = False
        #: Called before each call that changes nothing; it may raise as ``watch`` may.
        self.watch_reads: Callable[[Call], None] | None = None
        #: The next write comes to half of its bytes only. What makes whole files then fails for want of room.
        self.writes_short = False
        #: The next write is cut off in its middle, by the death of the process.
        self.dies_halfway = False
        self._writable = writable
        self._syncs_all = syncs_all
        self._open: dict[int, tuple[str, File]] = {}

    def kill(self) -> None:
        """End the process: its locks are free, what it wrote stays, and no call of it does anything any more."""
        self.dead = True
        for descriptor in list(self._open):
            self.close(descriptor)

    def _alive(self, operation: str = "", path: str = "") -> None:
        if self.dead:
            raise Killed
        if operation and self.watch_reads is not None:
            self.watch_reads(Call(operation, path))

    def _change(self, operation: str, path: str) -> int:
        """A changing call begins; gives its stamp."""
        self._alive()
        if not self._writable:
            raise AssertionError(f"a handle that may only read calls {operation} on {path}")
        if self.watch is not None:
            self.watch(Call(operation, path))
            self._alive()
        self.image.stamp += 1
        return self.image.stamp

    def _take_room(self, size: int, inodes: int = 0) -> None:
        """Use up room, in whole blocks."""
        blocks = -(-size // PAGE_BYTES) * PAGE_BYTES
        image = self.image
        if image.room_bytes is not None:
            if blocks > image.room_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            image.room_bytes -= blocks
        if image.room_inodes is not None:
            if inodes > image.room_inodes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            image.room_inodes -= inodes

    def _give_room(self, node: Node | None) -> None:
        if isinstance(node, File) and self.image.room_bytes is not None:
            self.image.room_bytes += -(-len(node.live) // PAGE_BYTES) * PAGE_BYTES
        if node is not None and self.image.room_inodes is not None:
            self.image.room_inodes += 1

    # --- the way to a name ---

    def _folder(self, path: str) -> Folder:
        return self.image.folder(path)

    def _node(self, path: str) -> Node | None:
        folder, _, name = path.rpartition("/")
        try:
            return self._folder(folder).live.get(name)
        except FileNotFoundError:
            return None

    def _file(self, path: str) -> File:
        node = self._node(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if isinstance(node, Link):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return node

    # --- reading ---

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        self._alive("read", path)
        if self._node(path) is None:
            return None
        data = self._file(path).live[offset:]
        if len(data) > maximum:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return data

    def size(self, path: str) -> int | None:
        self._alive("size", path)
        node = self._node(path)
        return len(node.live) if isinstance(node, File) else None if node is None else 0

    def stamp(self, path: str) -> tuple[int, ...] | None:
        return ()  # every look is one at the file

    def names(self, path: str) -> list[str]:
        self._alive("names", path)
        try:
            return list(self._folder(path).live)
        except FileNotFoundError:
            return []

    def kind(self, path: str) -> str | None:
        self._alive("kind", path)
        node = self._node(path)
        kinds = {File: "file", Folder: "folder", Link: "link"}
        return None if node is None else kinds[type(node)]

    def link_target(self, path: str) -> str | None:
        self._alive("link_target", path)
        node = self._node(path)
        return node.target if isinstance(node, Link) else None

    # --- changing names and whole files ---

    def _new(self, path: str) -> tuple[Folder, str]:
        folder, _, name = path.rpartition("/")
        parent = self._folder(folder)
        if name in parent.live:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return parent, name

    def create(self, path: str, data: bytes) -> None:
        stamp = self._change("create", path)
        parent, name = self._new(path)
        self._take_room(0, 1)
        file = File([b""])
        parent.put(name, file, stamp)
        if data:
            self._write_all(file, 0, data)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        stamp = self._change("overwrite", path)
        if self._node(path) is None:
            parent, name = self._new(path)
            self._take_room(0, 1)
            parent.put(name, File([b""]), stamp)
        file = self._file(path)
        self._write_all(file, offset, data)
        if truncate and len(file.live) > offset + len(data):
            self.image.stamp += 1
            file.write(file.live[: offset + len(data)], offset + len(data), 1, self.image.stamp)

    def _write(self, file: File, offset: int, data: bytes) -> int:
        if self.dies_halfway or self.writes_short:
            data = data[: (len(data) + 1) // 2]
        live = file.live
        grown = max(len(live), offset + len(data))
        old_blocks = -(-len(live) // PAGE_BYTES)
        self._take_room((-(-grown // PAGE_BYTES) - old_blocks) * PAGE_BYTES)
        self.image.stamp += 1
        content = live[:offset].ljust(offset, b"\0") + data + live[offset + len(data) :]
        file.write(content, offset, len(data), self.image.stamp)
        if self.dies_halfway:
            self.kill()
            raise Killed
        return len(data)

    def _write_all(self, file: File, offset: int, data: bytes) -> None:
        if self._write(file, offset, data) < len(data):
            self.writes_short = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def rename(self, source: str, path: str) -> None:
        stamp = self._change("rename", path)
        node = self._node(source)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        old_folder, _, old_name = source.rpartition("/")
        new_folder, _, new_name = path.rpartition("/")
        new_parent = self._folder(new_folder)
        replaced = new_parent.live.get(new_name)
        if isinstance(replaced, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if replaced is node:  # two names of one file: rename(2) does nothing
            return
        self._give_room(replaced)
        new_parent.put(new_name, node, stamp)
        self._folder(old_folder).put(old_name, None, stamp)

    def link(self, path: str, target: str) -> None:
        stamp = self._change("link", path)
        parent, name = self._new(path)
        self._take_room(0, 1)
        parent.put(name, Link(target), stamp)

    def remove(self, path: str) -> None:
        stamp = self._change("remove", path)
        node = self._node(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        folder, _, name = path.rpartition("/")
        self._folder(folder).put(name, None, stamp)
        self._give_room(node)

    def make_folder(self, path: str) -> None:
        stamp = self._change("make_folder", path)
        parent, name = self._new(path)
        self._take_room(1, 1)
        parent.put(name, Folder(), stamp)

    def remove_folder(self, path: str) -> None:
        stamp = self._change("remove_folder", path)
        if self._folder(path).live:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        folder, _, name = path.rpartition("/")
        self._folder(folder).put(name, None, stamp)

    # --- files that are kept open ---

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        self._alive("open", path)
        if create and self._node(path) is None:
            stamp = self._change("create", path)
            parent, name = self._new(path)
            self._take_room(0, 1)
            parent.put(name, File([b""]), stamp)
        file = self._file(path)
        self.image.descriptor += 1
        self._open[self.image.descriptor] = (path, file)
        file.opened.add(self.image.descriptor)
        return self.image.descriptor

    def close(self, descriptor: int) -> None:
        opened = self._open.pop(descriptor, None)
        if opened is not None:
            opened[1].locks.pop(descriptor, None)
            opened[1].failing.discard(descriptor)
            opened[1].opened.discard(descriptor)

    def _opened(self, descriptor: int) -> tuple[str, File]:
        self._alive()
        if descriptor not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[descriptor]

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        path, file = self._opened(descriptor)
        self._alive("pread", path)
        return file.live[offset : offset + length]

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        path, file = self._opened(descriptor)
        self._change("pwrite", path)
        written = self._write(file, offset, data)
        self.writes_short = False
        return written

    def flush(self, descriptor: int) -> None:
        path, file = self._opened(descriptor)
        self._change("flush", path)
        if descriptor in file.failing:  # it failed for another process, and each one is told once
            file.failing.discard(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        file.flush()

    def fail_flush(self, call: Call) -> None:
        """Let this flush fail as the kernel sees it (see `File.fail_flush`): of one file, or of everything."""
        if call.operation == "sync":
            for node in self.image.nodes():
                if isinstance(node, File) and len(node.versions) > 1:
                    node.fail_flush(set(self._open))
        elif call.operation == "flush":
            self._file(call.path).fail_flush({descriptor for descriptor, (path, _) in self._open.items()})

    def truncate(self, descriptor: int, length: int) -> None:
        path, file = self._opened(descriptor)
        stamp = self._change("truncate", path)
        file.write(file.live[:length].ljust(length, b"\0"), length, 1, stamp)

    def length(self, descriptor: int) -> int:
        path, file = self._opened(descriptor)
        self._alive("length", path)
        return len(file.live)

    def sync(self, paths: Iterable[str]) -> None:
        if self._syncs_all:
            self._change("sync", "")
            self.image.sync()
        else:
            sync_each(self, paths)

    def write_back(self) -> None:
        """It happens beside the commits, so at a power cut it may not have happened at all: nothing is the worst."""

    def sync_folder(self, path: str) -> None:
        self._change("sync_folder", path)
        self._folder(path).sync()

    # --- locks and the device ---

    def try_lock(self, descriptor: int) -> bool:
        return self._lock(descriptor, exclusive=True)

    def try_lock_shared(self, descriptor: int) -> bool:
        return self._lock(descriptor, exclusive=False)

    def _lock(self, descriptor: int, *, exclusive: bool) -> bool:
        locks = self._opened(descriptor)[1].locks
        if locks.get(descriptor) is exclusive:
            return True
        # flock(2) lets go of the lock that there is before it takes the other kind, and doesn't give it back.
        locks.pop(descriptor, None)
        if any(exclusive or other for other in locks.values()):
            return False
        locks[descriptor] = exclusive
        return True

    def unlock(self, descriptor: int) -> None:
        self._opened(descriptor)[1].locks.pop(descriptor, None)

    def lock_holder(self, descriptor: int) -> int | None:
        return None

    def is_lock_shared(self, descriptor: int) -> bool:
        return any(not exclusive for exclusive in self._opened(descriptor)[1].locks.values())

    def free(self) -> tuple[int, int | None]:
        self._alive("free", "")
        room = self.image.room_bytes
        return (1 << 40 if room is None else room), self.image.room_inodes

    def remote_kind(self) -> str | None:
        return None

    def longest_name_bytes(self) -> int:
        return 255
