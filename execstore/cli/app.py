"""The group of commands, and what surrounds each: loading it late, errors, signals, the exit status."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

import click

from execstore.cli.context import DEFAULT_STORE, Settings, help_without_command, store_option
from execstore.cli.exit_status import BROKEN, DONE, USAGE, exit_status_of
from execstore.cli.output import one_line
from execstore.cli.sentences import sentence_of, usage_sentence_of
from execstore.cli.streams import STANDARD_OUTPUT
from execstore.errors import ExecStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "INTERRUPTED", "cli", "run"]

INTERRUPTED: Final = 130
"""What ``run`` returns after Ctrl-C: what a shell says of a program that SIGINT has ended."""

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("execstore.cli.demo", "Run a small compute node on job files and look at what it leaves."),
    "init": ("execstore.cli.init", "Create an empty store."),
    "create": ("execstore.cli.create", "Store new executions, from JSON."),
    "show": ("execstore.cli.show", "Show executions in full."),
    "ls": ("execstore.cli.ls", "List executions."),
    "jobs": ("execstore.cli.jobs", "List jobs, with how their executions stand."),
    "update": ("execstore.cli.update", "Change an execution if it is as expected."),
    "delete": ("execstore.cli.delete", "Remove executions."),
    "events": ("execstore.cli.events", "Show what happened to an execution."),
    "add-event": ("execstore.cli.add_event", "Note what happened to an execution."),
    "watch": ("execstore.cli.watch", "Follow the event log."),
    "watchers": ("execstore.cli.watchers", "Show how far watchers have come, or forget one."),
    "history": ("execstore.cli.history", "Show an execution's revisions and what changed in each."),
    "stats": ("execstore.cli.stats", "Count what is in the store."),
    "top": ("execstore.cli.top", "Watch the store live in the terminal."),
    "metrics": ("execstore.cli.metrics", "Print metrics for Prometheus and its like."),
    "prune": ("execstore.cli.prune", "Remove executions that ended long ago."),
    "gc": ("execstore.cli.gc", "Remove old events from the event log."),
    "verify": ("execstore.cli.verify", "Check the whole store for damage."),
    "repair": ("execstore.cli.repair", "Mend what verify finds; damaged files are set aside."),
    "backup": ("execstore.cli.backup", "Write a copy of the store as it is at one moment."),
    "restore": ("execstore.cli.restore", "Make a new store out of a backup."),
    "explain": ("execstore.cli.explain", "Show how the store keeps its word, step by step."),
    "bench": ("execstore.cli.bench", "Measure how fast the store is here."),
    "import": ("execstore.cli.import_", "Take in a Bacalhau node's database, or JSON lines."),
    "export": ("execstore.cli.export_", "Write the store as JSON lines, or as an SQLite database."),
    "copy": ("execstore.cli.copy", "Copy a store to another place, a folder or an address."),
    "forward": ("execstore.cli.forward", "Bring a node's executions into a central store."),
    "completion": ("execstore.cli.completion", "Print what a shell needs to complete a line."),
    "man": ("execstore.cli.man", "Print the manual page."),
}
"""Each command's module, whose ``command`` it is, and its short help, so that ``--help`` needs to load none of them."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As ever, but ``help`` and what follows is that with ``--help``: it is what one tries first."""
        if args == ["help"]:
            click.echo(ctx.get_help())
            ctx.exit(DONE)
        return super().resolve_command(ctx, [*args[1:], "--help"] if args[0] == "help" else args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands by their table, so that a line is completed without loading them, and the options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only for completion

        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value:
        from importlib import metadata  # noqa: PLC0415

        try:
            version = metadata.version("execstore")
        except metadata.PackageNotFoundError:
            version = "(a checkout that isn't installed)"
        click.echo(f"execstore {version}")
        ctx.exit()


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@store_option
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Look into and work on an execution store: plain files, changed atomically.

    The store is at $EXECSTORE_DIR if --store isn't given, and at ./execstore-data if that isn't set either. Results go
    to stdout, everything else to stderr. Exit status: 0 done, 1 the store says no, 2 wrong usage, 3 the store can't be
    used.

    \b
    execstore demo                       see it at work
    execstore ls --state Failed          what has failed
    execstore show e-1f3a                one execution, by the beginning of its ID
    execstore help ls                    what a command does, and its options
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    settings = ctx.ensure_object(Settings)
    if settings.store_path is None:
        settings.store_path = os.environ.get("EXECSTORE_DIR") or DEFAULT_STORE
    help_without_command(ctx)


class _WarningsToStderr(logging.Handler):
    """What the library would only log, a damaged record that a list goes on without, is told to the user."""

    def emit(self, record: logging.LogRecord) -> None:
        _complain(f"execstore: {record.levelname.lower()}: {record.getMessage()}")


def run(arguments: Sequence[str], program: str | None = None) -> int:
    """Run one command line and return its exit status. Every error and warning becomes one line on stderr.

    Args:
        arguments: without the program's name.
        program: its name in messages; found out if not given.
    """
    logger = logging.getLogger("execstore")
    handler = _WarningsToStderr(logging.WARNING)
    logger.addHandler(handler)
    try:
        return _run(arguments, program)
    finally:
        logger.removeHandler(handler)


def _run(arguments: Sequence[str], program: str | None) -> int:
    settings = Settings()
    try:
        result = cli.main(args=list(arguments), prog_name=program, standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        _complain(usage_sentence_of(error, arguments))
        return USAGE
    except ExecStoreError as error:
        _complain(f"execstore: {sentence_of(error)}")
        return exit_status_of(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        # Who reads only that something failed would do again what was done.
        done = f"; {settings.done}" if error.filename == STANDARD_OUTPUT and settings.done else ""
        _complain(f"execstore: {where}{error.strerror or error}{done}")
        return BROKEN
    except Exception as error:  # noqa: BLE001 (whatever it is, the user gets one line)
        if os.environ.get("EXECSTORE_DEBUG"):
            traceback.print_exc()
        reason = f"a defect of execstore itself: {type(error).__name__}: {error}"
        _complain(f"execstore: {reason}; set EXECSTORE_DEBUG=1 to see where")
        return BROKEN
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # the status still says it
        click.echo(one_line(" ".join(text.split("\n"))), err=True)
