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
_SHOWN_PATHS: Final = 4
_NARROW_COLUMNS: Final = 100
_NAME_WIDTH: Final = 28
_WHAT_WIDTH: Final = 24
_LANE_WIDTH: Final = 3
_MAIN_THREAD: Final = "MainThread"


class _Trimmed:
    """A renderable without blanks at its lines' ends, and with a bar along its left side if there is a colour."""

    def __init__(self, inner: RenderableType, colour: str | None = None) -> None:
        self._inner = inner
        self._bars = [] if colour is None else [Segment("▌ ", Style.parse(colour))]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - 2 * len(self._bars)
        for line in console.render_lines(self._inner, options.update(width=width), pad=False):
            yield from self._bars
            yield from _without_end(line)
            yield Segment.line()


def _without_end(line: Sequence[Segment]) -> Sequence[Segment]:
    """A line without the blanks that a table fills it up with: who copies it into a slide doesn't want them."""
    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        last = kept.pop()
        kept.append(Segment(last.text.rstrip(), last.style))
    return kept


class Renderer:
    """Gives what to print for each part. It remembers the steps for the table in the end, and who has which lane."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._steps: list[Step] = []
        self._lanes: list[str] = []
        self._said: set[str] = set()
        self._last_detail = ""
        self._is_list = False

    def render(self, part: Part) -> Iterator[RenderableType]:
        """What to print for a part, in order."""
        match part:
            case Heading():
                self._lanes = []
                self._last_detail, self._is_list = "", False
                yield from _heading(part)
            case Step():
                is_short = part.words.phase == OPEN and not part.cuts
                if self._is_list and not (is_short and self._steps):
                    yield Text()
                self._is_list = is_short
                self._steps.append(part)
                # What was explained once needn't be read again.
                sentences = [sentence for sentence in part.words.sentences if sentence not in self._said]
                self._said.update(sentences)
                colour = _COLOURS[part.words.phase]
                if is_short:
                    yield _Trimmed(_short_step(part, sentences), colour)
                    return
                yield _Trimmed(_step(part, sentences), colour)
                yield Text()
            case Lane():
                yield self._lane(part)
            case Entry():
                yield self._entry(part)
                self._last_detail = part.detail
                self._is_list = True
            case Verdict():
                self._lanes = []
                if len(part.sentences) > 1 and any(step.cuts for step in self._steps):
                    yield Text()
                    yield _Trimmed(_overview(self._steps))
                    yield Text()
                    yield _Trimmed(_legend(self._steps))
                yield Text()
                yield _Trimmed(_verdict(part))

    def _lane(self, lane: Lane) -> RenderableType:
        """A moment in the column of who did it, or behind a name where there is no room for columns."""
        if lane.who not in self._lanes:
            self._lanes.append(lane.who)
        colour = _COLOURS.get(lane.phase, "default")
        indent = _LANE_WIDTH * self._lanes.index(lane.who)
        line = Text.assemble(
            (f"{lane.at_us / 1000:9.2f} ms  ", "dim"),
            " " * indent,
            ("● ", colour),
            (f"{lane.who} ", "bold"),
            (lane.title, colour),
            (f"  {lane.note}" if lane.note else "", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        return Group(line)  # a bare Text would lose its no_wrap

    def _entry(self, entry: Entry) -> RenderableType:
        if not entry.in_tree:
            return Text.assemble("  ", (entry.path, "cyan"), "  ", (entry.what, "bold red"))
        depth = entry.path.count("/")
        name = Text("  " * depth + entry.path.rpartition("/")[2], "bold" if not depth else "default")
        detail = Text(entry.detail if entry.detail != self._last_detail else "", "dim" if depth else "default")
        if self._width < _NARROW_COLUMNS:
            line = Text.assemble(name, "  ", (entry.what, "cyan"), no_wrap=True, overflow="ellipsis")
            return Group(line, Padding(detail, (0, 0, 0, 8))) if detail else Group(line)
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=_NAME_WIDTH, no_wrap=True, overflow="ellipsis")
        table.add_column(width=_WHAT_WIDTH, style="cyan", no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=1)
        table.add_row(name, entry.what, detail)
        return _Trimmed(table)


def _heading(heading: Heading) -> Iterator[RenderableType]:
    yield Text()
    yield Text(heading.title, "bold reverse" if not heading.sentences else "bold underline")
    for sentence in heading.sentences:
        yield Text(sentence)
    yield Text()


def _short_step(step: Step, sentences: Sequence[str]) -> RenderableType:
    """What only looks, in a line."""
    colour = _COLOURS[step.words.phase]
    line = Text.assemble((f"{step.number}  ", f"bold {colour}"), (step.words.title, "bold"))
    line.append("  " + " ".join(sentences), "default")
    return line


def _step(step: Step, sentences: Sequence[str]) -> RenderableType:
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
    if step.settled:
        rows.add_row("durable now", Text(_listed(step.settled), "magenta"))
    if step.unflushed and step.words.phase not in {OPEN, RETURN}:
        rows.add_row("not flushed yet", Text(_listed(step.unflushed)))
    if step.reader.outcome:
        rows.add_row("a reader sees", Text(step.reader.outcome, _outcome_style(step.reader.outcome)))
    if step.cuts:
        rows.add_row("power cut here", _cuts(step.cuts))
    held = f"under {', '.join(step.call.locks)}; " if step.call.locks else ""
    who = f"by thread {step.call.thread}; " if step.call.thread != _MAIN_THREAD else ""
    rows.add_row("", Text(f"{who}{held}see FORMAT.md, “{step.words.section}”", "dim italic"))
    return Group(top, *map(Text, sentences), rows)


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
    lines: list[RenderableType] = []
    for outcome, those in outcomes.items():
        ok = all(cut.ok for cut in those)
        line = Text.assemble(
            ("→ recovery: ", "dim"),
            (outcome, f"bold {_outcome_style(outcome)}" if ok else "bold white on red"),
            (" ✔" if ok else " ✘", _verdict_style(ok)),
            (_again(those), "dim"),
        )
        lines.append(line)
        conditions = [f"if {cut.sentence}" for cut in those]
        if len(outcomes) == 1 and len(those) > 1:
            conditions = [f"in each of {len(those)} ways: {', '.join(cut.name for cut in those)}"]
        lines += [Padding(Text(condition, "dim"), (0, 0, 0, 4)) for condition in conditions]
    return Group(*lines)


def _legend(steps: Sequence[Step]) -> RenderableType:
    """What the short names of the cuts stand for."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="dim")
    table.add_row("", "Ways to lose power:")
    for name, sentence in {cut.name: cut.sentence for step in steps for cut in step.cuts}.items():
        table.add_row(f" {name}", sentence)
    return table


