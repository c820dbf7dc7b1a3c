"""Stores for tests. Whatever a test does to one, at its end the store is opened anew and must be without a fault."""

from __future__ import annotations

import functools
import signal
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from execstore import Store
from execstore.schema import LAYOUT
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.tree import Tree
from execstore.tree_engine import TreeEngine
from tests.support import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from execstore.tree.filesystem import FileSystem

SMALL_JOURNAL_BYTES = 12288
SMALL_SEGMENT_BYTES = 4096


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, and so would the processes that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class StoreFactory:
    """Opens stores below one folder, any number of handles each, and looks after them in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handles: list[Store] = []
        self._paths: list[Path] = []

    def __call__(
        self,
        name: str = "store",
        *,
        small: bool = True,
        file_system: Callable[[str], FileSystem] = RealFileSystem,
        **options: Any,
    ) -> Store:
        """A handle on the store of this name, which is made if it isn't there.

        A ``small`` one has a journal and log segments that soon are full, so that what happens then is in every test.
        """
        path = self.path(name)
        if small and not path.exists() and not options.get("read_only"):
            Tree(str(path), LAYOUT, journal_bytes=SMALL_JOURNAL_BYTES, segment_bytes=SMALL_SEGMENT_BYTES).close()
        engine = functools.partial(TreeEngine, file_system=file_system)
        if file_system is not RealFileSystem:
            # Who watches the calls wants them in one order.
            engine = functools.partial(engine, run_later=lambda job: job())
        # How a store comes to its file system is its own business; only tests give it another.
        with mock.patch("execstore.tree_engine.TreeEngine", engine):
            store = Store(path, **options)
        self._handles.append(store)
        return store

    def path(self, name: str = "store") -> Path:
        """Where the store of this name is; one that is there in the end is verified."""
        path = self.folder / name
        if path not in self._paths:
            self._paths.append(path)
        return path

    def finish(self) -> None:
        for handle in self._handles:
            handle.close()
        for path in self._paths:
            if (path / "FORMAT").exists():
                with Store(path) as store:
                    report = store.verify()
                    assert report.ok, report.problems


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[StoreFactory]:
    """Opens handles: ``open_store()``, ``open_store("other", read_only=True)``."""
    factory = StoreFactory(tmp_path)
    yield factory
    factory.finish()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(open_store: StoreFactory, clock: FakeClock) -> Store:
    """An empty store with a clock that stands still."""
    return open_store(clock=clock, long_poll_timeout=0.05)
