"""Moving from a table of one's own in SQLite to a store, so that it can be interrupted at any moment.

It shows a migration of what many programs have, a table of jobs: rows go over in batches, and each batch is one
transaction that also keeps how far it has come (`checkpoint`). So a row is never moved twice and never lost: killed and
started again it goes on behind the last batch, and once it is through it moves only what is new.

    python examples/from_sqlite.py jobs.sqlite my-store --make-sample 1000     # a database to try it with
    python examples/from_sqlite.py jobs.sqlite my-store                        # as often as you like
    execstore --store my-store stats

The table: jobs(id INTEGER PRIMARY KEY, name, command, state, exit_code, output, created_at, finished_at), with states
queued, running, done, failed, and times in seconds since 1970. The store gives executions times of its own, as they
come; what was known of the old ones becomes their events, which keep theirs.

(For the other direction there is `execstore export sqlite`; for a Bacalhau node's database `execstore import bolt`.)
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from execstore import Event, Execution, ExecutionState, RunCommandResult, State, Store, UpdateExecutionRequest
from execstore.errors import ExecStoreError

if TYPE_CHECKING:
    from execstore import Transaction

CHECKPOINT = "from-sqlite"
CREATE = """CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, command TEXT NOT NULL, state TEXT NOT NULL,
                               exit_code INTEGER, output TEXT, created_at REAL NOT NULL, finished_at REAL)"""
NEXT_ROWS = """SELECT id, name, command, state, exit_code, output, created_at, finished_at
                 FROM jobs WHERE id > ? ORDER BY id LIMIT ?"""
STATES = {
    "queued": ExecutionState.BID_ACCEPTED,
    "running": ExecutionState.RUNNING,
    "done": ExecutionState.COMPLETED,
    "failed": ExecutionState.FAILED,
}


def move_row(transaction: Transaction, row: sqlite3.Row) -> None:
    """One row as one execution. Raises ``ValueError`` for one that makes no sense."""
    state = STATES.get(row["state"])
    if state is None:
        raise ValueError(f"row {row['id']}: {row['state']!r} is none of the states {', '.join(STATES)}")
    execution = Execution(
        id=f"e-{row['id']:08}",
        name=row["name"],
        job_id=f"j-{row['name']}",
        job={"Name": row["name"], "Type": "batch", "Command": json.loads(row["command"])},
        # Every execution begins as one that is new or accepted, and comes to its state by an update.
        compute_state=State(ExecutionState.BID_ACCEPTED),
    )
    transaction.create_execution(execution, Event("Moved", "created", timestamp=when(row["created_at"])))
    if state is ExecutionState.BID_ACCEPTED:
        return
    values = Execution(compute_state=State(state))
    events = []
    if row["finished_at"] is not None:
        values = values.replace(run_output=RunCommandResult(row["output"] or "", exit_code=row["exit_code"] or 0))
        events = [Event("Moved", f"finished, {row['state']}", timestamp=when(row["finished_at"]))]
    transaction.update_execution_state(UpdateExecutionRequest(execution.id, values, events=events))


def when(seconds: float) -> str:
    """A time as events have it, RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def migrate(database: sqlite3.Connection, store: Store, batch_size: int) -> int:
    """Move what hasn't been moved yet; gives how many rows that were."""
    moved = 0
    while True:
        with store.begin_tx() as transaction:
            last = transaction.get_checkpoint(CHECKPOINT)
            rows = database.execute(NEXT_ROWS, (last, batch_size)).fetchall()
            for row in rows:
                move_row(transaction, row)
            if not rows:
                return moved
            transaction.checkpoint(CHECKPOINT, rows[-1]["id"])
        moved += len(rows)
        print(f"moved up to row {rows[-1]['id']}", flush=True)


def make_sample(database: sqlite3.Connection, number: int) -> None:
    """Add rows to try it with, as one program's last weeks might have left them."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone() is None:
        database.execute(CREATE)
    first = database.execute("SELECT coalesce(max(id), 0) + 1 FROM jobs").fetchone()[0]
    for row in range(first, first + number):
        state = "queued" if row % 50 == 0 else "running" if row % 50 == 1 else "failed" if row % 7 == 0 else "done"
        has_ended = state in {"done", "failed"}
        command = json.dumps(["sh", "-c", f"echo {row}"])
        created_at = 1_760_000_000.25 + row * 60
        values = (row, f"report-{row % 10}", command, state, created_at)
        ending = (1 if state == "failed" else 0, f"{row}\n", created_at + 5) if has_ended else (None, None, None)
        database.execute(
            "INSERT INTO jobs (id, name, command, state, created_at, exit_code, output, finished_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, *ending),
        )
    database.commit()


def main() -> int:
    parser = argparse.ArgumentParser(description="Move a table of jobs from SQLite to a store.")
    parser.add_argument("database", metavar="FILE")
    parser.add_argument("store", metavar="DIR")
    parser.add_argument("--batch", type=int, default=200, metavar="N", help="rows to a transaction (200)")
    parser.add_argument("--make-sample", type=int, metavar="N", help="only add so many rows to FILE")
    arguments = parser.parse_args()
    if arguments.batch < 1:
        parser.error("--batch must be at least 1")
    is_sample = arguments.make_sample is not None
    if not is_sample and not os.path.isfile(arguments.database):
        print(f"{arguments.database}: there is no such file", file=sys.stderr)
        return 1
    # SQLite makes a file that it doesn't find, unless it is told only to read.
    address = Path(arguments.database).absolute().as_uri() + ("" if is_sample else "?mode=ro")
    try:
        database = sqlite3.connect(address, uri=True)
    except sqlite3.Error as error:
        print(f"{arguments.database}: {error}", file=sys.stderr)
        return 1
    database.row_factory = sqlite3.Row
    try:
        if is_sample:
            make_sample(database, arguments.make_sample)
            return 0
        with Store(arguments.store) as store:
            moved = migrate(database, store, arguments.batch)
            counts = {state.value: count for state, count in store.counts().items() if count}
        print(f"moved {moved} rows; the store now has {sum(counts.values())}: {counts}")
    except (sqlite3.Error, ValueError) as error:
        print(f"{arguments.database}: {error}", file=sys.stderr)
        return 1
    except ExecStoreError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
