"""``execstore man``: the manual page, from the same source as ``--help``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from execstore.cli.context import json_option
from execstore.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["command"]


@click.command(name="man")
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Print the manual page, execstore(1).

    \b
    execstore man > execstore.1
    """
    page = "\n".join(_page(click.Context(ctx.find_root().command, info_name="execstore"))) + "\n"
    if as_json:
        print_json({"name": "execstore", "section": 1, "page": page})
    else:
        click.echo(page.encode(), nl=False)


def _page(root: click.Context) -> Iterator[str]:
    group = root.command
    if not isinstance(group, click.Group):
        raise TypeError("the command line has no commands")
    yield '.TH EXECSTORE 1 "" execstore "User Commands"'
    yield ".SH NAME"
    yield r"execstore \- look into and work on an execution store"
    yield ".SH SYNOPSIS"
    yield r".B execstore"
    yield r"[\fB\-\-store\fR \fIADDRESS\fR] \fICOMMAND\fR [\fIARGUMENT\fR ...]"
    yield ".SH DESCRIPTION"
    yield from _text(group.help or "")
    yield ".SH OPTIONS"
    yield from _options(group, root)
    yield ".SH COMMANDS"
    for name in group.list_commands(root):
        yield from _command(group, name, root)
    yield ".SH ENVIRONMENT"
    for name, meaning in (
        ("EXECSTORE_DIR", "The store's folder or address, if --store isn't given."),
        ("EXECSTORE_DEBUG", "Set to show where a defect of execstore itself is."),
        ("NO_COLOR", "Set to have no colours on a terminal."),
    ):
        yield from _item(name, meaning)
    yield ".SH EXIT STATUS"
    for status, meaning in (
        ("0", "Done."),
        ("1", "The store says no: not found, a conflict, problems found."),
        ("2", "Wrong usage, or what was to be read is wrong."),
        ("3", "The store can't be used: locked, full, damaged, too new, not there."),
    ):
        yield from _item(status, meaning)


def _command(group: click.Group, name: str, above: click.Context) -> Iterator[str]:
    found = group.get_command(above, name)
    if found is None:
        return
    ctx = click.Context(found, info_name=name, parent=above)
    usage = " ".join([ctx.command_path, *found.collect_usage_pieces(ctx)])
    yield f".SS {_escape(usage)}"
    yield from _text(found.help or "")
    yield from _options(found, ctx)
    if isinstance(found, click.Group):
        for inner in found.list_commands(ctx):
            yield from _command(found, inner, ctx)


def _options(found: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in found.get_params(ctx):
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from _item(*record)


def _item(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{_escape(term)}\fR"
    yield _escape(" ".join(meaning.split()))


def _text(help_text: str) -> Iterator[str]:
    """The paragraphs of a command's help; those that click is told to leave as they are (``\\b``) stay in lines."""
    for paragraph in help_text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line.strip()]
        if lines and lines[0].strip() == "\b":
            yield ".PP\n.nf"
            yield from (_escape(line.strip()) for line in lines[1:])
            yield ".fi"
        elif lines:
            yield ".PP"
            yield _escape(" ".join(line.strip() for line in lines))


def _escape(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = "".join(each if each.isascii() else rf"\[u{ord(each):04X}]" for each in escaped)
    # A line that began with a dot would be taken for a request.
    return rf"\&{escaped}" if escaped.startswith(".") else escaped
