"""A second process that reads while the first one writes.

It shows what a reader may rely on: it takes no lock and never waits for the writer, it needs no right to write, and
each look is of one moment. The writer, a process of its own, changes the two halves of a pair in one transaction, again
and again; the reader looks as fast as it can, and never sees one half without the other.

    python examples/second_process.py my-store
    python examples/second_process.py my-store --changes 2000

Or do it by hand: `execstore --store my-store watch --from trim-horizon` in one terminal, this in another.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from execstore import Execution, ExecutionState, State, Store, UpdateExecutionRequest
from execstore.errors import ExecutionsNotFoundForJobError, NotAStoreError

JOB_ID = "j-pair"
HALVES = ("e-left", "e-right")


def write(path: str, changes: int) -> None:
    """The first process: it counts, and both halves of the pair say how far it has come."""
    with Store(path) as store:
        with store.begin_tx() as transaction:
            for half in HALVES:
                state = State(ExecutionState.BID_ACCEPTED, "0")
                transaction.create_execution(Execution(id=half, job_id=JOB_ID, job={}, compute_state=state))
        for number in range(1, changes + 1):
            with store.begin_tx() as transaction:
                for half in HALVES:
                    running = State(ExecutionState.RUNNING, str(number))
                    transaction.update_execution_state(UpdateExecutionRequest(half, Execution(compute_state=running)))


def read(store: Store) -> tuple[str, ...]:
    """The second process: what each half says, in one look; nothing if there is no pair yet."""
    try:
        return tuple(execution.compute_state.message for execution in store.get_executions(JOB_ID))
    except ExecutionsNotFoundForJobError:
        return ()


def main() -> int:
    parser = argparse.ArgumentParser(description="Read a store while another process writes to it.")
    parser.add_argument("store", metavar="DIR")
    parser.add_argument("--changes", type=int, default=300, metavar="N", help="how many the writer makes (300)")
    parser.add_argument("--write", action="store_true", help="be the writer")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.store, arguments.changes)
        return 0
    Store(arguments.store).close()  # so that there is one to read
    writer = subprocess.Popen(
        [sys.executable, __file__, arguments.store, "--changes", str(arguments.changes), "--write"]
    )
    looks = halves = 0
    states = set()
    with Store(arguments.store, read_only=True) as store:
        while True:
            has_ended = writer.poll() is not None  # asked before the look, so that the last one is of the end
            messages = read(store)
            looks += 1
            states.add(messages)
            if messages and (len(messages) != len(HALVES) or len(set(messages)) != 1):
                halves += 1
                print(f"half of a change: {messages}", file=sys.stderr)
            if has_ended:
                break
        events = store.event_store.get_latest_event_num()
    print(f"{looks} looks saw {len(states)} different moments, and {halves} halves of a change")
    print(f"at the end both say {messages[0]}, and the log has {events} events")
    return 1 if halves or writer.returncode else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotAStoreError as error:
        sys.exit(str(error))
