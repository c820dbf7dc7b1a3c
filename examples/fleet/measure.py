#!/usr/bin/env python3
"""Measure what one central store takes here, etcd and a folder: events, executions and bytes a second.

    python examples/fleet/measure.py --output examples/fleet/measured.json

Each device is filled beforehand, so that its forwarder has a backlog; what is timed is the bringing alone. Each
forwarder is a process of its own. The devices' stores, the central store and its server share this machine.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import os
import platform
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from central import central_store, etcd_process_id, has_etcd, size_of
from devices import EVENTS_A_LIFE, live

from execstore import Store, connect
from execstore.forwarding import Forwarder, ForwardReport

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

_FORWARDERS = (1, 2, 4)
_BATCHES = (8, 64)
_PATIENCE_SECONDS = 60
_DEFAULT_BATCH = 256
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=150, help="of each device")
    parser.add_argument("--output", type=Path, help="a file for the figures; stdout otherwise")
    parser.add_argument("--folder", type=Path, help="where the stores are made: on the disk that is to be measured")
    parser.add_argument("--central", choices=["folder", "etcd"], help="only this kind; both otherwise")
    arguments = parser.parse_args()
    kinds = [arguments.central] if arguments.central else ["folder", *(["etcd"] if has_etcd() else [])]
    figures: dict[str, Any] = {"machine": _machine(), "executions_a_device": arguments.executions, "central": {}}
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=arguments.folder) as name:
        folder = Path(name)
        _prepare(folder, max(_FORWARDERS), arguments.executions)
        for kind in kinds:
            by_forwarders = [_run(kind, folder, number, _DEFAULT_BATCH) for number in _FORWARDERS]
            by_batch = [_run(kind, folder, 1, size) for size in _BATCHES]
            # Several stores on one server: what bounds one store needn't bound the server.
            several = [_run(kind, folder, max(_FORWARDERS), _DEFAULT_BATCH, max(_FORWARDERS))] if kind == "etcd" else []
            figures["central"][kind] = {"by_forwarders": by_forwarders, "by_batch": by_batch, "by_stores": several}
    text = json.dumps(figures, indent=1) + "\n"
    if arguments.output:
        arguments.output.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


def _machine() -> dict[str, Any]:
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "")
    etcd = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=False) if has_etcd() else None
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "etcd": etcd.stdout.partition("\n")[0] if etcd else None,
        "load_before": round(os.getloadavg()[0], 1),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _prepare(folder: Path, devices: int, executions: int) -> None:
    for number in range(devices):
        with Store(folder / f"n-{number}", durability="relaxed") as store:
            for each in range(executions):
                live(store, f"e-{number}-{each:06}", f"n-{number}")
        _say(f"device {number}: {executions} executions")


def _run(kind: str, folder: Path, forwarders: int, batch_size: int, stores: int = 1) -> dict[str, Any]:
    """Bring the backlog of some devices at once into an empty central store, or into several of one server."""
    with tempfile.TemporaryDirectory(dir=folder) as place, central_store(kind, Path(place)) as address:
        addresses = [f"{address}{number or ''}" for number in range(stores)]
        for each in addresses:
            connect(each).close()
        server = etcd_process_id(Path(place)) if kind == "etcd" else None
        before = _cpu_seconds(server)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(forwarders + 1)
        results = context.Queue()
        processes = [
            context.Process(
                daemon=True,
                target=_forward,
                args=(folder / f"n-{number}", addresses[number % stores], batch_size, barrier, results),
            )
            for number in range(forwarders)
        ]
        for process in processes:
            process.start()
        barrier.wait(_PATIENCE_SECONDS)
        started = time.monotonic()
        reports = [_next_report(results, processes) for _ in processes]
        seconds = time.monotonic() - started
        for process in processes:
            process.join()
        events = sum(report["events"] for report in reports)
        figures = {
            "forwarders": forwarders,
            "stores": stores,
            "batch": batch_size,
            "events": events,
            "executions": events // EVENTS_A_LIFE,
            "seconds": round(seconds, 3),
            "events_per_second": round(events / seconds),
            "executions_per_second": round(events / EVENTS_A_LIFE / seconds),
            "bytes_per_second": round(sum(report["bytes"] for report in reports) / seconds),
            "transactions_per_second": round(sum(report["batches"] for report in reports) / seconds, 1),
            "stored_bytes_per_execution": round(size_of(kind, Path(place)) / (events / EVENTS_A_LIFE)),
            "forwarder_cpu_seconds_per_1000_events": round(
                1000 * sum(report["cpu_seconds"] for report in reports) / events, 3
            ),
        }
        if server is not None:
            figures["server_cpu_seconds_per_1000_events"] = round(1000 * (_cpu_seconds(server) - before) / events, 3)
            figures["server_memory_bytes"] = _memory_bytes(server)
        what = f"{kind}: {forwarders} forwarders, {stores} stores, batches of {batch_size}"
        _say(f"{what}: {figures['events_per_second']} events/s")
        return figures


def _next_report(results: Any, processes: list[Any]) -> dict[str, Any]:
    while True:
        try:
            report: dict[str, Any] = results.get(timeout=1)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise SystemExit("a forwarder ended before its time; what it said stands above") from None
        else:
            return report


def _forward(path: Path, address: str, batch_size: int, barrier: Barrier, results: Any) -> None:
    with Store(path, read_only=True) as store:

        def on_progress(report: ForwardReport) -> None:
            # The log is through; to compare all executions, as is done then once, isn't what is measured here.
            if report.phase != "replay":
                forwarder.stop()

        forwarder = Forwarder(
            store, lambda: connect(address), node=path.name, batch_size=batch_size, on_progress=on_progress
        )
        barrier.wait(_PATIENCE_SECONDS)
        before = time.process_time()
        report = forwarder.run(once=True)
        results.put(report.to_dict() | {"cpu_seconds": time.process_time() - before})


def _cpu_seconds(process_id: int | None) -> float:
    if process_id is None:
        return 0.0
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def _memory_bytes(process_id: int) -> int:
    line = next(each for each in _lines(f"/proc/{process_id}/status") if each.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
