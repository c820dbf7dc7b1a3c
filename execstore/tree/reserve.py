"""A little room kept back, so that what is committed can always be shown.

Once a change is in the journal it is committed, and publishing it needs room for its files. If the disk is full by
then, this reserve is given back to the file system and publishing goes on; no further change is accepted until the
reserve is whole again. It is made of several files because a disk can also run out of inodes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from execstore.tree.names import RESERVE_FOLDER
from execstore.tree.quarantine import set_aside

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem

__all__ = ["ensure", "fits", "is_whole", "release"]

_FILES = 12
_FILE_BYTES = 32768
# Written, not left as a hole: only written bytes take room.
_FILL = b"execstore keeps this room to finish a change on a full disk.\n" * (_FILE_BYTES // 61 + 1)
# What one change may need beyond the bytes of its record: its files are copies of parts of it, in whole blocks.
_BLOCK_BYTES = 4096


def is_whole(fs: FileSystem) -> bool:
    """Whether all of it is there: another process may have given it back, or a power cut taken it."""
    try:
        return all(fs.size(f"{RESERVE_FOLDER}/{number}") == _FILE_BYTES for number in range(_FILES))
    except NotADirectoryError:
        return False


def ensure(fs: FileSystem) -> None:
    """Make the reserve whole. ``OSError`` if there is no room for it."""
    if fs.kind(RESERVE_FOLDER) not in {"folder", None}:
        set_aside(fs, RESERVE_FOLDER, "it is no folder")
    with contextlib.suppress(FileExistsError):
        fs.make_folder(RESERVE_FOLDER)
    for number in range(_FILES):
        path = f"{RESERVE_FOLDER}/{number}"
        if fs.size(path) != _FILE_BYTES:
            if fs.kind(path) == "folder":
                set_aside(fs, path, "it is a folder")
            with contextlib.suppress(FileNotFoundError):
                fs.remove(path)
            fs.create(path, _FILL[:_FILE_BYTES])


def release(fs: FileSystem) -> None:
    """Give the room back."""
    for number in range(_FILES):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            fs.remove(f"{RESERVE_FOLDER}/{number}")


def fits(fs: FileSystem, record_bytes: int, steps: int) -> bool:
    """Whether publishing a change of this size is safe: it fits in the reserve, or there is room besides it."""
    needed = 2 * record_bytes + steps * _BLOCK_BYTES
    if needed <= _FILES * _FILE_BYTES // 2 and steps <= _FILES - 2:
        return True
    free_bytes, free_inodes = fs.free()
    return free_bytes > needed and (free_inodes is None or free_inodes > steps)
