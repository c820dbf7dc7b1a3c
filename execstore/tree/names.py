"""The engine's own names at the top of a store, beside the folders that the layers above ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from execstore.tree.layout import Layout

__all__ = [
    "CHANGE_LOCK_PATH",
    "FLUSH_LOCK_PATH",
    "FORMAT_PATH",
    "HANDLES_PATH",
    "HEAD_PATH",
    "JOURNAL_PATHS",
    "NEW_NAME",
    "QUARANTINE_FOLDER",
    "RESERVE_FOLDER",
    "UNFLUSHED_PATH",
    "engine_names",
]

FORMAT_PATH: Final = "FORMAT"
HEAD_PATH: Final = "head"
JOURNAL_PATHS: Final = ("journal.0", "journal.1")
CHANGE_LOCK_PATH: Final = "lock"
FLUSH_LOCK_PATH: Final = "lock.flush"
HANDLES_PATH: Final = "lock.handles"
RESERVE_FOLDER: Final = "reserve"
QUARANTINE_FOLDER: Final = "quarantine"
UNFLUSHED_PATH: Final = "unflushed"  # there while relaxed changes may not be on disk

# A file in the making, in the folder of the file that it replaces. One name suffices: only the holder of the change
# lock publishes. What a killed process left under it is written anew.
NEW_NAME: Final = ".new"


def engine_names(layout: Layout) -> set[str]:
    """Every name that may stand at the top of a store."""
    return {
        *layout.folders(),
        *layout.aliases(),
        *JOURNAL_PATHS,
        FORMAT_PATH,
        HEAD_PATH,
        CHANGE_LOCK_PATH,
        FLUSH_LOCK_PATH,
        HANDLES_PATH,
        RESERVE_FOLDER,
        QUARANTINE_FOLDER,
        UNFLUSHED_PATH,
        NEW_NAME,
    }
