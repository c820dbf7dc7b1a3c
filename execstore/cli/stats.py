"""``execstore stats``: how many of what is in the store, and how much room there is."""

from __future__ import annotations

import os
from typing import Any

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.output import print_json, print_lines
from execstore.cli.table import state_colour
from execstore.states import ExecutionState

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
        latest = store.event_store.get_latest_event_num()
    disk = os.statvfs(settings.path)
    document: dict[str, Any] = {
        "path": os.path.abspath(settings.path),
        "executions": sum(counts.values()),
        "live": sum(count for state, count in counts.items() if ExecutionState(state).is_executing),
        "states": counts,
        "latest_event": latest,
        "free_bytes": disk.f_bavail * disk.f_frsize,
        # Some file systems (btrfs) make inodes as needed and say 0 of 0.
        "free_inodes": disk.f_favail if disk.f_files else None,
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
            f"{'latest event':<{width}}  {latest}",
            f"{'disk':<{width}}  {_size(document['free_bytes'])} free{inodes}",
        ]
    )


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
