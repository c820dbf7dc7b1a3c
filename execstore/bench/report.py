"""What `harness.measure` found, as tables of at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from execstore.bench.adapters import CONTENDERS
from execstore.bench.harness import BASELINE
from execstore.bench.workloads import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["WIDTH", "describe", "ratios_of", "ratios_with_spread", "tables"]

WIDTH: Final = 100
_NAME_WIDTH: Final = 20
_CELL_WIDTH: Final = 10
_TAILS_OF: Final = ("create", "update", "add_event", "lifecycle", "delete")


def describe(result: dict[str, Any]) -> list[str]:
    """Where and with what it was measured, in lines."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version != "none")
    lines = [
        f"{result['disk']}; {machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}",
        f"{machine['date']}, load {machine['load']}",
        versions,
    ]
    lines += [f"without {name}: {why}" for name, why in result["skipped"].items()]
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    parts = [""]
    for word in line.split():
        if len(parts[-1]) + 1 + len(word) > WIDTH:
            parts.append("  " + word)
        else:
            parts[-1] += (" " if parts[-1] else "") + word
    return parts


def tables(result: dict[str, Any]) -> list[str]:
    """All tables, a heading before each."""
    lines: list[str] = []
    for size, found in result["sizes"].items():
        of = f"a store of {int(size):,} executions"
        lines += _section(f"One writer or reader, {of}", _operations(found["operations"]))
        lines += _section(f"The slowest calls in us, {of}", _tails(found["operations"]))
        lines += _section(f"What a call costs the disk, {of}", _costs(found["costs"]))
        for kind in ("threads", "processes"):
            lines += _section(f"Calls a second by {kind}, {of}", _writers(found.get(kind, {})))
        lines += _section(f"Updates in a row, {of}", _sustained(found.get("sustained", {})))
        lines += _section(f"Room, {of}", _room(found))
    return lines


def _section(title: str, rows: list[str]) -> list[str]:
    return ["", title, *rows] if len(rows) > 1 else []


def _operations(operations: dict[str, Any]) -> list[str]:
    names = [name for name in _present(operations.values()) if name != BASELINE]
    rows = [_row("", ["median us", *names])]
    for operation, by_name in operations.items():
        if BASELINE in by_name:
            cells = [_number(by_name[BASELINE]["median_us"])]
            cells += [_ratio(by_name[name].get("ratio")) if name in by_name else "" for name in names]
            rows.append(_row(BY_NAME[operation].title, cells))
    rows.append("  execstore's median, then how many times as long others take, with half the spread of the rounds")
    return rows


def _tails(operations: dict[str, Any]) -> list[str]:
    """p99 and p99.9 of the writes, by contender."""
    names = _present(operations.values())
    rows = [_row("", list(names))]
    for operation, by_name in operations.items():
        if operation in _TAILS_OF:
            for label, field in (("p99", "p99_us"), ("p99.9", "p999_us")):
                cells = [_number(by_name[name][field]) if name in by_name else "" for name in names]
                rows.append(_row(f"{BY_NAME[operation].title} {label}", cells))
    return rows


def _costs(costs: dict[str, Any]) -> list[str]:
    names = _present(costs.values())
    rows = [_row("", list(names))]
    shown: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("dirtied_bytes", "KB", lambda value: f"{value / 1000:.1f}"),
        ("block_bytes", "disk KB", lambda value: f"{value / 1000:.1f}"),
        ("flushes", "flush", lambda value: f"{value:.2f}"),
    )
    for operation, by_name in costs.items():
        for field, unit, form in shown:
            values = [by_name[name][field] if name in by_name else None for name in names]
            if any(value is not None for value in values):
                title = f"{BY_NAME[operation].title} {unit}"
                rows.append(_row(title, ["" if value is None else form(value) for value in values]))
    return rows


def _writers(operations: dict[str, Any]) -> list[str]:
    names = _present(by_name for by_writers in operations.values() for by_name in by_writers.values())
    rows = [_row("", list(names))]
    for operation, by_writers in operations.items():
        for writers, by_name in by_writers.items():
            cells = [_number(by_name[name]["per_second"]) if name in by_name else "" for name in names]
            rows.append(_row(f"{BY_NAME[operation].title} {writers}", cells))
            cells = [_times(by_name[name]["ratio"]) if name in by_name and name != BASELINE else "" for name in names]
            if any(cells):
                rows.append(_row("  execstore", cells))
    return rows


def _sustained(sustained: dict[str, Any]) -> list[str]:
    rows = [_row("", ["a second", "median us", "p99", "p99.9", "greatest", "execstore"])]
    for name, found in sustained.items():
        fields = ("per_second", "median_us", "p99_us", "p999_us", "greatest_us")
        rows.append(_row(name, [*(_number(found[field]) for field in fields), _times(found.get("ratio"))]))
    return rows


def _room(found: dict[str, Any]) -> list[str]:
    names = _present([found["disk_bytes"]])
    rows = [_row("", list(names))]
    for title, field in (("on disk, MB", "disk_bytes"), ("peak memory, MB", "peak_memory_bytes")):
        rows.append(_row(title, [f"{found[field][name] / 1e6:,.0f}" for name in names]))
    return rows


def _present(tables_by_name: Iterable[dict[str, Any]]) -> list[str]:
    """The contenders that any of these has, in their order."""
    found = {name for by_name in tables_by_name for name in by_name}
    return [name for name in CONTENDERS if name in found]


def _row(title: str, cells: Sequence[str]) -> str:
    return f"{title:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells).rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(found: dict[str, float] | None) -> str:
    return "" if found is None else f"x{_number(found['value'])}"


def _ratio(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    value = found["value"]
    spread = (found["high"] - found["low"]) / 2 / value if value else 0.0
    shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{shown} ±{min(spread, 0.99):.0%}"


def ratios_of(result: dict[str, Any]) -> dict[str, float]:
    """Every ratio by a name that is the same in each run: ``{"1000 create sqlite": 1.02, ...}``."""
    return {name: round(found["value"], 3) for name, found in ratios_with_spread(result)}


def ratios_with_spread(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """The same, each with the quarter of the rounds below and above it: ``value``, ``low``, ``high``."""
    for size, parts in result["sizes"].items():
        for operation, by_name in parts["operations"].items():
            yield from _named(f"{size} {operation}", by_name)
        for kind in ("threads", "processes"):
            for operation, by_writers in parts.get(kind, {}).items():
                for writers, by_name in by_writers.items():
                    yield from _named(f"{size} {operation} {writers} {kind}", by_name)
        yield from _named(f"{size} sustained", parts.get("sustained", {}))


def _named(title: str, by_name: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    return ((f"{title} {name}", values["ratio"]) for name, values in by_name.items() if "ratio" in values)
