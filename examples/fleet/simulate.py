#!/usr/bin/env python3
"""A fleet on one machine: devices that work, go offline, restart and are forwarded to one central store.

    python examples/fleet/simulate.py --devices 200 --rounds 12

Each device has a store of its own in a temporary folder. In each round it does some work; if it is online, it is
forwarded, by a forwarder that is started for it (as after a restart) or that was cut off in the middle last time. In
the end all are online, and the central store must have exactly what the devices have.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from central import central_store, has_etcd
from devices import Device

from execstore import Execution, Store, connect
from execstore.forwarding import Forwarder, ForwardReport

if TYPE_CHECKING:
    from collections.abc import Iterator

_P_OFFLINE = 0.15
_P_BACK = 0.35
_P_CUT = 0.15


@dataclass
class Outcome:
    """What the simulation came to. ``seconds`` are those of all rounds, work of the devices included."""

    central: str
    devices: int
    rounds: int
    seed: int
    executions: int = 0
    events: int = 0
    offline_rounds: int = 0
    longest_lag: int = 0
    cut_off: int = 0
    forwarded: int = 0
    seconds: float = 0.0
    wrong: int = 0


class Fleet:
    """The devices, and the one connection to the central store that this process shares among their forwarders."""

    def __init__(self, folder: Path, address: str, arguments: argparse.Namespace) -> None:
        self.address = address
        self.devices = [Device(folder, number, arguments.seed) for number in range(arguments.devices)]
        self.outcome = Outcome(
            address.partition(":")[0] if ":" in address else "a folder", arguments.devices, 0, arguments.seed
        )
        self._lock = threading.Lock()
        self._central = connect(address)

    def close(self) -> None:
        self._central.close()

    def round(self, pool: ThreadPoolExecutor, *, is_last: bool = False) -> None:
        """Every device works, and those that are online are forwarded."""
        for device in self.devices:
            device.online = is_last or device.random.random() < (1 - _P_OFFLINE if device.online else _P_BACK)
        list(pool.map(lambda device: self._one(device, is_last=is_last), self.devices))
        self.outcome.rounds += 1

    def _one(self, device: Device, *, is_last: bool) -> None:
        with device.open() as store:
            if not is_last:
                device.work(store)
            report = self._forward(device, store, is_last=is_last) if device.online else None
            lag = store.event_store.get_latest_event_num() if report is None else report.lag
        with self._lock:
            outcome = self.outcome
            outcome.offline_rounds += report is None
            outcome.longest_lag = max(outcome.longest_lag, lag if report is not None else 0)
            outcome.events += report.events if report is not None else 0
            outcome.forwarded += report is not None

    def _forward(self, device: Device, store: Store, *, is_last: bool) -> ForwardReport:
        is_cut = not is_last and device.random.random() < _P_CUT

        def on_progress(_: ForwardReport) -> None:
            if is_cut:
                forwarder.stop()

        batch_size = 4 if is_cut else 256
        forwarder = Forwarder(
            store, lambda: _Shared(self._central), node=device.node, batch_size=batch_size, on_progress=on_progress
        )
        with self._lock:
            self.outcome.cut_off += is_cut
        return forwarder.run(once=True)

    def check(self) -> None:
        """Compare the central store with all devices."""
        central = {each.id: each for each in self._central.list_executions()}
        for device in self.devices:
            with device.open() as store:
                for execution in store.list_executions():
                    self.outcome.executions += 1
                    self.outcome.wrong += not self._is_there(central.pop(execution.id, None), execution, store)
        self.outcome.wrong += len(central)

    def _is_there(self, found: Execution | None, execution: Execution, store: Store) -> bool:
        node = store.path.rpartition("/")[2]
        if found != execution.replace(node_id=node):
            return False
        return self._central.get_execution_events(execution.id) == store.get_execution_events(execution.id)


class _Shared:
    """A store that its users don't close."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@contextmanager
def folder_for(path: str | None) -> Iterator[Path]:
    """The given folder, or one that goes in the end."""
    if path is not None:
        Path(path).mkdir(parents=True, exist_ok=True)
        yield Path(path)
    else:
        with tempfile.TemporaryDirectory(prefix="fleet-") as made:
            yield Path(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--workers", type=int, default=4, help="how many devices work at once")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--central", default="etcd" if has_etcd() else "folder", help="etcd, folder, or an address")
    parser.add_argument("--folder", help="where the stores are made, and stay; a temporary folder otherwise")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", file=sys.stderr)
    with folder_for(arguments.folder) as folder, central_store(arguments.central, folder) as address:
        fleet = Fleet(folder, address, arguments)
        started = time.monotonic()
        with ThreadPoolExecutor(arguments.workers) as pool:
            for number in range(arguments.rounds):
                fleet.round(pool, is_last=number == arguments.rounds - 1)
        fleet.outcome.seconds = time.monotonic() - started
        fleet.check()
        fleet.close()
    outcome = fleet.outcome
    if arguments.json:
        print(json.dumps(asdict(outcome)))
    else:
        print(
            f"{outcome.devices} devices, {outcome.rounds} rounds, central store: {outcome.central}\n"
            f"{outcome.executions} executions, {outcome.events} events brought in {outcome.seconds:.1f} s "
            f"({outcome.events / outcome.seconds:.0f} a second, the devices' own work included)\n"
            f"{outcome.offline_rounds} times offline, {outcome.cut_off} forwarders cut off, "
            f"at most {outcome.longest_lag} events behind at the end of a round\n"
            f"{outcome.wrong} executions that aren't what their device has"
        )
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
