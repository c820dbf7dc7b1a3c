"""The nodes of a central store: how many executions each has there, in which states, and how far it was forwarded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from execstore.forwarding.stream import load_streams

if TYPE_CHECKING:
    from execstore.forwarding.stream import Stream
    from execstore.states import ExecutionState
    from execstore.store import Store

__all__ = ["NodeStatus", "node_statuses", "stream_to_dict"]


@dataclass(slots=True)
class NodeStatus:
    """One node. ``node`` is "" for executions without a ``NodeID``; ``stream`` is ``None`` if nobody forwards it.

    ``modify_time`` is the latest of its executions, nanoseconds since the epoch, 0 if there are none.
    """

    node: str
    states: dict[ExecutionState, int] = field(default_factory=dict)
    modify_time: int = 0
    stream: Stream | None = None

    @property
    def executions(self) -> int:
        """How many it has."""
        return sum(self.states.values())

    @property
    def live(self) -> int:
        """How many of them are in BidAccepted, Running or Publishing."""
        return sum(number for state, number in self.states.items() if state.is_executing)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "node": self.node,
            "executions": self.executions,
            "live": self.live,
            "states": {state.value: number for state, number in sorted(self.states.items())},
            "modify_time": self.modify_time,
            "forwarded": None if self.stream is None else stream_to_dict(self.stream),
        }


def stream_to_dict(stream: Stream) -> dict[str, Any]:
    """What to tell of a stream, as a JSON object."""
    return {
        "source": stream.source_id,
        "sequence_number": stream.sequence_number,
        "phase": stream.phase.value,
        "events": stream.events,
        "conflicts": stream.conflicts,
        "left_out": stream.left_out,
        "last_conflict": stream.last_conflict,
        "time": stream.time_ns,
    }


def node_statuses(store: Store, node: str | None = None) -> list[NodeStatus]:
    """All nodes by name, or one. It reads every execution of the store once: some seconds for every 100,000."""
    found: dict[str, NodeStatus] = {}
    for stream in store.look(load_streams):
        if node in {None, stream.node}:
            found[stream.node] = NodeStatus(stream.node, stream=stream)
    for execution in store.list_executions(node_id=node):
        status = found.setdefault(execution.node_id, NodeStatus(execution.node_id))
        state = execution.compute_state.state_type
        status.states[state] = status.states.get(state, 0) + 1
        status.modify_time = max(status.modify_time, execution.modify_time)
    return [found[name] for name in sorted(found)]
