"""``examples/WALKTHROUGH.md`` shows what happens: every command of it is run, and its output compared."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.examples.walkthrough import PAGE, normal, parse, programs, replay

if TYPE_CHECKING:
    from pathlib import Path

_NEEDED = ("bash", "jq", "tail", "xz")


@pytest.mark.skipif(not all(map(shutil.which, _NEEDED)), reason=f"needs {', '.join(_NEEDED)}")
def test_every_command_prints_what_the_page_says(tmp_path: Path) -> None:
    said = parse(PAGE.read_text())
    for block, now in zip(said, replay(said, programs(tmp_path)), strict=True):
        expected, found = normal(block.body()), normal(now.body())
        if block.kind == "unordered":
            expected, found = sorted(expected), sorted(found)
        assert found == expected


def test_the_page_goes_all_the_way() -> None:
    """What a new user does by the README alone, each with its command."""
    commands = " ".join(command for block in parse(PAGE.read_text()) for command, _ in block.commands)
    for name in ("demo", "jobs", "ls", "show", "history", "watch", "create", "update", "verify", "repair", "stats"):
        assert f"execstore {name}" in commands
    for name in ("metrics", "prune", "gc", "backup", "restore", "import bolt", "export sqlite", "export jsonl"):
        assert f" {name} " in commands
    assert all(output for block in parse(PAGE.read_text())[1:] for _, output in block.commands[-1:])


def test_what_differs_from_run_to_run_is_of_no_matter() -> None:
    one = "e-fdd75e97-98b9-47ff-83d0-960e04fa6b94  15s ago  exit code 3 after 0.25 s, 1,234 bytes\n"
    other = "e-064e9767-d6ce-4d10-9c16-f8a8ce02c3a1  now   exit code 3 after 1.1 s, 99 bytes\n"
    assert normal(one) == normal(other)
    assert normal(one) != normal(other.replace("code 3", "code 4"))
