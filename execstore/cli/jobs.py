"""``execstore jobs``: the jobs that the executions belong to."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import Settings, json_option, open_to_read, shorten_ids, time_options
from execstore.cli.output import note, one_line, print_json_array, print_lines, terminal_width
from execstore.cli.table import WIDE_COLUMNS, Column, render_table
from execstore.cli.times import TimeStyle, format_time
from execstore.errors import ExecutionsNotFoundForJobError, InvalidArgumentError
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from execstore import Execution

__all__ = ["command"]


@dataclass(slots=True)
class _Job:
    job_id: str
    name: str = ""
    job_type: str = ""
    namespace: str = ""
    modify_time: int = 0
    states: Counter[str] = field(default_factory=Counter)

    def add(self, execution: Execution) -> None:
        self.states[execution.compute_state.state_type.value] += 1
        if execution.modify_time >= self.modify_time:
            job = execution.job or {}
            self.modify_time = execution.modify_time
            self.name = str(job.get("Name") or "")
            self.job_type = str(job.get("Type") or "")
            self.namespace = execution.namespace

    def to_dict(self) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "name": self.name,
            "type": self.job_type,
            "namespace": self.namespace,
            "executions": self.states.total(),
            "states": dict(sorted(self.states.items())),
            "modify_time": self.modify_time,
        }


@click.command(name="jobs")
@click.option("--namespace", metavar="N", help="Only those of this namespace.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("--after", metavar="ID", help="Only those behind this job in the list, to go on page by page.")
@time_options
@json_option
@click.pass_obj
def command(settings: Settings, *, namespace: str | None, limit: int | None, after: str | None, as_json: bool) -> None:
    """List the jobs that executions belong to, the most recently changed first.

    \b
    execstore jobs
    execstore jobs --json | jq -r '.[] | select(.states.Failed) | .name'
    """
    with open_to_read(settings) as store:
        jobs = _group(store.list_executions(namespace=namespace))
    if after is not None:
        jobs = jobs[_place(jobs, after) + 1 :]
    jobs = jobs[:limit]
    if as_json:
        print_json_array(job.to_dict() for job in jobs)
        return
    if not jobs:
        note("no jobs")
        return
    now_ns = time.time_ns()
    width = terminal_width()
    ids = [one_line(job.job_id) for job in jobs]
    if width is not None and width < WIDE_COLUMNS:
        ids = shorten_ids(ids)
    # On a terminal, where the states may go on in the next line, a number stays with its state.
    space = " " if width is None else "\u00a0"
    rows = [
        [
            identity,
            one_line(job.name),
            one_line(job.job_type),
            str(job.states.total()),
            format_time(job.modify_time, settings.time_style, now_ns),
            ", ".join(
                f"{number}{space}{one_line(state)}" for state, number in sorted(job.states.items(), key=_by_life)
            ),
        ]
        for identity, job in zip(ids, jobs, strict=True)
    ]
    columns = (
        Column("JOB", minimum=10),
        Column("NAME", minimum=8),
        Column("TYPE"),
        Column("EXECUTIONS", right=True),
        Column("CHANGED", right=settings.time_style is not TimeStyle.UTC),
        Column("STATES", minimum=12, wraps=True),
    )
    print_lines(render_table(columns, rows, width))


def _place(jobs: list[_Job], prefix: str) -> int:
    """Where the job of this ID is, or the only one whose ID begins with it."""
    places = [place for place, job in enumerate(jobs) if job.job_id == prefix]
    places = places or [place for place, job in enumerate(jobs) if job.job_id.startswith(prefix)]
    if not places:
        raise ExecutionsNotFoundForJobError(prefix)
    if len(places) > 1:
        raise InvalidArgumentError("--after", f"{prefix!r} is the beginning of {len(places)} jobs; give more of the ID")
    return places[0]


def _by_life(state: tuple[str, int]) -> tuple[int, str]:
    """The order in which an execution comes through the states."""
    return ExecutionState.parse(state[0]).number, state[0]


def _group(executions: Iterable[Execution]) -> list[_Job]:
    jobs: dict[str, _Job] = {}
    for execution in executions:
        jobs.setdefault(execution.job_id, _Job(execution.job_id)).add(execution)
    return sorted(jobs.values(), key=lambda job: (-job.modify_time, job.job_id))
