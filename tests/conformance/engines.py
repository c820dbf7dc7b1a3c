"""The engines that the suite is run on, and how to bring another: ``pytest tests/conformance --engine module:factory``.

A factory is given a folder, new for each test, and returns a `Place`, where the stores of this test are. It may use the
folder, or make a prefix, a database or a namespace of its name. All names of one place are different stores, and each
name stays the same one for all who open it.
"""

from __future__ import annotations

import hashlib
import importlib
from functools import partial
from typing import TYPE_CHECKING, Protocol

from execstore.memory.content import Content
from execstore.memory.engine import MemoryEngine
from execstore.tree_engine import open_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execstore.engine import Engine, EngineOptions
    from execstore.tree_engine import TreeEngine

__all__ = ["BUILT_IN", "SEGMENT_BYTES", "EtcdPlace", "MemoryPlace", "Place", "TreePlace", "load_factory"]

# A few changes fill them, so that the journal and the log's segment change in nearly every test.
JOURNAL_BYTES = 12288
SEGMENT_BYTES = 4096

BUILT_IN = ("tree", "memory", "etcd")


class Place(Protocol):
    """Where the stores of one test are."""

    def open(self, name: str, options: EngineOptions, *, small: bool = True) -> Engine:
        """Open the store of this name, or make it; see ``execstore.engine``.

        ``small``: with segments of some KB, if the engine can, so that many come and go in a short test.
        """

    def address(self, name: str) -> str | None:
        """What another process opens this store by (`execstore.connect`); ``None``: no other process can."""


class TreePlace:
    """Stores in folders below one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str, options: EngineOptions, *, small: bool = True) -> TreeEngine:
        path = str(self._folder / name)
        if small:
            return open_tree(path, options, journal_bytes=JOURNAL_BYTES, segment_bytes=SEGMENT_BYTES)
        return open_tree(path, options)

    def address(self, name: str) -> str:
        return str(self._folder / name)


class MemoryPlace:
    """Stores in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents: dict[str, Content] = {}

    def open(self, name: str, options: EngineOptions, *, small: bool = True) -> MemoryEngine:
        if name not in self._contents and options.read_only:
            from execstore.errors import StoreNotFoundError

            raise StoreNotFoundError(f"memory:{name}")
        content = self._contents.get(name)
        if content is None:
            content = self._contents[name] = Content(f"memory:{name}", *([SEGMENT_BYTES] if small else []))
        return MemoryEngine(content, options)

    def address(self, name: str) -> None:
        return None


class EtcdPlace:
    """Stores in etcd, below a prefix for each test."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._base = f"etcd://{endpoint}/{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"

    def open(self, name: str, options: EngineOptions, *, small: bool = True) -> Engine:
        from execstore.etcd.address import EtcdAddress
        from execstore.etcd.engine import EtcdEngine

        return EtcdEngine(EtcdAddress.parse(self.address(name)), options, *([SEGMENT_BYTES] if small else []))

    def address(self, name: str) -> str:
        return f"{self._base}/{name}"


def load_factory(name: str, etcd_endpoint: Callable[[], str]) -> Callable[[Path], Place]:
    """The factory of a built-in engine, or the one at ``package.module:factory``."""
    if name == "tree":
        return TreePlace
    if name == "memory":
        return MemoryPlace
    if name == "etcd":
        return partial(EtcdPlace, etcd_endpoint())
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ValueError(f"--engine {name}: write one of {', '.join(BUILT_IN)}, or package.module:factory")
    factory: Callable[[Path], Place] = getattr(importlib.import_module(module), attribute)
    return factory
