"""``execstore stats``: how many of what is in the store, and how much room there is."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import Settings, json_option, open_to_read, time_options
from execstore.cli.output import note, one_line, print_json, print_json_array, print_lines, terminal_width
from execstore.cli.table import Column, render_table, state_colour
from execstore.cli.times import TimeStyle, format_time
from execstore.forwarding.fleet import node_statuses
from execstore.forwarding.stream import Phase, load_streams
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from execstore.event_log_status import EventLogStatus
    from execstore.forwarding.stream import Stream

__all__ = ["command"]


@click.command(name="stats")
@click.option("--by-node", is_flag=True, help="Count for each node, and tell how far it was forwarded.")
@click.option("--node", metavar="N", help="Count for this node only.")
@time_options
@json_option
@click.pass_obj
def command(settings: Settings, *, by_node: bool, node: str | None, as_json: bool) -> None:
    """Count executions by state, the events logged, and what the disk has left.

    Of a store that nodes are forwarded to ('execstore forward'), --by-node shows the fleet. To count by node takes a
    walk through all executions, as opposed to the rest.

    \b
    execstore stats --json | jq .live
    execstore stats --by-node
    """
    if by_node or node is not None:
        _by_node(settings, node, as_json=as_json)
        return
    with open_to_read(settings) as store:
        streams = store.look(load_streams)
        counts = {ExecutionState(state).value: count for state, count in store.counts().items() if count}
        log = store.event_log_status()
    disk = None if settings.folder is None else _disk(settings.folder)
    document: dict[str, Any] = {
        "path": settings.shown,
        "executions": sum(counts.values()),
        "live": sum(count for state, count in counts.items() if ExecutionState(state).is_executing),
        "states": counts,
        "latest_event": log.latest,
        "event_log": log.to_dict(),
        "free_bytes": disk and disk[0],
        "forwarded_nodes": len(streams),
        # Some file systems (btrfs) make inodes as needed and say 0 of 0.
        "free_inodes": disk[1] if disk else None,
    }
    if as_json:
        print_json(document)
        return
    inodes = "" if document["free_inodes"] is None else f", {document['free_inodes']} inodes"
    width = 2 + max(len(state) for state in ExecutionState)
    print_lines(
        [
            f"{'store':<{width}}  {document['path']}",
            f"{'executions':<{width}}  {document['executions']} ({document['live']} live)",
            *(
                f"  {click.style(f'{state:<{width - 2}}', fg=state_colour(state))}  {count}"
                for state, count in counts.items()
            ),
            f"{'latest event':<{width}}  {log.latest}",
            f"{'event log':<{width}}  {log.events} events in {log.segments} segments, {_size(log.bytes)}",
            *(f"{'':<{width}}  {line}" for line in _watcher_lines(log)),
            *(f"{'' if number else 'nodes':<{width}}  {line}" for number, line in enumerate(_stream_lines(streams))),
            *([] if disk is None else [f"{'disk':<{width}}  {_size(document['free_bytes'])} free{inodes}"]),
        ]
    )


def _by_node(settings: Settings, node: str | None, *, as_json: bool) -> None:
    with open_to_read(settings) as store:
        statuses = node_statuses(store, node)
    if as_json:
        print_json_array(status.to_dict() for status in statuses)
        return
    if not statuses:
        note("no executions")
        return
    style, now_ns = settings.time_style, time.time_ns()
    columns = (
        Column("NODE", minimum=8),
        Column("EXECUTIONS", right=True),
        Column("LIVE", right=True),
        Column("COMPLETED", right=True),
        Column("FAILED", right=True),
        Column("CHANGED", right=style is not TimeStyle.UTC),
        Column("EVENT", right=True),
        Column("BROUGHT", right=style is not TimeStyle.UTC),
        Column("", minimum=8),
    )
    rows = [
        [
            one_line(status.node) or "-",
            str(status.executions),
            str(status.live),
            str(status.states.get(ExecutionState.COMPLETED, 0)),
            str(status.states.get(ExecutionState.FAILED, 0)),
            format_time(status.modify_time, style, now_ns),
            *_stream_cells(status.stream, style, now_ns),
        ]
        for status in statuses
    ]
    print_lines(render_table(columns, rows, terminal_width()))


def _stream_cells(stream: Stream | None, style: TimeStyle, now_ns: int) -> list[str]:
    if stream is None:
        return ["-", "-", ""]
    remarks = [] if stream.phase is Phase.FOLLOW else [stream.phase.value]
    if stream.conflicts:
        remarks.append(f"left out {stream.conflicts} times: {one_line(stream.last_conflict)}")
    return [str(stream.sequence_number), format_time(stream.time_ns, style, now_ns), "; ".join(remarks)]


def _stream_lines(streams: Sequence[Stream]) -> Iterator[str]:
    """Which nodes are forwarded to the store, without the walk that counting by node takes."""
    if streams:
        newest = max(stream.time_ns for stream in streams)
        yield f"{len(streams)} forwarded, the last one {format_time(newest, TimeStyle.AGE, time.time_ns())}"
    conflicts = sum(stream.conflicts for stream in streams)
    if conflicts:
        yield f"left out {conflicts} times what a node has, since another has an execution of the same ID"


def _watcher_lines(log: EventLogStatus) -> Iterator[str]:
    """What is worth knowing of the watchers without asking for more: who holds the log, and who lost events."""
    for watcher in log.watchers:
        name = one_line(watcher.watcher_id)
        if watcher.holds_log:
            yield f"held by watcher {name}, which has {watcher.lag} events to handle"
        if watcher.lost:
            yield f"watcher {name} lost {watcher.lost} events that it hadn't handled"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _disk(folder: str) -> tuple[int, int | None]:
    """Free bytes, and free inodes where they are limited and the system tells."""
    if sys.platform == "win32":
        return shutil.disk_usage(folder).free, None
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None
