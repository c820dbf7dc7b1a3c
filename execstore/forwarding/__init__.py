"""Forwarding: the executions of many nodes in one central store. See `Forwarder`, and `node_statuses` for the fleet."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from execstore.forwarding.fleet import NodeStatus, node_statuses
    from execstore.forwarding.forwarder import DEFAULT_BATCH_SIZE, Forwarder
    from execstore.forwarding.report import ForwardReport
    from execstore.forwarding.stream import Phase, Stream, load_streams

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "ForwardReport",
    "Forwarder",
    "NodeStatus",
    "Phase",
    "Stream",
    "load_streams",
    "node_statuses",
]

# Loaded when they are used: who only asks for the streams, as `execstore stats` does, needs none of the rest.
_PLACES: Final = {
    "DEFAULT_BATCH_SIZE": "forwarder",
    "ForwardReport": "report",
    "Forwarder": "forwarder",
    "NodeStatus": "fleet",
    "Phase": "stream",
    "Stream": "stream",
    "load_streams": "stream",
    "node_statuses": "fleet",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'execstore.forwarding' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"execstore.forwarding.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
