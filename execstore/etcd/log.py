"""Reading the event log by numbers, a bounded part of it at a time.

etcd counts keys, not bytes, so a thousand events might be a gigabyte. Near the end of the log some lines are asked for
together with the head, which says whether they are the right ones. Far from it, the segments' beginnings are looked at
first: each segment has a bounded size, so that so many of them have, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.errors import StoreCorruptedError
from execstore.etcd.head import parse_head
from execstore.etcd.keys import end_of, number_of
from execstore.etcd.snapshot import Question
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from execstore.etcd.head import Head
    from execstore.etcd.keys import Keys
    from execstore.etcd.newest import Newest
    from execstore.etcd.snapshot import Snapshot
    from execstore.etcd.wire import KeyValue

__all__ = ["read_lines"]

_NEAR: Final = 64
_SEGMENTS: Final = 4
_MOST: Final = 2000


def read_lines(
    snapshot: Snapshot, keys: Keys, log: str, newest: Newest, path: str, first: int, maximum: int
) -> list[tuple[int, bytes]]:
    """Up to ``maximum`` lines with their numbers, from ``first`` on, or from the oldest there is.

    Raises:
        StoreCorruptedError: a line, or the head, is missing.
        CompactedError: it must be done again, with another snapshot.
    """
    end = end_of(keys.folder(log))
    head = Question(keys.head)
    known = newest.head
    if known is not None and LogState.of(known.values).latest - first < _NEAR:
        limit = min(maximum, _NEAR)
        heads, found = snapshot.ask_all((head, Question(keys.log_line(log, first), end, limit=limit)))
        state = LogState.of(_learned(heads, newest, path).values)
        if first >= state.oldest:
            return _numbered(found, keys, log, path, first, min(state.latest, first + limit - 1))
    begun_later = Question(keys.segment(first) + b"\0", end_of(keys.segments), keys_only=True, limit=_SEGMENTS)
    heads, begins = snapshot.ask_all((head, begun_later))
    state = LogState.of(_learned(heads, newest, path).values)
    first = max(first, state.oldest)
    last = min(state.latest, first + min(maximum, _MOST) - 1)
    if len(begins) == _SEGMENTS:
        try:
            last = min(last, number_of(begins[-1].key) - 1)
        except ValueError:
            shown = begins[-1].key.removeprefix(keys.root).decode(errors="replace")
            raise StoreCorruptedError(f"{path}/{shown}", "the name is no number") from None
    if last < first:
        return []
    found = snapshot.ask(Question(keys.log_line(log, first), keys.log_line(log, last + 1)))
    return _numbered(found, keys, log, path, first, last)


def _learned(found: list[KeyValue], newest: Newest, path: str) -> Head:
    if not found:
        raise StoreCorruptedError(f"{path}/head", "the key is missing")
    head = parse_head(found[0], path)
    newest.learn(head)
    return head


def _numbered(found: list[KeyValue], keys: Keys, log: str, path: str, first: int, last: int) -> list[tuple[int, bytes]]:
    """These lines, which must be all from ``first`` to ``last``."""
    numbers = range(first, last + 1)
    for number, each in zip(numbers, found, strict=False):
        if each.key != keys.log_line(log, number):
            raise _missing(keys.log_line(log, number), keys, path)
    if len(found) < len(numbers):
        raise _missing(keys.log_line(log, first + len(found)), keys, path)
    return [(number, each.value) for number, each in zip(numbers, found, strict=False)]


def _missing(key: bytes, keys: Keys, path: str) -> StoreCorruptedError:
    return StoreCorruptedError(f"{path}/{key.removeprefix(keys.root).decode()}", "the event is missing")
