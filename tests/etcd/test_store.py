"""A store in etcd: its keys, its round trips, and what etcd takes at most."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState
from execstore.errors import (
    ChangeTooLargeError,
    EventsCompactedError,
    ExecutionAlreadyExistsError,
    ExecutionNotFoundError,
    StoreBusyError,
    StoreCorruptedError,
    StoreFullError,
    StoreReadOnlyError,
    TransactionConflictError,
    UnsupportedOperationError,
)
from execstore.etcd import snapshot
from execstore.etcd.failures import EtcdError
from execstore.etcd.keys import Keys, end_of
from execstore.etcd.turns import Turns
from execstore.etcd.wire import delete, put, range_request, transaction
from execstore.schema import EXECUTION_EVENTS, EXECUTIONS, LAYOUT
from execstore.watcher import EventIterator, GetEventsRequest
from tests.etcd.conftest import engine_of
from tests.etcd.server import cluster, etcdctl
from tests.support import PATIENCE_SECONDS, in_child, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execstore import Store
    from execstore.engine import Reader
    from execstore.etcd.gateway import Gateway
    from execstore.etcd.turns import Job
    from tests.etcd.conftest import EtcdStores

FAR = float("inf")


def calls_of(store: Store, work: Callable[[], object]) -> int:
    """How many requests it takes."""
    engine = engine_of(store)
    before = engine.calls
    work()
    return engine.calls - before


def compact(endpoint: str) -> None:
    """Let etcd forget all but the present."""
    status = json.loads(etcdctl(endpoint, "endpoint", "status", "-w", "json"))
    etcdctl(endpoint, "compact", str(status[0]["Status"]["header"]["revision"]))


# --- the keys ---


def test_etcdctl_shows_the_store_as_ls_shows_a_folder(store: Store, endpoint: str, prefix: str) -> None:
    store.create_execution(make_execution("e-1", "j/1"), make_event("first"))
    store.update_execution_state(make_request("e-1", ExecutionState.RUNNING, make_event("second")))
    store.create_execution(make_execution("e-2", "j/1", ExecutionState.BID_ACCEPTED))
    store.checkpoint("mine", 7)
    store.event_store.store_checkpoint("mailer", 2)
    session = engine_of(store)._writer._session.key.decode()
    shown = etcdctl(endpoint, "get", "--prefix", prefix, "--keys-only").split()
    assert shown == [
        f"{prefix}/{key}"
        for key in (
            "FORMAT",
            "checkpoints/mailer",
            "events/00000000000000000001",
            "events/00000000000000000002",
            "events/00000000000000000003",
            "events/00000000000000000004",
            "events/00000000000000000005",
            "execution_events/e-1/00000000000000000001",
            "execution_events/e-1/00000000000000000002",
            "executions/e-1",
            "executions/e-2",
            "head",
            "idx_executions_by_job_id/j%2F1/e-1",
            "idx_executions_by_job_id/j%2F1/e-2",
            "idx_executions_by_state/BidAccepted/e-2",
            "idx_executions_by_state/Running/e-1",
            "log_segments/00000000000000000001",
            "sequence_tracking/mine",
            session.removeprefix(f"{prefix}/"),
        )
    ]
    record = etcdctl(endpoint, "get", "--print-value-only", f"{prefix}/executions/e-1")
    assert json.loads(record)["ComputeState"]["StateType"] == "Running"
    events = etcdctl(endpoint, "get", "--prefix", "--print-value-only", f"{prefix}/execution_events/e-1/")
    assert [json.loads(line)["Message"] for line in events.split("\n") if line] == ["first", "second"]
    head = json.loads(etcdctl(endpoint, "get", "--print-value-only", f"{prefix}/head"))
    assert head["values"]["counts"] == {"BidAccepted": 1, "Running": 1}


def test_a_store_that_many_make_at_once_is_one(open_store: EtcdStores) -> None:
    barrier = threading.Barrier(6)
    opened: list[Store] = []

    def work(number: int) -> None:
        barrier.wait(PATIENCE_SECONDS)
        store = open_store()
        store.create_execution(make_execution(f"e{number}"))
        opened.append(store)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.store_id for store in opened}) == 1
    assert [event.seq_num for event in log_entries(opened[0])] == [1, 2, 3, 4, 5, 6]


def test_nothing_of_a_handle_is_left_when_it_is_closed(open_store: EtcdStores, endpoint: str, prefix: str) -> None:
    with open_store() as store, store.begin_tx() as transaction:
        transaction.create_execution(make_execution())
    assert etcdctl(endpoint, "get", "--prefix", f"{prefix}/transactions/", "--keys-only") == ""
    assert etcdctl(endpoint, "get", f"{prefix}/lock") == ""


def test_a_deleted_execution_leaves_no_key(store: Store, endpoint: str, prefix: str) -> None:
    store.create_execution(make_execution(), make_event())
    store.delete_execution("e1")
    shown = etcdctl(endpoint, "get", "--prefix", prefix, "--keys-only").split()
    assert not [key for key in shown if key.endswith("/e1") or "/e1/" in key]


def test_a_key_removed_by_hand_is_told(open_store: EtcdStores, gateway: Gateway, prefix: str) -> None:
    store = open_store()
    store.create_execution(make_execution(), make_event())
    line = Keys(prefix).log_line("events", 1)
    gateway.call("kv/deleterange", range_request(line), FAR)
    with pytest.raises(StoreCorruptedError, match=r"events/0{19}1 is damaged: the event is missing"):
        log_entries(store)
    report = store.verify()
    assert not report.ok
    gateway.call("kv/put", json.dumps(json.loads(put(line, b""))["request_put"]).encode(), FAR)
    store.delete_execution("e1")
    gateway.call("kv/deleterange", range_request(line, end_of(Keys(prefix).folder("events"))), FAR)
    gateway.call("kv/deleterange", range_request(Keys(prefix).root, end_of(Keys(prefix).root)), FAR)
    with pytest.raises(StoreCorruptedError, match="was the store removed"):
        store.create_execution(make_execution())
    open_store.forget()


# --- round trips ---


def test_how_many_requests_each_call_takes(open_store: EtcdStores) -> None:
    """In the steady state of one writer each is one."""
    store = open_store()
    store.create_execution(make_execution("e0"))
    for number in range(1, 11):
        create = partial(store.create_execution, make_execution(f"e{number}"), make_event())
        assert calls_of(store, create) == 1
    assert calls_of(store, lambda: store.update_execution_state(make_request("e1", ExecutionState.RUNNING))) == 1
    assert calls_of(store, lambda: store.add_execution_event("e1", make_event())) == 1
    assert calls_of(store, lambda: store.delete_execution("e0")) == 1
    assert calls_of(store, lambda: store.get_execution("e1")) == 1
    assert calls_of(store, lambda: store.get_execution_events("e1")) == 1
    assert calls_of(store, store.counts) == 1
    assert calls_of(store, lambda: store.get_executions("job1")) == 1, "a list of ten"
    assert len(store.get_executions("job1")) == 10
    with pytest.raises(ExecutionAlreadyExistsError):
        store.create_execution(make_execution("e1"))


def test_another_handle_learns_what_a_list_asks_for(open_store: EtcdStores) -> None:
    store, other = open_store(), open_store()
    for number in range(10):
        store.create_execution(make_execution(f"e{number}", state=ExecutionState.BID_ACCEPTED))
    assert calls_of(other, lambda: other.get_executions("job1")) == 2
    assert calls_of(other, lambda: other.get_executions("job1")) == 1
    other.get_live_executions()
    assert calls_of(other, other.get_live_executions) == 1, "three states and ten records"
    store.delete_execution("e3")
    store.create_execution(make_execution("e10"))
    assert len(other.get_executions("job1")) == 10
    assert calls_of(other, lambda: other.get_executions("job1")) == 1


def test_what_is_going_to_be_asked_is_asked_together(store: Store) -> None:
    for number in range(3):
        store.create_execution(make_execution(f"e{number}"), *[make_event(f"{number}-{n}") for n in range(number)])
    names = ["e2", "none", "e0", "e1"]
    marks = [("idx_executions_by_job_id", "job1", name) for name in names]

    def look(reader: Reader) -> list[object]:
        found: list[object] = [reader.lines(EXECUTION_EVENTS, name) for name in names]
        found += [reader.record_named(EXECUTIONS, name) for name in names]
        found += [reader.has_record_named(EXECUTIONS, name) for name in names]
        return [*found, *[reader.wrong_marker(LAYOUT, *mark) for mark in marks]]

    def look_prepared(reader: Reader) -> list[object]:
        reader.prepare(records={EXECUTIONS: names}, lines={EXECUTION_EVENTS: names}, marks=marks)  # type: ignore[attr-defined]
        return look(reader)

    engine = engine_of(store)
    assert engine.read(look_prepared) == engine.read(look)
    assert calls_of(store, lambda: engine.read(look_prepared)) == 1
    with store.begin_tx() as transaction:
        transaction.add_execution_event("e2", make_event("more"))
        transaction.delete_execution("e1")
        expected = look(transaction._change)
        assert look_prepared(transaction._change) == expected
        assert expected[3] is None


def test_a_list_longer_than_a_transaction(store: Store) -> None:
    with store.begin_tx() as transaction:
        for number in range(250):
            transaction.create_execution(make_execution(f"e{number:03}"))
    for _ in range(2):
        assert len(store.get_executions("job1")) == 250
    assert [each.id for each in store.list_executions(limit=3, after="e100")] == ["e101", "e102", "e103"]


def test_verify_asks_many_questions_at_once(store: Store) -> None:
    with store.begin_tx() as transaction:
        for number in range(64):
            transaction.create_execution(make_execution(f"e{number}", f"j{number}"), make_event())
    assert calls_of(store, lambda: store.verify().ok) < 20
    report = store.verify()
    assert (report.executions, report.execution_events, report.ok) == (64, 64, True)


def test_verify_finds_what_was_changed_by_hand(open_store: EtcdStores, gateway: Gateway, prefix: str) -> None:
    store = open_store()
    for number in range(3):
        store.create_execution(make_execution(f"e{number}"), make_event())
    keys = Keys(prefix)
    by_hand = [
        delete(keys.marker("idx_executions_by_job_id", "job1", "e0")),
        put(keys.record("executions", "e1"), b"{"),
        put(keys.some_lines("execution_events", "e2", 3), b"{\n"),
        put(keys.some_lines("execution_events", "nobody", 1), b"{}\n"),
        put(keys.marker("idx_executions_by_state", "Running", "e0"), b""),
    ]
    gateway.call("kv/txn", transaction([], by_hand), FAR)
    found = {(problem.path, problem.kind) for problem in store.verify().problems}
    assert found >= {
        ("idx_executions_by_job_id/job1/e0", "index"),
        ("idx_executions_by_state/Running/e0", "index"),
        ("executions/e1", "record"),
        ("execution_events/e2/", "events"),
        ("execution_events/nobody/", "events"),
        ("head", "counts"),
    }
    open_store.forget()


def test_a_look_at_much_keeps_little(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.begin_tx() as transaction:
        for number in range(150):
            transaction.create_execution(make_execution(f"e{number:03}"), make_event())
    monkeypatch.setattr(snapshot, "_REMEMBERED_BYTES", 5000)
    monkeypatch.setattr(snapshot, "_PAGE_OF_KEYS", 7)  # and pages are small
    assert len(store.get_executions("job1")) == 150
    assert [each.id for each in store.list_executions()] == [f"e{number:03}" for number in range(150)]
    assert len(store.get_execution_events("e007")) == 1
    assert store.verify().ok


# --- what others did ---


def test_two_handles_in_turn(open_store: EtcdStores) -> None:
    """What one knows is always out of date, and nothing comes of it but a second request."""
    first, second = open_store(), open_store()
    first.create_execution(make_execution("e1"))
    for number in range(5):
        handle = (first, second)[number % 2]
        stored = handle.update_execution_state(make_request("e1", name=f"n{number}", revision=number + 1))
        assert stored.revision == number + 2
    second.delete_execution("e1")
    with pytest.raises(ExecutionNotFoundError):
        first.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    first.create_execution(make_execution("e1"))
    with pytest.raises(ExecutionAlreadyExistsError):
        second.create_execution(make_execution("e1"))
    with pytest.raises(ExecutionAlreadyExistsError):
        first.create_execution(make_execution("e1"))
    assert [event.seq_num for event in log_entries(first)] == list(range(1, 9))


def test_what_a_handle_believes_is_checked_before_it_says_no(open_store: EtcdStores) -> None:
    first, second = open_store(), open_store()
    first.create_execution(make_execution("e1"))
    second.delete_execution("e1")
    # The first one knows of e1 by its own creation, and of nothing since.
    assert first.create_execution(make_execution("e1")).revision == 1
    second.create_execution(make_execution("e2"), make_event())
    first.add_execution_event("e2", make_event("by the other"))
    assert len(second.get_execution_events("e2")) == 2


def test_who_leads_at_the_end_of_its_time_takes_nobody_with_it() -> None:
    """Its own call is told that the store is busy; what came later goes on waiting, and is done by the next."""
    turns = Turns("etcd://h/p", 30.0)
    entered, may_go = threading.Event(), threading.Event()
    led: list[int] = []
    outcomes: dict[str, object] = {}

    def lead(batch: list[Job[Any]]) -> int:
        led.append(len(batch))
        if len(led) == 1:
            entered.set()
            may_go.wait(PATIENCE_SECONDS)
            return len(batch)
        if len(led) == 2:
            raise StoreBusyError("etcd://h/p", 30.0, None)
        return len(batch)

    def do(name: str, wait_seconds: float) -> None:
        try:
            outcomes[name] = turns.do(lambda _: None, time.monotonic() + wait_seconds, lead)
        except StoreBusyError as error:
            outcomes[name] = error

    threads = [threading.Thread(target=do, args=("first", 0.0))]
    threads[0].start()
    entered.wait(PATIENCE_SECONDS)
    threads += [threading.Thread(target=do, args=(name, PATIENCE_SECONDS)) for name in ("second", "third")]
    for thread in threads[1:]:
        thread.start()
    while len(turns._jobs) < 2:
        time.sleep(0.001)
    may_go.set()
    for thread in threads:
        thread.join()
    assert led == [1, 2, 1]
    busy = [name for name, outcome in outcomes.items() if outcome is not None]
    assert len(busy) == 1
    assert busy[0] in {"second", "third"}


def test_threads_share_transactions(store: Store) -> None:
    """Eight threads that all have something to write: one leads, the others' changes go along."""
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(PATIENCE_SECONDS)
            for each in range(20):
                store.create_execution(make_execution(f"e{number}-{each}", f"j{number}"), make_event())
                if each % 5 == 0:
                    with pytest.raises(ExecutionAlreadyExistsError):
                        store.create_execution(make_execution(f"e{number}-{each}"))
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    calls = calls_of(store, run)
    assert errors == []
    assert store.counts()[ExecutionState.NEW] == 160
    assert calls < 160, "they did share"
    assert [event.seq_num for event in log_entries(store)] == list(range(1, 321))


