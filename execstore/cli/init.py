"""``execstore init``: create an empty store."""

from __future__ import annotations

import os

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.output import note, print_json
from execstore.errors import StoreNotFoundError

__all__ = ["command"]


@click.command(name="init")
@json_option
@click.pass_obj
def command(settings: Settings, *, as_json: bool) -> None:
    """Create an empty store; one that is there already is left as it is.

    \b
    execstore --store /var/lib/jobs init
    """
    from execstore import Store  # noqa: PLC0415

    path = os.path.abspath(settings.path)
    try:
        Store(path, read_only=True).close()
        created = False
    except StoreNotFoundError:
        Store(path).close()
        created = True
    if as_json:
        print_json({"path": path, "created": created})
    else:
        note(f"created a store at {path}" if created else f"there is a store at {path} already")
