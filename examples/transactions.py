"""Transactions: two executions changed at once, or not at all.

It shows moving something that must neither be lost nor doubled (here processor time that executions have been given,
elsewhere it might be money) from one execution to another: a change of both in one transaction, that fails as a whole
if there is too little, if somebody was quicker, or if the process dies in the middle.

    python examples/transactions.py my-store
    execstore --store my-store history e-donor      # what each transaction has changed
"""

from __future__ import annotations

import argparse
import sys

from execstore import (
    Event,
    Execution,
    ExecutionState,
    State,
    Store,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.errors import (
    ExecutionAlreadyExistsError,
    InvalidExecutionRevisionError,
    NotAStoreError,
    TransactionOpenError,
)

LIMIT_SECONDS = 10.0


class TooLittleError(Exception):
    """There isn't as much as was to be moved."""


def cpu_of(execution: Execution) -> int:
    """How much processor time an execution has, in thousandths of a core."""
    return int((execution.allocated_resources or {}).get("Tasks", {}).get("main", {}).get("MilliCPU", 0))


def with_cpu(amount: int) -> Execution:
    """The part of an execution that says so."""
    return Execution(allocated_resources={"Tasks": {"main": {"MilliCPU": amount}}})


def move(store: Store, source_id: str, target_id: str, amount: int, *, revision: int | None = None) -> None:
    """Give ``amount`` of one execution's to another.

    Raises:
        TooLittleError: the source has less; nothing is changed.
        InvalidExecutionRevisionError: the source no longer is at ``revision``; nothing is changed.
    """
    with store.begin_tx() as transaction:
        # What is read in the transaction can't be changed by others before it ends.
        source, target = transaction.get_execution(source_id), transaction.get_execution(target_id)
        transaction.update_execution_state(
            UpdateExecutionRequest(
                target_id,
                with_cpu(cpu_of(target) + amount),
                events=[Event("Move", f"{amount} came from {source_id}")],
                clear=("allocated_resources",),
            )
        )
        # Only now is it found that there is too little: what was done above is undone by the exception.
        if cpu_of(source) < amount:
            raise TooLittleError(f"{source_id} has {cpu_of(source)}, which is less than {amount}")
        transaction.update_execution_state(
            UpdateExecutionRequest(
                source_id,
                with_cpu(cpu_of(source) - amount),
                UpdateExecutionCondition(expected_revision=revision or 0),
                events=[Event("Move", f"{amount} went to {target_id}")],
                # An update's values are merged, and its zeros change nothing: without this, 0 couldn't be set.
                clear=("allocated_resources",),
            )
        )


def show(store: Store, what: str) -> None:
    amounts = {each.id: cpu_of(each) for each in store.list_executions()}
    log = store.event_store.get_latest_event_num()
    print(f"{what:<28} {amounts}, {sum(amounts.values())} in all, {log} events in the log")


def main() -> int:
    parser = argparse.ArgumentParser(description="Move processor time between two executions.")
    parser.add_argument("store", metavar="DIR", help="a new store")
    arguments = parser.parse_args()
    with Store(arguments.store, lock_timeout=LIMIT_SECONDS) as store:
        try:
            with store.begin_tx() as transaction:
                for name, amount in (("e-donor", 1000), ("e-taker", 500)):
                    execution = with_cpu(amount).replace(
                        id=name, job_id="j-1", job={}, compute_state=State(ExecutionState.BID_ACCEPTED)
                    )
                    transaction.create_execution(execution)
        except ExecutionAlreadyExistsError as error:
            print(f"{error}; name a new store", file=sys.stderr)
            return 1
        show(store, "at first")

        move(store, "e-donor", "e-taker", 300)
        show(store, "300 moved")

        try:
            move(store, "e-donor", "e-taker", 5000)
        except TooLittleError as error:
            print(f"refused: {error}")
        show(store, "nothing has changed")

        seen = store.get_execution("e-donor")
        move(store, "e-donor", "e-taker", 100)  # somebody else's, say
        try:
            move(store, "e-donor", "e-taker", 200, revision=seen.revision)
        except InvalidExecutionRevisionError as error:
            print(f"refused: {error}")
        show(store, "only the 100")

        with store.begin_tx() as transaction:
            transaction.delete_execution("e-donor")
            try:
                store.delete_execution("e-taker")  # by the store, in a transaction's thread: it would wait for itself
            except TransactionOpenError as error:
                print(f"refused: {error}")
            transaction.rollback()
        show(store, "rolled back")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotAStoreError as error:
        sys.exit(str(error))
