"""What some steps came to, found out from what happened in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from execstore.explain.parts import Verdict
from execstore.explain.wording import FLUSH, RETURN, SYNC

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from execstore.explain.parts import Step

__all__ = ["summarise"]

_LYING: Final = (
    "This disk reports flushes that it didn't do. No store can keep its word on one: FORMAT.md, “What is not promised”."
)
_DEFECT: Final = "That must never happen: it is a defect of the engine."


def summarise(steps: Sequence[Step], *, lies: bool = False, also: Iterable[str] = ()) -> Verdict:
    """The verdict. ``also`` are sentences to begin with."""
    cuts = [cut for step in steps for cut in step.cuts]
    stops = sum(bool(step.cuts) for step in steps)
    sentences = [*also, f"{len(cuts)} power cuts at {stops} steps were made and recovered."]
    broken = list(_broken(steps))
    half = sum(cut.number is None for cut in cuts)
    if not half:
        sentences[-1] += " Half a change was there after none."
    safe = _safe_from(steps)
    if safe is not None:
        sentences.append(f"From step {safe.number} on ({safe.words.title}) no power cut takes it away.")
    shown = next((step for step in steps if step.reader.outcome and step.reader == steps[-1].reader), None)
    if shown is not None and shown is not steps[0]:
        sentences.append(f"From step {shown.number} on ({shown.words.title}) readers see it.")
        if all(step.reader.ok for step in steps):
            sentences[-1] += " None ever saw a part."
    callers = {step.call.thread for step in steps if step.words.phase == RETURN}
    if len(callers) == 1:
        flushes = sum(step.words.phase in {FLUSH, SYNC} and step.call.thread in callers for step in steps)
        sentences.append(f"The caller waited for the disk {'once' if flushes == 1 else f'{flushes} times'}.")
    if broken:
        broken.append(_LYING if lies else _DEFECT)
    return Verdict(tuple(sentences), tuple(broken))


def _broken(steps: Sequence[Step]) -> Iterator[str]:
    cuts = [cut for step in steps for cut in step.cuts]
    half = sum(cut.number is None for cut in cuts)
    if half:
        yield f"After {half} power cuts half a change was there, or the store couldn't be opened."
    lost = sum(not cut.kept for cut in cuts)
    if lost:
        yield f"After {lost} power cuts a change was lost although its call had returned."
    seen = sum(not step.reader.ok for step in steps)
    if seen:
        yield f"At {seen} steps a reader saw a part of a change."


def _safe_from(steps: Sequence[Step]) -> Step | None:
    """The first step from which on every cut leaves all of it."""
    most = max((cut.number for step in steps for cut in step.cuts if cut.number is not None), default=0)
    safe: Step | None = None
    for step in reversed([step for step in steps if step.cuts]):
        if any(cut.number != most for cut in step.cuts):
            return safe
        safe = step
    return safe
