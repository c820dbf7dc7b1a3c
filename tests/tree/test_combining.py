"""Several threads of one handle: one of them does what all ask for, and each gets its own answer."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import StoreBusyError, StoreClosedError, StoreFailedError, StoreFullError
from execstore.tree import combining, journal, staged
from execstore.tree import lock as lock_module
from execstore.tree import tree as tree_module
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree
from tests.support import PATIENCE_SECONDS, interrupted_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from execstore.tree.change import Change

ENGINE = (combining, journal, lock_module, staged, tree_module)
LAYOUT = Layout(records=("records",), lines=("lines",), indexes={"index": "records"}, log="log")


class Disk(RealFileSystem):
    """Refuses what it is told to, with that error number."""

    flushing = journaling = 0
    interrupted_after = b""  # the record of the journal with these bytes

    def flush(self, descriptor: int) -> None:
        if self.flushing:
            raise OSError(self.flushing, "no")
        super().flush(descriptor)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:  # type: ignore[override]
        if self.journaling and b"@transaction" in bytes(data[:20]):
            raise OSError(self.journaling, "no")
        written = RealFileSystem.pwrite(descriptor, data, offset)
        if self.interrupted_after and self.interrupted_after in bytes(data) and b"@transaction" in bytes(data[:20]):
            self.interrupted_after = b""
            raise KeyboardInterrupt
        return written


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with_disk = Tree(str(tmp_path / "store"), LAYOUT, file_system=Disk, lock_timeout_seconds=PATIENCE_SECONDS)
    yield with_disk
    with_disk.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def disk_of(tree: Tree) -> Disk:
    assert isinstance(tree._fs, Disk)
    return tree._fs


def put(key: str) -> Callable[[Change], str]:
    def operation(change: Change) -> str:
        if change.has_record("records", key):
            raise KeyError(key)
        change.put_record("records", key, b"{}")
        change.set_value("count", change.values.get("count", 0) + 1)
        return f"{key} is {change.values['count']}"

    return operation


def keys(tree: Tree) -> list[str]:
    return sorted(tree.read(lambda reader: reader.record_names("records")))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def ask_while_locked(
    tree: Tree, threads: ThreadPoolExecutor, operations: list[Callable[[Change], Any]]
) -> tuple[Change, list[Future[Any]]]:
    """The first one's thread is about to lead, and the others wait behind it, in their order."""
    change = tree.begin()
    asked = []
    for number, operation in enumerate(operations):
        asked.append(threads.submit(tree.change, operation))
        wait_until(lambda: tree._combining._leader is not None)
        wait_until(lambda number=number: len(tree._combining._waiting) == number)  # type: ignore[misc]
    return change, asked


def test_all_that_wait_are_done_by_one_thread_with_one_flush(tree: Tree, threads: ThreadPoolExecutor) -> None:
    flushes: list[int] = []
    done_by: set[int] = set()
    tree.on_flush = flushes.append

    def noting(operation: Callable[[Change], str]) -> Callable[[Change], str]:
        def note(change: Change) -> str:
            done_by.add(threading.get_ident())
            return operation(change)

        return note

    change, asked = ask_while_locked(tree, threads, [noting(put(f"k{number}")) for number in range(8)])
    tree.rollback(change)
    assert [each.result(PATIENCE_SECONDS) for each in asked] == [f"k{number} is {number + 1}" for number in range(8)]
    assert (len(flushes), len(done_by)) == (1, 1)
    assert keys(tree) == [f"k{number}" for number in range(8)]
    assert tree.change(put("again")) == "again is 9"


def test_each_gets_its_own_error_and_the_others_are_done(tree: Tree, threads: ThreadPoolExecutor) -> None:
    def fail(change: Change) -> None:
        change.put_record("records", "half", b"{}")
        raise ValueError("of its own")

    operations = [fail, put("a"), put("a"), fail, put("b"), lambda change: change.has_record("records", "a")]
    change, asked = ask_while_locked(tree, threads, operations)
    tree.rollback(change)
    errors = [each.exception(PATIENCE_SECONDS) for each in asked]
    assert [type(error) for error in errors] == [ValueError, type(None), KeyError, ValueError, type(None), type(None)]
    assert errors[0] is not errors[3]
    assert asked[5].result()
    assert keys(tree) == ["a", "b"]


def test_an_answer_that_hangs_on_another_ones_change_comes_after_it(tree: Tree, threads: ThreadPoolExecutor) -> None:
    """Who is told that a key is taken may look for it at once, or after a power cut."""
    change, asked = ask_while_locked(tree, threads, [put("a"), put("a"), lambda change: change.values["count"]])
    disk_of(tree).flushing = errno.EIO
    tree.rollback(change)
    for each in asked:
        with pytest.raises(StoreFailedError):
            each.result(PATIENCE_SECONDS)
    assert len({id(each.exception()) for each in asked}) == 3


