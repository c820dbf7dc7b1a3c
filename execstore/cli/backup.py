"""``execstore backup``: a copy of one moment of the store."""

from __future__ import annotations

import os
import sys

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.exit_status import NO
from execstore.cli.options import output_file_type
from execstore.cli.output import note, one_line, print_json

__all__ = ["command"]


@click.command(name="backup")
@click.argument("file", metavar="FILE|-", type=output_file_type())
@json_option
@click.pass_context
def command(ctx: click.Context, *, file: str, as_json: bool) -> None:
    """Write a copy of the store, as it is at one moment, to a tar archive or (-) to stdout.

    Others may write meanwhile; they don't have to wait. FILE is replaced once the new one is whole and on disk. It is
    compressed if its name ends in .tar.gz or (from Python 3.14 on) .tar.zst. What is damaged is left out and listed;
    exit status 1 if anything was.

    \b
    execstore backup store-$(date +%F).tar.gz
    execstore backup - | ssh elsewhere 'cat > store.tar'
    """
    with open_to_read(ctx.ensure_object(Settings)) as store:
        report = store.backup(sys.stdout.buffer if file == "-" else file)
    for sentence in report.skipped:
        note(f"left out: {one_line(sentence)}")
    if as_json and file != "-":
        print_json({"file": os.path.abspath(file), **report.to_dict()})
    else:
        click.echo(
            f"{report.executions:,} executions with {report.execution_events:,} events, {report.log_events:,} events "
            f"of the log, {report.checkpoints:,} checkpoints, as of transaction {report.transaction:,}; "
            f"{report.seconds:.2f} s",
            err=file == "-",
        )
    if report.skipped:
        ctx.exit(NO)
