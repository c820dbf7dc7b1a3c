"""``execstore import bolt``: a Bacalhau compute node's database."""

from __future__ import annotations

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.exit_status import NO
from execstore.cli.transfer import report_import

__all__ = ["command"]


@click.command(name="bolt")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option("--force", is_flag=True, help="Read it even if a running node has it open.")
@click.option("--merge", is_flag=True, help="Add to the store that is there; nothing in it is overwritten.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, file: str, force: bool, merge: bool, as_json: bool) -> None:
    """Import a Bacalhau compute node's database (executions.db), which is only read.

    The store is new, and complete or not there at all. With --merge each execution that the store lacks is added by
    itself; one that is there and different is listed and left alone. Exit status 1 if anything was left out.

    \b
    execstore --store ./copy import bolt ~/.bacalhau/compute/executions.db
    """
    from execstore import Store  # noqa: PLC0415 (help and usage errors don't need it)
    from execstore.interop.bacalhau import BacalhauDatabase  # noqa: PLC0415
    from execstore.interop.importing import import_into, import_new  # noqa: PLC0415

    path = ctx.ensure_object(Settings).path
    with BacalhauDatabase.open(file, force=force) as source:
        if merge:
            Store(path, read_only=True).close()  # it must be there
            with Store(path) as store:
                report = import_into(source, store)
        else:
            report = import_new(source, path)
    report_import(report, path, as_json=as_json)
    if report.skipped or report.conflicts:
        ctx.exit(NO)
