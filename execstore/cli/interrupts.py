"""Signals that end the program: held back while something is written, and all of them in an orderly way."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["held_back", "terminated_like_interrupted"]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Do what is inside as a whole; the first Ctrl-C takes effect behind it, a second one at once.

    Who is interrupted in a write doesn't know whether it was done, and an engine that is no folder may keep its turn.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # others neither get the signal nor may say who does, or somebody else sees to it
        return
    has_come = False

    def note(number: int, frame: Any) -> None:
        nonlocal has_come
        if has_come:
            signal.default_int_handler(number, frame)
        has_come = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if has_come:
        raise KeyboardInterrupt


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end what is inside in the same orderly way as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
