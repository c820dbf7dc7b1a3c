"""The screen that explains the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from execstore.top.help import help_lines

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

__all__ = ["HelpScreen"]


class HelpScreen(Screen[None]):
    """Keys, and what the numbers mean."""

    CSS = """
    #help { height: 1fr; scrollbar-size-vertical: 1; }
    #help Static { text-wrap: nowrap; width: 100%; }
    #help-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,left,question_mark,h,enter", "app.pop_screen", "back"),
        Binding("q", "app.quit", "quit"),
    ]

    def compose(self) -> ComposeResult:
        """What is scrolled, and the keys."""
        with VerticalScroll(id="help"):
            yield Static(id="help-text", markup=False)
        yield Static(" Esc back  q quit  Up, Down scroll", id="help-keys", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the lines anew."""
        lines = help_lines(max(event.size.width - 2, 10))
        self.query_one("#help-text", Static).update(Text("\n", end="").join(lines))
