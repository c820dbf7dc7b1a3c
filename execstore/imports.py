"""What only an import may do: store what another store wrote as it is, with its revisions, times and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.errors import ExecutionAlreadyExistsError
from execstore.records import compact, encode_checkpoint, encode_upsert
from execstore.schema import (
    CHECKPOINTS,
    COUNTS,
    EXECUTION_EVENTS,
    EXECUTION_UPSERT,
    EXECUTIONS,
    JOB_INDEX,
    LAYOUT,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    TIME,
    counts_of,
)
from execstore.store import Store
from execstore.tree.bulk import BulkFiller
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.making import read_format
from execstore.tree.names_apart import with_names
from execstore.tree.segments import LOG_VALUE
from execstore.watcher.events import Operation
from execstore.watcher.lines import encode_line

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from execstore.engine import Change
    from execstore.models import Execution

__all__ = ["StoreFiller", "add_execution"]


class StoreFiller:
    """Makes a new store in an empty folder that nobody else looks at, and fills it fast. A context manager.

    The store is whole and durable once the ``with`` statement ended well; after an exception, throw the folder away.
    """

    def __init__(self, path: str) -> None:
        """Make the store. Raises what ``Store`` raises."""
        self._path = path
        Store(path).close()
        self._real_fs = RealFileSystem(path)
        form = read_format(self._real_fs, path)
        if form is None:
            raise FileNotFoundError(path)
        self._fs = with_names(self._real_fs, path, LAYOUT, form.names)
        self._bulk = BulkFiller(self._fs, path, LAYOUT, form.segment_bytes)
        self._counts: dict[str, int] = {}

    def put_execution(self, execution: Execution, record: bytes, event_lines: bytes) -> None:
        """Store an execution by its bytes, with its events' lines and its index entries.

        Raises:
            FileExistsError: an ID was given twice; ``filename`` is its record. It may come from a later call.
        """
        execution_id, state = execution.id, execution.compute_state.state_type.value
        self._bulk.put_record(EXECUTIONS, execution_id, record)
        if event_lines:
            self._bulk.put_lines(EXECUTION_EVENTS, execution_id, event_lines)
        self._bulk.mark(JOB_INDEX, execution.job_id, execution_id)
        self._bulk.mark(STATE_INDEX, state, execution_id)
        self._counts[state] = self._counts.get(state, 0) + 1

    def append_log(self, seq_num: int, line: bytes, timestamp: int) -> None:
        """Append a line to the event log. A number that isn't the next one starts the log anew with this line."""
        if seq_num != self._bulk.log_state.latest + 1:
            self._bulk.start_log(seq_num)
        self._bulk.append_log(line, timestamp)

    @property
    def log_events(self) -> int:
        """How many events the log has."""
        return self._bulk.log_state.latest + 1 - self._bulk.log_state.oldest

    def end_log(self, latest: int) -> None:
        """Let the next event have the number ``latest + 1``, even if there is no event of a number so high."""
        if latest > self._bulk.log_state.latest:
            self._bulk.start_log(latest + 1)

    def put_checkpoint(self, name: str, sequence_number: int, record: bytes | None = None) -> None:
        """Set one of the store's checkpoints; ``record`` is the whole of it, which may say more than that."""
        self._bulk.put_record(SEQUENCE_TRACKING, name, record or encode_checkpoint(name, sequence_number))

    def put_watcher_checkpoint(self, watcher_id: str, sequence_number: int) -> None:
        """Set a watcher's checkpoint."""
        self._bulk.put_record(CHECKPOINTS, watcher_id, encode_checkpoint(watcher_id, sequence_number))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._bulk.finish()
        finally:
            self._bulk.abandon()
            self._real_fs.dispose()
        if kind is None:
            with Store(self._path) as store:
                # Past the store's own way to commit, which would collect the old events that have just come.
                store.engine().change(self._set_values)

    def _set_values(self, change: Change) -> None:
        change.set_value(COUNTS, self._counts)
        change.set_value(LOG_VALUE, self._bulk.log_state.to_value())


def add_execution(store: Store, execution: Execution, record: bytes, event_lines: bytes) -> None:
    """Add an execution to a store in a transaction of its own, with a CREATE in the event log for those who watch.

    Raises:
        ExecutionAlreadyExistsError: its ID is taken.
        StoreCorruptedError, StoreBusyError, StoreFullError, StoreFailedError, StoreReadOnlyError
    """

    def add(change: Change) -> None:
        execution_id, state = execution.id, execution.compute_state.state_type.value
        if change.record(EXECUTIONS, execution_id) is not None:
            raise ExecutionAlreadyExistsError(execution_id)
        if event_lines:
            change.put_lines(EXECUTION_EVENTS, execution_id, event_lines)
        change.put_record(EXECUTIONS, execution_id, record)
        change.mark(JOB_INDEX, execution.job_id, execution_id)
        change.mark(STATE_INDEX, state, execution_id)
        counts = counts_of(change.values)
        change.set_value(COUNTS, counts | {state: counts.get(state, 0) + 1})
        now = max(store.rules.clock(), change.values.get(TIME, 0) + 1)
        change.set_value(TIME, now)
        upsert = encode_upsert(compact(record), None, event_lines.splitlines())
        line = encode_line(change.next_log_number(), Operation.CREATE, EXECUTION_UPSERT, upsert, now)
        change.append_log(line, now)

    store.apply("import", add)
