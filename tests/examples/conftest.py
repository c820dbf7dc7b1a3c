"""Running the examples as a reader would: each as a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from execstore import Store
from execstore.errors import StoreNotFoundError
from execstore.watcher import EventIterator, GetEventsRequest
from tests.support import PATIENCE_SECONDS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXAMPLES = ROOT / "examples"


class Examples:
    """Starts examples with ``folder`` as their current one, and sees to it that none is left over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start an example; its output is text, through pipes."""
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """Run an example to its end; gives its standard output."""
        process = self.start(name, *arguments)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == status, stderr
        return stdout

    def finish(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()


@pytest.fixture
def examples(tmp_path: Path) -> Iterator[Examples]:
    """Runs examples in ``tmp_path``; a store of theirs that is called ``store`` is verified in the end."""
    started = Examples(tmp_path)
    yield started
    started.finish()
    if (tmp_path / "store" / "FORMAT").exists():
        with Store(tmp_path / "store") as store:
            report = store.verify()
            assert report.ok, report.problems


def wait_until(path: Path, is_so: Callable[[Store], bool], process: subprocess.Popen[str]) -> None:
    """Look at a store after each of its changes until it is so. The process that brings it about must not end first."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    store: Store | None = None
    try:
        seen = 0
        while True:
            assert time.monotonic() < deadline, "it didn't come to that"
            has_ended = process.poll() is not None
            if store is None:
                try:
                    store = Store(path, read_only=True, long_poll_timeout=0.2)
                except StoreNotFoundError:
                    assert not has_ended, process.communicate()[1]
                    time.sleep(0.02)  # there is nothing yet that could tell of its coming
                    continue
            if is_so(store):
                return
            assert not has_ended, process.communicate()[1]
            request = GetEventsRequest(EventIterator.after_sequence_number(seen))
            found = store.event_store.get_events(request).events
            seen = found[-1].seq_num if found else seen
    finally:
        if store is not None:
            store.close()


def poll_until(is_so: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Look again and again at what no store tells of, as long as the process is there that brings it about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it didn't come to that"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
