"""``execstore export``: the group of what a store can be exported to."""

from __future__ import annotations

import click

from execstore.cli import export_jsonl, export_sqlite

__all__ = ["command"]


@click.group(name="export")
def command() -> None:
    """Write a store, or a part of it, in another form."""


command.add_command(export_jsonl.command)
command.add_command(export_sqlite.command)
