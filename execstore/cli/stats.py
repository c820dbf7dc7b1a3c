"""``execstore stats``: how many of what is in the store, and how much room there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.output import one_line, print_json, print_lines
from execstore.cli.table import state_colour
from execstore.states import ExecutionState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.event_log_status import EventLogStatus

__all__ = ["command"]


@click.command(name="stats")
@json_option
@click.pass_obj
def command(settings: Settings, *, as_json: bool) -> None:
    """Count executions by state, the events logged, and what the disk has left.

    \b
    execstore stats --json | jq .live
    """
    with open_to_read(settings) as store:
        counts = {ExecutionState(state).value: count for state, count in store.counts().items() if count}
        log = store.event_log_status()
    disk = None if settings.folder is None else os.statvfs(settings.folder)
    document: dict[str, Any] = {
        "path": settings.shown,
        "executions": sum(counts.values()),
        "live": sum(count for state, count in counts.items() if ExecutionState(state).is_executing),
        "states": counts,
        "latest_event": log.latest,
        "event_log": log.to_dict(),
        "free_bytes": disk and disk.f_bavail * disk.f_frsize,
        # Some file systems (btrfs) make inodes as needed and say 0 of 0.
        "free_inodes": disk.f_favail if disk and disk.f_files else None,
    }
    if as_json:
        print_json(document)
        return
    inodes = "" if document["free_inodes"] is None else f", {document['free_inodes']} inodes"
    width = max(len("latest event"), *(len(state) for state in ExecutionState))
    print_lines(
        [
            f"{'store':<{width}}  {document['path']}",
            f"{'executions':<{width}}  {document['executions']} ({document['live']} live)",
            *(
                f"{click.style(f'{state:<{width}}', fg=state_colour(state))}  {count}"
                for state, count in counts.items()
            ),
            f"{'latest event':<{width}}  {log.latest}",
            f"{'event log':<{width}}  {log.events} events in {log.segments} segments, {_size(log.bytes)}",
            *(f"{'':<{width}}  {line}" for line in _watcher_lines(log)),
            *([] if disk is None else [f"{'disk':<{width}}  {_size(document['free_bytes'])} free{inodes}"]),
        ]
    )


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
