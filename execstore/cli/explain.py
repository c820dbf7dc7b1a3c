"""``execstore explain``: how the store keeps its word, on a scratch store, step by step."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

from execstore.cli.exit_status import DONE, NO
from execstore.cli.output import note, print_json_array, print_lines
from execstore.explain.topics import ON_A_LYING_DISK, TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from execstore.explain.parts import Part
    from execstore.explain.place import Place

__all__ = ["command"]

_PLAIN_COLUMNS = 100


def _new_folder(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and os.path.lexists(value) and not (os.path.isdir(value) and not os.listdir(value)):
        raise click.BadParameter(f"{value} is there already; name a new or an empty folder", ctx, parameter)
    return value


@click.command(name="explain")
@click.argument("topic", metavar="[TOPIC]", required=False, type=click.Choice(list(TOPICS)))
@click.option("--list", "only_list", is_flag=True, help="List the topics, in the order in which to learn them.")
@click.option("--step", "by_step", is_flag=True, help="Wait for Enter after each step; q ends it.")
@click.option(
    "--keep", metavar="DIR", callback=_new_folder, help="Keep the scratch store, and all that power cuts left, in DIR."
)
@click.option("--lying-disk", "lies", is_flag=True, help="Show what happens on a disk that only says that it flushed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def command(*, topic: str | None, only_list: bool, by_step: bool, keep: str | None, lies: bool, as_json: bool) -> int:
    """Show how the store keeps its word, step by step, for those who learn and those who teach.

    Topics: layout, commit, recovery, checkpoint, group-commit, watch. No store of yours is touched.

    Nothing is drawn: the engine works on a scratch store, each of its calls is noted, and after each one the power is
    cut, in several ways. What a cut may leave is built as a folder, and opened as a store.

    \b
    execstore explain commit
    execstore explain recovery --step              Enter goes on
    execstore explain commit --lying-disk          why the flush matters
    execstore explain layout --keep lecture        then look into it with ls and cat
    """
    if topic is None or only_list:
        _list(as_json=as_json)
        return DONE
    if by_step and as_json:
        raise click.UsageError("--step excludes --json")
    if lies and topic not in ON_A_LYING_DISK:
        raise click.UsageError(f"--lying-disk is for {', '.join(sorted(ON_A_LYING_DISK))}")
    from execstore.explain.parts import Verdict  # noqa: PLC0415 (help and completion don't need it)
    from execstore.explain.place import open_place  # noqa: PLC0415
    from execstore.explain.topics import explainer  # noqa: PLC0415

    ok = True

    def parts(place: Place) -> Iterator[Part]:
        nonlocal ok
        for part in explainer(topic)(place, lies=lies):
            if isinstance(part, Verdict):
                ok = ok and part.ok
            yield part

    with _pipe_may_close(), _without_warnings(), open_place(keep) as place:
        if as_json:
            print_json_array(part.to_dict() for part in parts(place))
        else:
            _print(parts(place), by_step=by_step)
        if keep is not None:
            note(f"kept in {keep}: {_kept(keep)}")
    return DONE if ok or lies else NO


def _kept(folder: str) -> str:
    if not os.path.isdir(os.path.join(folder, "cuts")):
        return "store/ is the store"
    return "store/ is the store, cuts/ has what each power cut left, before any recovery"


@contextlib.contextmanager
def _pipe_may_close() -> Iterator[None]:
    """Remove the scratch folders also where the reader of a pipe goes away (``| head``), and end as others do then."""
    if not hasattr(signal, "SIGPIPE") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        raise
    finally:
        signal.signal(signal.SIGPIPE, before)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """What is damaged in these stores is told as a part of the explanation."""
    logger = logging.getLogger("execstore")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _list(*, as_json: bool) -> None:
    if as_json:
        print_json_array({"topic": name, "about": about} for name, (_, about) in TOPICS.items())
        return
    width = max(map(len, TOPICS))
    print_lines(f"{name:<{width}}  {about}" for name, (_, about) in TOPICS.items())


def _print(parts: Iterable[Part], *, by_step: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 (only this command needs it)

    from execstore.explain.render import Renderer  # noqa: PLC0415

    width = None if sys.stdout.isatty() else _PLAIN_COLUMNS

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich itself would end the program with status 1

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 has no arrows
    console = _Console(width=width, highlight=False)
    renderer = Renderer(console.width)
    waits = by_step and sys.stdin.isatty() and sys.stdout.isatty()
    for part in parts:
        for renderable in renderer.render(part):
            console.print(renderable)
        if waits and not _goes_on(console, part):
            return


def _goes_on(console: Console, part: Part) -> bool:
    """Wait for Enter behind what is worth a pause."""
    if part.to_dict()["kind"] not in {"step", "heading"}:
        return True
    try:
        answer = console.input("[dim]Enter: next   q: end[/dim] ")
    except EOFError:
        return False
    return answer.strip().lower() not in {"q", "quit"}