# --- transactions ---


def test_a_transaction_keeps_others_out(open_store: EtcdStores) -> None:
    store, other = open_store(), open_store(lock_timeout=0.0)
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution("e1"))
        with pytest.raises(StoreBusyError, match="has held its lock"):
            other.create_execution(make_execution("e2"))
        with pytest.raises(StoreBusyError):
            other.begin_tx()
        with pytest.raises(ExecutionNotFoundError):
            other.get_execution("e1")
    other.create_execution(make_execution("e2"))
    assert other.get_execution("e1").revision == 1


def test_a_transaction_whose_lock_was_lost_changes_nothing(
    open_store: EtcdStores, gateway: Gateway, prefix: str
) -> None:
    store, other = open_store(), open_store()
    for name in ("reads", "writes"):
        lost = store.begin_tx()
        gateway.call("kv/deleterange", range_request(Keys(prefix).lock), FAR)  # as when its lease runs out
        other.create_execution(make_execution(f"other-{name}"))
        if name == "reads":
            with pytest.raises(TransactionConflictError, match="its lock ran out"):
                lost.get_executions("job1")
            lost.rollback()
        else:
            lost.checkpoint("mine", 7)
            with pytest.raises(TransactionConflictError, match="nothing was changed, do it again"):
                lost.commit()
    assert store.get_checkpoint("mine") == 0
    store.create_execution(make_execution("e1"))


