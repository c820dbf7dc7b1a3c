"""Showing on stderr how executions get on: a table that changes on a terminal, a line a step anywhere else."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from execstore.cli.output import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from execstore import Execution

__all__ = ["Observer", "progress", "step_line"]


class Observer(Protocol):
    """Is told of each stored step, from several threads."""

    def __call__(self, execution: Execution, /) -> None: ...


def progress(*, live: bool, colour: bool) -> AbstractContextManager[Observer]:
    """Return what shows progress while its block runs: ``live`` on a terminal, else plain lines."""
    return _live_table(colour=colour) if live else _plain_lines()


def step_line(execution: Execution) -> str:
    """Return one step as a line: ID, state, revision, job and part, message; the same for people and programs."""
    state = execution.compute_state
    fields = (
        execution.id,
        state.state_type.value,
        f"revision {execution.revision}",
        part_name(execution),
        state.message,
    )
    return "  ".join(one_line(field) for field in fields if field)


def part_name(execution: Execution) -> str:
    """Return the job's name, with the partition's index where it has several."""
    job = execution.job or {}
    name = str(job.get("Name") or execution.job_id)
    count = job.get("Count")
    return f"{name}[{execution.partition_index}]" if isinstance(count, int) and count > 1 else name


@contextmanager
def _plain_lines() -> Iterator[Observer]:
    lock = threading.Lock()

    def show(execution: Execution) -> None:
        with lock:
            sys.stderr.write(step_line(execution) + "\n")
            sys.stderr.flush()

    yield show


@contextmanager
def _live_table(*, colour: bool) -> Iterator[Observer]:
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs rich)
    from rich.live import Live  # noqa: PLC0415

    rows: dict[str, tuple[Execution, float]] = {}
    lock = threading.Lock()

    def table() -> Table:
        with lock:
            return _table([(execution, since) for execution, since in rows.values()])

    def show(execution: Execution) -> None:
        with lock:
            rows[execution.id] = (execution, time.monotonic())

    console = Console(stderr=True, no_color=not colour, highlight=False)
    with Live(console=console, get_renderable=table, refresh_per_second=12):
        yield show


def _table(rows: list[tuple[Execution, float]]) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from execstore.cli.table import state_colour  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("ID", no_wrap=True, min_width=10)
    table.add_column("JOB", no_wrap=True, overflow="ellipsis", min_width=18, max_width=24)
    table.add_column("STATE", no_wrap=True, min_width=11)
    table.add_column("MESSAGE", no_wrap=True, overflow="ellipsis")
    for execution, since in rows:
        state = execution.compute_state
        name = state.state_type.value
        message = state.message or (f"{time.monotonic() - since:.1f} s" if name == "Running" else "")
        table.add_row(
            execution.id[:10],
            Text(one_line(part_name(execution))),
            Text(name, style=state_colour(name) or "dim"),
            Text(one_line(message)),
        )
    return table
