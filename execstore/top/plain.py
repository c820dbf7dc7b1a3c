"""A snapshot as lines of text, for where there is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.cli.output import one_line
from execstore.cli.table import Column, render_table
from execstore.top.text import age, change_of, clock, cut_middle, number, spark_levels, vitals
from execstore.top.trend import BUCKET_SECONDS, BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.top.filters import Filter
    from execstore.top.model import Snapshot

__all__ = ["LIMIT", "plain_lines"]

LIMIT: Final = 20
"""How many executions and events a printed snapshot has at most."""

_EXECUTION_COLUMNS: Final = (
    Column("ID", minimum=10),
    Column("JOB", minimum=8),
    Column("STATE"),
    Column("AGE", right=True),
    Column("MESSAGE", minimum=8),
)
_EVENT_COLUMNS: Final = (
    Column("EVENT", right=True),
    Column("UTC"),
    Column("EXECUTION", minimum=10),
    Column("WHAT HAPPENED", minimum=20),
)
_SPARK_WIDTH: Final = 30
_ID_WIDTH: Final = 40


def plain_lines(snapshot: Snapshot, chosen: Filter, width: int | None) -> Iterator[str]:
    """The lines, none wider than ``width`` (``None``: as wide as needed)."""
    now_ns = snapshot.time_ns
    yield f"{one_line(snapshot.path)}: {number(snapshot.total)} executions, {number(snapshot.live)} live"
    yield ""
    minutes = BUCKETS * BUCKET_SECONDS // 60
    states = [
        [state, number(count), change_of(snapshot.trend, state), spark_levels(snapshot.trend, state, _SPARK_WIDTH)]
        for state, count in snapshot.counts.items()
        if count
    ]
    if states:
        columns = (Column("STATE"), Column("NOW", right=True), Column(f"{minutes} MIN", right=True), Column(""))
        yield from (line.rstrip() for line in render_table(columns, states, width))
        yield ""
    for name, value in vitals(snapshot, now_ns):
        yield f"{name:<12}  {value}"
    executions = [row for row in snapshot.executions if chosen.takes_execution(row)]
    if executions:
        yield ""
        rows = [
            [
                cut_middle(one_line(row.execution_id), _ID_WIDTH),
                one_line(row.job_name or row.job_id),
                row.state,
                age(now_ns - row.create_time),
                one_line(row.message),
            ]
            for row in executions[:LIMIT]
        ]
        yield from render_table(_EXECUTION_COLUMNS, rows, width)
        if len(executions) > LIMIT or not snapshot.are_all:
            yield f"… {number(len(executions) - LIMIT)} more" if snapshot.are_all else "… and more"
    events = [row for row in snapshot.events if chosen.takes_event(row)][-LIMIT:]
    if events:
        yield ""
        rows = [
            [
                str(row.seq_num),
                clock(row.time_ns),
                cut_middle(one_line(row.execution_id), _ID_WIDTH) or "-",
                one_line(row.text),
            ]
            for row in events
        ]
        yield from render_table(_EVENT_COLUMNS, rows, width)
    for problem in snapshot.problems:
        yield f"problem: {one_line(problem)}"