def test_the_lock_of_a_client_that_died_goes_with_its_lease(store: Store, gateway: Gateway, prefix: str) -> None:
    store.create_execution(make_execution("e1"))
    lease = gateway.call("lease/grant", b'{"TTL":"1"}', FAR).body["ID"]
    gateway.call("kv/txn", transaction([], [put(Keys(prefix).lock, b"no JSON", int(lease))]), FAR)
    assert store.create_execution(make_execution("e2")).revision == 1, "it waited until the lease was over"


def test_a_session_that_was_lost_is_begun_anew(store: Store, gateway: Gateway) -> None:
    store.create_execution(make_execution("e1"))
    lease = engine_of(store)._writer._session.lease.id
    gateway.call("lease/revoke", b'{"ID":"%d"}' % lease, FAR)
    store.create_execution(make_execution("e2"))
    assert engine_of(store)._writer._session.lease.id != lease
    with store.begin_tx() as transaction_:
        transaction_.delete_execution("e2")
    gateway.call("lease/revoke", b'{"ID":"%d"}' % engine_of(store)._writer._lock._lease.id, FAR)
    with store.begin_tx() as transaction_:
        transaction_.delete_execution("e1")
    assert sum(store.counts().values()) == 0


def test_all_at_once_in_one_transaction(store: Store) -> None:
    """Removed and made anew, marked and unmarked: what etcd refuses to have twice in a transaction."""
    store.create_execution(make_execution("e1"), make_event("old"))
    with store.begin_tx() as transaction:
        for _ in range(3):
            transaction.delete_execution("e1")
            transaction.create_execution(make_execution("e1", "job2"), make_event("a"), make_event("b"))
            transaction.add_execution_event("e1", make_event("c"))
        transaction.update_execution_state(make_request("e1", job_id="job3"))
        assert [each.message for each in transaction.get_execution_events("e1")] == ["a", "b", "c"]
    assert [each.message for each in store.get_execution_events("e1")] == ["a", "b", "c"]
    assert store.get_executions("job3")[0].revision == 2


