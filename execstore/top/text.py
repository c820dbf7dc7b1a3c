"""Numbers, times and IDs as short texts, and the line of small bars that shows how something went."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from execstore.cli.output import one_line
from execstore.cli.table import cell_width, cut
from execstore.cli.times import format_duration
from execstore.top.trend import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execstore.top.model import Snapshot
    from execstore.top.trend import Trend

__all__ = [
    "age",
    "bars",
    "change_of",
    "clock",
    "cut_middle",
    "number",
    "rate",
    "size",
    "span",
    "spark_events",
    "spark_levels",
    "vitals",
]

_BARS: Final = "▁▂▃▄▅▆▇█"
_NS_PER_SECOND: Final = 1_000_000_000


def cut_middle(text: str, width: int) -> str:
    """The text with its middle replaced by an ellipsis where it is wider than ``width``: IDs differ at both ends."""
    if cell_width(text) <= width:
        return text
    if width < 3:
        return cut(text, width)
    tail_width = (width - 1) // 2
    tail = text[-1]
    for character in reversed(text[:-1]):
        if cell_width(character + tail) > tail_width:
            break
        tail = character + tail
    # `cut` puts the ellipsis behind what fits in one column less.
    return cut(text, width - cell_width(tail)) + tail


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def rate(per_second: float | None) -> str:
    """A number a second, with a decimal while it matters; ``-`` if it isn't known."""
    if per_second is None:
        return "-"
    return f"{per_second:.1f}" if per_second < 100 else f"{per_second:,.0f}"


def size(size_bytes: int) -> str:
    """``12.3 MiB``."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(nanoseconds: int) -> str:
    """A short time: ``0.43 ms``, ``12 ms``, ``1.5 s``, then as ``age``."""
    milliseconds = nanoseconds / 1_000_000
    if milliseconds < 10:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else age(nanoseconds)


def age(nanoseconds: int) -> str:
    """Two units, so that it is seen to go on: ``45s``, ``3m 12s``, ``5h 02m``, ``12d 04h``."""
    seconds = max(nanoseconds // _NS_PER_SECOND, 0)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600:02}h"


def clock(time_ns: int) -> str:
    """The time of day, in UTC."""
    try:
        return datetime.fromtimestamp(time_ns // _NS_PER_SECOND, UTC).strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return "--:--:--"


def _ago(nanoseconds: int) -> str:
    seconds = nanoseconds // _NS_PER_SECOND
    return f"{format_duration(seconds)} ago" if seconds >= 1 else "now"


# --- how it went ----------------------------------------------------------------------------------------------------


def bars(values: Sequence[int], low: int, high: int) -> str:
    """A bar for each value, from ``low`` to ``high``; none for 0, so that little can be told from nothing."""
    steps = len(_BARS) - 1
    spread = max(high - low, 1)
    return "".join(_BARS[min((value - low) * steps // spread, steps)] if value else " " for value in values)


def spark_levels(trend: Trend, state: str, width: int) -> str:
    """How many executions were in a state. A bar is eight executions high at least: one more never looks like many."""
    values = _grouped(trend, trend.levels(state), width, max)
    low = min(values, default=0)
    return bars(values, low, max(max(values, default=0), low + len(_BARS) - 1)).rjust(width)


def spark_events(trend: Trend, width: int) -> str:
    """How many events there were."""
    values = _grouped(trend, trend.events(), width, sum)
    return bars(values, 0, max(values, default=0))


def _grouped(trend: Trend, values: Sequence[int], width: int, join: Callable[[list[int]], int]) -> list[int]:
    """As many values as there is room for. What is joined depends on the time, so that bars move but never change."""
    size = -(-BUCKETS // max(width, 1))
    groups: dict[int, list[int]] = {}
    for bucket, value in zip(trend.buckets, values, strict=True):
        groups.setdefault(bucket.number // size, []).append(value)
    return [join(group) for group in groups.values()][-width:]


def change_of(trend: Trend, state: str) -> str:
    """By how many executions a state has grown or shrunk; nothing if it hasn't."""
    levels = trend.levels(state)
    change = levels[-1] - levels[0] if levels else 0
    return f"{change:+,}" if change else ""


# --- what is worth watching -----------------------------------------------------------------------------------------


def vitals(snapshot: Snapshot, now_ns: int) -> list[tuple[str, str]]:
    """Names and values, the most important first, each on a line of its own."""
    log = snapshot.event_log
    latency = snapshot.latency
    has_journal = snapshot.journal_bytes > 0  # a store that isn't in a folder has none
    newest = snapshot.events[-1] if snapshot.events else None
    laggard = snapshot.laggard
    seen = "-" if latency is None else f"{span(latency.median_ns)}, max {span(latency.worst_ns)}"
    when = "none" if newest is None else f"{number(newest.seq_num)}, {_ago(now_ns - newest.time_ns)}"
    if laggard is None:
        behind = "no watchers" if not log.watchers else "none is behind"
    else:
        remarks = [" (holds log)" if laggard.holds_log else "", f" ({laggard.lost:,} lost)" if laggard.lost else ""]
        behind = f"{number(laggard.lag)} {one_line(laggard.watcher_id)}{''.join(remarks)}"
    return [
        ("commits/s", rate(snapshot.commits_per_second)),
        ("events/s", rate(snapshot.events_per_second)),
        ("seen after", seen),
        ("newest event", when),
        ("event log", f"{size(log.bytes)}, {number(log.events)} events"),
        ("most behind", behind),
        (
            "journal used",
            f"{size(snapshot.journal_used_bytes)} of {size(snapshot.journal_bytes)}" if has_journal else "-",
        ),
    ]
