"""``execstore import``: the group of what can be imported."""

from __future__ import annotations

import click

from execstore.cli import import_bolt, import_jsonl

__all__ = ["command"]


@click.group(name="import")
def command() -> None:
    """Take data in: into a new store, or into one that is there (--merge)."""


command.add_command(import_bolt.command)
command.add_command(import_jsonl.command)
