"""``execstore import``: the group of what can be imported."""

from __future__ import annotations

import click

from execstore.cli import import_bolt, import_jsonl
from execstore.cli.context import help_without_command

__all__ = ["command"]


@click.group(name="import", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Take data in: into a new store, or into one that is there (--merge)."""
    help_without_command(ctx)


command.add_command(import_bolt.command)
command.add_command(import_jsonl.command)
