"""What imports and exports share on the command line: points in time, output files, and what is said in the end."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from execstore.beside import give_name, make_file
from execstore.cli.context import Settings, open_to_write
from execstore.cli.exit_status import NO
from execstore.cli.output import note, one_line, print_json
from execstore.errors import InvalidExecutionError
from execstore.timestamps import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.interop.exporting import ExportReport
    from execstore.interop.importing import Source
    from execstore.interop.items import ImportReport

__all__ = ["output_file", "parse_time", "refuse_terminal", "report_export", "run_import"]

_SHOWN: Final = 100
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NS_PER_SECOND: Final = 1_000_000_000


def parse_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """An option's callback: a point in time, in nanoseconds since 1970.

    ``2h`` (ago), ``2026-11-24`` (in UTC), RFC 3339, or the integer itself.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return int(value)
    if ago := _AGO.fullmatch(value):
        return time.time_ns() - int(ago[1]) * _UNITS[ago[2]] * _NS_PER_SECOND
    try:
        return Timestamp.parse(f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value).nanoseconds
    except InvalidExecutionError:
        reason = f"{value!r} is no time; write 2h, 7d, 2026-11-24 or 2026-11-24T13:00:00Z"
        raise click.BadParameter(reason, ctx, parameter) from None


def refuse_terminal(path: str) -> None:
    """Keep what is no text off the screen. Raises ``click.UsageError``: ``path`` is ``-``, and stdout is a terminal."""
    if path == "-" and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal; name a file, or lead it into a file or a pipe")


@contextlib.contextmanager
def output_file(path: str) -> Iterator[BinaryIO]:
    """A file to write to, ``-`` for stdout. A regular file gets its name, or is replaced, once it is whole."""
    if path == "-":
        yield sys.stdout.buffer
        return
    if os.path.exists(path) and not os.path.isfile(path):  # a named pipe, /dev/stdout
        with open(path, "wb") as stream:
            yield stream
        return
    target = os.path.realpath(path)
    descriptor, beside = make_file(target)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        give_name(beside, target)
    except BaseException:
        os.unlink(beside)
        raise


def run_import(ctx: click.Context, source: Source, *, merge: bool, as_json: bool) -> None:
    """Take ``source`` into the context's store; exit status 1 if anything of it was left out."""
    from execstore.interop.importing import import_into, import_new  # noqa: PLC0415

    settings = ctx.ensure_object(Settings)
    if merge:
        with open_to_write(settings) as store:
            report = import_into(source, store)
    else:
        remedy = "make it with 'execstore init', then import with --merge"
        report = import_new(source, settings.need_folder("import into a new store", remedy))
    _report_import(report, settings.shown, as_json=as_json)
    if report.skipped or report.conflicts:
        ctx.exit(NO)


def _report_import(report: ImportReport, path: str, *, as_json: bool) -> None:
    """Say what an import did: the result on stdout, what was left out on stderr."""
    numbers = {
        "executions": report.executions,
        "execution_events": report.execution_events,
        "log_events": report.log_events,
        "checkpoints": report.checkpoints,
        "watcher_checkpoints": report.watcher_checkpoints,
        "already_there": report.already_there,
    }
    _say("conflict", report.conflicts)
    _say("skipped", report.skipped)
    _say("note", report.notes)
    if as_json:
        lists = {"conflicts": report.conflicts, "skipped": report.skipped, "notes": report.notes}
        print_json({"path": path, **numbers, **lists, "seconds": report.seconds})
        return
    there = f", {report.already_there:,} there already" if report.already_there else ""
    conflicts = f", {len(report.conflicts):,} in conflict and left alone" if report.conflicts else ""
    checkpoints = report.checkpoints + report.watcher_checkpoints
    click.echo(
        f"{report.executions:,} executions with {report.execution_events:,} events, {report.log_events:,} events of "
        f"the log, {checkpoints:,} checkpoints{there}{conflicts}, {_skipped(report.skipped)}; "
        f"{_speed(report.executions, report.seconds)}"
    )


def report_export(report: ExportReport, path: str, *, as_json: bool) -> None:
    """Say what an export wrote: the result on stdout, unless the data went there."""
    _say("skipped", report.skipped)
    _say("note", report.notes)
    numbers = {
        "executions": report.executions,
        "execution_events": report.execution_events,
        "log_events": report.log_events,
        "checkpoints": report.checkpoints,
    }
    if as_json and path != "-":
        lists = {"skipped": report.skipped, "notes": report.notes}
        print_json({"file": os.path.abspath(path), **numbers, **lists, "seconds": report.seconds})
        return
    click.echo(
        f"{report.executions:,} executions with {report.execution_events:,} events, {report.log_events:,} events of "
        f"the log, {report.checkpoints:,} checkpoints, {_skipped(report.skipped)}; "
        f"{_speed(report.lines, report.seconds, 'items')}",
        err=path == "-",
    )


def _say(what: str, sentences: list[str]) -> None:
    for sentence in sentences[:_SHOWN]:
        note(f"{what}: {one_line(sentence)}")
    if len(sentences) > _SHOWN:
        note(f"{what}: and {len(sentences) - _SHOWN:,} more")


def _skipped(sentences: list[str]) -> str:
    return f"{len(sentences):,} skipped" if sentences else "nothing skipped"


def _speed(number: int, seconds: float, unit: str = "executions") -> str:
    return f"{seconds:.2f} s, {number / max(seconds, 1e-9):,.0f} {unit}/s"
