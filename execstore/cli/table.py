"""Tables of plain text that fit the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["WIDE_COLUMNS", "Column", "cell_width", "cut", "render_table", "state_colour", "wrap"]

WIDE_COLUMNS = 110
"""From so many columns on there is room for whole IDs."""

_GAP = "  "
_STATE_COLOURS = {
    "Completed": "green",
    "Failed": "red",
    "Cancelled": "yellow",
    "AskForBidRejected": "yellow",
    "BidRejected": "yellow",
    "BidAccepted": "cyan",
    "Running": "cyan",
    "Publishing": "cyan",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        minimum: how narrow it may be made when the table is too wide; 0 if it may not.
        colour: names the colour of a cell by its text, ``None`` for none.
    """

    title: str
    right: bool = False
    minimum: int = 0
    colour: Callable[[str], str | None] | None = None
    boring: str | None = None
    wraps: bool = False


def state_colour(state: str) -> str | None:
    """Return the colour in which a state is shown."""
    return _STATE_COLOURS.get(state)


def render_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the table's lines: titles first, cells padded, none wider than ``width`` (``None``: as wide as needed).

    The last columns give way first, each down to its minimum.
    """
    if width is not None:
        columns, rows = _without_boring(columns, rows)
    widths = [
        max([cell_width(column.title), *(cell_width(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]
    excess = 0 if width is None else sum(widths) + len(_GAP) * (len(columns) - 1) - width
    for index in reversed(range(len(columns))):
        minimum = columns[index].minimum
        if excess > 0 and minimum and widths[index] > minimum:
            given = min(excess, widths[index] - minimum)
            widths[index] -= given
            excess -= given
    if width is not None and columns[-1].wraps:
        rows = [part for row in rows for part in _wrapped_row(row, widths[-1])]
    lines = [_line(columns, [column.title for column in columns], widths, is_title=True)]
    lines += [_line(columns, row, widths) for row in rows]
    return lines


def _without_boring(
    columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> tuple[Sequence[Column], Sequence[Sequence[str]]]:
    kept = [
        index
        for index, column in enumerate(columns)
        if column.boring is None or any(row[index] != column.boring for row in rows)
    ]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def _wrapped_row(row: Sequence[str], width: int) -> list[list[str]]:
    first, *others = wrap(row[-1], width)
    return [[*row[:-1], first], *([*("" for _ in row[:-1]), other] for other in others)]


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], *, is_title: bool = False) -> str:
    cells = []
    for index, (column, text, width) in enumerate(zip(columns, row, widths, strict=True)):
        shown = cut(text, width)
        padding = " " * (width - cell_width(shown))
        if is_title:
            shown = click.style(shown, bold=True)
        elif column.colour is not None:
            colour = column.colour(text)
            shown = shown if colour is None else click.style(shown, fg=colour)
        is_last = index == len(columns) - 1
        cells.append(padding + shown if column.right else shown if is_last else shown + padding)
    return _GAP.join(cells)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 (plain text, the usual case, does without rich)

    return cell_len(text)


def wrap(text: str, width: int) -> list[str]:
    """Return the text in lines of at most ``width`` columns; one that is empty as one line."""
    if cell_width(text) <= width:
        return [text]
    import textwrap  # noqa: PLC0415 (what fits, the usual case, does without it)

    # Where characters are two columns wide only half as many fit.
    wide = 1 if text.isascii() or all(cell_width(character) < 2 for character in text) else 2
    return textwrap.wrap(text, max(width // wide, 1), break_on_hyphens=False) or [""]


def cut(text: str, width: int) -> str:
    """Return the text, its end replaced by an ellipsis where it is wider than ``width``."""
    if cell_width(text) <= width:
        return text
    if width < 1:
        return ""
    shown = ""
    for character in text:
        # Of the whole, not added up: a character may join the one before it.
        if cell_width(shown + character) >= width:
            break
        shown += character
    return shown + "…"
