"""Every error that execstore raises, under one root.

Each carries its facts as attributes. Where Bacalhau's store has the same error, the text is Bacalhau's
(``pkg/compute/store/errors.go``, ``pkg/lib/watcher/errors.go``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ChangeTooLargeError",
    "CheckpointError",
    "CheckpointNameBlankError",
    "CheckpointNotFoundError",
    "DeserializationError",
    "DestinationNotEmptyError",
    "EventHandlingError",
    "EventsCompactedError",
    "ExecStoreError",
    "ExecutionAlreadyExistsError",
    "ExecutionAlreadyTerminalError",
    "ExecutionEventsNotFoundError",
    "ExecutionNotFoundError",
    "ExecutionsNotFoundForJobError",
    "HandlerExistsError",
    "ImportConflictError",
    "InvalidArgumentError",
    "InvalidExecutionError",
    "InvalidExecutionRevisionError",
    "InvalidExecutionStateError",
    "MissingExtraError",
    "NilExecutionError",
    "NoHandlerError",
    "NotAStoreError",
    "SerializationError",
    "SourceBusyError",
    "SourceChangedError",
    "SourceDamagedError",
    "StoreAccessError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptedError",
    "StoreFailedError",
    "StoreFullError",
    "StoreNotFoundError",
    "StoreReadOnlyError",
    "StoreUnreachableError",
    "TransactionClosedError",
    "TransactionConflictError",
    "TransactionOpenError",
    "UnsupportedFilesystemError",
    "UnsupportedFormatError",
    "UnsupportedOperationError",
    "WatcherAlreadyExistsError",
    "WatcherNotFoundError",
    "WatcherStateError",
]


def _rebuild(cls: type[ExecStoreError], args: tuple[Any, ...], facts: dict[str, Any]) -> ExecStoreError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(facts)
    return error


class ExecStoreError(Exception):
    """The root of all errors of this package; its text is a sentence for a person."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors below take facts, not the message, so the default way of pickling would call them wrongly.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class InvalidArgumentError(ExecStoreError, ValueError):
    """An argument has a value that the call can't take. ``argument`` names it."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason


class MissingExtraError(ExecStoreError, ImportError):
    """A part of execstore needs a library that isn't installed. ``extra`` names what to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more than the core; install it with: pip install 'execstore[{extra}]'")
        self.what = what
        self.extra = extra


# --- executions -----------------------------------------------------------------------------------------------------


class NilExecutionError(ExecStoreError):
    """``None`` was given where an execution is needed."""

    def __init__(self) -> None:
        super().__init__("execution is nil")


class InvalidExecutionError(ExecStoreError, ValueError):
    """A value can't be stored. ``member`` names where it stands (``"Job.Tasks[0].Name"``, ``""``: the whole)."""

    def __init__(self, member: str, reason: str, *, message: str | None = None) -> None:
        if message is None:
            message = f"invalid execution: {member}: {reason}" if member else f"invalid execution: {reason}"
        super().__init__(message)
        self.member = member
        self.reason = reason


class ExecutionNotFoundError(ExecStoreError, LookupError):
    """No execution has this ID."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution not found: {execution_id}")
        self.execution_id = execution_id


class ExecutionsNotFoundForJobError(ExecStoreError, LookupError):
    """No execution belongs to this job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no executions found for job: {job_id}")
        self.job_id = job_id


class ExecutionEventsNotFoundError(ExecStoreError, LookupError):
    """The execution has no events, or isn't there at all (the reference doesn't tell the two apart)."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"no events found for execution: {execution_id}")
        self.execution_id = execution_id


class ExecutionAlreadyExistsError(ExecStoreError):
    """An execution with this ID is already stored."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution already exists: {execution_id}")
        self.execution_id = execution_id


class InvalidExecutionStateError(ExecStoreError):
    """The execution is in a state in which this can't be done. States are given by their names."""

    def __init__(self, execution_id: str, actual: str, expected: Sequence[str] = ()) -> None:
        names = " ".join(str(state) for state in expected)
        super().__init__(f"execution {execution_id} is in state {actual} but expected one of [{names}]")
        self.execution_id = execution_id
        self.actual = actual
        self.expected = tuple(expected)


class InvalidExecutionRevisionError(ExecStoreError):
    """The execution has another revision than the caller expected: somebody changed it in between."""

    def __init__(self, execution_id: str, actual: int, expected: int) -> None:
        super().__init__(f"execution {execution_id} has revision {actual} but expected {expected}")
        self.execution_id = execution_id
        self.actual = actual
        self.expected = expected


