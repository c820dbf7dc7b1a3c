"""The watchers of one program: created under an ID, found again by it, and stopped together."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from execstore.errors import NoHandlerError, WatcherAlreadyExistsError, WatcherNotFoundError
from execstore.watcher.events import EventFilter, EventIterator
from execstore.watcher.options import CompactionStrategy, RetryStrategy, WatcherOptions
from execstore.watcher.watcher import Watcher

if TYPE_CHECKING:
    from types import TracebackType

    from execstore.watcher.event_store import EventStore
    from execstore.watcher.options import Handler

__all__ = ["WatcherManager"]

_EVERYTHING: Final = EventFilter()
_FROM_THE_OLDEST: Final = EventIterator.trim_horizon()

_logger = logging.getLogger("execstore.watcher")


class WatcherManager:
    """Keeps watchers by ID. As a context manager it stops them all at its end. Usable from any thread."""

    def __init__(self, event_store: EventStore) -> None:
        self._event_store = event_store
        self._lock = threading.Lock()
        self._watchers: dict[str, Watcher] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def create(
        self,
        watcher_id: str,
        *,
        handler: Handler | None = None,
        filter: EventFilter = _EVERYTHING,  # noqa: A002 - the public name
        initial_event_iterator: EventIterator = _FROM_THE_OLDEST,
        batch_size: int = 100,
        initial_backoff: float = 0.2,
        max_backoff: float = 180.0,
        max_retries: int | None = None,
        retry_strategy: RetryStrategy = RetryStrategy.BLOCK,
        auto_start: bool = False,
        ephemeral: bool = False,
        on_compacted: CompactionStrategy = CompactionStrategy.STOP,
    ) -> Watcher:
        """Make a watcher, and start it if ``auto_start``. See ``Watcher`` for what its handler may rely on.

        Args:
            handler: a callable that takes an ``Event``, or an object with ``handle_event``; can be set later.
            filter: the events it is given.
            initial_event_iterator: where it starts as long as it has no checkpoint.
            batch_size: how many events it reads at once.
            initial_backoff: seconds until a failed event is tried again; doubled after each further failure.
            max_backoff: the most seconds between two tries.
            max_retries: with ``RetryStrategy.SKIP``, how many times in all an event is tried before it is passed over
                (the reference counts so; 0 is taken as 1); ``None`` is without end. ``RetryStrategy.BLOCK`` has no use
                for it.
            retry_strategy: what becomes of an event whose handler keeps raising.
            ephemeral: it neither reads nor stores checkpoints, and holds no event in the log.
            on_compacted: what it does when events it hasn't seen were collected.

        Raises:
            WatcherAlreadyExistsError: if the manager has one of this ID, running or not.
            NoHandlerError: for ``auto_start`` without a handler.
            InvalidArgumentError: for values that make no sense.
            StoreClosedError: if the event store is closed.
        """
        options = WatcherOptions(
            filter=filter,
            initial_event_iterator=initial_event_iterator,
            batch_size=batch_size,
            initial_backoff=initial_backoff,
            max_backoff=max_backoff,
            max_retries=max_retries,
            retry_strategy=retry_strategy,
            ephemeral=ephemeral,
            on_compacted=on_compacted,
        )
        if auto_start and handler is None:
            raise NoHandlerError(watcher_id)
        with self._lock:
            if watcher_id in self._watchers:
                raise WatcherAlreadyExistsError(watcher_id)
            watcher = Watcher(watcher_id, self._event_store, handler=handler, options=options)
            if auto_start:
                watcher.start()
            self._watchers[watcher_id] = watcher
        return watcher

    def lookup(self, watcher_id: str) -> Watcher:
        """The watcher of this ID, in whatever state. Raises ``WatcherNotFoundError``."""
        with self._lock:
            watcher = self._watchers.get(watcher_id)
        if watcher is None:
            raise WatcherNotFoundError(watcher_id)
        return watcher

    def watchers(self) -> list[Watcher]:
        """All of them, in the order of their creation."""
        with self._lock:
            return list(self._watchers.values())

    def remove(self, watcher_id: str, timeout: float = 30.0) -> bool:
        """Stop a watcher and forget it, so that its ID is free; its stored checkpoint stays.

        Returns ``False``, and keeps it, if its handler doesn't return within ``timeout`` seconds. Raises
        ``WatcherNotFoundError``.
        """
        watcher = self.lookup(watcher_id)
        if not watcher.stop(timeout):
            return False
        with self._lock:
            if self._watchers.get(watcher_id) is watcher:
                del self._watchers[watcher_id]
        return True

    def list_checkpoints(self) -> dict[str, int]:
        """All checkpoints in the store by watcher ID, also of watchers that nobody runs; see ``EventStore``."""
        return self._event_store.list_checkpoints()

    def remove_checkpoint(self, watcher_id: str) -> None:
        """Forget a stored checkpoint, so that it holds the log no longer. Raises ``CheckpointNotFoundError``."""
        self._event_store.remove_checkpoint(watcher_id)

    def stop(self, timeout: float = 30.0) -> bool:
        """Stop all watchers at once; return whether all have ended within ``timeout`` seconds, one deadline for all.

        Those whose handlers are still at work then are named in the log; they end when these return. They can be
        looked up, and started again.
        """
        deadline = time.monotonic() + timeout
        watchers = self.watchers()
        for watcher in watchers:
            watcher.request_stop()
        late = [watcher.id for watcher in watchers if not watcher.stop(max(deadline - time.monotonic(), 0))]
        if late:
            _logger.warning("after %g s the handlers of these watchers are still at work: %s", timeout, ", ".join(late))
        return not late
