"""The store as a plain dict: what it must do, in the fewest words. It speaks JSON objects, and has no files."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from execstore import Execution, ExecutionState
from execstore.errors import (
    CheckpointNameBlankError,
    ExecutionAlreadyExistsError,
    ExecutionAlreadyTerminalError,
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionError,
    InvalidExecutionRevisionError,
    InvalidExecutionStateError,
)

if TYPE_CHECKING:
    from execstore import Event, UpdateExecutionRequest

JSONObject = dict[str, Any]
_OBJECTS = ("Job", "AllocatedResources", "PublishedResult", "RunOutput")
_ZERO_STATES = ("Undefined", "Pending")
_LIVE = ("BidAccepted", "Running", "Publishing")


def merge(old: Any, new: Any, name: str = "") -> Any:
    """What is zero in ``new`` is taken from ``old``."""
    if isinstance(old, dict) and isinstance(new, dict):
        kept = {key: merge(value, new[key], key) if key in new else value for key, value in old.items()}
        return kept | {key: value for key, value in new.items() if key not in old}
    if not new or (name == "StateType" and new in _ZERO_STATES):
        # A null within a member is a value like any other; of a member itself it says that there is none.
        return new if old is None and name in _OBJECTS else old
    return new


@dataclass
class Model:
    """Everything that a store holds."""

    time: int = 0
    executions: dict[str, JSONObject] = field(default_factory=dict)
    events: dict[str, list[JSONObject]] = field(default_factory=dict)
    checkpoints: dict[str, int] = field(default_factory=dict)
    watcher_checkpoints: dict[str, int] = field(default_factory=dict)
    log: list[JSONObject] = field(default_factory=list)

    def copy(self) -> Model:
        return copy.deepcopy(self)

    # --- writing; ``now`` is what the clock says ---

    def create_execution(self, now: int, execution: Execution, *events: Event) -> JSONObject:
        state = execution.compute_state.state_type.value
        if state not in {"New", "BidAccepted"}:
            raise InvalidExecutionStateError(execution.id, state, ["New", "BidAccepted"])
        if execution.revision > 1:
            raise InvalidExecutionRevisionError(execution.id, execution.revision, 1)
        if execution.id in self.executions:
            raise ExecutionAlreadyExistsError(execution.id)
        time = self._tick(now)
        stored = execution.to_dict() | {"Revision": 1, "CreateTime": time, "ModifyTime": time}
        stored["AllocatedResources"] = stored["AllocatedResources"] or {"Tasks": {}}
        stored["PublishedResult"] = stored["PublishedResult"] or {"Type": ""}
        stored["RunOutput"] = stored["RunOutput"] or {
            "Stdout": "",
            "StdoutTruncated": False,
            "stderr": "",
            "StderrTruncated": False,
            "ExitCode": 0,
            "ErrorMsg": "",
        }
        self._put_events(time, execution.id, events)
        self._upsert(time, "CREATE", stored, None, events)
        self.executions[execution.id] = stored
        return stored

    def update_execution_state(self, now: int, request: UpdateExecutionRequest) -> JSONObject:
        new_id = request.new_values.id
        if new_id and new_id != request.execution_id:
            raise InvalidExecutionError("ID", "an update can't change it")
        old = self._get(request.execution_id)
        condition, state = request.condition, old["ComputeState"]["StateType"]
        expected = [each.value for each in condition.expected_states]
        if expected and state not in expected:
            raise InvalidExecutionStateError(request.execution_id, state, expected)
        if condition.expected_revision and condition.expected_revision != old["Revision"]:
            raise InvalidExecutionRevisionError(request.execution_id, old["Revision"], condition.expected_revision)
        if state in [each.value for each in condition.unexpected_states]:
            raise InvalidExecutionStateError(request.execution_id, state)
        if ExecutionState(state).is_terminal:
            to = request.new_values.compute_state.state_type.value
            raise ExecutionAlreadyTerminalError(request.execution_id, state, to)
        time = self._tick(now)
        new = request.new_values.to_dict()
        if not request.new_values.namespace_is_given:
            del new["Namespace"]
        stored: JSONObject = merge(old, new)
        stored |= {"Revision": old["Revision"] + 1, "CreateTime": old["CreateTime"], "ModifyTime": time}
        self._put_events(time, request.execution_id, request.events)
        self._upsert(time, "UPDATE", stored, old, request.events)
        self.executions[request.execution_id] = stored
        return stored

    def delete_execution(self, now: int, execution_id: str) -> None:
        old = self._get(execution_id)
        self._upsert(self._tick(now), "DELETE", None, old, ())
        del self.executions[execution_id]
        self.events.pop(execution_id, None)

    def add_execution_event(self, now: int, execution_id: str, *events: Event) -> None:
        self._get(execution_id)
        if events:
            self._put_events(self._tick(now), execution_id, events)

    def checkpoint(self, now: int, name: str, sequence_number: int) -> None:
        if not name:
            raise CheckpointNameBlankError
        self.checkpoints[name] = sequence_number

    def store_watcher_checkpoint(self, now: int, watcher_id: str, sequence_number: int) -> None:
        self.watcher_checkpoints[watcher_id] = sequence_number

    def store_event(self, now: int, operation: str, value: JSONObject) -> int:
        self._log(self._tick(now), operation, "Plain", value)
        return len(self.log)

    # --- reading ---

    def get_execution(self, execution_id: str) -> JSONObject:
        return self._get(execution_id)

    def get_executions(self, job_id: str) -> list[JSONObject]:
        found = [each for each in self.executions.values() if each["JobID"] == job_id]
        if not found:
            raise ExecutionsNotFoundForJobError(job_id)
        return sorted(found, key=lambda each: each["ModifyTime"], reverse=True)

    def get_live_executions(self) -> list[JSONObject]:
        found = [each for each in self.executions.values() if each["ComputeState"]["StateType"] in _LIVE]
        return sorted(found, key=lambda each: each["ModifyTime"], reverse=True)

    def get_execution_events(self, execution_id: str) -> list[JSONObject]:
        if not self.events.get(execution_id):
            raise ExecutionEventsNotFoundError(execution_id)
        return self.events[execution_id]

    def get_checkpoint(self, name: str) -> int:
        if not name:
            raise CheckpointNameBlankError
        return self.checkpoints.get(name, 0)

    def get_execution_count(self, state: ExecutionState) -> int:
        return sum(each["ComputeState"]["StateType"] == state.value for each in self.executions.values())

    # --- parts ---

    def _get(self, execution_id: str) -> JSONObject:
        if execution_id not in self.executions:
            raise ExecutionNotFoundError(execution_id)
        return self.executions[execution_id]

    def _tick(self, now: int) -> int:
        self.time = max(now, self.time + 1)
        return self.time

    def _put_events(self, time: int, execution_id: str, events: tuple[Event, ...] | list[Event] | Any) -> None:
        for event in events:
            self.events.setdefault(execution_id, []).append(event.to_dict())
            self._log(time, "CREATE", "ExecutionEvent", event.to_dict() | {"ExecutionID": execution_id})

    def _upsert(
        self, time: int, operation: str, current: JSONObject | None, previous: JSONObject | None, events: Any
    ) -> None:
        given = [event.to_dict() for event in events] or None
        value = {"Current": current, "Previous": previous, "Events": given}
        self._log(time, operation, "ExecutionUpsert", value)

    def _log(self, time: int, operation: str, object_type: str, value: JSONObject) -> None:
        self.log.append(
            {
                "seqNum": len(self.log) + 1,
                "operation": operation,
                "objectType": object_type,
                "object": value,
                "timestamp": time,
            }
        )
