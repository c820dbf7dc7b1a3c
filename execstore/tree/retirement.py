"""Retiring a journal file: making durable in the tree what its records did, so that it may be written over.

It takes long (everything that changed since goes to the disk), so it is done beside the commits: once they have gone on
in the other file, nothing is added to this one, and all it holds is published. FORMAT.md says under "Crashes" why a
power cut at any moment does no harm: until the head tells that a file is retired, a recovery replays it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from execstore.tree.names import HEAD_PATH, JOURNAL_PATHS
from execstore.tree.steps import Move

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.journal import JournalFiles

__all__ = ["Retirement", "RunLater", "in_a_thread", "journaled_paths"]

RunLater: TypeAlias = Callable[[Callable[[], None]], None]


def in_a_thread(job: Callable[[], None]) -> None:
    """Run a job beside the caller. It is no reason for the process to stay: it may be cut off anywhere."""
    # None is to be had where there are too many, or the interpreter is ending. Then a commit does it at the latest.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=job, name="execstore-retirement", daemon=True).start()


def journaled_paths(journal: JournalFiles, *numbers: int) -> Iterator[str]:
    """Every path that the records of these journal files changed, some more than once, and the engine's own."""
    # A head on disk that says "clean" must not outlive the journal that shows that it is out of date.
    yield HEAD_PATH
    yield from JOURNAL_PATHS  # unflushed where durability is relaxed
    for number in numbers:
        for record in journal.chain(number):
            for step in record.steps:
                yield step.path
                if isinstance(step, Move):
                    yield step.source


class Retirement:
    """Retires one file at a time, for one handle."""

    def __init__(self, fs: FileSystem, journal: JournalFiles, run_later: RunLater) -> None:
        self._fs = fs
        self._journal = journal
        self._run_later = run_later
        self._begun = 0
        self._asking = threading.Lock()
        self._lost: OSError | None = None
        self.retired = 0  # up to which epoch this handle saw to it

    def sync(self, *numbers: int) -> None:
        """Make durable, now, what the records of these journal files did.

        Raises:
            OSError: something of the tree was lost, which may have been noticed beside the commits just before.
        """
        self._ask(lambda: self._fs.sync(journaled_paths(self._journal, *numbers)))

    def _ask(self, sync: Callable[[], None]) -> None:
        # That pages were lost the system tells but once, to who asks next (syncfs(2) once for each open file, fsync(2)
        # once for who opens the file later). So one asks after the other, and what one was told all are told.
        with self._asking:
            if self._lost is not None:
                raise OSError(self._lost.errno, self._lost.strerror, self._lost.filename)
            try:
                sync()
            except OSError as error:
                self._lost = error
                raise

    def begin(self, epoch: int, number: int, failed: Callable[[OSError], None]) -> None:
        """Retire journal file ``number``, which holds an epoch, unless that was begun before.

        ``failed`` is told later and from elsewhere if it can't be. That it was done is for the next commit to say in
        the head: taking the change lock for that would keep others from it.
        """
        if epoch <= self._begun:
            return
        self._begun = epoch

        def sync() -> None:
            try:
                self.sync(number)
            except OSError as error:
                failed(error)
            else:
                self.retired = epoch

        self._run_later(sync)

    def ease(self, failed: Callable[[OSError], None]) -> None:
        """Have written back what was published so far, so that the next retirement finds less to do.

        While much is written back at once, commits wait long for their own flush.
        """

        def sync() -> None:
            try:
                self._ask(self._fs.write_back)
            except OSError as error:
                failed(error)

        self._run_later(sync)
