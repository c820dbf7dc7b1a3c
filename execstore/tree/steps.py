"""The steps of a change, and what a tree looks like once they are done.

A step is idempotent: done twice, or done again after later steps were undone by a power cut, the outcome is the same.
That is why a journal of steps needs no undo and may be replayed at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from execstore.tree.paths import is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Absent",
    "Append",
    "Entry",
    "Mark",
    "Move",
    "Overlay",
    "Put",
    "Remove",
    "RemoveFolder",
    "Step",
    "Tail",
    "Target",
    "Whole",
    "describe_steps",
    "parse_steps",
    "payload",
]


class Put(NamedTuple):
    """The file at ``path`` holds exactly ``data``. ``is_new``: it probably isn't there yet."""

    path: str
    data: bytes
    is_new: bool = False


class Append(NamedTuple):
    """The file at ``path`` holds ``data`` at ``offset`` and ends there; offset 0 starts it anew."""

    path: str
    offset: int
    data: bytes


class Mark(NamedTuple):
    """There is an index entry at ``path`` that leads to ``target``."""

    path: str
    target: str


class Move(NamedTuple):
    """The index entry at ``source`` now stands at ``path``."""

    source: str
    path: str
    target: str


class Remove(NamedTuple):
    """There is no file and no index entry at ``path``."""

    path: str


class RemoveFolder(NamedTuple):
    """The folder at ``path`` goes if nothing is in it."""

    path: str


_LARGEST_FILE = 1 << 62  # what lies behind this no file system holds, and no call to the system takes

Step: TypeAlias = Put | Append | Mark | Move | Remove | RemoveFolder


def describe_steps(steps: Iterable[Step]) -> list[list[Any]]:
    """The steps as JSON values, with lengths in place of bytes."""
    described: list[list[Any]] = []
    for step in steps:
        if isinstance(step, Append):
            described.append(["append", step.path, step.offset, len(step.data)])
        elif isinstance(step, Put):
            described.append(["new" if step.is_new else "put", step.path, len(step.data)])
        elif isinstance(step, Mark):
            described.append(["mark", step.path, step.target])
        elif isinstance(step, Move):
            described.append(["move", step.source, step.path, step.target])
        elif isinstance(step, Remove):
            described.append(["remove", step.path])
        else:
            described.append(["rmdir", step.path])
    return described


def payload(steps: Iterable[Step]) -> bytes:
    """The bytes of all steps, one after the other."""
    return b"".join([step.data for step in steps if isinstance(step, (Put, Append))])


def parse_steps(described: list[Any], data: bytes) -> tuple[Step, ...]:
    """The inverse of `describe_steps` and `payload`.

    Raises:
        ValueError: a step is malformed, leads outside the store, or the lengths don't add up to ``data``.
    """
    steps: list[Step] = []
    position = 0
    for words in described:
        match words:
            case ["put" | "new" as word, str(path), int(length)] if length >= 0:
                steps.append(Put(path, data[position : position + length], word == "new"))
                position += length
            case ["append", str(path), int(offset), int(length)] if length >= 0 and 0 <= offset < _LARGEST_FILE:
                steps.append(Append(path, offset, data[position : position + length]))
                position += length
            case ["mark", str(path), str(target)] if _is_name(target):
                steps.append(Mark(path, target))
            case ["move", str(source), str(path), str(target)] if (
                is_safe_path(source) and _is_name(source) and _is_name(target)
            ):
                steps.append(Move(source, path, target))
            case ["remove", str(path)]:
                steps.append(Remove(path))
            case ["rmdir", str(path)]:
                steps.append(RemoveFolder(path))
            case _:
                raise ValueError(f"unknown step {words!r}")
        path = steps[-1].path
        if not is_safe_path(path) or not _is_name(path):
            raise ValueError(f"a step leads outside the store: {words!r}")
    if position != len(data):
        raise ValueError(f"the steps speak of {position} bytes, there are {len(data)}")
    return tuple(steps)


def _is_name(text: str) -> bool:
    """Whether it can be handed to the system: all names of a store are ASCII, see `execstore.tree.paths`."""
    return text.isascii() and "\0" not in text


# --- the outcome of steps -------------------------------------------------------------------------------------------


class Whole(NamedTuple):
    """A file with this content. ``is_new``: it probably isn't there; ``grows``: by appending, not at one stroke."""

    data: bytes
    is_new: bool = False
    grows: bool = False


