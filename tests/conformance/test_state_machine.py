"""The store against a plain dict: any sequence of calls, through several handles, transactions and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from execstore import (
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    SpecConfig,
    State,
    Store,
    Transaction,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.errors import ExecStoreError, StoreBusyError, TransactionOpenError
from execstore.watcher import EventIterator, GetEventsRequest, JSONSerializer, Operation, StoreEventRequest
from tests.conformance.engines import load_factory
from tests.conformance.model import Model
from tests.support import FakeClock, make_event, make_execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.engines import Place

HANDLES = 3

ids = st.sampled_from(["e1", "e1", "e1", "e2", "e2", "Exec-1", "exec-1", "../../etc/passwd", "é" * 300, ""])
job_ids = st.sampled_from(["job1", "job2", "a/b", "."])
states = st.sampled_from(list(ExecutionState))
mostly_live = st.sampled_from(
    [ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING, ExecutionState.PUBLISHING, *ExecutionState]
)
texts = st.sampled_from(["", "short", "l\nine", "x" * 1500])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
json_objects = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=3)
events = st.lists(st.builds(make_event, message=texts), max_size=2)
handles = st.integers(0, HANDLES - 1)


@st.composite
def executions(draw: st.DrawFn) -> Execution:
    state = draw(st.sampled_from([ExecutionState.NEW, ExecutionState.BID_ACCEPTED, ExecutionState.RUNNING]))
    return make_execution(
        draw(ids.filter(bool)),
        draw(job_ids),
        state,
        name=draw(texts),
        revision=draw(st.sampled_from([0, 0, 1, 2])),
        published_result=draw(st.none() | st.builds(SpecConfig, texts, json_objects)),
        extra=draw(st.fixed_dictionaries({}, optional={"Unknown": json_values})),
    )


@st.composite
def updates(draw: st.DrawFn) -> UpdateExecutionRequest:
    execution_id = draw(ids)
    new_values = Execution(
        id=draw(st.sampled_from(["", "", "", execution_id, "other"])),
        job_id=draw(st.just("") | job_ids),
        name=draw(texts),
        compute_state=State(draw(mostly_live), draw(texts), draw(st.sampled_from([{}, {"k": "v"}, {"k": ""}]))),
        published_result=draw(st.none() | st.builds(SpecConfig, texts, json_objects)),
        run_output=draw(st.none() | st.builds(RunCommandResult, stdout=texts, exit_code=st.integers(-1, 1))),
        extra=draw(st.fixed_dictionaries({}, optional={"Unknown": json_values, "Later": json_values})),
    )
    condition = UpdateExecutionCondition(
        draw(st.just(()) | st.lists(states, min_size=1, max_size=8)),
        draw(st.sampled_from([0, 0, 0, 1, 2])),
        draw(st.just(()) | st.lists(states, max_size=2)),
    )
    return UpdateExecutionRequest(execution_id, new_values, condition, draw(events))


@dataclass(frozen=True)
class Outcome:
    """What a call came to: a value, or an error."""

    value: Any = None
    error: type[BaseException] | None = None
    text: str = ""


def outcome(call: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(plain(call()))
    except ExecStoreError as error:
        # The model doesn't repeat the texts of what the reference doesn't have.
        text = "" if type(error).__name__ == "InvalidExecutionError" else str(error)
        return Outcome(error=type(error), text=text)


def plain(value: Any) -> Any:
    """Models as JSON objects."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


