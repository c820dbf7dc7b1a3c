"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_do_what_the_readme_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert f"It prints `{done.stdout.strip()}`" in README
    assert sorted(path.name for path in (tmp_path / "my-store" / "executions").iterdir()) == ["e-2.json"]


def test_every_folder_of_the_tree_is_shown(tmp_path: Path) -> None:
    from execstore import Store

    Store(tmp_path / "store").close()
    tree = README[README.index("## The tree") : README.index("## The command line")]
    missing = [
        path.name
        for path in (tmp_path / "store").iterdir()
        if path.name.removesuffix(".flush").removesuffix(".handles") not in tree and path.name != "reserve"
    ]
    assert missing == []


def test_the_two_commands_are_single_lines() -> None:
    commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("execstore demo")
    assert commands[1].endswith("-m pytest")


def test_links_lead_to_files() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), (document, target)
