"""``execstore top`` where there is no terminal, with real writers, and on a real terminal (tmux)."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from execstore import Store
from execstore.cli.app import run
from tests.support import PATIENCE_SECONDS, ROOT, make_execution, python
from tests.top.conftest import LONG_ID, drive, screen_text, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from textual.pilot import Pilot

    from execstore.top.source import Source
    from tests.conftest import StoreFactory

_WRITERS = 8
_WRITER = """
import sys
from execstore import Event, Execution, ExecutionState, State, Store, UpdateExecutionRequest

path, name = sys.argv[1:]
with Store(path, durability="relaxed", lock_timeout=60) as store:
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(100):
        execution_id = f"e-{name}-{number}"
        new = State(ExecutionState.BID_ACCEPTED)
        store.create_execution(Execution(id=execution_id, job_id=f"j-{name}", job={"Name": name}, compute_state=new))
        if number % 4:
            ended = Execution(compute_state=State(ExecutionState.COMPLETED, "done"))
            store.update_execution_state(UpdateExecutionRequest(execution_id, ended, events=[Event("Test", "ends")]))
"""


@pytest.fixture
def writers(open_store: StoreFactory) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that write once they are given a line."""
    path = open_store.path()
    open_store(small=False).close()
    found = [python("-c", _WRITER, str(path), str(number)) for number in range(_WRITERS)]
    try:
        for process in found:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield found
    finally:
        for process in found:
            process.kill()
            process.communicate()


def let_go(writers: list[subprocess.Popen[str]]) -> None:
    for process in writers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_eight_writing_processes_are_followed(
    writers: list[subprocess.Popen[str]], make_source: Callable[..., Source]
) -> None:
    pytest.importorskip("textual", reason="textual isn't installed (execstore[top])")
    from execstore.top.app import TopApp

    source = make_source(polling_seconds=0.1)
    app = TopApp(source, interval_seconds=0.1)
    seen: list[tuple[int, int]] = []

    async def script(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "Live executions 0" in screen_text(app))
        let_go(writers)
        keys = iter(["tab", "up", "down", "end", "tab", "enter", "escape", "p", "p", "s", "escape", "o"] * 1000)
        while any(process.poll() is None for process in writers):
            await pilot.press(next(keys))
            await pilot.pause(0.05)
            snapshot = app._main._newest
            assert snapshot is not None
            seen.append((snapshot.event_log.latest, len(snapshot.executions)))
        await pilot.press("escape", "escape")
        if app._main.is_paused:
            await pilot.press("p")
        await until(pilot, lambda: re.search(r"Completed +600 ", screen_text(app)))
        await until(pilot, lambda: "Live executions 200" in screen_text(app))
        await pilot.resize_terminal(140, 40)
        await until(pilot, lambda: re.search(r"event log +[0-9.]+ [KM]iB, 2,000 events", screen_text(app)))

    drive(app, script)
    assert app.return_value is None
    assert [process.wait(PATIENCE_SECONDS) for process in writers] == [0] * _WRITERS
    # What was followed, event by event, is what the store would list.
    snapshot = source.look()
    live = sorted(execution.id for execution in source._store.get_live_executions())
    assert sorted(row.execution_id for row in snapshot.executions) == live
    assert snapshot.counts["Completed"] == 600
    assert seen == sorted(seen, key=lambda each: each[0])


# --- where there is no terminal -------------------------------------------------------------------------------------


