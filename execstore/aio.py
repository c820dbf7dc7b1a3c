"""The store for asyncio and trio: ``AsyncStore``, whose methods are those of ``Store``.

The work is done in threads, by ``anyio`` (the extra ``async``), so the event loop never waits for a disk or a lock.

    async with AsyncStore.open("store") as store:
        async with store.begin_tx() as transaction:
            await transaction.create_execution(execution)
        async for event in store.event_store.follow(EventIterator.latest()):
            ...

What a cancellation does to a call that is under way:

- one that reads, or waits for an event, has no effect anyway, and ends at once;
- one that writes ends at once, too. If it was still waiting for other writers, it is as if it had never been made;
  else its outcome is open, as that of a request whose answer was lost: it happens whole or not at all, and soon. (Of
  the event store's writing methods, and of ``collect_events``, ``prune``, ``repair``, ``backup`` and ``restore``, it
  always is.)
- in a transaction a call, also ``commit``, is let finish first: the lock is held, so it is quick.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar

from execstore import operations
from execstore.addresses import connect
from execstore.errors import TransactionClosedError, TransactionOpenError
from execstore.pruning import TERMINAL_STATES
from execstore.store import Store
from execstore.transaction import Transaction
from execstore.watcher.events import EventFilter
from execstore.watcher.follow import EventStream, get_events, run_abandonable

# Behind the import above, which says what to install if this is missing.
from anyio import CancelScope, CapacityLimiter, get_current_task  # isort: skip
from anyio.to_thread import run_sync  # isort: skip

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
    from datetime import timedelta
    from types import TracebackType
    from typing import BinaryIO

    from execstore.collection import CollectReport
    from execstore.engine import Change
    from execstore.event_log_status import EventLogStatus
    from execstore.history import Revision
    from execstore.integrity.report import BackupReport, RepairReport, RestoreReport, VerifyReport
    from execstore.metrics import StoreMetrics
    from execstore.models import Event, Execution, UpdateExecutionRequest
    from execstore.pruning import PruneReport
    from execstore.states import ExecutionState
    from execstore.watcher.event_store import EventStore
    from execstore.watcher.events import EventIterator, GetEventsRequest, GetEventsResponse, StoreEventRequest

__all__ = ["AsyncEventStore", "AsyncStore", "AsyncTransaction", "EventStream", "Pending"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_PAGE = 256
_THREADS = 16
_EVERYTHING = EventFilter()


def _allow(_method: str) -> None:
    """An event store of its own has no transactions."""


def _nothing_to_wake() -> None:
    """A thread that reads or writes ends by itself."""


class _Entered(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


_E = TypeVar("_E", bound=_Entered)


class Pending(Generic[_E]):
    """What is had by ``await``, or entered by ``async with`` without one."""

    def __init__(self, make: Callable[[], Awaitable[_E]]) -> None:
        self._make = make
        self._made: _E | None = None

    def __await__(self) -> Generator[Any, Any, _E]:
        return self._make().__await__()

    async def __aenter__(self) -> _E:
        self._made = await self._make()
        return await self._made.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._made is not None:
            await self._made.__aexit__(kind, error, traceback)


def _opener(make: Callable[_P, Store]) -> Callable[_P, Pending[AsyncStore]]:
    """The same call, without waiting for it in the event loop."""

    def open_store(*args: _P.args, **kwargs: _P.kwargs) -> Pending[AsyncStore]:
        async def opened() -> AsyncStore:
            handover = _Handover(lambda: make(*args, **kwargs), Store.close)
            return AsyncStore(await run_abandonable(handover.make, limiter=CapacityLimiter(1), wake=handover.give_up))

        return Pending(opened)

    return open_store


class AsyncStore:
    """A ``Store`` for one event loop. ``AsyncStore(store)`` takes one that is open; closing it closes the store.

    As an asynchronous context manager it is closed at the end. See each method of ``Store`` for what it does and
    raises, and the module for what a cancellation does.
    """

    open = staticmethod(_opener(connect))
    """``await AsyncStore.open(address, ...)`` or ``async with AsyncStore.open(address, ...)``; see `execstore.connect`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiters: dict[str, CapacityLimiter] = {}
        self._open_transaction: AsyncTransaction | None = None
        self._event_store: AsyncEventStore | None = None

    @property
    def store(self) -> Store:
        """The store underneath."""
        return self._store

    @property
    def path(self) -> str:
        """See `Store.path`."""
        return self._store.path

    @property
    def store_id(self) -> str:
        """See `Store.store_id`."""
        return self._store.store_id

    @property
    def read_only(self) -> bool:
        """Whether it was opened without the right to write."""
        return self._store.read_only

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store.closed

    # --- executions: writing ---

    async def create_execution(self, execution: Execution, *events: Event | None) -> Execution:
        """See `Store.create_execution`."""
        return await self._write(
            "create_execution",
            lambda change: operations.create_execution(change, execution, events, self._store.rules),
        )

    async def update_execution_state(self, request: UpdateExecutionRequest) -> Execution:
        """See `Store.update_execution_state`."""
        return await self._write(
            "update_execution_state",
            lambda change: operations.update_execution_state(change, request, self._store.rules),
        )

    async def delete_execution(self, execution_id: str) -> None:
        """See `Store.delete_execution`."""
        await self._write(
            "delete_execution",
            lambda change: operations.delete_execution(change, execution_id, self._store.rules),
        )

    async def add_execution_event(self, execution_id: str, *events: Event | None) -> None:
        """See `Store.add_execution_event`."""
        await self._write(
            "add_execution_event",
            lambda change: operations.add_execution_event(change, execution_id, events, self._store.rules),
        )

    async def checkpoint(self, name: str, sequence_number: int) -> None:
        """See `Store.checkpoint`."""
        await self._write("checkpoint", lambda change: operations.store_checkpoint(change, name, sequence_number))

    # --- executions: reading ---

    async def get_execution(self, execution_id: str) -> Execution:
        """See `Store.get_execution`."""
        return await self._read(lambda: self._store.get_execution(execution_id))

    async def get_executions(self, job_id: str) -> list[Execution]:
        """See `Store.get_executions`."""
        return await self._read(lambda: self._store.get_executions(job_id))

    async def get_live_executions(self) -> list[Execution]:
        """See `Store.get_live_executions`."""
        return await self._read(self._store.get_live_executions)

    async def get_execution_count(self, state: ExecutionState) -> int:
        """See `Store.get_execution_count`."""
        return await self._read(lambda: self._store.get_execution_count(state))

    async def get_execution_events(self, execution_id: str) -> list[Event]:
        """See `Store.get_execution_events`."""
        return await self._read(lambda: self._store.get_execution_events(execution_id))

    async def get_checkpoint(self, name: str) -> int:
        """See `Store.get_checkpoint`."""
        return await self._read(lambda: self._store.get_checkpoint(name))

    def list_executions(
        self,
        *,
        state: ExecutionState | None = None,
        job_id: str | None = None,
        namespace: str | None = None,
        node_id: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> AsyncIterator[Execution]:
        """See `Store.list_executions`; ``async for execution in store.list_executions()``."""
        return self._pages(
            self._store.list_executions(
                state=state, job_id=job_id, namespace=namespace, node_id=node_id, limit=limit, after=after
            )
        )

    async def _pages(self, executions: Iterator[Execution]) -> AsyncIterator[Execution]:
        while page := await self._read(lambda: list(islice(executions, _PAGE))):
            for execution in page:
                yield execution

    async def counts(self) -> dict[ExecutionState, int]:
        """See `Store.counts`."""
        return await self._read(self._store.counts)

    async def history(self, execution_id: str) -> list[Revision]:
        """See `Store.history`."""
        return await self._read(lambda: self._store.history(execution_id))

    # --- transactions and events ---

    def begin_tx(self) -> Pending[AsyncTransaction]:
        """See `Store.begin_tx`; ``async with store.begin_tx() as transaction``, or ``await store.begin_tx()``.

        It belongs to no thread, but to the task that began it: another writing method of the store, called by that
        task meanwhile, raises ``TransactionOpenError`` instead of waiting for ever. Other tasks wait.
        """
        return Pending(self._begin)

    async def _begin(self) -> AsyncTransaction:
        self._check_no_transaction("begin_tx")
        handover = _Handover(lambda: _begin_in_own_thread(self._store), Transaction.rollback)
        transaction = await run_abandonable(handover.make, limiter=self._limiter("writes"), wake=handover.give_up)
        self._open_transaction = AsyncTransaction(transaction, get_current_task().id)
        return self._open_transaction

    @property
    def event_store(self) -> AsyncEventStore:
        """See `Store.event_store`."""
        event_store = self._store.event_store
        if self._event_store is None or self._event_store.event_store is not event_store:
            self._event_store = AsyncEventStore(event_store, self._check_no_transaction)
        return self._event_store

    def get_event_store(self) -> AsyncEventStore:
        """The same as ``event_store``."""
        return self.event_store

    async def event_log_status(self) -> EventLogStatus:
        """See `Store.event_log_status`."""
        return await self._read(self._store.event_log_status)

    async def collect_events(
        self, *, retention: timedelta | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> CollectReport:
        """See `Store.collect_events`."""
        self._check_no_transaction("collect_events")
        return await self._write_freely(
            lambda: self._store.collect_events(retention=retention, max_bytes=max_bytes, dry_run=dry_run)
        )

    # --- the long run ---

    async def prune(
        self,
        *,
        older_than: timedelta,
        states: Iterable[ExecutionState] = TERMINAL_STATES,
        dry_run: bool = False,
        keep_per_job: int | None = None,
    ) -> list[str]:
        """See `Store.prune`."""
        report = await self.prune_executions(
            older_than=older_than, states=states, dry_run=dry_run, keep_per_job=keep_per_job
        )
        return report.ids

    async def prune_executions(
        self,
        *,
        older_than: timedelta,
        states: Iterable[ExecutionState] = TERMINAL_STATES,
        dry_run: bool = False,
        keep_per_job: int | None = None,
    ) -> PruneReport:
        """See `Store.prune_executions`."""
        self._check_no_transaction("prune")
        return await self._write_freely(
            lambda: self._store.prune_executions(
                older_than=older_than, states=states, dry_run=dry_run, keep_per_job=keep_per_job
            )
        )

    async def metrics(self) -> StoreMetrics:
        """See `Store.metrics`."""
        return await self._read(self._store.metrics)

    # --- integrity ---

    async def verify(self) -> VerifyReport:
        """See `Store.verify`."""
        return await self._read(self._store.verify)

    async def repair(self) -> RepairReport:
        """See `Store.repair`."""
        self._check_no_transaction("repair")
        return await self._write_freely(self._store.repair)

    async def backup(self, destination: str | os.PathLike[str] | BinaryIO) -> BackupReport:
        """See `Store.backup`."""
        return await self._read(lambda: self._store.backup(destination))

    @staticmethod
    async def restore(
        archive: str | os.PathLike[str] | BinaryIO, path: str | os.PathLike[str], *, max_bytes: int | None = None
    ) -> RestoreReport:
        """See `Store.restore`."""
        return await run_abandonable(
            lambda _left: Store.restore(archive, path, max_bytes=max_bytes),
            limiter=CapacityLimiter(1),
            wake=_nothing_to_wake,
        )

    # --- life ---

    async def close(self) -> None:
        """See `Store.close`. A cancellation doesn't keep it from being closed."""
        with CancelScope(shield=True):
            await run_sync(self._store.close, limiter=CapacityLimiter(1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncStore({self._store!r})"

    # --- threads ---

    def _limiter(self, kind: str) -> CapacityLimiter:
        """How many threads work at once. Those who read never wait for a thread of those who wait for a lock."""
        if kind not in self._limiters:
            self._limiters[kind] = CapacityLimiter(_THREADS)
        return self._limiters[kind]

    async def _read(self, work: Callable[[], _T]) -> _T:
        return await run_abandonable(lambda _left: work(), limiter=self._limiter("reads"), wake=_nothing_to_wake)

    async def _write(self, method: str, operation: Callable[[Change], _T]) -> _T:
        self._check_no_transaction(method)

        def work(left: Callable[[], bool]) -> _T:
            def operate(change: Change) -> _T:
                if left():
                    # Whoever called was cancelled while the lock was another's, and doesn't hear of this.
                    raise TransactionClosedError
                return operation(change)

            return self._store.apply(method, operate)

        return await run_abandonable(work, limiter=self._limiter("writes"), wake=_nothing_to_wake)

    async def _write_freely(self, work: Callable[[], _T]) -> _T:
        return await run_abandonable(lambda _left: work(), limiter=self._limiter("writes"), wake=_nothing_to_wake)

    def _check_no_transaction(self, method: str) -> None:
        transaction = self._open_transaction
        if transaction is not None and not transaction.closed and transaction.task_id == get_current_task().id:
            raise TransactionOpenError(method)


class _Handover(Generic[_T]):
    """Something on its way from the thread that made it to a task that may have been cancelled meanwhile."""

    def __init__(self, make: Callable[[], _T], undo: Callable[[_T], None]) -> None:
        self._make = make
        self._undo = undo
        self._lock = threading.Lock()
        self._made: list[_T] = []
        self._is_given_up = False

    def make(self, _left: Callable[[], bool]) -> _T:
        """Make it; if nobody wants it any more, undo it."""
        made = self._make()
        with self._lock:
            self._made.append(made)
            if self._is_given_up:
                self._undo(made)
        return made

    def give_up(self) -> None:
        """The task was cancelled: undo it, now or when it is made."""
        with self._lock:
            self._is_given_up = True
            for made in self._made:
                self._undo(made)


def _begin_in_own_thread(store: Store) -> Transaction:
    """Begin a transaction in a thread that ends at once.

    The store takes the thread that began a transaction for its holder, and would refuse to write for any other task
    that comes to use the same thread of the pool.
    """
    outcome: list[Transaction | BaseException] = []

    def begin() -> None:
        try:
            outcome.append(store.begin_tx())
        except BaseException as error:  # noqa: BLE001 - raised below
            outcome.append(error)

    thread = threading.Thread(target=begin, name="execstore-begin", daemon=True)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class AsyncTransaction:
    """What `AsyncStore.begin_tx` gives. See `Transaction`; each call runs in a thread, one at a time.

    As an asynchronous context manager it commits at the end of the block, and rolls back if an exception, or a
    cancellation, leaves it.
    """

    def __init__(self, transaction: Transaction, task_id: int) -> None:
        self._transaction = transaction
        # A thread that is always free: those of other writers may all be waiting for this very transaction to end.
        self._limiter = CapacityLimiter(1)
        self._calls = threading.Lock()
        self.task_id = task_id

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._transaction.closed

    async def create_execution(self, execution: Execution, *events: Event | None) -> Execution:
        """See `Store.create_execution`."""
        return await self._run(lambda: self._transaction.create_execution(execution, *events))

    async def update_execution_state(self, request: UpdateExecutionRequest) -> Execution:
        """See `Store.update_execution_state`."""
        return await self._run(lambda: self._transaction.update_execution_state(request))

    async def delete_execution(self, execution_id: str) -> None:
        """See `Store.delete_execution`."""
        await self._run(lambda: self._transaction.delete_execution(execution_id))

    async def add_execution_event(self, execution_id: str, *events: Event | None) -> None:
        """See `Store.add_execution_event`."""
        await self._run(lambda: self._transaction.add_execution_event(execution_id, *events))

    async def checkpoint(self, name: str, sequence_number: int) -> None:
        """See `Store.checkpoint`."""
        await self._run(lambda: self._transaction.checkpoint(name, sequence_number))

    async def get_execution(self, execution_id: str) -> Execution:
        """See `Store.get_execution`."""
        return await self._run(lambda: self._transaction.get_execution(execution_id))

    async def get_executions(self, job_id: str) -> list[Execution]:
        """See `Store.get_executions`."""
        return await self._run(lambda: self._transaction.get_executions(job_id))

    async def get_live_executions(self) -> list[Execution]:
        """See `Store.get_live_executions`."""
        return await self._run(self._transaction.get_live_executions)

    async def get_execution_count(self, state: ExecutionState) -> int:
        """See `Store.get_execution_count`."""
        return await self._run(lambda: self._transaction.get_execution_count(state))

    async def get_execution_events(self, execution_id: str) -> list[Event]:
        """See `Store.get_execution_events`."""
        return await self._run(lambda: self._transaction.get_execution_events(execution_id))

    async def get_checkpoint(self, name: str) -> int:
        """See `Store.get_checkpoint`."""
        return await self._run(lambda: self._transaction.get_checkpoint(name))

    async def commit(self) -> None:
        """See `Transaction.commit`."""
        await self._run(self._transaction.commit)

    async def rollback(self) -> None:
        """See `Transaction.rollback`. A cancellation doesn't keep it from being rolled back."""
        with CancelScope(shield=True):
            await self._run(self._transaction.rollback)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            await self.rollback()
        elif not self.closed:
            try:
                await self.commit()
            finally:
                # Cancelled before the commit began, it must not go on holding the lock.
                await self.rollback()

    async def _run(self, work: Callable[[], _T]) -> _T:
        def work_alone() -> _T:
            # asyncio's own cancellations know no shield: a commit may still be at work when the rollback comes.
            with self._calls:
                return work()

        return await run_sync(work_alone, limiter=self._limiter)


class AsyncEventStore:
    """What `AsyncStore.event_store` gives. See ``watcher.EventStore``; watchers work on that one, ``event_store``.

    ``check_writing`` raises if the task may not write now; it is given the method's name.
    """

    def __init__(self, event_store: EventStore, check_writing: Callable[[str], None] = _allow) -> None:
        self._event_store = event_store
        self._check_writing = check_writing
        self._limiter = CapacityLimiter(_THREADS)

    @property
    def event_store(self) -> EventStore:
        """The event store underneath."""
        return self._event_store

    async def store_event(self, request: StoreEventRequest) -> int:
        """See ``EventStore.store_event``."""
        self._check_writing("store_event")
        return await self._run(lambda: self._event_store.store_event(request))

    async def get_events(self, request: GetEventsRequest, timeout: float | None = None) -> GetEventsResponse:
        """See ``EventStore.get_events``. A cancellation ends the wait."""
        return await get_events(self._event_store, request, timeout)

    def follow(
        self,
        event_iterator: EventIterator,
        *,
        filter: EventFilter = _EVERYTHING,  # noqa: A002 - the name that watchers have for it
        batch_size: int = 100,
    ) -> EventStream:
        """See ``EventStore.follow``."""
        return self._event_store.follow(event_iterator, filter=filter, batch_size=batch_size)

    async def get_latest_event_num(self) -> int:
        """See ``EventStore.get_latest_event_num``."""
        return await self._run(self._event_store.get_latest_event_num)

    async def get_oldest_event_num(self) -> int:
        """See ``EventStore.get_oldest_event_num``."""
        return await self._run(self._event_store.get_oldest_event_num)

    async def store_checkpoint(self, watcher_id: str, seq: int) -> None:
        """See ``EventStore.store_checkpoint``."""
        self._check_writing("store_checkpoint")
        await self._run(lambda: self._event_store.store_checkpoint(watcher_id, seq))

    async def get_checkpoint(self, watcher_id: str) -> int:
        """See ``EventStore.get_checkpoint``."""
        return await self._run(lambda: self._event_store.get_checkpoint(watcher_id))

    async def list_checkpoints(self) -> dict[str, int]:
        """See ``EventStore.list_checkpoints``."""
        return await self._run(self._event_store.list_checkpoints)

    async def remove_checkpoint(self, watcher_id: str) -> None:
        """See ``EventStore.remove_checkpoint``."""
        self._check_writing("remove_checkpoint")
        await self._run(lambda: self._event_store.remove_checkpoint(watcher_id))

    async def close(self) -> None:
        """See ``EventStore.close``."""
        self._event_store.close()

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await run_abandonable(lambda _left: work(), limiter=self._limiter, wake=_nothing_to_wake)
