"""``execstore add-event``: note what happened to an execution."""

from __future__ import annotations

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_write
from execstore.cli.options import detail_option, id_argument
from execstore.cli.output import one_line, print_json, print_lines

__all__ = ["command"]


@click.command(name="add-event")
@id_argument()
@click.option("--topic", metavar="T", required=True, help="What it is about.")
@click.option("--message", metavar="M", required=True, help="What happened.")
@detail_option("More about it; may be repeated.")
@json_option
@click.pass_obj
def command(
    settings: Settings, *, execution_id: str, topic: str, message: str, details: list[tuple[str, str]], as_json: bool
) -> None:
    """Add an event to an execution, in whatever state; the beginning of its ID is enough.

    With --json the event is printed as it was stored.

    \b
    execstore add-event e-1f3a --topic Operator --message 'restarted by hand' --detail who=$USER
    """
    from execstore import Event  # noqa: PLC0415 (help and usage errors don't need it)

    with open_to_write(settings) as store:
        execution = find_execution(store, execution_id)
        event = Event(topic, message, details=dict(details))
        store.add_execution_event(execution.id, event)
    settings.done = f"the event was added to {execution.id}"
    if as_json:
        print_json({**event.to_dict(), "ExecutionID": execution.id})
    else:
        print_lines([f"added an event to {one_line(execution.id)}"])
