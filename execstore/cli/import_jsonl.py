"""``execstore import jsonl``: what ``export jsonl`` wrote."""

from __future__ import annotations

import os
import stat

import click

from execstore.cli.context import json_option
from execstore.cli.options import input_file_type
from execstore.cli.transfer import run_import

__all__ = ["command"]


@click.command(name="jsonl")
@click.argument("file", metavar="FILE|-", type=input_file_type())
@click.option("--merge", is_flag=True, help="Add to the store that is there; nothing in it is overwritten.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, file: str, merge: bool, as_json: bool) -> None:
    """Import what 'export jsonl' wrote, from a file or (-) from stdin.

    The store is new, and complete or not there at all. With --merge each execution that the store lacks is added by
    itself; one that is there and different is listed and left alone. Exit status 1 if anything was left out.

    \b
    execstore --store a export jsonl - | execstore --store b import jsonl -
    """
    from execstore.interop.jsonl import JsonlReader  # noqa: PLC0415 (help and usage errors don't need it)

    with click.open_file(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else None
        source = JsonlReader(stream, "stdin" if file == "-" else file, size_bytes)
        run_import(ctx, source, merge=merge, as_json=as_json)
