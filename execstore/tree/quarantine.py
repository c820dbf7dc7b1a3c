"""Setting damaged files aside: moved, never deleted, with the reason beside each."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from execstore.tree.names import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem

__all__ = ["set_aside"]


def set_aside(fs: FileSystem, path: str, reason: str) -> str:
    """Move what stands at ``path`` (whatever it is) into the quarantine; returns its path there."""
    flat = path.replace("/", "!")  # no encoded name has this letter
    with contextlib.suppress(FileExistsError):
        fs.make_folder(QUARANTINE_FOLDER)
    number = 0
    place = f"{QUARANTINE_FOLDER}/{flat}"
    while fs.kind(place) is not None:
        number += 1
        place = f"{QUARANTINE_FOLDER}/{flat}.{number}"
    fs.rename(path, place)
    with contextlib.suppress(FileExistsError):
        fs.create(f"{place}.reason", f"{path}: {reason}\n".encode("utf-8", "backslashreplace"))
    return place
