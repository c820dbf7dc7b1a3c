"""What a power cut may leave, worked out from the calls that were made.

The rule is FORMAT.md's ("Crashes"): what was flushed stays; of everything else each write may be there, missing, torn
at a sector or there in size only (NULs), and each name that was made, renamed or removed may be so or not, each by
itself.

It says nothing of a file system's kindness: most keep an order. An order is one of the outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from execstore.explain.recording import FOLDER, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from execstore.explain.recording import Call

__all__ = ["SECTOR_BYTES", "Cut", "Disk", "Effect", "Fate", "disk_after"]

SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all."""


class Fate(Enum):
    """What becomes of one effect. Names are only ever kept or lost."""

    KEPT = "kept"
    LOST = "lost"
    TORN = "torn"
    NULS = "nuls"


@dataclass(eq=False, frozen=True, slots=True)
class Effect:
    """What one call did to one file's bytes (``name`` is empty) or to one name of a folder, and isn't durable yet."""

    number: int
    path: str
    name: str = ""
    node: _Node | None = None
    offset: int = 0
    data: bytes = b""
    ends: bool = False  # the file ends behind these bytes


@dataclass(eq=False, slots=True)
class _File:
    durable: bytes = b""
    effects: list[Effect] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Folder:
    durable: dict[str, _Node] = field(default_factory=dict)
    live: dict[str, _Node] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)


class _Link(NamedTuple):
    target: str


_Node: TypeAlias = _File | _Folder | _Link


class Cut(NamedTuple):
    """One thing that a power cut may leave: a short name for it, a sentence, and every file."""

    name: str
    sentence: str
    files: Mapping[str, Item]


