"""Stores for a test, below one folder, checked in the end."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from execstore.errors import StoreNotFoundError
from execstore.store import Store
from execstore.testing.faults import Faults, ProcessDied
from execstore.tree_engine import open_tree

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, Unpack

    from execstore.engine import EngineOptions
    from execstore.store import StoreOptions
    from execstore.testing.clock import FakeClock
    from execstore.tree_engine import TreeEngine

__all__ = ["TemporaryStores"]


class TemporaryStores:
    """Opens stores below one folder, any number of handles on each: ``stores()``, ``stores("other", read_only=True)``.

    As a context manager it closes them in the end, and verifies every store: opened anew, as the next process would,
    each must be without a fault, whatever the test did to it.

    Args:
        folder: where the stores are; it must exist. It isn't removed.
        clock: the clock of each store that is given none.
        faults: what goes wrong for each handle; nothing does at first.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, clock: FakeClock | None = None, faults: Faults | None = None
    ) -> None:
        self.folder = os.fspath(folder)
        self.clock = clock
        self.faults = Faults() if faults is None else faults
        self._handles: list[Store] = []
        self._names: dict[str, None] = {}

    def __call__(self, name: str = "store", **options: Unpack[StoreOptions]) -> Store:
        """A handle on the store of this name, which is made if it isn't there; ``options`` are those of ``Store``."""
        if self.clock is not None:
            options.setdefault("clock", self.clock)
        path = self.path(name)
        store = Store.on(lambda asked: self._open(path, asked), **options)
        self._handles.append(store)
        return store

    def _open(self, path: str, asked: EngineOptions) -> TreeEngine:
        return open_tree(path, asked, file_system=self.faults.file_system)

    def path(self, name: str = "store") -> str:
        """The folder of the store of this name, for a program that opens it itself; it is verified as the others."""
        self._names[name] = None
        return os.path.join(self.folder, name)

    def finish(self) -> None:
        """Close all handles, with nothing going wrong any more, and verify every store.

        Raises:
            AssertionError: a store isn't whole; it names each problem.
        """
        self.faults.clear()
        for handle in self._handles:
            with contextlib.suppress(ProcessDied):
                handle.close()
        problems: list[str] = []
        for name in self._names:
            path = self.path(name)
            with contextlib.suppress(StoreNotFoundError):
                Store(path, read_only=True).close()  # so that none is made
                with Store(path) as store:
                    found = store.verify().problems
                problems += [f"{path}/{problem.path}: {problem.reason} ({problem.kind})" for problem in found]
        if problems:
            raise AssertionError("in the end a store isn't whole: " + "; ".join(problems))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()
