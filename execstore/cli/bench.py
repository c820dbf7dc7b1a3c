"""``execstore bench``: how fast the store is on this machine."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import click

from execstore.cli.context import json_option
from execstore.cli.output import note, print_json

if TYPE_CHECKING:
    from execstore.bench.measure import Measurement

__all__ = ["command"]


@click.group(name="bench")
def command() -> None:
    """Measure how fast the store is on this machine."""


@command.command(name="watch")
@click.option("--quick", is_flag=True, help="Measure a tenth of it.")
@click.option(
    "--in",
    "folder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, writable=True),
    help="Make the stores in a new folder here, to measure another disk.  [default: the folder for temporary files]",
)
@json_option
def watch(*, quick: bool, folder: str | None, as_json: bool) -> None:
    """Measure how fast events reach those who follow them, and what that costs those who write.

    It makes stores of its own, some 400 MB, and removes them. What else the machine does shows in the figures.
    """
    from execstore.bench.watch import measure_watch  # noqa: PLC0415 (help doesn't need it)

    missed = 0
    with tempfile.TemporaryDirectory(prefix="execstore-bench-", dir=folder) as made:
        for measurement in measure_watch(made, quick=quick):
            if as_json:
                print_json(measurement.to_dict())
            else:
                click.echo(_line(measurement))
            missed += measurement.met is False
    if missed:
        note(f"{missed} of these are not what they should be on a quiet machine")


def _line(measurement: Measurement) -> str:
    values = ", ".join(f"{name} {_number(value)}" for name, value in measurement.values.items())
    verdict = "" if measurement.met is None else f"  [{'ok' if measurement.met else 'MISSED'}: {measurement.bar}]"
    return f"{measurement.name} ({measurement.unit}): {values}{verdict}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
