"""``execstore events``: what happened to an execution."""

from __future__ import annotations

import time

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_read, time_options
from execstore.cli.options import id_argument, page_options
from execstore.cli.output import note, one_line, print_json_array, print_lines, terminal_width
from execstore.cli.table import Column, render_table
from execstore.cli.times import TimeStyle, format_time
from execstore.errors import ExecutionEventsNotFoundError

__all__ = ["command"]


@click.command(name="events")
@id_argument()
@page_options("Only those behind the Nth, to go on page by page.")
@time_options
@json_option
@click.pass_obj
def command(settings: Settings, *, execution_id: str, limit: int | None, after: int, as_json: bool) -> None:
    """Show what happened to an execution, oldest first; the beginning of its ID is enough.

    \b
    execstore events e-1f3a --utc
    """
    with open_to_read(settings) as store:
        execution = find_execution(store, execution_id)
        try:
            events = store.get_execution_events(execution.id)
        except ExecutionEventsNotFoundError:
            events = []
    events = events[after:][:limit]
    if as_json:
        print_json_array(event.to_dict() for event in events)
        return
    if not events:
        note(f"no events of {one_line(execution.id)}")
        return
    now_ns = time.time_ns()
    rows = [
        [
            format_time(event.timestamp.nanoseconds, settings.time_style, now_ns),
            one_line(event.topic),
            one_line(event.message),
            one_line(", ".join(f"{key}={value}" for key, value in event.details.items())),
        ]
        for event in events
    ]
    columns = (
        Column("TIME", right=settings.time_style is not TimeStyle.UTC),
        Column("TOPIC", minimum=9),
        Column("MESSAGE", minimum=24, boring="", wraps=True),
        Column("DETAILS", minimum=16, boring="", wraps=True),
    )
    print_lines(render_table(columns, rows, terminal_width()))
