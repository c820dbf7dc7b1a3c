"""A process that makes files in a new tree while its parent prepares the next ones.

It reads frames from its standard input: a line ``<bytes of the description> <bytes of the payload>``, then both, as the
journal writes the steps of a change. At the end of its input it is done. If something goes wrong it writes one line of
JSON, ``[errno, text, path]``, and ends with status 1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, BinaryIO, Self

from execstore.tree.filesystem import RealFileSystem
from execstore.tree.steps import Mark, Put, describe_steps, parse_steps, payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.steps import Step

__all__ = ["Helper", "do_new", "main"]

_PIPE_BYTES = 1 << 20


def do_new(fs: FileSystem, step: Step) -> None:
    """Make a new file or index entry. ``FileExistsError``, with the path as its ``filename``, if the name is taken."""
    try:
        if isinstance(step, Put):
            fs.create(step.path, step.data)
        elif isinstance(step, Mark):
            _mark(fs, step)
        else:
            raise TypeError(f"nothing is new about {step!r}")
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, step.path) from None


def _mark(fs: FileSystem, step: Mark) -> None:
    try:
        fs.link(step.path, step.target)
    except FileNotFoundError:
        fs.make_folder(step.path.rpartition("/")[0])
        fs.link(step.path, step.target)


class Helper:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, root: str) -> Self | None:
        """Start a helper for the tree at ``root``; ``None`` where that isn't possible or of no use."""
        program = os.path.basename(sys.executable or "")
        # Inside of another program (frozen, embedded) the "interpreter" is that program.
        if getattr(sys, "frozen", False) or not program.startswith(("python", "pypy")) or os.cpu_count() == 1:
            return None
        package_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
        try:
            process = subprocess.Popen(  # noqa: S603 - this very Python, on this very module
                [sys.executable, "-P", "-m", __name__, os.path.abspath(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": search_path},
                bufsize=0,
            )
        except OSError:
            return None
        return cls(process)

    def send(self, steps: Iterable[Step]) -> None:
        """Hand over some steps. Raises the helper's ``OSError`` if an earlier one failed."""
        steps = list(steps)
        description, data = json.dumps(describe_steps(steps)).encode(), payload(steps)
        frame = memoryview(b"%d %d\n%b%b" % (len(description), len(data), description, data))
        if self._process.stdin is None:
            raise ValueError("the helper has been told to finish")
        try:
            while frame:
                frame = frame[self._process.stdin.write(frame) or 0 :]
        except BrokenPipeError:
            self._end()
            raise

    def finish(self) -> None:
        """Wait until all is done. Raises the helper's ``OSError`` if something failed."""
        self._end()

    def stop(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def _end(self) -> None:
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return
        try:
            number, text, path = json.loads(output)
        except ValueError:
            raise OSError(f"the helper process ended with status {self._process.returncode}") from None
        raise OSError(number, text, path)


def main(root: str) -> int:
    """The helper's side. Returns the exit status."""
    # Ctrl-C goes to all processes of a terminal; it is the parent's to decide what then happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fs = RealFileSystem(root)
    path = ""
    try:
        for steps in _frames(sys.stdin.buffer):
            for step in steps:
                path = step.path
                do_new(fs, step)
    except OSError as error:
        sys.stdout.write(json.dumps([error.errno, error.strerror, path]) + "\n")
        return 1
    return 0


def _frames(stream: BinaryIO) -> Iterable[tuple[Step, ...]]:
    while header := stream.readline():
        description_bytes, data_bytes = map(int, header.split())
        description = json.loads(stream.read(description_bytes))
        yield parse_steps(description, stream.read(data_bytes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
