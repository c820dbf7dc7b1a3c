"""An explanation on a terminal. Pure: parts in, what rich prints out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from execstore.explain.parts import Entry, Heading, Lane, Step, Verdict
from execstore.explain.wording import FLUSH, OPEN, PUBLISH, RETURN, STAGE, SYNC

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from execstore.explain.parts import CutResult, Part

__all__ = ["Renderer"]

_COLOURS: Final = {
    OPEN: "bright_black",
    STAGE: "blue",
    FLUSH: "magenta",
    PUBLISH: "green",
    SYNC: "magenta",
    RETURN: "cyan",
    "dead": "red",
}
_MARKS: Final = {"+": "green", "-": "red", " ": "dim"}
_LABEL_WIDTH: Final = 15
_MAIN_THREAD: Final = "MainThread"
_NARROW_COLUMNS: Final = 100


class _Barred:
    """A renderable with a coloured bar along its left side."""

    def __init__(self, inner: RenderableType, colour: str) -> None:
        self._inner = inner
        self._bar = Segment("▌ ", Style.parse(colour))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self._inner, options.update(width=options.max_width - 2), pad=False):
            yield self._bar
            yield from line
            yield Segment.line()


class Renderer:
    """Gives what to print for each part. It remembers the steps for the table in the end, and who has which lane."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._steps: list[Step] = []
        self._lanes: list[str] = []

    def render(self, part: Part) -> Iterator[RenderableType]:
        """What to print for a part, in order."""
        match part:
            case Heading():
                self._lanes = []
                yield from _heading(part)
            case Step():
                self._steps.append(part)
                yield _Barred(_step(part), _COLOURS[part.words.phase])
                yield Text()
            case Lane():
                yield self._lane(part)
            case Entry():
                yield self._entry(part)
            case Verdict():
                self._lanes = []
                if len(part.sentences) > 1 and any(step.cuts for step in self._steps):
                    yield Text()
                    yield _overview(self._steps)
                yield Text()
                for sentence in part.sentences:
                    yield Padding(Text.assemble((" ✔ " if part.ok else " ✘ ", _verdict_style(part.ok)), sentence), (0, 0))

    def _lane(self, lane: Lane) -> RenderableType:
        """A moment in the column of who did it, or behind a name where there is no room for columns."""
        if lane.who not in self._lanes:
            self._lanes.append(lane.who)
        colour = _COLOURS.get(lane.phase, "default")
        number = self._lanes.index(lane.who)
        line = Text(f"{lane.at_us / 1000:9.2f} ms  ", "dim", no_wrap=True, overflow="ellipsis")
        indent = 3 * number
        line.append(" " * indent)
        line.append("● ", colour)
        line.append(f"{lane.who} ", "bold")
        line.append(lane.title, colour)
        if lane.note:
            line.append(f"  {lane.note}", "dim")
        return line

    def _entry(self, entry: Entry) -> RenderableType:
        depth = entry.path.count("/")
        name = Text("  " * depth + entry.path.rpartition("/")[2], "bold" if not depth else "default")
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=30, no_wrap=True, overflow="ellipsis")
        table.add_column(width=20, style="cyan", no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=1, style="dim" if depth > 1 else "default")
        table.add_row(name, entry.what, entry.detail)
        return table


def _heading(heading: Heading) -> Iterator[RenderableType]:
    yield Text()
    yield Text(heading.title, "bold reverse" if not heading.sentences else "bold underline")
    for sentence in heading.sentences:
        yield Text(sentence)
    yield Text()


def _step(step: Step) -> RenderableType:
    colour = _COLOURS[step.words.phase]
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(ratio=1)
    top.add_column(justify="right", style="dim", no_wrap=True)
    title = Text.assemble((f"{step.number}  ", f"bold {colour}"), (step.words.title, "bold"))
    top.add_row(title, Text(step.words.phase.upper(), colour))
    rows = Table.grid(padding=(0, 1), expand=True)
    rows.add_column(width=_LABEL_WIDTH, style="dim", no_wrap=True)
    rows.add_column(ratio=1)
    if step.call.path and step.words.phase != RETURN:
        rows.add_row("file", _file(step))
    if step.difference.lines:
        rows.add_row("before → after", _lines(step.difference.lines))
    if step.reader:
        rows.add_row("a reader sees", Text(step.reader, _outcome_style(step.reader)))
    if step.cuts:
        rows.add_row("power cut here", _cuts(step.cuts))
    held = f"under {' and '.join(step.call.locks)}; " if step.call.locks else ""
    who = f"by thread {step.call.thread}; " if step.call.thread != _MAIN_THREAD else ""
    rows.add_row("", Text(f"{who}{held}see FORMAT.md, “{step.words.section}”", "dim italic"))
    sentences = [Text(sentence) for sentence in step.words.sentences]
    return Group(top, *sentences, rows)


def _file(step: Step) -> Text:
    text = Text(step.call.path, "cyan")
    if step.difference.summary:
        text.append(f"  {step.difference.summary}", "dim")
    return text


def _lines(lines: Sequence[tuple[str, str]]) -> RenderableType:
    shown = []
    for mark, line in lines:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{mark} ", f"bold {_MARKS[mark]}")
        text.append(_printable(line), _MARKS[mark])
        shown.append(text)
    return Group(*shown)


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in line)


def _cuts(cuts: Sequence[CutResult]) -> RenderableType:
    """Cuts with one outcome together."""
    outcomes: dict[str, list[CutResult]] = {}
    for cut in cuts:
        outcomes.setdefault(cut.outcome, []).append(cut)
    lines = []
    for outcome, those in outcomes.items():
        ok = all(cut.ok for cut in those)
        line = Text("→ after recovery: ", "dim")
        line.append(outcome, "bold " + _outcome_style(outcome) if ok else "bold white on red")
        line.append(" ✔" if ok else " ✘", _verdict_style(ok))
        lines.append(line)
        for cut in those if len(outcomes) > 1 or len(those) == 1 else ():
            lines.append(Text(f"    if {cut.sentence}", "dim"))
        if len(outcomes) == 1 and len(those) > 1:
            lines.append(Text(f"    in each of {len(those)} ways: {', '.join(cut.name for cut in those)}", "dim"))
    return Group(*lines)


def _overview(steps: Sequence[Step]) -> RenderableType:
    """One line a step: the slide to remember."""
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    table.add_column("", justify="right", style="bold")
    table.add_column("step", no_wrap=True, overflow="ellipsis", max_width=40)
    table.add_column("a reader sees", no_wrap=True)
    table.add_column("after a power cut", no_wrap=True, overflow="ellipsis")
    for step in steps:
        if not step.cuts:
            continue
        colour = _COLOURS[step.words.phase]
        outcomes = list(dict.fromkeys(cut.outcome for cut in step.cuts))
        ok = all(cut.ok for cut in step.cuts)
        shown = Text(" or ".join(_short(outcome) for outcome in outcomes), "red" if not ok else "")
        table.add_row(str(step.number), Text(step.words.title, colour), _short(step.reader), shown)
    return table


def _short(outcome: str) -> str:
    return outcome.removesuffix(", whole").removesuffix(" at all").removesuffix(" there").replace(" is not", ": no").replace(
        " is", ": yes"
    )


def _outcome_style(outcome: str) -> str:
    return "yellow" if "not" in outcome or "none" in outcome else "green"


def _verdict_style(ok: bool) -> str:
    return "bold green" if ok else "bold red"