class StoreMachine(RuleBasedStateMachine):
    """Each rule does the same to the store and to the model, and both must come to the same."""

    place: Callable[[Path], Place]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="execstore-test-"))
        self.opener = partial(type(self).place(self.folder).open, "store")
        self.clock = FakeClock()
        self.stores = [self.open() for _ in range(HANDLES)]
        self.reader = Store.on(self.opener, read_only=True)
        self.impatient = Store.on(self.opener, lock_timeout=0)
        self.committed = Model()
        self.transaction: Transaction | None = None
        self.owner = -1
        self.inside = Model()

    def open(self) -> Store:
        # Long enough for what another handle does beside its commits, short enough for a close in a transaction.
        return Store.on(self.opener, clock=self.clock, lock_timeout=0.05, durability="relaxed")

    @initialize()
    def register(self) -> None:
        JSONSerializer.register_type("Plain", dict)

    # --- writing ---

    def write(self, handle: int, method: str, *arguments: Any) -> None:
        """Through the transaction if there is one, else through a handle."""
        if self.transaction is not None:
            target: Store | Transaction = self.transaction
            model = self.inside
        else:
            target, model = self.stores[handle], self.committed
        before = model.copy()
        expected = outcome(lambda: getattr(model, method)(self.clock.now_ns, *arguments))
        if expected.error is not None:
            assert model == before
        assert outcome(lambda: getattr(target, method)(*arguments)) == expected

    @rule(handle=handles, execution=executions(), given=events)
    def create_execution(self, handle: int, execution: Execution, given: list[Event]) -> None:
        self.write(handle, "create_execution", execution, *given)

    @rule(handle=handles, request=updates())
    def update_execution_state(self, handle: int, request: UpdateExecutionRequest) -> None:
        self.write(handle, "update_execution_state", request)

    @rule(handle=handles, execution_id=ids)
    def delete_execution(self, handle: int, execution_id: str) -> None:
        self.write(handle, "delete_execution", execution_id)

    @rule(handle=handles, execution_id=ids, given=events)
    def add_execution_event(self, handle: int, execution_id: str, given: list[Event]) -> None:
        self.write(handle, "add_execution_event", execution_id, *given)

    @rule(handle=handles, name=st.sampled_from(["", "cp", "../cp"]), number=st.integers(0, 2**64))
    def checkpoint(self, handle: int, name: str, number: int) -> None:
        self.write(handle, "checkpoint", name, number)

    @precondition(lambda self: self.transaction is None)
    @rule(handle=handles, watcher_id=st.sampled_from(["w", "../w"]), number=st.integers(0, 2**64 - 1))
    def store_watcher_checkpoint(self, handle: int, watcher_id: str, number: int) -> None:
        self.stores[handle].event_store.store_checkpoint(watcher_id, number)
        self.committed.store_watcher_checkpoint(self.clock.now_ns, watcher_id, number)

    @precondition(lambda self: self.transaction is None)
    @rule(handle=handles, operation=st.sampled_from(list(Operation)), value=json_objects)
    def store_event(self, handle: int, operation: Operation, value: dict[str, Any]) -> None:
        number = self.stores[handle].event_store.store_event(StoreEventRequest(operation, "Plain", value))
        assert number == self.committed.store_event(self.clock.now_ns, operation.value, value)

    # --- transactions ---

    @precondition(lambda self: self.transaction is None)
    @rule(handle=handles)
    def begin_tx(self, handle: int) -> None:
        self.transaction, self.owner = self.stores[handle].begin_tx(), handle
        self.inside = self.committed.copy()

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def commit(self) -> None:
        assert self.transaction is not None
        self.transaction.commit()
        self.committed, self.transaction = self.inside, None

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def rollback(self) -> None:
        assert self.transaction is not None
        self.transaction.rollback()
        self.transaction = None

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def leave_by_an_exception(self) -> None:
        transaction, self.transaction = self.transaction, None
        assert transaction is not None

        def leave() -> None:
            with transaction:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            leave()

    @precondition(lambda self: self.transaction is not None)
    @rule(handle=handles)
    def write_beside_a_transaction(self, handle: int) -> None:
        if handle == self.owner:
            with pytest.raises(TransactionOpenError):
                self.stores[handle].checkpoint("beside", 1)
        else:
            with pytest.raises(StoreBusyError):
                self.impatient.checkpoint("beside", 1)

    # --- time and handles ---

    @rule(nanoseconds=st.sampled_from([1, 1_000, 10**9, -(10**6)]))
    def time_passes(self, nanoseconds: int) -> None:
        self.clock.now_ns += nanoseconds

    @precondition(lambda self: self.transaction is None)
    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        self.stores[handle].close()
        self.stores[handle] = self.open()

    @rule(handle=handles)
    def close_during_a_transaction(self, handle: int) -> None:
        self.stores[handle].close()
        if self.transaction is not None and handle == self.owner:
            assert self.transaction.closed
            self.transaction = None
        if self.transaction is None:
            self.stores[handle] = self.open()
        else:
            # Joining the others needs the lock; end the transaction first.
            self.rollback()
            self.stores[handle] = self.open()

    @rule()
    def reopen_the_reader(self) -> None:
        self.reader.close()
        self.reader = Store.on(self.opener, read_only=True)

    # --- reading ---

    def compare(self, store: Store | Transaction, model: Model) -> None:
        for execution_id in ("e1", "e2", "Exec-1", "exec-1", "../../etc/passwd", "é" * 300, ""):
            for method in ("get_execution", "get_execution_events"):
                self.same(store, model, method, execution_id)
        for job_id in ("job1", "job2", "a/b", ".", "none"):
            self.same(store, model, "get_executions", job_id)
        self.same(store, model, "get_live_executions")
        for name in ("", "cp", "../cp", "none"):
            self.same(store, model, "get_checkpoint", name)
        for state in ExecutionState:
            self.same(store, model, "get_execution_count", state)

    @staticmethod
    def same(store: Store | Transaction, model: Model, method: str, *arguments: Any) -> None:
        expected = outcome(lambda: getattr(model, method)(*arguments))
        assert outcome(lambda: getattr(store, method)(*arguments)) == expected, method

    def compare_whole(self, store: Store, model: Model) -> None:
        self.compare(store, model)
        in_order = sorted(model.executions.values(), key=lambda each: str(each["ID"]))
        assert plain(list(store.list_executions())) == in_order
        assert plain(list(store.list_executions(after="e1", limit=2))) == [e for e in in_order if e["ID"] > "e1"][:2]
        for state in (ExecutionState.NEW, ExecutionState.RUNNING):
            wanted = [each for each in in_order if each["ComputeState"]["StateType"] == state.value]
            assert plain(list(store.list_executions(state=state))) == wanted
        wanted = [each for each in in_order if each["JobID"] == "a/b"]
        assert plain(list(store.list_executions(job_id="a/b"))) == wanted
        assert {state.value: number for state, number in store.counts().items() if number} == {
            state.value: model.get_execution_count(state)
            for state in ExecutionState
            if model.get_execution_count(state)
        }
        logged = store.event_store.get_events(GetEventsRequest(EventIterator.after_sequence_number(0)), timeout=0)
        assert [
            {
                "seqNum": event.seq_num,
                "operation": event.operation.value,
                "objectType": event.object_type,
                "object": plain(event.object),
                "timestamp": event.timestamp,
            }
            for event in logged.events
        ] == model.log
        assert store.event_store.list_checkpoints() == model.watcher_checkpoints

    @rule(handle=handles)
    def read_through_a_handle(self, handle: int) -> None:
        self.compare_whole(self.stores[handle], self.committed)

    @rule()
    def read_through_the_reader(self) -> None:
        self.compare_whole(self.reader, self.committed)

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def read_through_the_transaction(self) -> None:
        assert self.transaction is not None
        self.compare(self.transaction, self.inside)

    @invariant()
    def numbers_agree(self) -> None:
        for store in (*self.stores, self.reader):
            assert sum(store.counts().values()) == len(self.committed.executions)
            assert store.event_store.get_latest_event_num() == len(self.committed.log)

    def teardown(self) -> None:
        try:
            if self.transaction is not None:
                self.transaction.rollback()
            for store in (*self.stores, self.reader, self.impatient):
                self.compare_whole(store, self.committed)
                store.close()
            with Store.on(self.opener) as store:
                report = store.verify()
                assert report.ok, report.problems
                assert report.log_events == len(self.committed.log)
                self.compare_whole(store, self.committed)
        finally:
            shutil.rmtree(self.folder)


def test_the_store_does_what_a_dict_does(engine: str, etcd_endpoint: Callable[[], str]) -> None:
    class Machine(StoreMachine):
        place = staticmethod(load_factory(engine, etcd_endpoint))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30 if engine in {"tree", "memory"} else 10,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
