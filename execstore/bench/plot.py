"""Two plots of a result: throughput against writers, latency against size."""

from __future__ import annotations

from typing import Any

from execstore.bench.adapters.base import Unavailable

__all__ = ["plot"]


def plot(result: dict[str, Any], path: str) -> None:
    """Write them, side by side, into an SVG or PNG file. Raises `Unavailable` without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise Unavailable("--plot needs matplotlib: pip install 'execstore[bench]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    _draw(left, "durable creates a second", "writers (threads)", _throughput(result))
    _draw(right, "create, median µs", "executions in the store", _latency(result))
    left.legend(fontsize=8)
    figure.suptitle(f"{result['disk']}, {result['machine']['processor']}", fontsize=9)
    figure.savefig(path)
    plt.close(figure)


def _draw(axes: Any, title: str, label: str, lines: dict[str, list[tuple[float, float]]]) -> None:
    for name, points in lines.items():
        axes.plot(
            *zip(*sorted(points), strict=True), marker="o", label=name, linewidth=2.4 if name == "execstore" else 1
        )
    axes.set(title=title, xlabel=label, xscale="log", yscale="log")
    places = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.xaxis.minorticks_off()
    for each in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        each(lambda value, _: f"{value:,.0f}" if str(value)[0] in "125" else "")
    axes.grid(visible=True, which="both", alpha=0.2)


def _throughput(result: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    return _lines(
        (float(writers), name, values["per_second"])
        for parts in result["sizes"].values()
        for writers, by_name in parts.get("threads", {}).get("create", {}).items()
        for name, values in by_name.items()
        if name != "relaxed"
    )


def _latency(result: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    return _lines(
        (float(size), name, values["median_us"])
        for size, parts in result["sizes"].items()
        for name, values in parts["operations"].get("create", {}).items()
        if name != "relaxed"
    )


def _lines(points: Any) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for x, name, y in points:
        lines.setdefault(name, []).append((x, y))
    return lines
