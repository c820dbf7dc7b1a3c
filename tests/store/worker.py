"""What the other processes of the tests do: ``worker.py COMMAND STORE NAME [COUNT]``.

Each prints a line once the call it speaks of has returned, and flushes it at once: what was printed was acknowledged.
"""

from __future__ import annotations

import itertools
import json
import sys

from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionCondition, UpdateExecutionRequest
from execstore.errors import InvalidExecutionRevisionError

STATES = (ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.PUBLISHING)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def make(execution_id: str, job_id: str, **fields: object) -> Execution:
    fields.setdefault("compute_state", State(ExecutionState.BID_ACCEPTED))
    return Execution(id=execution_id, job_id=job_id, job={"ID": job_id}, **fields)  # type: ignore[arg-type]


def create(store: Store, name: str, count: int) -> None:
    """Create executions one by one, each with an event."""
    for number in range(count):
        store.create_execution(make(f"{name}-{number}", name), Event("Test", str(number)))
        say(id=f"{name}-{number}")


def count_up(store: Store, name: str, count: int) -> None:
    """Add 1 to the execution ``counter``, again and again, by its revision; nobody's addition may be lost."""
    done = 0
    while done < count:
        revision = store.get_execution("counter").revision
        try:
            store.update_execution_state(
                UpdateExecutionRequest(
                    "counter", Execution(name=name), UpdateExecutionCondition(expected_revision=revision)
                )
            )
        except InvalidExecutionRevisionError:
            continue
        done += 1
    say(done=done)


def live(store: Store, name: str, count: int) -> None:
    """Everything a store can do, for ever: pairs in transactions, updates, events, deletions, checkpoints."""
    for number in itertools.count():
        pair = (f"{name}-{number}-a", f"{name}-{number}-b")
        with store.begin_tx() as transaction:
            for execution_id in pair:
                transaction.create_execution(make(execution_id, name, name="x" * (number % 7 * 300)))
        say(created=pair)
        store.update_execution_state(
            UpdateExecutionRequest(
                pair[0], Execution(compute_state=State(ExecutionState.RUNNING)), events=[Event("Test", "update")]
            )
        )
        say(running=pair[0])
        store.add_execution_event(pair[0], Event("Test", "added"))
        say(event=pair[0])
        store.checkpoint(name, number)
        say(checkpoint=number)
        if number % 3 == 2:
            with store.begin_tx() as transaction:
                for execution_id in pair:
                    transaction.delete_execution(execution_id)
            say(deleted=pair)


def move(store: Store, name: str, count: int) -> None:
    """Move all executions of a job from one live state to the next at one stroke, for ever."""
    for number in itertools.count():
        state = STATES[number % len(STATES)]
        with store.begin_tx() as transaction:
            for execution in transaction.get_executions(name):
                new_values = Execution(name=str(number), compute_state=State(state))
                transaction.update_execution_state(UpdateExecutionRequest(execution.id, new_values))
        say(moved=number)


def hold(store: Store, name: str, count: int) -> None:
    """Hold a transaction with a write in it until the input ends; then commit."""
    with store.begin_tx() as transaction:
        transaction.create_execution(make(name, name))
        say(held=name)
        sys.stdin.read()
    say(committed=name)


COMMANDS = {"create": create, "count_up": count_up, "live": live, "move": move, "hold": hold}


def main(command: str, path: str, name: str, count: str = "0") -> None:
    with Store(path) as store:
        COMMANDS[command](store, name, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
