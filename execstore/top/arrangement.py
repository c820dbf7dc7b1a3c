"""How the parts of the screen share its lines."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Arrangement", "arrange"]

_BOARD_LINES = 7  # as many as there are vital signs
_LARGE = 30
_SMALL = 18
_TINY = 10


class Arrangement(NamedTuple):
    """Lines for each part, its title included; 0 if it isn't shown. A board of one line is a summary."""

    board: int
    executions: int
    events: int


def arrange(lines: int, states: int, *, events_are_focused: bool) -> Arrangement:
    """Share ``lines`` out, those between the screen's first and its last. ``states``: how many there are to show."""
    if lines < _TINY:
        rest = max(lines - 1, 0)
        return Arrangement(min(lines, 1), 0 if events_are_focused else rest, rest if events_are_focused else 0)
    board = 1
    if lines >= _SMALL:
        board += max(_BOARD_LINES, min(states, 12)) if lines >= _LARGE else _BOARD_LINES
    rest = lines - board
    return Arrangement(board, rest - rest // 2, rest // 2)
