"""Repair of a store that can't be opened: its engine's own files are made anew, and `repair` can do the rest."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from execstore.errors import StoreCorruptedError
from execstore.integrity.report import RepairAction
from execstore.schema import COUNTS, LAYOUT, TIME
from execstore.tree.rebuild import rebuild
from execstore.tree.segments import LOG_VALUE, LogState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execstore.tree.reader import Reader

__all__ = ["repair_closed"]


def repair_closed(path: str | os.PathLike[str]) -> list[RepairAction]:
    """Make lock files, FORMAT, head and journal anew where they are missing or damaged; often there is nothing to do.

    No handle may have the store open. If ``lock.handles`` is missing, nobody can tell whether one has: the caller
    must know.

    Raises:
        StoreBusyError: a handle has the store open.
        UnsupportedFormatError: it is of another version.
        StoreReadOnlyError, StoreFullError, StoreFailedError: the disk refuses.
    """
    return [RepairAction(*rebuilt) for rebuilt in rebuild(os.fspath(path), LAYOUT, _values_of)]


def _values_of(reader: Reader, known: Mapping[str, Any]) -> dict[str, Any]:
    """The head's values by what is in the tree; ``known`` are those of the last head that can be read.

    The next opening counts the executions and looks at each one's time.
    """
    state = LogState.of(known)
    try:
        firsts = reader.segment_numbers(LAYOUT.log)
        data = (reader.segment(reader.segment_file(LAYOUT.log, firsts[-1]), 0) or b"") if firsts else b""
    except StoreCorruptedError:
        firsts, data = [], b""
    if firsts:
        latest = max(firsts[-1] + data.count(b"\n") - 1, state.latest)
        state = LogState(latest, firsts[0], firsts[-1], len(data), state.since_ns)
    else:
        state = LogState(state.latest, state.latest + 1, state.latest + 1)
    # Every time that was given is in the past, and those to come must be later.
    newest = max(known.get(TIME, 0), time.time_ns())
    kept = {name: value for name, value in known.items() if name != COUNTS}
    return {**kept, TIME: newest, LOG_VALUE: state.to_value()}
