"""A change in the making: reads what is committed and staged, with its own writes on top, and collects steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execstore.tree.paths import encode_name, lines_path, marker_path, marker_target, record_path, segment_path
from execstore.tree.quarantine import set_aside
from execstore.tree.reader import Reader
from execstore.tree.refusal import refused_before
from execstore.tree.segments import LOG_VALUE, LogState, Rotation
from execstore.tree.steps import Append, Mark, Move, Overlay, Put, Remove, RemoveFolder, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from execstore.tree.filesystem import FileSystem
    from execstore.tree.kept import Kept
    from execstore.tree.layout import Layout

__all__ = ["Change"]


class Change(Reader):
    """What one transaction does, by collections and keys. Nothing happens until the tree commits it."""

    is_change = True

    def __init__(
        self,
        fs: FileSystem,
        root: str,
        layers: Sequence[Overlay],
        values: Mapping[str, Any],
        layout: Layout,
        rotation: Rotation,
        kept: Kept | None = None,
        transaction: int = 0,
    ) -> None:
        self._own = Overlay()
        self._log_lines: list[bytes] = []
        self._log_segment = self._log_offset = 0
        self._seen = 0  # how many of the steps are in the overlay: most changes never read what they wrote
        super().__init__(fs, root, (self._own, *layers), dict(values), kept, transaction)
        self._layout = layout
        self._rotation = rotation
        self.steps: list[Step] = []
        self._changed_values = False
        self.is_rehearsal = False
        self.attempt: object = None  # which took the change lock, if its end lets go of that

    @classmethod
    def rehearsal(cls, reader: Reader, layout: Layout) -> Change:
        """A change that is never committed, on top of what ``reader`` sees: it tells what a real one would do."""
        change = cls(*reader.parts, layout, Rotation())
        change.is_rehearsal = True
        return change

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.steps and not self._changed_values

    def set_value(self, name: str, value: Any) -> None:
        """Set one of the head's values (a JSON value that isn't changed afterwards)."""
        values = self._values
        if isinstance(values, dict) and values.get(name) != value:
            values[name] = value
            self._changed_values = True

    def put_record(self, collection: str, key: str, data: bytes, *, is_new: bool = False) -> None:
        """The document under this key is ``data``. ``is_new``: there was none, which makes it a little cheaper."""
        self._do(Put(record_path(collection, key), data, is_new))

    def remove_record(self, collection: str, key: str) -> None:
        self._do(Remove(record_path(collection, key)))

    def append_lines(self, collection: str, key: str, lines: bytes, *, is_new: bool = False) -> None:
        """Add lines (each with its newline) behind those there are. ``is_new``: there are none."""
        path = lines_path(collection, key)
        self._do(Append(path, 0 if is_new else self._size(path), lines))

    def put_lines(self, collection: str, key: str, lines: bytes) -> None:
        """Replace all lines under this key."""
        self._do(Put(lines_path(collection, key), lines))

    def remove_lines(self, collection: str, key: str) -> None:
        path = lines_path(collection, key)
        if self._size(path):
            self._do(Remove(path))

    def mark(self, index: str, group: str, key: str) -> None:
        """The index has ``key`` under ``group``."""
        self._do(Mark(marker_path(index, group, key), marker_target(self._layout.alias(index), key)))

    def move_mark(self, index: str, old_group: str, new_group: str, key: str) -> None:
        """The index has ``key`` under ``new_group`` instead of ``old_group``."""
        old, new = marker_path(index, old_group, key), marker_path(index, new_group, key)
        if old != new:
            self._do(Move(old, new, marker_target(self._layout.alias(index), key)))

    def unmark(self, index: str, group: str, key: str, *, drop_empty: bool) -> None:
        """The index no longer has ``key`` under ``group``; with ``drop_empty`` an empty group goes too."""
        self._do(Remove(marker_path(index, group, key)))
        if drop_empty:
            self.drop_group(index, group)

    def drop_group(self, index: str, group: str) -> None:
        """Remove a group's folder if nothing is in it."""
        self._do(RemoveFolder(f"{index}/{encode_name(group)}"))

    def next_log_number(self) -> int:
        """The number that the next line of the log gets."""
        return LogState.of(self._values).latest + 1

    def append_log(self, line: bytes, time_ns: int) -> int:
        """Add a line (without newline) to the log; returns its number."""
        rotation = self._rotation
        state, offset = LogState.of(self._values).after(
            len(line) + 1, time_ns, rotation.segment_bytes, rotation.segment_age_ns
        )
        # Lines of one segment become one step.
        if offset == 0 or not self._log_lines:
            self._end_log_step()
            self._log_segment, self._log_offset = state.segment, offset
        self._log_lines.append(line)
        self.set_value(LOG_VALUE, state.to_value())
        return state.latest

    def drop_log_before(self, number: int) -> LogState:
        """Remove every segment of the log all of whose lines are below ``number``; returns the log's new state.

        The numbers of what is removed are never given again.
        """
        state, dropped = LogState.of(self._values).without_segments(self.segment_numbers(self._layout.log), number)
        for first in dropped:
            self._do(Remove(segment_path(self._layout.log, first)))
        self.set_value(LOG_VALUE, state.to_value())
        return state

    def _end_log_step(self) -> None:
        if self._log_lines:
            self._log_lines.append(b"")
            path = segment_path(self._layout.log, self._log_segment)
            self.steps.append(Append(path, self._log_offset, b"\n".join(self._log_lines)))
            self._log_lines = []

    def finish(self) -> tuple[Step, ...]:
        """All steps."""
        self._end_log_step()
        return tuple(self.steps)

    # --- for repair ---

    def set_aside(self, path: str, reason: str) -> str:
        """Move a damaged file to ``quarantine/``, with the reason beside it; returns where it now lies.

        This happens at once. The step makes sure that a replay of the journal doesn't bring the file back.
        """
        place = "" if self.is_rehearsal else set_aside(self._fs, path, reason)
        self._do(Remove(path))
        return place

    def set_folder_aside(self, path: str, reason: str) -> str:
        """The same for what stands where a folder belongs. The folder is made anew when something goes into it."""
        return "" if self.is_rehearsal else set_aside(self._fs, path, reason)

    def unmark_named(self, index: str, group_name: str, name: str) -> None:
        """Remove an index entry by names that `groups` and `members_named` gave."""
        self._do(Remove(f"{index}/{group_name}/{name}"))

    def drop_group_named(self, index: str, group_name: str) -> None:
        """Remove a group's folder if nothing is in it."""
        self._do(RemoveFolder(f"{index}/{group_name}"))

    def put_lines_named(self, collection: str, name: str, lines: bytes) -> None:
        """Replace all lines under a name that `lines_names` gave."""
        self._do(Put(f"{collection}/{name}.jsonl", lines))

    def put_segment(self, first: int, lines: bytes) -> None:
        """Replace a segment of the log."""
        self._do(Put(segment_path(self._layout.log, first), lines))

    def set_log_state(self, state: LogState) -> None:
        """Correct what the head says of the log."""
        self.set_value(LOG_VALUE, state.to_value())

    def _do(self, step: Step) -> None:
        self.steps.append(step)

    def _catch_up(self) -> None:
        self._end_log_step()
        if self._seen < len(self.steps):
            self._own.apply(self.steps[self._seen :])
            self._seen = len(self.steps)

    def _failure(self, path: str, error: OSError) -> Exception:
        failure = super()._failure(path, error)
        return refused_before(self._root, failure, path) if isinstance(failure, OSError) else failure
