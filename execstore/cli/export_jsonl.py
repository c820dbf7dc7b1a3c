"""``execstore export jsonl``: a store as JSON lines."""

from __future__ import annotations

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.exit_status import NO
from execstore.cli.options import output_file_type
from execstore.cli.transfer import output_file, parse_time, report_export
from execstore.errors import InvalidExecutionError
from execstore.states import ExecutionState

__all__ = ["command"]


def _state(ctx: click.Context, parameter: click.Parameter, value: str | None) -> ExecutionState | None:
    if value is None:
        return None
    by_name = {state.value.lower(): state for state in ExecutionState}
    try:
        return by_name.get(value.lower()) or ExecutionState.parse(value)
    except InvalidExecutionError as error:
        raise click.BadParameter(error.reason, ctx, parameter) from None


@click.command(name="jsonl")
@click.argument("file", metavar="FILE|-", type=output_file_type())
@click.option("--job", metavar="JOB", help="Only executions of this job (its whole ID).")
@click.option("--state", metavar="STATE", callback=_state, help="Only executions in this state.")
@click.option(
    "--since",
    metavar="TIME",
    callback=parse_time,
    help="Only what changed since: 7d (ago), 2026-11-24 …",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, *, file: str, job: str | None, state: ExecutionState | None, since: int | None, as_json: bool
) -> None:
    """Write a store as JSON, one item a line, to a file or (-) to stdout.

    What 'import jsonl' makes of it exports to the same bytes. Exit status 1 if anything damaged had to be left out.

    \b
    execstore export jsonl backup.jsonl
    execstore export jsonl - --state Failed | jq 'select(.type == "execution") | .execution.RunOutput'
    """
    from execstore.interop.exporting import export_jsonl  # noqa: PLC0415 (help and usage errors don't need it)
    from execstore.interop.reading import Selection  # noqa: PLC0415

    with open_to_read(ctx.ensure_object(Settings)) as store, output_file(file) as stream:
        report = export_jsonl(store, stream, Selection(job, state, since))
    report_export(report, file, as_json=as_json)
    if report.skipped:
        ctx.exit(NO)
