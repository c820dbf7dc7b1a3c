"""The store: Bacalhau's ``ExecutionStore`` (``pkg/compute/store/types.go``) on a directory tree, or another engine."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, cast

from execstore import operations, queries
from execstore.collection import SMALLEST_MAX_BYTES, Collector, Limits, collect, preview
from execstore.counters import CONFLICTS, Counters
from execstore.engine import EngineOptions
from execstore.errors import (
    ExecStoreError,
    InvalidArgumentError,
    StoreClosedError,
    TransactionOpenError,
    UnsupportedOperationError,
)
from execstore.event_log import StoreEventLog
from execstore.operations import MAX_DOCUMENT_BYTES, Rules, check_checkpoint_name
from execstore.pruning import TERMINAL_STATES, Pruner, PruneRule, prune
from execstore.schema import EVENT_LIMITS, LAYOUT
from execstore.states import ExecutionState
from execstore.transaction import Transaction
from execstore.tree_engine import TreeEngine, open_tree
from execstore.validation import check_key
from execstore.watcher.event_store import EventStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import BinaryIO, Literal, Self, Unpack

    from execstore.collection import CollectReport
    from execstore.engine import Change, Engine, Reader, Rotation
    from execstore.event_log_status import EventLogStatus
    from execstore.history import Revision
    from execstore.integrity.report import BackupReport, RepairReport, RestoreReport, VerifyReport
    from execstore.metrics import StoreMetrics
    from execstore.models import Event, Execution, UpdateExecutionRequest
    from execstore.pruning import PruneReport
    from execstore.tree.change import Change as TreeChange

__all__ = ["Store", "StoreOptions"]

_T = TypeVar("_T")
_PAGE = 256


# Nobody gave one: the object itself tells, since a caller's own 24 hours is another.
_UNTOLD_RETENTION: Final = timedelta(hours=24)


# The scheme of an address of `connect`, which as the name of a folder is a mistake.
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://|memory:|file:")


class StoreOptions(TypedDict, total=False):
    """What `Store` takes besides the path, for those who pass it on."""

    read_only: bool
    durability: Literal["full", "relaxed"]
    lock_timeout: float
    event_retention: timedelta | None
    event_max_bytes: int | None
    retention: timedelta | None
    long_poll_timeout: float
    clock: Callable[[], int]
    max_document_bytes: int


class Store:
    """Executions of jobs: their records, events and states, on plain files below ``path``.

    Every writing method returns once its change is durable and visible to every reader in every process. Readers take
    no lock and always see the outcome of whole transactions. One ``Store`` may be used from many threads; any number
    of processes may open the same path at once. After a fork the child's first call opens the store again for it.

    `execstore.connect` opens a store on something else than a folder by its address, `on` one on any engine.

    Args:
        path: the folder. It is made if it isn't there.
        read_only: never write a byte; works on read-only media, and for a user who may only read.
        durability: ``"full"``: what returned survives a power cut. ``"relaxed"``: it survives the death of the
            process; a power cut can lose or tear the newest changes, and the next opening mends the store first.
        lock_timeout: seconds to wait for other writers before `StoreBusyError`.
        event_retention: how long events are kept in the event log at least. The store remembers it for handles that
            aren't given one (or ``None``); until it is told, it is 24 hours. Segments of the log whose events are
            older, and handled by every watcher that has a checkpoint, are removed after commits, a few at a time. See
            ``collection``.
        event_max_bytes: how large the event log may become, for devices with little room; 0 for any size. It is
            remembered in the same way. To keep it, events go that are younger, or that a watcher hasn't handled; which
            watcher lost how many is logged as a warning, and `event_log_status` tells.
        retention: how long executions that have ended stay; for ever if it isn't given. This handle then removes older
            ones after its commits, a few at a time, as `prune` does; it isn't remembered for others. See ``pruning``.
        long_poll_timeout: seconds that ``get_events`` waits for something new.
        clock: gives nanoseconds since the epoch, to whichever thread asks. Times of one store only go up, whatever it
            says.
        max_document_bytes: the largest record, in bytes of JSON.

    Raises:
        StoreNotFoundError: ``read_only``, and there is no store.
        NotAStoreError: a file, or a folder with other things in it. It is left untouched.
        UnsupportedFormatError: the store is of a newer or older version.
        StoreCorruptedError, StoreBusyError, StoreFullError, StoreReadOnlyError, UnsupportedFilesystemError
        InvalidArgumentError: an argument makes no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Literal["full", "relaxed"] = "full",
        lock_timeout: float = 30.0,
        event_retention: timedelta | None = _UNTOLD_RETENTION,
        event_max_bytes: int | None = None,
        retention: timedelta | None = None,
        long_poll_timeout: float = 10.0,
        clock: Callable[[], int] = time.time_ns,
        max_document_bytes: int = MAX_DOCUMENT_BYTES,
    ) -> None:
        place = os.fspath(path)
        if not isinstance(place, str) or not place or "\0" in place:
            raise InvalidArgumentError("path", f"must be the path of a folder, not {path!r}")
        if isinstance(path, str) and _ADDRESS.match(place):
            scheme = place.partition(":")[0]
            reason = f"is an address; open it with execstore.connect, or write ./{scheme}:… for a folder of this name"
            raise InvalidArgumentError("path", reason)
        self._open(
            partial(open_tree, place),
            place,
            {
                "read_only": read_only,
                "durability": durability,
                "lock_timeout": lock_timeout,
                "event_retention": None if event_retention is _UNTOLD_RETENTION else event_retention,
                "event_max_bytes": event_max_bytes,
                "retention": retention,
                "long_poll_timeout": long_poll_timeout,
                "clock": clock,
                "max_document_bytes": max_document_bytes,
            },
        )

    @classmethod
    def on(cls, opener: Callable[[EngineOptions], Engine], **options: Unpack[StoreOptions]) -> Self:
        """A store on an engine of your own: see ``execstore.engine``.

        Args:
            opener: opens the engine; called again in a forked child.
            options: as for a store in a folder.

        Raises:
            InvalidArgumentError: an option makes no sense.
            StoreNotFoundError, UnsupportedFormatError, … : what the opener raises.
        """
        for name in options.keys() - StoreOptions.__optional_keys__:
            raise TypeError(f"a store has no option {name!r}")
        store = cls.__new__(cls)
        store._open(opener, None, options)  # noqa: SLF001 - it is its own
        return store

    def _open(self, opener: Callable[[EngineOptions], Engine], path: str | None, options: StoreOptions) -> None:
        durability = options.get("durability", "full")
        if durability not in {"full", "relaxed"}:
            raise InvalidArgumentError("durability", f'must be "full" or "relaxed", not {durability!r}')
        lock_timeout, long_poll_timeout = options.get("lock_timeout", 30.0), options.get("long_poll_timeout", 10.0)
        for name, number in (("lock_timeout", lock_timeout), ("long_poll_timeout", long_poll_timeout)):
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < float("inf"):
                raise InvalidArgumentError(name, f"must be a number of seconds, not negative, but is {number!r}")
        event_retention, event_max_bytes = options.get("event_retention"), options.get("event_max_bytes")
        retention_ns = _checked_retention("event_retention", event_retention)
        _check_max_bytes("event_max_bytes", event_max_bytes)
        executions_retention_ns = _checked_retention("retention", options.get("retention"))
        max_document_bytes = options.get("max_document_bytes", MAX_DOCUMENT_BYTES)
        if not isinstance(max_document_bytes, int) or max_document_bytes <= 0:
            reason = f"must be an integer over 0, but is {max_document_bytes!r}"
            raise InvalidArgumentError("max_document_bytes", reason)
        clock = options.get("clock", time.time_ns)
        if not callable(clock):
            reason = f"must be callable and give nanoseconds since the epoch, but is {clock!r}"
            raise InvalidArgumentError("clock", reason)
        self._opener = opener
        self._read_only = options.get("read_only", False)
        self._override_limits = partial(Limits.override, retention_ns=retention_ns, max_bytes=event_max_bytes)
        self._known_rotation: tuple[list[int] | None, Rotation] | None = None
        self._has_limits = event_retention is not None or event_max_bytes is not None
        self._engine_options = EngineOptions(
            LAYOUT,
            read_only=self._read_only,
            flush_commits=durability == "full",
            timeout_seconds=float(lock_timeout),
            rotation=self._rotation,
            mend=_mend,
        )
        self._long_poll_timeout_seconds = float(long_poll_timeout)
        self._closed = False
        self._local = threading.local()
        self._open_transaction: Transaction | None = None
        self._event_store: EventStore | None = None
        self.rules = Rules(clock, max_document_bytes)
        self._prune_rule = None if executions_retention_ns is None else PruneRule(executions_retention_ns)
        self._start()
        self._path = self._engine.path if path is None else path

    def _start(self) -> None:
        """What is this process's own."""
        self._counters = Counters()
        self._collector = Collector(self._override_limits, self.rules.clock)
        self._pruner = None if self._prune_rule is None else Pruner(self._prune_rule, self.rules)
        self._engine = self._open_engine(self._engine_options)
        self._engine.on_flush = self._counters.add_flush

    def _open_engine(self, options: EngineOptions) -> Engine:
        return self._opener(options)

    def _rotation(self, values: Mapping[str, Any]) -> Rotation:
        """When a new segment of the event log is begun; every change asks."""
        limits = values.get(EVENT_LIMITS)
        if self._known_rotation is None or limits != self._known_rotation[0]:
            self._known_rotation = (limits, self._override_limits(Limits.of(values)).rotation())
        return self._known_rotation[1]

    # --- executions: writing ---

    def create_execution(self, execution: Execution, *events: Event | None) -> Execution:
        """Store a new execution, in state New or BidAccepted, with its first events.

        Returns:
            What was stored: revision 1, ``create_time`` and ``modify_time`` set. The argument is left as it was.

        Raises:
            NilExecutionError: ``None`` was given.
            InvalidExecutionStateError, InvalidExecutionRevisionError, InvalidExecutionError: it can't be created.
            ExecutionAlreadyExistsError
        """
        return self.apply(
            "create_execution",
            lambda change: operations.create_execution(change, execution, events, self.rules),
        )

    def update_execution_state(self, request: UpdateExecutionRequest) -> Execution:
        """Merge new values into an execution if the request's conditions hold, and add events.

        A zero value in ``new_values`` changes nothing; ``request.clear`` names fields to set back. Returns what was
        stored, its revision one higher.

        Raises:
            ExecutionNotFoundError
            InvalidExecutionStateError, InvalidExecutionRevisionError: a condition doesn't hold.
            ExecutionAlreadyTerminalError: the execution has ended.
            InvalidExecutionError: a new value can't be stored.
        """
        return self.apply(
            "update_execution_state",
            lambda change: operations.update_execution_state(change, request, self.rules),
        )

    def delete_execution(self, execution_id: str) -> None:
        """Remove an execution, in whatever state, with its events. Raises ``ExecutionNotFoundError``."""
        self.apply("delete_execution", lambda change: operations.delete_execution(change, execution_id, self.rules))

    def add_execution_event(self, execution_id: str, *events: Event | None) -> None:
        """Add events to an execution, in whatever state.

        Raises:
            ExecutionNotFoundError, InvalidExecutionError
        """
        self.apply(
            "add_execution_event",
            lambda change: operations.add_execution_event(change, execution_id, events, self.rules),
        )

    def checkpoint(self, name: str, sequence_number: int) -> None:
        """Keep a number (an integer, not negative) under a name; it may go back.

        Raises:
            CheckpointNameBlankError: the name is empty.
            InvalidArgumentError: not such a number.
        """
        self.apply("checkpoint", lambda change: operations.store_checkpoint(change, name, sequence_number))

    # --- executions: reading ---

    def get_execution(self, execution_id: str) -> Execution:
        """The execution of this ID. Raises ``ExecutionNotFoundError``."""
        return self.look(lambda reader: queries.get_execution(reader, execution_id))

    def get_executions(self, job_id: str) -> list[Execution]:
        """A job's executions, newest ``modify_time`` first. Raises ``ExecutionsNotFoundForJobError``."""
        return self.look(lambda reader: queries.get_executions(reader, job_id))

    def get_live_executions(self) -> list[Execution]:
        """The executions in BidAccepted, Running or Publishing, newest ``modify_time`` first."""
        return self.look(queries.get_live_executions)

    def get_execution_count(self, state: ExecutionState) -> int:
        """How many executions are in a state. It costs the same at any size of the store."""
        if not isinstance(state, ExecutionState):
            state = ExecutionState.parse(state, "state")
        return queries.get_execution_count(self.engine().values(), state)

    def get_execution_events(self, execution_id: str) -> list[Event]:
        """An execution's events in write order. Raises ``ExecutionEventsNotFoundError`` if there are none."""
        return self.look(lambda reader: queries.get_execution_events(reader, execution_id))

    def get_checkpoint(self, name: str) -> int:
        """The number kept under a name, 0 if there is none. Raises ``CheckpointNameBlankError``."""
        check_checkpoint_name(name)
        return self.look(lambda reader: queries.get_checkpoint(reader, name))

    def list_executions(
        self,
        *,
        state: ExecutionState | None = None,
        job_id: str | None = None,
        namespace: str | None = None,
        node_id: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Iterator[Execution]:
        """The executions that fit all that is given, in ID order (by code point), read page by page as they are used.

        ``after=<last ID>`` goes on behind an ID. Each page is one moment of the store; what is created meanwhile
        behind the last ID shows up. A damaged record is left out with a warning.

        Raises:
            InvalidArgumentError: a negative limit, or a key that is no text.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidArgumentError("limit", f"must be an integer, not negative, but is {limit!r}")
        if state is not None and not isinstance(state, ExecutionState):
            state = ExecutionState.parse(state, "state")
        for argument, value in (("job_id", job_id), ("namespace", namespace), ("node_id", node_id), ("after", after)):
            if value is not None:
                check_key(value, argument)
        self._check_open()
        return self._pages(state, job_id, namespace, node_id, limit, after)

    def _pages(
        self,
        state: ExecutionState | None,
        job_id: str | None,
        namespace: str | None,
        node_id: str | None,
        limit: int | None,
        after: str | None,
    ) -> Iterator[Execution]:
        remaining = limit
        page_size = _PAGE
        while remaining is None or remaining > 0:
            wanted = page_size if remaining is None else min(page_size, remaining)
            query = partial(
                queries.page_of_executions,
                state=state,
                job_id=job_id,
                namespace=namespace,
                node_id=node_id,
                limit=wanted,
                after=after,
            )
            page, after = self.look(query)
            yield from page
            if remaining is not None:
                remaining -= len(page)
            if after is None:
                return
            # Each page costs a walk over the names; larger ones keep a walk over the whole store linear in practice.
            page_size = min(page_size * 4, 65536)

    def counts(self) -> dict[ExecutionState, int]:
        """State to number of executions, all twelve states. It costs the same at any size of the store."""
        return queries.counts(self.engine().values())

    # --- transactions and events ---

    def begin_tx(self) -> Transaction:
        """Begin a transaction: a context manager that commits at its end and rolls back on an exception.

        It holds the store's write lock until it ends.

        Raises:
            TransactionOpenError: this thread has one open already.
            StoreBusyError: other writers held the lock for longer than ``lock_timeout``.
        """
        engine = self._writable("begin_tx")
        change = engine.begin()

        def commit(ended: Change) -> None:
            self._forget(transaction)
            self._commit(engine, ended)

        def rollback(ended: Change) -> None:
            self._forget(transaction)
            # What was read in it should stand, but that is no reason why it couldn't end.
            with contextlib.suppress(ExecStoreError):
                engine.reject(ended)

        try:
            transaction = Transaction(change, self.rules, commit, rollback, self._counters.add_conflict)
            self._local.transaction = self._open_transaction = transaction
        except BaseException:  # Ctrl-C
            engine.rollback(change)
            raise
        return transaction

    def _forget(self, transaction: Transaction) -> None:
        if self._open_transaction is transaction:
            self._open_transaction = None

    @property
    def event_store(self) -> EventStore:
        """The store's event log, as watchers use it. It is closed with the store."""
        self._check_open()
        if self._event_store is None:
            self._event_store = EventStore(StoreEventLog(self), long_poll_timeout=self._long_poll_timeout_seconds)
        return self._event_store

    def get_event_store(self) -> EventStore:
        """The same as ``event_store``."""
        return self.event_store

    def history(self, execution_id: str) -> list[Revision]:
        """The revisions of an execution that are still in the event log, oldest first, with what changed in each.

        It goes through the whole log, some milliseconds for every 10 MiB. Of an execution that was deleted it shows
        what is left; of one whose revisions were all collected, nothing. See ``execstore.history``.

        Raises:
            ExecutionNotFoundError: neither the store nor the log knows it.
            StoreCorruptedError: a segment of the log is missing. A damaged line is left out with a warning.
        """
        from execstore.history import history  # noqa: PLC0415 - only who asks pays for it

        return history(self, execution_id)

    def event_log_status(self) -> EventLogStatus:
        """How far the event log reaches, how large it is, how far its watchers have come, and who holds it."""
        from execstore.event_log_status import event_log_status  # noqa: PLC0415

        return self.look(lambda reader: event_log_status(reader, self._override_limits, self.rules.clock()))

    def collect_events(
        self, *, retention: timedelta | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> CollectReport:
        """Remove from the event log all that may go now, which writers otherwise do bit by bit; see ``collection``.

        ``retention`` and ``max_bytes`` stand in for the store's ``event_retention`` and ``event_max_bytes`` this once.
        ``dry_run`` only tells what would go; it needs no right to write.

        Raises:
            InvalidArgumentError: an argument makes no sense.
            TransactionOpenError, StoreBusyError, StoreFullError, StoreFailedError, StoreReadOnlyError
        """
        retention_ns = _checked_retention("retention", retention)
        _check_max_bytes("max_bytes", max_bytes)

        def override(limits: Limits) -> Limits:
            return self._override_limits(limits).override(retention_ns, max_bytes)

        if dry_run:
            return preview(self.engine(), override, self.rules.clock())
        return collect(self._writable("collect_events"), override, self.rules.clock())

    # --- the long run ---

    def prune(
        self,
        *,
        older_than: timedelta,
        states: Iterable[ExecutionState] = TERMINAL_STATES,
        dry_run: bool = False,
        keep_per_job: int | None = None,
    ) -> list[str]:
        """Remove executions that ended ``older_than`` ago, or earlier; returns their IDs, the oldest first.

        They go in small transactions, with their events, and the event log has a DELETE of each. ``dry_run`` only tells
        who would go; it needs no right to write. See ``pruning``.

        Args:
            older_than: the time since the last change, not negative.
            states: those that may go, terminal ones if it isn't given. A live one can't be named: they never go.
            keep_per_job: so many of each job's newest in these states stay, however old they are.

        Raises:
            InvalidArgumentError: an argument makes no sense.
            TransactionOpenError, StoreBusyError, StoreFullError, StoreFailedError, StoreReadOnlyError: what was
                removed before stays removed.
        """
        return self.prune_executions(
            older_than=older_than, states=states, dry_run=dry_run, keep_per_job=keep_per_job
        ).ids

    def prune_executions(
        self,
        *,
        older_than: timedelta,
        states: Iterable[ExecutionState] = TERMINAL_STATES,
        dry_run: bool = False,
        keep_per_job: int | None = None,
    ) -> PruneReport:
        """The same; returns of each execution also its job, state, time and size."""
        rule = _checked_rule(older_than, states, keep_per_job)
        engine = self.engine() if dry_run else self._writable("prune")
        return prune(engine, rule, self.rules, dry_run=dry_run)

    def metrics(self) -> StoreMetrics:
        """How the store stands, and what this handle has done in this process: commits, conflicts, flushes.

        It reads the records of live executions, and a ``stat`` for each segment of the event log. See ``metrics``.
        """
        from execstore.metrics import take_metrics  # noqa: PLC0415 - only who asks pays for it

        return take_metrics(self, self._counters.snapshot())

    # --- integrity ---

    def verify(self) -> VerifyReport:
        """Check everything: records, events, indexes, counts, event log and head agree. Nothing is changed.

        May be called while others write. See ``execstore.integrity.verify``.
        """
        from execstore.integrity.verify import verify  # noqa: PLC0415 - only who checks pays for it

        return verify(self)

    def repair(self) -> RepairReport:
        """Mend what `verify` finds: indexes and counts are rebuilt, damaged files moved to ``quarantine/``.

        See ``execstore.integrity.repair``.
        """
        from execstore.integrity.repair import repair  # noqa: PLC0415

        return repair(self)

    def backup(self, destination: str | os.PathLike[str] | BinaryIO) -> BackupReport:
        """Write a consistent copy of one moment, a tar archive, while others go on writing.

        ``destination`` is a path, whose file is replaced once the new one is whole and on disk, or a file open for
        writing in binary. ``.tar.gz``, ``.tgz``, ``.tar.zst`` and ``.tzst`` are compressed, zstd from Python 3.14 on.
        The handle may be read-only. See ``execstore.integrity.backup``.

        Raises:
            InvalidArgumentError: the destination is within the store, or a terminal, or this Python has no zstd.
            OSError: the destination can't be written.
            StoreCorruptedError, StoreFailedError
        """
        from execstore.integrity.backup import backup  # noqa: PLC0415

        return backup(self, destination)

    @staticmethod
    def restore(
        archive: str | os.PathLike[str] | BinaryIO, path: str | os.PathLike[str], *, max_bytes: int | None = None
    ) -> RestoreReport:
        """Make a new store at ``path`` out of what `backup` wrote: whole and verified, or not at all.

        Sequence numbers and times go on where the backup's store was. A watcher's checkpoint that is ahead of the log
        is set to its end. See ``execstore.integrity.restore``.

        Args:
            archive: a path, or a file open for reading in binary, which needn't be seekable.
            path: there may be nothing, or an empty folder.
            max_bytes: the most that the archive's files may take; what is free on the disk if it isn't given.

        Raises:
            ImportConflictError: there is something at ``path``.
            SourceDamagedError: the archive is damaged, cut off, or something else; ``place`` names the member.
            UnsupportedFormatError: it is of a newer or older version.
            InvalidArgumentError: it is larger than ``max_bytes``, or this Python has no zstd.
            OSError: the archive can't be read.
            StoreFullError, UnsupportedFilesystemError
        """
        from execstore.integrity.restore import restore  # noqa: PLC0415

        return restore(archive, path, max_bytes=max_bytes)

    # --- life ---

    @property
    def path(self) -> str:
        """The folder, as it was given; of a store that is elsewhere its address, without any password."""
        return self._path

    @property
    def store_id(self) -> str:
        """What tells this store from every other: made up when it was made. A restored copy is another store."""
        return self.engine().store_id

    @property
    def read_only(self) -> bool:
        """Whether it was opened without the right to write."""
        return self._read_only

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close the store; an open transaction is rolled back. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        transaction = self._open_transaction
        if self._engine.process_id != os.getpid():
            return
        if transaction is not None:
            transaction.rollback()
        self._engine.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self._path!r}{', closed' if self._closed else ''})"

    # --- for the modules beside this one ---

    def look(self, query: Callable[[Reader], _T]) -> _T:
        """Give what ``query`` finds in one moment of the store."""
        return self.engine().read(query)

    def apply(self, method: str, operation: Callable[[Change], _T]) -> _T:
        """Do one operation as a transaction of its own. An engine may call it several times, see ``engine``."""
        engine = self._writable(method)
        done: Change | None = None

        def operate(change: Change) -> _T:
            nonlocal done
            done = change
            result = operation(change)
            if self._has_limits:
                self._set_limits(change)
            return result

        try:
            result = engine.change(operate)
        except CONFLICTS.get(method, ()):
            self._counters.add_conflict()
            raise
        if done is not None:
            self._after_commit(engine, done)
        return result

    def _commit(self, engine: Engine, change: Change) -> None:
        if self._has_limits:
            self._set_limits(change)
        engine.commit(change)
        self._after_commit(engine, change)

    def _set_limits(self, change: Change) -> None:
        if not change.is_empty:
            change.set_value(EVENT_LIMITS, list(self._override_limits(Limits.of(change.values))))

    def _after_commit(self, engine: Engine, change: Change) -> None:
        if not change.is_empty:
            self._counters.add_commit()
        self._collector.after_commit(engine, change.values)
        if self._pruner is not None:
            self._pruner.after_commit(engine)

    def engine(self) -> Engine:
        """The engine, opened again if this process inherited the store by a fork."""
        self._check_open()
        if self._engine.process_id != os.getpid():
            self._reopen_after_fork()
        return self._engine

    def tree(self, operation: str) -> TreeEngine:
        """The engine as the directory tree that it must be for this operation.

        Raises:
            UnsupportedOperationError: it is another engine; it says what to do instead.
        """
        engine = self.engine()
        if isinstance(engine, TreeEngine):
            return engine
        remedy = engine.instead.get(operation, "only a store in a folder has it")
        raise UnsupportedOperationError(self._path, operation, remedy)

    def _reopen_after_fork(self) -> None:
        self._engine.abandon()
        self._local = threading.local()
        self._open_transaction = None
        self._event_store = None
        self._start()

    def _writable(self, method: str) -> Engine:
        engine = self.engine()
        transaction: Transaction | None = getattr(self._local, "transaction", None)
        if transaction is not None and not transaction.closed:
            raise TransactionOpenError(method)
        return engine

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(self._path)


