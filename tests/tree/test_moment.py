"""A copy of one moment: whatever writers do between any two reads of it, it is the outcome of one transaction."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import StoreBusyError, StoreFailedError
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree
from tests.support import die

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from execstore.tree.moment import Moment

LAYOUT = Layout(records=("records", "others"), lines=("lines",), indexes={"index": "records"}, log="log")
FOLDERS = ("records", "others", "lines", "log")

Files = dict[str, bytes]


class Interrupted(RealFileSystem):
    """Lets somebody else do something before each listing of a folder and each reading of a file."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.meanwhile: Callable[[str], object] = lambda path: None

    def names(self, path: str) -> list[str]:
        self.meanwhile(path)
        return super().names(path)

    def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
        self.meanwhile(path)
        return super().read(path, maximum, offset)


class Failing(RealFileSystem):
    """Can't write to files any more once ``left`` calls are done."""

    left = 10**9

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        self._count()
        super().overwrite(path, offset, data, truncate=truncate)

    def create(self, path: str, data: bytes) -> None:
        self._count()
        super().create(path, data)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Handles:
    """Handles on one small tree, closed in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trees: list[Tree] = []

    def __call__(self, **options: Any) -> Tree:
        options = {"journal_bytes": 16384, "segment_bytes": 512, "lock_timeout_seconds": 0.0} | options
        self._trees.append(Tree(str(self.path), LAYOUT, **options))
        return self._trees[-1]

    def close(self) -> None:
        for tree in self._trees:
            tree.close()

    def files(self) -> Files:
        found: Files = {}
        for folder in FOLDERS:
            for file in (self.path / folder).iterdir():
                found[f"{folder}/{file.name}"] = file.read_bytes()
        return found


@pytest.fixture
def handles(tmp_path: Path) -> Iterator[Handles]:
    handles = Handles(tmp_path / "store")
    yield handles
    handles.close()


class Writer:
    """Changes the tree at random, and keeps what it is after each transaction."""

    def __init__(self, handles: Handles, chance: random.Random, **options: Any) -> None:
        self.tree = handles(**options)
        self.history: dict[int, tuple[Files, dict[str, Any]]] = {}
        self._handles = handles
        self._chance = chance
        self._remember()

    def _remember(self) -> None:
        head = self.tree._head_now()
        assert head.begun == head.published
        self.history[head.published] = (self._handles.files(), dict(head.values))

    def write(self, size: int = 120) -> None:
        """One transaction of several steps."""
        chance = self._chance
        change = self.tree.begin()
        change.set_value("n", change.values.get("n", 0) + 1)
        for _ in range(chance.randint(1, 4)):
            key = f"k{chance.randrange(5)}"
            text = chance.choice("abcdef").encode() * chance.randrange(size)
            match chance.randrange(8):
                case 0 | 1:
                    change.put_record(chance.choice(("records", "others")), key, text)
                case 2:
                    change.remove_record("records", key)
                case 3 | 4:
                    change.append_lines("lines", key, text + b"\n")
                case 5:
                    change.remove_lines("lines", key)
                case 6:
                    change.append_log(text, 0)
                case _:
                    change.drop_log_before(change.next_log_number() - 5)
        self.tree.commit(change)
        self._remember()

    def write_to(self, path: str) -> None:
        """One transaction that changes the file at ``path``, and another file with it."""
        folder, _, name = path.partition("/")
        change = self.tree.begin()
        if folder == "lines":
            change.append_lines(folder, name.removesuffix(".jsonl"), b"more\n")
        elif folder == "log":
            change.append_log(b"more", 0)
        else:
            change.put_record(folder, name.removesuffix(".json"), b"another")
        change.put_record("records", "k0", path.encode())
        self.tree.commit(change)
        self._remember()


def take(tree: Tree) -> tuple[Files, Moment]:
    with tempfile.TemporaryFile() as spool:
        moment = tree.moment(spool)
        found: Files = {}
        for folder in FOLDERS:
            for name in moment.names(folder):
                data = moment.read(f"{folder}/{name}")
                assert data is not None
                found[f"{folder}/{name}"] = data
    return found, moment


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
@pytest.mark.parametrize("seed", range(15))
def test_it_is_one_moment_whatever_is_written_between_any_two_reads(
    handles: Handles, seed: int, read_only: bool
) -> None:
    chance = random.Random(seed)
    writer = Writer(handles, chance)
    for _ in range(chance.choice((0, 3, 60))):
        writer.write()
    tree = handles(file_system=Interrupted, read_only=read_only)
    assert isinstance(tree._fs, Interrupted)
    take(tree)

    def meanwhile(path: str) -> None:
        for _ in range(chance.randrange(4)):
            writer.write()

    tree._fs.meanwhile = meanwhile
    newest_before = max(writer.history)
    files, moment = take(tree)
    assert moment.transaction >= newest_before
    assert (files, dict(moment.values)) == writer.history[moment.transaction]
    assert moment.unreadable == {}


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
def test_a_file_that_changes_just_before_it_is_read_is_of_the_same_moment(handles: Handles, read_only: bool) -> None:
    writer = Writer(handles, random.Random(8))
    for _ in range(30):
        writer.write()
    tree = handles(file_system=Interrupted, read_only=read_only)
    assert isinstance(tree._fs, Interrupted)
    take(tree)

    def meanwhile(path: str) -> None:
        if "/" in path:
            writer.write_to(path)

    tree._fs.meanwhile = meanwhile
    files, moment = take(tree)
    assert (files, dict(moment.values)) == writer.history[moment.transaction]


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
def test_writers_that_are_too_fast_for_it_wait_in_the_end(handles: Handles, read_only: bool) -> None:
    """The journal is written over between any two reads: it can't be followed, so the change lock is taken."""
    writer = Writer(handles, random.Random(1))
    for _ in range(40):
        writer.write()
    tree = handles(file_system=Interrupted, read_only=read_only, lock_timeout_seconds=30.0)
    assert isinstance(tree._fs, Interrupted)
    tree.read(lambda _: None)
    refused = 0

    def meanwhile(path: str) -> None:
        nonlocal refused
        try:
            for _ in range(12):
                writer.write(4000)
        except StoreBusyError:
            refused += 1

    tree._fs.meanwhile = meanwhile
    files, moment = take(tree)
    assert refused
    assert (files, dict(moment.values)) == writer.history[moment.transaction]


