"""Where scratch folders are made, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from execstore.explain.scratch import build, recover

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from execstore.explain.recording import Item
    from execstore.explain.scratch import Recovered

__all__ = ["Place", "open_place"]

_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - private folders are made in it


@dataclass(slots=True)
class Place:
    """Where scratch folders are made: the store in ``folder``, what is soon thrown away in ``spare``.

    ``keep``: each cut stays in ``folder`` as it was found.
    """

    folder: str
    spare: str
    keep: bool = False
    made: int = 0

    @property
    def store(self) -> str:
        """The scratch store."""
        return os.path.join(self.folder, "store")

    def new(self, name: str) -> str:
        """The path of a new folder."""
        self.made += 1
        return os.path.join(self.spare, f".{self.made}-{name}")

    def recover(self, files: Mapping[str, Item], name: str) -> Recovered:
        """Build what a cut left, and open it as a store."""
        if self.keep:
            build(os.path.join(self.folder, "cuts", name), files)
        path = self.new("cut")
        build(path, files)
        try:
            return recover(path)
        finally:
            shutil.rmtree(path)


@contextlib.contextmanager
def open_place(keep: str | None = None) -> Iterator[Place]:
    """A place that is gone in the end, but for the folder ``keep``, which is made.

    What a cut left needs no real disk any more, so it is in memory where that can be had. The store is where others
    are: its flushes are real.
    """
    memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with contextlib.ExitStack() as stack:
        spare = stack.enter_context(tempfile.TemporaryDirectory(prefix="execstore-explain-", dir=memory))
        if keep is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="execstore-explain-"))
        else:
            folder = keep
            os.makedirs(folder, mode=0o700, exist_ok=True)
        yield Place(folder, spare, keep is not None)
