"""A measured thing, and how it is told."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Latency", "Measurement", "Ratio", "distribution", "latency", "quantile", "ratio"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured, by parts, and whether it is what it should be.

    ``values`` are numbers in ``unit``, by what they are ("median", "p99"). ``bar`` says in words what they should be,
    ``met`` whether they are; both are empty where nothing is demanded.
    """

    name: str
    unit: str
    values: dict[str, float]
    bar: str = ""
    met: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "unit": self.unit, "values": self.values, "bar": self.bar, "met": self.met}


def quantile(samples: Sequence[float], fraction: float) -> float:
    """The sample below which this fraction of them lies."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)]


def distribution(samples: Sequence[float]) -> dict[str, float]:
    """A sample's median, 99th percentile and greatest."""
    return {"median": quantile(samples, 0.5), "p99": quantile(samples, 0.99), "greatest": max(samples)}


@dataclass(frozen=True, slots=True)
class Latency:
    """What many calls took, in microseconds."""

    median_us: float
    p99_us: float
    p999_us: float
    greatest_us: float
    calls: int


def latency(rounds: Sequence[Sequence[int]]) -> Latency:
    """Of the calls of all rounds, given in nanoseconds."""
    samples = [each for one in rounds for each in one]
    return Latency(
        median_us=statistics.median(samples) / 1e3,
        p99_us=quantile(samples, 0.99) / 1e3,
        p999_us=quantile(samples, 0.999) / 1e3,
        greatest_us=max(samples) / 1e3,
        calls=len(samples),
    )


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one is as another: over 1 is faster. ``low`` to ``high`` has the middle half of rounds."""

    value: float
    low: float
    high: float


def ratio(others: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> Ratio:
    """The other's median time over ours; the spread is that of the rounds, each of which has both sides."""
    value = _median(others) / _median(ours)
    per_round = [statistics.median(other) / statistics.median(own) for other, own in zip(others, ours, strict=True)]
    return Ratio(value, quantile(per_round, 0.25), quantile(per_round, 0.75))


def _median(rounds: Sequence[Sequence[float]]) -> float:
    return statistics.median([each for one in rounds for each in one])
