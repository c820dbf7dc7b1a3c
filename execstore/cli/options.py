"""Options that several commands take, and how they read what they are given."""

from __future__ import annotations

import os
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from execstore.addresses import connect
from execstore.cli.context import DEFAULT_STORE, Settings, complete_states
from execstore.cli.streams import is_closed
from execstore.cli.times import parse_duration
from execstore.errors import ExecStoreError
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from click.shell_completion import CompletionItem

    from execstore import Event

__all__ = [
    "complete_ids",
    "detail_option",
    "event_option",
    "id_argument",
    "input_file_type",
    "make_events",
    "older_than_option",
    "output_file_type",
    "page_options",
    "states_option",
]

_COMPLETIONS = 100


class _InputFile(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-" and is_closed(sys.stdin):
            self.fail("standard input is closed", param, ctx)
        return super().convert(value, param, ctx)


class _OutputFile(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-" and is_closed(sys.stdout):
            self.fail("standard output is closed", param, ctx)
        return super().convert(value, param, ctx)


def input_file_type() -> click.Path:
    """The type of ``FILE|-`` that is read."""
    return _InputFile(exists=True, dir_okay=False, allow_dash=True)


def output_file_type() -> click.Path:
    """The type of ``FILE|-`` that is written."""
    return _OutputFile(dir_okay=False, allow_dash=True)


def older_than_option(name: str, help_text: str, *, required: bool = False) -> Callable[[Any], Any]:
    """Add ``--older-than``, the parameter ``name``: a ``timedelta`` or ``None``."""

    def parse(ctx: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
        try:
            return None if value is None else parse_duration(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return click.option("--older-than", name, metavar="AGE", required=required, callback=parse, help=help_text)


def _parse_pairs(what: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], list[tuple[str, str]]]:
    def parse(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
        pairs = []
        for value in values:
            name, separator, text = value.partition("=")
            if not name or not separator:
                raise click.BadParameter(f"{value!r} is not of the form {what}", ctx, parameter)
            pairs.append((name, text))
        return pairs

    return parse


def event_option(function: Any) -> Any:
    """Add ``--event``, the parameter ``event_texts``: pairs for `make_events`."""
    option = click.option(
        "--event",
        "event_texts",
        metavar="TOPIC=MESSAGE",
        multiple=True,
        callback=_parse_pairs("TOPIC=MESSAGE"),
        help="Add an event in the same transaction; may be repeated.",
    )
    return option(function)


def make_events(event_texts: list[tuple[str, str]]) -> list[Event]:
    """The events of ``--event``, of this moment."""
    from execstore import Event  # noqa: PLC0415 (help and usage errors don't need it)

    return [Event(topic, message) for topic, message in event_texts]


def detail_option(help_text: str) -> Callable[[Any], Any]:
    """Add ``--detail``, the parameter ``details``: pairs of key and value."""
    return click.option(
        "--detail", "details", metavar="K=V", multiple=True, callback=_parse_pairs("K=V"), help=help_text
    )


def _parse_states(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[ExecutionState]:
    by_name = {state.value.lower(): state for state in ExecutionState}
    for value in values:
        if value.lower() not in by_name:
            raise click.BadParameter(f"{value!r} is no state; it is one of {', '.join(ExecutionState)}", ctx, parameter)
    return [by_name[value.lower()] for value in values]


def states_option(option: str, name: str, help_text: str) -> Callable[[Any], Any]:
    """Add a repeatable option, the parameter ``name``: a list of ``ExecutionState``, named in any case."""
    return click.option(
        option,
        name,
        metavar="S",
        multiple=True,
        callback=_parse_states,
        shell_complete=complete_states,
        help=help_text,
    )


def id_argument(*, several: bool = False) -> Callable[[Any], Any]:
    """Add the argument ID (``execution_id``) or ID... (``ids``), which the shell can complete."""
    if several:
        return click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_ids)
    return click.argument("execution_id", metavar="ID", shell_complete=complete_ids)


def page_options(after_help: str) -> Callable[[Any], Any]:
    """Add ``--limit`` (``limit``, ``None`` for all) and ``--after`` (``after``, 0 for the beginning), both numbers."""

    def add(function: Any) -> Any:
        limit = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
        return limit(
            click.option("--after", type=click.IntRange(min=0), metavar="N", default=0, help=after_help)(function)
        )

    return add


def complete_ids(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    """The first IDs that a text is the beginning of, with their states. Without a store to ask, none: no word of it."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for completion

    settings = ctx.find_object(Settings)
    given = None if settings is None else settings.store_path
    path = given or os.environ.get("EXECSTORE_DIR") or DEFAULT_STORE
    try:
        with connect(path, read_only=True) as store:
            # All IDs that begin with it stand right behind it in ID order, but for itself.
            found = list(islice(store.list_executions(after=incomplete, limit=_COMPLETIONS), _COMPLETIONS))
    except (ExecStoreError, OSError):
        return []
    return [
        CompletionItem(each.id, help=each.compute_state.state_type.value)
        for each in found
        if each.id.startswith(incomplete) and each.id.isprintable()
    ]
