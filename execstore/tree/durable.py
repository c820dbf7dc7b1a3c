"""Making the names in any folder durable, not just in a store's."""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["sync_folder"]

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


def sync_folder(path: str) -> None:
    """Make the names in a folder durable, as far as the system can: some file systems can't, and Windows has no call
    that everybody may use."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if sys.platform == "darwin":
            from execstore.tree.macos import full_flush  # noqa: PLC0415 - there is none elsewhere

            full_flush(descriptor)
        else:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
