"""One command as a real subprocess: started in a session of its own, its output kept up to a limit, always ended.

It is no sandbox: the command has all rights of the user who runs the node.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OUTPUT_LIMIT_BYTES", "Outcome", "ProgramNotFoundError", "RunningCommand", "start_command"]

# What Bacalhau keeps of each stream in RunOutput (system.MaxStdoutReturnLength).
OUTPUT_LIMIT_BYTES = 2048

_GRACE_SECONDS = 0.5
_READ_BYTES = 1 << 16


class ProgramNotFoundError(OSError):
    """The command's program isn't there; the text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. ``exit_code`` is what a shell would say, 128 and the signal's number after a signal."""

    exit_code: int
    signal_name: str
    timed_out: bool
    stopped: bool
    stdout: str
    stdout_truncated: bool
    stderr: str
    stderr_truncated: bool
    duration_seconds: float


class _Capture(threading.Thread):
    """Reads a pipe to its end, so that the command is never held up by it, and keeps the beginning."""

    def __init__(self, pipe: IO[bytes], limit_bytes: int) -> None:
        super().__init__(name="execstore-demo-capture", daemon=True)
        self._pipe = pipe
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self._truncated = False
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._pipe.fileno(), _READ_BYTES):
                room = self._limit_bytes - len(self._kept)
                self._kept += data[:room]
                self._truncated = self._truncated or len(data) > room

    def finish(self) -> tuple[str, bool]:
        # A process that left the session may hold the pipe for ever; it isn't worth waiting for.
        self.join(_GRACE_SECONDS)
        truncated = self._truncated
        # A cut in the middle of a character must not look like damage, so the decoder isn't told that it is the end.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._kept), final=not truncated)
        return text, truncated


class RunningCommand:
    """A command that was started. ``wait`` must be called, on the thread that started it."""

    def __init__(self, process: subprocess.Popen[bytes], output_limit_bytes: int) -> None:
        if process.stdout is None or process.stderr is None:
            raise ValueError("the process must have been started with pipes")
        self._process = process
        self._stopped = threading.Event()
        self._started_at = time.monotonic()
        self._stdout = _Capture(process.stdout, output_limit_bytes)
        self._stderr = _Capture(process.stderr, output_limit_bytes)

    @property
    def pid(self) -> int:
        """The ID of the process, which is also that of its session and process group."""
        return self._process.pid

    def stop(self) -> None:
        """Have the command ended; safe from any thread, and ``wait`` then returns soon."""
        self._stopped.set()

    def wait(self, timeout_seconds: float | None) -> Outcome:
        """Wait for the end, and end it after ``timeout_seconds`` (``None`` for no limit)."""
        timed_out = False
        try:
            timed_out = not self._wait_until_end(timeout_seconds)
        finally:
            # Whatever it has left running in its session goes with it.
            self._signal(signal.SIGKILL)  # type: ignore[attr-defined, unused-ignore]
            self._process.wait()
        duration_seconds = time.monotonic() - self._started_at
        stdout, stdout_truncated = self._stdout.finish()
        stderr, stderr_truncated = self._stderr.finish()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        code = self._process.returncode
        return Outcome(
            exit_code=128 - code if code < 0 else code,
            signal_name=_signal_name(-code) if code < 0 else "",
            timed_out=timed_out,
            stopped=self._stopped.is_set(),
            stdout=stdout,
            stdout_truncated=stdout_truncated,
            stderr=stderr,
            stderr_truncated=stderr_truncated,
            duration_seconds=duration_seconds,
        )

    def _wait_until_end(self, timeout_seconds: float | None) -> bool:
        deadline = None if timeout_seconds is None else self._started_at + timeout_seconds
        while True:
            slice_seconds = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
            try:
                self._process.wait(max(0.0, slice_seconds))
            except subprocess.TimeoutExpired:
                is_late = deadline is not None and time.monotonic() >= deadline
                if is_late or self._stopped.is_set():
                    self._end_gently()
                    return not is_late
            else:
                return True

    def _end_gently(self) -> None:
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)  # type: ignore[attr-defined, unused-ignore]


def start_command(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
) -> RunningCommand:
    """Start a command; it is killed when this process dies, where the kernel can see to it (Linux).

    Args:
        arguments: the program, looked up in ``environment["PATH"]``, and its arguments. No shell sees them.

    Raises:
        ProgramNotFoundError: if the program isn't there.
        OSError: if it can't be started otherwise.
    """
    program = _find_program(arguments[0], environment, directory)
    launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
    process = subprocess.Popen(  # noqa: S603 (to run what the job says is the purpose)
        [sys.executable, "-I", "-S", launcher, str(os.getpid()), program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=environment,
        start_new_session=True,
    )
    return RunningCommand(process, output_limit_bytes)


def _find_program(name: str, environment: Mapping[str, str], directory: str) -> str:
    if not os.path.isdir(directory):
        raise ProgramNotFoundError(f"the working directory {directory!r} is not there")
    if "/" in name:
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            raise ProgramNotFoundError(f"there is no program {name!r}")
        return path
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        advice = "; its arguments go in Parameters" if " " in name else ""
        raise ProgramNotFoundError(f"there is no program {name!r} on the PATH{advice}")
    return os.path.abspath(found)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
