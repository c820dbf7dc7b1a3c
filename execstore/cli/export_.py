"""``execstore export``: the group of what a store can be exported to."""

from __future__ import annotations

import click

from execstore.cli import export_jsonl, export_sqlite
from execstore.cli.context import help_without_command

__all__ = ["command"]


@click.group(name="export", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Write a store, or a part of it, in another form."""
    help_without_command(ctx)


command.add_command(export_jsonl.command)
command.add_command(export_sqlite.command)
