"""What is made whole beside its place before it gets its name: nobody knows the other name, so no error tells it."""

from __future__ import annotations

import os
import tempfile

__all__ = ["give_name", "make_file", "make_folder"]

# A temporary name must not be too long where the real one isn't: 50 characters are 200 bytes at most.
_NAME_LENGTH = 50


def make_file(target: str) -> tuple[int, str]:
    """Make a file in the folder of ``target``, a whole path; returns its descriptor and its path.

    Raises: OSError that names the folder: there is none, it may not be written to, …
    """
    folder, name = os.path.split(target)
    try:
        return tempfile.mkstemp(prefix=f".{name[:_NAME_LENGTH]}.", dir=folder)
    except OSError as error:
        raise _of_folder(error, folder) from error


def make_folder(target: str, doing: str) -> str:
    """The same for a folder, whose name says what is being done; returns its path."""
    folder, name = os.path.split(target)
    try:
        return tempfile.mkdtemp(prefix=f".{name[:_NAME_LENGTH]}.{doing}-", dir=folder)
    except OSError as error:
        raise _of_folder(error, folder) from error


def give_name(path: str, target: str) -> None:
    """Give what was made its name; a file that has it is replaced. Raises: OSError that names ``target``."""
    try:
        os.replace(path, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error


def _of_folder(error: OSError, folder: str) -> OSError:
    reason = error.strerror
    if isinstance(error, PermissionError):
        reason = "this folder may not be written to"
    elif os.path.isdir(folder):
        pass  # it is full, the medium is read-only …
    elif os.path.lexists(folder):
        reason = "it is no folder"
    elif isinstance(error, FileNotFoundError):
        reason = "there is no such folder"
    return OSError(error.errno, reason, folder)
