"""``execstore metrics``: numbers for Prometheus and its like."""

from __future__ import annotations

import click

from execstore.cli.context import Settings, json_option, open_to_read
from execstore.cli.output import print_json

__all__ = ["command"]

# What a handle that was just opened can't know.
_OF_HANDLE = ("commits", "conflicts", "flush_bounds_ns", "flushes", "flush_ns")


@click.command(name="metrics")
@click.option("--textfile", metavar="PATH", help="Replace this file in one step, instead of printing.")
@click.option("--verify", "with_verify", is_flag=True, help="Check the whole store, too, and count the problems.")
@json_option
@click.pass_obj
def command(settings: Settings, *, textfile: str | None, with_verify: bool, as_json: bool) -> None:
    """Print the store's metrics as OpenMetrics text; for the node exporter's textfile collector with --textfile.

    Commits, conflicts and flush times are known to the processes that commit: Store.metrics() tells them there, and
    execstore.metrics.register shows them to OpenTelemetry.

    \b
    execstore metrics --textfile /var/lib/prometheus/node-exporter/execstore.prom
    execstore metrics --verify
    """
    from execstore.metrics import families, render, write_textfile  # noqa: PLC0415 (help doesn't need it)

    if textfile is not None and as_json:
        raise click.UsageError("--textfile excludes --json")
    with open_to_read(settings) as store:
        metrics = store.metrics()
        problems = len(store.verify().problems) if with_verify else None
    if as_json:
        document = {name: value for name, value in metrics.to_dict().items() if name not in _OF_HANDLE}
        print_json({**document, "problems": problems})
        return
    text = render(families(metrics, of_handle=False, problems=problems))
    if textfile is None:
        click.echo(text.encode(), nl=False)
    else:
        write_textfile(textfile, text)
