"""What the store says of a call that the operating system refused."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from execstore.errors import StoreFailedError, StoreFullError, StoreReadOnlyError

if TYPE_CHECKING:
    from execstore.errors import ExecStoreError

__all__ = ["FULL", "refused_after", "refused_before"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_REMEDIES = {
    errno.EMFILE: "close some of this process's files, or raise its limit (ulimit -n), then try again",
    errno.ENFILE: "the whole system has too many files open; close some, then try again",
    errno.ENOMEM: "the system is out of memory; free some, then try again",
}


def refused_before(root: str, error: OSError, path: str = "") -> ExecStoreError:
    """The error to raise if no change has been written yet: nothing happened."""
    reason = error.strerror or str(error)
    place = error.filename or path or "the disk"
    if error.errno in FULL:
        return StoreFullError(root, reason)
    if error.errno in _FORBIDDEN:
        return StoreReadOnlyError(root, f"{place}: {reason}; make it writable for this user, or open it read-only")
    remedy = _REMEDIES.get(error.errno or 0, "check the disk, then try again")
    return StoreFailedError(root, f"{place}: {reason}", outcome_open=False, remedy=remedy)


def refused_after(root: str, error: OSError, *, is_durable: bool) -> ExecStoreError:
    """The error to raise once a change stands in the journal: it will be shown, if it reached the disk."""
    reason = error.strerror or str(error)
    if error.errno in FULL and is_durable:
        return StoreFullError(root, reason, committed=True)
    return StoreFailedError(root, f"{error.filename or 'the disk'}: {reason}")
