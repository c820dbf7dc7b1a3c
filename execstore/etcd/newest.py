"""The newest head that anything told this handle of: its own commits, its reads, a watch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execstore.etcd.head import Head

__all__ = ["Newest"]


class Newest:
    """Keeps the newest of the heads it is told of. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.head: Head | None = None

    def learn(self, head: Head) -> None:
        with self._lock:
            if self.head is None or head.revision > self.head.revision:
                self.head = head
