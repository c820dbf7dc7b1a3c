"""The executions that ``top`` lists: read once, and kept up by what the event log tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.schema import EXECUTION_UPSERT
from execstore.states import ExecutionState
from execstore.top.filters import Filter
from execstore.top.model import execution_row, is_live
from execstore.watcher.events import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore import Execution, Store
    from execstore.top.model import ExecutionRow
    from execstore.watcher import Event

__all__ = ["LISTED", "ExecutionList"]

LISTED: Final = 200
"""How many executions are listed of a state that is in the filter."""

_SCANNED: Final = 2000  # how many of a state's records are read to find those
_KEPT: Final = 1000
_SIDES: Final = ("Current", "Previous")


class ExecutionList:
    """Those that a selection takes; one without a state takes what is live.

    ``selection`` is what was read last, ``are_all`` whether there are no more than the rows.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, ExecutionRow] = {}
        self.selection = Filter()
        self.are_all = True

    def rows(self) -> tuple[ExecutionRow, ...]:
        """The oldest first; of a state that is an end, the one that came to it last."""
        has_ended = bool(self.selection.state) and ExecutionState(self.selection.state).is_terminal
        return tuple(sorted(self._rows.values(), key=_by_change if has_ended else _by_age))

    def read(self, selection: Filter) -> None:
        """Read them from the store."""
        self.selection, self.are_all = selection, True
        found = self._find(selection) if selection.state else iter(self._store.get_live_executions())
        rows = [execution_row(execution.to_dict()) for execution in found]
        self._rows = {row.execution_id: row for row in rows}

    def _find(self, selection: Filter) -> Iterator[Execution]:
        """The first executions that fit, in the order of their IDs, of a limited number that are looked at."""
        found = 0
        for scanned, execution in enumerate(self._store.list_executions(state=ExecutionState(selection.state))):
            if found == LISTED or scanned == _SCANNED:
                self.are_all = False
                return
            if selection.takes_execution(execution_row(execution.to_dict())):
                found += 1
                yield execution

    def keep_up(self, event: Event) -> None:
        """Change the rows as an event of the log tells. One that is older than a row leaves it as it is."""
        if event.object_type != EXECUTION_UPSERT or not isinstance(event.object, dict):
            return
        current, previous = (each if isinstance(each, dict) else None for each in map(event.object.get, _SIDES))
        record = current if current is not None else previous
        if record is None:
            return
        row = execution_row(record)
        known = self._rows.get(row.execution_id)
        modified_ns = event.timestamp if event.operation is Operation.DELETE else row.modify_time
        if known is not None and known.modify_time > modified_ns:
            return
        if current is not None and self._takes(row):
            self._rows[row.execution_id] = row
            if self.selection.state and len(self._rows) > _KEPT:
                self.are_all = False
                del self._rows[next(iter(self._rows))]
        elif known is not None:
            del self._rows[row.execution_id]

    def _takes(self, row: ExecutionRow) -> bool:
        return self.selection.takes_execution(row) if self.selection.state else is_live(row.state)


def _by_age(row: ExecutionRow) -> tuple[int, str]:
    return row.create_time, row.execution_id


def _by_change(row: ExecutionRow) -> tuple[int, str]:
    return -row.modify_time, row.execution_id
