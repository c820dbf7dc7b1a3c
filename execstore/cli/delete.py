"""``execstore delete``: remove executions.

Other commands take the beginning of an ID. Here that has to be confirmed: what is the beginning of one ID only when a
script is written can be that of another when it runs, and what was deleted doesn't come back.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_write
from execstore.cli.exit_status import NO
from execstore.cli.options import id_argument
from execstore.cli.output import one_line, print_json, print_lines
from execstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from execstore import Execution, Store

__all__ = ["command"]


@click.command(name="delete")
@id_argument(several=True)
@click.option("--yes", is_flag=True, help="Take the beginning of an ID for the whole without asking.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove executions, in whatever state, with their events: all of those named, or none.

    IDs must be whole. The beginning of one is asked about on a terminal, and refused elsewhere, unless --yes is given.
    With --json each is printed as it was, a line each.

    \b
    execstore delete e-1f3a --yes
    execstore ls --state Cancelled --json | jq -r '.[].ID' | xargs -r execstore delete
    """
    settings = ctx.ensure_object(Settings)
    with open_to_write(settings) as store:
        whole = [_whole_id(ctx, store, prefix, yes=yes) for prefix in dict.fromkeys(ids)]
        deleted: list[Execution] = []
        with store.begin_tx() as transaction:
            for execution_id in dict.fromkeys(whole):
                deleted.append(transaction.get_execution(execution_id))
                transaction.delete_execution(execution_id)
    settings.done = f"{deleted[0].id} was deleted" if len(deleted) == 1 else f"all {len(deleted)} were deleted"
    for execution in deleted:
        if as_json:
            print_json(execution.to_dict())
        else:
            print_lines([f"deleted {one_line(execution.id)}"])


def _whole_id(ctx: click.Context, store: Store, prefix: str, *, yes: bool) -> str:
    found = find_execution(store, prefix)
    if found.id == prefix or yes:
        return found.id
    described = f"{found.id} ({found.compute_state.state_type.value})"
    if sys.stdin.isatty() and sys.stderr.isatty():
        if click.confirm(one_line(f"delete {described}?"), err=True):
            return found.id
        ctx.exit(NO)
    raise InvalidArgumentError("ID", f"{prefix!r} is the beginning of {described}; give the whole ID, or --yes")
