"""Retiring a journal: off the commit path, and no journal is written over before."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import StoreFailedError
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

LAYOUT = Layout(records=("records",), lines=(), indexes={}, log="log")


class Counting(RealFileSystem):
    """Counts what makes the whole tree durable."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.syncs = 0

    def sync(self, paths: Iterable[str]) -> None:
        self.syncs += 1
        super().sync(paths)

    def write_back(self) -> None:
        self.syncs += 1
        super().write_back()


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def make(**options: Any) -> Tree:
        trees.append(Tree(str(tmp_path / "store"), LAYOUT, journal_bytes=8192, file_system=Counting, **options))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()


def write(tree: Tree, key: str) -> None:
    change = tree.begin()
    change.put_record("records", key, b"x" * 300)
    tree.commit(change)


def write_until(tree: Tree, is_so: Callable[[], bool]) -> None:
    """Write until something came about, which takes some 20 changes for each journal file."""
    for number in range(200):
        if is_so():
            return
        write(tree, f"u{number}")
    raise AssertionError("it never came about")


def syncs(tree: Tree) -> int:
    assert isinstance(tree._fs, Counting)
    return tree._fs.syncs


def test_the_turn_waits_for_nothing_where_the_other_file_is_retired(open_tree: Callable[..., Tree]) -> None:
    jobs: list[Callable[[], None]] = []
    tree = open_tree(run_later=jobs.append)
    for number in range(100):
        write(tree, f"k{number}")
        assert syncs(tree) == 0, "it isn't a commit that makes the tree durable"
        if tree._head_now().epoch == 3:
            break
        while jobs:
            jobs.pop()()
            tree._fs.syncs = 0  # type: ignore[attr-defined]
    assert tree._head_now().epoch == 3


def test_a_commit_retires_it_where_nobody_else_did(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree(run_later=lambda job: None)
    write_until(tree, lambda: tree._head_now().epoch == 3)
    assert syncs(tree) == 1, "once: of the first journal, before it is written over"
    assert tree._head_now().retired == 2, "everything published was made durable"


def test_it_is_begun_once_for_each_epoch(open_tree: Callable[..., Tree]) -> None:
    jobs: list[Callable[[], None]] = []
    tree = open_tree(run_later=jobs.append)
    write_until(tree, lambda: tree._head_now().epoch == 2)
    jobs.clear()  # what was written back before
    for number in range(4):
        write(tree, f"l{number}")
    assert len(jobs) == 1


def test_what_is_published_is_written_back_in_pieces(open_tree: Callable[..., Tree]) -> None:
    jobs: list[Callable[[], None]] = []
    tree = open_tree(run_later=jobs.append)
    marks = 0
    while tree._head_now().epoch == 1:
        before = tree._head_now().offset // (8192 * 0.13)
        write(tree, f"k{marks}")
        marks += tree._head_now().offset // (8192 * 0.13) > before
    assert marks - 1 <= len(jobs) <= marks, "one for each; the last may have come with the journal's turn"
    assert syncs(tree) == 0, "no commit waits for it"
    jobs.pop()()
    assert (syncs(tree), tree._head_now().retired) == (1, 0)


def test_what_could_not_be_written_back_ends_the_handle(
    open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells only once that pages were lost."""
    jobs: list[Callable[[], None]] = []
    tree = open_tree(run_later=jobs.append)
    write_until(tree, lambda: bool(jobs))

    def fail(self: Counting) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "write_back", fail)
        jobs.pop()()
    with pytest.raises(OSError, match="Input/output error"):
        tree._retirement.sync(0, 1)  # as who was about to ask at that moment would
    with pytest.raises(StoreFailedError, match="Input/output error"):
        write(tree, "x")
    other = open_tree()
    assert "u0" in other.read(lambda reader: reader.record_names("records"))
    write(other, "y")


def test_closing_hears_what_was_told_beside_it(open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would leave the store clean, since to its own asking the system says that all is well."""
    jobs: list[Callable[[], None]] = []
    tree = open_tree(run_later=jobs.append)
    write_until(tree, lambda: bool(jobs))
    asking, go_on = threading.Event(), threading.Event()

    def fail(self: Counting) -> None:
        asking.set()
        go_on.wait()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Counting, "write_back", fail)
    beside, closing = threading.Thread(target=jobs.pop()), threading.Thread(target=tree.close)
    beside.start()
    asking.wait()
    closing.start()
    closing.join(0.2)  # whether it got so far or not, it has to wait
    go_on.set()
    beside.join()
    closing.join()
    head = tree._head.read()
    assert head is None or not head.clean


def test_what_another_handle_retired_is_durable_again_after_a_recovery(open_tree: Callable[..., Tree]) -> None:
    """All files were written anew, and it may say later that it retired the journal which holds them."""
    jobs: list[Callable[[], None]] = []
    first, second = open_tree(), open_tree(run_later=jobs.append)
    write_until(second, lambda: second._head_now().epoch == 2)
    for number in range(4):
        write(second, f"v{number}")
    while jobs:
        jobs.pop()()
    assert (second._retirement.retired, second._head_now().retired) == (1, 0)
    first.note_lost_writes(OSError(errno.EIO, "Input/output error"))
    before = syncs(second)
    write(second, "x")
    assert syncs(second) == before + 1
    assert second._head_now().retired == 1


def test_a_recovery_beside_others_that_can_not_be_made_durable_is_none(
    open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = open_tree(), open_tree()
    write(second, "x")
    first.note_lost_writes(OSError(errno.EIO, "Input/output error"))

    def fail(self: Counting, paths: Iterable[str]) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "sync", fail)
        with pytest.raises(StoreFailedError):
            write(second, "y")
    assert second._head.read() is None
    third = open_tree()
    assert set(third.read(lambda reader: reader.record_names("records"))) == {"x"}


def test_who_finds_an_old_journal_that_nobody_retired_does_it(open_tree: Callable[..., Tree]) -> None:
    """Its process may have died over it."""
    first = open_tree(run_later=lambda job: None)
    write_until(first, lambda: first._head_now().epoch == 2)
    second = open_tree(run_later=lambda job: job())
    for number in range(4):
        write(second, f"l{number}")
    assert second._head_now().retired == 1


def test_a_handle_that_is_forgotten_meanwhile_goes(tmp_path: Path) -> None:
    """Its descriptors must not stay until somebody collects garbage."""
    jobs: list[Callable[[], None]] = []
    before = len(os.listdir("/proc/self/fd"))
    tree = Tree(str(tmp_path / "store"), LAYOUT, journal_bytes=8192, run_later=jobs.append)
    write_until(tree, lambda: bool(jobs))
    tree.close()
    del tree
    jobs.pop()()
    assert len(os.listdir("/proc/self/fd")) == before


def test_in_a_thread_it_comes_about_by_itself(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    for number in range(500):
        write(tree, f"k{number}")
    assert tree._head_now().retired >= tree._head_now().epoch - 2
    assert len(tree.read(lambda reader: reader.record_names("records"))) == 500
