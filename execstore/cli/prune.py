"""``execstore prune``: remove executions that ended long ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, json_option, open_to_read, open_to_write, time_options
from execstore.cli.options import older_than_option, states_option
from execstore.cli.output import one_line, print_json, print_lines, terminal_width
from execstore.cli.table import Column, render_table, state_colour
from execstore.cli.times import TimeStyle, format_time

if TYPE_CHECKING:
    from datetime import timedelta

    from execstore.pruning import PruneReport
    from execstore.states import ExecutionState

__all__ = ["command"]


@click.command(name="prune")
@older_than_option("older_than", "Remove what last changed so long ago, or longer (7d, 36h, 0).", required=True)
@states_option("--state", "states", "Only those in this state; may be repeated.  [default: all that have ended]")
@click.option("--keep-per-job", type=click.IntRange(min=0), metavar="N", help="Keep the newest N of each job's anyway.")
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@time_options
@json_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    older_than: timedelta,
    states: list[ExecutionState],
    keep_per_job: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove executions that ended long ago, with their events. Live ones never go.

    They go a few at a time, so that other writers don't have to wait, and the event log has a DELETE of each.

    \b
    execstore prune --older-than 30d --dry-run
    execstore prune --older-than 7d --state Completed --keep-per-job 3
    """
    from execstore.pruning import TERMINAL_STATES  # noqa: PLC0415 (help and usage errors don't need it)

    with open_to_read(settings) if dry_run else open_to_write(settings) as store:
        report = store.prune_executions(
            older_than=older_than, states=states or TERMINAL_STATES, dry_run=dry_run, keep_per_job=keep_per_job
        )
    if not dry_run:
        settings.done = f"{len(report.executions)} executions were removed"
    if as_json:
        print_json(report.to_dict())
        return
    if dry_run and report.executions:
        print_lines(_table(report, settings.time_style))
    verb = "would remove" if dry_run else "removed"
    print_lines([f"{verb} {len(report.executions)} executions, {report.bytes} bytes"])


def _table(report: PruneReport, style: TimeStyle) -> list[str]:
    now_ns = time.time_ns()
    columns = (
        Column("ID", minimum=10),
        Column("JOB", minimum=8),
        Column("STATE", colour=state_colour),
        Column("CHANGED", right=style is not TimeStyle.UTC),
        Column("BYTES", right=True),
    )
    rows = [
        [
            one_line(each.execution_id),
            one_line(each.job_id),
            one_line(each.state.value),
            format_time(each.modify_time, style, now_ns),
            str(each.size_bytes),
        ]
        for each in report.executions
    ]
    return render_table(columns, rows, terminal_width())
