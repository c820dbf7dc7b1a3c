"""Making a whole folder at one stroke: it is filled beside its place, and given its name at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from execstore.beside import make_folder
from execstore.errors import ImportConflictError
from execstore.tree.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_folder", "sync_folder"]


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str], doing: str, remedy: str) -> Iterator[str]:
    """A folder to fill, which stands at ``path`` once the ``with`` statement ends well, and else was never there.

    At ``path`` there may be nothing, or an empty folder. What is put into the folder is made durable by who puts it
    there; the folder's own name, and those of folders that had to be made above it, are made durable here.

    Args:
        doing: a word for the folder's name while it is filled (``"importing"``).
        remedy: what to do if there is something, for the error's text.

    Raises ``ImportConflictError`` if there is something at ``path``.
    """
    target = os.path.realpath(path)
    if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise ImportConflictError([f"{target} is there already; {remedy}"])
    parent = os.path.dirname(target)
    made = _make_folders(parent)
    try:
        beside = make_folder(target, doing)
        try:
            yield beside
            _give_name(beside, target, remedy)
            for folder in [parent, *map(os.path.dirname, made)]:
                sync_folder(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                os.rmdir(folder)
        raise


def _give_name(beside: str, target: str, remedy: str) -> None:
    try:
        os.rename(beside, target)
    except OSError as error:
        if not os.path.lexists(target):
            raise
        raise ImportConflictError([f"{target} was made meanwhile; {remedy}"]) from error


def _make_folders(path: str) -> list[str]:
    """Make a folder and those above it; returns the ones that weren't there, the lowest first."""
    missing = []
    while not os.path.isdir(path):
        if os.path.lexists(path):
            raise ImportConflictError([f"{path} is no folder; choose another place"])
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder)
    return missing
