"""Forwarding, rule by rule: conflicts, deletions, stores that were replaced, central stores that can't be reached."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import Execution, ExecutionState, Store, codec, connect
from execstore.errors import (
    ChangeTooLargeError,
    InvalidArgumentError,
    SourceChangedError,
    StoreAccessError,
    StoreUnreachableError,
)
from execstore.forwarding import Forwarder, ForwardReport, Phase, node_statuses
from execstore.forwarding.stream import Stream, encode_stream, parse_stream
from execstore.imports import StoreFiller
from execstore.records import encode_event, encode_execution
from tests.forwarding.support import Kept, as_node, content, events_of, forward, kept, messages, stream_of
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.engine import Change
    from tests.conftest import StoreFactory

_T = TypeVar("_T")


def work(store: Store, *ids: str) -> None:
    """Executions with a life each, and events in it."""
    for execution_id in ids:
        store.create_execution(make_execution(execution_id), make_event(f"{execution_id} made"))
        store.update_execution_state(
            make_request(execution_id, ExecutionState.RUNNING, make_event(f"{execution_id} runs"))
        )
        store.add_execution_event(execution_id, make_event(f"{execution_id} is fine"), make_event(f"{execution_id}!"))


# --- what comes -----------------------------------------------------------------------------------------------------


def test_the_central_log_tells_each_event_once(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1", "e2")
    report = forward(device, central)
    own, brought = log_entries(device), log_entries(central)
    assert report.events == len(own) == len(brought)
    assert [(each.operation, each.object_type) for each in brought] == [
        (each.operation, each.object_type) for each in own
    ]
    assert messages(central) == messages(device)
    assert [revision.revision for revision in central.history("e1")] == [1, 2]
    work(device, "e3")
    forward(device, central)
    assert messages(central) == messages(device)
    assert forward(device, central).events == 0


def test_lines_of_one_operation_keep_one_time_and_others_another(open_store: StoreFactory) -> None:
    """So that a central store can be forwarded itself."""
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    forward(device, central)

    def groups(store: Store) -> list[int]:
        times = [entry.timestamp for entry in log_entries(store)]
        return [times.count(each) for each in dict.fromkeys(times)]

    assert groups(central) == groups(device) == [2, 2, 2]


def test_what_the_log_does_not_tell_is_brought_whole(open_store: StoreFactory) -> None:
    """A store that was filled by an import, whose log only begins afterwards."""
    path = open_store.path("device")
    execution = make_execution("old", revision=9, create_time=1, modify_time=2)
    lines = b"".join(encode_event(make_event(text)) + b"\n" for text in ("one", "two"))
    with StoreFiller(str(path)) as filler:
        filler.put_execution(execution, encode_execution(execution), lines)
    device, central = open_store("device"), open_store("central")
    work(device, "new")
    forward(device, central)
    assert content(central) == as_node(device, "n1")
    device.add_execution_event("old", make_event("three"))
    forward(device, central)
    assert [event.message for event in events_of(central, "old")] == ["one", "two", "three"]


def test_a_store_older_than_its_log(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    for number in range(40):
        work(device, f"e{number}")
    device.collect_events(retention=timedelta(0))
    assert device.event_store.get_oldest_event_num() > 1
    report = forward(device, central, batch_size=7)
    assert (report.full_copies, report.lag) == (1, 0)
    assert content(central) == as_node(device, "n1")
    assert report.events == 40  # whole: one line each, with its events in it


def test_events_of_a_users_own_stay(open_store: StoreFactory) -> None:
    from execstore.watcher import Operation, StoreEventRequest

    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    device.event_store.store_event(StoreEventRequest(Operation.CREATE, "Mine", {"a": 1}))
    report = forward(device, central)
    assert report.lag == 0
    assert {entry.object_type for entry in log_entries(central)} == {"ExecutionEvent", "ExecutionUpsert"}


def test_a_checkpoint_on_the_node_holds_its_log_and_shows_the_lag(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    forwarder = Forwarder(device, lambda: kept(central), node="n1")
    forwarder.run(once=True)
    work(device, "e2")
    (watcher,) = device.event_log_status().watchers
    assert watcher.watcher_id == forwarder.watcher_id == f"forward-n1-{central.store_id[:8]}"
    assert watcher.lag == 6
    forward(device, central)
    assert device.event_log_status().watchers[0].lag == 0


def test_a_source_that_may_not_be_written_to(open_store: StoreFactory) -> None:
    work(open_store("device"), "e1")
    device, central = open_store("device", read_only=True), open_store("central")
    forward(device, central)
    assert content(central) == as_node(device, "n1")
    assert device.event_log_status().watchers == ()


def test_the_node_is_named_by_its_executions(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    with pytest.raises(InvalidArgumentError, match="no execution yet"):
        forward(device, central, node=None)
    device.create_execution(make_execution("e1", node_id="n-7"))
    assert forward(device, central, node=None).node == "n-7"
    device.create_execution(make_execution("e2", node_id="n-8"))
    with pytest.raises(InvalidArgumentError, match=r"several nodes \(n-7, n-8\)"):
        forward(device, central, node=None)
    for execution_id, node in (("e3", ""), ("e4", "n-9")):
        device.create_execution(make_execution(execution_id, node_id=node))
    with pytest.raises(InvalidArgumentError, match=r"several nodes \(\(none\), n-7, n-8 …\)"):
        forward(device, central, node=None)
    nameless = open_store("nameless")
    nameless.create_execution(make_execution("e1"))
    with pytest.raises(InvalidArgumentError, match="no NodeID"):
        forward(nameless, central, node=None)


# --- whose an execution is ------------------------------------------------------------------------------------------


def test_another_nodes_execution_is_left_alone_and_told(open_store: StoreFactory) -> None:
    first, second, central = open_store("first"), open_store("second"), open_store("central")
    work(first, "same", "a")
    work(second, "same", "b")
    forward(first, central, "n1")
    before = content(central)
    report = forward(second, central, "n2")
    assert {key: value for key, value in content(central).items() if key != "b"} == before
    assert content(central, "n2") == {"b": as_node(second, "n2")["b"]}
    assert "execution same of node n2 was left out: node n1 has one of this ID" in report.conflicts
    assert stream_of(central, "n2").conflicts == report.conflict_count > 0
    second.delete_execution("same")
    forward(second, central, "n2")
    assert central.get_execution("same").node_id == "n1"


def test_nodes_keep_their_names_on_the_way_through_a_region(open_store: StoreFactory) -> None:
    region, top = open_store("region"), open_store("top")
    for node in ("n1", "n2"):
        device = open_store(node)
        work(device, f"{node}-e")
        forward(device, region, node)
    forward(region, top, "region", keep_nodes=True)
    assert content(top) == content(region)
    assert {execution.node_id for execution in top.list_executions()} == {"n1", "n2"}
    assert [status.node for status in node_statuses(top)] == ["n1", "n2", "region"]


def test_what_the_central_store_has_pruned_is_not_brought_back_by_its_last_events(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    device.update_execution_state(make_request("e1", ExecutionState.COMPLETED))
    forward(device, central)
    assert central.prune(older_than=timedelta(0)) == ["e1"]
    device.add_execution_event("e1", make_event("late"))
    report = forward(device, central)
    assert (report.left_out, report.lag) == (1, 0)
    assert content(central) == {}


# --- deletions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_ended", [False, True])
@pytest.mark.parametrize("by_log", [True, False])
def test_what_a_node_deletes(open_store: StoreFactory, keep_ended: bool, by_log: bool) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "ended", "live", "stays")
    device.update_execution_state(make_request("ended", ExecutionState.COMPLETED))
    forward(device, central, keep_ended=keep_ended)
    assert device.prune(older_than=timedelta(0)) == ["ended"]
    device.delete_execution("live")
    if not by_log:
        for watcher_id in device.event_store.list_checkpoints():
            device.event_store.remove_checkpoint(watcher_id)
        for number in range(40):
            device.add_execution_event("stays", make_event(f"{number}" * 100))
        device.collect_events(retention=timedelta(0))
    report = forward(device, central, keep_ended=keep_ended)
    assert report.full_copies == (not by_log)
    assert set(content(central)) == ({"ended", "stays"} if keep_ended else {"stays"})


# --- a store that isn't what it was ---------------------------------------------------------------------------------


def test_a_replaced_store_is_refused_until_it_is_asked_for(open_store: StoreFactory) -> None:
    device, other, central = open_store("device"), open_store("other"), open_store("central")
    work(device, "e1", "e2")
    work(other, "e2", "e3")
    forward(device, central)
    with pytest.raises(SourceChangedError, match=r"another store .* --resync") as raised:
        forward(other, central)
    assert raised.value.node == "n1"
    assert content(central) == as_node(device, "n1")
    forward(other, central, resync=True)
    assert content(central) == as_node(other, "n1")
    work(other, "e4")
    forward(other, central)
    assert content(central) == as_node(other, "n1")


def test_a_store_that_was_set_back(open_store: StoreFactory) -> None:
    """A copy of its folder was put in its place: the same store, of an earlier time."""
    path, central = open_store.path("device"), open_store("central")
    with Store(path) as device:
        work(device, "e1")
        forward(device, central)
    shutil.copytree(path, path.with_name("earlier"), symlinks=True)
    with Store(path) as device:
        work(device, "e2")
        forward(device, central)
    shutil.rmtree(path)
    path.with_name("earlier").rename(path)
    with Store(path) as device:
        with pytest.raises(SourceChangedError, match="up to 12, but"):
            forward(device, central)
        work(device, "e3")
        with pytest.raises(SourceChangedError, match="another event 12"):
            forward(device, central)
        forward(device, central, resync=True)
        assert content(central) == as_node(device, "n1")


def test_a_store_is_not_forwarded_to_itself(open_store: StoreFactory) -> None:
    device = open_store("device")
    with pytest.raises(InvalidArgumentError, match="the store that is to be forwarded"):
        forward(device, device)


# --- many, and cut off ----------------------------------------------------------------------------------------------


def test_several_forwarders_of_one_node_do_no_harm(open_store: StoreFactory) -> None:
    device = open_store("device", durability="relaxed", small=False)
    central = open_store("central", durability="relaxed", small=False)
    path = open_store.path("central")
    forwarders = [
        Forwarder(device, lambda: Store(path, durability="relaxed"), node="n1", batch_size=size) for size in (1, 5, 64)
    ]
    failed: list[BaseException] = []

    def run(forwarder: Forwarder) -> None:
        try:
            forwarder.run()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(forwarder,)) for forwarder in forwarders]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while forwarders[0].report.phase != "follow" and time.monotonic() < deadline:
        threading.Event().wait(0.01)  # from an empty store on, all comes by the log
    for number in range(30):
        work(device, f"e{number:02}")
    latest = device.event_store.get_latest_event_num()
    while (forwarders[0].report.lag != 0 or _number(central) < latest) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    for forwarder in forwarders:
        forwarder.stop()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert content(central) == as_node(device, "n1")
    assert messages(central) == messages(device)
    assert sum(forwarder.report.events for forwarder in forwarders) == latest


def _number(central: Store) -> int:
    return stream_of(central).sequence_number if node_statuses(central) else 0


def test_a_batch_never_parts_an_operation(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    device.create_execution(make_execution("e1"), *(make_event(f"{number}") for number in range(10)))
    sizes: list[int] = []

    def on_progress(report: ForwardReport) -> None:
        sizes.append(report.events)

    Forwarder(
        device,
        lambda: kept(central),
        node="n1",
        batch_size=1,
        on_progress=on_progress,
    ).run(once=True)
    assert set(sizes) == {0, 11}


# --- a central store that can't be used -----------------------------------------------------------------------------


def test_it_tries_again_while_the_central_store_is_out_of_reach(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    tries = 0

    def open_central() -> Any:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise StoreUnreachableError("etcd://nowhere", "nobody answers")
        return kept(central)

    def on_progress(report: ForwardReport) -> None:
        if report.lag == 0 and report.phase == "follow":
            forwarder.stop()

    forwarder = Forwarder(device, open_central, node="n1", initial_backoff=0, max_backoff=0.01, on_progress=on_progress)
    report = forwarder.run()
    assert (report.retries, tries, report.lag) == (3, 4, 0)
    assert content(central) == as_node(device, "n1")
    with pytest.raises(StoreUnreachableError):
        Forwarder(device, _unreachable, node="n1").run(once=True)


def _unreachable() -> Store:
    raise StoreUnreachableError("etcd://nowhere", "nobody answers")


def test_stop_ends_the_wait_for_a_central_store(open_store: StoreFactory) -> None:
    forwarder = Forwarder(open_store("device"), _unreachable, node="n1", initial_backoff=3600, max_backoff=3600)
    thread = threading.Thread(target=forwarder.run)
    thread.start()
    while not forwarder.report.retries:
        threading.Event().wait(0.001)
    forwarder.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_what_waiting_does_not_mend_is_raised_at_once(open_store: StoreFactory) -> None:
    def refuse() -> Store:
        raise StoreAccessError("etcd://central", "wrong password", "give another")

    with pytest.raises(StoreAccessError):
        Forwarder(open_store("device"), refuse, node="n1").run()


class Narrow(Kept):
    """A central store that takes only small changes, as etcd does."""

    limit = 12

    def apply(self, method: str, operation: Callable[[Change], _T]) -> _T:
        return cast("_T", self._store.apply(method, lambda change: _limited(change, operation)))

    @contextlib.contextmanager
    def begin_tx(self) -> Iterator[NarrowTransaction]:
        with self._store.begin_tx() as transaction:
            yield NarrowTransaction(transaction)


class NarrowTransaction(Kept):
    """The same for its transactions."""

    def apply(self, operation: Callable[[Change], _T]) -> _T:
        return cast("_T", self._store.apply(lambda change: _limited(change, operation)))


def _limited(change: Change, operation: Callable[[Change], _T]) -> _T:
    result = operation(change)
    steps = len(change.steps)  # type: ignore[attr-defined]
    if steps > Narrow.limit:
        raise ChangeTooLargeError("central", steps, Narrow.limit, "operations", "split it")
    return result


def test_batches_become_as_small_as_the_central_store_needs_them(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    for number in range(20):
        work(device, f"e{number:02}")
    report = Forwarder(device, lambda: cast("Store", Narrow(central)), node="n1").run(once=True)
    assert report.conflicts == []
    assert content(central) == as_node(device, "n1")
    assert messages(central) == messages(device)


def test_what_is_too_large_by_itself_is_left_out_and_told(
    open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    monkeypatch.setattr(Narrow, "limit", 4)
    report = Forwarder(device, lambda: cast("Store", Narrow(central)), node="n1").run(once=True)
    assert report.lag == 0
    assert report.conflicts
    assert report.conflicts[0].startswith("execution e1 of node n1 was left out: central: the change takes")
    assert stream_of(central).conflicts == report.conflict_count


def test_arguments_that_make_no_sense(open_store: StoreFactory) -> None:
    device = open_store("device")
    for options in ({"batch_size": 0}, {"max_bytes_per_second": -1}, {"linger": -1}, {"max_backoff": float("inf")}):
        with pytest.raises(InvalidArgumentError):
            Forwarder(device, _unreachable, node="n1", **options)
    with pytest.raises(InvalidArgumentError, match="at most"):
        Forwarder(device, _unreachable, node="n" * 70_000)


def test_bandwidth_is_bounded(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    for number in range(10):
        work(device, f"e{number}")
    report = forward(device, central, max_bytes_per_second=400_000)
    # It may be slower, on a busy machine, never faster.
    assert report.bytes / report.seconds <= 400_000
    assert content(central) == as_node(device, "n1")


# --- to a store in memory -------------------------------------------------------------------------------------------


def test_any_address_will_do(open_store: StoreFactory) -> None:
    device = open_store("device")
    work(device, "e1")
    with connect("memory:central") as central:
        Forwarder(device, lambda: connect("memory:central"), node="n1").run(once=True)
        assert content(central) == as_node(device, "n1")


# --- the stream's record --------------------------------------------------------------------------------------------


def test_a_streams_record_is_read_as_it_was_written() -> None:
    stream = Stream("n\u2028ö", "abc", 7, "1-2", Phase.SWEEP, "e\n1", 9, True, 1, 2, 3, "x", 4)
    assert parse_stream(encode_stream(stream)) == stream
    plain = b'{"Name":"forward.n1","SequenceNumber":7}'
    assert parse_stream(plain) is None
    assert parse_stream(encode_stream(stream).replace(b'"sweep"', b'"leap"')) is None
    assert parse_stream(encode_stream(stream).replace(b'"Events":1', b'"Events":-1')) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(sorted(codec.decode(encode_stream(Stream("n", "s"))))), _JSON))
def test_a_record_of_anything_else_is_no_stream(members: dict[str, Any]) -> None:
    stream = Stream("n", "s", 1)
    whole = codec.decode(encode_stream(stream)) | members
    found = parse_stream(codec.encode(whole))
    assert found is None or codec.decode(encode_stream(found)) == whole


def test_streams_come_along_in_a_backup(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    forward(device, central)
    central.backup(open_store.folder / "central.tar")
    Store.restore(open_store.folder / "central.tar", open_store.path("restored"))
    restored = open_store("restored")
    assert stream_of(restored) == stream_of(central)
    work(device, "e2")
    assert forward(device, restored).full_copies == 0
    assert content(restored) == as_node(device, "n1")


def test_a_stream_that_lost_its_source_begins_anew(open_store: StoreFactory) -> None:
    """As after an export and an import, which know checkpoints by name and number only."""
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    forward(device, central)
    central.checkpoint("forward.n1", 3)
    work(device, "e2")
    forward(device, central)
    assert content(central) == as_node(device, "n1")
    assert stream_of(central).sequence_number == device.event_store.get_latest_event_num()


def test_a_damaged_line_of_the_log_makes_it_look_at_the_executions(open_store: StoreFactory) -> None:
    path, central = open_store.path("device"), open_store("central")
    with Store(path) as device:
        work(device, "e1")
        forward(device, central)
        work(device, "e2")
    (segment,) = (path / "events").iterdir()
    original = segment.read_bytes()
    segment.write_bytes(original.replace(b"e2 runs", b"e2 rests"[:7]))
    with Store(path) as device:
        report = forward(device, central)
        assert report.full_copies == 1
        assert content(central) == as_node(device, "n1")
    segment.write_bytes(original)


def test_a_damaged_record_on_the_node_is_told_and_the_rest_comes(
    open_store: StoreFactory, caplog: pytest.LogCaptureFixture
) -> None:
    path, central = open_store.path("device"), open_store("central")
    with Store(path) as device:
        work(device, "e1", "e2")
        for number in range(40):
            device.add_execution_event("e1", make_event(f"{number}" * 100))
        device.collect_events(retention=timedelta(0))
    record = path / "executions" / "e2.json"
    original = record.read_bytes()
    record.write_bytes(b"{")
    with Store(path) as device:
        forward(device, central)
    assert set(content(central)) == {"e1"}
    assert "execution e2 is damaged" in caplog.text
    record.write_bytes(original)


def test_a_report_and_a_stream_tell_the_same(open_store: StoreFactory) -> None:
    device, central = open_store("device"), open_store("central")
    work(device, "e1")
    report = forward(device, central)
    (status,) = node_statuses(central)
    document = status.to_dict()
    assert (document["node"], document["executions"], document["live"]) == ("n1", 1, 1)
    assert document["forwarded"]["sequence_number"] == report.sequence_number == 6
    assert document["forwarded"]["events"] == report.events
    assert report.to_dict()["phase"] == "follow"
    assert replace(stream_of(central), time_ns=0).source_id == device.store_id
    assert isinstance(central.get_execution("e1"), Execution)
    assert Path(report.source) == open_store.path("device")
