"""Plots of a result: throughput against writers, latencies against size."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from execstore.bench.adapters.base import Unavailable

__all__ = ["plot"]

_Lines: TypeAlias = dict[str, list[tuple[float, float]]]
_LATENCIES: Final = (("create", "create"), ("get", "get"), ("count", "count a state"))


def plot(result: dict[str, Any], path: str) -> None:
    """Write them, side by side, into an SVG or PNG file. Raises `Unavailable` without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise Unavailable("--plot needs matplotlib: pip install 'execstore[bench]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    panels = _panels(result)
    figure, rows = plt.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4.2), constrained_layout=True, squeeze=False
    )
    for axes, (title, label, lines) in zip(rows[0], panels, strict=True):
        _draw(axes, title, label, lines)
    rows[0][0].legend(fontsize=8)
    figure.suptitle(f"{result['disk']}, {result['machine']['processor']}", fontsize=9)
    figure.savefig(path)
    plt.close(figure)


def _panels(result: dict[str, Any]) -> list[tuple[str, str, _Lines]]:
    """Title, label and lines of each plot; those with a single place on their axis only if there is no other."""
    panels = [
        ("durable creates a second", "writers (threads)", _throughput(result)),
        *((f"{title}, median µs", "executions in the store", _latency(result, name)) for name, title in _LATENCIES),
    ]
    drawn = [panel for panel in panels if panel[2]]
    return [panel for panel in drawn if len(_places(panel[2])) > 1] or drawn


def _places(lines: _Lines) -> list[float]:
    return sorted({x for points in lines.values() for x, _ in points})


def _draw(axes: Any, title: str, label: str, lines: _Lines) -> None:
    for name, points in lines.items():
        axes.plot(
            *zip(*sorted(points), strict=True), marker="o", label=name, linewidth=2.4 if name == "execstore" else 1
        )
    axes.set(title=title, xlabel=label, xscale="log", yscale="log")
    places = _places(lines)
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.xaxis.minorticks_off()
    for each in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        each(lambda value, _: f"{value:,.0f}" if str(value)[0] in "125" else "")
    axes.grid(visible=True, which="both", alpha=0.2)


def _throughput(result: dict[str, Any]) -> _Lines:
    return _lines(
        (float(writers), name, values["per_second"])
        for parts in result["sizes"].values()
        for writers, by_name in parts.get("threads", {}).get("create", {}).items()
        for name, values in by_name.items()
        if name != "relaxed"
    )


def _latency(result: dict[str, Any], operation: str) -> _Lines:
    return _lines(
        (float(size), name, values["median_us"])
        for size, parts in result["sizes"].items()
        for name, values in parts["operations"].get(operation, {}).items()
        if name != "relaxed"
    )


def _lines(points: Any) -> _Lines:
    lines: _Lines = {}
    for x, name, y in points:
        lines.setdefault(name, []).append((x, y))
    return lines
