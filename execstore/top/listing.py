"""A list that one can move in: rows of cells under titles, of which as many are drawn as there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rich.text import Text
from textual.binding import Binding
from textual.message import Message
from textual.widget import Widget

from execstore.cli.table import cell_width, cut
from execstore.top.board import rule
from execstore.top.text import cut_middle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events
    from textual.binding import BindingType

__all__ = ["ListColumn", "ListRow", "Listing", "column_widths"]

_GAP = 2
_INDENT = 2
_OPEN_WIDTH = 20  # what the column without a limit is given before the others get more


class ListColumn(NamedTuple):
    """A column of ``narrow`` to ``wide`` columns of the terminal; 0 for ``narrow``: what the others leave.

    ``middle``: what is too wide is cut there. ``from_width``: it is only shown on screens that are as wide.
    """

    title: str
    narrow: int = 0
    wide: int = 0
    right: bool = False
    middle: bool = False
    from_width: int = 0


class ListRow(NamedTuple):
    """``styles`` has one for each cell; ``target`` is what the row is opened by."""

    cells: tuple[str, ...]
    styles: tuple[str, ...]
    target: str


def column_widths(columns: Sequence[ListColumn], width: int) -> list[int]:
    """The columns' widths, by the room alone, so that they stay where they are whatever comes. Some may get none."""
    all_columns, columns = columns, [column for column in columns if width >= column.from_width]
    room = width - _INDENT - _GAP * (len(columns) - 1)
    widths = [column.narrow or 8 for column in columns]
    while sum(widths) > room and len(widths) > 1:  # too narrow for all: the last ones are left out
        widths.pop()
        room += _GAP
    spare = room - sum(widths)
    is_open = not columns[len(widths) - 1].narrow
    if is_open:
        first = min(max(spare, 0), _OPEN_WIDTH)
        widths[-1] += first
        spare -= first
    for index, column in enumerate(columns[: len(widths)]):
        # What is left over goes to the column without a limit, once the others have what does them good.
        more = min(max(column.wide - widths[index], 0), max(spare * 2 // 3, 0))
        widths[index] += more
        spare -= more
    if spare > 0 and is_open:
        widths[-1] += spare
    widths[0] = max(min(widths[0], width - _INDENT), 1)
    found = iter(widths)
    return [next(found, 0) if width >= column.from_width else 0 for column in all_columns]


class Listing(Widget, can_focus=True):
    """Rows that can be moved in by keys, wheel and mouse. One that ``follows`` stays at its end until it is moved."""

    DEFAULT_CSS = "Listing { height: 1fr; text-wrap: nowrap; text-overflow: clip; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "end(-1)", "first", show=False),
        Binding("end,G", "end(1)", "last", show=False),
        Binding("enter", "open", "open", show=False),
    ]

    class Opened(Message):
        """A row was chosen; ``target`` is its."""

        def __init__(self, target: str) -> None:
            super().__init__()
            self.target = target

    def __init__(self, columns: Sequence[ListColumn], *, title: str, follows: bool = False, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._empty = "reading the store…"
        self._follows = self._is_at_end = follows
        self._keys: Sequence[str] = ()
        self._make: Callable[[int], ListRow] | None = None
        self._title = title
        self._remark = ""
        self._cursor = 0
        self._top = 0

    @property
    def rows(self) -> list[ListRow]:
        """What is in it, also what isn't drawn."""
        return [] if self._make is None else [self._make(index) for index in range(len(self._keys))]

    @property
    def current(self) -> ListRow | None:
        """The row that a key would act on; ``None`` if there is none."""
        return self._make(self._cursor) if self._make is not None and self._keys else None

    def show(self, title: str, remark: str, keys: Sequence[str], make: Callable[[int], ListRow], *, empty: str) -> None:
        """Show these rows instead. The cursor stays on the row that it is on; if that is gone, at its place.

        Args:
            keys: of each row what stays while the row changes.
            make: gives a row by its place; only those that are drawn are made.
            empty: what to say if there are none.
        """
        current = self._keys[self._cursor] if self._keys else None
        self._title, self._remark, self._empty = title, remark, empty
        self._keys, self._make = keys, make
        if self._is_at_end:
            self._cursor = len(keys) - 1
        elif current is not None and current in keys:
            place = keys.index(current)
            self._top += place - self._cursor  # what is looked at stays where it is on the screen
            self._cursor = place
        self._settle()

    def _settle(self) -> None:
        self._cursor = max(min(self._cursor, len(self._keys) - 1), 0)
        visible = max(self._visible, 1)
        self._top = max(min(self._top, self._cursor, len(self._keys) - visible), self._cursor - visible + 1, 0)
        self.refresh()

    @property
    def _visible(self) -> int:
        return max(self.size.height - 2, 0)

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        """Keep the cursor in sight."""
        self._settle()

    def render(self) -> Text:
        """The title, the columns' titles, and the rows that there is room for."""
        width, height = self.size
        remark = self._remark if self._is_at_end or not self._follows else f"End: follow again · {self._remark}"
        lines = [rule(self._title, remark, width, is_focused=self.has_focus)]
        widths = column_widths(self._columns, width)
        if self._keys and self._make is not None:
            titles = [column.title for column in self._columns]
            lines.append(self._line(titles, ["dim"] * len(titles), widths, width))
            for index in range(self._top, min(self._top + self._visible, len(self._keys))):
                row = self._make(index)
                is_current = index == self._cursor and self.has_focus
                styles = ["reverse"] * len(row.cells) if is_current else row.styles
                lines.append(self._line(row.cells, styles, widths, width, "reverse" if is_current else ""))
        else:
            lines.append(Text(cut(f"  {self._empty}", width), "dim"))
        return Text("\n", no_wrap=True, end="").join(lines[:height])

    def _line(
        self, cells: Sequence[str], styles: Sequence[str], widths: Sequence[int], width: int, style: str = ""
    ) -> Text:
        text = Text(" " * _INDENT, style, no_wrap=True, end="")
        for index, (column, cell, cell_style, room) in enumerate(
            zip(self._columns, cells, styles, widths, strict=True)
        ):
            if room <= 0:
                continue
            shown = cut_middle(cell, room) if column.middle else cut(cell, room)
            padding = " " * (room - cell_width(shown))
            text.append(" " * _GAP if index else "")
            text.append(padding if column.right else "")
            text.append(shown, cell_style)
            text.append("" if column.right else padding)
        text.append(" " * max(width - cell_width(text.plain), 0))
        return text

    # --- moving ---

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._cursor += by
        self._is_at_end = self._follows and self._cursor >= len(self._keys) - 1
        self._settle()

    def action_page(self, by: int) -> None:
        """Move the cursor by what is visible."""
        self.action_move(by * max(self._visible - 1, 1))

    def action_end(self, to: int) -> None:
        """Move the cursor to the first or to the last row."""
        self.action_move(to * len(self._keys))

    def action_open(self) -> None:
        """Ask for the current row to be opened."""
        current = self.current
        if current is not None and current.target:
            self.post_message(self.Opened(current.target))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """As a key would."""
        event.stop()
        self.action_move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """As a key would."""
        event.stop()
        self.action_move(-3)

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to a row; twice opens it."""
        index = self._top + event.y - 2
        if event.y >= 2 and index < len(self._keys):
            self.action_move(index - self._cursor)
            if event.chain > 1:
                self.action_open()
