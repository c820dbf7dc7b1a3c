"""``execstore history``: an execution's revisions, as far back as the event log goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_read, time_options
from execstore.cli.options import id_argument, page_options
from execstore.cli.output import note, one_line, print_json_array, print_lines, terminal_width
from execstore.cli.table import Column, cut, render_table, state_colour
from execstore.cli.times import TimeStyle, format_time
from execstore.codec import encode
from execstore.errors import ExecutionNotFoundError
from execstore.watcher.events import Operation

if TYPE_CHECKING:
    from execstore.history import FieldChange, Revision

__all__ = ["command"]

_VALUE_WIDTH: Final = 60


@click.command(name="history")
@id_argument()
@page_options("Only those behind this event, to go on page by page.")
@time_options
@json_option
@click.pass_obj
def command(settings: Settings, *, execution_id: str, limit: int | None, after: int, as_json: bool) -> None:
    """Show an execution's revisions that are still in the event log, oldest first, and what changed in each.

    The beginning of its ID is enough, but for one that was deleted.

    \b
    execstore history e-1f3a --utc
    """
    with open_to_read(settings) as store:
        try:
            execution_id = find_execution(store, execution_id).id
        except ExecutionNotFoundError:
            if not execution_id:
                raise
        revisions = [revision for revision in store.history(execution_id) if revision.seq_num > after][:limit]
    if as_json:
        print_json_array(revision.to_dict() for revision in revisions)
        return
    if not revisions:
        where = f"has no revision of {one_line(execution_id)} behind event {after}"
        note(f"the event log {where if after else f'no longer holds a revision of {one_line(execution_id)}'}")
        return
    now_ns = time.time_ns()
    rows = [row for revision in revisions for row in _rows(revision, settings.time_style, now_ns)]
    columns = (
        Column("TIME", right=settings.time_style is not TimeStyle.UTC),
        Column("EVENT", right=True),
        Column("REV", right=True),
        Column("STATE", colour=state_colour),
        Column("WHAT CHANGED", minimum=24, wraps=True),
    )
    print_lines(render_table(columns, rows, terminal_width()))


def _rows(revision: Revision, style: TimeStyle, now_ns: int) -> list[list[str]]:
    """A row for each changed field; only the first says of what revision it is."""
    if revision.operation is Operation.UPDATE:
        whats = [_change(change) for change in revision.changes] or ["nothing"]
    else:  # what it was made with is for --json, and for `execstore show`
        whats = ["created" if revision.operation is Operation.CREATE else "deleted"]
    time_text = format_time(revision.time_ns, style, now_ns)
    first = [time_text, str(revision.seq_num), str(revision.revision), one_line(revision.state), whats[0]]
    return [first, *(["", "", "", "", what] for what in whats[1:])]


def _change(change: FieldChange) -> str:
    old = "" if change.old is None or change.old == "" else f"{_value(change.old)} "
    return f"{one_line(change.member)}: {old}→ {_value(change.new)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else encode(value).decode()
    return cut(one_line(text), _VALUE_WIDTH)
