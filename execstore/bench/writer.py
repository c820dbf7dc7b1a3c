"""A process that commits when it is told to: ``python -m execstore.bench.writer STORE``.

For each line ``COUNT PAUSE_SECONDS`` of its input it stores so many executions, with pauses in between, and prints for
each when its commit began and when it returned, in nanoseconds of the system's monotonic clock.
"""

from __future__ import annotations

import sys
import time
import uuid

from execstore import Execution, ExecutionState, State, Store

__all__ = ["JOB", "main", "make_execution"]

JOB = {
    "Name": "resize-image",
    "Type": "batch",
    "Count": 1,
    "Tasks": [
        {
            "Name": "main",
            "Engine": {"Type": "docker", "Params": {"Image": "ubuntu:24.04", "Entrypoint": ["/bin/resize", "--all"]}},
            "ResourcesConfig": {"CPU": "500m", "Memory": "512Mi"},
            "Env": {f"SETTING_{number}": "a value of some length, as they are" for number in range(8)},
            "Timeouts": {"ExecutionTimeout": 1800},
        }
    ],
}


def make_execution() -> Execution:
    """One as a small compute node has them: a docker job, some 1.5 KB of JSON."""
    state = State(ExecutionState.BID_ACCEPTED, "accepted by the node")
    return Execution(id=f"e-{uuid.uuid4()}", job_id=f"j-{uuid.uuid4()}", node_id="n-1", job=JOB, compute_state=state)


def main(path: str) -> None:
    """Serve the input until it ends."""
    with Store(path) as store:
        for line in sys.stdin:
            count, pause_seconds = line.split()
            for _ in range(int(count)):
                execution = make_execution()
                started_ns = time.monotonic_ns()
                store.create_execution(execution)
                sys.stdout.write(f"{started_ns} {time.monotonic_ns()}\n")
                if float(pause_seconds):
                    time.sleep(float(pause_seconds))
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
