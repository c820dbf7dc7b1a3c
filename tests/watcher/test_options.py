"""A watcher's settings: defaults, refusals, and the arithmetic of retries."""

from __future__ import annotations

import math
from typing import Any

import pytest

from execstore.errors import InvalidArgumentError
from execstore.watcher import CompactionStrategy, EventFilter, EventIterator, RetryStrategy, WatcherOptions
from execstore.watcher.options import handler_function


def test_the_defaults_are_the_references() -> None:
    options = WatcherOptions()
    assert options.initial_event_iterator == EventIterator.trim_horizon()
    assert (options.batch_size, options.initial_backoff, options.max_backoff) == (100, 0.2, 180.0)
    assert (options.max_retries, options.retry_strategy) == (None, RetryStrategy.BLOCK)
    assert (options.filter, options.ephemeral, options.on_compacted) == (EventFilter(), False, CompactionStrategy.STOP)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("filter", None),
        ("filter", ("Plain",)),
        ("initial_event_iterator", "latest"),
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("initial_backoff", -0.1),
        ("initial_backoff", "1"),
        ("initial_backoff", math.nan),
        ("max_backoff", math.inf),
        ("max_backoff", 0.1),
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("retry_strategy", "give up"),
        ("retry_strategy", 0),
        ("on_compacted", "panic"),
    ],
)
def test_wrong_values_are_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        WatcherOptions(**{argument: value})
    assert raised.value.argument == argument


def test_strategies_may_be_given_by_name() -> None:
    options = WatcherOptions(retry_strategy="skip", on_compacted="continue")  # type: ignore[arg-type]
    assert options.retry_strategy is RetryStrategy.SKIP
    assert options.on_compacted is CompactionStrategy.CONTINUE


@pytest.mark.parametrize(
    ("strategy", "max_retries", "tries"),
    [
        (RetryStrategy.BLOCK, None, math.inf),
        (RetryStrategy.BLOCK, 3, math.inf),
        (RetryStrategy.SKIP, None, math.inf),
        (RetryStrategy.SKIP, 0, 1),
        (RetryStrategy.SKIP, 1, 1),
        (RetryStrategy.SKIP, 3, 3),
    ],
)
def test_tries(strategy: RetryStrategy, max_retries: int | None, tries: float) -> None:
    assert WatcherOptions(retry_strategy=strategy, max_retries=max_retries).tries == tries


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (10, 102.4), (11, 180.0), (100, 180.0), (10**9, 180.0)]
)
def test_the_backoff_doubles_up_to_its_maximum(failures: int, seconds: float) -> None:
    assert WatcherOptions().backoff_seconds(failures) == pytest.approx(seconds)


def test_no_backoff() -> None:
    assert WatcherOptions(initial_backoff=0, max_backoff=0).backoff_seconds(50) == 0


async def asynchronous(event: object) -> None: ...


@pytest.mark.parametrize("handler", [5, "print", None, object(), asynchronous])
def test_what_can_not_be_called_is_no_handler(handler: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^handler: "):
        handler_function(handler)
