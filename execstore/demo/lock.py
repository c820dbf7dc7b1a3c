"""One node at a time on a store: two would take each other's live executions for those of a dead one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import lock_descriptor, unlock_descriptor

from execstore.errors import ExecStoreError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NodeBusyError", "node_lock"]


class NodeBusyError(StoreBusyError):
    """Another node works on this store."""

    def __init__(self, path: str) -> None:
        # Not StoreBusyError's own sentence: the store can be used by anybody, just not by a second node.
        ExecStoreError.__init__(
            self, f"another 'execstore demo' is running on {path}; wait for it, stop it, or give another DIR"
        )
        self.path = path
        self.timeout_seconds = 0.0
        self.holder_pid = None
        self.holder_command = ""


@contextmanager
def node_lock(path: str) -> Iterator[None]:
    """Hold the right to be the node of the store at ``path``, which must be there.

    The lock is on the folder itself, so nothing is added to the store, and the kernel gives it back when the process
    dies.

    Raises:
        NodeBusyError: if another process has it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # type: ignore[attr-defined, unused-ignore]
    try:
        if not lock_descriptor(descriptor, blocking=False):
            raise NodeBusyError(path)
        try:
            yield
        finally:
            unlock_descriptor(descriptor)
    finally:
        os.close(descriptor)
