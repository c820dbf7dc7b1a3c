"""What only the engine in memory has: names, an end, and no life outside of its process."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from execstore import Store, connect
from execstore.errors import (
    ExecutionNotFoundError,
    InvalidArgumentError,
    StoreBusyError,
    StoreNotFoundError,
    UnsupportedOperationError,
)
from execstore.memory import MemoryEngine, forget
from tests.support import in_child, make_event, make_execution


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """No test finds what another left."""
    forget("shared")


def test_each_unnamed_store_is_another() -> None:
    with connect("memory:") as first, connect("memory:") as second:
        first.create_execution(make_execution())
        with pytest.raises(ExecutionNotFoundError):
            second.get_execution("e1")
        assert first.path == "memory:"
        assert isinstance(first.engine(), MemoryEngine)


def test_an_unnamed_store_is_gone_with_its_handle() -> None:
    store = connect("memory:")
    content = weakref.ref(store.engine()._content)  # type: ignore[attr-defined]
    store.close()
    del store
    gc.collect()
    assert content() is None


def test_a_named_store_is_one_for_all_of_the_process() -> None:
    with connect("memory:shared") as first, connect("memory:shared") as second:
        first.create_execution(make_execution(), make_event("a"))
        assert second.get_execution("e1") == first.get_execution("e1")
        assert second.event_store.get_latest_event_num() == 2
    with connect("memory:shared", read_only=True) as again:
        assert again.get_execution("e1").revision == 1


def test_a_forgotten_store_stays_with_who_has_it() -> None:
    with connect("memory:shared") as old:
        old.create_execution(make_execution())
        forget("shared")
        forget("shared")
        with connect("memory:shared") as new:
            assert list(new.list_executions()) == []
        assert old.get_execution("e1").revision == 1


@pytest.mark.parametrize("address", ["memory:", "memory:shared"])
def test_a_reader_makes_none(address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="no such store in this process"):
        connect(address, read_only=True)


@pytest.mark.parametrize("address", ["memory://shared", "memory:/shared", "memory:shared?size=3"])
def test_a_name_that_looks_like_a_mistake(address: str) -> None:
    with pytest.raises(InvalidArgumentError, match="write memory: or memory:name"):
        connect(address)


def test_a_name_may_be_nearly_anything() -> None:
    name = "a b/c:Ü"
    with connect(f"memory:{name}") as store:
        store.create_execution(make_execution())
    with connect(f"memory:{name}") as store:
        assert store.get_execution("e1").revision == 1
    forget(name)


def test_a_forked_child_is_told_that_it_has_no_share_in_it() -> None:
    with connect("memory:shared") as store:
        store.create_execution(make_execution())
        told = in_child(lambda: store.get_execution("e1"))
        assert told.startswith("UnsupportedOperationError: sharing with a forked child is only for a store in a folder")
        assert in_child(store.close) == "None"
        assert in_child(lambda: list(connect("memory:shared").list_executions())) == "[]", "its own, and empty"
        assert store.get_execution("e1").revision == 1


def test_a_child_of_a_transaction_holds_nobody_up() -> None:
    with connect("memory:shared") as store:
        with store.begin_tx() as transaction:
            transaction.create_execution(make_execution())
            assert in_child(lambda: connect("memory:shared").counts() and "its own") == "its own"
        assert store.get_execution("e1").revision == 1


def test_who_waits_for_too_long_is_told_who_writes() -> None:
    with connect("memory:shared") as store, connect("memory:shared", lock_timeout=0.01) as other:
        transaction = store.begin_tx()
        with pytest.raises(StoreBusyError, match=r"has held its lock for 0\.01 s"):
            other.create_execution(make_execution())
        transaction.rollback()
        assert other.create_execution(make_execution()).revision == 1


def test_a_closed_handle_lets_go_of_its_transaction() -> None:
    store = connect("memory:shared")
    store.begin_tx().create_execution(make_execution())
    store.close()
    with connect("memory:shared", lock_timeout=0) as other:
        assert other.create_execution(make_execution()).revision == 1


def test_readers_see_whole_changes() -> None:
    """A reader never finds one of two executions that come and go together."""
    with connect("memory:shared") as store, connect("memory:shared", read_only=True) as reading:
        done = threading.Event()
        torn: list[int] = []

        def read() -> None:
            while not done.is_set():
                number = len(reading.look(lambda reader: reader.record_names("executions")))
                if number not in {0, 2}:
                    torn.append(number)

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(100):
            with store.begin_tx() as transaction:
                transaction.create_execution(make_execution("e1"))
                transaction.create_execution(make_execution("e2"))
            with store.begin_tx() as transaction:
                transaction.delete_execution("e1")
                transaction.delete_execution("e2")
        done.set()
        thread.join()
        assert torn == []


@pytest.mark.parametrize("operation", ["backup", "repair"])
def test_what_it_cannot(operation: str) -> None:
    with connect("memory:") as store, pytest.raises(UnsupportedOperationError, match="copy it into one first"):
        store.backup("/nowhere/x.tar") if operation == "backup" else store.repair()
    assert isinstance(store, Store)
