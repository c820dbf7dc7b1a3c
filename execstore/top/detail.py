"""One execution in full: what it is, what happened to it, and how it came to be what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from execstore.cli.output import one_line, several_lines
from execstore.cli.table import cut, state_colour, wrap
from execstore.cli.times import TimeStyle, format_time
from execstore.codec import encode
from execstore.top.board import rule
from execstore.top.text import age
from execstore.top.wrapping import hanging
from execstore.watcher.events import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.history import FieldChange, Revision
    from execstore.models import Event, Execution
    from execstore.top.model import Detail

__all__ = ["detail_lines"]

_NAME_WIDTH: Final = 11
_TIME_WIDTH: Final = 19
_OUTPUT_LINES: Final = 10
_WIDE: Final = 70
_VALUE_LENGTH: Final = 300


def detail_lines(detail: Detail, width: int, now_ns: int) -> list[Text]:
    """All of it, in lines of at most ``width`` columns."""
    return list(_lines(detail, width, now_ns))


def _lines(detail: Detail, width: int, now_ns: int) -> Iterator[Text]:
    execution = detail.execution
    title = Text(one_line(detail.execution_id), "bold")
    if execution is None:
        title.append("  not in the store (any more)", "not bold yellow")
    else:
        state = execution.compute_state.state_type.value
        title.append(f"  {state}", f"not bold {state_colour(state) or ''}")
    for line in wrap(title.plain, width):
        yield title if line == title.plain else Text(line, "bold")
    if execution is not None:
        for name, value in _facts(execution, now_ns):
            if value:
                yield from hanging(f"  {name:<{_NAME_WIDTH}}", one_line(value), width)
        yield from _output(execution, width)
    yield Text()
    yield rule(f"Events {len(detail.events)}", "UTC", width)
    for event in detail.events:
        yield from _event_lines(event, width)
    yield Text()
    yield rule(f"History {len(detail.history)}", "what the event log still tells", width)
    for revision in detail.history:
        yield from _revision_lines(revision, width)


def _facts(execution: Execution, now_ns: int) -> Iterator[tuple[str, str]]:
    job = execution.job or {}
    described = ", ".join(str(job[name]) for name in ("Name", "Type") if job.get(name))
    yield "job", execution.job_id + (f"  ({described})" if described else "")
    yield "namespace", execution.namespace
    yield "node", execution.node_id
    yield "message", execution.compute_state.message
    yield "details", ", ".join(f"{key}={value}" for key, value in execution.compute_state.details.items())
    desired = execution.desired_state
    yield "desired", " ".join(filter(None, (desired.state_type.value, desired.message)))
    output = execution.run_output
    if output is not None and (execution.compute_state.state_type.value == "Completed" or output.exit_code):
        yield "exit code", str(output.exit_code)
        yield "error", output.error_msg
    yield "previous", execution.previous_execution
    yield "next", execution.next_execution
    yield "revision", str(execution.revision)
    for name, time_ns in (("created", execution.create_time), ("changed", execution.modify_time)):
        yield name, f"{format_time(time_ns, TimeStyle.UTC, now_ns)} UTC  ({age(now_ns - time_ns)} ago)"


def _output(execution: Execution, width: int) -> Iterator[Text]:
    output = execution.run_output
    if output is None:
        return
    for name, text in (("stdout", output.stdout), ("stderr", output.stderr)):
        lines = several_lines(text)
        if lines:
            left_out = f", the last {_OUTPUT_LINES} of {len(lines)} lines" if len(lines) > _OUTPUT_LINES else ""
            yield Text(f"  {name}{left_out}", "dim")
            yield from (Text(cut(f"    {line}", width)) for line in lines[-_OUTPUT_LINES:])


def _event_lines(event: Event, width: int) -> Iterator[Text]:
    time_text = format_time(event.timestamp.nanoseconds, TimeStyle.UTC, 0)
    details = "  ".join(f"{key}={value}" for key, value in event.details.items())
    what = ": ".join(filter(None, (event.topic, event.message))) + (f"  {details}" if details else "")
    yield from hanging(f"  {time_text:<{_TIME_WIDTH}}  ", one_line(what), width)


def _revision_lines(revision: Revision, width: int) -> Iterator[Text]:
    line = Text(f"  {format_time(revision.time_ns, TimeStyle.UTC, 0)}  ", "dim")
    line.append(f"revision {revision.revision}  ", "not dim")
    line.append(one_line(revision.state), f"not dim {state_colour(revision.state) or ''}")
    if revision.operation is not Operation.UPDATE:
        line.append(f"  {'created' if revision.operation is Operation.CREATE else 'deleted'}", "not dim")
        yield line
        return
    yield line
    for change in revision.changes:
        yield from hanging(" " * (_TIME_WIDTH + 4 if width >= _WIDE else 4), _change(change), width)


def _change(change: FieldChange) -> str:
    old = "" if change.old is None or change.old == "" else f"{_value(change.old)} "
    return one_line(f"{change.member}: {old}→ {_value(change.new)}")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else encode(value).decode()
    return cut(one_line(text), _VALUE_LENGTH)
