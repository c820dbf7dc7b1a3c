"""``execstore import bolt``: a Bacalhau compute node's database."""

from __future__ import annotations

import click

from execstore.cli.context import json_option
from execstore.cli.transfer import run_import

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
    from execstore.interop.bacalhau import BacalhauDatabase  # noqa: PLC0415 (help and usage errors don't need it)

    with BacalhauDatabase.open(file, force=force) as source:
        run_import(ctx, source, merge=merge, as_json=as_json)
