"""Filling a new tree that nobody else has open: everything is written straight into its place, and flushed once.

No journal, no temporary names: until the caller gives the tree its real name, nobody reads it, and if the filling is
cut off the whole folder is thrown away. A change through the journal costs several times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execstore.tree.paths import lines_path, marker_path, marker_target, record_path, segment_path
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.layout import Layout

__all__ = ["BulkFiller"]

_LOG_BUFFER_BYTES = 1 << 18


class BulkFiller:
    """Writes into an empty tree, made and closed before. `finish` must be called, then the head told `log_state`."""

    def __init__(self, fs: FileSystem, layout: Layout, segment_bytes: int) -> None:
        self.log_state = LogState()
        self._fs = fs
        self._layout = layout
        self._segment_bytes = segment_bytes
        self._log_lines: list[bytes] = []
        self._log_offset = 0
        self._log_bytes = 0

    def put_record(self, collection: str, key: str, data: bytes) -> None:
        """The document under this key is ``data``. Raises ``FileExistsError`` if there is one already."""
        self._fs.create(record_path(collection, key), data)

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        """The lines under this key. Raises ``FileExistsError`` if there are some already."""
        self._fs.create(lines_path(collection, key), lines)

    def mark(self, index: str, group: str, key: str) -> None:
        """The index has ``key`` under ``group``."""
        path = marker_path(index, group, key)
        target = marker_target(self._layout.alias(index), key)
        try:
            self._fs.link(path, target)
        except FileNotFoundError:
            self._fs.make_folder(path.rpartition("/")[0])
            self._fs.link(path, target)

    def start_log(self, number: int) -> None:
        """Let the next line have this number. Lines that were written before are forgotten."""
        self._flush_log()
        for first in self._segments():
            self._fs.remove(segment_path(self._layout.log, first))
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
        self._fs.sync(self._paths())

    def _flush_log(self) -> None:
        if self._log_lines:
            data = b"".join(self._log_lines)
            self._fs.overwrite(segment_path(self._layout.log, self.log_state.segment), self._log_offset, data)
            self._log_lines, self._log_bytes = [], 0

    def _segments(self) -> list[int]:
        return [int(name.partition(".")[0]) for name in self._fs.names(self._layout.log)]

    def _paths(self) -> Iterator[str]:
        """Everything there is, for file systems that can't flush all at once."""
        for folder in self._layout.folders():
            yield f"{folder}/."
            for name in self._fs.names(folder):
                path = f"{folder}/{name}"
                yield path
                if folder in self._layout.indexes:
                    yield f"{path}/."