def test_an_answer_that_hangs_on_nothing_is_given_though_others_fail(tree: Tree, threads: ThreadPoolExecutor) -> None:
    def refuse(change: Change) -> None:
        raise ValueError("of its own")

    change, asked = ask_while_locked(tree, threads, [refuse, put("a")])
    disk_of(tree).flushing = errno.EIO
    tree.rollback(change)
    with pytest.raises(ValueError, match="of its own"):
        asked[0].result(PATIENCE_SECONDS)
    with pytest.raises(StoreFailedError):
        asked[1].result(PATIENCE_SECONDS)


def test_an_error_tells_nothing_of_what_the_leader_was_handling(tree: Tree, threads: ThreadPoolExecutor) -> None:
    def lead() -> Any:
        try:
            raise ZeroDivisionError  # noqa: TRY301
        except ZeroDivisionError:
            return tree.change(put("a"))

    def fail(change: Change) -> None:
        try:
            raise KeyError("its own")  # noqa: TRY301
        except KeyError:
            raise ValueError("of its own")  # noqa: B904

    change = tree.begin()
    leading = threads.submit(lead)
    wait_until(lambda: tree._combining._leader is not None)
    failing = threads.submit(tree.change, fail)
    wait_until(lambda: len(tree._combining._waiting) == 1)
    tree.rollback(change)
    assert leading.result(PATIENCE_SECONDS)
    error = failing.exception(PATIENCE_SECONDS)
    assert isinstance(error, ValueError)
    assert isinstance(error.__context__, KeyError)
    assert error.__context__.__context__ is None


def test_a_disk_without_room_refuses_each_of_them(tree: Tree, threads: ThreadPoolExecutor) -> None:
    change, asked = ask_while_locked(tree, threads, [put("a"), put("b")])
    disk_of(tree).journaling = errno.ENOSPC
    tree.rollback(change)
    for each in asked:
        with pytest.raises(StoreFullError):
            each.result(PATIENCE_SECONDS)
    disk_of(tree).journaling = 0
    assert tree.change(put("a")) == "a is 1"


