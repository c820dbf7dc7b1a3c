"""The screen that ``top`` begins with: the board, the executions, the events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from execstore.cli.output import one_line
from execstore.cli.table import cell_width, cut, state_colour
from execstore.errors import InvalidArgumentError
from execstore.states import ExecutionState
from execstore.top.arrangement import arrange
from execstore.top.board import board_lines, shown_states
from execstore.top.detail_screen import DetailScreen
from execstore.top.filters import Filter, parse_filter
from execstore.top.help import KEYS
from execstore.top.help_screen import HelpScreen
from execstore.top.listing import ListColumn, Listing, ListRow
from execstore.top.text import age, clock, cut_middle, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from execstore.top.model import EventRow, ExecutionRow, Snapshot
    from execstore.top.source import Source

__all__ = ["Line", "MainScreen", "key_line"]

_EXECUTION_COLUMNS: Final = (
    ListColumn("ID", 16, 38, middle=True),
    ListColumn("JOB", 14, 24, from_width=60),
    ListColumn("STATE", 11, 11),
    ListColumn("AGE", 7, 7, right=True),
    ListColumn("CHANGED", 7, 7, right=True, from_width=100),
    ListColumn("MESSAGE"),
)
_EVENT_COLUMNS: Final = (
    ListColumn("EVENT", 9, 9, right=True, from_width=60),
    ListColumn("UTC", 8, 8),
    ListColumn("EXECUTION", 16, 38, middle=True),
    ListColumn("WHAT HAPPENED"),
)


class Line(Widget):
    """One line."""

    DEFAULT_CSS = "Line { height: 1; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._text = Text()

    def show(self, text: Text) -> None:
        """Show this instead."""
        self._text = text
        self.refresh()

    def render(self) -> Text:
        """What was given."""
        return self._text


class Board(Widget):
    """Executions by state, and the vital signs."""

    DEFAULT_CSS = "Board { height: auto; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show this one."""
        self._snapshot = snapshot
        self.refresh()

    def render(self) -> Text:
        """As many lines as it has."""
        if self._snapshot is None:
            return Text("")
        lines = board_lines(self._snapshot, self.size.width, self.size.height, time.time_ns())
        return Text("\n", no_wrap=True, end="").join(lines)


