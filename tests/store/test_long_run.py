"""The long run: a store with pruning and collection on, under load from several processes, stays the same size.

Simulated months pass as fast as the processes can write. The suite has a short one; for an hour of it, say

    EXECSTORE_LONG_RUN_SECONDS=3600 pytest tests/store/test_long_run.py -s
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execstore import ExecutionState
from execstore.watcher import WatcherManager
from tests.store import long_run_worker
from tests.support import PATIENCE_SECONDS, make_execution, python

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import StoreFactory

S = ExecutionState
PROCESSES = 3
STEPS = 15
"""Of each process between two looks at the size: 30 hours, 2 a step."""
RETENTION_DAYS = 1
SHORT_STRETCHES = 6
SETTLING_STRETCHES = 3
"""What it takes until as much goes as comes."""


def _bytes_and_files(path: Path) -> tuple[int, int]:
    sizes = [file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(sizes), sum(1 for _ in path.rglob("*"))


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_over_months_a_store_stays_the_same_size_under_load(open_store: StoreFactory) -> None:
    seconds = float(os.environ.get("EXECSTORE_LONG_RUN_SECONDS", "0"))
    store = open_store(durability="relaxed")
    path = Path(store.path)
    store.create_execution(make_execution("live", "forever", S.BID_ACCEPTED))
    handled = 0

    def handle(event: Any) -> None:
        nonlocal handled
        handled += 1
        if handled % 20 == 0:
            watcher.checkpoint(event.seq_num)

    manager = WatcherManager(store.event_store)
    watcher = manager.create("follower", handler=handle, auto_start=True)
    start_ns = store.rules.clock()
    arguments = (str(path), str(start_ns), str(RETENTION_DAYS), str(STEPS))
    processes = [
        python("-m", long_run_worker.__name__, arguments[0], f"p{number}", *arguments[1:])
        for number in range(PROCESSES)
    ]
    looks: list[tuple[int, int, int]] = []
    try:
        assert [_line(process) for process in processes] == ["ready\n"] * PROCESSES
        begun = time.monotonic()
        while len(looks) < SHORT_STRETCHES or time.monotonic() - begun < seconds:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            for process in processes:
                assert int(_line(process)) > 0
            latest = store.event_store.get_latest_event_num()
            while watcher.stats().lag:  # so that it holds as little of the log at each look
                assert time.monotonic() - begun < seconds + PATIENCE_SECONDS
                time.sleep(0.005)
            watcher.checkpoint(latest)
            looks.append((*_bytes_and_files(path), sum(store.counts().values())))
            if seconds:
                days = len(looks) * STEPS * 2 // 24
                print(f"{days:>6} days: {looks[-1][0]:>9,} bytes {looks[-1][1]:>5} names {looks[-1][2]:>4} executions")
    finally:
        for process in processes:
            process.communicate(timeout=PATIENCE_SECONDS)
        manager.stop()
    assert [process.returncode for process in processes] == [0] * PROCESSES
    settled = looks[SETTLING_STRETCHES:]
    first, rest = settled[0], settled[1:]
    # A day of three processes are 36, and a sweep comes by each eighth of that, later if the lock was another's.
    assert max(executions for _, _, executions in settled) <= 36 * 4
    assert max(size for size, _, _ in rest) <= first[0] * 2
    assert max(names for _, names, _ in rest) <= first[1] * 2.5
    assert handled > len(looks) * STEPS * PROCESSES * 3
    assert store.get_execution("live").revision == 1
    # More was written than stays, many times over, or this would show nothing.
    assert store.event_store.get_latest_event_num() > 10 * first[2]
