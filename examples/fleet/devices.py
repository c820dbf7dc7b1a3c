"""A device of the fleet: a small store in a folder, and the lives of the executions in it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from execstore import (
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    State,
    Store,
    UpdateExecutionRequest,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EVENTS_A_LIFE", "Device", "job_of", "live"]

# What one execution of `live` leaves in the event log: four changes, and an event of the execution with each.
EVENTS_A_LIFE = 8

_LIFE = (ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.COMPLETED)


def job_of(node: str) -> dict[str, object]:
    """A small Docker job, as a Bacalhau node gets it."""
    return {
        "ID": f"j-{node}",
        "Name": "camera-count",
        "Namespace": "default",
        "Type": "batch",
        "Priority": 50,
        "Count": 1,
        "Constraints": [{"Key": "site", "Operator": "=", "Values": [node]}],
        "Meta": {"bacalhau.org/requester.id": "n-requester", "owner": "fleet"},
        "Labels": {"kind": "camera", "node": node},
        "Tasks": [
            {
                "Name": "main",
                "Engine": {
                    "Type": "docker",
                    "Params": {
                        "Image": "registry.example/vision/count-people:2.4.1",
                        "Entrypoint": ["/usr/bin/count"],
                        "Parameters": ["--camera", "/dev/video0", "--seconds", "60", "--out", "/outputs/counts.json"],
                        "EnvironmentVariables": ["MODEL=yolo-n", "THRESHOLD=0.55"],
                    },
                },
                "Publisher": {"Type": "s3", "Params": {"Bucket": "fleet-results", "Key": f"{node}/counts.json"}},
                "Resources": {"CPU": "0.5", "Memory": "256Mb", "Disk": "1gb", "GPU": "0"},
                "Network": {"Type": "None"},
                "Timeouts": {"ExecutionTimeout": 300},
            }
        ],
        "State": {"StateType": "Running"},
        "Version": 1,
        "Revision": 2,
    }


def live(store: Store, execution_id: str, node: str) -> None:
    """Let an execution be created, run and end."""
    job = job_of(node)
    execution = Execution(id=execution_id, job_id=str(job["ID"]), job=job, compute_state=State(ExecutionState.NEW))
    store.create_execution(execution, Event("Scheduling", "asked for a bid"))
    for state in _LIFE:
        output = RunCommandResult(stdout='{"people": 17}\n') if state is ExecutionState.COMPLETED else None
        new_values = Execution(compute_state=State(state), run_output=output)
        event = Event("Exec", f"now {state.value}", details={"Node": node})
        store.update_execution_state(UpdateExecutionRequest(execution_id, new_values, events=[event]))


class Device:
    """One device: its folder, whether it is online, and how many executions it has had."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self.node = f"n-{number:05}"
        self.path = folder / self.node
        self.online = True
        self.made = 0
        self.random = random.Random(seed * 1_000_003 + number)

    def open(self) -> Store:
        """Its store. A device's disk outlives the processes on it; to survive a power cut matters elsewhere."""
        return Store(self.path, durability="relaxed")

    def work(self, store: Store) -> int:
        """Some executions, most of which end; returns how many were begun."""
        begun = self.random.choice((0, 0, 1, 1, 2, 4))
        for _ in range(begun):
            live(store, f"e-{self.node}-{self.made:06}", self.node)
            self.made += 1
        if self.made and self.random.random() < 0.05:
            store.add_execution_event(f"e-{self.node}-{self.made - 1:06}", Event("Exec", "logs were fetched"))
        return begun