class MainScreen(Screen[None]):
    """See the module. It keeps the filter, and shows the newest snapshot unless it is paused."""

    CSS = """
    #filter { height: 1; border: none; padding: 0; background: ansi_default; }
    #filter:focus { border: none; background: ansi_default; background-tint: ansi_default 0%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit"),
        Binding("question_mark,h", "help", "help"),
        Binding("slash", "filter", "filter"),
        Binding("s", "next_state(1)", "state"),
        Binding("S", "next_state(-1)", "state"),
        Binding("j", "job", "job"),
        Binding("o", "turn", "order"),
        Binding("c", "copy", "copy ID"),
        Binding("p,space", "pause", "pause"),
        Binding("tab", "switch", "other list", priority=True),
        Binding("escape", "leave", "back"),
    ]

    def __init__(self, source: Source, chosen: Filter) -> None:
        super().__init__()
        self._source = source
        self._filter = chosen
        self._before_typing = chosen
        self._is_typing = False
        self._is_paused = False
        self._is_turned = False
        self._newest: Snapshot | None = None
        self._shown: Snapshot | None = None
        self._shown_events: tuple[Sequence[EventRow] | None, Filter] = (None, chosen)
        self._note = ""
        self._is_composed = False
        # Kept, rather than looked for: a last snapshot may come while the screen is being taken down.
        self._header, self._board = Line(id="header"), Board(id="board")
        self._executions = Listing(_EXECUTION_COLUMNS, title="Executions", id="executions")
        self._events = Listing(_EVENT_COLUMNS, title="Events", follows=True, id="events")
        self._note_line, self._keys = Line(id="note"), Line(id="keys")
        self._field = Input(id="filter", placeholder="words  state:failed  job:name    Enter: done  Esc: as before")
        source.select(chosen)

    @property
    def filter(self) -> Filter:
        """What is shown of the store."""
        return self._filter

    @property
    def is_paused(self) -> bool:
        """Whether the screen stands still."""
        return self._is_paused

    def compose(self) -> ComposeResult:
        """The parts, from top to bottom."""
        yield from (self._header, self._board, self._executions, self._events, self._note_line, self._keys, self._field)

    def on_mount(self) -> None:
        """Begin in the list of executions."""
        self._is_composed = True
        self._field.display = False
        self._executions.focus()
        self._show()

    @property
    def _current(self) -> Listing:
        return self._events if self._events.has_focus else self._executions

    # --- showing ---

    def take(self, snapshot: Snapshot) -> None:
        """Show another look at the store, or keep it until the pause is over."""
        self._newest = snapshot
        if not self._is_paused:
            self._show()
        for screen in self.app.screen_stack:
            if isinstance(screen, DetailScreen):
                screen.take(snapshot)

    def _show(self) -> None:
        if not self._is_composed:
            return
        if not self._is_paused or self._shown is None:
            self._shown = self._newest
        snapshot = self._shown
        self._show_header(snapshot)
        problems = () if snapshot is None else snapshot.problems
        note = self._note or (f"! {one_line(problems[-1])}" if problems else "")
        if len(problems) > 1 and not self._note:
            note = f"! {len(problems)} problems, the last: {one_line(problems[-1])}"
        self._note_line.show(Text(cut(note, self.size.width), "red" if note.startswith("!") else ""))
        self._note_line.display = bool(note)
        self._keys.show(key_line(KEYS, self.size.width))
        self._arrange(snapshot, has_note=bool(note))
        if snapshot is None:
            return
        self._board.show(snapshot)
        self._show_executions(snapshot)
        self._show_events(snapshot)

    def _show_header(self, snapshot: Snapshot | None) -> None:
        width = self.size.width
        right = " PAUSED " if self._is_paused else ""
        right += f" {clock(snapshot.time_ns if snapshot else time.time_ns())} UTC "
        left = " execstore top  "
        path = cut_middle(one_line(self._source.path), max(width - len(left) - len(right) - 1, 0))
        text = Text(left, "bold reverse", no_wrap=True, end="").append(path, "not bold")
        text.append(" " * max(width - cell_width(text.plain) - len(right), 0)).append(right)
        text.truncate(width)
        self._header.show(text)

    def _arrange(self, snapshot: Snapshot | None, *, has_note: bool) -> None:
        states = 0 if snapshot is None else len(shown_states(snapshot))
        lines = self.size.height - 2 - has_note
        parts = arrange(lines, states, events_are_focused=self._events.has_focus)
        board = self._board
        for widget, height in (
            (board, parts.board),
            (self._executions, parts.executions),
            (self._events, parts.events),
        ):
            widget.styles.height = height
            widget.display = height > 0

    def _show_executions(self, snapshot: Snapshot) -> None:
        rows = [row for row in snapshot.executions if self._filter.takes_execution(row)]
        if self._is_turned:
            rows.reverse()
        state = snapshot.selection.state
        # What is asked for, and not read yet, isn't what the rows are.
        is_old = (self._filter.state or "") != state
        title = f"{self._filter.state or 'Live'} executions" + ("" if is_old else f" {number(len(rows))}")
        remarks = [str(self._filter) and f"filter {self._filter}"]
        remarks.append("" if snapshot.are_all or is_old else "the first by ID")
        begins_with_newest = bool(state) and ExecutionState(state).is_terminal
        remarks.append("oldest first" if begins_with_newest == self._is_turned else "newest first")
        empty = "none" if not str(self._filter) else f"none that fit: {self._filter}  (Esc drops the filter)"
        now_ns = snapshot.time_ns
        self._executions.show(
            title,
            " · ".join(filter(None, remarks)),
            [] if is_old else [row.execution_id for row in rows],
            lambda index: _execution_list_row(rows[index], now_ns),
            empty="reading the store…" if is_old else empty,
        )

    def _show_events(self, snapshot: Snapshot) -> None:
        shown = (snapshot.events, self._filter)
        if self._shown_events[0] is shown[0] and self._shown_events[1] == shown[1]:
            return  # as nearly always in a store that rests
        self._shown_events = shown
        rows = [row for row in snapshot.events if self._filter.takes_event(row)]
        remarks = []
        if snapshot.skipped_events:
            remarks.append(f"{number(snapshot.skipped_events)} skipped")
        if len(rows) < len(snapshot.events):
            remarks.append(f"{number(len(rows))} of the last {number(len(snapshot.events))}")
        remarks.append("newest last")
        empty = "none yet" if not snapshot.events else f"none of the last {number(len(snapshot.events))} fits"
        self._events.show(
            "Events",
            " · ".join(remarks),
            [str(row.seq_num) for row in rows],
            lambda index: _event_list_row(rows[index]),
            empty=empty,
        )

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        """Arrange all anew."""
        self._show()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:  # noqa: ARG002
        """Draw the lists' lines anew; on a tiny screen, show the other list."""
        self._show()

    # --- what keys do ---

    def action_help(self) -> None:
        """Show the help."""
        self.app.push_screen(HelpScreen())

    def action_pause(self) -> None:
        """Let the screen stand still, or go on."""
        self._is_paused = not self._is_paused
        self._show()

    def action_switch(self) -> None:
        """Go to the other list."""
        (self._executions if self._events.has_focus else self._events).focus()

    def action_turn(self) -> None:
        """Turn the order of the executions round."""
        self._is_turned = not self._is_turned
        self._show()

    def action_copy(self) -> None:
        """Copy the current row's ID, as far as the terminal allows it (OSC 52)."""
        row = self._current.current
        if row is not None and row.target:
            self.app.copy_to_clipboard(row.target)
            self._tell(f"copied {row.target}")

    def action_next_state(self, by: int) -> None:
        """Go through the states that there are, and no state."""
        if self._shown is not None:
            choices = ["", *shown_states(self._shown)]
            place = choices.index(self._filter.state) if self._filter.state in choices else 0
            self._choose(self._filter._replace(state=choices[(place + by) % len(choices)]))

    def action_job(self) -> None:
        """Only the current row's job, or all again."""
        job = "" if self._filter.job else self._current_job()
        if job != self._filter.job:
            self._choose(self._filter._replace(job=job))

    def action_leave(self) -> None:
        """Leave the filter's line as it was before, or drop the filter."""
        if self._is_typing:
            self._choose(self._before_typing)
            self._end_typing()
        elif self._filter != Filter():
            self._choose(Filter())

    def action_filter(self) -> None:
        """Type a filter."""
        self._before_typing = self._filter
        self._is_typing = True
        self._field.value = str(self._filter)
        self._field.display = True
        self._keys.display = False
        self._field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter by what is typed so far, if it can be understood."""
        if self._is_typing:
            self._take_text(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter, if it can be understood."""
        if self._is_typing and self._take_text(event.value):
            self._end_typing()

    def on_listing_opened(self, event: Listing.Opened) -> None:
        """Show the execution in full."""
        self.app.push_screen(DetailScreen(self._source, event.target))

    def _take_text(self, text: str) -> bool:
        try:
            chosen = parse_filter(text)
        except InvalidArgumentError as error:
            self._tell(f"! {error}")
            return False
        self._tell("")
        self._choose(chosen)
        return True

    def _end_typing(self) -> None:
        self._is_typing = False
        self._field.display = False
        self._keys.display = True
        self._tell("")
        self._executions.focus()

    def _choose(self, chosen: Filter) -> None:
        self._filter = chosen
        self._source.select(chosen)
        self._show()

    def _tell(self, note: str) -> None:
        self._note = note
        self._show()

    def _current_job(self) -> str:
        row = self._current.current
        if row is None or self._shown is None:
            return ""
        rows: Iterable[ExecutionRow | EventRow] = (*self._shown.executions, *self._shown.events)
        return next((each.job_id for each in rows if each.execution_id == row.target and each.job_id), "")


def _execution_list_row(row: ExecutionRow, now_ns: int) -> ListRow:
    cells = (
        one_line(row.execution_id),
        one_line(row.job_name or row.job_id),
        row.state,
        age(now_ns - row.create_time),
        age(now_ns - row.modify_time),
        one_line(row.message),
    )
    return ListRow(cells, ("", "", state_colour(row.state) or "", "", "", ""), row.execution_id)


def _event_list_row(row: EventRow) -> ListRow:
    colour = (state_colour(row.states[-1]) or "") if row.states else ""
    text = row.text if row.execution_id else f"{row.operation} {row.object_type}: {row.text}"
    cells = (str(row.seq_num), clock(row.time_ns), one_line(row.execution_id) or "-", one_line(text))
    return ListRow(cells, ("dim", "dim", "", colour), row.execution_id)


def key_line(keys: Iterable[tuple[str, str]], width: int) -> Text:
    """The keys and what they do, as many as there is room for."""
    text = Text(no_wrap=True, end="")
    for key, what in keys:
        if cell_width(text.plain) + len(key) + len(what) + 3 > width:
            break
        text.append(" " if not text.plain else "  ").append(key, "bold").append(f" {what}", "dim")
    return text