def test_a_child_opens_the_store_for_itself(open_store: EtcdStores) -> None:
    store = open_store()
    store.create_execution(make_execution("e1"))
    store.event_store.get_latest_event_num()
    assert in_child(lambda: store.create_execution(make_execution("e2")).id) == "e2"
    assert in_child(lambda: store.get_execution("e2").revision) == "1"
    store.create_execution(make_execution("e3"))
    assert sum(store.counts().values()) == 3


# --- what etcd takes at most ---


def test_a_record_too_large_for_a_request_is_refused_whole(store: Store) -> None:
    store.create_execution(make_execution("e1"))
    large = {"ID": "job1", "Name": "test", "Type": "batch", "Count": 1, "Large": "x" * 900_000}
    with pytest.raises(
        ChangeTooLargeError, match=r"1572864 .* nothing was changed; keep large output in a file"
    ) as caught:
        store.create_execution(make_execution("e2", job=large))
    assert caught.value.size > caught.value.limit == 1572864
    assert [each.id for each in store.list_executions()] == ["e1"]
    assert len(log_entries(store)) == 1


def test_what_just_fits_and_what_just_does_not(store: Store) -> None:
    """Our own count of the bytes must not be below etcd's: an error of etcd's own would say the same, but later."""
    told = []
    for size in range(783_000, 787_000, 500):
        with contextlib.suppress(ChangeTooLargeError):
            store.create_execution(make_execution(f"e{size}", job={"Large": "x" * size}))
            told.append(size)
    assert told, "some fit"
    assert 2 * max(told) < 1572864 < 2 * 787_000
    sent = engine_of(store).calls
    with pytest.raises(ChangeTooLargeError):
        store.create_execution(make_execution("e", job={"Large": "x" * (max(told) + 500)}))
    assert engine_of(store).calls == sent, "it was counted, not refused by the server"


