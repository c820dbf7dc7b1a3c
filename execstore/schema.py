"""What the store keeps in its engine: the collections, and what stands among the head's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.tree.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "CHECKPOINTS",
    "COUNTS",
    "EVENT_LIMITS",
    "EXECUTIONS",
    "EXECUTION_EVENT",
    "EXECUTION_EVENTS",
    "EXECUTION_UPSERT",
    "JOB_INDEX",
    "LAYOUT",
    "SEQUENCE_TRACKING",
    "STATE_INDEX",
    "TIME",
    "counts_of",
]

EXECUTIONS: Final = "executions"
EXECUTION_EVENTS: Final = "execution_events"
JOB_INDEX: Final = "idx_executions_by_job_id"
STATE_INDEX: Final = "idx_executions_by_state"
CHECKPOINTS: Final = "checkpoints"  # watchers'
SEQUENCE_TRACKING: Final = "sequence_tracking"  # Store.checkpoint

LAYOUT: Final = Layout(
    records=(EXECUTIONS, CHECKPOINTS, SEQUENCE_TRACKING),
    lines=(EXECUTION_EVENTS,),
    indexes={JOB_INDEX: EXECUTIONS, STATE_INDEX: EXECUTIONS},
    log="events",
    fixed_groups=(STATE_INDEX,),
)

# Among the head's values:
COUNTS: Final = "counts"  # state's name -> number of executions in it
TIME: Final = "time_ns"  # the newest time given to a change; times of one store only go up
EVENT_LIMITS: Final = "event_limits"  # what was last asked of the log: [retention in ns, most bytes (0: any size)]

# Object types of the event log.
EXECUTION_UPSERT: Final = "ExecutionUpsert"
EXECUTION_EVENT: Final = "ExecutionEvent"


def counts_of(values: Mapping[str, Any]) -> dict[str, int]:
    """State's name to number of executions, without zeros; the caller's own copy."""
    return dict(values.get(COUNTS, ()))
