"""What a Bacalhau compute node's database holds, read out of its bbolt file.

Buckets, each name with the schema's version in front (``pkg/compute/store/boltdb/constants.go``; version 1 had the same
ones, but for what it stored before execution events were invented):

    v2_executions                 execution ID -> its JSON
    v2_execution_events           execution ID -> bucket of sequence number (8 bytes, big endian) -> event's JSON
    v2_idx_executions_by_job_id   job ID -> bucket of execution ID -> nothing
    v2_idx_executions_by_state    state's name -> bucket of execution ID -> nothing
    v2_events                     sequence number, time in ns (8 bytes each, big endian) -> watcher event's JSON
    v2_checkpoints                watcher ID -> sequence number (8 bytes, big endian)
    v2_sequence_tracking          name -> sequence number (8 bytes, big endian)
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from execstore import codec, records
from execstore.errors import DeserializationError, InvalidExecutionError, SourceDamagedError
from execstore.interop.bolt import BoltFile, Bucket, readable_key
from execstore.interop.items import CheckpointItem, ExecutionItem, Item, LogEnd, LogItem
from execstore.models import Event, Execution
from execstore.watcher import lines

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["BacalhauDatabase"]

_BUCKET: Final = re.compile(r"(?:v([0-9]{1,6})_)?executions")
_BUCKETS: Final = (
    "checkpoints",
    "events",
    "execution_events",
    "executions",
    "idx_executions_by_job_id",
    "idx_executions_by_state",
    "sequence_tracking",
)
_NUMBER_BYTES: Final = 8
_GO_EVENT: Final = re.compile(
    rb'\{"seqNum":[0-9]+,"operation":"[A-Z]+","objectType":"[A-Za-z]+","object":(.*),"timestamp":-?[0-9]+\}'
)
# A number that only floats have; every other integer is read exactly as it stands. Text may look like it, too.
_MINUS_ZERO: Final = re.compile(rb"-0[,\]}]")


class BacalhauDatabase:
    """A compute node's database, open for reading. Use ``BacalhauDatabase.open`` in a ``with`` statement.

    ``skipped`` lists what couldn't be read, a sentence each; it grows while ``items`` is read. ``notes`` are remarks on
    the file as a whole.
    """

    def __init__(self, file: BoltFile) -> None:
        """Find the schema. Raises: SourceDamagedError if the file is a bbolt database of something else."""
        self.path = file.path
        self.skipped: list[str] = []
        self.notes = list(file.notes)
        self._root = file.root
        self._total = 0
        names = [readable_key(name) for name, _ in file.root.items()]
        versions = [int(match[1] or 0) for name in names if (match := _BUCKET.fullmatch(name))]
        if not versions:
            found = ", ".join(names[:10]) or "no bucket at all"
            reason = f"a bbolt database, but not of a Bacalhau compute node: no bucket of executions, but {found}"
            raise SourceDamagedError(self.path, "", reason)
        self.schema_version = max(versions)
        self._prefix = f"v{self.schema_version}_" if self.schema_version else ""
        if f"{self._prefix}execution_history" in names and f"{self._prefix}execution_events" not in names:
            reason = (
                "its executions are of an older Bacalhau, which kept histories in place of events; "
                "only databases with execution events can be imported"
            )
            raise SourceDamagedError(self.path, "", reason)
        known = {self._prefix + name for name in _BUCKETS}
        others = [name for name in names if name not in known]
        if others:
            self.notes.append(f"buckets that were not looked at: {', '.join(others[:10])}")

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str], *, force: bool = False) -> Iterator[BacalhauDatabase]:
        """Open a database; ``force`` as for ``BoltFile.open``.

        Raises: SourceBusyError, SourceDamagedError, OSError if the file can't be opened.
        """
        with BoltFile.open(path, force=force) as file:
            yield cls(file)

    def _bucket(self, name: str) -> Bucket | None:
        return self._root.bucket(f"{self._prefix}{name}".encode())

    def items(self) -> Iterator[Item]:
        """Everything, in the order in which an import takes it. Raises: SourceDamagedError."""
        yield from self._executions()
        yield from self._log()
        yield from self._checkpoints("sequence_tracking", of_watcher=False)
        yield from self._checkpoints("checkpoints", of_watcher=True)
        self._check_indexes()

    # --- executions ---

    def _executions(self) -> Iterator[ExecutionItem]:
        executions, event_buckets = self._bucket("executions"), self._bucket("execution_events")
        if executions is None:
            return
        self._total = total = executions.count()
        # Both are in the order of the execution IDs, so one pass over each is enough.
        events = iter(event_buckets.items()) if event_buckets is not None else iter(())
        pending = next(events, None)
        for number, (key, value) in enumerate(executions.items(), 1):
            while pending is not None and pending[0] < key:
                self.skipped.append(f"events of {readable_key(pending[0])}: there is no such execution")
                pending = next(events, None)
            bucket = None
            if pending is not None and pending[0] == key:
                bucket = pending[1]
                pending = next(events, None)
            try:
                item = ExecutionItem.of(_execution(key, value))
            except (InvalidExecutionError, codec.CodecError) as error:
                self.skipped.append(f"execution {readable_key(key)}: {error}")
            else:
                yield item.with_events(self._events_of(key, bucket), number / total)
        while pending is not None:
            self.skipped.append(f"events of {readable_key(pending[0])}: there is no such execution")
            pending = next(events, None)

    def _events_of(self, key: bytes, bucket: bytes | Bucket | None) -> list[bytes]:
        if bucket is None:
            return []
        if not isinstance(bucket, Bucket):
            self.skipped.append(f"events of {readable_key(key)}: a value stands in their place")
            return []
        events = []
        for event_key, value in bucket.items():
            try:
                events.append(records.encode_event(Event.from_dict(_decode(_value(value)))))
            except (InvalidExecutionError, codec.CodecError) as error:
                self.skipped.append(f"event {int.from_bytes(event_key)} of execution {readable_key(key)}: {error}")
        return events

    # --- the event log ---

    def _log(self) -> Iterator[LogItem | LogEnd]:
        """The log has no gaps, so one that can't be read takes those before it away: importers start anew behind it."""
        bucket = self._bucket("events")
        if bucket is None:
            return
        latest = 0
        for key, value in bucket.items():
            seq_num = int.from_bytes(key[:_NUMBER_BYTES])
            if latest and seq_num != latest + 1:
                self.skipped.append(f"the event log up to number {seq_num - 1}: there is a gap before {seq_num}")
            latest = seq_num
            try:
                yield _log_item(key, seq_num, value)
            except DeserializationError as error:
                self.skipped.append(f"the event log up to number {seq_num}: {error.reason}")
        yield LogEnd(max(latest, bucket.sequence))

    # --- the rest ---

    def _checkpoints(self, bucket_name: str, *, of_watcher: bool) -> Iterator[CheckpointItem]:
        bucket = self._bucket(bucket_name)
        if bucket is None:
            return
        for key, value in bucket.items():
            try:
                name = key.decode()
            except UnicodeDecodeError:
                self.skipped.append(f"checkpoint {readable_key(key)}: its name is no UTF-8 text")
                continue
            if isinstance(value, Bucket) or len(value) != _NUMBER_BYTES:
                self.skipped.append(f"checkpoint {name}: its value is no number of 8 bytes")
                continue
            yield CheckpointItem(name, int.from_bytes(value), of_watcher)

    def _check_indexes(self) -> None:
        """An import builds its indexes from the executions; say so if the database's own ones say something else."""
        for name, by in (("idx_executions_by_job_id", "job"), ("idx_executions_by_state", "state")):
            index = self._bucket(name)
            if index is None:
                continue
            entries = sum(group.count() for _, group in index.items() if isinstance(group, Bucket))
            if entries != self._total:
                self.notes.append(
                    f"its index by {by} has {entries} entries for {self._total} executions; "
                    f"the store's own is made from the executions"
                )


