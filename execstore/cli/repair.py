"""``execstore repair``: mend the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from execstore.addresses import connect
from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.exit_status import NO
from execstore.cli.output import one_line, print_json, print_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from execstore.integrity.report import Problem

__all__ = ["command"]


@click.command(name="repair")
@click.option("--dry-run", is_flag=True, help="Only say what is wrong and what would be done.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, dry_run: bool, as_json: bool) -> None:
    """Mend what 'verify' finds: indexes and counts are made anew out of the records, and lost records are put back
    from the event log if it still has them.

    What the store can't be opened without is made anew first, if nobody has it open: lock files, FORMAT, the journal.
    A damaged file is moved to quarantine/ in the store's folder, with a file beside it that says why; nothing is
    deleted. Others may use the store meanwhile, but writers wait until it is done. Exit status 1 if anything is still
    wrong afterwards.

    \b
    execstore repair --dry-run
    execstore repair
    """
    from execstore.integrity.closed import repair_closed  # noqa: PLC0415
    from execstore.integrity.repair import rehearse  # noqa: PLC0415

    settings = ctx.ensure_object(Settings)
    folder = settings.need_folder("repair", "'execstore verify' shows what is wrong with it")
    rebuilt = [] if dry_run else repair_closed(folder)
    # Looked at first, since to open a store for writing would make one where a path is wrong.
    with open_to_read(settings) as store:
        problems = store.verify().problems if dry_run else ()
        planned = rehearse(store) if dry_run else []
    if dry_run:
        remaining = problems
        if as_json:
            actions = [action.to_dict() for action in planned]
            remaining_objects = [problem.to_dict() for problem in problems]
            print_json({"ok": not problems, "actions": actions, "remaining": remaining_objects})
        else:
            print_lines(_sentences(problems))
            print_lines(f"would be done: {one_line(action.path)}: {one_line(action.action)}" for action in planned)
            print_lines([f"{len(problems)} problem(s)" if problems else "nothing to mend"])
    else:
        with connect(settings.path) as store:
            report = store.repair()
        report = replace(report, actions=(*rebuilt, *report.actions))
        settings.done = f"{len(report.actions)} things were mended"
        remaining = report.remaining
        if as_json:
            print_json(report.to_dict())
        else:
            for action in report.actions:
                place = f" -> {one_line(action.quarantined)}" if action.quarantined else ""
                print_lines([f"{one_line(action.path)}: {one_line(action.action)}{place}"])
            print_lines(f"still wrong: {sentence}" for sentence in _sentences(remaining))
            print_lines([f"{len(report.actions)} thing(s) mended, {len(remaining)} problem(s) left"])
    if remaining:
        ctx.exit(NO)


def _sentences(problems: Iterable[Problem]) -> list[str]:
    return [f"{one_line(problem.path)}: {one_line(problem.reason)} ({problem.kind})" for problem in problems]
