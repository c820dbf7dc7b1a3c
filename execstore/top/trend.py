"""The last minutes, in buckets of some seconds: how many executions were in each state, how many events there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["BUCKETS", "BUCKET_SECONDS", "Bucket", "StateChange", "Trend", "begin_trend", "extend_trend"]

BUCKET_SECONDS: Final = 5
BUCKETS: Final = 60

_BUCKET_NS: Final = BUCKET_SECONDS * 1_000_000_000


class StateChange(NamedTuple):
    """An event of the log: its time, and the states (names) that an execution left and went into, "" for none."""

    time_ns: int
    old: str = ""
    new: str = ""


class Bucket(NamedTuple):
    """``counts``: state to executions at its end, without zeros; ``events``: those written within it."""

    number: int
    counts: Mapping[str, int]
    events: int


class Trend(NamedTuple):
    """The newest bucket comes last. There may be fewer than ``BUCKETS``: nothing is made up for what isn't known."""

    buckets: tuple[Bucket, ...] = ()

    def levels(self, state: str) -> list[int]:
        """How many executions were in a state at the end of each bucket."""
        return [bucket.counts.get(state, 0) for bucket in self.buckets]

    def events(self) -> list[int]:
        """How many events were written in each bucket."""
        return [bucket.events for bucket in self.buckets]

    def to_dict(self) -> dict[str, object]:
        """A JSON object."""
        states = sorted({state for bucket in self.buckets for state in bucket.counts})
        return {
            "bucket_seconds": BUCKET_SECONDS,
            "states": {state: self.levels(state) for state in states},
            "events": self.events(),
        }


def begin_trend(now_ns: int, counts: Mapping[str, int], changes: Sequence[StateChange], since_ns: int) -> Trend:
    """The trend up to now, found by walking back from what is counted now.

    Args:
        changes: all events of the log since ``since_ns``, oldest first.
        since_ns: what was before isn't known.
    """
    last = now_ns // _BUCKET_NS
    first = max(last - BUCKETS + 1, min(since_ns // _BUCKET_NS, last))
    current = {state: count for state, count in counts.items() if count}
    found = []
    index = len(changes) - 1
    for number in range(last, first - 1, -1):
        at_its_end = dict(current)
        events = 0
        while index >= 0 and changes[index].time_ns // _BUCKET_NS >= number:
            change = changes[index]
            _add(current, change.new, -1)
            _add(current, change.old, 1)
            events += 1
            index -= 1
        found.append(Bucket(number, at_its_end, events))
    return Trend(tuple(reversed(found)))


def _add(counts: dict[str, int], state: str, number: int) -> None:
    if state:
        # Never below zero: an import counts executions without an event for each.
        counts[state] = max(counts.get(state, 0) + number, 0)
        if not counts[state]:
            del counts[state]


def extend_trend(trend: Trend, now_ns: int, counts: Mapping[str, int], events: int) -> Trend:
    """The trend with another look at the store: what is counted now, and how many events came since the last look."""
    number = now_ns // _BUCKET_NS
    counted = {state: count for state, count in counts.items() if count}
    buckets = list(trend.buckets)
    if not buckets or number - buckets[-1].number >= BUCKETS or number < buckets[-1].number - BUCKETS:
        return Trend((Bucket(number, counted, events),))  # also if somebody has set the clock
    if number <= buckets[-1].number:
        newest = buckets.pop()
        return Trend((*buckets, Bucket(newest.number, counted, newest.events + events)))
    buckets += [Bucket(missed, buckets[-1].counts, 0) for missed in range(buckets[-1].number + 1, number)]
    buckets.append(Bucket(number, counted, events))
    return Trend(_newest(buckets))


def _newest(buckets: Iterable[Bucket]) -> tuple[Bucket, ...]:
    return tuple(buckets)[-BUCKETS:]
