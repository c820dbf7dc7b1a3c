"""What a forwarder tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ForwardReport"]


@dataclass(slots=True)
class ForwardReport:
    """What one forwarder did, and how far its node's stream is.

    ``events`` is the number of lines written to the central log, ``executions`` of records stored, ``deleted`` of
    records removed; ``left_out`` of events whose execution isn't in the central store any more. ``sequence_number`` is
    the node's last event that is done, ``lag`` how many are not. ``conflicts`` are sentences, the first hundred of
    ``conflict_count``. ``retries`` counts how often the central store couldn't be used, ``full_copies`` how often all
    executions had to be brought whole.
    """

    node: str = ""
    source: str = ""
    destination: str = ""
    phase: str = ""
    sequence_number: int = 0
    lag: int = 0
    events: int = 0
    executions: int = 0
    deleted: int = 0
    left_out: int = 0
    batches: int = 0
    bytes: int = 0
    retries: int = 0
    full_copies: int = 0
    conflict_count: int = 0
    conflicts: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
