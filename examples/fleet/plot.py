#!/usr/bin/env python3
"""Draw fleet.svg from measured.json: what was measured, and what follows for larger fleets.

pip install -e '.[bench]' && python examples/fleet/plot.py
"""

from __future__ import annotations

import json

import matplotlib as mpl
from model import EVENTS_A_LIFE, HERE, LOAD, WORKLOADS, unit_of

mpl.use("svg")
# The same file for the same figures.
mpl.rcParams["svg.hashsalt"] = "execstore"
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402 - behind the choice of what draws

_COLOURS = {"etcd": "#1f6fb4", "folder": "#b4541f"}


def main() -> None:
    measured = json.loads((HERE / "measured.json").read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for kind, figures in measured["central"].items():
        runs = figures["by_forwarders"]
        left.plot(
            [run["forwarders"] for run in runs],
            [run["events_per_second"] for run in runs],
            "o-",
            color=_COLOURS[kind],
            label=f"{kind}, measured",
        )
    left.set(xlabel="forwarders at once", ylabel="events a second", title="What one central store takes (measured)")
    left.set_ylim(bottom=0)
    left.set_xticks([run["forwarders"] for run in runs])
    left.legend()
    devices = [10**power for power in range(1, 7)]
    for workload, style in zip(WORKLOADS, ("--", ":"), strict=True):
        demand = [number * workload.executions_a_day * EVENTS_A_LIFE / 86_400 for number in devices]
        right.plot(devices, demand, style, color="black", label=f"{workload.name}, extrapolated")
    for kind, figures in measured["central"].items():
        taken = unit_of(figures).events_a_second * LOAD
        right.axhline(taken, color=_COLOURS[kind], label=f"half of what one {kind} took here")
    right.set(
        xscale="log", yscale="log", xlabel="devices", ylabel="events a second", title="What fleets send (extrapolated)"
    )
    right.legend(fontsize="small")
    machine = measured["machine"]
    figure.text(
        0.01,
        0.01,
        f"{machine['date']}, {machine['cores']} cores shared with other work (load {machine['load_before']}), "
        f"{machine['etcd'] or 'no etcd'}; examples/fleet/measure.py, plot.py",
        fontsize="x-small",
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(HERE / "fleet.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
