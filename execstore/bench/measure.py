"""A measured thing, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Measurement", "distribution", "quantile"]


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
