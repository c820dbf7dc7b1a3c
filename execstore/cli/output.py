"""Writing to stdout and stderr: JSON as bytes, text that can't play tricks on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from execstore.codec import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["note", "one_line", "print_json", "print_json_array", "print_lines", "several_lines", "terminal_width"]

# Joiners are invisible, but an emoji of several people falls apart without them.
_HARMLESS: Final = frozenset("\u200c\u200d")


def print_lines(lines: Iterable[str]) -> None:
    """Write result lines to stdout."""
    for line in lines:
        click.echo(line)


def note(text: str) -> None:
    """Say something that isn't a result, on stderr."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout, in UTF-8 whatever the locale."""
    click.echo(encode(value))


def print_json_array(values: Iterable[Any]) -> None:
    """Write a JSON array to stdout, an item a line, each as it comes; ``[]`` if there is none."""
    separator = b"["
    for value in values:
        click.echo(separator + encode(value), nl=False)
        separator = b",\n"
    click.echo(b"[]" if separator == b"[" else b"]")


def terminal_width() -> int | None:
    """Return the terminal's width in columns, ``None`` if stdout isn't one (then nothing is cut)."""
    if not sys.stdout.isatty():
        return None
    import shutil  # noqa: PLC0415 - it is slow to load, and most output of scripts goes to no terminal

    return shutil.get_terminal_size().columns


def one_line(text: str) -> str:
    """Return a text without anything that moves the cursor, a line break as ``\\n``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def several_lines(text: str) -> list[str]:
    """Return a text's lines, each safe to print, tabs as spaces."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [one_line(line.removesuffix("\r").expandtabs(8)) for line in lines]


def _escape(character: str) -> str:
    if character.isprintable() or character in _HARMLESS:
        return character
    return character.encode("unicode_escape").decode("ascii")