class ExecutionAlreadyTerminalError(ExecStoreError):
    """The execution has ended; an ended execution is never updated."""

    def __init__(self, execution_id: str, actual: str, new_state: str) -> None:
        super().__init__(f"execution {execution_id} is in terminal state {actual} and cannot transition to {new_state}")
        self.execution_id = execution_id
        self.actual = actual
        self.new_state = new_state


class CheckpointNameBlankError(ExecStoreError, ValueError):
    """``Store.checkpoint`` needs a name."""

    def __init__(self) -> None:
        super().__init__("checkpoint name cannot be blank")


class ImportConflictError(ExecStoreError):
    """What is imported is in the store already, and different. ``conflicts`` lists each by a sentence."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        first = conflicts[0] if conflicts else "unknown"
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(f"the store already holds something else: {first}{more}")
        self.conflicts = tuple(conflicts)


class SourceBusyError(ExecStoreError):
    """A database that was to be imported is open in another process. ``holder_pid`` is ``None`` if that isn't known."""

    def __init__(self, path: str, holder_pid: int | None) -> None:
        holder = "another process" if holder_pid is None else f"process {holder_pid}"
        super().__init__(
            f"{path} is in use: {holder} has it open for writing, a running node probably; stop it first, or read the "
            f"file as it is with --force (force=True): what is written meanwhile is then missed or shows as damage"
        )
        self.path = path
        self.holder_pid = holder_pid


class SourceChangedError(ExecStoreError):
    """A node's name is taken by another store in the central one, or the node's store was set back."""

    def __init__(self, node: str, path: str, reason: str) -> None:
        super().__init__(
            f"node {node}: {path} {reason}; if the node's store was replaced or restored, forward once with --resync "
            f"(resync=True): all is then compared and brought anew; if two nodes share a name, give one another "
            f"(--node)"
        )
        self.node = node
        self.path = path
        self.reason = reason


class DestinationNotEmptyError(ExecStoreError):
    """A store can't be copied to where something is already. Nothing was changed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}; nothing was changed; copy to an empty place")
        self.path = path
        self.reason = reason


class SourceDamagedError(ExecStoreError):
    """A file that was to be imported can't be read. ``place`` says where in it (``"page 12"``, ``"line 7"``)."""

    def __init__(self, path: str, place: str, reason: str) -> None:
        super().__init__(f"{path}: {place}: {reason}" if place else f"{path}: {reason}")
        self.path = path
        self.place = place
        self.reason = reason


# --- transactions and the life of a store ---------------------------------------------------------------------------


class TransactionClosedError(ExecStoreError):
    """The transaction is over: committed, rolled back, or its store was closed."""

    def __init__(self) -> None:
        super().__init__("tx closed")


class TransactionConflictError(ExecStoreError):
    """Others changed what the transaction has read. Only engines raise it that can't keep other writers out."""

    def __init__(self, path: str, reason: str = "another writer changed what it had read") -> None:
        super().__init__(f"{path}: the transaction can't be committed: {reason}; nothing was changed, do it again")
        self.path = path
        self.reason = reason


class TransactionOpenError(ExecStoreError):
    """A writing method of the store was called on the thread that holds an open transaction of it."""

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method}: this thread holds an open transaction of the store; "
            f"call the transaction's own {method}, or commit it or roll it back first"
        )
        self.method = method


class StoreClosedError(ExecStoreError):
    """The store (or its event store) was closed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the store at {path} is closed")
        self.path = path


class StoreNotFoundError(ExecStoreError, FileNotFoundError):
    """There is no store at this path, and the caller asked not to create one."""

    def __init__(self, path: str, reason: str = "there is no store") -> None:
        super().__init__(f"{path}: {reason}; open it once for writing to create one, or check the path")
        self.path = path
        self.reason = reason


class NotAStoreError(ExecStoreError):
    """The path is something else: a file, or a folder with other things in it. Nothing there was touched."""

    def __init__(self, path: str, reason: str, remedy: str = "choose an empty or a new folder") -> None:
        super().__init__(f"{path} is not a store: {reason}; nothing was changed, {remedy}")
        self.path = path
        self.reason = reason


class StoreBusyError(ExecStoreError, TimeoutError):
    """The lock wasn't had within ``timeout_seconds``. ``holder_pid`` is who has it, ``None`` if that isn't known.

    ``outcome_open``: false, nothing happened; true, the change is in the journal, and the next writer may commit it.
    """

    def __init__(self, path: str, timeout_seconds: float, holder_pid: int | None, holder_command: str = "") -> None:
        if holder_pid is None:
            holder = "another process"
        else:
            holder = f"process {holder_pid}" + (f" ({holder_command})" if holder_command else "")
        super().__init__(
            f"{path} is in use: {holder} has held its lock for {timeout_seconds:g} s; "
            f"wait for it, end its open transaction, or stop it, then try again"
        )
        self.path = path
        self.timeout_seconds = timeout_seconds
        self.holder_pid = holder_pid
        self.holder_command = holder_command
        self.outcome_open = False

    def with_open_outcome(self) -> StoreBusyError:
        """The same for a change that is in the journal already, so that the next writer may commit it."""
        error = StoreBusyError(self.path, self.timeout_seconds, self.holder_pid, self.holder_command)
        error.args = (f"{self.args[0]}; look first whether the change was made: it may still be committed",)
        error.outcome_open = True
        return error


class StoreCorruptedError(ExecStoreError):
    """A file of the store isn't what was written. ``path`` is the file, ``reason`` what is wrong with it."""

    def __init__(self, path: str, reason: str, remedy: str = "'execstore verify' shows all that is damaged") -> None:
        super().__init__(f"{path} is damaged: {reason}; {remedy}")
        self.path = path
        self.reason = reason


