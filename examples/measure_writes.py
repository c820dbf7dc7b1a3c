"""What a store writes to the device that it is on: bytes and flushes for each change, as the kernel counts them.

It shows what matters on an SD card or an eMMC, which wear by what is written to them: how much a change costs by
itself, how much if twenty of them are one transaction, and what `durability="relaxed"` saves. Run it on the device in
question while nothing else writes to it (Linux; reading the counters needs no rights).

    python examples/measure_writes.py /media/card/try
    python examples/measure_writes.py /media/card/try --executions 2000 --json

The folder is made, and removed in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from execstore import Event, Execution, ExecutionState, RunCommandResult, State, Store, UpdateExecutionRequest

if TYPE_CHECKING:
    from execstore import Transaction

SECTOR_BYTES = 512


class Counters(NamedTuple):
    """What a block device has been asked for since it is there."""

    written_bytes: int
    flushes: int

    @classmethod
    def of(cls, path: str) -> Counters:
        """Those of the device that a folder is on, once all of it is written.

        Raises:
            OSError: it is on no block device that the kernel counts for.
        """
        os.sync()
        device = os.stat(path).st_dev
        # Documentation/block/stat.rst: the 7th number is sectors written, the 16th flushes completed.
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="ascii") as file:
            numbers = [int(number) for number in file.read().split()]
        return cls(numbers[6] * SECTOR_BYTES, numbers[15] if len(numbers) > 15 else 0)


def live_through(writer: Store | Transaction, name: str) -> int:
    """The life of one execution, as an agent records it; gives the number of changes."""
    writer.create_execution(
        Execution(id=name, job_id="j-1", job={"Name": "report", "Command": ["true"]}, compute_state=NEW),
        Event("Agent", "accepted"),
    )
    running = Execution(compute_state=State(ExecutionState.RUNNING))
    writer.update_execution_state(UpdateExecutionRequest(name, running, events=[Event("Agent", "running")]))
    done = Execution(compute_state=State(ExecutionState.COMPLETED), run_output=RunCommandResult("done\n"))
    writer.update_execution_state(UpdateExecutionRequest(name, done, events=[Event("Agent", "completed")]))
    return 3


NEW = State(ExecutionState.NEW)


def measure(path: str, way: str, executions: int) -> dict[str, float | str]:
    """Let so many executions live through, and see what that has cost, the closing of the store included."""
    changes = 0
    with Store(path, durability="relaxed" if way == "relaxed" else "full") as store:
        before = Counters.of(path)
        for number in range(0, executions, 20):
            names = [f"e-{each:06}" for each in range(number, min(number + 20, executions))]
            if way == "twenty to a transaction":
                with store.begin_tx() as transaction:
                    changes += sum(live_through(transaction, name) for name in names)
            else:
                changes += sum(live_through(store, name) for name in names)
    after = Counters.of(path)
    return {
        "way": way,
        "changes": changes,
        "bytes_per_change": round((after.written_bytes - before.written_bytes) / changes),
        "flushes_per_change": round((after.flushes - before.flushes) / changes, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a store writes to its device.")
    parser.add_argument("folder", metavar="DIR", help="a new folder on the device")
    parser.add_argument("--executions", type=int, default=500, metavar="N", help="how many, each with 3 changes (500)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.executions < 1:
        parser.error("--executions must be at least 1")
    try:
        os.mkdir(arguments.folder)
    except FileExistsError:
        print(f"{arguments.folder} is there already; name a new folder", file=sys.stderr)
        return 1
    results = []
    try:
        for way in ("each by itself", "twenty to a transaction", "relaxed"):
            path = os.path.join(arguments.folder, way.replace(" ", "-"))
            results.append(measure(path, way, arguments.executions))
    except OSError as error:
        print(f"{arguments.folder} is on no block device to count for: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(arguments.folder)
    if arguments.json:
        print(json.dumps(results))
        return 0
    print(f"{'':<24}{'bytes/change':>14}{'flushes/change':>16}")
    for each in results:
        print(f"{each['way']:<24}{each['bytes_per_change']:>14,}{each['flushes_per_change']:>16}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
