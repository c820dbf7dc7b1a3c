"""``execstore create``: store new executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import Settings, json_option, open_to_write
from execstore.cli.documents import read_documents
from execstore.cli.exit_status import exit_status_of
from execstore.cli.options import event_option, input_file_type, make_events
from execstore.cli.output import note, one_line, print_json, print_lines
from execstore.errors import ExecStoreError, InvalidExecutionError

if TYPE_CHECKING:
    from execstore import Execution

__all__ = ["command"]

_NAMES = "members are written ID, JobID, Job, ComputeState … as in the example of 'execstore create --help'"


@click.command(name="create")
@click.argument("file", metavar="FILE|-", type=input_file_type())
@event_option
@json_option
@click.pass_context
def command(ctx: click.Context, *, file: str, event_texts: list[tuple[str, str]], as_json: bool) -> None:
    """Store new executions, in state New or BidAccepted, from a file or (-) from stdin.

    It holds one JSON document (an execution, or a list of them), or an execution a line. Each is stored by itself as it
    comes and, with --json, printed as it was stored, a line each. The first that can't be stored ends it, and is named
    by its place; what came before stays.

    \b
    echo '{"ID": "e-7", "JobID": "j-7", "Job": {}, "ComputeState": {"StateType": "New"}}' | execstore create -
    execstore create execution.json --event Execution=created
    jq -c '.[]' executions.json | execstore create -
    """
    from execstore import Execution  # noqa: PLC0415 (help and usage errors don't need it)

    is_empty = True
    settings = ctx.ensure_object(Settings)
    with click.open_file(file, "rb") as stream, open_to_write(settings) as store:
        for place, document in read_documents(stream, "stdin" if file == "-" else file):
            is_empty = False
            try:
                execution = Execution.from_dict(document)
                _check_names(execution, document)
                stored = store.create_execution(execution, *make_events(event_texts))
            except ExecStoreError as error:
                note(one_line(f"execstore: {place}: {error}"))
                ctx.exit(exit_status_of(error))
            settings.done = f"{stored.id} was created, nothing behind it"
            if as_json:
                print_json(stored.to_dict())
            else:
                print_lines([f"created {one_line(stored.id)}"])
    if is_empty:
        note("nothing to create")


def _check_names(execution: Execution, document: dict[str, Any]) -> None:
    """Find out a document in other names (``id``, ``job_id``): its members are kept, but mean nothing."""
    for name, is_there in (("ID", bool(execution.id)), ("ComputeState", "ComputeState" in document)):
        if not is_there:
            raise InvalidExecutionError("", f"it has no {name}; {_NAMES}")
