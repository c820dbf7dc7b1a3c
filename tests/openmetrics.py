"""A strict parser of the part of OpenMetrics 1.0 that execstore writes: anything else is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["ParsedFamily", "parse"]

_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\n|\\")*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")
_META = re.compile(rf"# (TYPE|UNIT|HELP) ({_NAME}) (.+)")
_ORDER = ["TYPE", "UNIT", "HELP"]
_SUFFIXES = {"gauge": {""}, "counter": {"_total"}, "histogram": {"_bucket", "_sum", "_count"}}
_UNESCAPED = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


@dataclass
class ParsedFamily:
    """One metric with its samples, by suffix and labels."""

    name: str
    kind: str
    unit: str = ""
    description: str = ""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def value(self, **labels: str) -> float:
        """The value of a gauge or a counter."""
        return self.samples["_total" if self.kind == "counter" else "", tuple(labels.items())]

    def check(self) -> None:
        if self.unit and not self.name.endswith(f"_{self.unit}"):
            raise ValueError(f"{self.name} doesn't end in its unit {self.unit}")
        if self.kind == "counter" and any(value < 0 for value in self.samples.values()):
            raise ValueError(f"{self.name} is negative")
        if self.kind == "histogram":
            buckets = [(dict(labels)["le"], value) for (suffix, labels), value in self.samples.items() if labels]
            bounds = [float(bound) for bound, _ in buckets]
            values = [value for _, value in buckets]
            if bounds != sorted(set(bounds)) or bounds[-1] != float("inf"):
                raise ValueError(f"{self.name} has wrong bounds {bounds}")
            if values != sorted(values) or values[-1] != self.samples["_count", ()]:
                raise ValueError(f"{self.name} doesn't add up")
            if (self.samples["_count", ()] == 0) != (self.samples["_sum", ()] == 0):
                raise ValueError(f"{self.name} has a sum of nothing")


def parse(text: str) -> dict[str, ParsedFamily]:
    """The families of a whole exposition. Raises ValueError for whatever isn't exactly as it should be."""
    if not text.endswith("\n# EOF\n"):
        raise ValueError("it doesn't end in # EOF")
    found: dict[str, ParsedFamily] = {}
    family: ParsedFamily | None = None
    place = -1
    for line in text.splitlines()[:-1]:
        if meta := _META.fullmatch(line):
            kind, name, rest = meta.groups()
            if kind == "TYPE":
                if name in found:
                    raise ValueError(f"{name} comes twice")
                family = found[name] = ParsedFamily(name, rest)
                place = 0
                if rest not in _SUFFIXES:
                    raise ValueError(f"{rest} is no type")
                continue
            if family is None or family.name != name or family.samples or _ORDER.index(kind) <= place:
                raise ValueError(f"out of place: {line}")
            place = _ORDER.index(kind)
            setattr(family, "unit" if kind == "UNIT" else "description", rest)
            continue
        sample = _SAMPLE.fullmatch(line)
        if sample is None or family is None or not sample[1].startswith(family.name):
            raise ValueError(f"out of place: {line}")
        suffix = sample[1].removeprefix(family.name)
        pairs = re.findall(_LABEL, sample[2] or "")
        labels = tuple((name, re.sub(r"\\.", lambda match: _UNESCAPED[match[0]], value)) for name, value in pairs)
        if suffix not in _SUFFIXES[family.kind] or (suffix, labels) in family.samples:
            raise ValueError(f"wrong or twice: {line}")
        family.samples[suffix, labels] = float(sample[sample.re.groups])
    for each in found.values():
        each.check()
    return found
