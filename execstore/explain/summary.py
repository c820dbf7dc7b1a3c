"""What some steps came to, found out from what happened in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.explain.wording import FLUSH, RETURN, SYNC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execstore.explain.parts import Step

__all__ = ["summarise"]


def summarise(steps: Sequence[Step], *, lies: bool = False) -> tuple[tuple[str, ...], bool]:
    """Sentences, and whether every promise was kept."""
    cuts = [cut for step in steps for cut in step.cuts]
    bad = [cut for cut in cuts if not cut.ok]
    half = sum(cut.number is None for cut in cuts)
    stops = sum(bool(step.cuts) for step in steps)
    sentences = [f"{len(cuts)} power cuts at {stops} steps were made and recovered. {_half(half)}"]
    safe = _safe_from(steps)
    shown = next((step for step in steps if step.reader and step.reader == steps[-1].reader), None)
    callers = {step.call.thread for step in steps if step.words.phase == RETURN}
    flushes = sum(step.words.phase in {FLUSH, SYNC} and step.call.thread in callers for step in steps)
    if safe is not None:
        sentences.append(f"From step {safe.number} on ({safe.words.title}) no power cut takes it away.")
    if shown is not None and shown is not steps[0]:
        sentences.append(f"From step {shown.number} on ({shown.words.title}) readers see it. {_parts(steps)}")
    if callers:
        waits = "once" if flushes == 1 else f"{flushes} times"
        sentences.append(f"The caller waited for the disk {waits}.")
    if bad:
        lost = sum(not cut.kept for cut in cuts)
        sentences.append(f"{lost} of them lost what had been promised. {_why(lies)}")
    return tuple(sentences), not bad


def _half(number: int) -> str:
    return "Half a change was there after none." if not number else f"Half a change was there after {number} of them!"


def _parts(steps: Sequence[Step]) -> str:
    number = sum("HALF" in step.reader for step in steps)
    return f"{number} of them saw a part!" if number else "None ever saw a part."


def _why(lies: bool) -> str:
    if lies:
        return "This disk reports flushes that it didn't do: no store can keep its word on one (What is not promised)."
    return "That must never happen: it is a defect of the engine."


def _safe_from(steps: Sequence[Step]) -> Step | None:
    """The first step from which on every cut leaves all of it."""
    most = max((cut.number for step in steps for cut in step.cuts if cut.number is not None), default=0)
    safe: Step | None = None
    for step in reversed(steps):
        if any(cut.number != most for cut in step.cuts):
            return safe
        safe = step
    return safe
