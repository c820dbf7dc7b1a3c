"""A process of the long run: told to go by a line on its input, it lets a stretch of simulated time pass under load."""

from __future__ import annotations

import random
import sys
from datetime import timedelta

from execstore import Event, Execution, ExecutionState, RunCommandResult, State, Store, UpdateExecutionRequest

S = ExecutionState
STEP_NS = 2 * 3600 * 10**9


def main() -> None:
    path, name, start_ns, retention_days, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    chance = random.Random(name)
    now_ns = start_ns
    number = 0
    with Store(
        path,
        durability="relaxed",
        clock=lambda: now_ns,
        retention=timedelta(days=retention_days),
        event_retention=timedelta(days=1),
    ) as store:
        print("ready", flush=True)
        for _ in sys.stdin:
            for _ in range(steps):
                now_ns += STEP_NS
                number += 1
                live_through(store, f"{name}-{number:06}", f"job-{number // 10}", chance)
            print(sum(store.counts().values()), flush=True)


def live_through(store: Store, execution_id: str, job_id: str, chance: random.Random) -> None:
    """An execution's life, from creation to an end, with what a node notes of it."""
    state = State(S.BID_ACCEPTED)
    execution = Execution(id=execution_id, job_id=job_id, job={"Name": job_id, "Type": "batch"}, compute_state=state)
    store.create_execution(execution, Event("Node", "accepted"))
    running = Execution(compute_state=State(S.RUNNING))
    store.update_execution_state(UpdateExecutionRequest(execution_id, running, events=[Event("Node", "started")]))
    for _ in range(chance.randrange(3)):
        store.add_execution_event(execution_id, Event("Progress", "x" * chance.randrange(200)))
    end = chance.choice((S.COMPLETED, S.COMPLETED, S.FAILED, S.CANCELLED))
    ended = Execution(compute_state=State(end, "over"), run_output=RunCommandResult("y" * chance.randrange(2000)))
    store.update_execution_state(UpdateExecutionRequest(execution_id, ended))
    if chance.random() < 0.05:
        store.delete_execution(execution_id)


if __name__ == "__main__":
    main()
