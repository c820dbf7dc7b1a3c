"""How far a long run is: one line on a terminal, written over in place, and nothing at all elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Progress"]

_REDRAW_SECONDS = 0.1
_BAR_WIDTH = 24


class Progress:
    """``importing  [######..........]  40 %  40,000 executions  9,120/s``

    Args:
        label: what is being done.
        unit: what is counted, in the plural.
        stream: standard error if ``None``; only drawn on if it is a terminal.
        clock: seconds, as ``time.monotonic``.
    """

    def __init__(
        self, label: str, unit: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.count = 0
        self._label = label
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._begun = clock()
        self._drawn = 0.0
        self._width = 0
        self._shown = self._stream.isatty()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._begun

    def advance(self, number: int = 1, *, done: float | None = None) -> None:
        """Count ``number`` more. ``done``, from 0 to 1, is how much of the whole that makes, if it is known."""
        self.count += number
        if not self._shown:
            return
        now = self._clock()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._draw(self._text(now, done))

    def finish(self) -> None:
        """Take the line away again."""
        if self._shown and self._width:
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()
            self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def _text(self, now: float, done: float | None) -> str:
        bar = ""
        if done is not None:
            full = round(min(max(done, 0.0), 1.0) * _BAR_WIDTH)
            bar = f"[{'#' * full}{'.' * (_BAR_WIDTH - full)}] {done:4.0%}  "
        rate = self.count / max(now - self._begun, 1e-9)
        return f"{self._label}  {bar}{self.count:,} {self._unit}  {rate:,.0f}/s"

    def _draw(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)