class StoreFullError(ExecStoreError):
    """The disk has no room (or no inodes). The change was refused whole, unless ``committed`` says otherwise."""

    def __init__(
        self,
        path: str,
        reason: str,
        *,
        committed: bool = False,
        remedy: str = "free some space, the store then goes on by itself",
    ) -> None:
        outcome = "the change is committed and will be shown once there is room" if committed else "nothing was changed"
        super().__init__(f"{path}: {reason}; {outcome}; {remedy}")
        self.path = path
        self.reason = reason
        self.committed = committed


class StoreReadOnlyError(ExecStoreError):
    """A change was asked of a store that was opened with ``read_only=True``, or that lies on read-only media."""

    def __init__(self, path: str, reason: str = "it was opened read-only") -> None:
        super().__init__(f"{path} can't be changed: {reason}")
        self.path = path
        self.reason = reason


class StoreFailedError(ExecStoreError):
    """The disk, or the system, refused a call.

    ``outcome_open``: whether the change in question happened is known only after the store is opened again; the handle
    takes no further change if it was a flush that failed. Otherwise nothing was changed.
    """

    def __init__(self, path: str, reason: str, *, outcome_open: bool = True, remedy: str = "check the disk") -> None:
        if outcome_open:
            text = (
                f"the disk failed ({reason}); whether the last change is kept is known only after the store is opened "
                f"again: close it, {remedy}, open it"
            )
        else:
            text = f"the system refused ({reason}); nothing was changed; {remedy}"
        super().__init__(f"{path}: {text}")
        self.path = path
        self.reason = reason
        self.outcome_open = outcome_open


class StoreUnreachableError(ExecStoreError, ConnectionError):
    """No server of the store answers in time, or they can't agree among themselves.

    ``outcome_open``: whether the change in question happened isn't known; false: nothing was changed.
    """

    def __init__(self, path: str, reason: str, *, outcome_open: bool = False) -> None:
        outcome = (
            "whether the last change was made isn't known, so look first, then do it again if it wasn't"
            if outcome_open
            else "nothing was changed"
        )
        super().__init__(
            f"{path} can't be reached: {reason}; {outcome}; check the address, that its servers run, and the network"
        )
        self.path = path
        self.reason = reason
        self.outcome_open = outcome_open


class StoreAccessError(ExecStoreError):
    """The store's servers don't let this client in: user, password, permission, or certificate."""

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"{path} gives no access: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


class ChangeTooLargeError(ExecStoreError, ValueError):
    """A change is larger than the store's engine takes at once. Nothing was changed.

    ``size`` and ``limit`` count what ``unit`` says: ``"bytes"`` or ``"operations"``.
    """

    def __init__(self, path: str, size: int, limit: int, unit: str, remedy: str) -> None:
        super().__init__(
            f"{path}: the change takes {size} {unit}, more than the {limit} that can be taken at once; "
            f"nothing was changed; {remedy}"
        )
        self.path = path
        self.size = size
        self.limit = limit
        self.unit = unit
        self.remedy = remedy


class UnsupportedFormatError(ExecStoreError):
    """The store was written by a newer or an older program. ``found`` and ``supported`` are format versions."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        if found > supported:
            text = f"is newer (format {found}) than this program (format {supported}); install a newer execstore"
        else:
            text = (
                f"is older (format {found}) than this program (format {supported}); "
                f"upgrade it with the execstore it was written by"
            )
        super().__init__(f"the store at {path} {text}; nothing was changed")
        self.path = path
        self.found = found
        self.supported = supported


class UnsupportedFilesystemError(ExecStoreError):
    """The file system under the store can't keep its promises (no locks across machines, say)."""

    def __init__(self, path: str, filesystem: str, reason: str) -> None:
        super().__init__(f"{path} lies on {filesystem}: {reason}; put the store on a local disk")
        self.path = path
        self.filesystem = filesystem
        self.reason = reason


