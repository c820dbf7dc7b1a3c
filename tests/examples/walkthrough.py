"""Runs the commands of a page as its reader would, and writes what they print into it.

``python -m tests.examples.walkthrough`` makes examples/WALKTHROUGH.md anew. In a block ```` ```console ```` a line that
begins with ``$ `` is a command, given to one shell; what follows is its output. ``console other`` is another terminal,
whose command goes on while the next block is run; ``console unordered``: its lines may come in another order.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support import PATIENCE_SECONDS, ROOT

__all__ = ["PAGE", "Block", "normal", "parse", "replay"]

PAGE: Final = ROOT / "examples" / "WALKTHROUGH.md"

_FENCE: Final = re.compile(r"```console ?(\w*)\n(.*?)```\n", re.DOTALL)
_MARK: Final = "--8<-- "

# What may differ from one run to the next.
_VARYING: Final = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\b[ej]-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
        (r"\b[ej]-[0-9a-f]{4,8}(-[0-9a-f]{0,4})?\b", "ID"),
        (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
        (r"\b\d{19}\b", "NS"),
        (r"\b\d+\.\d+ s\b", "N s"),
        (r"\b(now|\d+[smhd] ago)\b", "AGE"),
        (r"[\d.,]+ (bytes|B|[KMG]iB|(items|executions)/s)", r"N \1"),
        (r"process \d+", "process N"),
        (r"\bpid \d+|\"PID\":\"\d+\"", "PID"),
        (r"\d{8}T\d{6}\S*", "STAMP"),
        (r"/tmp/\S*?/(?=my-store)", ""),
        (r"[ \t]+", " "),
    )
]


@dataclass
class Block:
    """A console block: pairs of a command and its output."""

    kind: str
    commands: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The block as it stands in the page."""
        return "```console" + (f" {self.kind}" if self.kind else "") + f"\n{self.body()}```\n"

    def body(self) -> str:
        """What is between the fences."""
        return "".join(f"$ {command}\n{output}" for command, output in self.commands)


def parse(page: str) -> list[Block]:
    """The blocks of a page, with the output that it says."""
    blocks = []
    for kind, body in _FENCE.findall(page):
        block = Block(kind)
        for line in body.splitlines(keepends=True):
            if line.startswith("$ "):
                block.commands.append((line[2:].rstrip("\n"), ""))
            else:
                command, output = block.commands[-1]
                block.commands[-1] = (command, output + line)
        blocks.append(block)
    return blocks


def normal(text: str) -> list[str]:
    """The lines of an output without what may differ."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return [line.strip() for line in text.splitlines()]


class _Shell:
    """A shell that is given command by command, its errors together with its output."""

    def __init__(self, environment: dict[str, str], folder: str) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def send(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def line(self) -> str:
        return self._lines.get(timeout=PATIENCE_SECONDS)

    def run(self, command: str) -> str:
        """What a command prints. Its status is there for the next."""
        self.send(f"{{ {command}\n}} < /dev/null; status=$?; echo; echo '{_MARK}'; (exit $status)")
        output = ""
        while (line := self.line()) != f"{_MARK}\n":
            output += line
        # The line break before the mark is there in case that the last line had none.
        return output.removesuffix("\n") if output != "\n" else ""

    def state(self) -> tuple[dict[str, str], str]:
        """The variables and the folder, for another terminal."""
        lines = self.run("pwd; echo $EXECSTORE_DIR").splitlines()
        return {"EXECSTORE_DIR": lines[1]}, lines[0]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def replay(blocks: list[Block], programs: str) -> list[Block]:
    """The same blocks with the output that their commands have now, run from the checkout's folder.

    Args:
        blocks: what to run, one after the other.
        programs: a folder with an ``execstore`` to call.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXECSTORE_")}
    environment = {**inherited, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    shell = _Shell(environment, str(ROOT))
    others: list[tuple[Block, _Shell, str, int]] = []
    found: list[Block] = []
    try:
        for block in blocks:
            now = Block(block.kind)
            found.append(now)
            if block.kind == "other":
                variables, folder = shell.state()
                other = _Shell({**environment, **variables}, folder)
                ((command, said),) = block.commands
                other.send(command)
                # Its first line tells that it is under way.
                others.append((now, other, other.line(), said.count("\n")))
                now.commands.append((command, ""))
                continue
            now.commands = [(command, shell.run(command)) for command, _ in block.commands]
            for each, other, first, expected in others:
                command = each.commands[0][0]
                output = first + "".join(other.line() for _ in range((expected or _FOLLOWED) - 1))
                each.commands[0] = (command, output)
                other.end()
            others = []
    finally:
        shell.end()
        for _, other, _, _ in others:
            other.end()
    return found


_FOLLOWED: Final = 4
"""How many lines of another terminal a page is given that has none yet."""


def programs(folder: Path) -> str:
    """A folder below ``folder`` with an ``execstore`` that runs this checkout."""
    place = folder / "bin"
    place.mkdir()
    script = place / "execstore"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m execstore "$@"\n')
    script.chmod(0o755)
    return str(place)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        page = PAGE.read_text()
        outputs = iter(replay(parse(page), programs(Path(temporary))))
        PAGE.write_text(_FENCE.sub(lambda _: next(outputs).text(), page))