def test_a_transaction_of_thousands_of_operations(store: Store) -> None:
    with store.begin_tx() as transaction:
        for number in range(600):
            transaction.create_execution(make_execution(f"e{number}", job={}))
    assert sum(store.counts().values()) == 600
    with store.begin_tx() as transaction:
        for number in range(600):
            transaction.delete_execution(f"e{number}")
    assert sum(store.counts().values()) == 0


def test_a_transaction_of_too_many_operations_is_refused_whole(store: Store) -> None:
    transaction = store.begin_tx()
    for number in range(1000):
        transaction.create_execution(make_execution(f"e{number}", job={}))
    with pytest.raises(ChangeTooLargeError, match="operations, more than the 3584"):
        transaction.commit()
    assert sum(store.counts().values()) == 0
    store.create_execution(make_execution("e1"))


def test_a_server_that_takes_less_than_usual(open_store: EtcdStores) -> None:
    with cluster(1, arguments=("--max-request-bytes", "20000", "--max-txn-ops", "16")) as servers:
        store = open_store(f"etcd://{servers.endpoints}/small")
        store.create_execution(make_execution("e1"))
        with pytest.raises(ChangeTooLargeError, match="bytes"):
            store.create_execution(make_execution("e2", job={"Large": "x" * 15000}))
        with pytest.raises(ChangeTooLargeError, match="--max-txn-ops"), store.begin_tx() as transaction:
            for number in range(20):
                transaction.create_execution(make_execution(f"t{number}", job={}))
        told = open_store(f"etcd://{servers.endpoints}/small?max_request_bytes=8192")
        with pytest.raises(ChangeTooLargeError, match="more than the 8192"):
            told.create_execution(make_execution("e2", job={"Large": "x" * 5000}))
        assert [each.id for each in store.list_executions()] == ["e1"]
        assert store.verify().ok
        open_store.forget()


