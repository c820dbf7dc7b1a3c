"""``execstore bench``: how fast the store is on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import json_option
from execstore.cli.interrupts import terminated_like_interrupted
from execstore.cli.output import note, print_json, print_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from execstore.bench.harness import Settings
    from execstore.bench.measure import Measurement

__all__ = ["command"]

_FOLDER = click.Path(exists=True, file_okay=False, writable=True)


def _folder_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--in",
        "folder",
        metavar="FOLDER",
        type=_FOLDER,
        help=f"{text}  [default: the folder for temporary files]",
    )


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise click.BadParameter(f"takes numbers over 0, as in 1,4,16, not {value!r}", ctx, parameter)
    return numbers


def _new_file(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refused before anything is measured, not after."""
    if value is not None and not (value.endswith((".svg", ".png")) and os.path.isdir(os.path.dirname(value) or ".")):
        raise click.BadParameter(f"takes an .svg or .png in a folder that is there, not {value!r}", ctx, parameter)
    return value


@click.group(name="bench", invoke_without_command=True)
@click.option("--quick", is_flag=True, help="A small store and few calls: under a minute.")
@click.option(
    "--on",
    "folder",
    metavar="DIR",
    type=_FOLDER,
    help="Work in a new folder here, to measure another disk.  [default: the folder for temporary files]",
)
@click.option("--only", metavar="NAME,…", multiple=True, help="Only these contenders, or only these operations.")
@click.option("--sizes", metavar="N,…", callback=_numbers, help="How many executions the stores have.")
@click.option("--threads", metavar="N,…", callback=_numbers, help="With how many threads writes are measured.")
@click.option("--processes", metavar="N,…", callback=_numbers, help="And with how many processes.")
@click.option("--rounds", metavar="N", type=click.IntRange(1), help="How many rounds of each.")
@click.option("--sustained", metavar="SECONDS", type=click.FloatRange(0), help="Let each update for so long, too.")
@click.option("--fresh", type=click.Choice(["ext4", "xfs"]), help="Measure on a new file system in an image (root).")
@click.option("--flush-ms", metavar="MS", type=click.FloatRange(0), help="On a disk whose flush takes so long (root).")
@click.option("--plot", metavar="FILE", callback=_new_file, help="Draw the figures into an SVG or PNG file.")
@click.option(
    "--record", metavar="DIR", type=_FOLDER, help="Keep the figures in RESULTS.md and ratios.json of this folder."
)
@click.option("--check", metavar="FILE", help="Fail if a ratio is less than half of the one in this ratios.json.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure how fast the store is on this machine, beside others that do the same work.

    \b
    execstore bench --quick                          a first look
    execstore bench --fresh ext4 --sustained 60      all of it, on a new file system (root)
    execstore bench --only sqlite,create --flush-ms 5

    The contenders are bbolt as Bacalhau uses it (needs Go and bbolt's source), sqlite, lmdb, diskcache, plain files
    with every fsync, the floor (one write and flush of as many bytes) and relaxed (execstore without flushes). Others
    that use the machine meanwhile spoil the figures.
    """
    ctx.with_resource(terminated_like_interrupted())  # what was mounted is unmounted, what was begun removed
    if ctx.invoked_subcommand is not None:
        return 0
    return _compare(options)


def _compare(options: dict[str, Any]) -> int:
    from execstore.bench.contender import ContenderError  # noqa: PLC0415 (help doesn't need it)
    from execstore.bench.disks import describe_disk, describe_machine  # noqa: PLC0415
    from execstore.bench.harness import measure  # noqa: PLC0415
    from execstore.bench.record import far_behind, record  # noqa: PLC0415
    from execstore.bench.report import describe, tables  # noqa: PLC0415

    settings = _settings(options)
    label = _label(options)
    recorded = _recorded(options["check"], label) if options["check"] else {}
    with _place(options) as folder:
        result: dict[str, Any] = {"machine": describe_machine(), "disk": describe_disk(folder)}
        if options["flush_ms"] is not None:
            result["disk"] += f", a flush of {options['flush_ms']:g} ms"
        try:
            result |= measure(folder, settings, note)
        except ContenderError as error:
            raise click.ClickException(str(error)) from None
    if options["as_json"]:
        print_json(result)
    else:
        print_lines([*describe(result), *tables(result)])
    if options["plot"]:
        _draw(result, options["plot"])
    if options["record"]:
        record(options["record"], label, " ".join(["execstore", *sys.argv[1:]]), result)
    behind = far_behind(recorded, result)
    for sentence in behind:
        note(f"far behind: {sentence}")
    return 1 if behind else 0


def _settings(options: dict[str, Any]) -> Settings:
    from execstore.bench.adapters import CONTENDERS  # noqa: PLC0415
    from execstore.bench.harness import BASELINE, Settings  # noqa: PLC0415
    from execstore.bench.workloads import BY_NAME  # noqa: PLC0415

    settings = Settings.quickly() if options["quick"] else Settings()
    if options["flush_ms"]:
        settings = settings.of_slow_disk()
    only = {name.strip() for each in options["only"] for name in each.split(",")}
    if unknown := sorted(only - set(CONTENDERS) - set(BY_NAME)):
        known = ", ".join([*CONTENDERS, *BY_NAME])
        raise click.BadParameter(f"{unknown[0]!r} is none of {known}", param_hint="--only")
    contenders = tuple(name for name in CONTENDERS if name in {*only, BASELINE})
    given = {
        "contenders": contenders if only & set(CONTENDERS) else None,
        "operations": tuple(name for name in BY_NAME if name in only) or None,
        "sizes": options["sizes"],
        "threads": options["threads"],
        "processes": options["processes"],
        "rounds": options["rounds"],
        "sustained_seconds": options["sustained"],
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


@contextlib.contextmanager
def _place(options: dict[str, Any]) -> Iterator[str]:
    from execstore.bench.adapters.base import Unavailable  # noqa: PLC0415
    from execstore.bench.disks import fresh_file_system, plain_folder, slow_disk  # noqa: PLC0415

    try:
        with contextlib.ExitStack() as stack:
            if options["flush_ms"] is not None:
                yield stack.enter_context(slow_disk(options["flush_ms"], options["fresh"] or "ext4"))
            elif options["fresh"]:
                inodes = max(2_000_000, 10 * max(options["sizes"] or (1,)))
                yield stack.enter_context(fresh_file_system(options["fresh"], options["folder"], inodes=inodes))
            else:
                yield stack.enter_context(plain_folder(options["folder"]))
    except Unavailable as error:
        raise click.ClickException(str(error)) from None


def _label(options: dict[str, Any]) -> str:
    """What kind of run this is: its heading in RESULTS.md."""
    place = f"a fresh {options['fresh']}" if options["fresh"] else "a plain directory"
    if options["flush_ms"] is not None:
        place = f"{options['fresh'] or 'ext4'} on a disk with a flush of {options['flush_ms']:g} ms"
    if options["quick"]:
        return f"quick, {place}"
    sizes = " and ".join(f"{size:,}" for size in options["sizes"] or ())
    sustained = f", {options['sustained']:g} s of updates" if options["sustained"] else ""
    return place + (f", {sizes} executions" if sizes else "") + sustained


def _recorded(path: str, label: str) -> dict[str, float]:
    try:
        with open(path, "rb") as file:
            ratios: dict[str, dict[str, float]] = json.load(file)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} can't be read: {error}", param_hint="--check") from None
    if label not in ratios:
        raise click.BadParameter(f"{path} has nothing of this kind ({label}); see --record", param_hint="--check")
    return ratios[label]


def _draw(result: dict[str, Any], path: str) -> None:
    from execstore.bench.adapters.base import Unavailable  # noqa: PLC0415
    from execstore.bench.plot import plot  # noqa: PLC0415

    try:
        plot(result, path)
    except Unavailable as error:
        raise click.ClickException(str(error)) from None


@command.command(name="watch")
@click.option("--quick", is_flag=True, help="Measure a tenth of it.")
@_folder_option("Make the stores in a new folder here, to measure another disk.")
@json_option
def watch(*, quick: bool, folder: str | None, as_json: bool) -> None:
    """Measure how fast events reach those who follow them, and what that costs those who write.

    It makes stores of its own, some 400 MB, and removes them. What else the machine does shows in the figures.
    """
    from execstore.bench.watch import measure_watch  # noqa: PLC0415 (help doesn't need it)

    with tempfile.TemporaryDirectory(prefix="execstore-bench-", dir=folder) as made:
        _print(measure_watch(made, quick=quick), as_json=as_json)


@command.command(name="phases")
@click.option("--quick", is_flag=True, help="Measure a tenth of it.")
@click.option("--fresh", type=click.Choice(["ext4", "xfs"]), help="On a new file system in an image (root).")
@_folder_option("Make the store in a new folder here, to measure another disk.")
@json_option
def phases(*, quick: bool, fresh: str | None, folder: str | None, as_json: bool) -> None:
    """Measure where the time of an operation goes: the flush, the other calls to the system, Python."""
    from execstore.bench.phases import measure_phases  # noqa: PLC0415 (help doesn't need it)

    with _place({"flush_ms": None, "fresh": fresh, "sizes": None, "folder": folder}) as made:
        _print(measure_phases(made, quick=quick), as_json=as_json)


@command.command(name="etcd")
@click.option("--quick", is_flag=True, help="Measure a quarter of it.")
@click.option("--at", "endpoint", metavar="HOST:PORT", help="A running server.  [default: one that is started for it]")
@_folder_option("Let the one that is started keep its data in a new folder here.")
@json_option
def etcd(*, quick: bool, endpoint: str | None, folder: str | None, as_json: bool) -> None:
    """Measure what the store adds to etcd: each operation beside the bare request with the same bytes.

    It makes a store of its own there, and removes it. Without --at it needs etcd (Debian: etcd-server).
    """
    from execstore.bench.etcd import measure_etcd, own_server  # noqa: PLC0415 (help doesn't need it)

    try:
        with contextlib.nullcontext(endpoint) if endpoint else own_server(folder) as server:
            _print(measure_etcd(server, quick=quick), as_json=as_json)
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None


def _print(measurements: Iterable[Measurement], *, as_json: bool) -> None:
    missed = 0
    for measurement in measurements:
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
