"""Locks between threads and handles (which are to each other what processes are)."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from execstore.errors import StoreBusyError
from execstore.tree import lock, posix
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.lock import Handles, Lock
from tests.support import interrupted_at

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fs(tmp_path: Path) -> RealFileSystem:
    fs = RealFileSystem(str(tmp_path))
    for name in ("lock", "lock.handles"):
        fs.create(name, b"")
    return fs


def _lock(fs: RealFileSystem, timeout_seconds: float = 0.05) -> Lock:
    return Lock(fs, "lock", fs.root, timeout_seconds, write=True)


def test_one_holder_among_handles(fs: RealFileSystem) -> None:
    mine, others = _lock(fs), _lock(fs)
    with mine.held(), pytest.raises(StoreBusyError) as caught:
        others.acquire()
    assert caught.value.holder_pid == os.getpid()
    assert caught.value.timeout_seconds == 0.05
    assert not caught.value.outcome_open
    others.acquire()
    others.release()


def test_one_holder_among_threads(fs: RealFileSystem) -> None:
    contended = _lock(fs)
    failures: list[BaseException] = []

    def other() -> None:
        try:
            contended.acquire()
        except StoreBusyError as error:
            failures.append(error)

    with contended.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(failures) == 1


def test_trying_never_waits(fs: RealFileSystem) -> None:
    mine, others = _lock(fs, 1000), _lock(fs, 1000)
    assert mine.try_acquire()
    assert not mine.try_acquire()
    assert not others.try_acquire()
    mine.release()
    assert others.try_acquire()
    others.release()


def test_a_waiter_gets_it_once_it_is_free(fs: RealFileSystem) -> None:
    mine, others = _lock(fs), _lock(fs, 60)
    mine.acquire()
    got = threading.Event()

    def wait() -> None:
        with others.held():
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.is_set()
    mine.release()
    thread.join()
    assert got.is_set()


@pytest.mark.parametrize("is_contended", [False, True])
@pytest.mark.parametrize("method", ["held", "acquire", "acquire_unless", "try_acquire"])
def test_who_is_interrupted_anywhere_leaves_it_free(fs: RealFileSystem, method: str, is_contended: bool) -> None:
    mine, others = _lock(fs, 60), _lock(fs)
    attempt = object()

    def take_and_release() -> None:
        if method == "held":
            with mine.held():
                return
        try:
            if method == "acquire":
                mine.acquire(attempt=attempt)
            elif method == "acquire_unless":
                mine.acquire_unless(lambda: False, attempt)
            else:
                mine.try_acquire(attempt)
            mine.release(attempt)
        except BaseException:
            mine.release(attempt)
            raise

    for number in range(100):
        if is_contended:
            mine.acquire()
            freeing = threading.Timer(0.002, mine.release)
            freeing.start()
        is_interrupted = interrupted_at(number, (lock, posix), take_and_release)
        if is_contended:
            freeing.join()
        assert others.try_acquire(), "no other process could have it"
        others.release()
        assert mine.try_acquire(), "no other thread could have it"
        mine.release()
        assert not mine._waiting
        if not is_interrupted:
            break
    assert number > 2


def test_the_last_handle_knows_that_it_is(fs: RealFileSystem) -> None:
    first, second = Handles(fs, write=True), Handles(fs, write=True)
    assert first.are_none()
    first.join()
    assert first.are_none(), "one is not another to oneself"
    assert not second.are_none()
    second.join()
    assert not first.are_none()
    first.leave()
    assert second.are_none()
    assert not first.are_none()


def test_asking_does_not_end_ones_own_membership(fs: RealFileSystem) -> None:
    first, second = Handles(fs, write=True), Handles(fs, write=True)
    first.join()
    second.join()
    assert not first.are_none()
    assert not second.are_none()
    second.leave()
    assert first.are_none()
    assert not Handles(fs, write=True).are_none()


def test_a_readers_handle_can_ask(fs: RealFileSystem) -> None:
    writer = Handles(fs, write=True)
    reader = Handles(fs, write=False)
    assert reader.are_none()
    writer.join()
    assert not reader.are_none()


@pytest.mark.parametrize("is_others", [False, True])
def test_an_interrupt_while_waiting_takes_nothing_from_its_holder(fs: RealFileSystem, is_others: bool) -> None:
    lock = _lock(fs, 60)
    holder = _lock(fs) if is_others else lock
    asked = 0

    def interrupt() -> bool:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise KeyboardInterrupt
        return False

    with holder.held():
        with pytest.raises(KeyboardInterrupt):
            lock.acquire_unless(interrupt)
        assert lock._waiting == {}
        assert not _lock(fs).try_acquire()
    assert lock.acquire_unless(lambda: False)
    lock.release()