def test_a_full_server_says_so_and_goes_on_once_there_is_room(open_store: EtcdStores) -> None:
    with cluster(1, arguments=("--quota-backend-bytes", str(1 << 20))) as servers:
        store = open_store(f"etcd://{servers.endpoints}/full")
        store.create_execution(make_execution("e1"))
        # What fills it is another's, and mostly its past.
        other = json.dumps(json.loads(put(b"/other", b"x" * 100_000))["request_put"]).encode()
        with pytest.raises(EtcdError, match="database space exceeded"):
            for _ in range(1000):
                engine_of(store)._gateway.call("kv/put", other, FAR)
        with pytest.raises(StoreFullError, match=r"nothing was changed; .*etcdctl alarm disarm") as caught:
            store.create_execution(make_execution("e2"))
        assert not caught.value.committed
        assert [each.id for each in store.list_executions()] == ["e1"], "it can still be read"
        compact(servers.endpoints)
        etcdctl(servers.endpoints, "defrag")
        etcdctl(servers.endpoints, "alarm", "disarm")
        store.create_execution(make_execution("e2"))
        assert len(log_entries(store)) == 2
        assert store.verify().ok
        open_store.forget()


# --- the log ---


def test_a_far_behind_reader_takes_the_log_in_parts(open_store: EtcdStores) -> None:
    """Bounded by segments, since etcd bounds no answer by bytes."""
    store = open_store(small=True)
    for number in range(150):
        store.create_execution(make_execution(f"e{number:03}"))
    engine = engine_of(store)
    position, parts = 1, []
    while lines := engine.read_log(position, 10_000):
        assert [number for number, _ in lines] == list(range(position, position + len(lines)))
        parts.append(sum(len(line) for _, line in lines))
        position += len(lines)
    assert position == 151
    assert len(parts) > 5
    assert max(parts[:5]) <= 5 * 4096
    other = open_store(read_only=True)
    assert calls_of(other, lambda: engine_of(other).read_log(1, 100)) == 2
    assert calls_of(other, lambda: engine_of(other).read_log(148, 100)) == 1
    assert engine_of(other).read_log(150, 1)[0][0] == 150
    assert engine_of(other).read_log(151, 1) == []
    store.collect_events(max_bytes=16384)
    oldest = store.event_log_status().oldest
    assert oldest > 1
    assert engine_of(other).read_log(1, 1)[0][0] == oldest
    assert engine_of(other).read_log(149, 9)[0][0] == 149


