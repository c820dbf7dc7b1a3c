"""What an error means to the calling shell: the one place that knows exit statuses."""

from __future__ import annotations

from typing import Final

from execstore import errors

__all__ = ["BROKEN", "DONE", "NO", "USAGE", "exit_status_of"]

DONE: Final = 0
NO: Final = 1
"""The store says no: not found, a conflict, problems found."""
USAGE: Final = 2
"""The command line, or what it was given to read, is wrong."""
BROKEN: Final = 3
"""The store can't be used: locked, full, damaged, too new, not there."""

_USAGE_ERRORS: Final = (
    errors.ChangeTooLargeError,
    errors.CheckpointNameBlankError,
    errors.InvalidArgumentError,
    errors.InvalidExecutionError,
    errors.MissingExtraError,
    errors.NilExecutionError,
    errors.SerializationError,
)
_BROKEN_ERRORS: Final = (
    errors.DeserializationError,
    errors.NotAStoreError,
    errors.SourceBusyError,
    errors.SourceDamagedError,
    errors.StoreAccessError,
    errors.StoreBusyError,
    errors.StoreClosedError,
    errors.StoreCorruptedError,
    errors.StoreFailedError,
    errors.StoreFullError,
    errors.StoreNotFoundError,
    errors.StoreReadOnlyError,
    errors.StoreUnreachableError,
    errors.UnsupportedFilesystemError,
    errors.UnsupportedFormatError,
    errors.UnsupportedOperationError,
)


def exit_status_of(error: errors.ExecStoreError) -> int:
    """Return the exit status for an error of this package."""
    if isinstance(error, _USAGE_ERRORS):
        return USAGE
    if isinstance(error, _BROKEN_ERRORS):
        return BROKEN
    return NO