def test_a_snapshot_is_printed(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", filled.path, "top"], "execstore") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0] == f"{filled.path}: 5 executions, 2 live"
    assert any(re.match(r"Failed +1 +\+1 ", line) for line in lines)
    assert any(re.match(rf"{LONG_ID}  nightly +Running +\d+s  running for long$", line) for line in lines)
    assert any(re.search(r" e-failed +New → Failed: no such file$", line) for line in lines)
    assert "most behind   no watchers" in lines
    assert "\x1b" not in out
    assert run(["--store", filled.path, "top", "--once", "--filter", "state:failed"], "execstore") == 0
    assert re.search(r"^e-failed +thumbnails +Failed", capsys.readouterr().out, re.MULTILINE)


def test_json_once_and_text_tell_the_same(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    filled.event_store.store_checkpoint("mailer", 2)
    assert run(["--store", filled.path, "top", "--once", "--json"], "execstore") == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert (document["executions"], document["live"], document["states"]["Failed"]) == (5, 2, 1)
    assert document["laggard"] == {
        "watcher_id": "mailer",
        "checkpoint": 2,
        "lag": document["event_log"]["latest"] - 2,
        "lost": 0,
        "holds_log": False,
    }
    assert [row["execution_id"] for row in document["shown"]] == [LONG_ID, "e-accepted"]
    assert [row["seq_num"] for row in document["events"]] == list(range(1, document["event_log"]["latest"] + 1))
    assert document["trend"]["bucket_seconds"] == 5
    assert document["trend"]["states"]["Failed"][-1] == 1
    assert (document["filter"], document["shown_are_all"], document["problems"]) == ("", True, [])
    assert document["commits_per_second"] is None


def test_json_is_a_line_for_each_look_until_the_reader_goes(filled: Store) -> None:
    process = python(
        "-m", "execstore", "--store", filled.path, "top", "--json", "--interval", "0.1", stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    filled.create_execution(make_execution("while-it-looks"))
    while (latest := json.loads(process.stdout.readline()))["executions"] == first["executions"]:
        pass
    assert latest["states"]["New"] == 2
    assert latest["events"][-1]["execution_id"] == "while-it-looks"
    process.stdout.close()
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGPIPE
    assert process.stdin is not None
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stdin.close()
    process.stderr.close()


def test_ctrl_c_ends_the_lines_quietly(filled: Store) -> None:
    process = python("-m", "execstore", "--store", filled.path, "top", "--json", stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err.strip()) == (-signal.SIGINT, "")


def test_a_store_that_goes_away_is_a_sentence_and_status_3(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store(path).close()
    process = python(
        "-m", "execstore", "--store", str(path), "top", "--json", "--interval", "0.1", stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    shutil.rmtree(path)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3
    assert (
        err == f"execstore: {path}: the store was removed; open it once for writing to create one, or check the path\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interval", "0"], "it is 0.1 to 3600 seconds, not 0"),
        (["--interval", "nan"], "not nan"),
        (["--filter", "state:nope"], "'nope' is none; it is one of"),
        (["--once", "--filter", "foo:bar"], "'foo:bar' begins with no key that there is, state: or job:"),
    ],
)
def test_wrong_usage_is_told(
    filled: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["--store", filled.path, "top", *arguments], "execstore") == 2
    assert said in capsys.readouterr().err


def test_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--store", str(tmp_path / "none"), "top"], "execstore") == 3
    assert "there is no store" in capsys.readouterr().err


def test_without_textual_only_the_screen_is_missing(filled: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.dict(sys.modules, {"textual": None}), mock.patch("importlib.util.find_spec", return_value=None):
        assert run(["--store", filled.path, "top"], "execstore") == 0
        capsys.readouterr()
        with mock.patch("sys.stdout.isatty", return_value=True), mock.patch("sys.stdin.isatty", return_value=True):
            assert run(["--store", filled.path, "top"], "execstore") == 2
    assert "pip install 'execstore[top]'" in capsys.readouterr().err


def test_printing_loads_no_textual(filled: Store) -> None:
    script = (
        "import sys\n"
        "from execstore.cli.app import run\n"
        f"run(['--store', {filled.path!r}, 'top', '--once'], 'execstore')\n"
        "print('textual' in sys.modules)"
    )
    process = python("-c", script)
    assert process.communicate(timeout=PATIENCE_SECONDS)[0].endswith("False\n")


# --- on a real terminal ---------------------------------------------------------------------------------------------


_TERMINALS = itertools.count()  # a server of its own for each, since one that ends takes its time


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, folder: Path) -> None:
        self._tmux = ["tmux", "-L", f"execstore-{os.getpid()}-{next(_TERMINALS)}", "-f", "/dev/null"]
        # COLUMNS and LINES, which a runner of tests may set, would fix the size.
        unwanted = {"COLUMNS", "LINES", "NO_COLOR", "TMUX"}
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), "LC_ALL": "C.UTF-8"}
        environment["PS1"] = "$ "
        command = [*self._tmux, "-u", "new-session", "-d", "-x", "80", "-y", "24", "sh"]
        subprocess.run(command, check=True, env=environment, cwd=folder, timeout=PATIENCE_SECONDS)

    def do(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self.do("send-keys", *keys)

    def text(self, *options: str) -> str:
        return self.do("capture-pane", "-p", *options)

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, text := self.text(), re.MULTILINE):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return text

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=PATIENCE_SECONDS)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux isn't installed")
    pytest.importorskip("textual", reason="textual isn't installed (execstore[top])")
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def start(terminal: Terminal, path: str, before: str = "") -> None:
    terminal.wait_for(r"^[$#]")
    line = f"{before}{sys.executable} -m execstore --store {path} top --interval 0.2; echo status $?; stty -a"
    terminal.type("-l", line)
    terminal.type("Enter")
    terminal.wait_for(r"^━━ Live executions \d")


def check_given_back(terminal: Terminal, status: int) -> None:
    """The shell's screen is there again, and the terminal echoes and waits for whole lines as it did."""
    text = terminal.wait_for(r"^status \d+")
    assert re.search(r"^status (\d+)", text, re.MULTILINE)[1] == str(status)  # type: ignore[index]
    text = terminal.wait_for(r"(^|[ -])icanon .* echo ")
    assert re.search(r"(^| )icanon ", text, re.MULTILINE)
    assert "Live executions" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("ending", ["q", "C-c", "TERM"])
def test_on_a_real_terminal(terminal: Terminal, filled: Store, ending: str) -> None:
    start(terminal, filled.path)
    assert "\x1b[3" in terminal.text("-e")  # colours
    terminal.do("resize-window", "-x", "120", "-y", "30")
    terminal.wait_for(rf"^  {LONG_ID[:10]}.{{100,}}$|CHANGED")
    filled.create_execution(make_execution("on-the-fly"))
    terminal.wait_for(r"  on-the-fly +New$")
    terminal.do("resize-window", "-x", "80", "-y", "24")
    terminal.wait_for(r"other list  p pause$")
    if ending == "TERM":
        process_id = terminal.do("display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{process_id}/task/{process_id}/children")
        if not children.exists():
            pytest.skip("this kernel doesn't tell a process's children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGTERM)
    else:
        terminal.type(ending)
    check_given_back(terminal, 0)


def test_a_real_terminal_without_colour(terminal: Terminal, filled: Store) -> None:
    start(terminal, filled.path, "NO_COLOR=1 ")
    terminal.wait_for("Failed +1")
    escapes = re.findall(r"\x1b\[([0-9;]*)m", terminal.text("-e"))
    codes = {code for escape in escapes for code in escape.split(";")}
    assert codes <= {"", "0", "1", "2", "7", "22", "27", "39", "49"}
    terminal.type("q")
    check_given_back(terminal, 0)


def test_a_store_that_is_removed_on_a_real_terminal(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "s"
    Store(path).close()
    start(terminal, path.name)  # the shell is in its folder; a long path would break the sentence apart
    shutil.rmtree(path)
    terminal.wait_for("the store was removed; open it")
    check_given_back(terminal, 3)
