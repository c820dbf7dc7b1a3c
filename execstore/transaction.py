"""Transactions: several calls that happen at once or not at all."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

from execstore import operations, queries
from execstore.counters import CONFLICTS
from execstore.errors import TransactionClosedError
from execstore.operations import check_checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from execstore.engine import Change
    from execstore.models import Event, Execution, UpdateExecutionRequest
    from execstore.operations import Rules
    from execstore.states import ExecutionState

__all__ = ["Transaction"]

_T = TypeVar("_T")


class Transaction:
    """What `Store.begin_tx` gives: the store's methods, of which all become durable and visible at `commit` or none.

    It sees its own writes; others see the last committed state. It holds the store's one write lock from its beginning
    to its end, so keep it short: other writers wait. As a context manager it commits at the end of the block and rolls
    back if an exception leaves it. A call that raises leaves the transaction as it was before that call, and open.

    Its methods may be called from any thread, one at a time. To a forked child it is over: it stays the parent's, and
    nothing that the child does with it ends the parent's.
    """

    def __init__(
        self,
        change: Change,
        rules: Rules,
        commit: Callable[[Change], None],
        rollback: Callable[[Change], None],
        on_conflict: Callable[[], None],
    ) -> None:
        self._change = change
        self._rules = rules
        self._commit = commit
        self._rollback = rollback
        self._on_conflict = on_conflict
        self._closed = False
        self._process_id = os.getpid()
        self.thread = threading.get_ident()

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        # A child shares its parent's file lock: if it ended the transaction, the lock would be gone for both.
        return self._closed or os.getpid() != self._process_id

    def commit(self) -> None:
        """Make everything durable and visible.

        Raises:
            TransactionClosedError: it is over already.
            StoreFullError: nothing of it happened. StoreFailedError: its outcome is open.
            TransactionConflictError: nothing of it happened, since somebody else changed what it had read. A store in
                a folder never raises it, it keeps others out.
        """
        change = self._open_change()
        self._closed = True
        self._commit(change)

    def rollback(self) -> None:
        """Forget everything. After the end of the transaction it does nothing, as in the reference."""
        if not self.closed:
            self._closed = True
            self._rollback(self._change)

    def __enter__(self) -> Self:
        self._open_change()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.rollback()
        elif not self.closed:
            self.commit()

    def __del__(self) -> None:
        # A forgotten transaction would keep the write lock for ever.
        if not getattr(self, "_closed", True):
            self.rollback()

    # --- writing ---

    def create_execution(self, execution: Execution, *events: Event | None) -> Execution:
        """See `Store.create_execution`."""
        try:
            return operations.create_execution(self._open_change(), execution, events, self._rules)
        except CONFLICTS["create_execution"]:
            self._on_conflict()
            raise

    def update_execution_state(self, request: UpdateExecutionRequest) -> Execution:
        """See `Store.update_execution_state`."""
        try:
            return operations.update_execution_state(self._open_change(), request, self._rules)
        except CONFLICTS["update_execution_state"]:
            self._on_conflict()
            raise

    def delete_execution(self, execution_id: str) -> None:
        """See `Store.delete_execution`."""
        operations.delete_execution(self._open_change(), execution_id, self._rules)

    def add_execution_event(self, execution_id: str, *events: Event | None) -> None:
        """See `Store.add_execution_event`."""
        operations.add_execution_event(self._open_change(), execution_id, events, self._rules)

    def checkpoint(self, name: str, sequence_number: int) -> None:
        """See `Store.checkpoint`."""
        operations.store_checkpoint(self._open_change(), name, sequence_number)

    # --- reading ---

    def get_execution(self, execution_id: str) -> Execution:
        """See `Store.get_execution`."""
        return queries.get_execution(self._open_change(), execution_id)

    def get_executions(self, job_id: str) -> list[Execution]:
        """See `Store.get_executions`."""
        return queries.get_executions(self._open_change(), job_id)

    def get_live_executions(self) -> list[Execution]:
        """See `Store.get_live_executions`."""
        return queries.get_live_executions(self._open_change())

    def get_execution_count(self, state: ExecutionState) -> int:
        """See `Store.get_execution_count`."""
        return queries.get_execution_count(self._open_change().values, state)

    def get_execution_events(self, execution_id: str) -> list[Event]:
        """See `Store.get_execution_events`."""
        return queries.get_execution_events(self._open_change(), execution_id)

    def get_checkpoint(self, name: str) -> int:
        """See `Store.get_checkpoint`."""
        check_checkpoint_name(name)
        return queries.get_checkpoint(self._open_change(), name)

    # --- for the modules beside this one ---

    def apply(self, operation: Callable[[Change], _T]) -> _T:
        """Do an operation as a part of this transaction. See `Store.apply`."""
        return operation(self._open_change())

    def _open_change(self) -> Change:
        if self.closed:
            raise TransactionClosedError
        return self._change
