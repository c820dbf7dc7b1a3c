"""The screen with one execution in full, which follows its changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from execstore.cli.output import one_line
from execstore.cli.table import wrap
from execstore.errors import ExecStoreError
from execstore.top.detail import detail_lines

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from execstore.top.model import Detail, Snapshot
    from execstore.top.source import Source

__all__ = ["DetailScreen"]

_KEYS: Final = (("Esc", "back"), ("q", "quit"), ("c", "copy ID"), ("Up, Down", "scroll"))


class DetailScreen(Screen[None]):
    """See the module. It is read in a thread of its own, since history takes a walk through the event log."""

    CSS = """
    #detail { height: 1fr; scrollbar-size-vertical: 1; }
    #detail Static { text-wrap: nowrap; width: 100%; }
    #detail-keys { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,left", "app.pop_screen", "back"),
        Binding("q", "app.quit", "quit"),
        Binding("c", "copy", "copy ID"),
    ]

    def __init__(self, source: Source, execution_id: str) -> None:
        super().__init__()
        self._source = source
        self._execution_id = execution_id
        self._detail: Detail | None = None
        self._problem = ""
        self._seen = 0
        self._is_composed = False
        self._text, self._keys = Static(id="detail-text"), Static(id="detail-keys")

    def compose(self) -> ComposeResult:
        """What is scrolled, and the keys."""
        with VerticalScroll(id="detail"):
            yield self._text
        yield self._keys

    def on_mount(self) -> None:
        """Begin to read."""
        self._is_composed = True
        self._show()
        self._read()

    def take(self, snapshot: Snapshot) -> None:
        """Read it again if something happened to it."""
        news = [row for row in snapshot.events if row.seq_num > self._seen]
        if news:
            is_first = self._seen == 0
            self._seen = news[-1].seq_num
            if not is_first and any(row.execution_id == self._execution_id for row in news):
                self._read()
        self._show()

    def _read(self) -> None:
        self.run_worker(self._read_in_thread, thread=True, exclusive=True, group="detail", exit_on_error=False)

    def _read_in_thread(self) -> None:
        try:
            detail, problem = self._source.detail(self._execution_id), ""
        except (ExecStoreError, OSError) as error:
            detail, problem = None, str(error)
        self.app.call_later(self._take_detail, detail, problem)

    def _take_detail(self, detail: Detail | None, problem: str) -> None:
        self._detail, self._problem = detail or self._detail, problem
        self._show()

    def _show(self) -> None:
        if not self._is_composed:
            return
        from execstore.top.main_screen import key_line  # noqa: PLC0415 (it imports this)

        width = max(self.size.width - 2, 10)
        if self._problem:
            text = Text("\n".join(wrap(f"! {one_line(self._problem)}", width)), "red")
        elif self._detail is None:
            text = Text(f"{one_line(self._execution_id)}  reading…", "dim")
        else:
            text = Text("\n", end="").join(detail_lines(self._detail, width, time.time_ns()))
        self._text.update(text)
        self._keys.update(key_line(_KEYS, self.size.width))

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002
        """Wrap the lines anew."""
        self._show()

    def action_copy(self) -> None:
        """Copy the ID, as far as the terminal allows it (OSC 52)."""
        self.app.copy_to_clipboard(self._execution_id)
