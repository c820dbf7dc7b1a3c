"""The upper part of the screen: executions by state, and the vital signs of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from execstore.cli.output import one_line
from execstore.cli.table import cell_width, cut, state_colour
from execstore.top.text import change_of, number, rate, spark_events, spark_levels, vitals
from execstore.top.trend import BUCKET_SECONDS, BUCKETS

if TYPE_CHECKING:
    from execstore.top.model import Snapshot

__all__ = ["board_lines", "rule", "shown_states", "summary"]

_STATE_WIDTH: Final = 17  # of the longest name
_NUMBER_WIDTH: Final = 9
_CHANGE_WIDTH: Final = 7
_VITALS_WIDTH: Final = 38
_GAP: Final = 3
_NAME_WIDTH: Final = 13


def rule(title: str, remark: str, width: int, *, is_focused: bool = False) -> Text:
    """The line above a part: its title, what is to be said of it at the right end, and a line between them."""
    remark = cut(one_line(remark), max(width - cell_width(title) - 8, 0))
    text = Text(no_wrap=True, end="")
    text.append("━━ " if is_focused else "── ", "" if is_focused else "dim")
    text.append(cut(title, max(width - 3, 0)), "bold")
    fill = width - cell_width(text.plain) - 1 - (cell_width(remark) + 4 if remark else 0)
    if fill > 0:
        text.append(" " + ("━" if is_focused else "─") * fill, "" if is_focused else "dim")
    if remark and fill > 0:
        text.append(f" {remark} ")
        text.append("━━" if is_focused else "──", "" if is_focused else "dim")
    return text


def shown_states(snapshot: Snapshot) -> list[str]:
    """The states that executions are in, or were in within the last minutes, in their natural order."""
    seen = {state for bucket in snapshot.trend.buckets for state in bucket.counts}
    return [state for state, count in snapshot.counts.items() if count or state in seen]


def summary(snapshot: Snapshot, width: int) -> Text:
    """All in one line, for where there is no room for more."""
    counts = [f"{state} {number(count)}" for state, count in snapshot.counts.items() if count]
    parts = [f"{number(snapshot.live)} live", f"{rate(snapshot.commits_per_second)} commits/s", *counts]
    return Text(cut(" · ".join(parts), width), no_wrap=True, end="")


def board_lines(snapshot: Snapshot, width: int, height: int, now_ns: int) -> list[Text]:
    """The board, ``height`` lines of at most ``width`` columns."""
    if height <= 1:
        return [summary(snapshot, width)]
    with_vitals = width >= _VITALS_WIDTH + _GAP + 38
    left = width - _VITALS_WIDTH - _GAP if with_vitals else width
    left = min(left, 2 + _STATE_WIDTH + _NUMBER_WIDTH + _CHANGE_WIDTH + 2 + BUCKETS)
    right = width - left - _GAP
    minutes = BUCKETS * BUCKET_SECONDS // 60
    title = rule(f"Executions {number(snapshot.total)}", f"last {minutes} min", left)
    lines = [title, *_state_lines(snapshot, left, height - 1)]
    if with_vitals:
        for line, other in zip(lines, [rule("Store", "", right), *_vital_lines(snapshot, right, now_ns)], strict=False):
            line.append(" " * (left + _GAP - cell_width(line.plain)))
            line.append_text(other)
    return lines


def _state_lines(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    states = shown_states(snapshot)
    if not states:
        return [Text("  none yet", "dim", end=""), *(Text(end="") for _ in range(height - 1))]
    kept = states if len(states) <= height else states[: height - 1]
    lines = [_state_line(snapshot, state, width) for state in kept]
    if len(kept) < len(states):
        others = sum(snapshot.counts[state] for state in states[len(kept) :])
        lines.append(Text(f"  {'others':<{_STATE_WIDTH}}{number(others):>{_NUMBER_WIDTH}}", "dim", end=""))
    return lines + [Text(end="") for _ in range(height - len(lines))]


def _state_line(snapshot: Snapshot, state: str, width: int) -> Text:
    colour = state_colour(state) or ""
    name_width = _STATE_WIDTH if width >= 46 else max(width - 2 - _NUMBER_WIDTH - _CHANGE_WIDTH - 10, 8)
    text = Text("  ", no_wrap=True, end="")
    text.append(f"{cut(state, name_width):<{name_width}}", colour)
    text.append(f"{number(snapshot.counts[state]):>{_NUMBER_WIDTH}}")
    text.append(f"{change_of(snapshot.trend, state):>{_CHANGE_WIDTH}}  ", "dim")
    room = width - cell_width(text.plain)
    if room > 0:
        text.append(spark_levels(snapshot.trend, state, min(room, BUCKETS)), colour)
    return text


def _vital_lines(snapshot: Snapshot, width: int, now_ns: int) -> list[Text]:
    lines = []
    for name, value in vitals(snapshot, now_ns):
        text = Text(f"  {name:<{_NAME_WIDTH}}", "dim", no_wrap=True, end="")
        line = Text(no_wrap=True, end="").append_text(text)
        line.append(cut(value, width - cell_width(line.plain)))
        if name == "events/s":
            room = width - cell_width(line.plain) - 2
            line.append("  " + spark_events(snapshot.trend, min(room, BUCKETS // 5)) if room >= 8 else "", "cyan")
        lines.append(line)
    return lines
