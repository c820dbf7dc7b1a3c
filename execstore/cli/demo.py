"""``execstore demo``: a small compute node on job files, then a look at what it has left."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.interrupts import terminated_like_interrupted
from execstore.cli.output import note, one_line, print_json, print_lines, terminal_width
from execstore.cli.table import cut, state_colour
from execstore.errors import ExecutionsNotFoundForJobError

if TYPE_CHECKING:
    from execstore import Execution, Store
    from execstore.demo.jobs import Job
    from execstore.demo.node import RunReport

__all__ = ["command"]


@click.command(name="demo")
@click.argument("directory", metavar="[DIR]", required=False)
@click.option(
    "--jobs", "job_folder", metavar="FOLDER", help="Run the *.json of this folder instead of the packaged jobs."
)
@click.option("--again", is_flag=True, help="Run jobs that are done already, too.")
@click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N", help="Run so many at a time.  [default: the cores]"
)
@json_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    directory: str | None,
    job_folder: str | None,
    again: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Run a small compute node: read job files, run each as a real process, record its whole life in the store at DIR.

    Job files are Bacalhau's JSON form, with Engine Type "exec": Command (or Entrypoint) and Parameters name a program
    of this machine, which runs with all your rights. It is no sandbox. What can't be run is recorded as failed.

    It may be killed at any moment. Run again on the same DIR it goes on: what was live is settled (batch and ops jobs
    are failed, services and daemons run again), what was interrupted or not begun is run, what is done is left alone.
    On Linux the processes it has started die with it; what they have started themselves may live on.

    \b
    execstore demo
    execstore demo /tmp/mine --jobs my-jobs/ --workers 4
    """
    from execstore import Store  # noqa: PLC0415
    from execstore.demo.jobs import packaged_job_folder, read_job_folder  # noqa: PLC0415
    from execstore.demo.lock import node_lock  # noqa: PLC0415
    from execstore.demo.node import Node  # noqa: PLC0415
    from execstore.demo.progress import progress  # noqa: PLC0415

    if directory == "":
        raise click.UsageError("DIR can't be empty")
    place = settings if directory is None else Settings(directory)
    path = place.need_folder("demo", "it shows the files that it leaves; give it a folder")
    jobs = read_job_folder(job_folder if job_folder is not None else packaged_job_folder())
    with Store(path) as store, node_lock(path), terminated_like_interrupted():
        with progress(live=sys.stderr.isatty(), colour=not os.environ.get("NO_COLOR")) as observer:
            report = Node(store, workers=workers, observer=observer).run(jobs, again=again)
        if as_json:
            print_json(_document(path, store, jobs, report))
        else:
            _print_report(path, store, jobs, report)


def _executions(store: Store, jobs: list[Job]) -> list[Execution]:
    found: list[Execution] = []
    for job in jobs:
        try:
            found += store.get_executions(job.job_id)
        except ExecutionsNotFoundForJobError:
            continue
    return found


def _document(path: str, store: Store, jobs: list[Job], report: RunReport) -> dict[str, object]:
    return {
        "path": os.path.abspath(path),
        "failed_after_restart": report.failed_after_restart,
        "restarted": report.restarted,
        "taken_up": report.taken_up,
        "created": report.created,
        "overtaken": report.overtaken,
        "done_before": report.done_before,
        "executions": [execution.to_dict() for execution in _executions(store, jobs)],
        "states": {str(state): count for state, count in store.counts().items() if count},
    }


def _print_report(path: str, store: Store, jobs: list[Job], report: RunReport) -> None:
    from execstore.demo.report import choose_example, look_further, read_lines, tree_lines  # noqa: PLC0415

    for line in _summary(report):
        note(line)
    _heading(f"The store is a folder of plain files ({os.path.abspath(path)})")
    width = terminal_width()
    tree = (f"  {one_line(line)}" for line in tree_lines(path))
    print_lines(tree if width is None else (cut(line, width) for line in tree))
    executions = _executions(store, jobs)
    this_run = {*report.created, *report.taken_up, *report.restarted}
    example = choose_example([e for e in executions if e.id in this_run] or executions)
    if example is not None:
        for title, folder, suffix in (
            ("One execution", "executions", "json"),
            ("Its events", "execution_events", "jsonl"),
        ):
            file = os.path.join(path, folder, f"{example.id}.{suffix}")
            _heading(f"{title}: cat {file}")
            print_lines(f"  {one_line(line)}" for line in read_lines(file))
    _heading("Executions by state")
    for state, count in store.counts().items():
        if count:
            print_lines([f"  {click.style(f'{state:<12}', fg=state_colour(str(state)))} {count}"])
    if example is not None:
        _heading("Look further")
        print_lines(f"  {line}" for line in look_further(path, example.id[:10]))


def _heading(text: str) -> None:
    print_lines(["", click.style(text, bold=True)])


def _summary(report: RunReport) -> list[str]:
    lines = []
    if report.failed_after_restart:
        lines.append(f"settled: {len(report.failed_after_restart)} that a killed run had left live are failed now")
    if report.restarted:
        lines.append(f"settled: {len(report.restarted)} of services and daemons ran again")
    if report.taken_up:
        lines.append(f"taken up: {len(report.taken_up)} that were created, but not begun")
    if report.overtaken:
        lines.append(f"left alone: {len(report.overtaken)} that somebody else changed meanwhile")
    if report.done_before:
        lines.append(f"done before, not run again (--again would): {', '.join(report.done_before)}")
    return lines
