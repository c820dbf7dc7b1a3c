"""What commands share: which store, how times are shown, finding an execution by the beginning of its ID."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import click

from execstore.addresses import connect, folder_of, without_password
from execstore.cli.exit_status import USAGE
from execstore.cli.times import TimeStyle
from execstore.errors import (
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidArgumentError,
    UnsupportedOperationError,
)
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from execstore import Execution, Store

__all__ = [
    "DEFAULT_STORE",
    "Settings",
    "complete_states",
    "find_execution",
    "find_job_id",
    "help_without_command",
    "json_option",
    "open_to_read",
    "open_to_write",
    "shorten_ids",
    "state_option",
    "store_option",
    "time_options",
]

DEFAULT_STORE = "./execstore-data"

# "e-" or "j-" and eight digits, as Bacalhau shortens its IDs.
_SHORT_ID_LENGTH = 10

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """The context object of every command; ``store_path``, a path or an address, is set before a command runs."""

    store_path: str | None = None
    time_style: TimeStyle = TimeStyle.AGE
    done: str = ""
    """What has been changed so far, to be said if the result can't be: set once it is committed."""

    @property
    def path(self) -> str:
        """The store's folder or address, as it was given."""
        return self.store_path or DEFAULT_STORE

    @property
    def folder(self) -> str | None:
        """The store's folder, ``None`` if it is elsewhere."""
        return folder_of(self.path)

    @property
    def shown(self) -> str:
        """What to call the store: the absolute path of its folder, or its address without any password."""
        folder = self.folder
        return without_password(self.path) if folder is None else os.path.abspath(folder)

    def need_folder(self, operation: str, remedy: str) -> str:
        """The store's folder, for what is done to files. Raises ``UnsupportedOperationError`` if it is elsewhere."""
        folder = self.folder
        if folder is None:
            raise UnsupportedOperationError(self.shown, operation, remedy)
        return folder


def _take_store(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        if not value or "\0" in value:
            raise click.BadParameter("a folder or an address can't be empty", ctx, parameter)
        ctx.ensure_object(Settings).store_path = value


def store_option(function: _Function) -> _Function:
    """Add ``--store``: before the command, as documented, and behind it, where one also looks for it."""
    option = click.option(
        "--store",
        metavar="ADDRESS",
        expose_value=False,
        is_eager=True,
        callback=_take_store,
        help="The store's folder, or its address elsewhere (etcd://host:2379/prefix).  "
        "[default: $EXECSTORE_DIR, then ./execstore-data]",
    )
    return option(function)


def json_option(function: _Function) -> _Function:
    """Add ``--json``, the parameter ``as_json``, and ``--store``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    return store_option(option(function))


def time_options(function: _Function) -> _Function:
    """Add ``--utc`` and ``--ns``, which set ``Settings.time_style``."""

    def take(style: TimeStyle) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
            if value:
                settings = ctx.ensure_object(Settings)
                if settings.time_style not in {TimeStyle.AGE, style}:
                    raise click.UsageError("--utc and --ns exclude each other", ctx)
                settings.time_style = style

        return callback

    utc = click.option(
        "--utc", is_flag=True, expose_value=False, callback=take(TimeStyle.UTC), help="Show times as dates, in UTC."
    )
    ns = click.option(
        "--ns",
        is_flag=True,
        expose_value=False,
        callback=take(TimeStyle.NS),
        help="Show times as nanoseconds since 1970.",
    )
    return utc(ns(function))


def help_without_command(ctx: click.Context) -> None:
    """End with the group's help, on stderr, if no command was given. For groups with ``invoke_without_command``."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(USAGE)


def _parse_state(ctx: click.Context, parameter: click.Parameter, value: str | None) -> ExecutionState | None:
    if value is None:
        return None
    for state in ExecutionState:
        if value.lower() == state.value.lower():
            return state
    raise click.BadParameter(f"{value!r} is no state; it is one of {', '.join(ExecutionState)}", ctx, parameter)


def state_option(help_text: str) -> Callable[[_Function], _Function]:
    """Add ``--state``, the parameter ``state``: an ``ExecutionState``, named in any case, or ``None``."""
    return click.option("--state", metavar="S", callback=_parse_state, shell_complete=complete_states, help=help_text)


def complete_states(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """For the shell: the states that a text is the beginning of."""
    return [state.value for state in ExecutionState if state.value.lower().startswith(incomplete.lower())]


def open_to_read(settings: Settings) -> Store:
    """Open the store without writing a byte to it."""
    return connect(settings.path, read_only=True)


def open_to_write(settings: Settings) -> Store:
    """Open the store, which must be there: a path that was mistyped doesn't become one."""
    connect(settings.path, read_only=True).close()
    return connect(settings.path)


def find_execution(store: Store, prefix: str) -> Execution:
    """Return the execution with this ID, or the only one whose ID begins with it.

    Raises:
        ExecutionNotFoundError: if there is none.
        InvalidArgumentError: if there are several, naming some.
    """
    if not prefix:
        raise InvalidArgumentError("ID", "it can't be empty")
    try:
        return store.get_execution(prefix)
    except ExecutionNotFoundError:
        # All IDs that begin with it, and are longer, stand right behind it in ID order.
        found = list(islice(store.list_executions(after=prefix, limit=4), 4))
        found = [execution for execution in found if execution.id.startswith(prefix)]
        if not found:
            raise
    if len(found) > 1:
        raise InvalidArgumentError("ID", _ambiguous(prefix, [execution.id for execution in found]))
    return found[0]


def find_job_id(store: Store, job: str) -> str:
    """Return the ID of the job that has this ID, or the only one whose ID begins with it or whose name it is.

    Only an ID that is not whole costs a walk through all executions.

    Raises:
        ExecutionsNotFoundForJobError: if there is none.
        InvalidArgumentError: if there are several, naming some.
    """
    if not job:
        raise InvalidArgumentError("JOB", "it can't be empty")
    try:
        store.get_executions(job)
    except ExecutionsNotFoundForJobError:
        found: set[str] = set()
        for execution in store.list_executions():
            if execution.job_id.startswith(job) or (execution.job or {}).get("Name") == job:
                found.add(execution.job_id)
        if not found:
            raise
        if len(found) > 1:
            raise InvalidArgumentError("JOB", _ambiguous(job, sorted(found))) from None
        return found.pop()
    return job


def _ambiguous(prefix: str, found: list[str]) -> str:
    names = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return f"{prefix!r} can be any of {names}; give more of the ID"


def shorten_ids(ids: list[str]) -> list[str]:
    """Cut IDs to where they still tell each other apart; the commands take them like that."""
    length = _SHORT_ID_LENGTH
    for before, behind in pairwise(sorted(set(ids))):
        while length < len(behind) and before[:length] == behind[:length]:
            length += 1
    return [identity[:length] for identity in ids]