class Tail(NamedTuple):
    """A file whose bytes from ``offset`` on are these; what stands before them is as it was."""

    offset: int
    data: bytes


class Target(NamedTuple):
    """An index entry that leads there."""

    target: str


class Absent(NamedTuple):
    """Nothing."""


Entry: TypeAlias = Whole | Tail | Target | Absent
_ABSENT = Absent()


class Overlay:
    """What some steps make of a tree, without touching it: the last state of each path.

    It serves a transaction (its own writes), writers (what is journaled and not yet published), readers of a store
    that was cut off, and publishing itself.
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._folders: dict[str, dict[str, Entry]] = {}
        self._moves: dict[str, str] = {}  # where an index entry stands now -> where it stood in the tree
        self._emptied: dict[str, None] = {}
        self.apply(steps)

    def __bool__(self) -> bool:
        return bool(self._folders or self._emptied)

    def apply(self, steps: Iterable[Step]) -> None:
        """Do these steps on top of those before."""
        for step in steps:
            if isinstance(step, Append):
                self._append(step)
            elif isinstance(step, Put):
                self._set(step.path, Whole(step.data, step.is_new and self.get(step.path) is None))
            elif isinstance(step, Mark):
                self._set(step.path, Target(step.target))
            elif isinstance(step, Move):
                origin = self._moves.get(step.source, step.source)
                self._set(step.source, _ABSENT)
                self._set(step.path, Target(step.target))
                self._moves[step.path] = origin
            elif isinstance(step, Remove):
                self._set(step.path, _ABSENT)
            else:
                self._emptied[step.path] = None

    def get(self, path: str) -> Entry | None:
        """The path's state, ``None`` if no step speaks of it."""
        folder, _, name = path.rpartition("/")
        entries = self._folders.get(folder)
        return entries.get(name) if entries else None

    def names(self, folder: str) -> dict[str, Entry]:
        """What the steps say of the names in a folder."""
        return self._folders.get(folder, {})

    def folders(self, above: str) -> set[str]:
        """The names of folders below ``above`` in which the steps leave something."""
        prefix = above + "/"
        return {
            path[len(prefix) :]
            for path, entries in self._folders.items()
            if path.startswith(prefix) and any(entry is not _ABSENT for entry in entries.values())
        }

    def paths(self) -> Iterator[str]:
        """Every path that a step speaks of."""
        for folder, entries in self._folders.items():
            for name in entries:
                yield f"{folder}/{name}" if folder else name

    def final_steps(self) -> list[Step]:
        """The fewest steps with the same outcome: each path once, additions before removals."""
        additions: list[Step] = []
        removals: list[Step] = []
        moved: set[str] = set()
        for path, source in self._moves.items():
            entry = self.get(path)
            # A move is only kept if both its ends still are what it made of them.
            if isinstance(entry, Target) and self.get(source) is _ABSENT and path != source:
                additions.append(Move(source, path, entry.target))
                moved.update((source, path))
        for folder, entries in self._folders.items():
            for name, entry in entries.items():
                path = f"{folder}/{name}" if folder else name
                if isinstance(entry, Whole):
                    grown = Append(path, 0, entry.data)
                    additions.append(grown if entry.grows else Put(path, entry.data, entry.is_new))
                elif isinstance(entry, Tail):
                    additions.append(Append(path, entry.offset, entry.data))
                elif path in moved:
                    continue
                elif isinstance(entry, Target):
                    additions.append(Mark(path, entry.target))
                else:
                    removals.append(Remove(path))
        return [*additions, *removals, *(RemoveFolder(path) for path in self._emptied)]

    def _set(self, path: str, entry: Entry) -> None:
        folder, _, name = path.rpartition("/")
        self._folders.setdefault(folder, {})[name] = entry
        self._moves.pop(path, None)

    def _append(self, step: Append) -> None:
        if step.offset == 0:
            self._set(step.path, Whole(step.data, grows=True))
            return
        before = self.get(step.path)
        if isinstance(before, Whole):
            self._set(step.path, before._replace(data=before.data[: step.offset] + step.data))
        elif isinstance(before, Tail) and before.offset <= step.offset:
            self._set(step.path, Tail(before.offset, before.data[: step.offset - before.offset] + step.data))
        else:
            self._set(step.path, Tail(step.offset, step.data))
