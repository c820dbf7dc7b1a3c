"""The way of a change through stage, flush and publish, with two handles for two processes."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import (
    NotAStoreError,
    StoreClosedError,
    StoreCorruptedError,
    StoreFailedError,
    StoreFullError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from execstore.tree import publish as publish_module
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree
from tests.support import die

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from execstore.tree.change import Change

LAYOUT = Layout(records=("records", "others"), lines=("lines",), indexes={"index": "records"}, log="log")


class CountingFileSystem(RealFileSystem):
    """Counts its calls, and fails those it is told to."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, int] = {}

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))

    def flush(self, descriptor: int) -> None:
        self._call("flush")
        os.fdatasync(descriptor)

    def sync(self, paths: Any) -> None:
        self._call("sync")
        super().sync(paths)

    def create(self, path: str, data: bytes) -> None:
        self._call("create")
        super().create(path, data)

    def overwrite(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        self._call("overwrite")
        super().overwrite(path, offset, data, truncate=truncate)

    def link(self, path: str, target: str) -> None:
        self._call("link")
        super().link(path, target)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def open_tree(path: str) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def open_one(**options: Any) -> Tree:
        options = {"journal_bytes": 32768, "segment_bytes": 512, "lock_timeout_seconds": 0.2} | options
        trees.append(Tree(path, LAYOUT, **options))
        return trees[-1]

    yield open_one
    for tree in trees:
        tree.close()


def fill(change: Change, key: str, text: str = "", group: str = "g") -> None:
    """What a create does, more or less."""
    change.put_record("records", key, f'{{"key":"{key}","text":"{text}"}}'.encode())
    change.mark("index", group, key)
    change.append_lines("lines", key, f'"{text}"\n'.encode())
    change.append_log(f'"{key}"'.encode(), 0)
    change.set_value("count", change.values.get("count", 0) + 1)


def write(tree: Tree, key: str, text: str = "") -> None:
    change = tree.begin()
    fill(change, key, text)
    tree.commit(change)


def keys(tree: Tree) -> list[str]:
    return sorted(tree.read(lambda reader: reader.record_names("records")))


def stage_only(tree: Tree, key: str) -> None:
    """A commit whose process dies before the flush."""
    change = tree.begin()
    fill(change, key)
    tree.stage(change)
    tree._change_lock.release()


# --- commit and rollback ---


def test_a_committed_change_is_in_the_files(path: str, open_tree: Callable[..., Tree]) -> None:
    write(open_tree(), "a", "hello")
    with open(f"{path}/records/a.json", encoding="utf-8") as file:
        assert file.read() == '{"key":"a","text":"hello"}'
    assert os.readlink(f"{path}/index/g/a") == "../../.r/a.json"
    assert os.path.samefile(f"{path}/index/g/a", f"{path}/records/a.json")
    assert os.listdir(f"{path}/log") == ["00000000000000000001.jsonl"]


def test_a_change_reads_what_it_wrote_and_others_do_not(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    write(tree, "a")
    change = tree.begin()
    fill(change, "b")
    change.remove_record("records", "a")
    change.unmark("index", "g", "a", drop_empty=True)
    assert change.record("records", "a") is None
    assert change.members("index", "g") == ["b"]
    assert change.lines("lines", "b") == b'""\n'
    assert keys(tree) == ["a"]
    tree.rollback(change)
    assert keys(tree) == ["a"]
    write(tree, "c")
    assert keys(tree) == ["a", "c"]


def test_one_flush_a_commit_and_none_else(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree(file_system=CountingFileSystem)
    fs = tree._fs
    assert isinstance(fs, CountingFileSystem)
    write(tree, "a")
    fs.calls.clear()
    for number in range(5):
        write(tree, f"b{number}")
    change = tree.begin()
    for number in range(5):
        fill(change, f"c{number}")
    tree.commit(change)
    assert fs.calls["flush"] == 6
    assert fs.calls["sync"] == 0
    tree.rollback(tree.begin())
    tree.commit(tree.begin())
    keys(tree)
    assert fs.calls["flush"] == 6


def test_opening_and_closing_a_clean_store_touches_no_record(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    for number in range(50):
        write(tree, f"k{number}")
    tree.close()
    again = open_tree(file_system=CountingFileSystem)
    again.close()
    assert isinstance(again._fs, CountingFileSystem)
    assert again._fs.calls == Counter()


def test_the_last_group_entry_takes_its_folder_along(path: str, open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    write(tree, "a")
    change = tree.begin()
    change.unmark("index", "g", "a", drop_empty=True)
    tree.commit(change)
    assert os.listdir(f"{path}/index") == []
    write(tree, "b")
    assert tree.read(lambda reader: reader.members("index", "g")) == ["b"]


# --- several handles ---


def test_two_handles_see_each_others_changes(open_tree: Callable[..., Tree]) -> None:
    first, second = open_tree(), open_tree()
    for number in range(20):
        write(first if number % 2 else second, f"k{number:02}")
    assert keys(first) == keys(second) == [f"k{number:02}" for number in range(20)]
    assert second.read(lambda reader: reader.values["count"]) == 20


def test_what_is_staged_counts_for_the_next_decision_but_not_for_readers(open_tree: Callable[..., Tree]) -> None:
    first, second = open_tree(), open_tree()
    stage_only(first, "a")
    assert keys(second) == []
    change = second.begin()
    assert change.record("records", "a") is not None
    assert change.members("index", "g") == ["a"]
    assert change.next_log_number() == 2
    second.rollback(change)


def test_one_flush_takes_along_what_another_process_staged(open_tree: Callable[..., Tree]) -> None:
    first, second = open_tree(), open_tree(file_system=CountingFileSystem)
    stage_only(first, "a")
    stage_only(first, "b")
    assert isinstance(second._fs, CountingFileSystem)
    second._fs.calls.clear()
    write(second, "c")
    assert second._fs.calls["flush"] == 1
    assert keys(second) == ["a", "b", "c"]
    first._finish(3)  # the other process comes to its own flush, and finds that it was done
    assert keys(first) == ["a", "b", "c"]


@pytest.mark.parametrize("call", ["create", "overwrite", "link"])
def test_a_publication_that_was_cut_off_is_finished_by_the_next(
    open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    first, second = open_tree(file_system=CountingFileSystem), open_tree()
    write(first, "a")
    assert isinstance(first._fs, CountingFileSystem)
    first._fs.failing[call] = errno.EIO
    with pytest.raises(StoreFailedError):
        write(first, "b")
    die(first)
    assert keys(second) == ["a", "b"]
    write(second, "c")
    assert keys(second) == ["a", "b", "c"]


def test_a_reader_without_the_right_to_write_sees_it_too(open_tree: Callable[..., Tree]) -> None:
    first = open_tree(file_system=CountingFileSystem)
    reader = open_tree(read_only=True)
    write(first, "a")
    assert keys(reader) == ["a"]
    assert isinstance(first._fs, CountingFileSystem)
    first._fs.failing["link"] = errno.EIO
    with pytest.raises(StoreFailedError):
        write(first, "b")
    die(first)
    assert keys(reader) == ["a", "b"]
    assert reader.read(lambda look: look.members("index", "g")) != []
    assert reader.read(lambda look: look.values["count"]) == 2
    with pytest.raises(StoreReadOnlyError):
        reader.begin()


# --- recovery ---


def _lose(path: str, names: list[str]) -> None:
    """Take away from the tree what no sync had made durable."""
    for name in names:
        shutil.rmtree(f"{path}/{name}")
        os.mkdir(f"{path}/{name}")


def test_a_store_that_was_cut_off_is_brought_up_to_date(path: str, open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    for number in range(8):
        write(tree, f"k{number}", "text")
    die(tree)
    _lose(path, ["records", "index", "lines", "log"])
    with open(f"{path}/head", "r+b") as head:
        head.write(b"begun of another time")
    reader = open_tree(read_only=True)
    assert keys(reader) == [f"k{number}" for number in range(8)], "without writing a byte"
    assert os.listdir(f"{path}/records") == []
    again = open_tree()
    assert keys(again) == [f"k{number}" for number in range(8)]
    assert len(os.listdir(f"{path}/index/g")) == 8
    assert [line for _, line in again.read(lambda look: again.log.read(look, 1, 100))] == [
        f'"k{number}"'.encode() for number in range(8)
    ]
    assert keys(reader) == [f"k{number}" for number in range(8)]
    write(again, "l")
    assert keys(reader) == [*(f"k{number}" for number in range(8)), "l"]


def test_the_journal_goes_round_and_round(path: str, open_tree: Callable[..., Tree]) -> None:
    tree = open_tree(journal_bytes=8192)
    for number in range(200):
        write(tree, f"k{number:03}", "x" * 300)
        if number % 37 == 0:
            die(tree)
            tree = open_tree()
    assert len(keys(tree)) == 200
    assert os.path.getsize(f"{path}/journal.0") < 3 * 8192
    assert len(os.listdir(f"{path}/log")) > 1
    assert len(tree.read(lambda look: tree.log.read(look, 1, 1000))) == 200


def test_a_change_larger_than_the_journal(path: str, open_tree: Callable[..., Tree]) -> None:
    tree = open_tree(journal_bytes=8192)
    write(tree, "a", "x" * 100_000)
    die(tree)
    _lose(path, ["records"])
    tree = open_tree()
    assert len(tree.read(lambda look: look.record("records", "a")) or b"") > 100_000
    write(tree, "b")
    write(tree, "c")
    write(tree, "d")
    tree.close()
    assert os.path.getsize(f"{path}/journal.1") == 8192


@pytest.mark.parametrize("damage", [b"", b"\0" * 512, b"begun 1"])
def test_a_damaged_head_is_made_anew(path: str, open_tree: Callable[..., Tree], damage: bytes) -> None:
    tree = open_tree()
    write(tree, "a")
    with open(f"{path}/head", "r+b") as head:
        head.truncate(0)
        head.write(damage)
    assert keys(tree) == ["a"]
    write(tree, "b")
    tree.close()
    assert keys(open_tree()) == ["a", "b"]


def test_both_journals_gone_is_damage_and_says_so(path: str, open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    write(tree, "a")
    die(tree)
    for number in (0, 1):
        with open(f"{path}/journal.{number}", "r+b") as journal:
            journal.write(b"\0" * 32768)
    with pytest.raises(StoreCorruptedError, match="journal"):
        open_tree()


# --- a disk that says no ---


def test_a_failed_flush_ends_the_handle_and_not_the_store(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree(file_system=CountingFileSystem)
    write(tree, "a")
    assert isinstance(tree._fs, CountingFileSystem)
    tree._fs.failing["flush"] = errno.EIO
    with pytest.raises(StoreFailedError, match="open"):
        write(tree, "b")
    del tree._fs.failing["flush"]
    flushes = tree._fs.calls["flush"]
    with pytest.raises(StoreFailedError):
        write(tree, "c")
    assert tree._fs.calls["flush"] == flushes, "it is never tried again"
    assert keys(tree) == ["a"]
    tree.close()
    again = open_tree()
    assert keys(again) in (["a"], ["a", "b"])
    write(again, "d")


def test_a_handle_that_joins_writes_anew_what_may_never_have_reached_the_disk(open_tree: Callable[..., Tree]) -> None:
    first = open_tree(file_system=CountingFileSystem)
    assert isinstance(first._fs, CountingFileSystem)
    first._fs.failing["flush"] = errno.EIO
    with pytest.raises(StoreFailedError):
        write(first, "a")
    second = open_tree()
    assert keys(second) == ["a"]
    write(second, "b")
    assert keys(second) == ["a", "b"]


def test_a_write_back_that_failed_keeps_the_journal(path: str, open_tree: Callable[..., Tree]) -> None:
    first = open_tree(journal_bytes=8192, file_system=CountingFileSystem, run_later=lambda job: job())
    second = open_tree()
    assert isinstance(first._fs, CountingFileSystem)
    first._fs.failing["sync"] = errno.EIO
    with pytest.raises(StoreFailedError):
        for number in range(100):
            write(first, f"k{number:03}", "x" * 300)
    written = sorted(name.removesuffix(".json") for name in os.listdir(f"{path}/records"))
    _lose(path, ["records"])  # what the failed write-back had lost
    for number in range(100):
        write(second, f"l{number:03}", "x" * 300)
    assert keys(second) == [*written, *(f"l{number:03}" for number in range(100))]


def test_a_full_disk_while_publishing_is_met_by_the_reserve(
    path: str, open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = open_tree()
    write(tree, "a")

    def is_full() -> bool:
        return bool(os.listdir(f"{path}/reserve"))

    def publish(*arguments: Any) -> None:
        if is_full():
            raise OSError(errno.ENOSPC, "no space left on device")
        publish_module.publish(*arguments)

    monkeypatch.setattr("execstore.tree.tree.publish", publish)
    write(tree, "b")
    assert keys(tree) == ["a", "b"]
    assert os.listdir(f"{path}/reserve") == []

    def ensure(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("execstore.tree.reserve.ensure", ensure)
    with pytest.raises(StoreFullError) as caught:
        write(tree, "c")
    assert not caught.value.committed
    assert keys(tree) == ["a", "b"]
    monkeypatch.undo()
    write(tree, "d")
    assert keys(tree) == ["a", "b", "d"]
    assert len(os.listdir(f"{path}/reserve")) == 12


# --- opening ---


def test_a_file_is_not_a_store(path: str, open_tree: Callable[..., Tree]) -> None:
    with open(path, "wb"):
        pass
    with pytest.raises(NotAStoreError):
        open_tree()


def test_a_folder_with_other_things_is_left_untouched(path: str, open_tree: Callable[..., Tree]) -> None:
    os.mkdir(path)
    with open(f"{path}/letter.txt", "wb"):
        pass
    with pytest.raises(NotAStoreError, match="letter"):
        open_tree()
    assert os.listdir(path) == ["letter.txt"]


def test_a_folder_on_the_way_that_is_a_file(path: str) -> None:
    with open(path, "wb"):
        pass
    with pytest.raises(NotAStoreError):
        Tree(f"{path}/store", LAYOUT)


def test_nothing_is_made_for_a_reader(path: str, open_tree: Callable[..., Tree]) -> None:
    with pytest.raises(StoreNotFoundError):
        open_tree(read_only=True)
    assert not os.path.exists(path)
    os.mkdir(path)
    with pytest.raises(StoreNotFoundError):
        open_tree(read_only=True)
    assert os.listdir(path) == []


def test_data_without_format_is_damage(path: str, open_tree: Callable[..., Tree]) -> None:
    write(open_tree(), "a")
    os.remove(f"{path}/FORMAT")
    with pytest.raises(StoreCorruptedError, match="FORMAT"):
        open_tree()


@pytest.mark.parametrize("missing", ["head", "journal.0", "lock", "lock.flush"])
def test_a_missing_file_of_the_engine_is_named(path: str, open_tree: Callable[..., Tree], missing: str) -> None:
    open_tree().close()
    os.remove(f"{path}/{missing}")
    with pytest.raises(StoreCorruptedError, match=missing):
        open_tree()


@pytest.mark.parametrize("made", range(0, 30, 3))
def test_a_making_that_was_cut_off_is_done_again(path: str, open_tree: Callable[..., Tree], made: int) -> None:
    class Cut(RealFileSystem):
        calls = 0

        def _count(self) -> None:
            Cut.calls += 1
            if Cut.calls > made:
                raise KeyboardInterrupt

        def create(self, path: str, data: bytes) -> None:
            self._count()
            super().create(path, data)

        def make_folder(self, path: str) -> None:
            self._count()
            super().make_folder(path)

        def rename(self, source: str, path: str) -> None:
            self._count()
            super().rename(source, path)

    with pytest.raises(KeyboardInterrupt):
        for _ in range(2):
            open_tree(file_system=Cut).close()
            shutil.rmtree(path)
    Cut.calls = -1000
    write(open_tree(), "a")


def test_a_closed_handle_says_so(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    tree.close()
    tree.close()
    with pytest.raises(StoreClosedError):
        keys(tree)
    with pytest.raises(StoreClosedError):
        tree.begin()


def test_no_descriptor_is_left_behind(open_tree: Callable[..., Tree], path: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        tree = Tree(path, LAYOUT, journal_bytes=8192)
        write(tree, "a")
        tree.close()
        del tree
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_somebody_makes_at_that_moment_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "store")
    ask = os.path.lexists

    def made_meanwhile(asked: str) -> bool:
        if asked == path and not ask(path):
            os.mkdir(path)
        return ask(asked)

    monkeypatch.setattr(os.path, "lexists", made_meanwhile)
    with pytest.raises(StoreNotFoundError):
        Tree(path, LAYOUT, read_only=True)
    Tree(path, LAYOUT, journal_bytes=8192).close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_that_somebody_makes_at_that_moment_is_one(
    path: str, open_tree: Callable[..., Tree], read_only: bool
) -> None:
    """Between the look for FORMAT and that at what else is there."""
    os.mkdir(path)
    looks = 0

    class Meanwhile(RealFileSystem):
        def read(self, path: str, maximum: int, offset: int = 0) -> bytes | None:
            nonlocal looks
            data = super().read(path, maximum, offset)
            looks += 1
            if looks == 1:
                write(open_tree(), "a")
            return data

    assert keys(open_tree(file_system=Meanwhile, read_only=read_only)) == ["a"]
