"""Forwarding: the executions of many nodes in one central store. See `Forwarder`."""

from __future__ import annotations

from execstore.forwarding.forwarder import DEFAULT_BATCH_SIZE, Forwarder, ForwardReport
from execstore.forwarding.stream import Phase, Stream, load_streams

__all__ = ["DEFAULT_BATCH_SIZE", "ForwardReport", "Forwarder", "Phase", "Stream", "load_streams"]
