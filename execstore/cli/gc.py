"""``execstore gc``: collect the event log by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from execstore.addresses import connect
from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.options import older_than_option
from execstore.cli.output import note, one_line, print_json, print_lines

if TYPE_CHECKING:
    from datetime import timedelta

    from execstore.collection import CollectReport

__all__ = ["command"]


@click.command(name="gc")
@older_than_option(
    "retention", "Remove what is older than this (7d, 36h, 0).  [default: what the store was told, or 24h]"
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@click.pass_obj
def command(settings: Settings, *, retention: timedelta | None, dry_run: bool, as_json: bool) -> None:
    """Remove events from the event log that are old and that every watcher has handled.

    Writers do so by themselves, a little at a time. Whole segments go, so the newest events of one that is in part
    young, or in part unhandled, keep the rest.

    \b
    execstore gc --dry-run
    """
    # Looked at first, since to open a store for writing would make one where a path is wrong.
    with open_to_read(settings) as store:
        report = store.collect_events(retention=retention, dry_run=True)
    if not dry_run:
        with connect(settings.path) as store:
            report = store.collect_events(retention=retention)
        settings.done = f"{report.events} events were removed"
    if as_json:
        print_json(report.to_dict())
        return
    print_lines([_sentence(report)])
    for name, events in report.lost.items():
        note(f"watcher {one_line(name)} {'would lose' if dry_run else 'lost'} {events} events that it hasn't handled")
    if report.held_by is not None:
        note(f"watcher {one_line(report.held_by)} holds the rest: it hasn't handled all events of the oldest segment")


def _sentence(report: CollectReport) -> str:
    verb = "would remove" if report.dry_run else "removed"
    left = report.latest + 1 - report.oldest
    return f"{verb} {report.events} events in {report.segments} segments, {report.bytes} bytes; {left} events stay"
