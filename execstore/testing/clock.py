"""A clock for ``Store(clock=…)`` that a test moves by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

__all__ = ["FakeClock"]


@dataclass
class FakeClock:
    """Stands still until it is told to go on. Called, it gives nanoseconds since the epoch.

    No two changes of a store have the same time: while it stands still, each is stamped a nanosecond after the last.

    Args:
        now_ns: where it begins; at the present if it isn't given, since other handles on the same store may go by the
            real clock, and would take what is of another year for old.
    """

    now_ns: int = field(default_factory=time.time_ns)

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, by: timedelta) -> None:
        """Go on, or back if it is negative, as a clock does that is set."""
        self.now_ns += by // timedelta(microseconds=1) * 1000
