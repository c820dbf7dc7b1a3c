"""Reading the next lines of a node's log, and working out what they come to, while those before are being committed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from execstore.forwarding.batch import Batch, make_batch

if TYPE_CHECKING:
    from concurrent.futures import Future

    from execstore.forwarding.batch import Rules
    from execstore.forwarding.source import Piece, Source

__all__ = ["Ahead", "Prepared"]


class Prepared(NamedTuple):
    """Lines of the log, and what they come to."""

    piece: Piece
    batch: Batch


class Ahead:
    """Has the next batch ready. One thread; no more than one batch is held beside the one in hand."""

    def __init__(self, source: Source, rules: Rules) -> None:
        self._source = source
        self._rules = rules
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="execstore-forward")
        self._next: tuple[int, int, Future[Prepared]] | None = None

    def take(self, first: int, maximum: int, maximum_bytes: int) -> Prepared:
        """The batch that begins with the event ``first``, and goes on with the one behind it, if there is one.

        Raises:
            what `Source.read` and `make_batch` do.
        """
        found, self._next = self._next, None
        if found is not None and found[0] == first and found[1] <= maximum:
            prepared = found[2].result()
        else:
            prepared = self._prepare(first, maximum, maximum_bytes)
        lines = prepared.piece.lines
        if lines and lines[-1][0] < prepared.piece.latest:
            behind = lines[-1][0] + 1
            self._next = behind, maximum, self._pool.submit(self._prepare, behind, maximum, maximum_bytes)
        return prepared

    def close(self) -> None:
        """End the thread."""
        self._next = None
        self._pool.shutdown(cancel_futures=True)

    def _prepare(self, first: int, maximum: int, maximum_bytes: int) -> Prepared:
        piece = self._source.read(first, maximum, maximum_bytes)
        return Prepared(piece, make_batch(piece.lines, self._rules))
