"""The program on the terminal, with ``textual``: a thread looks at the store, the screens show what it found."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.message import Message

from execstore.top.filters import Filter
from execstore.top.main_screen import MainScreen

if TYPE_CHECKING:
    from textual.binding import BindingType

    from execstore.top.model import Snapshot
    from execstore.top.source import Source

__all__ = ["TopApp"]

_ENDING_SECONDS = 5.0


class TopApp(App[Exception]):
    """Shows a store until it is quit. It returns ``None``, or the error that ended it.

    Args:
        interval_seconds: looks at the store follow each other at least so far apart.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "execstore top"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("ctrl+q", "quit", "quit", show=False, priority=True),
    ]

    class Looked(Message):
        """The thread has looked."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    class Failed(Message):
        """The thread couldn't look, and has ended."""

        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

    def __init__(self, source: Source, *, interval_seconds: float = 1.0, chosen: Filter = Filter()) -> None:  # noqa: B008
        # The terminal's own colours and background: it is legible in each, and cheap over a slow line.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.source = source
        self._interval_seconds = interval_seconds
        self._main = MainScreen(source, chosen)
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="execstore-top", daemon=True)

    def on_mount(self) -> None:
        """Show the first screen, and begin to look."""
        self.push_screen(self._main)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # type: ignore[attr-defined, unused-ignore]
            # So that the terminal is given back as it was. In a thread, or on Windows, it can't be had.
            with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, self.exit)
        self._thread.start()

    def on_unmount(self) -> None:
        """Let the thread end."""
        self._is_ended.set()
        self.source.leave()
        if self._thread.ident is not None:
            self._thread.join(_ENDING_SECONDS)

    def on_top_app_looked(self, message: Looked) -> None:
        """Hand on what was found."""
        self._main.take(message.snapshot)

    def on_top_app_failed(self, message: Failed) -> None:
        """End, and let the caller say why."""
        self.exit(message.error)

    # --- in the thread ---

    def _follow(self) -> None:
        while not self._is_ended.is_set():
            started = time.monotonic()
            try:
                snapshot = self.source.look(self._interval_seconds)
            except Exception as error:  # noqa: BLE001 - whoever started this says it, once the terminal is his again
                if not self._is_ended.is_set():
                    self._post(self.Failed(error))
                return
            self._post(self.Looked(snapshot))
            self.source.rest(started + self._interval_seconds - time.monotonic())

    def _post(self, message: Message) -> None:
        # It may have been left in this moment, and its loop be closed.
        with contextlib.suppress(RuntimeError):
            self.post_message(message)