class Disk:
    """A folder: what of it is durable, and what has been done since.

    ``lies``: it reports flushes that it didn't do.
    """

    def __init__(self, start: Mapping[str, Item], *, lies: bool = False) -> None:
        """``start``, folders before what is in them, is all durable."""
        self._root = _Folder()
        self._lies = lies
        for path, item in start.items():
            parent, name = self._parent(path)
            node = _new_node(item)
            parent.durable[name] = parent.live[name] = node

    # --- following the calls ---

    def apply(self, call: Call) -> None:
        """Do what a call did."""
        match call.operation:
            case "create":
                self._put(call, call.path, _File())
                self._write(call)
            case "overwrite" | "pwrite":
                if self._node(call.path) is None:
                    self._put(call, call.path, _File())
                self._write(call)
            case "truncate":
                self._write(call, ends=True)
            case "rename":
                node = self._node(call.source)
                if node is not None and node is not self._node(call.path):
                    self._put(call, call.path, node)
                    self._put(call, call.source, None)
            case "link":
                self._put(call, call.path, _Link(call.after.target if call.after is not None else ""))
            case "make_folder":
                self._put(call, call.path, _Folder())
            case "remove" | "remove_folder":
                self._put(call, call.path, None)
            case "flush" | "sync" | "sync_folder" if not self._lies:
                self._make_durable(call)

    def _parent(self, path: str) -> tuple[_Folder, str]:
        *folders, name = path.split("/")
        parent = self._root
        for each in folders:
            found = parent.live[each]
            if not isinstance(found, _Folder):
                raise NotADirectoryError(path)
            parent = found
        return parent, name

    def _node(self, path: str) -> _Node | None:
        try:
            parent, name = self._parent(path) if path else (self._root, "")
        except KeyError:
            return None
        return parent.live.get(name) if path else parent

    def _put(self, call: Call, path: str, node: _Node | None) -> None:
        parent, name = self._parent(path)
        if node is None:
            parent.live.pop(name, None)
        else:
            parent.live[name] = node
        parent.effects.append(Effect(call.number, path, name, node))

    def _write(self, call: Call, *, ends: bool = False) -> None:
        file = self._node(call.path)
        if isinstance(file, _File) and (call.data or ends or call.ends):
            ends = ends or call.ends
            file.effects.append(Effect(call.number, call.path, offset=call.offset, data=call.data, ends=ends))

    def _make_durable(self, call: Call) -> None:
        if call.operation == "sync":
            nodes: Iterable[_Node] = self._nodes()
        else:
            node = self._node(call.path)
            nodes = () if node is None else (node,)
        for each in nodes:
            if isinstance(each, _Link):
                continue
            covered = [effect for effect in each.effects if effect.number < call.covers]
            for effect in covered:
                if isinstance(each, _File):
                    each.durable = _written(each.durable, effect, Fate.KEPT)
                else:
                    _enter(each.durable, effect)
            each.effects = each.effects[len(covered) :]

    def _nodes(self) -> Iterator[_Node]:
        """Every file and folder that is to be seen, or that a power cut could bring back, each once."""
        seen: set[int] = set()
        waiting: list[_Node] = [self._root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen or isinstance(node, _Link):
                continue
            seen.add(id(node))
            yield node
            if isinstance(node, _Folder):
                waiting += [*node.live.values(), *node.durable.values()]
                waiting += [effect.node for effect in node.effects if effect.node is not None]

    # --- what may be left ---

    def pending(self) -> list[Effect]:
        """What isn't durable, oldest first."""
        effects = [effect for node in self._nodes() if not isinstance(node, _Link) for effect in node.effects]
        return sorted(effects, key=lambda effect: effect.number)

    def left(self, fate: Callable[[Effect], Fate]) -> dict[str, Item]:
        """Every file after a power cut that treats what is pending so."""
        found: dict[str, Item] = {}

        def build(folder: _Folder, prefix: str) -> None:
            entries = dict(folder.durable)
            for effect in folder.effects:
                if fate(effect) is not Fate.LOST:
                    _enter(entries, effect)
            for name, node in sorted(entries.items()):
                path = prefix + name
                if isinstance(node, _File):
                    data = node.durable
                    for effect in node.effects:
                        data = _written(data, effect, fate(effect))
                    found[path] = Item("file", data)
                elif isinstance(node, _Link):
                    found[path] = Item("link", b"", node.target)
                else:
                    found[path] = FOLDER
                    build(node, f"{path}/")

        build(self._root, "")
        return found

    def cuts(self) -> list[Cut]:
        """Telling ones of all that may be left, each another; where nothing is pending there is but one."""
        pending = self.pending()
        if not pending:
            return [Cut("as it is", "all of it was flushed", self.left(_always(Fate.KEPT)))]
        newest, oldest = pending[-1].number, pending[0].number
        last_write = max((effect.number for effect in pending if not effect.name), default=-1)

        def by_number(number: int, this: Fate, others: Fate) -> Callable[[Effect], Fate]:
            return lambda effect: this if effect.number == number else others

        def names_only(bytes_fate: Fate) -> Callable[[Effect], Fate]:
            return lambda effect: Fate.KEPT if effect.name else bytes_fate

        choices: list[tuple[str, str, Callable[[Effect], Fate]]] = [
            ("nothing", "only what was flushed reached the disk", _always(Fate.LOST)),
            ("everything", "all that was written reached the disk just in time", _always(Fate.KEPT)),
            (
                "torn",
                "of the newest write only the first half, nothing else",
                by_number(last_write, Fate.TORN, Fate.LOST),
            ),
            ("torn last", "all of it, but only half of the newest write", by_number(last_write, Fate.TORN, Fate.KEPT)),
            ("newest", "the newest change alone: disks reorder", by_number(newest, Fate.KEPT, Fate.LOST)),
            ("not oldest", "all but the oldest change: disks reorder", by_number(oldest, Fate.LOST, Fate.KEPT)),
            ("names", "names without their bytes: files are there, and empty", names_only(Fate.LOST)),
            ("NULs", "names and sizes without their bytes: files full of NULs", names_only(Fate.NULS)),
        ]
        found: list[Cut] = []
        for name, sentence, fate in choices:
            files = self.left(fate)
            if all(files != other.files for other in found):
                found.append(Cut(name, sentence, files))
        return found


def disk_after(start: Mapping[str, Item], calls: Iterable[Call], *, lies: bool = False) -> Disk:
    """The disk once these calls were made, one after the other."""
    disk = Disk(start, lies=lies)
    for call in calls:
        disk.apply(call)
    return disk


def _new_node(item: Item) -> _Node:
    match item.kind:
        case "file":
            return _File(item.data)
        case "link":
            return _Link(item.target)
    return _Folder()


def _always(fate: Fate) -> Callable[[Effect], Fate]:
    return lambda effect: fate  # noqa: ARG005 - whatever it is


def _enter(entries: dict[str, _Node], effect: Effect) -> None:
    if effect.node is None:
        entries.pop(effect.name, None)
    else:
        entries[effect.name] = effect.node


def _written(old: bytes, effect: Effect, fate: Fate) -> bytes:
    """A file's bytes after a write of this fate."""
    if fate is Fate.LOST:
        return old
    data, end = effect.data, effect.offset + len(effect.data)
    if fate is Fate.NULS:
        return old.ljust(end, b"\0") if not effect.ends else old[:end].ljust(end, b"\0")
    if fate is Fate.TORN:
        # The first half of its sectors; a write within one sector is whole or missing.
        first, last = effect.offset // SECTOR_BYTES, max(end - 1, effect.offset) // SECTOR_BYTES
        if first == last:
            return old
        middle = (first + (last - first + 1) // 2) * SECTOR_BYTES
        data = data[: middle - effect.offset]
        return old[: effect.offset].ljust(effect.offset, b"\0") + data + old[effect.offset + len(data) :]
    new = old[: effect.offset].ljust(effect.offset, b"\0") + data
    return new if effect.ends else new + old[end:]
