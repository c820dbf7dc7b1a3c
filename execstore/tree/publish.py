"""Publishing: what the journal already holds durably is brought into the tree, without any flush.

Every function here may be cut off anywhere and be run again from the start: the steps come from the journal.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from execstore.tree.names import NEW_NAME
from execstore.tree.quarantine import set_aside
from execstore.tree.steps import Append, Mark, Move, Overlay, Put, Remove, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.journal import Record

__all__ = ["publish", "put_file"]

# A new file up to this size may be written under its own name: whoever looks at that moment sees it empty or whole,
# since the size only grows once a page is filled.
_ONE_PAGE_BYTES = 4096
# What the system says where a folder, a link or a pipe stands in a file's place, or something else in a folder's.
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EPERM}


def publish(fs: FileSystem, records: Sequence[Record], *, was_cut_off: bool = False) -> None:
    """Bring the outcome of these records, which follow one another, into the tree; each path is touched once.

    ``was_cut_off``: names may be in a state that only a power cut leaves.
    """
    for step in _outcome(records):
        if was_cut_off and isinstance(step, Move):
            # Where the file system kept but one half of a rename, both names are of one file. Renaming that onto
            # itself does nothing (rename(2)), so the old name would stay.
            _perform(fs, Mark(step.path, step.target))
            _perform(fs, Remove(step.source))
        else:
            _perform(fs, step)


def _outcome(records: Sequence[Record]) -> Sequence[Step]:
    if len(records) == 1:
        # Most often there is one change, and it speaks of each path once.
        steps = records[0].steps
        if len({step.path for step in steps}) == len(steps):
            return steps
    return Overlay(step for record in records for step in record.steps).final_steps()


def put_file(fs: FileSystem, path: str, data: bytes) -> None:
    """Give ``path`` this content at one stroke: no reader sees a part of it."""
    folder = path.rpartition("/")[0]
    new = f"{folder}/{NEW_NAME}" if folder else NEW_NAME
    while True:
        try:
            fs.create(new, data)
            break
        except FileExistsError:
            fs.remove(new)
        except FileNotFoundError:
            _make_folders(fs, folder)
    fs.rename(new, path)


def _perform(fs: FileSystem, step: Step) -> None:
    try:
        _do(fs, step)
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        # Something stands there that no store makes. The step is committed, so if it failed now it would fail for ever,
        # and with it the store.
        _clear_the_way(fs, step, error.strerror or str(error))
        _do(fs, step)


def _clear_the_way(fs: FileSystem, step: Step, reason: str) -> None:
    paths = [step.source, step.path] if isinstance(step, Move) else [step.path]
    if isinstance(step, Put | Append):
        paths.append(f"{step.path.rpartition('/')[0]}/{NEW_NAME}")
    for path in paths:
        parts = path.split("/")
        for number in range(1, len(parts)):
            folder = "/".join(parts[:number])
            if fs.kind(folder) not in {"folder", None}:
                set_aside(fs, folder, reason)
        kind = fs.kind(path)
        if kind == "folder" or (isinstance(step, Append) and kind not in {"file", None}):
            set_aside(fs, path, reason)


def _do(fs: FileSystem, step: Step) -> None:
    if isinstance(step, Put):
        if not (step.is_new and len(step.data) <= _ONE_PAGE_BYTES and _created(fs, step.path, step.data)):
            put_file(fs, step.path, step.data)
    elif isinstance(step, Append):
        _append(fs, step)
    elif isinstance(step, Mark):
        _mark(fs, step.path, step.target)
    elif isinstance(step, Move):
        _move(fs, step)
    elif isinstance(step, Remove):
        with contextlib.suppress(FileNotFoundError):
            fs.remove(step.path)
    else:
        try:
            fs.remove_folder(step.path)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR}:
                raise


def _append(fs: FileSystem, step: Append) -> None:
    if step.offset:
        # What may stand behind the bytes is the rest of a write that a power cut tore; the file ends here.
        try:
            fs.overwrite(step.path, step.offset, step.data, truncate=True)
        except FileNotFoundError:  # somebody removed the folder; what stood there is lost, the change isn't
            _make_folders(fs, step.path.rpartition("/")[0])
            fs.overwrite(step.path, step.offset, step.data, truncate=True)
        return
    if not _created(fs, step.path, step.data):
        put_file(fs, step.path, step.data)


def _created(fs: FileSystem, path: str, data: bytes) -> bool:
    """Make a new file under its own name, without the detour over another one; ``False`` if that can't be."""
    try:
        fs.create(path, data)
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def _mark(fs: FileSystem, path: str, target: str) -> None:
    try:
        fs.link(path, target)
    except FileNotFoundError:
        _make_folders(fs, path.rpartition("/")[0])
        _mark(fs, path, target)
    except FileExistsError:
        # Replayed, or the ID of an execution that was there before; only a wrong target needs work.
        if fs.link_target(path) != target:
            fs.remove(path)
            fs.link(path, target)


def _move(fs: FileSystem, step: Move) -> None:
    try:
        fs.rename(step.source, step.path)
    except FileNotFoundError:  # moved already, never arrived on disk, or the folder isn't there yet
        if fs.kind(step.source) is None:
            _mark(fs, step.path, step.target)
        else:
            _make_folders(fs, step.path.rpartition("/")[0])
            fs.rename(step.source, step.path)


def _make_folders(fs: FileSystem, path: str) -> None:
    """Make a folder and those above it; most often only the last one is missing."""
    above = path.rpartition("/")[0]
    try:
        fs.make_folder(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        if not above:
            raise
        _make_folders(fs, above)
        with contextlib.suppress(FileExistsError):
            fs.make_folder(path)
