"""Taking items (see ``items``) into a store: a new one, whole or not at all, or one that is there, one by one.

A new store is made beside the place where it is to be and given its name at the end, so that an import that fails, or
is stopped, leaves nothing behind. What goes into an existing store overwrites nothing: each execution that isn't there
is stored in a transaction of its own, with its events and a CREATE in the event log for those who watch; each that is
there already, and different, is a conflict. The event log of the source and its watchers' checkpoints have no place in
a log that counts otherwise.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from execstore import records
from execstore.errors import (
    ExecutionAlreadyExistsError,
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    ImportConflictError,
)
from execstore.imports import StoreFiller, add_execution
from execstore.interop.items import CheckpointItem, ExecutionItem, ImportReport, LogEnd, LogItem
from execstore.interop.progress import Progress
from execstore.new_folder import new_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from execstore.interop.items import Item
    from execstore.store import Store

__all__ = ["Source", "import_into", "import_new"]


class Source(Protocol):
    """Where items come from. ``skipped`` and ``notes`` are complete once ``items`` has come to its end."""

    path: str
    skipped: list[str]
    notes: list[str]

    def items(self) -> Iterator[Item]:
        """Executions, then the log, then checkpoints."""


def import_new(source: Source, path: str | os.PathLike[str], progress: Progress | None = None) -> ImportReport:
    """Make a store at ``path`` of everything that ``source`` gives. There must be nothing, or an empty folder.

    Raises: ImportConflictError if there is something; SourceDamagedError from the source; what ``Store`` raises.
    """
    started = time.monotonic()
    try:
        remedy = "give the import a new folder, or merge (--merge)"
        with new_folder(path, "importing", remedy) as beside, StoreFiller(beside) as filler:
            report = _fill(source, filler, progress or Progress("importing", "items"))
    except FileExistsError as error:
        if error.filename is None:
            raise
        raise ImportConflictError([f"{error.filename} stands in {source.path} twice"]) from None
    report.seconds = time.monotonic() - started
    return report


def _fill(source: Source, filler: StoreFiller, progress: Progress) -> ImportReport:
    report = ImportReport()
    with progress:
        for item in source.items():
            _take(filler, item, report)
            progress.advance(done=item.done if isinstance(item, ExecutionItem) else None)
    report.log_events = filler.log_events
    _finish(report, source)
    return report


def _take(filler: StoreFiller, item: Item, report: ImportReport) -> None:
    if isinstance(item, ExecutionItem):
        filler.put_execution(item.execution, item.record, item.event_lines)
        report.executions += 1
        report.execution_events += item.events
    elif isinstance(item, LogItem):
        filler.append_log(item.seq_num, item.line, item.timestamp)
    elif isinstance(item, LogEnd):
        filler.end_log(item.latest)
    elif item.of_watcher:
        filler.put_watcher_checkpoint(item.name, item.sequence_number)
        report.watcher_checkpoints += 1
    else:
        filler.put_checkpoint(item.name, item.sequence_number)
        report.checkpoints += 1


def import_into(source: Source, store: Store, progress: Progress | None = None) -> ImportReport:
    """Add to ``store`` what ``source`` gives and it hasn't got. ``report.conflicts`` lists what was left alone.

    Raises: SourceDamagedError from the source (what came before it is kept); what ``Store`` raises.
    """
    report = ImportReport()
    left_out = {"events of the event log": 0, "checkpoints of watchers": 0}
    with progress or Progress("importing", "items") as shown:
        for item in source.items():
            if isinstance(item, ExecutionItem):
                _merge_execution(store, item, report)
                shown.advance(done=item.done)
            elif isinstance(item, CheckpointItem) and not item.of_watcher:
                _merge_checkpoint(store, item, report)
            elif isinstance(item, CheckpointItem):
                left_out["checkpoints of watchers"] += 1
            elif isinstance(item, LogItem):
                left_out["events of the event log"] += 1
        report.seconds = shown.seconds
    for what, number in left_out.items():
        if number:
            report.notes.append(f"{number} {what} left out: this store has an event log of its own")
    _finish(report, source)
    return report


def _merge_execution(store: Store, item: ExecutionItem, report: ImportReport) -> None:
    execution_id = item.execution.id
    try:
        add_execution(store, item.execution, item.record, item.event_lines)
    except ExecutionAlreadyExistsError:
        difference = _difference(store, item)
        if difference:
            report.conflicts.append(f"execution {execution_id}: {difference}")
        else:
            report.already_there += 1
        return
    report.executions += 1
    report.execution_events += item.events


def _difference(store: Store, item: ExecutionItem) -> str:
    """In what way the stored execution isn't the one that is imported; nothing if it is."""
    try:
        stored = store.get_execution(item.execution.id)
    except ExecutionNotFoundError:
        return "it was deleted while it was imported"
    if records.encode_execution(stored) != item.record:
        if stored.revision != item.execution.revision:
            return f"it is stored with revision {stored.revision}, the import has {item.execution.revision}"
        return "it is stored with other contents"
    with contextlib.suppress(ExecutionEventsNotFoundError):
        events = store.get_execution_events(item.execution.id)
        stored_lines = b"".join(records.encode_event(event) + b"\n" for event in events)
        return "" if stored_lines == item.event_lines else "it is stored with other events"
    return "it is stored without events" if item.events else ""


def _merge_checkpoint(store: Store, item: CheckpointItem, report: ImportReport) -> None:
    stored = store.get_checkpoint(item.name)
    if stored == item.sequence_number:
        report.already_there += 1
    elif stored:
        report.conflicts.append(
            f"checkpoint {item.name}: it is stored as {stored}, the import has {item.sequence_number}"
        )
    else:
        store.checkpoint(item.name, item.sequence_number)
        report.checkpoints += 1


def _finish(report: ImportReport, source: Source) -> None:
    report.skipped += source.skipped
    report.notes += source.notes
