"""What is made whole beside its place before it gets its name: nobody knows the other name, so no error tells it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["give_name", "make_file", "make_folder"]

# A temporary name must not be too long where the real one isn't: 50 characters are 200 bytes at most.
_NAME_LENGTH = 50


def make_file(target: str) -> tuple[int, str]:
    """Make a file in the folder of ``target``, a whole path; returns its descriptor and its path.

    Raises: OSError that names the folder: there is none, it may not be written to, …
    """
    folder, name = os.path.split(target)
    with _errors_of(folder):
        return tempfile.mkstemp(prefix=f".{name[:_NAME_LENGTH]}.", dir=folder)


def make_folder(target: str, doing: str) -> str:
    """The same for a folder, whose name says what is being done; returns its path."""
    folder, name = os.path.split(target)
    with _errors_of(folder):
        return tempfile.mkdtemp(prefix=f".{name[:_NAME_LENGTH]}.{doing}-", dir=folder)


def give_name(path: str, target: str) -> None:
    """Give what was made its name; a file that has it is replaced. Raises: OSError that names ``target``."""
    try:
        os.replace(path, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error


@contextlib.contextmanager
def _errors_of(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, _reason(error, folder), folder) from error


def _reason(error: OSError, folder: str) -> str | None:
    if isinstance(error, PermissionError):
        return "this folder may not be written to"
    if os.path.isdir(folder):
        return error.strerror  # it is full, the medium is read-only …
    if os.path.lexists(folder):
        return "it is no folder"
    return "there is no such folder" if isinstance(error, FileNotFoundError) else error.strerror
