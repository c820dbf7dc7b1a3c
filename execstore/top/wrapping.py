"""Texts that are too long for a line, in several."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from execstore.cli.table import cell_width, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hanging", "wrapped"]


def hanging(head: str, text: str, width: int) -> Iterator[Text]:
    """A text beside its heading, or below it where there is hardly any room beside it."""
    indent = cell_width(head)
    if width - indent < 16:
        yield Text(cut(head.rstrip(), width), "dim")
        head, indent = "    ", 4
    for index, line in enumerate(wrapped(text, max(width - indent, 1))):
        yield Text(head if index == 0 else " " * indent, "dim").append(line, "not dim")


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` columns."""
    if cell_width(text) <= width:
        return [text]
    # Where characters are two columns wide only half as many fit.
    wide = 1 if text.isascii() or all(cell_width(character) < 2 for character in text) else 2
    return textwrap.wrap(text, max(width // wide, 1), break_on_hyphens=False) or [""]