@pytest.mark.parametrize("calls", range(8))
def test_of_a_store_that_was_cut_off_it_is_what_the_next_opening_makes(handles: Handles, calls: int) -> None:
    writer = Writer(handles, random.Random(calls), file_system=Failing)
    for _ in range(20 + calls):
        writer.write()
    assert isinstance(writer.tree._fs, Failing)
    writer.tree._fs.left = calls
    for _ in range(6):
        with contextlib.suppress(Exception):  # the disk refuses; how that is told is tested elsewhere
            writer.write()
    die(writer.tree)
    reader = handles(read_only=True)
    before = handles.files()
    files, moment = take(reader)
    assert handles.files() == before, "a reader writes nothing"
    handles()
    assert files == handles.files()
    assert moment.values["n"] >= writer.history[max(writer.history)][1]["n"]
    # The reader, which had known of the cut, sees what was mended since.
    again, _ = take(reader)
    assert again == files


def test_what_is_only_staged_is_not_in_it(handles: Handles) -> None:
    writer = Writer(handles, random.Random(3))
    writer.write()
    before = handles.files()
    change = writer.tree.begin()
    change.put_record("records", "new", b"new")
    writer.tree.stage(change)
    try:
        assert take(handles(read_only=True))[0] == before
    finally:
        writer.tree._change_lock.release()


@pytest.mark.parametrize("calls", range(3))
def test_a_publication_that_stands_still_is_in_it_whole(handles: Handles, calls: int) -> None:
    """Its process was stopped, or the disk refuses: the change is durable, so it counts."""
    tree = handles(file_system=Failing)
    assert isinstance(tree._fs, Failing)
    reader = handles(read_only=True, lock_timeout_seconds=30.0)
    take(reader)
    change = tree.begin()
    for name in ("a", "b", "c"):
        change.put_record("records", name, name.encode())
    tree._fs.left = calls
    with pytest.raises(StoreFailedError):
        tree.commit(change)
    assert len(handles.files()) == calls
    assert take(reader)[0] == {f"records/{name}.json": name.encode() for name in ("a", "b", "c")}


def test_a_file_that_was_edited_while_nobody_had_the_store_open_counts_as_it_is(handles: Handles) -> None:
    with contextlib.closing(handles()) as tree:
        change = tree.begin()
        change.put_record("records", "a", b"journaled")
        tree.commit(change)
    (handles.path / "records/a.json").write_bytes(b"edited")
    assert take(handles())[0] == take(handles(read_only=True))[0] == {"records/a.json": b"edited"}


def test_what_cannot_be_read_is_named(handles: Handles, tmp_path: Path) -> None:
    with contextlib.closing(handles()) as tree:
        change = tree.begin()
        for key in ("link", "pipe", "folder", "well"):
            change.put_record("records", key, key.encode())
        tree.commit(change)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for key in ("link", "pipe", "folder"):
        (handles.path / f"records/{key}.json").unlink()
    (handles.path / "records/link.json").symlink_to(secret)
    os.mkfifo(handles.path / "records/pipe.json")
    (handles.path / "records/folder.json").mkdir()
    (handles.path / "lines").rmdir()
    (handles.path / "lines").symlink_to(tmp_path)
    files, moment = take(handles(read_only=True))
    assert files == {"records/well.json": b"well"}
    assert set(moment.unreadable) == {"lines", "records/folder.json", "records/link.json", "records/pipe.json"}
