"""``execstore watchers``: how far each watcher has come; ``watchers remove``: forget one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, json_option, open_to_read, open_to_write
from execstore.cli.output import note, one_line, print_json, print_json_array, print_lines, terminal_width
from execstore.cli.table import Column, render_table

if TYPE_CHECKING:
    from execstore.event_log_status import WatcherStatus

__all__ = ["command"]


@click.group(name="watchers", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Show the watchers that have a checkpoint, running or not: the last event handled, and how many are left.

    A watcher that nobody runs any more keeps the event log from being collected, until it is removed.

    \b
    execstore watchers
    execstore watchers remove w-1
    """
    if ctx.invoked_subcommand is not None:
        return
    settings: Settings = ctx.obj
    with open_to_read(settings) as store:
        watchers = store.event_log_status().watchers
    if as_json:
        print_json_array(watcher.to_dict() for watcher in watchers)
        return
    if not watchers:
        note("no watchers")
        return
    columns = (
        Column("NAME"),
        Column("CHECKPOINT", right=True),
        Column("LAG", right=True),
        Column("REMARKS", minimum=8, boring="", wraps=True),
    )
    print_lines(render_table(columns, [_row(watcher) for watcher in watchers], terminal_width()))


def _row(watcher: WatcherStatus) -> list[str]:
    remarks = []
    if watcher.holds_log:
        remarks.append("holds the log")
    if watcher.lost:
        remarks.append(f"{watcher.lost} lost")
    return [one_line(watcher.watcher_id), str(watcher.checkpoint), str(watcher.lag), ", ".join(remarks)]


@command.command(name="remove")
@click.argument("name", metavar="NAME")
@json_option
@click.pass_obj
def remove(settings: Settings, *, name: str, as_json: bool) -> None:
    """Forget a watcher's checkpoint, so that it keeps no event any more. If it is started again, it starts anew."""
    with open_to_write(settings) as store:
        checkpoint = store.event_store.get_checkpoint(name)
        store.event_store.remove_checkpoint(name)
    settings.done = f"{name} was removed"
    if as_json:
        print_json({"watcher_id": name, "checkpoint": checkpoint})
    else:
        print_lines([f"removed {one_line(name)}, which had come to event {checkpoint}"])
