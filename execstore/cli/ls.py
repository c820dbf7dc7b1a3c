"""``execstore ls``: list executions."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

import click

from execstore.cli.context import (
    Settings,
    find_job_id,
    json_option,
    open_to_read,
    shorten_ids,
    state_option,
    time_options,
)
from execstore.cli.output import note, one_line, print_json_array, print_lines, terminal_width
from execstore.cli.table import WIDE_COLUMNS, Column, render_table, state_colour
from execstore.cli.times import TimeStyle, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from execstore import Execution, ExecutionState, Store

__all__ = ["command"]


@click.command(name="ls")
@click.option("--job", metavar="JOB", help="Only those of this job: its ID, the beginning of it, or its name.")
@state_option("Only those in this state, Failed say.")
@click.option("--live", is_flag=True, help="Only those that are accepted, running or publishing, newest first.")
@click.option("--namespace", metavar="N", help="Only those of this namespace.")
@click.option("--node", metavar="N", help="Only those of this node.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("--after", metavar="ID", help="Go on behind this ID: the last one of the page before.")
@time_options
@json_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    job: str | None,
    state: ExecutionState | None,
    live: bool,
    namespace: str | None,
    node: str | None,
    limit: int | None,
    after: str | None,
    as_json: bool,
) -> None:
    """List executions, in the order of their IDs. Where they are of several nodes, each is named.

    \b
    execstore ls --state Failed --utc
    execstore ls --limit 100 --after e-1f3a
    execstore ls --json | jq '.[].RunOutput.ExitCode'
    """
    if live and (state is not None or after is not None):
        raise click.UsageError("--live excludes --state and --after")
    with open_to_read(settings) as store:
        if job is not None:
            job = find_job_id(store, job)
        if live:
            found = _live_executions(store, job, namespace, node, limit)
        else:
            found = store.list_executions(
                state=state, job_id=job, namespace=namespace, node_id=node, limit=limit, after=after
            )
        if as_json:
            print_json_array(execution.to_dict() for execution in found)
            return
        executions = list(found)
    has_nodes = len({execution.node_id for execution in executions}) > 1
    now_ns = time.time_ns()
    rows = [_row(execution, settings.time_style, now_ns, has_nodes=has_nodes) for execution in executions]
    if not rows:
        note("no executions")
        return
    width = terminal_width()
    if width is not None and width < WIDE_COLUMNS:
        for row, identity in zip(rows, shorten_ids([row[0] for row in rows]), strict=True):
            row[0] = identity
    print_lines(render_table(_columns(settings.time_style, has_nodes=has_nodes), rows, width))


def _live_executions(
    store: Store, job: str | None, namespace: str | None, node: str | None, limit: int | None
) -> Iterator[Execution]:
    matching: Iterable[Execution] = (
        execution
        for execution in store.get_live_executions()
        if job in {None, execution.job_id}
        and namespace in {None, execution.namespace}
        and node in {None, execution.node_id}
    )
    return islice(matching, limit)


def _columns(style: TimeStyle, *, has_nodes: bool) -> Sequence[Column]:
    return (
        Column("ID", minimum=10),
        *([Column("NODE", minimum=8)] if has_nodes else []),
        Column("JOB", minimum=8),
        Column("PART", right=True, boring="0"),
        Column("STATE", colour=state_colour),
        Column("EXIT", right=True, boring="-"),
        Column("REV", right=True),
        Column("CHANGED", right=style is not TimeStyle.UTC),
        Column("MESSAGE", minimum=7, boring=""),
    )


def _row(execution: Execution, style: TimeStyle, now_ns: int, *, has_nodes: bool) -> list[str]:
    job = execution.job or {}
    state = execution.compute_state
    output = execution.run_output
    ran = output is not None and (state.state_type.value == "Completed" or output.exit_code != 0)
    return [
        one_line(execution.id),
        *([one_line(execution.node_id) or "-"] if has_nodes else []),
        one_line(str(job.get("Name") or execution.job_id)),
        str(execution.partition_index),
        one_line(state.state_type.value),
        str(output.exit_code) if output is not None and ran else "-",
        str(execution.revision),
        format_time(execution.modify_time, style, now_ns),
        one_line(state.message),
    ]
