"""``execstore export sqlite``: a store as an SQLite database."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.exit_status import NO
from execstore.cli.options import output_file_type
from execstore.cli.transfer import refuse_terminal, report_export

__all__ = ["command"]


@click.command(name="sqlite")
@click.argument("file", metavar="FILE|-", type=output_file_type())
@click.option("--append", is_flag=True, help="Bring an earlier export of this store up to date.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, file: str, append: bool, as_json: bool) -> None:
    """Write a store as a new SQLite database, for sqlite3, Datasette or pandas.

    Tables: executions, execution_events, jobs, events (the log), checkpoints, watcher_checkpoints. Exit status 1 if
    anything damaged had to be left out.

    \b
    execstore export sqlite jobs.sqlite && datasette jobs.sqlite
    execstore export sqlite jobs.sqlite --append
    """
    from execstore.interop.sqlite import append_sqlite, export_sqlite  # noqa: PLC0415 (help doesn't need it)

    if append and file == "-":
        raise click.UsageError("--append needs a file")
    refuse_terminal(file)
    with open_to_read(ctx.ensure_object(Settings)) as store:
        if file == "-":
            with tempfile.TemporaryDirectory(prefix="execstore-") as folder:
                database = os.path.join(folder, "export.sqlite")
                report = export_sqlite(store, database)
                with open(database, "rb") as source:
                    shutil.copyfileobj(source, sys.stdout.buffer)
        elif append:
            report = append_sqlite(store, file)
        else:
            report = export_sqlite(store, file)
    report_export(report, file, as_json=as_json)
    if report.skipped:
        ctx.exit(NO)
