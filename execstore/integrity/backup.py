"""Backup: one moment of a store as a tar archive, taken while others write.

How one moment is copied without keeping writers waiting, and why it is one, stands in ``execstore.tree.moment``; what
the archive holds in ``execstore.integrity.archive``. The copy lies in a temporary file without a name beside the
archive until it is written, so a backup takes up to twice the room of what it holds.

A backup must be there when it is needed, so nothing is put into it that a restore would refuse: what is damaged is left
out and listed. Only damaged lines of the event log stay where they are, since the number of an event is its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from execstore.beside import give_name, make_file
from execstore.errors import InvalidArgumentError
from execstore.integrity.archive import MANIFEST_NAME, SUMS_NAME, Manifest, encode_manifest, encode_sum
from execstore.integrity.checks import check_checkpoint, check_event_lines, check_log_lines, check_record
from execstore.integrity.report import BackupReport
from execstore.integrity.tar import TarWriter, compressed
from execstore.new_folder import sync_folder
from execstore.schema import (
    CHECKPOINTS,
    EVENT_LIMITS,
    EXECUTION_EVENTS,
    EXECUTIONS,
    JOB_INDEX,
    LAYOUT,
    SEQUENCE_TRACKING,
    STATE_INDEX,
    TIME,
)
from execstore.tree.paths import encode_name, segment_first, segment_path, stem
from execstore.tree.segments import LogState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from execstore.integrity.tar import Writable
    from execstore.store import Store
    from execstore.tree.moment import Moment

__all__ = ["backup"]


def backup(store: Store, destination: str | os.PathLike[str] | BinaryIO) -> BackupReport:
    """Write a backup; see `Store.backup`."""
    started = time.monotonic()
    store.tree("backup")  # before anything is made at the destination
    if isinstance(destination, str | os.PathLike):
        report = _write_file(store, os.fspath(destination))
    else:
        _refuse_terminal(destination)
        with tempfile.TemporaryFile() as spool:
            report = _write(store, spool, destination, "")  # type: ignore[arg-type, unused-ignore]
    return report.after(time.monotonic() - started)


def _write_file(store: Store, path: str) -> BackupReport:
    if not path or "\0" in path:
        raise InvalidArgumentError("destination", f"must be the path of a file, not {path!r}")
    target = os.path.realpath(path)
    root = os.path.realpath(store.path)
    if os.path.commonpath([target, root]) == root:
        raise InvalidArgumentError("destination", f"{path} is within the store itself; choose a place outside")
    folder, name = os.path.split(target)
    if os.path.lexists(target) and not os.path.isfile(target):  # a named pipe, /dev/stdout
        with tempfile.TemporaryFile() as spool, open(target, "wb") as stream:
            _refuse_terminal(stream)
            return _write(store, spool, stream, name)  # type: ignore[arg-type, unused-ignore]
    descriptor, beside = make_file(target)
    try:
        with open(descriptor, "wb") as stream, tempfile.TemporaryFile(dir=folder) as spool:
            report = _write(store, spool, stream, name)  # type: ignore[arg-type, unused-ignore]
            stream.flush()
            os.fsync(descriptor)
        give_name(beside, target)
        sync_folder(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    return report


def _refuse_terminal(stream: BinaryIO) -> None:
    ask = getattr(stream, "isatty", None)  # a stream may be anything that has a write method
    if ask is not None and ask():
        reason = "it is a terminal, which can't show an archive; name a file, or lead the output into a file or a pipe"
        raise InvalidArgumentError("destination", reason)


def _write(store: Store, spool: BinaryIO, stream: BinaryIO, name: str) -> BackupReport:
    with compressed(stream, name) as packed:
        moment = store.tree("backup").moment(spool)
        contents = _Contents()
        _choose(moment, contents)
        _write_archive(moment, contents, packed)
    stream.flush()
    return BackupReport(
        transaction=moment.transaction,
        executions=len(contents.executions),
        execution_events=contents.execution_events,
        log_events=contents.log.latest + 1 - contents.log.oldest,
        checkpoints=len(contents.checkpoints),
        bytes=contents.size_bytes,
        skipped=tuple(contents.skipped),
    )


@dataclass
class _Contents:
    """What goes into the archive."""

    executions: list[tuple[str, str, str, bool]] = field(default_factory=list)
    """Of each: name, name of its state, name of its job, whether it has events."""
    counts: dict[str, int] = field(default_factory=dict)
    execution_events: int = 0
    replaced: dict[str, bytes] = field(default_factory=dict)
    """Files of which damaged lines were left out."""
    segments: list[int] = field(default_factory=list)
    log: LogState = field(default_factory=LogState)
    damaged_events: int = 0
    checkpoints: list[str] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        self.files += 1
        self.size_bytes += len(data)

    def skip(self, path: str, reason: str) -> None:
        self.skipped.append(f"{path}: {reason}")


def _choose(moment: Moment, contents: _Contents) -> None:
    """Look at every file, and decide whether it goes into the archive."""
    for path, reason in sorted(moment.unreadable.items()):
        contents.skip(path, reason)
    names = set()
    for name in _stems(moment, EXECUTIONS, ".json"):
        if _choose_execution(moment, name, contents):
            names.add(name)
    for name in _stems(moment, EXECUTION_EVENTS, ".jsonl"):
        if name not in names:
            contents.skip(f"{EXECUTION_EVENTS}/{name}.jsonl", "there is no execution to these events")
    _choose_log(moment, contents)
    for collection in (CHECKPOINTS, SEQUENCE_TRACKING):
        for name in _stems(moment, collection, ".json"):
            path = f"{collection}/{name}.json"
            data = _read(moment, path)
            checked = check_checkpoint(data)
            if isinstance(checked, str):
                contents.skip(path, checked)
            elif encode_name(checked[0]) != name:
                contents.skip(path, f"it is of {checked[0]!r}, whose file has another name")
            else:
                contents.checkpoints.append(path)
                contents.add(data)


def _stems(moment: Moment, folder: str, suffix: str) -> Iterator[str]:
    for file_name in moment.names(folder):
        text = stem(file_name, suffix)
        if text is not None:
            yield text


def _read(moment: Moment, path: str) -> bytes:
    return moment.read(path) or b""


def _choose_execution(moment: Moment, name: str, contents: _Contents) -> bool:
    path = f"{EXECUTIONS}/{name}.json"
    data = _read(moment, path)
    execution = check_record(data)
    if isinstance(execution, str):
        contents.skip(path, execution)
        return False
    if encode_name(execution.id) != name:
        contents.skip(path, f"it holds execution {execution.id!r}, whose file has another name")
        return False
    contents.add(data)
    path = f"{EXECUTION_EVENTS}/{name}.jsonl"
    lines = moment.read(path) or b""
    checked = check_event_lines(lines)
    if checked.damaged:
        lines = contents.replaced[path] = b"".join(line + b"\n" for line in checked.good)
        for number, reason in checked.damaged:
            contents.skip(path, f"line {number}: {reason}")
    if lines:
        contents.add(lines)
        contents.execution_events += len(checked.good)
    state = execution.compute_state.state_type.value
    contents.executions.append((name, encode_name(state), encode_name(execution.job_id), bool(lines)))
    contents.counts[state] = contents.counts.get(state, 0) + 1
    return True


def _choose_log(moment: Moment, contents: _Contents) -> None:
    """The segments that follow one another without a gap up to the latest event."""
    state = LogState.of(moment.values)
    expected = oldest = state.oldest
    chosen: list[tuple[int, bytes, int]] = []
    for first in sorted(filter(None, map(segment_first, moment.names(LAYOUT.log)))):
        path = segment_path(LAYOUT.log, first)
        data = _read(moment, path)
        if data and not data.endswith(b"\n"):
            data = data[: data.rfind(b"\n") + 1]
            contents.replaced[path] = data
            contents.skip(path, "its last line isn't ended: a part of it is missing")
        if first < expected or first > state.latest:
            contents.skip(path, f"event {expected} should come first here or in a segment before it")
            continue
        if first > expected:
            if expected > oldest or first > oldest:
                contents.skip(path, f"the events {expected} to {first - 1}, which belong before it, are missing")
            chosen.clear()
            oldest = first
        chosen.append((first, data, len(check_log_lines(data, first).damaged)))
        expected = first + data.count(b"\n")
    if expected != state.latest + 1:
        if state.latest >= expected:
            contents.skip(LAYOUT.log, f"the events {expected} to {state.latest} are missing")
        chosen.clear()
        oldest = state.latest + 1
    for first, data, damaged in chosen:
        contents.segments.append(first)
        contents.damaged_events += damaged
        contents.add(data)
    contents.log = LogState(state.latest, oldest, state.segment)


def _write_archive(moment: Moment, contents: _Contents, stream: Writable) -> None:
    aliases = LAYOUT.aliases()
    limits = moment.values.get(EVENT_LIMITS)
    manifest = Manifest(
        transaction=moment.transaction,
        time_ns=moment.values.get(TIME, 0),
        counts=dict(sorted(contents.counts.items())),
        files=contents.files,
        links=len(aliases) + 2 * len(contents.executions),
        bytes=contents.size_bytes,
        latest_event=contents.log.latest,
        oldest_event=contents.log.oldest,
        damaged_events=contents.damaged_events,
        event_limits=None if limits is None else (limits[0], limits[1]),
    )
    writer = TarWriter(stream, manifest.time_ns)
    writer.add_file(MANIFEST_NAME, encode_manifest(manifest))
    sums: list[bytes] = []

    def add(path: str) -> None:
        data = contents.replaced.get(path)
        if data is None:
            data = _read(moment, path)
        writer.add_file(path, data)
        sums.append(encode_sum(path, hashlib.sha256(data).hexdigest()))

    for alias, collection in aliases.items():
        writer.add_link(alias, collection)
    for name, state, job, has_events in contents.executions:
        add(f"{EXECUTIONS}/{name}.json")
        if has_events:
            add(f"{EXECUTION_EVENTS}/{name}.jsonl")
        for index, group in ((JOB_INDEX, job), (STATE_INDEX, state)):
            writer.add_link(f"{index}/{group}/{name}", f"../../{LAYOUT.alias(index)}/{name}.json")
    for first in contents.segments:
        add(segment_path(LAYOUT.log, first))
    for path in contents.checkpoints:
        add(path)
    writer.add_file(SUMS_NAME, b"".join(sums))
    writer.finish()