def test_who_waits_too_long_is_told_and_nothing_of_it_happens(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    tree = Tree(str(tmp_path / "store"), LAYOUT, lock_timeout_seconds=0.2)
    change, asked = ask_while_locked(tree, threads, [put(f"k{number}") for number in range(3)])
    for each in asked:
        with pytest.raises(StoreBusyError):
            each.result(PATIENCE_SECONDS)
    tree.rollback(change)
    assert tree.change(put("a")) == "a is 1"
    assert keys(tree) == ["a"]
    tree.close()


def test_another_process_that_keeps_the_lock_is_waited_for_once(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    other = Tree(str(tmp_path / "store"), LAYOUT)
    tree = Tree(str(tmp_path / "store"), LAYOUT, lock_timeout_seconds=0.5)
    change = other.begin()
    began = time.monotonic()
    asked = [threads.submit(tree.change, put(f"k{number}")) for number in range(6)]
    for each in asked:
        with pytest.raises(StoreBusyError):
            each.result(PATIENCE_SECONDS)
    assert time.monotonic() - began >= 0.5
    other.rollback(change)
    assert tree.change(put("a")) == "a is 1"
    tree.close()
    other.close()


@pytest.mark.parametrize("refused", ["reserve", "head"])
def test_a_leader_that_cannot_begin_leaves_it_to_the_next(
    tree: Tree, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Of what another process staged meanwhile this handle knows nothing until one could begin."""
    other = Tree(tree.path, LAYOUT)
    tree.change(put("before"))
    change = other.begin()
    put("theirs")(change)
    asked = []
    for number, key in enumerate(("a", "b", "theirs")):
        asked.append(threads.submit(tree.change, put(key)))
        wait_until(lambda: tree._combining._leader is not None)
        wait_until(lambda number=number: len(tree._combining._waiting) == number)  # type: ignore[misc]
    refusals = [OSError(errno.ENOSPC if refused == "reserve" else errno.EIO, "no")]

    def refuse(*_: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return another()

    if refused == "reserve":
        tree._reserve_whole = False
        another: Callable[[], Any] = lambda: None  # noqa: E731
        monkeypatch.setattr("execstore.tree.reserve.ensure", refuse)
    else:
        another = tree._head.read
        monkeypatch.setattr(tree._head, "read", refuse)
    staged = other.stage(change)
    other._change_lock.release()
    with pytest.raises(StoreFullError if refused == "reserve" else StoreFailedError):
        asked[0].result(PATIENCE_SECONDS)
    other.conclude(staged)
    assert asked[1].result(PATIENCE_SECONDS) == "b is 3"
    with pytest.raises(KeyError):
        asked[2].result(PATIENCE_SECONDS)
    other.close()
    assert keys(tree) == ["b", "before", "theirs"]


@pytest.mark.parametrize("victim", [0, 1, 3])
def test_an_interrupted_leader_leaves_nobody_behind(tree: Tree, threads: ThreadPoolExecutor, victim: int) -> None:
    """Ctrl-C means the call of the thread that got it, whosever operation it is in."""
    interrupted: list[int] = []

    def interrupting(change: Change) -> str:
        if not interrupted:
            interrupted.append(threading.get_ident())
            raise KeyboardInterrupt
        return put("victim")(change)

    operations: list[Callable[[Change], Any]] = [put(f"k{number}") for number in range(5)]
    operations[victim] = interrupting
    change, asked = ask_while_locked(tree, threads, operations)
    tree.rollback(change)
    with pytest.raises(KeyboardInterrupt):
        asked[0].result(PATIENCE_SECONDS)
    assert all(each.result(PATIENCE_SECONDS) for each in asked[1:])
    # The leader's own was staged, if it came before: then its outcome is as that of any call that was interrupted.
    mended = ["victim"] if victim else []
    assert keys(tree) == sorted([*(f"k{number}" for number in range(5) if number != victim), *mended])
    assert tree.change(put("after"))


def test_what_an_interrupted_leader_had_written_is_not_done_again(tree: Tree, threads: ThreadPoolExecutor) -> None:
    """The interpreter looks for signals behind a system call, so most interruptions come there."""
    change, asked = ask_while_locked(tree, threads, [put("a"), put("b"), put("c")])
    disk_of(tree).interrupted_after = b"records/b.json"
    tree.rollback(change)
    with pytest.raises(KeyboardInterrupt):
        asked[0].result(PATIENCE_SECONDS)
    assert [each.result(PATIENCE_SECONDS) for each in asked[1:]] == ["b is 2", "c is 3"]
    assert keys(tree) == ["a", "b", "c"]


@pytest.mark.parametrize("thread", ["main", "other"])
def test_an_interruption_anywhere_leaves_nobody_asleep(tree: Tree, threads: ThreadPoolExecutor, thread: str) -> None:
    for number in range(1000):
        change = tree.begin()
        ended: list[bool] = []
        asked: list[Future[str]] = []

        def ask(change: Change = change, ended: list[bool] = ended, asked: list[Future[str]] = asked) -> None:
            wait_until(lambda: bool(ended) or tree._combining._leader is not None)
            asked += [threads.submit(tree.change, put(f"{key}{number}")) for key in "ab"]  # noqa: B023
            wait_until(lambda: bool(ended) or len(tree._combining._waiting) == 2)
            tree.rollback(change)

        def lead(number: int = number, ended: list[bool] = ended) -> bool:
            try:
                return interrupted_at(number, ENGINE, partial(tree.change, put(f"leader {number}")))
            finally:
                ended.append(True)

        asking = threads.submit(ask)
        was_interrupted = lead() if thread == "main" else threads.submit(lead).result(PATIENCE_SECONDS)
        asking.result(PATIENCE_SECONDS)
        assert all(each.result(PATIENCE_SECONDS) for each in asked)
        if not was_interrupted:
            break
        assert threads.submit(tree.change, put(f"after {number}")).result(PATIENCE_SECONDS)
    assert number > 100
    assert tree.read(lambda reader: reader.values["count"]) == len(keys(tree))


def test_a_waiter_that_is_interrupted_anywhere_leaves_nothing_behind(tree: Tree, threads: ThreadPoolExecutor) -> None:
    for number in range(1000):
        change = tree.begin()
        leading = threads.submit(tree.change, put(f"leader {number}"))
        wait_until(lambda: tree._combining._leader is not None)
        waiting = threads.submit(interrupted_at, number, ENGINE, partial(tree.change, put(f"waiter {number}")))
        wait_until(lambda: waiting.done() or len(tree._combining._waiting) == 1)  # noqa: B023
        is_gone = waiting.done()
        tree.rollback(change)
        assert leading.result(PATIENCE_SECONDS)
        if not waiting.result(PATIENCE_SECONDS):
            break
        assert (f"waiter {number}" not in keys(tree)) or not is_gone
        assert not tree._combining._waiting
    assert number > 5


def test_who_waits_behind_a_long_change_goes_in_time(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    tree = Tree(str(tmp_path / "store"), LAYOUT, lock_timeout_seconds=0.3)
    may_end = threading.Event()

    def be_long(change: Change) -> str:
        assert may_end.wait(PATIENCE_SECONDS)
        return put("long")(change)

    change, asked = ask_while_locked(tree, threads, [put("a"), be_long, put("b")])
    tree.rollback(change)
    with pytest.raises(StoreBusyError):
        asked[2].result(PATIENCE_SECONDS)
    may_end.set()
    assert [each.result(PATIENCE_SECONDS) for each in asked[:2]] == ["a is 1", "long is 2"]
    assert keys(tree) == ["a", "long"]
    tree.close()


def test_a_change_that_was_cut_off_behind_its_record_is_seen_by_the_next(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(key: str) -> None:
        change = tree.next_change(is_first=key == "a")
        put(key)(change)
        tree.stage(change)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    tree._change_lock.acquire()
    stage("a")
    tree.next_change(is_first=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tree._staged._layer, "apply", interrupt)
        stage("b")
    with pytest.raises(KeyError):
        stage("b")
    stage("c")
    tree._change_lock.release()
    tree.await_shown(tree.newest_staged())
    assert keys(tree) == ["a", "b", "c"]


def test_a_handle_that_is_closed_meanwhile_says_so_to_all(tree: Tree, threads: ThreadPoolExecutor) -> None:
    change, asked = ask_while_locked(tree, threads, [put("a"), put("b"), put("c")])
    closing = threads.submit(tree.close)
    wait_until(lambda: tree.closed)
    tree.rollback(change)
    closing.result(PATIENCE_SECONDS)
    for each in asked:
        with pytest.raises(StoreClosedError):
            each.result(PATIENCE_SECONDS)


def test_many_threads_and_transactions_lose_nothing(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    trees = [Tree(str(tmp_path / "store"), LAYOUT, journal_bytes=32768, segment_bytes=512) for _ in range(2)]

    def work(number: int) -> None:
        tree = trees[number % 2]
        for turn in range(25):
            if turn % 7 == 3:
                change = tree.begin()
                put(f"t{number}-{turn}")(change)
                tree.commit(change)
            elif turn % 7 == 5:
                with pytest.raises(KeyError):
                    tree.change(put(f"k{number}-{turn - 1}"))
            else:
                assert tree.change(put(f"k{number}-{turn}")).startswith(f"k{number}-{turn} is ")

    for each in [threads.submit(work, number) for number in range(12)]:
        each.result(PATIENCE_SECONDS)
    stored = keys(trees[1])
    assert trees[0].read(lambda reader: reader.values["count"]) == len(stored) == 12 * 22
    for tree in trees:
        tree.close()
    again = Tree(str(tmp_path / "store"), LAYOUT)
    assert keys(again) == stored
    again.close()


def test_the_main_thread_does_its_own_only(tree: Tree, threads: ThreadPoolExecutor) -> None:
    """Ctrl-C comes to it, and ends what it is doing."""
    done_by: set[int] = set()
    asked: list[Future[str]] = []

    def noting(change: Change) -> str:
        done_by.add(threading.get_ident())
        return put(f"k{len(keys(tree))}-{change.values.get('count', 0)}")(change)

    def own(change: Change) -> str:
        for number in range(4):
            asked.append(threads.submit(tree.change, noting))
            wait_until(lambda number=number: len(tree._combining._waiting) == number + 1)  # type: ignore[misc]
        return put("own")(change)

    assert threading.current_thread() is threading.main_thread()
    assert tree.change(own) == "own is 1"
    assert sorted(each.result(PATIENCE_SECONDS)[-1] for each in asked) == ["2", "3", "4", "5"]
    assert threading.get_ident() not in done_by
    assert len(done_by) == 1


def change_at_once(tree: Tree, key: str) -> None:
    tree.change(put(key))


def change_in_a_transaction(tree: Tree, key: str) -> None:
    change = tree.begin()
    try:
        put(key)(change)
    except BaseException:
        tree.rollback(change)
        raise
    tree.commit(change)


@pytest.mark.parametrize("way", [change_at_once, change_in_a_transaction])
def test_an_interrupt_leaves_no_lock_taken(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, way: Callable[[Tree, str], None]
) -> None:
    """Behind whichever call to the system it comes: afterwards everything goes on at once."""
    disk = disk_of(tree)
    left = 0

    def interrupting(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            result = method(*arguments, **options)
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return result

        return call

    for name in ("pread", "pwrite", "kind", "flush", "create", "try_lock", "unlock", "rename"):
        monkeypatch.setattr(disk, name, interrupting(getattr(disk, name)))
    number = 0
    while left <= 0:  # until a change takes fewer calls than that
        number += 1
        left = number
        with contextlib.suppress(KeyboardInterrupt):
            way(tree, f"k{number}")
        unused, left = left, 0
        for lock in (tree._change_lock, tree._flush_lock):
            assert lock.try_acquire(), f"after an interrupt behind call {number}"
            lock.release()
        assert tree._combining._leader is None
        tree.change(put(f"after{number}"))
        left = unused
    left = 0
    assert number > 15
    assert f"after{number}" in keys(tree)
