"""``execstore restore``: a new store out of a backup."""

from __future__ import annotations

import sys

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.options import input_file_type
from execstore.cli.output import note, one_line, print_json

__all__ = ["command"]


@click.command(name="restore")
@click.argument("file", metavar="FILE|-", type=input_file_type())
@click.option(
    "--max-bytes",
    metavar="N",
    type=click.IntRange(min=0),
    help="Refuse an archive whose files take more than this.  [default: what is free on the disk]",
)
@json_option
@click.pass_obj
def command(settings: Settings, *, file: str, max_bytes: int | None, as_json: bool) -> None:
    """Make a new store out of what 'backup' wrote, read from a file or (-) from stdin.

    The store's folder must be new or empty. Everything is checked; the store is whole and verified, or not there.

    \b
    execstore --store restored restore store.tar.gz
    execstore backup - | execstore --store copy restore -
    """
    from execstore import Store  # noqa: PLC0415 (help and usage errors don't need it)

    folder = settings.need_folder("restore", "restore into a folder, and copy that with 'execstore copy'")
    report = Store.restore(sys.stdin.buffer if file == "-" else file, folder, max_bytes=max_bytes)
    settings.done = "the store was restored"
    for name in report.clamped:
        note(f"the checkpoint of watcher {one_line(name)} was ahead of the log; it now is at its end")
    for problem in report.problems:
        note(f"damaged before the backup was made: {one_line(problem.path)}: {one_line(problem.reason)}")
    if as_json:
        print_json(report.to_dict())
        return
    click.echo(
        f"{report.executions:,} executions with {report.execution_events:,} events, {report.log_events:,} events of "
        f"the log, {report.checkpoints:,} checkpoints, verified; {report.seconds:.2f} s"
    )
