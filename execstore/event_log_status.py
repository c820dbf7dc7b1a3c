"""How the event log stands: its numbers, its size, how far each watcher has come, and who keeps it from shrinking."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from execstore.collection import Limits, decide, load_checkpoints, segments_of
from execstore.engine import LogState
from execstore.schema import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.engine import Reader

__all__ = ["EventLogStatus", "WatcherStatus", "event_log_status"]


@dataclass(frozen=True, slots=True)
class WatcherStatus:
    """A watcher by its stored checkpoint, whether it is running or not.

    ``lag``: how many events it hasn't handled; ``lost``: how many of these are no longer in the log.
    """

    watcher_id: str
    checkpoint: int
    lag: int
    lost: int
    holds_log: bool

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "watcher_id": self.watcher_id,
            "checkpoint": self.checkpoint,
            "lag": self.lag,
            "lost": self.lost,
            "holds_log": self.holds_log,
        }


@dataclass(frozen=True, slots=True)
class EventLogStatus:
    """One moment of the event log.

    ``oldest`` is ``latest + 1`` if it is empty. ``bytes`` is the size of all its segments. ``held_by`` is the watcher
    without which the oldest segment would go, being old enough; ``None`` if there is none. ``retention_ns`` and
    ``max_bytes`` (0: any size) are the limits that it is collected by. ``watchers`` come in the order of their IDs.
    """

    latest: int
    oldest: int
    bytes: int
    segments: int
    retention_ns: int
    max_bytes: int
    held_by: str | None
    watchers: tuple[WatcherStatus, ...]

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.latest + 1 - self.oldest

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "latest": self.latest,
            "oldest": self.oldest,
            "events": self.events,
            "bytes": self.bytes,
            "segments": self.segments,
            "retention_ns": self.retention_ns,
            "max_bytes": self.max_bytes,
            "held_by": self.held_by,
            "watchers": [watcher.to_dict() for watcher in self.watchers],
        }


def event_log_status(reader: Reader, override: Callable[[Limits], Limits], now_ns: int) -> EventLogStatus:
    """See `Store.event_log_status`. It costs a ``stat`` for each segment and the reading of each checkpoint."""
    state = LogState.of(reader.values)
    limits = override(Limits.of(reader.values))
    checkpoints = load_checkpoints(reader)
    firsts = reader.segment_numbers(LAYOUT.log)
    oldest_segment = islice(segments_of(reader), 1)
    decision = decide(oldest_segment, 0, state.oldest, state.latest, checkpoints, limits, now_ns)
    watchers = [
        WatcherStatus(
            name,
            checkpoint,
            lag=max(state.latest - checkpoint, 0),
            lost=max(state.oldest - 1 - checkpoint, 0),
            holds_log=name == decision.held_by,
        )
        for name, checkpoint in sorted(checkpoints.items())
    ]
    return EventLogStatus(
        state.latest,
        state.oldest,
        sum(reader.segment_bytes(LAYOUT.log, first) for first in firsts),
        len(firsts),
        limits.retention_ns,
        limits.max_bytes,
        decision.held_by,
        tuple(watchers),
    )
