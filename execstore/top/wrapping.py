"""Texts that are too long for a line, in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from execstore.cli.table import cell_width, cut, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hanging"]


def hanging(head: str, text: str, width: int) -> Iterator[Text]:
    """A text beside its heading, or below it where there is hardly any room beside it."""
    indent = cell_width(head)
    if width - indent < 16:
        yield Text(cut(head.rstrip(), width), "dim")
        head, indent = "    ", 4
    for index, line in enumerate(wrap(text, max(width - indent, 1))):
        yield Text(head if index == 0 else " " * indent, "dim").append(line, "not dim")
