"""Filling a new tree that nobody else has open: everything is written straight into its place, and flushed once.

No journal, no temporary names: until the caller gives the tree its real name, nobody reads it, and if the filling is
cut off the whole folder is thrown away. A change through the journal costs several times as much.

What is left is nearly all the kernel's work of making files. Once there is much of it, it goes to a helper process, so
that this one can prepare the next meanwhile (``bulk_helper``; a thread would not do, as it had to wait for Python's
lock after every call).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.tree.bulk_helper import MARK, PUT, Helper, make
from execstore.tree.names_apart import NamesApart
from execstore.tree.paths import lines_path, marker_path, marker_target, record_path, segment_path
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.tree.bulk_helper import NewFile
    from execstore.tree.filesystem import FileSystem
    from execstore.tree.layout import Layout

__all__ = ["BulkFiller"]

_LOG_BUFFER_BYTES = 1 << 18
_STEPS_BEFORE_HELP = 8000
_BATCH_STEPS = 200
_BATCH_BYTES = 1 << 18


class BulkFiller:
    """Writes into an empty tree, made and closed before.

    `finish` must be called, then the head told `log_state`; or `abandon`. A name that is taken is a ``FileExistsError``
    whose ``filename`` is the path; it may come late, at the latest from `finish`.
    """

    def __init__(self, fs: FileSystem, root: str, layout: Layout, segment_bytes: int) -> None:
        self.log_state = LogState()
        self._fs = fs
        self._root = root
        self._layout = layout
        self._segment_bytes = segment_bytes
        self._log_lines: list[bytes] = []
        self._log_offset = 0
        self._log_bytes = 0
        self._steps = 0
        self._batch: list[NewFile] = []
        self._batch_bytes = 0
        self._helper: Helper | None = None

    def put_record(self, collection: str, key: str, data: bytes) -> None:
        """The document under this key is ``data``."""
        self._do((PUT, record_path(collection, key), data), len(data))

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        """The lines under this key."""
        self._do((PUT, lines_path(collection, key), lines), len(lines))

    def mark(self, index: str, group: str, key: str) -> None:
        """The index has ``key`` under ``group``."""
        target = marker_target(self._layout.alias(index), key)
        self._do((MARK, marker_path(index, group, key), target.encode()), 0)

    def start_log(self, number: int) -> None:
        """Let the next line have this number. Lines that were written before are forgotten."""
        self._flush_log()
        for name in self._fs.names(self._layout.log):
            self._fs.remove(f"{self._layout.log}/{name}")
        self.log_state = LogState(latest=number - 1, oldest=number, segment=number)

    def append_log(self, line: bytes, time_ns: int) -> None:
        """Add a line (without newline) to the log."""
        state, offset = self.log_state.after(len(line) + 1, time_ns, self._segment_bytes)
        if offset == 0 or self._log_bytes >= _LOG_BUFFER_BYTES:
            self._flush_log()
            self._log_offset = offset
        self.log_state = state
        self._log_lines.append(line + b"\n")
        self._log_bytes += len(line) + 1

    def finish(self) -> None:
        """Make all of it durable."""
        self._flush_log()
        if self._helper is not None:
            self._helper.send(self._batch)
            self._helper.finish()
        self._fs.sync(self._paths())

    def abandon(self) -> None:
        """Stop; what is there by now is to be thrown away."""
        if self._helper is not None:
            self._helper.stop()

    def _do(self, step: NewFile, size: int) -> None:
        self._steps += 1
        if self._steps == _STEPS_BEFORE_HELP:
            # The helper knows names as they are kept only where that is as they are wished.
            self._helper = None if isinstance(self._fs, NamesApart) else Helper.start(self._root)
        if self._helper is None:
            make(self._fs, *step)
            return
        self._batch.append(step)
        self._batch_bytes += size
        if len(self._batch) >= _BATCH_STEPS or self._batch_bytes >= _BATCH_BYTES:
            self._helper.send(self._batch)
            self._batch, self._batch_bytes = [], 0

    def _flush_log(self) -> None:
        if self._log_lines:
            data = b"".join(self._log_lines)
            self._fs.overwrite(segment_path(self._layout.log, self.log_state.segment), self._log_offset, data)
            self._log_lines, self._log_bytes = [], 0

    def _paths(self) -> Iterator[str]:
        """Everything there is, for file systems that can't flush all at once."""
        for folder in self._layout.folders():
            yield f"{folder}/."
            for name in self._fs.names(folder):
                path = f"{folder}/{name}"
                yield path
                if folder in self._layout.indexes:
                    yield f"{path}/."
