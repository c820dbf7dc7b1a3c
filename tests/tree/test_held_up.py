"""A process that stands still while it holds locks: readers read on, and others are told whom they wait for."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import StoreBusyError, StoreFailedError
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree
from tests.support import python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAYOUT = Layout(records=("records",), lines=("lines",), indexes={"index": "records"}, log="log")


class Failing(RealFileSystem):
    """Can't make files any more once it is told so."""

    fails = False

    def create(self, path: str, data: bytes) -> None:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().create(path, data)


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def open_one(**options: Any) -> Tree:
        options = {"lock_timeout_seconds": 30.0} | options
        trees.append(Tree(str(tmp_path / "store"), LAYOUT, **options))
        return trees[-1]

    yield open_one
    for tree in trees:
        tree.close()


def write(tree: Tree, key: str) -> None:
    change = tree.begin()
    change.put_record("records", key, key.encode())
    tree.commit(change)


def stage(tree: Tree, key: str) -> int:
    """A change of which only the first of three phases is done."""
    change = tree.begin()
    change.put_record("records", key, key.encode())
    transaction = tree.stage(change)
    tree._change_lock.release()
    return transaction


def keys(tree: Tree) -> list[str]:
    return sorted(tree.read(lambda reader: reader.record_names("records")))


@contextlib.contextmanager
def in_the_middle_of_a_publication(open_tree: Callable[..., Tree]) -> Iterator[None]:
    """A handle that keeps both locks, with a change begun and none of its files there."""
    tree = open_tree(file_system=Failing)
    write(tree, "old")
    assert isinstance(tree._fs, Failing)
    tree._fs.fails = True
    with pytest.raises(StoreFailedError):
        write(tree, "new")
    with tree._flush_lock.held(), tree._change_lock.held():
        yield
    tree._fs.fails = False


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
def test_a_reader_sees_what_is_being_published_and_waits_for_nobody(
    open_tree: Callable[..., Tree], read_only: bool
) -> None:
    reader = open_tree(read_only=read_only) if not read_only else None
    with in_the_middle_of_a_publication(open_tree):
        # A read-only handle that was never asked before doesn't know yet whether the store was cut off.
        assert keys(reader or open_tree(read_only=True)) == ["new", "old"]


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "read-only"])
def test_a_reader_waits_for_no_recovery_either(open_tree: Callable[..., Tree], read_only: bool) -> None:
    tree = open_tree()
    for key in ("a", "b", "c"):
        write(tree, key)
    reader = open_tree(read_only=read_only)
    assert keys(reader) == ["a", "b", "c"]
    head = tree._head_now()
    with tree._flush_lock.held(), tree._change_lock.held():
        tree._head.write(head._replace(published=0))
        assert keys(reader) == ["a", "b", "c"]
        tree._head.write(head)


def test_a_publication_that_was_cut_off_is_finished_though_more_was_staged_since(
    open_tree: Callable[..., Tree], caplog: pytest.LogCaptureFixture
) -> None:
    """By doing what it had to do, and not by a recovery of all that the journal holds."""
    one, other = open_tree(), open_tree()
    stage(one, "a")
    stage(other, "b")
    head = one._head_now()
    one._journal.flush(head.journal)
    one._head.write(head._replace(begun=head.published + 1))  # and then it dies
    with caplog.at_level(logging.INFO, "execstore"):
        write(other, "c")
    assert keys(other) == ["a", "b", "c"]
    assert caplog.records == []


def test_a_reader_waits_for_one_that_is_opening_the_store(open_tree: Callable[..., Tree]) -> None:
    """It may be bringing it up to date: what is there by now may be torn."""
    tree = open_tree()
    write(tree, "old")
    tree._handles.leave()
    reader = open_tree(read_only=True, lock_timeout_seconds=0.2)
    with tree._flush_lock.held(), tree._change_lock.held(), pytest.raises(StoreBusyError):
        keys(reader)
    assert keys(reader) == ["old"]


def test_who_is_refused_because_of_what_is_staged_finds_it_there(open_tree: Callable[..., Tree]) -> None:
    """Else it could look for what it was just told exists, and not find it; or a power cut could take it back."""
    one, other = open_tree(), open_tree()
    stage(one, "a")
    change = other.begin()
    assert change.record("records", "a") == b"a"
    assert keys(other) == []
    other.reject(change)
    assert keys(other) == ["a"]


def test_who_read_in_a_transaction_what_is_staged_finds_it_there(open_tree: Callable[..., Tree]) -> None:
    one, other = open_tree(), open_tree()
    stage(one, "a")
    change = other.begin()
    assert change.record("records", "a") == b"a"
    other.commit(change)
    assert keys(other) == ["a"]


def test_who_is_refused_otherwise_flushes_nothing(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    write(tree, "a")
    with tree._flush_lock.held():
        change = tree.begin()
        tree.reject(change)


HOLD = """
import sys
from execstore.tree.filesystem import RealFileSystem
fs = RealFileSystem(sys.argv[1])
assert fs.try_lock(fs.open(sys.argv[2], write=True))
print("held", flush=True)
sys.stdin.read()
"""


def test_not_those_who_wait_are_named_but_whom_they_wait_for(open_tree: Callable[..., Tree], tmp_path: Path) -> None:
    tree = open_tree(lock_timeout_seconds=0.0)
    with (
        python("-c", HOLD, str(tmp_path / "store"), "lock") as holder,
        python("-c", HOLD, str(tmp_path / "store"), "lock.flush") as waiting,
    ):
        for process in (holder, waiting):
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match=f"process {holder.pid} "):
            open_tree(lock_timeout_seconds=0.0)
        holder.kill()
        holder.wait()
        with pytest.raises(StoreBusyError, match=f"process {waiting.pid} "):
            open_tree(lock_timeout_seconds=0.0)
        waiting.kill()
    write(tree, "a")
