"""The standard streams: all three are there, and an error of stdout says whose it is.

This module imports nothing but the standard library, since it is the first that a program runs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any, Final

__all__ = ["STANDARD_OUTPUT", "finish", "is_closed", "prepare"]

STANDARD_OUTPUT: Final = "standard output"
"""The ``filename`` of an ``OSError`` that came of writing to stdout."""


def prepare() -> None:
    """Make stdin, stdout and stderr usable, whatever they were left as by who started the program."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # In this order each gets the descriptor that is its own. A file of the store that was opened in its place
            # would be written to by whoever writes to "stdout".
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 (it stays open as long as the program)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if not is_closed(sys.stdout) and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _with_name(sys.stdout)


def finish() -> None:
    """Drop what a stream doesn't take: the interpreter would complain of it, and end with a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def is_closed(stream: IO[str] | None) -> bool:
    """Whether a standard stream was closed when the program began."""
    return stream is None or getattr(stream, "name", None) == os.devnull


class _NamedOutput(io.FileIO):
    """Stdout's descriptor. "No space left on device" alone would be taken for the store's disk."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from None


def _with_name(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    buffer: Any = stream.buffer  # the file itself with PYTHONUNBUFFERED
    is_buffered = isinstance(buffer, io.BufferedWriter)
    if type(buffer.raw if is_buffered else buffer) is not io.FileIO:
        return stream  # Windows' console, which is never full
    stream.flush()
    named: Any = _NamedOutput(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(named) if is_buffered else named,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
