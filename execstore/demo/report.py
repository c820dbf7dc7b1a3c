"""What the demo prints at its end: the store as a tree of files, one record, its events, and where to look further."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from execstore import Execution

__all__ = ["choose_example", "invocation", "look_further", "read_lines", "tree_lines"]


def tree_lines(root: str, *, depth: int = 3, entries: int = 2) -> list[str]:
    """Return a folder as a tree, like ``ls -A`` shows it: links with their targets, long folders cut.

    Args:
        depth: how many levels of folders are entered.
        entries: how many entries of a folder below the root are shown.
    """
    name = os.path.basename(os.path.abspath(root))
    return [name + "/", *_branch(root, "", depth, None, entries)]


def _branch(folder: str, indent: str, depth: int, limit: int | None, entries: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    shown = children if limit is None or len(children) <= limit + 1 else children[:limit]
    for index, entry in enumerate(shown):
        is_last = index == len(children) - 1
        is_folder = entry.is_dir(follow_symlinks=False)
        yield indent + ("└── " if is_last else "├── ") + _entry_text(entry, is_folder=is_folder)
        if is_folder and depth > 1:
            yield from _branch(entry.path, indent + ("    " if is_last else "│   "), depth - 1, entries, entries)
    if len(shown) < len(children):
        yield f"{indent}└── … and {len(children) - len(shown)} more"


def _entry_text(entry: os.DirEntry[str], *, is_folder: bool) -> str:
    if entry.is_symlink():
        try:
            return f"{entry.name} -> {os.readlink(entry.path)}"
        except OSError:
            return entry.name
    return entry.name + "/" if is_folder else entry.name


def choose_example(executions: Iterable[Execution]) -> Execution | None:
    """Return the execution that is most worth reading: one that failed by itself, else any that has ended."""

    def interest(execution: Execution) -> tuple[bool, bool, int]:
        output = execution.run_output
        failed = output is not None and output.exit_code != 0 and bool(output.stderr)
        size = len(output.stdout) + len(output.stderr) if output is not None else 0
        return failed, output is not None, -size

    return max(executions, key=interest, default=None)


def read_lines(path: str) -> list[str]:
    """Return a file's lines as ``cat`` shows them."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().removesuffix("\n").split("\n")


def look_further(store_path: str, execution_id: str) -> list[str]:
    """Return three commands to go on with, to be copied as they are into the same shell."""
    program = f"{invocation()} --store {shlex.quote(store_path)}"
    identity = shlex.quote(execution_id)
    return [f"{program} ls", f"{program} show {identity}", f"{program} events {identity}"]


def invocation(arguments: Sequence[str] | None = None, original: Sequence[str] | None = None) -> str:
    """Return how this program was started, as a shell would take it again.

    Args:
        arguments: ``sys.argv`` if not given.
        original: ``sys.orig_argv`` if not given: the same with the interpreter.
    """
    program = (sys.argv if arguments is None else arguments)[0]
    if os.path.basename(program) == "__main__.py":
        return f"{shlex.quote((sys.orig_argv if original is None else original)[0])} -m execstore"
    name = os.path.basename(program)
    found = shutil.which(name)
    if found is not None and os.path.exists(program) and os.path.samefile(found, program):
        return shlex.quote(name)
    return shlex.quote(program)
