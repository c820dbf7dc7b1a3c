"""``execstore copy``: copy a store to another place, on whatever engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.exit_status import NO
from execstore.cli.output import note, one_line, print_json, print_lines

if TYPE_CHECKING:
    from execstore.copying import CopyReport

__all__ = ["command"]


@click.command(name="copy")
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@json_option
@click.pass_context
def command(ctx: click.Context, *, source: str, destination: str, as_json: bool) -> None:
    """Copy a store, with its event log and its checkpoints, and compare both in the end.

    FROM and TO are folders, or addresses (etcd://host/prefix). FROM is only read, and may be in use: the copy is what
    it is at one moment, near the end. TO must be empty. A copy that was cut off goes on when the same is called again.
    To move: stop who writes to FROM, copy, let them go on with TO.

    \b
    execstore copy execstore-data copied
    execstore --store copied verify
    """
    from execstore import connect  # noqa: PLC0415 (help and usage errors don't need it)
    from execstore.copying import copy_store  # noqa: PLC0415

    with connect(source, read_only=True) as original, connect(destination) as copy:
        report = copy_store(original, copy)
    ctx.ensure_object(Settings).done = "the copy was made" if report.ok else ""
    for sentence in report.differences:
        note(f"difference: {one_line(sentence)}")
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines([_sentence(report)])
    if not report.ok:
        note("execstore: the copy isn't what its source is; call the same again to have it put right")
        ctx.exit(NO)


def _sentence(report: CopyReport) -> str:
    changed = f" ({report.changed_since:,} executions changed since)" if report.changed_since else ""
    resumed = ", resumed" if report.resumed else ""
    found = "compared and the same" if report.ok else f"{len(report.differences):,} differences"
    return (
        f"{report.executions:,} executions with {report.execution_events:,} events, {report.log_events:,} events of "
        f"the log, {report.checkpoints:,} checkpoints, as of event {report.latest_event:,}{changed}: {found}{resumed}; "
        f"{report.seconds:.2f} s, {report.executions / max(report.seconds, 1e-9):,.0f} executions/s"
    )
