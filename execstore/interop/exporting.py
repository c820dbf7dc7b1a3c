"""Writing all of a store, or a part of it, as one stream of JSON lines (see ``jsonl`` for the format)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from execstore import records
from execstore.codec import encode_text
from execstore.interop import jsonl, reading
from execstore.interop.progress import Progress
from execstore.timestamps import Timestamp

if TYPE_CHECKING:
    from execstore.interop.reading import Selection
    from execstore.store import Store

__all__ = ["ExportReport", "export_jsonl"]

_BUFFER_BYTES: Final = 1 << 18


@dataclass
class ExportReport:
    """What an export wrote. ``skipped`` and ``notes`` are sentences."""

    executions: int = 0
    execution_events: int = 0
    log_events: int = 0
    checkpoints: int = 0
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lines(self) -> int:
        """How many items were written."""
        return self.executions + self.execution_events + self.log_events + self.checkpoints


class _Out:
    """Collects lines, so that a stream gets them by the quarter megabyte."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._bytes = 0

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        data = memoryview(b"".join(self._lines))
        self._lines, self._bytes = [], 0
        # A raw stream may take less than it is given.
        while data:
            data = data[self._stream.write(data) or 0 :]
        self._stream.flush()


def export_jsonl(
    store: Store, stream: BinaryIO, selection: Selection | None = None, progress: Progress | None = None
) -> ExportReport:
    """Write ``store`` to ``stream``, or what ``selection`` chooses of it.

    Of a selection by job or state the event log's events are those of the chosen executions; by time alone, those
    since then. It has no checkpoints.

    Raises: ExecutionsNotFoundForJobError if there is no such job: nothing is written; StoreCorruptedError if the event
        log or a checkpoint is damaged (a damaged execution is skipped); OSError.
    """
    chosen = selection or reading.Selection()
    report = ExportReport()
    started = time.monotonic()
    out = _Out(stream)
    # Asked for before anything is read: an event that comes later, of an execution that is in already, does no harm.
    latest = store.event_store.get_latest_event_num()
    out.write(jsonl.header_line(_describe(chosen)))
    with progress or Progress("exporting", "lines") as shown:
        ids = _write_executions(store, out, chosen, report, shown)
        if chosen and not report.executions and not report.skipped:
            if chosen.job_id is not None:
                store.get_executions(chosen.job_id)  # raises if there is none; what was to be written is dropped
            report.notes.append("no execution fits what was chosen")
        _write_log(store, out, chosen, ids, latest, report, shown)
        if not chosen:
            _write_checkpoints(store, out, report)
    out.write(
        jsonl.end_line(
            executions=report.executions,
            execution_events=report.execution_events,
            events=report.log_events,
            checkpoints=report.checkpoints,
            latest_event_num=None if chosen else latest,
        )
    )
    out.flush()
    report.seconds = time.monotonic() - started
    return report


def _describe(selection: Selection) -> dict[str, str]:
    described = {}
    if selection.job_id is not None:
        described["job"] = selection.job_id
    if selection.state is not None:
        described["state"] = selection.state.value
    if selection.since_ns is not None:
        described["since"] = Timestamp(selection.since_ns).to_text("since")
    return described


def _write_executions(
    store: Store, out: _Out, selection: Selection, report: ExportReport, progress: Progress
) -> set[str]:
    """Returns the IDs, where the log has to be searched for them."""
    ids: set[str] = set()
    by_id = selection.job_id is not None or selection.state is not None
    for execution, events, done in reading.executions(store, selection, report.skipped):
        out.write(jsonl.execution_line(execution))
        if events:
            execution_id = encode_text(execution.id).encode()
            for event in events:
                out.write(jsonl.execution_event_line(execution_id, records.encode_event(event)))
        if by_id:
            ids.add(execution.id)
        report.executions += 1
        report.execution_events += len(events)
        progress.advance(1 + len(events), done=done / 2)
    return ids


def _write_log(
    store: Store, out: _Out, selection: Selection, ids: set[str], latest: int, report: ExportReport, progress: Progress
) -> None:
    by_id = selection.job_id is not None or selection.state is not None
    for line in reading.log(store):
        if line.ends.seq_num > latest:
            return
        progress.advance(done=(1 + line.ends.seq_num / latest) / 2)
        if selection.since_ns is not None and line.ends.timestamp < selection.since_ns:
            continue
        if by_id and reading.execution_of(line) not in ids:
            continue
        out.write(jsonl.event_line(line.line))
        report.log_events += 1


def _write_checkpoints(store: Store, out: _Out, report: ExportReport) -> None:
    for of_watchers in (False, True):
        for name, sequence_number in reading.checkpoints(store, of_watchers=of_watchers):
            out.write(jsonl.checkpoint_line(name, sequence_number, of_watcher=of_watchers))
            report.checkpoints += 1
