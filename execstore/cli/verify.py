"""``execstore verify``: check the whole store."""

from __future__ import annotations

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.exit_status import NO
from execstore.cli.output import one_line, print_json, print_lines

__all__ = ["command"]


@click.command(name="verify")
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Check that records, events, indexes, counts and log agree. Nothing is changed; exit status 1 if they don't.

    \b
    execstore verify && echo all is well
    """
    with open_to_read(ctx.ensure_object(Settings)) as store:
        report = store.verify()
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines(
            f"{one_line(problem.path)}: {one_line(problem.reason)} ({problem.kind})" for problem in report.problems
        )
        verdict = "no problems" if report.ok else f"{len(report.problems)} problem(s)"
        looked_at = (
            f"{report.executions} executions with {report.execution_events} events, {report.log_events} in the log"
        )
        print_lines([f"{verdict} in {looked_at}"])
    if not report.ok:
        ctx.exit(NO)
