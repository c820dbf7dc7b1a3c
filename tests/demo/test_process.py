"""Commands as real processes: what they print, how they end, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import execstore
from execstore.demo.process import ProgramNotFoundError, start_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.demo.process import Outcome

_ENVIRONMENT = {"PATH": os.environ["PATH"]}


def _run(tmp_path: Path, *arguments: str, timeout_seconds: float | None = 30, limit_bytes: int = 1000) -> Outcome:
    return start_command(arguments, _ENVIRONMENT, str(tmp_path), limit_bytes).wait(timeout_seconds)


def _sh(tmp_path: Path, script: str, *, timeout_seconds: float | None = 30, limit_bytes: int = 1000) -> Outcome:
    return _run(tmp_path, "sh", "-c", script, timeout_seconds=timeout_seconds, limit_bytes=limit_bytes)


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    outcome = _sh(tmp_path, "echo out; echo err >&2; exit 3")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (3, "out\n", "err\n")
    assert (outcome.stdout_truncated, outcome.stderr_truncated) == (False, False)
    assert (outcome.signal_name, outcome.timed_out, outcome.stopped) == ("", False, False)


def test_arguments_reach_the_program_as_they_are(tmp_path: Path) -> None:
    arguments = ["a b", "", "$HOME", "*", "'\"\\", "é🐟", "-x", "\n"]
    outcome = _run(tmp_path, "python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *arguments)
    assert outcome.stdout == ascii(arguments) + "\n"


def test_the_command_stands_in_its_directory_with_its_environment_alone(tmp_path: Path) -> None:
    outcome = start_command(["env"], {"PATH": os.environ["PATH"], "A": "b=c"}, str(tmp_path)).wait(30)
    variables = dict(line.split("=", 1) for line in outcome.stdout.splitlines())
    # Python, in between, may add the coerced locale (PEP 538).
    assert variables.keys() - {"LC_CTYPE", "PWD", "_", "SHLVL"} == {"PATH", "A"}
    assert variables["A"] == "b=c"
    assert _run(tmp_path, "pwd").stdout == f"{tmp_path}\n"


def test_long_output_is_cut_between_characters(tmp_path: Path) -> None:
    outcome = _sh(tmp_path, "printf 'é%.0s' 1 2 3 4 5 6 7 8 9; printf 12345 >&2", limit_bytes=5)
    assert (outcome.stdout, outcome.stdout_truncated) == ("éé", True)
    assert (outcome.stderr, outcome.stderr_truncated) == ("12345", False)


def test_a_flood_of_output_does_not_hold_the_command_up(tmp_path: Path) -> None:
    outcome = _sh(tmp_path, "head -c 3000000 /dev/zero; echo done >&2", limit_bytes=10)
    assert (outcome.exit_code, len(outcome.stdout), outcome.stdout_truncated) == (0, 10, True)
    assert outcome.stderr == "done\n"


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    assert _sh(tmp_path, r"printf 'a\377b\303'").stdout == "a\ufffdb\ufffd"


def test_a_command_over_its_time_is_ended(tmp_path: Path) -> None:
    outcome = _sh(tmp_path, "echo begun; sleep 60", timeout_seconds=0.3)
    assert (outcome.timed_out, outcome.stdout, outcome.signal_name) == (True, "begun\n", "SIGTERM")
    assert outcome.exit_code == 128 + signal.SIGTERM
    assert outcome.duration_seconds < 20


def test_a_command_that_will_not_end_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    outcome = _run(tmp_path, "python3", "-c", script, timeout_seconds=1)
    assert (outcome.timed_out, outcome.signal_name) == (True, "SIGKILL")


def test_a_command_killed_by_a_signal_says_which(tmp_path: Path) -> None:
    outcome = _sh(tmp_path, "kill -KILL $$")
    assert (outcome.exit_code, outcome.signal_name, outcome.timed_out) == (137, "SIGKILL", False)


def test_a_command_can_be_stopped_from_another_thread(tmp_path: Path) -> None:
    running = start_command(["sleep", "60"], _ENVIRONMENT, str(tmp_path))
    threading.Timer(0.05, running.stop).start()
    outcome = running.wait(None)
    assert (outcome.stopped, outcome.timed_out, outcome.signal_name) == (True, False, "SIGTERM")


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path) -> None:
    pid = int(_sh(tmp_path, "sleep 60 & echo $!").stdout)
    assert _until(lambda: _is_gone(pid))


def test_a_process_that_keeps_the_pipe_does_not_hold_up_the_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    outcome = _sh(tmp_path, f"setsid sleep 60 & echo $! > {pid_file}; echo out")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert (outcome.exit_code, outcome.stdout) == (0, "out\n")
    assert outcome.duration_seconds < 20


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no-such-program"], "there is no program 'no-such-program' on the PATH"),
        (["echo hello"], "its arguments go in Parameters"),
        (["./no-such-file"], "there is no program './no-such-file'"),
    ],
)
def test_a_program_that_is_not_there_is_told(tmp_path: Path, arguments: list[str], reason: str) -> None:
    with pytest.raises(ProgramNotFoundError, match=reason):
        start_command(arguments, _ENVIRONMENT, str(tmp_path))


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFoundError, match="working directory"):
        start_command(["true"], _ENVIRONMENT, str(tmp_path / "nowhere"))


def test_a_file_that_is_no_program_ends_like_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\0\0")
    (tmp_path / "data").chmod(0o755)
    outcome = _run(tmp_path, "./data")
    assert outcome.exit_code == 126
    assert "./data: it can't be run" in outcome.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the parent's death signal")
def test_a_command_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, sys
        from execstore.demo.process import start_command
        running = start_command(["sleep", "60"], {"PATH": os.environ["PATH"]}, ".")
        print(running.pid, flush=True)
        running.wait(None)
    """)
    root = str(Path(execstore.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as node:
        assert node.stdout is not None
        pid = int(node.stdout.readline())
        # Until it is ``sleep`` it may be ended before it has asked for the signal, which is the other branch.
        assert _until(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text())
        node.kill()
    assert _until(lambda: _is_gone(pid))
