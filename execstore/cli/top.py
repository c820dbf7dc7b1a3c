"""``execstore top``: the store, live in the terminal."""

from __future__ import annotations

import importlib.util
import logging
import math
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.output import print_json, print_lines, terminal_width
from execstore.errors import InvalidArgumentError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.top.filters import Filter
    from execstore.top.source import Source

__all__ = ["command"]

_JSON_LIMIT: Final = 200
_SHORTEST_SECONDS: Final = 0.1


def _parse_interval(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not _SHORTEST_SECONDS <= value <= 3600 or math.isnan(value):
        raise click.BadParameter(f"it is {_SHORTEST_SECONDS} to 3600 seconds, not {value:g}", ctx, parameter)
    return value


@click.command(name="top")
@click.option(
    "--interval",
    "interval_seconds",
    type=float,
    default=1.0,
    metavar="S",
    show_default=True,
    callback=_parse_interval,
    help="Look at the store at most every so many seconds.",
)
@click.option("--once", is_flag=True, help="Print how the store stands, and end; so it does where there's no terminal.")
@click.option("--filter", "filter_text", metavar="F", default="", help="Begin with this filter: state:failed hello.")
@json_option
@click.pass_obj
def command(settings: Settings, *, interval_seconds: float, once: bool, filter_text: str, as_json: bool) -> None:
    """Show the store live: executions by state, those that are live, the newest events, how busy it is.

    Keys: ? explains them and every number, / filters, Enter opens an execution, q quits. With --json a line for each
    look, until Ctrl-C; the screen needs the extra "top", --once and --json don't. It only ever reads.

    \b
    execstore top
    execstore top --filter 'state:failed job:thumbnails'
    execstore top --once --json | jq .states
    """
    from execstore.top.filters import parse_filter  # noqa: PLC0415 (help doesn't need it)

    try:
        chosen = parse_filter(filter_text)
    except InvalidArgumentError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from None
    is_live = not once and not as_json and sys.stdout.isatty() and sys.stdin.isatty()
    if is_live and importlib.util.find_spec("textual") is None:
        raise MissingExtraError("the screen of 'execstore top' (--once and --json do without)", "top")
    with open_to_read(settings) as store:
        from execstore.top.source import Source  # noqa: PLC0415

        source = Source(store, polling_seconds=interval_seconds)
        source.select(chosen)
        if is_live:
            with _problems_of(source):
                _show(source, chosen, interval_seconds)
        elif as_json:
            with _problems_of(source, alone=False):
                _print_json(source, chosen, interval_seconds, once=once)
        else:
            from execstore.top.plain import plain_lines  # noqa: PLC0415

            print_lines(plain_lines(source.look(), chosen, terminal_width()))


def _print_json(source: Source, chosen: Filter, interval_seconds: float, *, once: bool) -> None:
    while True:
        started = time.monotonic()
        snapshot = source.look(interval_seconds)
        print_json(snapshot.to_dict(chosen, _JSON_LIMIT))
        sys.stdout.flush()
        if once:
            return
        source.rest(started + interval_seconds - time.monotonic())


def _show(source: Source, chosen: Filter, interval_seconds: float) -> None:
    from execstore.top.app import TopApp  # noqa: PLC0415 (it imports textual)

    error = TopApp(source, interval_seconds=interval_seconds, chosen=chosen).run()
    if error is not None:
        raise error


class _ToSource(logging.Handler):
    """What the library would only log, a damaged record that a list goes on without, is shown."""

    def __init__(self, source: Source) -> None:
        super().__init__(logging.WARNING)
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        self._source.add_problem(record.getMessage())


@contextmanager
def _problems_of(source: Source, *, alone: bool = True) -> Iterator[None]:
    """Hand on what is logged; ``alone``: to nobody else, since it would spoil the screen."""
    logger = logging.getLogger("execstore")
    before, propagates = logger.handlers[:], logger.propagate
    logger.handlers[:] = [_ToSource(source), *([] if alone else before)]
    logger.propagate = propagates and not alone
    try:
        yield
    finally:
        logger.handlers[:] = before
        logger.propagate = propagates
