"""A durable create against SQLite's, in one run: python tests/bench/compare_create.py [FOLDER]

Both store the same execution of a docker job with one event: SQLite (WAL, synchronous=FULL) in one transaction over
four tables with the same indexes, events and log. Rounds are taken in turn, so that a drifting machine meets both
alike; what counts is the ratio of the medians. FOLDER should lie on the file system in question: see the README.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from execstore import Event, Execution, Store

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA = Path(__file__).parent.parent / "data" / "docker-execution.json"
_SCHEMA = """
CREATE TABLE executions (
    id TEXT PRIMARY KEY, job_id TEXT, state TEXT, revision INT, modified INT, record BLOB
) WITHOUT ROWID;
CREATE INDEX by_job ON executions (job_id);
CREATE INDEX by_state ON executions (state);
CREATE TABLE execution_events (
    execution_id TEXT, number INT, event BLOB, PRIMARY KEY (execution_id, number)
) WITHOUT ROWID;
CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT, type TEXT, object BLOB, time INT);
"""


def _sqlite_create(path: Path, document: dict[str, object]) -> Callable[[int], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(_SCHEMA)

    def create(number: int) -> None:
        now = time.time_ns()
        execution = document | {
            "ID": _id(number),
            "JobID": _job(number),
            "CreateTime": now,
            "ModifyTime": now,
            "Revision": 1,
        }
        event = json.dumps({"Topic": "Execution", "Message": "created", "Timestamp": "2026-11-24T00:00:00Z"})
        record = json.dumps(execution, ensure_ascii=False, separators=(",", ":"))
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute("SELECT 1 FROM executions WHERE id = ?", (_id(number),)).fetchone()
        if found is not None:
            raise ValueError("there already")
        connection.execute(
            "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?)", (_id(number), _job(number), "New", 1, now, record)
        )
        connection.execute("INSERT INTO execution_events VALUES (?, 1, ?)", (_id(number), event))
        connection.execute(
            "INSERT INTO events (operation, type, object, time) VALUES ('CREATE', 'ExecutionEvent', ?, ?)", (event, now)
        )
        upsert = f'{{"Current":{record},"Previous":null,"Events":[{event}]}}'
        connection.execute(
            "INSERT INTO events (operation, type, object, time) VALUES ('CREATE', 'ExecutionUpsert', ?, ?)",
            (upsert, now),
        )
        connection.execute("COMMIT")

    return create


def _execstore_create(path: Path, document: dict[str, object]) -> Callable[[int], None]:
    store = Store(path)
    template = Execution.from_dict(document)

    def create(number: int) -> None:
        store.create_execution(template.replace(id=_id(number), job_id=_job(number)), Event("Execution", "created"))

    return create


def _id(number: int) -> str:
    return f"e-{number:08d}-4b1c-4a6e-9d43-0123456789ab"


def _job(number: int) -> str:
    return f"j-{number // 10:08d}"


def compare(folder: Path, rounds: int, creates: int) -> dict[str, float]:
    """Medians in microseconds, and their ratio."""
    document = json.loads(_DATA.read_text())
    document["Revision"] = 0
    adapters = {
        "execstore": _execstore_create(folder / "store", document),
        "sqlite": _sqlite_create(folder / "sqlite.db", document),
    }
    times: dict[str, list[float]] = {name: [] for name in adapters}
    for number in range(rounds):
        for name, create in adapters.items():
            for each in range(creates):
                started = time.perf_counter()
                create(number * creates + each)
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(all_times) * 1e6 for name, all_times in times.items()}
    return medians | {"execstore/sqlite": medians["execstore"] / medians["sqlite"]}


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=None, help="where to work; a fresh folder is made in it")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--creates", type=int, default=100, help="a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, figure in compare(Path(folder), arguments.rounds, arguments.creates).items():
            print(f"{name:20} {figure:8.2f}")


if __name__ == "__main__":
    main()
