"""``execstore forward``: bring a node's executions into a central store."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from execstore.cli.context import Settings, json_option
from execstore.cli.exit_status import NO
from execstore.cli.output import note, one_line, print_json, print_lines
from execstore.cli.sentences import sentence_of
from execstore.errors import StoreReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore import Store
    from execstore.forwarding import Forwarder, ForwardReport

__all__ = ["command"]

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _parse_bytes(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    unit = _UNITS.get(value[-1:].lower(), 1)
    digits = value[:-1] if unit > 1 else value
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
        raise click.BadParameter(f"{value!r} is no number of bytes; write it like 65536, 64k or 2M", ctx, parameter)
    return int(digits) * unit


@click.command(name="forward")
@click.option("--from", "source", metavar="STORE", help="The node's store.  [default: that of --store]")
@click.option("--to", "destination", metavar="ADDRESS", required=True, help="The central store; made if needed.")
@click.option("--node", metavar="NAME", help="The node's name.  [default: the only NodeID of the store's executions]")
@click.option("--once", is_flag=True, help="Bring what there is, and end; try a central store only once.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Events a transaction, at most.  [default: 256]")
@click.option(
    "--max-bytes-per-second", metavar="N", default="0", callback=_parse_bytes, help="Send no faster (64k, 2M)."
)
@click.option(
    "--linger",
    type=click.FloatRange(min=0, max=3600),
    metavar="SECONDS",
    default=0.0,
    help="Wait so long for more, so that a slow node's events come in fewer transactions.",
)
@click.option("--keep-ended", is_flag=True, help="Keep what had ended when the node deletes or prunes it.")
@click.option("--keep-nodes", is_flag=True, help="Leave a NodeID as it is: for a store that others are forwarded to.")
@click.option("--resync", is_flag=True, help="Compare and bring everything anew: the node's store was replaced.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    source: str | None,
    destination: str,
    node: str | None,
    once: bool,
    batch: int | None,
    max_bytes_per_second: int,
    linger: float,
    keep_ended: bool,
    keep_nodes: bool,
    resync: bool,
    as_json: bool,
) -> None:
    """Bring a node's executions and their events into a central store, and go on with it until Ctrl-C.

    Nothing comes twice and nothing is left out, however often it is stopped, killed or offline, and however many do it
    for the same node. 'execstore watchers' on the node shows how many events are still to be brought. The central
    store is a folder or an address (etcd://host/prefix). An execution of another node with the same ID is left alone;
    that is said, and makes the exit status 1.

    \b
    execstore forward --to central --node n-1 --once
    execstore --store central ls --node n-1
    """
    from execstore import connect  # noqa: PLC0415 (help and usage errors don't need it)
    from execstore.forwarding import DEFAULT_BATCH_SIZE, Forwarder  # noqa: PLC0415
    from execstore.interop.progress import Progress  # noqa: PLC0415

    settings: Settings = ctx.obj
    progress = Progress(f"forwarding {node or ''}".rstrip(), "events")

    def show(report: ForwardReport) -> None:
        whole = report.events + report.lag
        progress.advance(report.events - progress.count, done=report.events / whole if whole else None)

    with _open_source(source or settings.path) as store:
        forwarder = Forwarder(
            store,
            lambda: connect(destination),
            node=node,
            keep_nodes=keep_nodes,
            keep_ended=keep_ended,
            resync=resync,
            batch_size=batch or DEFAULT_BATCH_SIZE,
            max_bytes_per_second=max_bytes_per_second,
            linger=linger,
            on_progress=show,
        )
        with progress, _ending_by_signals(forwarder):
            report = forwarder.run(once=once)
    settings.done = f"{report.events} events were brought"
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines([_sentence(report)])
    if report.conflict_count:
        ctx.exit(NO)


def _open_source(address: str) -> Store:
    """The node's store, which must be there; without the right to write, where that can't be had."""
    from execstore import connect  # noqa: PLC0415

    store = connect(address, read_only=True)
    try:
        writable = connect(address)
    except (StoreReadOnlyError, PermissionError) as error:
        note(f"execstore: {one_line(sentence_of(error))}; nothing keeps its events until they are brought")
        return store
    store.close()
    return writable


@contextlib.contextmanager
def _ending_by_signals(forwarder: Forwarder) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C ends it after the batch in hand; the second ends it as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:  # noqa: ARG001
        restore()
        # Not here: the thread that was interrupted may hold what stopping needs.
        threading.Thread(target=forwarder.stop, name="execstore-stop", daemon=True).start()

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        restore()


def _sentence(report: ForwardReport) -> str:
    extras = [
        f"{number:,} {what}"
        for number, what in (
            (report.deleted, "deleted"),
            (report.left_out, "events left out: their executions aren't here any more"),
            (report.conflict_count, "in conflict and left alone"),
            (report.retries, "retries"),
        )
        if number
    ]
    rate = report.events / max(report.seconds, 1e-9)
    return one_line(
        f"node {report.node}: up to event {report.sequence_number:,}, {report.lag:,} to come; {report.events:,} events "
        f"brought, {report.executions:,} executions stored{''.join(f', {extra}' for extra in extras)}; "
        f"{report.seconds:.2f} s, {rate:,.0f} events/s"
    )