def _verdict(verdict: Verdict) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column()
    for sentence in verdict.sentences:
        table.add_row(Text(" ✔", _verdict_style(True)), sentence)
    for sentence in verdict.broken:
        table.add_row(Text(" ✘", _verdict_style(False)), Text(sentence, "bold"))
    return table


def _again(cuts: Sequence[CutResult]) -> str:
    """How many files recoveries brought up to date."""
    numbers = sorted({len(cut.rewritten) for cut in cuts})
    if numbers == [0]:
        return "  (nothing to mend)"
    few, many = numbers[0], numbers[-1]
    return f"  ({few} files rewritten)" if few == many else f"  ({few} to {many} files rewritten)"


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_SHOWN_PATHS])
    return shown if len(paths) <= _SHOWN_PATHS else f"{shown} and {len(paths) - _SHOWN_PATHS} more"


def _overview(steps: Sequence[Step]) -> RenderableType:
    """One line a step: the slide to remember."""
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    table.add_column("", justify="right", style="bold", no_wrap=True, min_width=2)
    table.add_column("step", no_wrap=True, overflow="ellipsis", min_width=20, max_width=40)
    seen = any(step.reader.short for step in steps)
    if seen:
        table.add_column("a reader sees", no_wrap=True, min_width=13)
    table.add_column("after a power cut", no_wrap=True, overflow="ellipsis")
    for step in steps:
        if not step.cuts:
            continue
        colour = _COLOURS[step.words.phase]
        outcomes = list(dict.fromkeys(cut.short for cut in step.cuts))
        ok = all(cut.ok for cut in step.cuts)
        shown = Text(" / ".join(outcomes), "red" if not ok else "")
        reader = [step.reader.short] if seen else []
        table.add_row(str(step.number), Text(step.words.title, colour), *reader, shown)
    return table


def _outcome_style(outcome: str) -> str:
    return "yellow" if "not" in outcome or "none" in outcome else "green"


def _verdict_style(ok: bool) -> str:
    return "bold green" if ok else "bold red"