class UnsupportedOperationError(ExecStoreError):
    """The engine of this store can't do it. ``operation`` is what was asked for, ``remedy`` what to do instead."""

    def __init__(self, path: str, operation: str, remedy: str) -> None:
        super().__init__(f"{operation} is only for a store in a folder, and {path} is none; {remedy}")
        self.path = path
        self.operation = operation
        self.remedy = remedy


# --- watchers -------------------------------------------------------------------------------------------------------


class WatcherAlreadyExistsError(ExecStoreError):
    """A watcher of this ID is already managed."""

    def __init__(self, watcher_id: str) -> None:
        super().__init__(f"watcher error for watcher {watcher_id}: watcher already exists")
        self.watcher_id = watcher_id


class WatcherNotFoundError(ExecStoreError, LookupError):
    """No watcher of this ID is managed."""

    def __init__(self, watcher_id: str) -> None:
        super().__init__(f"watcher error for watcher {watcher_id}: watcher not found")
        self.watcher_id = watcher_id


class WatcherStateError(ExecStoreError, RuntimeError):
    """The watcher can't do this in the state it is in (``"running"``, ``"stopping"``): stop it first, or wait."""

    def __init__(self, watcher_id: str, action: str, state: str) -> None:
        super().__init__(f"watcher error for watcher {watcher_id}: cannot {action} watcher in state {state}")
        self.watcher_id = watcher_id
        self.action = action
        self.state = state


class CheckpointError(ExecStoreError):
    """A watcher's checkpoint couldn't be read or written."""

    def __init__(self, watcher_id: str, reason: str) -> None:
        super().__init__(f"checkpoint error for watcher {watcher_id}: {reason}")
        self.watcher_id = watcher_id
        self.reason = reason


class CheckpointNotFoundError(CheckpointError, LookupError):
    """The watcher has no checkpoint."""

    def __init__(self, watcher_id: str) -> None:
        super().__init__(watcher_id, "checkpoint not found")


class NoHandlerError(ExecStoreError):
    """A watcher was started before it was given a handler."""

    def __init__(self, watcher_id: str) -> None:
        super().__init__(f"watcher error for watcher {watcher_id}: no handler configured")
        self.watcher_id = watcher_id


class HandlerExistsError(ExecStoreError):
    """A watcher was given a second handler. (The reference's text doesn't name the watcher; ``watcher_id`` does.)"""

    def __init__(self, watcher_id: str) -> None:
        super().__init__("handler already exists")
        self.watcher_id = watcher_id


class EventHandlingError(ExecStoreError):
    """A watcher's handler raised. The handler's exception is ``__cause__``."""

    def __init__(self, watcher_id: str, seq_num: int, reason: str) -> None:
        super().__init__(f"error processing event {seq_num} for watcher {watcher_id}: {reason}")
        self.watcher_id = watcher_id
        self.seq_num = seq_num
        self.reason = reason


class SerializationError(ExecStoreError):
    """An event's object can't be written as JSON. ``operation`` and ``object_type`` are the event's, "" if unknown.

    The reference's text shows the whole event; here the object, which may be anything, is left out.
    """

    def __init__(self, reason: str, operation: str = "", object_type: str = "") -> None:
        event = f" for event {{Operation:{operation} ObjectType:{object_type}}}" if operation else ""
        super().__init__(f"serialization error{event}: {reason}")
        self.reason = reason
        self.operation = operation
        self.object_type = object_type


class DeserializationError(ExecStoreError):
    """An event in the log can't be read back. ``seq_num`` is its number, 0 if unknown."""

    def __init__(self, reason: str, seq_num: int = 0) -> None:
        super().__init__(f"failed to unmarshal event: deserialization error: {reason}")
        self.reason = reason
        self.seq_num = seq_num


class EventsCompactedError(ExecStoreError):
    """The asked-for event was collected. ``oldest`` is the number of the oldest event there still is."""

    def __init__(self, requested: int, oldest: int) -> None:
        super().__init__(
            f"event {requested} is no longer in the log, the oldest is {oldest}; go on from there with "
            f"EventIterator.at_sequence_number({oldest}) or EventIterator.trim_horizon()"
        )
        self.requested = requested
        self.oldest = oldest
