"""How a watcher is set up, and what it tells of itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from execstore.errors import InvalidArgumentError
from execstore.watcher.events import Event, EventFilter, EventIterator

__all__ = [
    "CompactionStrategy",
    "EventHandler",
    "Handler",
    "RetryStrategy",
    "WatcherOptions",
    "WatcherState",
    "WatcherStats",
    "handler_function",
]

_T = TypeVar("_T", bound=StrEnum)


class RetryStrategy(StrEnum):
    """What becomes of an event whose handler keeps raising."""

    BLOCK = "block"
    """It is tried again for ever, and nothing after it is handled before it."""
    SKIP = "skip"
    """After ``max_retries`` tries it is logged and passed over."""


class CompactionStrategy(StrEnum):
    """What a watcher does when the events it hasn't seen yet were collected."""

    STOP = "stop"
    """It stops, with the error in its stats: nothing is lost unnoticed."""
    CONTINUE = "continue"
    """It logs which events it missed, and goes on with the oldest there is."""


class WatcherState(StrEnum):
    """A watcher is ``idle`` until it is first started; ``stopping`` while its handler finishes its last event."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@runtime_checkable
class EventHandler(Protocol):
    """An object that handles events; a plain callable that takes one does just as well."""

    def handle_event(self, event: Event, /) -> Any:
        """Handle one event. To raise is to fail; what is returned is ignored."""


Handler: TypeAlias = EventHandler | Callable[[Event], Any]


def handler_function(handler: Handler) -> Callable[[Event], Any]:
    """The callable to give events to. Raises ``InvalidArgumentError`` if there is none, or if it is a coroutine's."""
    function = handler.handle_event if isinstance(handler, EventHandler) else handler
    if not callable(function):
        reason = f"is a callable that takes an event, or has a method handle_event, not {handler!r}"
        raise InvalidArgumentError("handler", reason)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidArgumentError("handler", f"{function!r} is asynchronous, and nothing here would await it")
    return function


@dataclass(frozen=True, slots=True)
class WatcherOptions:
    """The settings of a watcher; the defaults are the reference's. Backoffs are in seconds.

    Raises ``InvalidArgumentError`` for values that make no sense.
    """

    filter: EventFilter = field(default_factory=EventFilter)
    initial_event_iterator: EventIterator = field(default_factory=EventIterator.trim_horizon)
    batch_size: int = 100
    initial_backoff: float = 0.2
    max_backoff: float = 180.0
    max_retries: int | None = None
    retry_strategy: RetryStrategy = RetryStrategy.BLOCK
    ephemeral: bool = False
    on_compacted: CompactionStrategy = CompactionStrategy.STOP

    def __post_init__(self) -> None:
        if not isinstance(self.filter, EventFilter):
            raise InvalidArgumentError("filter", f"is an EventFilter, not {self.filter!r}")
        if not isinstance(self.initial_event_iterator, EventIterator):
            raise InvalidArgumentError(
                "initial_event_iterator", f"is an EventIterator, not {self.initial_event_iterator!r}"
            )
        if not _is_integer(self.batch_size) or self.batch_size < 1:
            raise InvalidArgumentError("batch_size", f"is a number of events, 1 or more, not {self.batch_size!r}")
        for argument, seconds in (("initial_backoff", self.initial_backoff), ("max_backoff", self.max_backoff)):
            if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
                raise InvalidArgumentError(argument, f"is a number of seconds, 0 or more, not {seconds!r}")
        if self.max_backoff < self.initial_backoff:
            raise InvalidArgumentError("max_backoff", f"is at least initial_backoff, {self.initial_backoff:g} s")
        if self.max_retries is not None and (not _is_integer(self.max_retries) or self.max_retries < 0):
            raise InvalidArgumentError("max_retries", f"is None or a number of tries, not {self.max_retries!r}")
        object.__setattr__(self, "retry_strategy", _member(RetryStrategy, "retry_strategy", self.retry_strategy))
        object.__setattr__(self, "on_compacted", _member(CompactionStrategy, "on_compacted", self.on_compacted))

    @property
    def tries(self) -> float:
        """How many times an event is tried before it is passed over; infinity if it never is."""
        if self.retry_strategy is RetryStrategy.BLOCK or self.max_retries is None:
            return math.inf
        return max(self.max_retries, 1)

    def backoff_seconds(self, failures: int) -> float:
        """How long to wait after so many failures (1 or more) in a row: twice as long each time, up to the maximum."""
        # Capped before the power is taken, which would overflow after a thousand failures.
        return min(self.initial_backoff * 2.0 ** min(failures - 1, 64), self.max_backoff)


@dataclass(frozen=True, slots=True)
class WatcherStats:
    """A watcher at one moment. Times are nanoseconds since the epoch, 0 if it hasn't happened yet.

    ``next_event_iterator`` is where it reads next, ``checkpoint_iterator`` where a restart begins;
    ``last_processed_seq_num`` and ``last_processed_event_time`` are of the last event that its handler took, 0 if none;
    ``last_listen_time`` is when it last heard from the log; ``lag`` is how many events the log holds that it hasn't
    passed yet, those that its filter will drop included, ``None`` once the store is closed. ``error`` is what keeps it
    from the next event, or ended it; ``None`` if all is well.
    """

    id: str
    state: WatcherState
    next_event_iterator: EventIterator
    checkpoint_iterator: EventIterator
    last_processed_seq_num: int
    last_processed_event_time: int
    last_listen_time: int
    lag: int | None
    error: BaseException | None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _member(kind: type[_T], argument: str, value: str) -> _T:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise InvalidArgumentError(argument, f"{value!r} is none of {known}") from None
