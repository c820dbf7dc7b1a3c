"""``execstore show``: executions in full."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import click

from execstore.cli.context import Settings, find_execution, json_option, open_to_read, time_options
from execstore.cli.options import id_argument
from execstore.cli.output import one_line, print_json_array, print_lines, several_lines
from execstore.cli.table import state_colour
from execstore.cli.times import TimeStyle, format_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore import Execution

__all__ = ["command"]


@click.command(name="show")
@id_argument(several=True)
@time_options
@json_option
@click.pass_obj
def command(settings: Settings, *, ids: tuple[str, ...], as_json: bool) -> None:
    """Show executions in full; the beginning of an ID is enough. With --json always a list, of one as of many.

    \b
    execstore show e-1f3a
    execstore show e-1f3a --json | jq '.[0].Job'
    """
    with open_to_read(settings) as store:
        executions = [find_execution(store, prefix) for prefix in ids]
    if as_json:
        print_json_array(execution.to_dict() for execution in executions)
        return
    for index, execution in enumerate(executions):
        if index:
            print_lines([""])
        print_lines(_lines(execution, settings, time.time_ns()))


def _lines(execution: Execution, settings: Settings, now_ns: int) -> Iterator[str]:
    state = execution.compute_state
    shown = one_line(state.state_type.value)
    yield f"{one_line(execution.id)}  {click.style(shown, fg=state_colour(shown), bold=True)}"
    for name, value in _fields(execution, settings, now_ns):
        if value:
            yield f"  {name:<10} {one_line(value)}"
    output = execution.run_output
    if output is None:
        return
    for name, text, truncated in (
        ("stdout", output.stdout, output.stdout_truncated),
        ("stderr", output.stderr, output.stderr_truncated),
    ):
        if text:
            yield f"  {name}" + (" (only its beginning was kept)" if truncated else "")
            yield from (f"    {line}" for line in several_lines(text))


def _fields(execution: Execution, settings: Settings, now_ns: int) -> Iterator[tuple[str, str]]:
    job = execution.job or {}
    count = job.get("Count")
    described = [str(job[name]) for name in ("Name", "Type") if job.get(name)]
    yield "job", " ".join([execution.job_id, *(["(" + ", ".join(described) + ")"] if described else [])])
    if isinstance(count, int) and count > 1:
        yield "partition", f"{execution.partition_index} of {count}"
    yield "namespace", execution.namespace
    yield "node", execution.node_id
    yield "message", execution.compute_state.message
    yield "details", ", ".join(f"{key}={value}" for key, value in execution.compute_state.details.items())
    yield "desired", " ".join(filter(None, (execution.desired_state.state_type.value, execution.desired_state.message)))
    output = execution.run_output
    if output is not None and (execution.compute_state.state_type.value == "Completed" or output.exit_code):
        yield "exit code", str(output.exit_code)
    yield "previous", execution.previous_execution
    yield "next", execution.next_execution
    yield "revision", str(execution.revision)
    yield "created", _time(execution.create_time, settings, now_ns)
    yield "changed", _time(execution.modify_time, settings, now_ns)
    yield "file", _file(execution, settings)


def _time(time_ns: int, settings: Settings, now_ns: int) -> str:
    shown = format_time(time_ns, settings.time_style, now_ns)
    if settings.time_style is TimeStyle.NS or not time_ns:
        return shown
    date = f"{format_time(time_ns, TimeStyle.UTC, now_ns)} UTC"
    return date if settings.time_style is TimeStyle.UTC else f"{date} ({shown})"


def _file(execution: Execution, settings: Settings) -> str:
    # Plain IDs are their own file names, as the format promises; of the others it is the store's business.
    if settings.folder is None or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", execution.id):
        return ""
    path = os.path.join(settings.folder, "executions", f"{execution.id}.json")
    return path if os.path.exists(path) else ""
