"""A store as an SQLite database: written anew, or brought up to date by what the event log says has changed since."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from execstore import records
from execstore.beside import give_name, make_file
from execstore.errors import InvalidArgumentError
from execstore.interop import reading
from execstore.interop.exporting import ExportReport
from execstore.interop.progress import Progress
from execstore.interop.sqlite_schema import (
    EMPTY,
    FORMAT_VERSION,
    INDEXES,
    INSERT,
    INSERT_NEWER_JOB,
    TABLES,
    event_rows,
    execution_row,
    integer,
    job_row,
    log_row,
)
from execstore.schema import EXECUTION_EVENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from execstore.interop.reading import Stored
    from execstore.store import Store

__all__ = ["append_sqlite", "export_sqlite"]

_LARGEST_KEY: Final = 2**63 - 1


def export_sqlite(store: Store, path: str | os.PathLike[str], progress: Progress | None = None) -> ExportReport:
    """Write all of ``store`` into a new SQLite database, which has its name only once it is whole.

    Raises: InvalidArgumentError if there is something at ``path``; StoreCorruptedError if the event log is damaged (a
        damaged execution is skipped); OSError.
    """
    target = os.path.abspath(path)
    if os.path.lexists(target):
        raise InvalidArgumentError("FILE", f"{target} is there already; bring it up to date (--append), or remove it")
    started = time.monotonic()
    descriptor, beside = make_file(target)
    os.close(descriptor)
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as database:
            # Nobody else knows of the file yet: a journal of its own would protect nothing.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            with progress or Progress("exporting", "executions") as shown:
                report = _write_all(store, database, shown)
        _flush(beside)
        give_name(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
    report.seconds = time.monotonic() - started
    return report


def append_sqlite(store: Store, path: str | os.PathLike[str], progress: Progress | None = None) -> ExportReport:
    """Bring a database that ``export_sqlite`` made up to date, in one transaction.

    The events of the log since then are added, and the executions they speak of are read again. If some of these events
    were collected before they could be exported, all executions are.

    Raises: InvalidArgumentError if the file isn't such a database, or of another store; as ``export_sqlite``.
    """
    target = os.path.abspath(path)
    if not os.path.exists(target):
        return export_sqlite(store, path, progress)
    started = time.monotonic()
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as database:
        try:
            last = _last_seq_num(store, database, target)
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("BEGIN IMMEDIATE")
            with progress or Progress("exporting", "executions") as shown:
                report = _write_changes(store, database, last, shown)
            database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise InvalidArgumentError("FILE", f"{target}: {error}") from error
        # An exception before the end leaves the transaction open, and closing the connection rolls it back.
    report.seconds = time.monotonic() - started
    return report


def _last_seq_num(store: Store, database: sqlite3.Connection, target: str) -> int:
    try:
        facts = dict(database.execute("SELECT name, value FROM execstore_export"))
        found, version = facts["store_id"], int(facts["format_version"])
        last = int(facts["last_seq_num"])
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise InvalidArgumentError("FILE", f"{target} is no database that 'export sqlite' made ({error})") from error
    if version != FORMAT_VERSION:
        raise InvalidArgumentError("FILE", f"{target} is of format {version}, this program writes {FORMAT_VERSION}")
    if found != reading.store_id(store):
        raise InvalidArgumentError("FILE", f"{target} was exported from another store; export to a new file")
    if last > store.event_store.get_latest_event_num():
        raise InvalidArgumentError("FILE", f"{target} has later events than the store, which was restored; export anew")
    return last


def _write_all(store: Store, database: sqlite3.Connection, progress: Progress) -> ExportReport:
    report = ExportReport()
    latest = store.event_store.get_latest_event_num()
    database.execute("BEGIN")
    for table, columns in TABLES.items():
        database.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    _write_executions(store, database, report, progress)
    _write_log(store, database, 1, latest, report)
    for table, column in INDEXES:
        database.execute(f"CREATE INDEX {table}_by_{column} ON {table} ({column})")
    _write_rest(store, database, latest, report)
    database.execute("COMMIT")
    return report


def _write_changes(store: Store, database: sqlite3.Connection, last: int, progress: Progress) -> ExportReport:
    report = ExportReport()
    latest = store.event_store.get_latest_event_num()
    oldest = store.event_store.get_oldest_event_num()
    changed, complete = _write_log(store, database, last + 1, latest, report)
    if oldest > last + 1:
        report.notes.append(
            f"events {last + 1} to {oldest - 1} were collected before they could be exported; read all executions again"
        )
    if complete and oldest <= last + 1:
        for execution_id in sorted(changed):
            _replace(store, database, execution_id, report)
            progress.advance()
    else:
        for table in ("execution_events", "executions", "jobs"):
            database.execute(EMPTY[table])
        _write_executions(store, database, report, progress)
    _write_rest(store, database, latest, report)
    return report


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    database.executemany(INSERT[table], rows)


def _write_executions(store: Store, database: sqlite3.Connection, report: ExportReport, progress: Progress) -> None:
    for stored in reading.executions(store, reading.Selection(), report.skipped):
        _write_execution(database, stored, report)
        progress.advance(done=stored.done)


def _write_execution(database: sqlite3.Connection, stored: Stored, report: ExportReport) -> None:
    execution, events, _ = stored
    _insert(database, "executions", [execution_row(execution)])
    if events:
        _insert(database, "execution_events", event_rows(execution.id, events))
    database.execute(INSERT_NEWER_JOB, job_row(execution))
    report.executions += 1
    report.execution_events += len(events)


def _replace(store: Store, database: sqlite3.Connection, execution_id: str, report: ExportReport) -> None:
    """Write one execution as it is now."""
    jobs = {job_id for (job_id,) in database.execute("SELECT job_id FROM executions WHERE id = ?", (execution_id,))}
    database.execute("DELETE FROM executions WHERE id = ?", (execution_id,))
    stored = reading.one(store, execution_id, report.skipped)
    if stored is not None:
        _write_execution(database, stored, report)
    for job_id in jobs:
        newest = database.execute(
            "SELECT json FROM executions WHERE job_id = ? ORDER BY modify_time_ns DESC LIMIT 1", (job_id,)
        ).fetchone()
        if newest is None:
            database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        else:
            _insert(database, "jobs", [job_row(records.parse_execution(newest[0].encode()))])


def _write_log(
    store: Store, database: sqlite3.Connection, first: int, latest: int, report: ExportReport
) -> tuple[set[str], bool]:
    """Returns the executions that the events speak of, and whether each event of an execution says of which."""
    if latest > _LARGEST_KEY:
        raise InvalidArgumentError("FILE", f"SQLite has no integers as large as the event number {latest}")
    changed: set[str] = set()
    complete = True
    for line in reading.log(store, first):
        if line.ends.seq_num > latest:
            break
        execution_id = reading.execution_of(line)
        if execution_id is not None:
            changed.add(execution_id)
        elif line.ends.object_type == EXECUTION_EVENT:
            complete = False
        _insert(database, "events", [log_row(line.ends, line.line, execution_id)])
        report.log_events += 1
    return changed, complete


def _write_rest(store: Store, database: sqlite3.Connection, latest: int, report: ExportReport) -> None:
    for table, of_watchers in (("checkpoints", False), ("watcher_checkpoints", True)):
        rows = reading.checkpoints(store, of_watchers=of_watchers)
        database.execute(EMPTY[table])
        _insert(database, table, [(name, integer(number)) for name, number in rows])
        report.checkpoints += len(rows)
    facts = {"format_version": FORMAT_VERSION, "store_id": reading.store_id(store), "last_seq_num": latest}
    _insert(database, "execstore_export", facts.items())


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
