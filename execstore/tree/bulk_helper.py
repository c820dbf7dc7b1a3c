"""A process that makes files in a new tree while its parent prepares the next ones.

It reads batches of files to make from its standard input, and is done at its end. If something goes wrong it writes one
line of JSON, ``[errno, text, path]``, and ends with status 1.
"""

from __future__ import annotations

import json
import marshal
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Self, TypeAlias

from execstore.tree.filesystem import RealFileSystem

if TYPE_CHECKING:
    from execstore.tree.filesystem import FileSystem

__all__ = ["MARK", "PUT", "Helper", "NewFile", "main", "make"]

PUT, MARK = 0, 1
NewFile: TypeAlias = tuple[int, str, bytes]
"""``PUT`` or ``MARK``, the path, and what is in it or (of an index entry) where it leads to."""

_LENGTH_BYTES = 8
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


def make(fs: FileSystem, kind: int, path: str, content: bytes) -> None:
    """Make a new file, or an index entry that leads to ``content``.

    Raises ``FileExistsError``, with the path as its ``filename``, if the name is taken.
    """
    try:
        if kind == PUT:
            fs.create(path, content)
        else:
            _mark(fs, path, content.decode())
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, path) from None


def _mark(fs: FileSystem, path: str, target: str) -> None:
    try:
        fs.link(path, target)
    except FileNotFoundError:
        fs.make_folder(path.rpartition("/")[0])
        fs.link(path, target)


class Helper:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel

    @classmethod
    def start(cls, root: str) -> Self | None:
        """Start a helper for the tree at ``root``; ``None`` where that isn't possible or of no use."""
        program = os.path.basename(sys.executable or "")
        # Inside of another program (frozen, embedded) the "interpreter" is that program.
        # On Windows a socket can't be a process's standard input.
        if (
            sys.platform == "win32"
            or getattr(sys, "frozen", False)
            or not program.startswith(("python", "pypy"))
            or os.cpu_count() == 1
        ):
            return None
        package_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
        # A socket rather than a pipe: whoever writes to it can ask not to be killed (SIGPIPE) if the helper is gone.
        channel, its_channel = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: S603 - this very Python, on this very module
                [sys.executable, "-P", "-m", __name__, os.path.abspath(root)],
                stdin=its_channel.fileno(),
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": search_path},
            )
        except OSError:
            channel.close()
            return None
        finally:
            its_channel.close()
        return cls(process, channel)

    def send(self, files: list[NewFile]) -> None:
        """Hand over some files. Raises the helper's ``OSError`` if an earlier one failed."""
        # Both sides are the same Python, so its own and fastest form will do.
        data = marshal.dumps(files)
        try:
            self._channel.sendall(len(data).to_bytes(_LENGTH_BYTES) + data, _NO_SIGNAL)
        except ConnectionError:
            self.finish()
            raise

    def finish(self) -> None:
        """Wait until all is done. Raises the helper's ``OSError`` if something failed."""
        self._channel.close()
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return
        try:
            number, text, path = json.loads(output)
        except ValueError:
            raise OSError(f"the helper process ended with status {self._process.returncode}") from None
        raise OSError(number, text, path)

    def stop(self) -> None:
        """End it at once."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()


def main(root: str) -> int:
    """The helper's side. Returns the exit status."""
    # Ctrl-C goes to all processes of a terminal; it is the parent's to decide what then happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fs = RealFileSystem(root)
    path = ""
    try:
        while length := sys.stdin.buffer.read(_LENGTH_BYTES):
            for kind, path, content in marshal.loads(sys.stdin.buffer.read(int.from_bytes(length))):  # noqa: S302
                make(fs, kind, path, content)
    except OSError as error:
        sys.stdout.write(json.dumps([error.errno, error.strerror, path]) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
