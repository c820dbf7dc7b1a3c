"""A small program to be tested, and its tests in test_second_try.py: give failed executions another try.

It shows what `execstore.testing` has for a program's own tests: a store in a temporary folder that is verified at the
end of each test, a clock that is moved by hand, and faults of the disk and the process that are planted at will.

    pip install 'execstore[testing]'
    python -m pytest examples/pytest_fixture
    python examples/pytest_fixture/second_try.py my-store     # the program itself
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from execstore import Event, Execution, ExecutionState, State, Store

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 3
PAUSE = timedelta(minutes=5)


def retry_failed(store: Store, *, clock: Callable[[], int] = time.time_ns) -> list[str]:
    """Create a successor for each failed execution that is to be tried again; gives the successors' IDs.

    It is tried again once ``PAUSE`` has passed since it failed, and ``TRIES`` times in all. That it has a successor is
    what tells that this was done, so both are made in one transaction.
    """
    created = []
    for failed in store.list_executions(state=ExecutionState.FAILED):
        number = int(failed.id.rpartition("-try")[2]) if "-try" in failed.id else 1
        successor = f"{failed.id.partition('-try')[0]}-try{number + 1}"
        if number >= TRIES or clock() - failed.modify_time < PAUSE // timedelta(microseconds=1) * 1000:
            continue
        with store.begin_tx() as transaction:
            if any(each.previous_execution == failed.id for each in transaction.get_executions(failed.job_id)):
                continue
            transaction.create_execution(
                Execution(
                    id=successor,
                    job_id=failed.job_id,
                    job=failed.job,
                    previous_execution=failed.id,
                    compute_state=State(ExecutionState.NEW),
                ),
                Event("Retry", f"try {number + 1}"),
            )
            transaction.add_execution_event(failed.id, Event("Retry", f"followed by {successor}"))
        created.append(successor)
    return created


if __name__ == "__main__":
    with Store(sys.argv[1]) as opened:
        print(*retry_failed(opened), sep="\n")
