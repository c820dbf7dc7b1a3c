"""Keeps results: RESULTS.md for people, ratios.json for the check that nothing became far slower."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Final

from execstore.bench.report import describe, ratios_of, ratios_with_spread, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RATIOS", "RESULTS", "far_behind", "record"]

RESULTS: Final = "RESULTS.md"
RATIOS: Final = "ratios.json"
_INTRODUCTION: Final = """# What was measured

Each section is one run of `execstore bench`, as its heading says; a run of the same kind replaces it. Every contender
does the same work on its own store, in turns within the same round. A ratio says how many times as long the others
take, over 1 is in execstore's favour; absolute times only hold for this machine. What each contender does and spares
itself is in the docstrings of `execstore/bench/adapters/`.
"""
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_FAR: Final = 2.0


def record(folder: str, label: str, command: str, result: dict[str, Any]) -> None:
    """Put a result in the two files of ``folder``, in place of the one that has this label."""
    path = os.path.join(folder, RESULTS)
    sections = _sections(_read(path))
    lines = [f"    {command}", "", "```", *describe(result), *tables(result), "```"]
    sections[label] = "\n".join(lines)
    text = _INTRODUCTION + "".join(f"\n## {name}\n\n{body.strip()}\n" for name, body in sorted(sections.items()))
    _write(path, text)
    path = os.path.join(folder, RATIOS)
    ratios = json.loads(_read(path) or "{}")
    ratios[label] = ratios_of(result)
    _write(path, json.dumps(ratios, indent=1, sort_keys=True) + "\n")


def _sections(text: str) -> dict[str, str]:
    parts = _SECTION.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def far_behind(recorded: Mapping[str, float], result: dict[str, Any]) -> list[str]:
    """Sentences about ratios that even in the better rounds are less than half of what was recorded.

    What isn't in both is passed over.
    """
    return [
        f"{name}: {found['value']:.2f}, where {recorded[name]:.2f} is recorded"
        for name, found in ratios_with_spread(result)
        if name in recorded and max(found["value"], found["high"]) < recorded[name] / _FAR
    ]
