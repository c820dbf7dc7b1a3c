"""Group commit: who is waited for before a flush, and for how long."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from execstore.tree.filesystem import RealFileSystem
from execstore.tree.grouping import Grouping
from execstore.tree.layout import Layout
from execstore.tree.lock import Lock
from execstore.tree.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MS = 1_000_000
LAYOUT = Layout(records=("records",), lines=(), indexes={}, log="log")


def shared(flush_ns: int = 5 * MS, records: int = 4) -> Grouping:
    """One whose flushes took so long, and were for so many."""
    grouping = Grouping()
    for _ in range(20):
        grouping.note_flush(flush_ns, records, 0)
    return grouping


def test_who_writes_alone_never_waits() -> None:
    grouping = shared(records=1)
    assert grouping.is_alone
    assert grouping.pause_ns(1, 0) == 0


def test_where_a_flush_takes_less_than_a_sleep_nobody_waits() -> None:
    assert shared(flush_ns=200_000).pause_ns(1, 0) == 0


def test_a_pause_is_a_small_part_of_a_flush_and_all_of_them_no_more_than_half() -> None:
    grouping = shared(flush_ns=5 * MS, records=8)
    pause_ns = grouping.pause_ns(1, 0)
    assert 0 < pause_ns <= 5 * MS // 10
    waited_ns = 0
    while pause_ns := grouping.pause_ns(1, waited_ns):
        waited_ns += pause_ns
    assert 5 * MS // 2 <= waited_ns <= 5 * MS * 6 // 10
    assert shared(flush_ns=100 * MS).pause_ns(1, 0) <= MS, "however slow the disk is"


def test_it_stops_once_as_many_are_there_as_lately() -> None:
    grouping = shared(records=4)
    assert grouping.pause_ns(3, 0) > 0
    assert grouping.pause_ns(4, 0) == 0


def test_those_who_came_too_late_are_expected_the_next_time() -> None:
    grouping = shared(records=4)
    grouping.note_flush(5 * MS, 4, 3)
    assert grouping.pause_ns(4, 0) > 0
    assert grouping.pause_ns(7, 0) == 0


def test_those_who_stay_away_are_forgotten() -> None:
    grouping = shared(records=8)
    for _ in range(7):
        grouping.note_flush(5 * MS, 2, 0)
    assert grouping.pause_ns(2, 0) == 0
    for _ in range(16):
        grouping.note_flush(5 * MS, 1, 0)
    assert grouping.is_alone


def test_who_had_to_wait_for_the_lock_has_company() -> None:
    grouping = shared(records=1)
    grouping.note_company()
    assert not grouping.is_alone
    assert grouping.pause_ns(1, 0) > 0


class Counting(RealFileSystem):
    """Counts its flushes, which seem to be slow."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.flushes = 0

    def flush(self, descriptor: int) -> None:
        self.flushes += 1
        super().flush(descriptor)


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def make(**options: Any) -> Tree:
        trees.append(Tree(str(tmp_path / "store"), LAYOUT, **options))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()


def stage(tree: Tree, key: str) -> int:
    change = tree.begin()
    change.put_record("records", key, key.encode())
    transaction = tree.stage(change)
    tree._change_lock.release()
    return transaction


def write(tree: Tree, key: str) -> None:
    tree._finish(stage(tree, key))


def test_who_comes_during_the_pause_shares_the_flush(
    open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another handle's change, which in real life would be another process's."""
    one, other = open_tree(file_system=Counting), open_tree()
    assert isinstance(one._fs, Counting)
    one._grouping = shared(records=2)
    late: list[int] = []

    def sleep(seconds: float) -> None:
        assert 0 < seconds < 0.001
        if not late:
            late.append(stage(other, "late"))

    monkeypatch.setattr("execstore.tree.tree.time.sleep", sleep)
    before = one._fs.flushes
    write(one, "first")
    assert one._fs.flushes == before + 1
    assert one._head_now().published == late[0]
    other._finish(late[0])
    assert sorted(other.read(lambda reader: reader.record_names("records"))) == ["first", "late"]


def test_who_waits_for_the_lock_stops_once_another_did_its_work(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    fs = RealFileSystem(str(tmp_path))
    held, wanted = (Lock(fs, "lock", str(tmp_path), 60.0, write=True) for _ in range(2))
    done = threading.Event()
    outcome: list[bool] = []
    with held.held():
        waiting = threading.Thread(target=lambda: outcome.append(wanted.acquire_unless(done.is_set)))
        waiting.start()
        done.set()
        waiting.join(60)
    assert outcome == [False]
    assert wanted.try_acquire(), "it holds nothing"
    wanted.release()


def test_a_lock_tells_whether_it_was_waited_for(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    fs = RealFileSystem(str(tmp_path))
    held, wanted = (Lock(fs, "lock", str(tmp_path), 60.0, write=True) for _ in range(2))
    assert wanted.acquire_unless(lambda: False)
    assert not wanted.was_contended
    wanted.release()
    held.acquire()
    taken = threading.Thread(target=lambda: wanted.acquire_unless(held_is_free.is_set))
    held_is_free = threading.Event()  # never set: only the lock itself ends the wait
    taken.start()
    time.sleep(0.01)
    held.release()
    taken.join(60)
    assert wanted.was_contended
    wanted.release()


def test_those_whose_work_was_done_do_not_stand_in_line_behind_the_next_flush(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    lock = Lock(RealFileSystem(str(tmp_path)), "lock", str(tmp_path), 60.0, write=True)
    done, may_end, has_it = threading.Event(), threading.Event(), threading.Event()
    outcomes: list[bool] = []

    def flush_for_long() -> None:
        assert lock.acquire_unless(lambda: False)
        has_it.set()
        may_end.wait(60)
        lock.release()

    lock.acquire()
    followers = [threading.Thread(target=lambda: outcomes.append(lock.acquire_unless(done.is_set))) for _ in range(5)]
    for follower in followers:
        follower.start()
    leader = threading.Thread(target=flush_for_long)
    leader.start()
    while len(lock._waiting) < 6:
        time.sleep(0.001)
    done.set()
    lock.release()
    for follower in followers:
        follower.join(60)
    assert outcomes == [False] * 5
    assert has_it.wait(60)
    assert leader.is_alive(), "they left while it had the lock, or before"
    may_end.set()
    leader.join(60)
    assert lock.try_acquire()
    lock.release()