def _checked_retention(argument: str, retention: timedelta | None) -> int | None:
    """A time to keep events in nanoseconds."""
    if retention is None:
        return None
    if not isinstance(retention, timedelta) or retention < timedelta(0):
        raise InvalidArgumentError(argument, f"must be a timedelta, not negative, but is {retention!r}")
    # No clock gets beyond 64 bits, and any JSON reader can take so many.
    return min(retention // timedelta(microseconds=1) * 1000, (1 << 63) - 1)


def _checked_rule(older_than: timedelta, states: Iterable[ExecutionState], keep_per_job: int | None) -> PruneRule:
    older_than_ns = _checked_retention("older_than", older_than)
    if older_than_ns is None:
        raise InvalidArgumentError("older_than", "must be a timedelta; timedelta(0) stands for all that have ended")
    if isinstance(states, str):
        raise InvalidArgumentError("states", f"must be a list of states, not the text {states!r}")
    parsed = frozenset(
        state if isinstance(state, ExecutionState) else ExecutionState.parse(state, "states") for state in states
    )
    for state in sorted(parsed):
        if state.is_executing:
            raise InvalidArgumentError("states", f"{state.value} is a live state; live executions are never pruned")
    if keep_per_job is not None and (type(keep_per_job) is not int or keep_per_job < 0):
        raise InvalidArgumentError("keep_per_job", f"must be an integer, not negative, but is {keep_per_job!r}")
    return PruneRule(older_than_ns, parsed, keep_per_job)


def _check_max_bytes(argument: str, max_bytes: int | None) -> None:
    if max_bytes is None or (type(max_bytes) is int and (max_bytes == 0 or max_bytes >= SMALLEST_MAX_BYTES)):
        return
    reason = f"must be 0 (any size) or an integer of at least {SMALLEST_MAX_BYTES}, but is {max_bytes!r}"
    raise InvalidArgumentError(argument, reason)


def _mend(change: Change) -> None:
    from execstore.integrity.repair import mend  # noqa: PLC0415

    mend(cast("TreeChange", change))  # no other engine calls it
