"""What each path of a store is, in a sentence: the words of ``explain layout``, and of every step."""

from __future__ import annotations

from typing import Final, NamedTuple

from execstore.schema import (
    CHECKPOINTS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    LAYOUT,
    SEQUENCE_TRACKING,
    STATE_INDEX,
)
from execstore.tree.names import (
    CHANGE_LOCK_PATH,
    FLUSH_LOCK_PATH,
    FORMAT_PATH,
    HANDLES_PATH,
    HEAD_PATH,
    JOURNAL_PATHS,
    NEW_NAME,
    QUARANTINE_FOLDER,
    RESERVE_FOLDER,
    UNFLUSHED_PATH,
)

__all__ = ["UNKNOWN", "Kind", "kind_of"]


class Kind(NamedTuple):
    """What a path is.

    ``name`` is for programs, ``noun`` for the middle of a sentence, ``sentence`` for a person, ``section`` the part of
    FORMAT.md that tells all of it.
    """

    name: str
    noun: str
    sentence: str
    section: str


_PLACES: Final = "What stands where"
_FILES: Final = "Records and lines"

UNKNOWN: Final = Kind("unknown", "something else", "Nothing of the store's. It is never touched.", _PLACES)
_NEW: Final = Kind(
    "new", "a file in the making", "A file in the making. It counts for nothing until it is renamed.", _PLACES
)

_AT_TOP: Final = {
    FORMAT_PATH: Kind("format", "FORMAT", "It makes the folder a store, and says of which version.", "FORMAT"),
    HEAD_PATH: Kind(
        "head", "the head", "The one place a reader looks first: which transaction do the files show?", "The head"
    ),
    **{
        path: Kind(
            "journal",
            "the journal",
            "Every change is written here first, as one record, and flushed once.",
            "The journal",
        )
        for path in JOURNAL_PATHS
    },
    CHANGE_LOCK_PATH: Kind("lock", "the change lock", "Empty. Held by who decides on a change, or shows one.", "Locks"),
    FLUSH_LOCK_PATH: Kind(
        "lock", "the flush lock", "Empty. Held by who flushes, for himself and all who wait.", "Locks"
    ),
    HANDLES_PATH: Kind(
        "lock", "the handles' lock", "Empty. Every writer shares it: who gets it alone is alone.", "Locks"
    ),
    RESERVE_FOLDER: Kind(
        "reserve", "the reserve", "Room kept back, so that a full disk can't stop a change halfway.", "Crashes"
    ),
    QUARANTINE_FOLDER: Kind("quarantine", "the quarantine", "Damaged files that a repair has moved away.", _PLACES),
    UNFLUSHED_PATH: Kind("unflushed", "a warning", "There are changes that may not be on the disk.", "Crashes"),
    NEW_NAME: _NEW,
    EXECUTIONS: Kind("folder", "a folder", "One file for each execution.", _PLACES),
    EXECUTION_EVENTS: Kind("folder", "a folder", "The events of each execution.", _PLACES),
    JOB_INDEX: Kind("folder", "a folder", "Which executions has this job? ls tells.", _PLACES),
    STATE_INDEX: Kind("folder", "a folder", "Which executions are in this state? ls tells.", _PLACES),
    CHECKPOINTS: Kind("folder", "a folder", "How far each watcher has come in the event log.", _PLACES),
    SEQUENCE_TRACKING: Kind("folder", "a folder", "Numbers that Store.checkpoint keeps.", _PLACES),
    LAYOUT.log: Kind("folder", "a folder", "The event log of the whole store, in segments.", _PLACES),
    **{
        alias: Kind("alias", "a short cut", f"A short cut to {collection}/, so that links stay short.", _PLACES)
        for alias, collection in LAYOUT.aliases().items()
    },
}
_IN_FOLDER: Final = {
    EXECUTIONS: Kind("record", "the record", "The execution itself. cat shows it, a member a line.", _FILES),
    EXECUTION_EVENTS: Kind("events", "the execution's events", "What happened to this execution, a line each.", _FILES),
    CHECKPOINTS: Kind(
        "checkpoint", "the watcher's checkpoint", "Up to which event this watcher has handled all.", _FILES
    ),
    SEQUENCE_TRACKING: Kind("sequence", "a kept number", "A number that a caller keeps under this name.", _FILES),
    LAYOUT.log: Kind(
        "log", "the event log", "Everything that happened, numbered. Watchers and tail -f follow it.", _FILES
    ),
    RESERVE_FOLDER: Kind("reserve", "the reserve", "A part of the reserve.", "Crashes"),
    QUARANTINE_FOLDER: Kind("quarantine", "the quarantine", "A damaged file, or why it was moved.", _PLACES),
}
_GROUPS: Final = {
    JOB_INDEX: Kind("job", "the job's folder", "The executions of one job.", _PLACES),
    STATE_INDEX: Kind("state", "the state's folder", "The executions in one state.", _PLACES),
}
_ENTRIES: Final = {
    JOB_INDEX: Kind("job entry", "the job's index", "A link named like the execution: its job has it.", _PLACES),
    STATE_INDEX: Kind(
        "state entry", "the state's index", "A link named like the execution: it is in this state.", _PLACES
    ),
}


def kind_of(path: str) -> Kind:
    """What stands at a path of a store, by its name alone."""
    top, *below = path.split("/")
    if not below:
        return _AT_TOP.get(top, UNKNOWN)
    if below[-1] == NEW_NAME:
        return _NEW
    if len(below) == 1:
        return _IN_FOLDER.get(top) or _GROUPS.get(top, UNKNOWN)
    return _ENTRIES.get(top, UNKNOWN)
