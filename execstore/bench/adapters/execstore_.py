"""execstore itself."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Literal

from execstore import Event, Execution, ExecutionState, ExecutionUpsert, State, Store, UpdateExecutionRequest
from execstore.bench.adapters.base import Adapter
from execstore.bench.workloads import LIVE_EVERY, execution_id, job_id
from execstore.event_log import StoreEventLog
from execstore.imports import StoreFiller
from execstore.records import compact, encode_event, encode_execution, encode_upsert
from execstore.watcher import EventIterator, EventStore, GetEventsRequest, Operation, encode_line

if TYPE_CHECKING:
    from execstore.models import ExecutionEvent

__all__ = ["ExecstoreAdapter", "RelaxedAdapter"]


class ExecstoreAdapter(Adapter):
    """The public methods, with all their checks; reads give whole objects.

    Of the events of the log, whose objects are made when they are first looked at, every object is looked at, and of
    one that holds an execution its current state. Its job stays the text that it was read as.
    """

    durability: Literal["full", "relaxed"] = "full"

    def open(self) -> None:
        self._store = Store(os.path.join(self.folder, "store"), durability=self.durability)
        self._template = Execution.from_dict(self.document)

    def close(self) -> None:
        self._store.close()

    def fill(self, count: int) -> None:
        self.close()
        path = os.path.join(self.folder, "store")
        # The filler wants to make the store itself, in an empty folder.
        for name in _everything_below(path):
            os.rmdir(name) if os.path.isdir(name) and not os.path.islink(name) else os.remove(name)
        with StoreFiller(path) as filler:
            for number in range(count):
                self._fill_one(filler, number)
        self.open()

    def _fill_one(self, filler: StoreFiller, number: int) -> None:
        now = time.time_ns()
        state = State(ExecutionState.NEW if number % LIVE_EVERY else ExecutionState.RUNNING)
        execution = dataclasses.replace(
            self._execution(number), compute_state=state, revision=1, create_time=now, modify_time=now
        )
        record = encode_execution(execution, trusted=True)
        event = Event("Execution", "created")
        line = encode_event(event)
        filler.put_execution(execution, record, line + b"\n")
        log_object = line[:-1] + b',"ExecutionID":"%b"}' % execution.id.encode()
        upsert = encode_upsert(compact(record), None, [line])
        for offset, (kind, content) in enumerate((("ExecutionEvent", log_object), ("ExecutionUpsert", upsert))):
            seq_num = 2 * number + 1 + offset
            filler.append_log(seq_num, encode_line(seq_num, Operation.CREATE, kind, content, now), now)

    def _execution(self, number: int) -> Execution:
        return self._template.replace(id=execution_id(number), job_id=job_id(number))

    def create(self, number: int, state: str) -> int:  # noqa: ARG002
        return self._store.create_execution(self._execution(number), Event("Execution", "created")).revision

    def update(self, number: int, state: str) -> int:
        new_values = Execution(compute_state=State(ExecutionState(state), f"now {state}"))
        request = UpdateExecutionRequest(execution_id(number), new_values, events=[Event("Execution", state)])
        return self._store.update_execution_state(request).revision

    def add_event(self, number: int, argument: str) -> int:  # noqa: ARG002
        self._store.add_execution_event(execution_id(number), Event("Execution", "something happened"))
        return 1

    def delete(self, number: int, argument: str) -> int:  # noqa: ARG002
        self._store.delete_execution(execution_id(number))
        return 1

    def get(self, number: int, argument: str) -> int:  # noqa: ARG002
        return self._store.get_execution(execution_id(number)).revision

    def list_job(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._store.get_executions(job_id(number)))

    def live(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._store.get_live_executions())

    def count(self, number: int, state: str) -> int:  # noqa: ARG002
        return self._store.get_execution_count(ExecutionState(state))

    def events(self, number: int, argument: str) -> int:  # noqa: ARG002
        return len(self._store.get_execution_events(execution_id(number)))

    def watch(self, number: int, argument: str) -> int:  # noqa: ARG002
        request = GetEventsRequest(EventIterator.at_sequence_number(number), limit=100)
        # An event store of its own each time, since one keeps what it read last.
        response = EventStore(StoreEventLog(self._store)).get_events(request, timeout=0)
        return sum(_looked_at(event.object) for event in response.events)


class RelaxedAdapter(ExecstoreAdapter):
    """The same with ``durability="relaxed"``: nothing is flushed, so it competes with nobody here."""

    durability = "relaxed"


def _looked_at(logged: ExecutionUpsert | ExecutionEvent) -> bool:
    """Whether the entry tells of an execution: its state, or what happened to it."""
    if isinstance(logged, ExecutionUpsert):
        return logged.current is None or logged.current.compute_state.state_type is not ExecutionState.UNDEFINED
    return logged.topic != ""


def _everything_below(path: str) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(path, topdown=False):
        found += [os.path.join(folder, name) for name in (*files, *folders)]
    return found
