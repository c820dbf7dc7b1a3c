"""The progress line: drawn on a terminal only, and taken away in the end."""

from __future__ import annotations

import io

from execstore.interop.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_nothing_is_drawn_elsewhere() -> None:
    stream = io.StringIO()
    with Progress("importing", "items", stream=stream) as progress:
        progress.advance(5, done=0.5)
    assert stream.getvalue() == ""
    assert progress.count == 5


def test_bar_count_and_speed() -> None:
    clock = Clock()
    stream = Terminal()
    progress = Progress("importing", "executions", stream=stream, clock=clock)
    clock.seconds += 2
    progress.advance(4000, done=0.25)
    assert stream.getvalue() == "\rimporting  [######..................]  25%  4,000 executions  2,000/s"
    progress.advance(1, done=0.3)
    assert stream.getvalue().count("\r") == 1
    clock.seconds += 0.2
    progress.advance(1, done=1.0)
    assert "[########################] 100%" in stream.getvalue()


def test_without_a_whole_there_is_no_bar_and_the_end_is_clean() -> None:
    clock = Clock()
    stream = Terminal()
    with Progress("exporting", "lines", stream=stream, clock=clock) as progress:
        clock.seconds += 1
        progress.advance(10)
    text = "exporting  10 lines  10/s"
    assert stream.getvalue() == f"\r{text}\r{' ' * len(text)}\r"
