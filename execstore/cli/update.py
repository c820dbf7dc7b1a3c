"""``execstore update``: change an execution, under conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_write, state_option
from execstore.cli.documents import read_document
from execstore.cli.options import detail_option, event_option, id_argument, input_file_type, make_events, states_option
from execstore.cli.output import one_line, print_json, print_lines

if TYPE_CHECKING:
    from execstore import Execution, ExecutionState

__all__ = ["command"]


@click.command(name="update")
@id_argument()
@state_option("The new state.")
@click.option("--message", metavar="M", default="", help="The new state's message.")
@detail_option("A detail of the new state; may be repeated.")
@click.option(
    "--new-values",
    "file",
    metavar="FILE|-",
    type=input_file_type(),
    help="Other members, as a JSON object of an execution that has only these.",
)
@click.option("--clear", metavar="FIELD", multiple=True, help="Set a field back (run_output, compute_state.message …).")
@event_option
@states_option("--expect-state", "expected_states", "Only if it is in this state; may be repeated.")
@click.option("--expect-revision", type=click.IntRange(min=1), metavar="N", help="Only if it has this revision.")
@json_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    execution_id: str,
    state: ExecutionState | None,
    message: str,
    details: list[tuple[str, str]],
    file: str | None,
    clear: tuple[str, ...],
    event_texts: list[tuple[str, str]],
    expected_states: list[ExecutionState],
    expect_revision: int | None,
    as_json: bool,
) -> None:
    """Change an execution if it is as expected; the beginning of its ID is enough. What has ended can't be changed.

    What isn't given stays, and objects are merged, as in the library: to empty a field, use --clear. With --json the
    execution is printed as it was stored.

    \b
    execstore update e-1f3a --state Running --expect-state BidAccepted --event Execution=started
    execstore update e-1f3a --state Failed --message 'disk full' --detail code=28 --expect-revision 2
    echo '{"RunOutput": {"ExitCode": 3}}' | execstore update e-1f3a --new-values -
    """
    from execstore import UpdateExecutionCondition, UpdateExecutionRequest  # noqa: PLC0415

    if not (state or message or details or file or clear or event_texts):
        raise click.UsageError("nothing to change; give --state, say")
    new_values = _new_values(file, state, message, dict(details))
    with open_to_write(settings) as store:
        # A prefix may come to name another execution later, so it is looked up once and the whole ID is used.
        request = UpdateExecutionRequest(
            find_execution(store, execution_id).id,
            new_values,
            UpdateExecutionCondition(expected_states, expect_revision or 0),
            make_events(event_texts),
            clear,
        )
        stored = store.update_execution_state(request)
    settings.done = f"{stored.id} was updated"
    if as_json:
        print_json(stored.to_dict())
    else:
        state_name = stored.compute_state.state_type.value
        print_lines([f"{one_line(stored.id)} is {one_line(state_name)}, revision {stored.revision}"])


def _new_values(file: str | None, state: ExecutionState | None, message: str, details: dict[str, str]) -> Execution:
    from execstore import Execution, State  # noqa: PLC0415 (help and usage errors don't need it)

    values = Execution()
    if file is not None:
        with click.open_file(file, "rb") as stream:
            values = Execution.from_dict(read_document(stream, "stdin" if file == "-" else file))
    if state is None and not message and not details:
        return values
    given = values.compute_state
    return values.replace(
        compute_state=State(
            state or given.state_type,
            message or given.message,
            {**given.details, **details},
            extra=given.extra,
        )
    )
