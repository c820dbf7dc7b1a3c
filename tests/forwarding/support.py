"""What tests of forwarding share: whether a central store has what a node has, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from execstore.errors import ExecutionEventsNotFoundError
from execstore.forwarding import Forwarder, load_streams
from tests.support import log_entries

if TYPE_CHECKING:
    from execstore import Event, Execution, Store
    from execstore.forwarding import ForwardReport, Stream

Content = dict[str, tuple["Execution", list["Event"]]]


def content(store: Store, node: str | None = None) -> Content:
    """Executions and their events by ID; of a node, or all."""
    return {
        execution.id: (execution, events_of(store, execution.id)) for execution in store.list_executions(node_id=node)
    }


def events_of(store: Store, execution_id: str) -> list[Event]:
    try:
        return store.get_execution_events(execution_id)
    except ExecutionEventsNotFoundError:
        return []


def as_node(store: Store, node: str) -> Content:
    """What a store should be in a central one."""
    return {key: (execution.replace(node_id=node), events) for key, (execution, events) in content(store).items()}


def forward(device: Store, central: Store, node: str | None = "n1", **options: Any) -> ForwardReport:
    """Bring all that there is, into a store that stays open."""
    return Forwarder(device, lambda: kept(central), node=node, **options).run(once=True)


def kept(store: Store) -> Store:
    """A store that its user doesn't close."""
    return cast("Store", Kept(store))


def stream_of(central: Store, node: str = "n1") -> Stream:
    (found,) = [stream for stream in central.look(load_streams) if stream.node == node]
    return found


def messages(store: Store) -> list[str]:
    """What the events of executions in the event log say, in order."""
    return [entry.object.message for entry in log_entries(store) if entry.object_type == "ExecutionEvent"]


class Kept:
    """What `kept` gives."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def close(self) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
