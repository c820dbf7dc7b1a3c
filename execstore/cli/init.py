"""``execstore init``: create an empty store."""

from __future__ import annotations

import click

from execstore.addresses import connect
from execstore.cli.context import Settings, json_option, open_to_read
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
    path = settings.shown
    try:
        open_to_read(settings).close()
        created = False
    except StoreNotFoundError:
        connect(settings.path).close()
        created = True
        settings.done = "the store was created"
    if as_json:
        print_json({"path": path, "created": created})
    else:
        note(f"created a store at {path}" if created else f"there is a store at {path} already")
