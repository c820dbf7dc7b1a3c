"""Plain files with every fsync that it takes, as people write them by hand."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import ujson

from execstore.bench.adapters.base import Adapter, new_event
from execstore.bench.workloads import LIVE_EVERY, execution_id, job_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FilesAdapter"]

_TERMINAL: Final = {"AskForBidRejected", "BidRejected", "Completed", "Failed", "Cancelled"}
_LIVE: Final = ("BidAccepted", "Running", "Publishing")


class FilesAdapter(Adapter):
    """A file an execution (temporary file, fsync, rename, fsync of the folder), empty files as index entries.

    Events and the log are appended to and flushed, each folder that changed is flushed. One lock around each change.
    It isn't even atomic: a crash in the middle leaves half of an operation. The log is one file, with the offsets of
    its lines in another. JSON by ujson; nothing is validated; a count lists the folder.
    """

    def open(self) -> None:
        self._root = os.path.join(self.folder, "files")
        for name in ("executions", "own", "job", "state"):
            os.makedirs(os.path.join(self._root, name), exist_ok=True)
        self._lock_descriptor = os.open(os.path.join(self._root, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        self._thread_lock = threading.Lock()
        self._flushes = True

    def close(self) -> None:
        os.close(self._lock_descriptor)

    def fill(self, count: int) -> None:
        self._flushes = False
        for number in range(count):
            self._create(number, "New" if number % LIVE_EVERY else "Running")
        self._flushes = True
        os.sync()  # type: ignore[attr-defined, unused-ignore]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.flock(self._lock_descriptor, fcntl.LOCK_EX)  # type: ignore[attr-defined, unused-ignore]
            try:
                yield
            finally:
                fcntl.flock(self._lock_descriptor, fcntl.LOCK_UN)  # type: ignore[attr-defined, unused-ignore]

    # --- primitives ---

    def _path(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)

    def _flush(self, path: str) -> None:
        if self._flushes:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def _replace(self, path: str, data: bytes) -> None:
        temporary = path + ".new"
        self._write(temporary, data, os.O_TRUNC)
        os.rename(temporary, path)
        self._flush(os.path.dirname(path))

    def _write(self, path: str, data: bytes, flag: int) -> int:
        """Returns the file's length."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
        try:
            os.write(descriptor, data)
            if self._flushes:
                os.fsync(descriptor)
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _mark(self, kind: str, group: str, key: str) -> None:
        folder = self._path(kind, group)
        if not os.path.isdir(folder):
            os.mkdir(folder)
            self._flush(self._path(kind))
        os.close(os.open(os.path.join(folder, key), os.O_WRONLY | os.O_CREAT, 0o600))
        self._flush(folder)

    def _unmark(self, kind: str, group: str, key: str) -> None:
        os.unlink(self._path(kind, group, key))
        self._flush(self._path(kind, group))

    def _log(self, operation: str, kind: str, content: bytes, now: int) -> None:
        offsets = self._path("offsets")
        number = os.path.getsize(offsets) // 8 + 1 if os.path.exists(offsets) else 1
        entry = b'{"seqNum":%d,"operation":"%b","objectType":"%b","object":%b,"timestamp":%d}\n'
        line = entry % (number, operation.encode(), kind.encode(), content, now)
        end = self._write(self._path("log"), line, os.O_APPEND)
        self._write(offsets, (end - len(line)).to_bytes(8, "big"), os.O_APPEND)

    # --- operations ---

    def create(self, number: int, state: str) -> int:
        with self._locked():
            self._create(number, state or "New")
        return 1

    def _create(self, number: int, state: str) -> None:
        now = time.time_ns()
        key = execution_id(number)
        if os.path.exists(self._path("executions", key)):
            raise ValueError("there already")
        execution = self.document | {
            "ID": key,
            "JobID": job_id(number),
            "ComputeState": {"StateType": state},
            "Revision": 1,
            "CreateTime": now,
            "ModifyTime": now,
        }
        record = _encode(execution)
        self._replace(self._path("executions", key), record)
        self._mark("job", job_id(number), key)
        self._mark("state", state, key)
        event = self._add_event(key, "created", now)
        self._flush(self._path("own"))
        upsert = b'{"Current":%b,"Previous":null,"Events":[%b]}' % (record, event)
        self._log("CREATE", "ExecutionUpsert", upsert, now)

    def _add_event(self, key: str, message: str, now: int) -> bytes:
        event = _encode(new_event(message))
        self._write(self._path("own", key), event + b"\n", os.O_APPEND)
        self._log("CREATE", "ExecutionEvent", event, now)
        return event

    def update(self, number: int, state: str) -> int:
        key = execution_id(number)
        with self._locked():
            previous, execution = self._load(key)
            old_state = execution["ComputeState"]["StateType"]
            if old_state in _TERMINAL:
                raise ValueError("it has ended")
            now = time.time_ns()
            execution["ComputeState"] = execution["ComputeState"] | {"StateType": state, "Message": f"now {state}"}
            execution["Revision"] += 1
            execution["ModifyTime"] = now
            record = _encode(execution)
            self._replace(self._path("executions", key), record)
            if old_state != state:
                self._mark("state", state, key)
                self._unmark("state", old_state, key)
            event = self._add_event(key, state, now)
            upsert = b'{"Current":%b,"Previous":%b,"Events":[%b]}' % (record, previous, event)
            self._log("UPDATE", "ExecutionUpsert", upsert, now)
        return int(execution["Revision"])

    def _load(self, key: str) -> tuple[bytes, dict[str, Any]]:
        with open(self._path("executions", key), "rb") as file:
            record = file.read()
        return record, ujson.loads(record)

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number)
        with self._locked():
            if not os.path.exists(self._path("executions", key)):
                raise KeyError(key)
            self._add_event(key, "something happened", time.time_ns())
        return 1

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        key = execution_id(number)
        with self._locked():
            previous, execution = self._load(key)
            for folder in ("executions", "own"):
                os.unlink(self._path(folder, key))
                self._flush(self._path(folder))
            self._unmark("job", execution["JobID"], key)
            if not os.listdir(self._path("job", execution["JobID"])):
                os.rmdir(self._path("job", execution["JobID"]))
                self._flush(self._path("job"))
            self._unmark("state", execution["ComputeState"]["StateType"], key)
            upsert = b'{"Current":null,"Previous":%b,"Events":null}' % previous
            self._log("DELETE", "ExecutionUpsert", upsert, time.time_ns())
        return 1

    def get(self, number: int, argument: str) -> int:  # noqa: ARG002
        return int(self._load(execution_id(number))[1]["Revision"])

    def list_job(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._newest_first(self._names("job", job_id(number))))

    def live(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._newest_first(name for state in _LIVE for name in self._names("state", state)))

    def _names(self, kind: str, group: str) -> list[str]:
        path = self._path(kind, group)
        return os.listdir(path) if os.path.isdir(path) else []

    def _newest_first(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        found = [self._load(key)[1] for key in keys]
        found.sort(key=lambda execution: execution["ModifyTime"], reverse=True)
        return found

    def count(self, number: int, state: str) -> int:  # noqa: ARG002
        return len(self._names("state", state))

    def events(self, number: int, argument: str) -> int:  # noqa: ARG002
        with open(self._path("own", execution_id(number)), "rb") as file:
            return len([ujson.loads(line) for line in file])

    def watch(self, number: int, argument: str) -> int:  # noqa: ARG002
        with open(self._path("offsets"), "rb") as offsets:
            offsets.seek((number - 1) * 8)
            start = int.from_bytes(offsets.read(8), "big")
        found = []
        with open(self._path("log"), "rb") as file:
            file.seek(start)
            for line in file:
                found.append(ujson.loads(line))
                if len(found) == 100:
                    break
        return len(found)


def _encode(value: dict[str, Any]) -> bytes:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode()
