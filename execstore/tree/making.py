"""Making a store: the folder, and what is in it from the beginning. What has no FORMAT yet is none yet."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from execstore.errors import (
    ExecStoreError,
    NotAStoreError,
    StoreCorruptedError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from execstore.tree import reserve
from execstore.tree.durable import sync_folder
from execstore.tree.format_file import Format, encode_format, parse_format
from execstore.tree.head import Head, HeadFile
from execstore.tree.journal import JournalFiles, encode_record, seed
from execstore.tree.lock import Lock
from execstore.tree.names import (
    CHANGE_LOCK_PATH,
    FLUSH_LOCK_PATH,
    FORMAT_PATH,
    HANDLES_PATH,
    HEAD_PATH,
    NEW_NAME,
    engine_names,
)
from execstore.tree.names_apart import names_for
from execstore.tree.refusal import refused_before

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem
    from execstore.tree.layout import Layout

__all__ = ["FIRST_TRANSACTION", "check_place", "find_store", "make_place", "make_store", "read_format"]

FIRST_TRANSACTION = 1
_FORMAT_MAXIMUM = 65536


def make_place(path: str, *, may_create: bool) -> None:
    """See to it that there is a folder at ``path``, durably.

    Raises:
        NotAStoreError: something else is there, or on the way to it.
        StoreNotFoundError: there is nothing, and it may not be made.
        StoreReadOnlyError: this user may not make it.
        StoreFullError
    """
    try:
        if os.path.lexists(path):
            # Asked in this order, since somebody may be making it.
            if not os.path.isdir(path):
                raise NotAStoreError(path, "it is not a folder")
            return
        if not may_create:
            raise StoreNotFoundError(path)
        # Each folder on the way that is made here must have its name on disk, in the folder above it.
        above = [os.path.dirname(os.path.abspath(path))]
        while not os.path.isdir(above[-1]):
            above.append(os.path.dirname(above[-1]))
        os.makedirs(path, mode=0o700, exist_ok=True)
        for folder in above:
            sync_folder(folder)
    except (NotADirectoryError, FileExistsError, FileNotFoundError) as error:
        if isinstance(error, ExecStoreError):
            raise
        raise NotAStoreError(path, "something on the way to it is not a folder") from error
    except PermissionError as error:
        raise StoreReadOnlyError(path, "you may not make a folder there") from error
    except OSError as error:
        if isinstance(error, ExecStoreError):
            raise
        raise refused_before(path, error) from error


def read_format(fs: FileSystem, root: str) -> Format | None:
    """The store's FORMAT, ``None`` if there is no such file.

    Raises:
        UnsupportedFormatError: of another version.
        StoreCorruptedError: it can't be read.
    """
    try:
        data = fs.read(FORMAT_PATH, _FORMAT_MAXIMUM)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.EISDIR}:
            raise StoreCorruptedError(f"{root}/{FORMAT_PATH}", error.strerror or str(error)) from error
        raise
    return None if data is None else parse_format(data, root)


def check_place(fs: FileSystem, root: str, layout: Layout, *, may_create: bool) -> None:
    """See that a folder without FORMAT may become a store; nothing is changed.

    Raises:
        NotAStoreError: there are other things in it.
        StoreCorruptedError: it is a store whose FORMAT is gone.
        StoreNotFoundError: it may not be made.
    """
    names = set(fs.names(""))
    strangers = sorted(names - engine_names(layout))
    if strangers:
        raise NotAStoreError(root, f"it is a folder with other things in it ({strangers[0]})")
    if any(fs.names(folder) for folder in layout.folders()):
        raise StoreCorruptedError(root, "FORMAT is missing though there is data")
    if not may_create:
        raise StoreNotFoundError(root)


def find_store(fs: FileSystem, root: str, layout: Layout, *, may_create: bool) -> Format | None:
    """The FORMAT of the store in a folder; ``None`` if there is none yet, and one may be made.

    Raises what `read_format` and `check_place` raise.
    """
    form = read_format(fs, root)
    if form is None:
        try:
            check_place(fs, root, layout, may_create=may_create)
        except (NotAStoreError, StoreCorruptedError, StoreNotFoundError):
            # Somebody may have made it between the two looks. FORMAT is there before any data, so now it is seen.
            form = read_format(fs, root)
            if form is None:
                raise
    return form


def make_store(
    fs: FileSystem, root: str, layout: Layout, journal_bytes: int, segment_bytes: int, timeout_seconds: float
) -> Format:
    """Make an empty store in a folder that `check_place` passed, unless somebody else does.

    Raises:
        StoreBusyError: somebody else has been at it for longer than ``timeout_seconds``.
    """
    for name in (CHANGE_LOCK_PATH, FLUSH_LOCK_PATH, HANDLES_PATH):
        fs.close(fs.open(name, write=True, create=True))
    lock = Lock(fs, CHANGE_LOCK_PATH, root, timeout_seconds, write=True)
    with lock.held():
        # Another process may have made it meanwhile.
        form = read_format(fs, root)
        if form is None:
            form = _make_locked(fs, layout, journal_bytes, segment_bytes)
    lock.close()
    return form


def _make_locked(fs: FileSystem, layout: Layout, journal_bytes: int, segment_bytes: int) -> Format:
    """FORMAT comes last, after all else is durable: a folder without it is no store yet, and making it starts over."""
    form = Format(secrets.token_hex(8), journal_bytes, segment_bytes, names=names_for(fs))
    for folder in layout.folders():
        with contextlib.suppress(FileExistsError):
            fs.make_folder(folder)
    for alias, collection in layout.aliases().items():
        if fs.kind(alias) != "file" and fs.link_target(alias) != collection:  # a file where links can't be had
            fs.link(alias, collection)
    reserve.ensure(fs)
    if fs.kind(NEW_NAME) is not None:  # a making that was cut off
        fs.remove(NEW_NAME)
    # The first record changes nothing. It is there so that there always is a newest record, from which the head can
    # be rebuilt.
    first, checksum = encode_record(FIRST_TRANSACTION, 1, 0, (), {}, seed(form.store_id))
    JournalFiles.make(fs, journal_bytes, first)
    head = Head(
        begun=FIRST_TRANSACTION,
        published=FIRST_TRANSACTION,
        journal=0,
        epoch=1,
        offset=len(first),
        checksum=checksum,
        clean=True,
    )
    HeadFile.make(fs, head)
    _flush_file(fs, HEAD_PATH)
    fs.sync_folder("")
    fs.create(NEW_NAME, encode_format(form))
    _flush_file(fs, NEW_NAME)
    fs.rename(NEW_NAME, FORMAT_PATH)
    fs.sync_folder("")
    return form


def _flush_file(fs: FileSystem, path: str) -> None:
    descriptor = fs.open(path, write=True)
    try:
        fs.flush(descriptor)
    finally:
        fs.close(descriptor)