def _execution(key: bytes, value: bytes | Bucket) -> Execution:
    execution = Execution.from_dict(_decode(_value(value)))
    if execution.id.encode(errors="replace") != key:
        raise InvalidExecutionError("ID", f"it says that it is {execution.id!r}")
    return execution


def _value(found: bytes | Bucket) -> bytes:
    if isinstance(found, Bucket):
        raise InvalidExecutionError("", "a bucket stands in its place")
    return found


def _decode(data: bytes) -> Any:
    if _MINUS_ZERO.search(data) is None:
        return codec.decode(data)
    try:
        return json.loads(data, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))
    except (ValueError, RecursionError) as error:
        raise codec.CodecError(str(error)) from None


def _log_item(key: bytes, seq_num: int, value: bytes | Bucket) -> LogItem:
    if isinstance(value, Bucket) or len(key) != 2 * _NUMBER_BYTES:
        raise DeserializationError(f"{readable_key(key)} is no event", seq_num)
    ends = lines.parse_ends(value, seq_num)
    match = _GO_EVENT.fullmatch(value)
    # The object's text is taken as it is: encoding it again would cost more and could only change it.
    object_json = match[1] if match else codec.encode_trusted(lines.parse_object(value, seq_num))
    line = lines.encode_line(seq_num, ends.operation, ends.object_type, object_json, ends.timestamp)
    return LogItem(seq_num, line, ends.timestamp)