def test_a_watcher_does_not_notice_that_etcd_was_compacted(store: Store, endpoint: str) -> None:
    """Its events are keys like all others: only their retention lets them go, never etcd's compaction."""
    for number in range(5):
        store.create_execution(make_execution(f"e{number}"))
    compact(endpoint)
    assert [event.seq_num for event in log_entries(store)] == [1, 2, 3, 4, 5]
    store.create_execution(make_execution("e5"))
    assert [event.seq_num for event in log_entries(store, after=5)] == [6]


def test_a_look_that_meets_a_compaction_is_done_again(store: Store, endpoint: str) -> None:
    for number in range(3):
        store.create_execution(make_execution(f"e{number}"))
    seen: list[int] = []

    def look(reader: Reader) -> int:
        names = reader.record_names("executions")
        if not seen:
            seen.append(len(names))
            store.create_execution(make_execution("late"))
            compact(endpoint)
        return sum(reader.record_named("executions", name) is not None for name in names)

    assert store.look(look) == 4
    assert seen == [3]
    transaction = store.begin_tx()
    transaction.get_executions("job1")
    # A revision more, of no store.
    engine_of(store)._gateway.call("kv/put", b'{"key":"L2FueQ==","value":"eA=="}', FAR)
    compact(endpoint)
    assert len(transaction.get_live_executions()) == 0, "nobody else wrote, so any revision will do"
    transaction.create_execution(make_execution("in-the-end"))
    transaction.commit()


def test_events_go_by_their_retention(open_store: EtcdStores, endpoint: str, prefix: str) -> None:
    store = open_store(small=True)
    for number in range(60):
        store.create_execution(make_execution(f"e{number:02}"))
    status = store.event_log_status()
    assert status.segments > 5
    store.collect_events(max_bytes=20_000)
    status = store.event_log_status()
    assert 1 < status.oldest <= 60
    with pytest.raises(EventsCompactedError) as caught:
        store.event_store.get_events(GetEventsRequest(EventIterator.at_sequence_number(1)), timeout=0)
    assert caught.value.oldest == status.oldest
    shown = etcdctl(endpoint, "get", "--prefix", f"{prefix}/events/", "--keys-only").split()
    assert [int(key.rpartition("/")[2]) for key in shown] == list(range(status.oldest, 61))
    assert [event.seq_num for event in log_entries(store, after=status.oldest - 1)] == list(range(status.oldest, 61))


# --- what it can't ---


def test_what_such_a_store_can_not_do(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperationError, match="etcdctl snapshot save"):
        store.backup(tmp_path / "backup.tar")
    with pytest.raises(UnsupportedOperationError):
        store.repair()


def test_a_read_only_handle_changes_nothing(open_store: EtcdStores) -> None:
    open_store().create_execution(make_execution())
    reader = open_store(read_only=True)
    assert reader.get_execution("e1").revision == 1
    for work in (
        lambda: reader.delete_execution("e1"),
        reader.begin_tx,
        lambda: reader.checkpoint("x", 1),
    ):
        with pytest.raises(StoreReadOnlyError):
            work()
