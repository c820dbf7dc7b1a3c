"""A handle on a store in memory. See ``engine.Engine``."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from execstore.errors import (
    InvalidArgumentError,
    StoreBusyError,
    StoreClosedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    UnsupportedOperationError,
)
from execstore.memory.change import MemoryChange, MemoryReader
from execstore.memory.content import Content
from execstore.notify import SAFETY_SECONDS, PollingNotifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from execstore.engine import EngineOptions

__all__ = ["MemoryEngine", "forget", "open_engine"]

_T = TypeVar("_T")

_SCHEME: Final = "memory:"
_COPY: Final = "copy it into one first"

# By process, too: a forked child inherits the names, and what they name may be in the middle of a change for ever.
_named: dict[tuple[int, str], Content] = {}


def open_engine(address: str, options: EngineOptions) -> MemoryEngine:
    """Open ``memory:``, which is new each time, or ``memory:name``.

    Raises:
        StoreNotFoundError: ``options.read_only``, and there is no store of this name.
        InvalidArgumentError: the name looks like a mistake.
    """
    name = address[len(_SCHEME) :]
    if name.startswith("/") or "?" in name:
        raise InvalidArgumentError("address", f"{address}: write memory: or memory:name, without / in front or a ?")
    content = _named.get((os.getpid(), name)) if name else None
    if content is None:
        if options.read_only:
            raise StoreNotFoundError(address, "there is no such store in this process")
        content = Content(address)
        if name:
            content = _named.setdefault((os.getpid(), name), content)
    return MemoryEngine(content, options)


def forget(name: str) -> None:
    """Let go of ``memory:name``: whoever opens it next gets an empty store. Handles on the old one keep it."""
    _named.pop((os.getpid(), name), None)


class MemoryStatus(NamedTuple):
    """See ``engine.EngineStatus``."""

    transaction: int
    journal_bytes: int = 0
    journal_used_bytes: int = 0


class _Notifier(PollingNotifier):
    """Told by every change of the content, of whatever handle."""

    tells_own_changes = True

    def __init__(self, content: Content) -> None:
        super().__init__(SAFETY_SECONDS)
        self._content = content
        with content.lock:
            content.waiting.append(self.rouse)

    def close(self) -> None:
        with self._content.lock:
            if self.rouse in self._content.waiting:
                self._content.waiting.remove(self.rouse)


class MemoryEngine:
    """One handle. Writers wait for each other; who reads has the content for itself as long as the look lasts."""

    instead: Final[Mapping[str, str]] = {"backup": _COPY, "repair": _COPY}

    def __init__(self, content: Content, options: EngineOptions) -> None:
        self.path = content.path
        self.read_only = options.read_only
        self.process_id = os.getpid()
        self.closed = False
        self.on_change: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self.on_flush: Callable[[int], None] | None = None
        self._content = content
        self._options = options

    @property
    def segment_bytes(self) -> int:
        return self._content.segment_bytes

    @property
    def store_id(self) -> str:
        return self._content.store_id

    # --- reading ---

    def read(self, look: Callable[[MemoryReader], _T]) -> _T:
        self._check_open()
        with self._content.lock:
            return look(MemoryReader(self._content))

    def read_log(self, first: int, maximum: int) -> list[tuple[int, bytes]]:
        self._check_open()
        return self._content.read_log(first, maximum)

    def values(self) -> Mapping[str, Any]:
        return self.peek()

    def peek(self) -> Mapping[str, Any]:
        self._check_open()
        return self._content.values

    def open_notifier(self) -> _Notifier:
        return _Notifier(self._content)

    def status(self) -> MemoryStatus:
        self._check_open()
        return MemoryStatus(self._content.transaction)

    # --- changing ---

    def change(self, operation: Callable[[MemoryChange], _T]) -> _T:
        change = self.begin()
        try:
            result = operation(change)
        except BaseException:
            self.rollback(change)
            raise
        self.commit(change)
        return result

    def begin(self) -> MemoryChange:
        change = self._begin(min(self._options.timeout_seconds, threading.TIMEOUT_MAX))
        if change is None:
            raise StoreBusyError(self.path, self._options.timeout_seconds, self.process_id)
        return change

    def try_begin(self) -> MemoryChange | None:
        return self._begin(0.0)

    def _begin(self, timeout_seconds: float) -> MemoryChange | None:
        self._check_open()
        if self.read_only:
            raise StoreReadOnlyError(self.path)
        content = self._content
        if not content.writing.acquire(timeout=timeout_seconds):
            return None
        try:
            self._check_open()
            return MemoryChange(content, self._options.rotation(content.values).within(content.segment_bytes))
        except BaseException:
            content.writing.release()
            raise

    def commit(self, change: MemoryChange) -> None:
        try:
            if change.is_empty:
                return
            self._content.apply(change.outcome())
        finally:
            self._content.writing.release()
        if self.on_change is not None:
            self.on_change()

    def reject(self, change: MemoryChange) -> None:
        """What it has read is committed, so there is nothing to wait for."""
        self.rollback(change)

    def rollback(self, change: MemoryChange) -> None:  # noqa: ARG002
        self._content.writing.release()

    # --- life ---

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.on_close is not None:
            self.on_close()

    def abandon(self) -> None:
        remedy = "it lives in the process that made it; open another there, or a folder"
        raise UnsupportedOperationError(self.path, "sharing with a forked child", remedy)

    def _check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(self.path)
