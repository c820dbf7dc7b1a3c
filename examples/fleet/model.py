#!/usr/bin/env python3
"""What a fleet needs of its central store: extrapolated from what was measured here.

    python examples/fleet/model.py                    the tables of README.md
    python examples/fleet/model.py --write            put them into README.md

Measured is what one execution costs: bytes, server's and forwarder's CPU time, and how many events a second one store
took. All else is multiplication, on assumptions that stand in `WORKLOADS` and the constants below.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from devices import EVENTS_A_LIFE

HERE = Path(__file__).parent
DEVICES = (100, 10_000, 1_000_000)
QUOTA_BYTES = 8 << 30
"""What etcd's documentation advises at most for its database."""
KEPT_DAYS = 7
"""How long the central store keeps executions and events (``execstore prune``, ``event_retention``)."""
LOAD = 0.5
"""How much of what one store was measured to take it should be asked for: fleets come back online all at once."""


class Workload(NamedTuple):
    """What one device does."""

    name: str
    executions_a_day: int


WORKLOADS = (Workload("one execution an hour", 24), Workload("one execution a minute", 1440))


class Need(NamedTuple):
    """What a fleet asks of central stores. ``stores`` is by events a second, ``databases`` by bytes kept."""

    devices: int
    workload: Workload
    events_a_second: float
    bytes_a_second: float
    kept_bytes: float
    stores: int
    databases: int


class Unit(NamedTuple):
    """What one execution was measured to cost, and what one store took."""

    events_a_second: float
    sent_bytes: float
    stored_bytes: float


def unit_of(figures: dict[str, Any]) -> Unit:
    """From the runs of one kind of central store: the best of them."""
    runs = figures["by_forwarders"]
    best = max(runs, key=lambda run: run["events_per_second"])
    sent = sum(run["bytes_per_second"] * run["seconds"] for run in runs) / sum(run["executions"] for run in runs)
    return Unit(best["events_per_second"], sent, runs[-1]["stored_bytes_per_execution"])


def need(devices: int, workload: Workload, unit: Unit) -> Need:
    """What so many devices need."""
    executions_a_second = devices * workload.executions_a_day / 86_400
    events_a_second = executions_a_second * EVENTS_A_LIFE
    kept_bytes = devices * workload.executions_a_day * KEPT_DAYS * unit.stored_bytes
    return Need(
        devices,
        workload,
        events_a_second,
        executions_a_second * unit.sent_bytes,
        kept_bytes,
        math.ceil(events_a_second / (unit.events_a_second * LOAD)),
        math.ceil(kept_bytes / QUOTA_BYTES),
    )


def measured_tables(measured: dict[str, Any]) -> str:
    """What was measured."""
    lines = [
        "| central store | forwarders | batch | events/s | executions/s | MB/s | server CPU | forwarder CPU | stored |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, figures in measured["central"].items():
        for run in [*figures["by_forwarders"], *figures["by_batch"], *figures["by_stores"]]:
            shown = kind if run["stores"] == 1 else f"{run['stores']} in one {kind}"
            server = run.get("server_cpu_seconds_per_1000_events", "-")
            lines.append(
                f"| {shown} | {run['forwarders']} | {run['batch']} | {run['events_per_second']:,} | "
                f"{run['executions_per_second']:,} | {run['bytes_per_second'] / 1e6:.2f} | {server} | "
                f"{run['forwarder_cpu_seconds_per_1000_events']} | {run['stored_bytes_per_execution']:,} |"
            )
    return "\n".join(lines)


def model_table(measured: dict[str, Any], kind: str) -> str:
    """What fleets need: extrapolated."""
    unit = unit_of(measured["central"][kind])
    lines = [
        (
            f"| devices | each does | events/s | MB/s | GB kept for {KEPT_DAYS} days | stores, by events/s "
            f"| databases of {QUOTA_BYTES >> 30} GiB, by bytes kept |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for devices in DEVICES:
        for workload in WORKLOADS:
            each = need(devices, workload, unit)
            lines.append(
                f"| {devices:,} | {workload.name} | {each.events_a_second:,.1f} | {each.bytes_a_second / 1e6:,.2f} | "
                f"{each.kept_bytes / 1e9:,.1f} | {each.stores:,} | {each.databases:,} |"
            )
    return "\n".join(lines)


def limit_sentences(measured: dict[str, Any], kind: str) -> str:
    """How many devices one store is good for: extrapolated."""
    unit = unit_of(measured["central"][kind])
    lines = []
    for workload in WORKLOADS:
        by_bytes = QUOTA_BYTES / (workload.executions_a_day * KEPT_DAYS * unit.stored_bytes)
        by_events = unit.events_a_second * LOAD / (workload.executions_a_day * EVENTS_A_LIFE / 86_400)
        first, other = ("bytes kept", "events a second") if by_bytes < by_events else ("events a second", "bytes kept")
        lines.append(
            f"- {workload.name}: one {kind} ends at some {_round(min(by_bytes, by_events)):,} devices, by {first} "
            f"(by {other} at some {_round(max(by_bytes, by_events)):,})"
        )
    return "\n".join(lines)


def _round(number: float) -> int:
    """To two digits: the rest would be a pretence."""
    digits = max(int(math.log10(max(number, 1))) - 1, 0)
    return int(number / 10**digits) * 10**digits


def _simulated(outcome: dict[str, Any]) -> str:
    options = f"--devices {outcome['devices']} --rounds {outcome['rounds']} --seed {outcome['seed']}"
    return (
        f"`python examples/fleet/simulate.py {options}`, on the machine described below: {outcome['executions']:,} "
        f"executions, {outcome['events']:,} events brought to {outcome['central']} in {outcome['seconds']:.0f} s with "
        f"the devices' own work; a device was offline in {outcome['offline_rounds']:,} rounds, {outcome['cut_off']:,} "
        f"forwarders were cut off; {outcome['wrong']} executions differed in the end."
    )


def sections(measured: dict[str, Any], simulated: dict[str, Any]) -> dict[str, str]:
    """The generated parts of README.md by name."""
    kind = "etcd" if "etcd" in measured["central"] else "folder"
    machine = measured["machine"]
    facts = (
        f"Measured on {machine['date']} on {machine['cores']} cores of an {machine['processor']}, Linux "
        f"{machine['kernel']}, Python {machine['python']}, {machine['etcd'] or 'no etcd'}. Others were working on the "
        f"machine, more or less (load {machine['load_before']} at the start): in other runs, at loads around 10, the "
        f"rates were a third to a fifth of these. CPU times and bytes depend less on that."
    )
    return {
        "simulation": _simulated(simulated),
        "machine": facts,
        "measured": measured_tables(measured),
        "limits": limit_sentences(measured, kind),
        "model": model_table(measured, kind),
    }


def fill(text: str, parts: dict[str, str]) -> str:
    """A text with its generated parts in place, each between ``<!-- name -->`` and ``<!-- end of name -->``."""
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, number = pattern.subn(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)  # type: ignore[misc]
        if number != 1:
            raise ValueError(f"there must be one place for {name}, not {number}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, default=HERE / "measured.json")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    parts = sections(json.loads(arguments.measured.read_text()), json.loads((HERE / "simulated.json").read_text()))
    if arguments.write:
        readme = HERE / "README.md"
        readme.write_text(fill(readme.read_text(), parts))
    else:
        print("\n\n".join(parts.values()))


if __name__ == "__main__":
    main()
