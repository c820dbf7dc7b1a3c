"""The pieces of the demo's last page."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from execstore import Execution, ExecutionState, RunCommandResult, State
from execstore.demo.progress import part_name, step_line
from execstore.demo.report import choose_example, invocation, look_further, read_lines, tree_lines

if TYPE_CHECKING:
    from pathlib import Path


def test_a_tree_shows_folders_links_and_what_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "store"
    (root / "records").mkdir(parents=True)
    (root / "index" / "Running").mkdir(parents=True)
    for number in range(6):
        (root / "records" / f"{number}.json").touch()
    for number in range(4):
        (root / "index" / "Running" / f"{number}").symlink_to(f"../../records/{number}.json")
    (root / "FORMAT").touch()
    assert tree_lines(str(root), entries=3) == [
        "store/",
        "├── FORMAT",
        "├── index/",
        "│   └── Running/",
        "│       ├── 0 -> ../../records/0.json",
        "│       ├── 1 -> ../../records/1.json",
        "│       ├── 2 -> ../../records/2.json",
        "│       └── 3 -> ../../records/3.json",
        "└── records/",
        "    ├── 0.json",
        "    ├── 1.json",
        "    ├── 2.json",
        "    └── … and 3 more",
    ]


def test_a_tree_does_not_follow_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    (tmp_path / ".e").symlink_to("folder")
    assert tree_lines(str(tmp_path))[1:] == ["├── .e -> folder", "└── folder/", "    └── inside"]


def test_a_tree_is_entered_only_so_deep(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert tree_lines(str(tmp_path), depth=2)[1:] == ["└── a/", "    └── b/"]


def test_lines_are_read_as_cat_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\n\ntwo \xff\n")
    assert read_lines(str(path)) == ["one", "", "two \ufffd"]


def test_the_example_is_one_that_failed_by_itself() -> None:
    new = Execution(id="e-new")
    done = Execution(id="e-done", run_output=RunCommandResult(stdout="fine"))
    failed = Execution(id="e-failed", run_output=RunCommandResult(stderr="no", exit_code=3))
    assert choose_example([new, done, failed]) is failed
    assert choose_example([new, done]) is done
    assert choose_example([]) is None


def test_the_commands_can_be_pasted() -> None:
    commands = look_further("/tmp/my store", "e-1")
    assert len(commands) == 3
    for command, name in zip(commands, ("ls", "show", "events"), strict=True):
        words = shlex.split(command)
        assert words[words.index("--store") + 1] == "/tmp/my store"
        assert name in words


@pytest.mark.parametrize(
    ("arguments", "original", "shown"),
    [
        (["/x/execstore/__main__.py"], ["python3", "-m", "execstore"], "python3 -m execstore"),
        (["/x/execstore/__main__.py"], ["/a b/python", "-m", "execstore"], "'/a b/python' -m execstore"),
        ([".venv/bin/execstore"], [], ".venv/bin/execstore"),
        (["/no such/execstore"], [], "'/no such/execstore'"),
    ],
)
def test_the_program_is_named_as_it_was_started(arguments: list[str], original: list[str], shown: str) -> None:
    assert invocation(arguments, original) == shown


def test_a_program_on_the_path_is_named_shortly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "execstore"
    program.touch(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    assert invocation([str(program)], []) == "execstore"


def test_a_step_is_one_line_whatever_is_in_it() -> None:
    execution = Execution(
        id="e-1",
        revision=4,
        job={"Name": "two\nlines", "Count": 3},
        partition_index=2,
        compute_state=State(ExecutionState.FAILED, "bell \a"),
    )
    assert step_line(execution) == r"e-1  Failed  revision 4  two\nlines[2]  bell \x07"


def test_a_job_of_one_part_is_named_without_a_number() -> None:
    assert part_name(Execution(job={"Name": "hello", "Count": 1})) == "hello"
    assert part_name(Execution(job_id="j-1")) == "j-1"
