"""The last minutes in buckets: walking back from what is counted agrees with having watched from the start."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from execstore.top.trend import BUCKET_SECONDS, BUCKETS, StateChange, Trend, begin_trend, extend_trend

_BUCKET_NS = BUCKET_SECONDS * 1_000_000_000
_NOW = 10_000 * _BUCKET_NS + 7


@st.composite
def lives(draw: st.DrawFn) -> list[StateChange]:
    """Events in the order of their times, in which executions come, change their states and go."""
    changes: list[StateChange] = []
    states: dict[int, str] = {}
    time_ns = _NOW - BUCKETS * _BUCKET_NS
    for number in range(draw(st.integers(0, 40))):
        time_ns += draw(st.integers(0, 2 * _BUCKET_NS))
        if time_ns > _NOW:
            break
        what = draw(st.sampled_from(["new", "move", "delete", "other"]))
        if what == "new" or not states:
            states[number] = draw(st.sampled_from(["New", "BidAccepted"]))
            changes.append(StateChange(time_ns, "", states[number]))
        elif what == "other":
            changes.append(StateChange(time_ns))
        else:
            key = draw(st.sampled_from(sorted(states)))
            new = draw(st.sampled_from(["Running", "Failed"])) if what == "move" else ""
            changes.append(StateChange(time_ns, states[key], new))
            states[key] = new
            if not new:
                del states[key]
    return changes


def counted(changes: list[StateChange]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for change in changes:
        counts[change.new] += 1
        counts[change.old] -= 1
    del counts[""]
    return {state: count for state, count in counts.items() if count}


@given(lives())
def test_walking_back_is_the_same_as_having_watched(changes: list[StateChange]) -> None:
    first = _NOW // _BUCKET_NS - BUCKETS + 1
    found = begin_trend(_NOW, counted(changes), changes, _NOW - BUCKETS * _BUCKET_NS)
    assert [bucket.number for bucket in found.buckets] == list(range(first, first + BUCKETS))
    for bucket in found.buckets:
        until_then = [change for change in changes if change.time_ns // _BUCKET_NS <= bucket.number]
        assert bucket.counts == counted(until_then)
        assert bucket.events == sum(change.time_ns // _BUCKET_NS == bucket.number for change in changes)


@given(lives())
def test_extending_is_the_same_as_walking_back(changes: list[StateChange]) -> None:
    trend = Trend()
    first = _NOW // _BUCKET_NS - BUCKETS + 1
    for number in range(first, first + BUCKETS):
        until_then = [change for change in changes if change.time_ns // _BUCKET_NS <= number]
        events = sum(change.time_ns // _BUCKET_NS == number for change in changes)
        at_ns = number * _BUCKET_NS
        trend = extend_trend(trend, at_ns, counted(until_then), 0)
        trend = extend_trend(trend, at_ns + 3, counted(until_then), events)
    assert trend == begin_trend(_NOW, counted(changes), changes, _NOW - BUCKETS * _BUCKET_NS)


def test_nothing_is_made_up_for_what_is_not_known() -> None:
    trend = begin_trend(_NOW, {"Running": 3}, [StateChange(_NOW - 1, "New", "Running")], _NOW - _BUCKET_NS)
    assert trend.levels("Running") == [2, 3]
    assert trend.levels("New") == [1, 0]
    assert len(begin_trend(_NOW, {}, [], _NOW + 5 * _BUCKET_NS).buckets) == 1


def test_counts_never_go_below_zero() -> None:
    # An import logs executions it didn't count one by one; a log may also begin in the middle of a life.
    changes = [StateChange(_NOW - _BUCKET_NS, "", "New")] * 3
    assert begin_trend(_NOW, {"New": 1}, changes, 0).levels("New")[-3:] == [0, 1, 1]


def test_a_gap_keeps_what_was_and_a_long_one_begins_anew() -> None:
    trend = extend_trend(Trend(), _NOW, {"New": 1}, 1)
    trend = extend_trend(trend, _NOW + 3 * _BUCKET_NS, {"New": 2}, 2)
    assert (trend.levels("New"), trend.events()) == ([1, 1, 1, 2], [1, 0, 0, 2])
    for number in range(4, 200):
        trend = extend_trend(trend, _NOW + number * _BUCKET_NS, {"New": number}, 1)
    assert trend.levels("New") == list(range(200 - BUCKETS, 200))
    assert len(extend_trend(trend, _NOW + 1000 * _BUCKET_NS, {}, 0).buckets) == 1
    # Somebody has set the clock: back by a little, the newest bucket goes on; by hours, it begins anew.
    assert extend_trend(trend, _NOW + 198 * _BUCKET_NS, {"New": 5}, 1).buckets[-1].counts == {"New": 5}
    assert len(extend_trend(trend, 0, {}, 0).buckets) == 1
