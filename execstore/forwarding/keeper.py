"""The forwarder's checkpoint on its node: a watcher's, so that the log keeps what is still to be brought."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from execstore.errors import StoreBusyError, StoreFullError, StoreReadOnlyError

if TYPE_CHECKING:
    from execstore.store import Store

__all__ = ["Keeper"]

_LOG = logging.getLogger("execstore")
_INTERVAL_SECONDS: Final = 1.0


class Keeper:
    """Stores the checkpoint, seldom, since each time is a commit. ``watcher_id`` is "" until it has a name."""

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node
        self._kept: int | None = None
        self._kept_at = 0.0
        self.watcher_id = ""

    @property
    def kept(self) -> int:
        """The number that was stored last, 0 if none was."""
        return self._kept or 0

    def keep(self, number: int, *, at_once: bool = False) -> None:
        """Note that the events up to a number are done."""
        now = time.monotonic()
        is_due = at_once or now - self._kept_at >= _INTERVAL_SECONDS
        if not self.watcher_id or not is_due or number == self._kept or self._store.read_only:
            return
        self._kept_at = now
        try:
            self._store.event_store.store_checkpoint(self.watcher_id, number)
            self._kept = number
        except (StoreReadOnlyError, StoreFullError, StoreBusyError) as error:
            # A node whose disk is full is the last one that should keep what it knows to itself.
            _LOG.warning("node %s: its checkpoint can't be stored now: %s", self._node, error)
