"""The contenders: each does the same work on its own store."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from execstore.bench.workloads import DOCUMENT_PATH

if TYPE_CHECKING:
    from execstore.bench.adapters.base import Adapter

__all__ = ["CONTENDERS", "adapter_class", "command_line", "environment", "has", "shares"]

_CLASSES: Final = {
    "execstore": ("execstore.bench.adapters.execstore_", "ExecstoreAdapter"),
    "relaxed": ("execstore.bench.adapters.execstore_", "RelaxedAdapter"),
    "sqlite": ("execstore.bench.adapters.sqlite", "SqliteAdapter"),
    "lmdb": ("execstore.bench.adapters.lmdb_", "LmdbAdapter"),
    "diskcache": ("execstore.bench.adapters.diskcache_", "DiskcacheAdapter"),
    "files": ("execstore.bench.adapters.files", "FilesAdapter"),
    "floor": ("execstore.bench.adapters.floor", "FloorAdapter"),
}
CONTENDERS: Final = ("execstore", "bbolt", "sqlite", "lmdb", "diskcache", "files", "floor", "relaxed")
"""Their names, in the order of the table."""


def adapter_class(name: str) -> type[Adapter]:
    """The class of one that is written in Python."""
    module, class_name = _CLASSES[name]
    found: type[Adapter] = getattr(importlib.import_module(module), class_name)
    return found


def command_line(name: str, folder: str) -> list[str]:
    """How its process is started. Raises `Unavailable`."""
    if name == "bbolt":
        from execstore.bench.adapters.bbolt import build  # noqa: PLC0415 - builds it

        return [build(), folder, DOCUMENT_PATH]
    return [sys.executable, "-P", "-m", "execstore.bench.worker", name, folder]


def environment() -> dict[str, str]:
    """With this very package in the search path, wherever it lies."""
    package_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": search_path}


def shares(name: str) -> bool:
    """Whether several processes may use one store of its kind at once."""
    return name != "bbolt" and adapter_class(name).shares


def has(name: str, operation: str) -> bool:
    """Whether it has this operation."""
    only = None if name == "bbolt" else adapter_class(name).only
    return only is None or operation in only
