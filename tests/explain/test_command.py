"""``execstore explain``: what it prints, at which width, and that it can be gone through step by step."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from rich.console import Console

from execstore import Store
from execstore.cli.app import run
from execstore.codec import decode_strict
from execstore.explain.render import Renderer
from execstore.explain.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from execstore.explain.parts import Part

    Explained = Callable[..., Sequence[Part]]


def printed(parts: Sequence[Part], width: int) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False)
    renderer = Renderer(width)
    for part in parts:
        for renderable in renderer.render(part):
            console.print(renderable)
    return output.getvalue()


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("topic", TOPICS)
def test_it_fits_the_terminal(explained: Explained, topic: str, width: int) -> None:
    text = printed(explained(topic), width)
    lines = text.splitlines()
    assert lines
    assert max(map(cell_len, lines)) <= width
    assert "\x1b" not in text  # no terminal, no colours


def test_the_screen_of_a_commit(explained: Explained) -> None:
    text = printed(explained("commit"), 80)
    assert re.search(r"▌ 1  Write transaction \d+ into journal\.0 +STAGE", text)
    assert "▌ a reader sees   e-2 is not there at all" in text
    assert "→ recovery: e-2 is there, whole ✔" in text
    assert re.search(r"^ +2  Flush journal\.0 +not there +there *$", text, re.MULTILINE)
    assert "✘" not in text
    assert not any(line.endswith(" ") for line in text.splitlines() if line.startswith("▌"))
    # What was explained is not explained again.
    assert text.count("A checksum seals it.") == 1


def test_the_screen_of_a_lying_disk(explained: Explained) -> None:
    text = printed(explained("commit", lies=True), 100)
    assert "✘" in text
    assert "LOST although it was promised" in text


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_topics_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == list(TOPICS)
    assert run(["explain", "--list"]) == 0
    assert capsys.readouterr().out == listed
    assert run(["explain", "--list", "--json"]) == 0
    assert [topic["topic"] for topic in decode_strict(capsys.readouterr().out.encode())] == list(TOPICS)


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "commit", "--json"]) == 0
    parts = decode_strict(capsys.readouterr().out.encode())
    assert [part["kind"] for part in parts[:2]] == ["heading", "step"]
    assert parts[-1]["kind"] == "verdict"
    assert parts[-1]["ok"] is True
    step = parts[1]
    assert step["path"] == "journal.0"
    assert {cut["outcome"] for cut in step["power_cuts"]} == {"e-2 is not there at all", "e-2 is there, whole"}
    assert all(cut["ok"] for cut in step["power_cuts"])


@pytest.mark.parametrize("arguments", [["nonsense"], ["commit", "--step", "--json"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_what_is_kept_can_be_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each cut is there as it was found: opening it is left to whoever looks."""
    kept = tmp_path / "kept"
    assert run(["explain", "commit", "--keep", str(kept)]) == 0
    assert f"kept in {kept}" in capsys.readouterr().err
    with Store(kept / "store") as store:
        assert [execution.id for execution in store.list_executions()] == ["e-1", "e-2"]
        assert store.verify().ok
    cuts = sorted(os.listdir(kept / "cuts"))
    assert "01-torn" in cuts
    assert not [name for name in os.listdir(kept) if name not in {"store", "cuts"}]
    names = [path for path in cuts if path.endswith("-NULs")]
    records = [kept / "cuts" / name / "executions" / "e-2.json" for name in names]
    assert any(path.exists() and not path.read_bytes().strip(b"\0") for path in records)
    for name, there in (("01-nothing", ["e-1"]), ("01-torn", ["e-1"]), (names[-1], ["e-1", "e-2"])):
        with Store(kept / "cuts" / name) as store:
            assert [execution.id for execution in store.list_executions()] == there
            assert store.verify().ok
    # It is never put into a folder that has something in it.
    assert run(["explain", "commit", "--keep", str(kept)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execstore.explain.place._SHARED_MEMORY", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["explain", "recovery", "--json"]) == 0
    assert os.listdir(tmp_path) == []


def test_step_by_step() -> None:
    """On a terminal: Enter goes on, q ends it."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "execstore", "explain", "commit", "--step"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    seen = b""

    def until(text: bytes, times: int) -> None:
        nonlocal seen
        while seen.count(text) < times:
            assert select.select([master], [], [], 60)[0], seen
            seen += os.read(master, 65536)

    try:
        for times in (1, 2, 3):
            until(b"q: end", times)
            os.write(master, b"\n" if times < 3 else b"q\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", seen).decode()
    assert "Flush journal.0" in text
    assert "Ways to lose power" not in text


def test_nothing_is_left_behind_by_a_closed_pipe(tmp_path: Path) -> None:
    """``| head``: the reader goes away before the end."""
    script = (
        "import sys; from execstore.cli import main; from execstore.explain import place;"
        f"place._SHARED_MEMORY = {str(tmp_path)!r}; sys.argv[1:] = ['explain', 'commit']; main()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("topic", ["layout", "recovery", "watch"])
def test_a_lying_disk_is_for_some_topics(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", topic, "--lying-disk"]) == 2
    assert "--lying-disk is for checkpoint, commit, group-commit" in capsys.readouterr().err


def test_a_lying_disk_is_no_failure_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """What is shown is shown; damaged records in it are no warnings of their own."""
    assert run(["explain", "commit", "--lying-disk", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    verdict = decode_strict(captured.out.encode())[-1]
    assert (verdict["ok"], bool(verdict["broken"])) == (False, True)
