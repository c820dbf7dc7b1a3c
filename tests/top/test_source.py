"""Looking at real stores: what is seen, what it costs, and what happens when the store is damaged, or goes away."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from execstore import Event, ExecutionState, Store, connect
from execstore.errors import StoreNotFoundError
from execstore.notify import PollingNotifier
from execstore.top import source as source_module
from execstore.top.executions import LISTED
from execstore.top.filters import Filter, parse_filter
from execstore.top.source import KEPT_EVENTS, MOST_EVENTS, Source
from execstore.watcher import Operation, StoreEventRequest
from tests.support import PATIENCE_SECONDS, make_execution
from tests.top.conftest import LONG_ID, fill, move

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execstore.top.model import Snapshot
    from tests.conftest import StoreFactory


def ids_of(snapshot: Snapshot) -> list[str]:
    return [row.execution_id for row in snapshot.executions]


def look_until(source: Source, condition: Callable[[Snapshot], object]) -> Snapshot:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(snapshot := source.look(0.05)):
        assert time.monotonic() < deadline
    return snapshot


def test_the_first_look_shows_all_there_is(filled: Store, make_source: Callable[..., Source]) -> None:
    snapshot = make_source().look()
    assert (snapshot.total, snapshot.live, snapshot.counts["Failed"]) == (5, 2, 1)
    assert ids_of(snapshot) == [LONG_ID, "e-accepted"]
    assert [row.seq_num for row in snapshot.events] == list(range(1, snapshot.event_log.latest + 1))
    # An event of an execution doesn't say its job; it is known by the upsert that came with it.
    assert {row.job_name for row in snapshot.events} == {"thumbnails", "nightly"}
    # What led here is known from the log alone.
    assert snapshot.trend.levels("Failed")[-1] == 1
    assert sum(snapshot.trend.events()) == snapshot.event_log.latest
    assert snapshot.trend.levels("New")[-1] == 1
    assert (snapshot.events_per_second is None, snapshot.commits_per_second) == (False, None)
    assert snapshot.problems == ()


def test_an_empty_store(open_store: StoreFactory, make_source: Callable[..., Source]) -> None:
    store = open_store()
    source = make_source()
    snapshot = source.look()
    assert (snapshot.total, snapshot.executions, snapshot.events, snapshot.laggard) == (0, (), (), None)
    store.create_execution(make_execution("e-1"))
    snapshot = source.look()
    assert (snapshot.total, len(snapshot.events)) == (1, 1)


def test_later_looks_take_what_is_new_from_the_log(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    with mock.patch.object(Store, "get_live_executions", autospec=True, side_effect=AssertionError) as listing:
        with mock.patch.object(source, "_refresh_metrics", return_value=source._metrics):
            move(filled, "e-accepted", ExecutionState.RUNNING, "now", Event("Test", "hello"))
            move(filled, "e-new", ExecutionState.BID_ACCEPTED)
            snapshot = source.look()
            assert ids_of(snapshot) == ["e-new", LONG_ID, "e-accepted"]
            assert [row.message for row in snapshot.executions] == ["", "running for long", "now"]
            assert [row.text for row in snapshot.events[-3:]] == [
                "Test: hello",
                "BidAccepted → Running: now",
                "New → BidAccepted",
            ]
            move(filled, "e-accepted", ExecutionState.FAILED)
            filled.delete_execution("e-new")
            assert ids_of(source.look()) == [LONG_ID]
        assert listing.call_count == 0


def test_an_old_event_does_not_bring_back_what_is_over(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    move(filled, "e-accepted", ExecutionState.RUNNING)
    source._list()  # reads what the log tells afterwards
    move(filled, "e-accepted", ExecutionState.COMPLETED)
    assert ids_of(source.look()) == [LONG_ID]


def test_a_state_in_the_filter_lists_that_state(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    source.select(parse_filter("state:failed"))
    snapshot = source.look()
    assert (ids_of(snapshot), snapshot.are_all, snapshot.selection.state) == (["e-failed"], True, "Failed")
    move(filled, LONG_ID, ExecutionState.FAILED)
    assert ids_of(source.look()) == [LONG_ID, "e-failed"]  # what ended last comes first
    source.select(parse_filter("state:failed nosuchword"))
    assert ids_of(source.look()) == []
    source.select(parse_filter("thumb"))
    assert ids_of(source.look()) == ["e-accepted"]


def test_of_very_many_only_the_first_are_listed(open_store: StoreFactory, make_source: Callable[..., Source]) -> None:
    store = open_store(small=False, durability="relaxed")
    with store.begin_tx() as transaction:
        for number in range(LISTED + 5):
            transaction.create_execution(make_execution(f"e-{number:04}"))
    source = make_source()
    source.select(Filter("New"))
    snapshot = source.look()
    assert (len(snapshot.executions), snapshot.are_all) == (LISTED, False)
    assert max(ids_of(snapshot)) == f"e-{LISTED - 1:04}"


def test_a_flood_is_skipped_and_what_is_live_listed_anew(
    open_store: StoreFactory, make_source: Callable[..., Source]
) -> None:
    store = open_store(small=False, durability="relaxed")
    store.create_execution(make_execution("e-0"))
    source = make_source()
    before = source.look().event_log.latest
    with store.begin_tx() as transaction:
        for number in range(MOST_EVENTS + 10):
            transaction.create_execution(make_execution(f"f-{number}", state=ExecutionState.BID_ACCEPTED))
    source._listing_budget = source_module._Budget()
    snapshot = source.look()
    assert snapshot.event_log.latest == before + MOST_EVENTS + 10
    assert [row.seq_num for row in snapshot.events][-1] == snapshot.event_log.latest
    assert snapshot.skipped_events == MOST_EVENTS + 10 - KEPT_EVENTS
    assert len(snapshot.executions) == snapshot.live == MOST_EVENTS + 10


def test_commits_a_second_are_those_of_all_processes(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    first = source.look()
    for number in range(5):
        filled.checkpoint("c", number)
    source._metrics_budget = source_module._Budget()
    filled.create_execution(make_execution("e-x"))
    last = source.look()
    assert first.transaction is not None
    assert last.transaction == first.transaction + 6
    assert last.commits_per_second is not None
    seconds = (source._readings[-1].at_ns - source._readings[-2].at_ns) / 1e9
    assert last.commits_per_second == pytest.approx(6 / seconds)


def test_how_long_a_change_takes_to_be_seen_is_measured_while_waiting(
    filled: Store, make_source: Callable[..., Source]
) -> None:
    source = make_source()
    source.look()
    move(filled, "e-new", ExecutionState.BID_ACCEPTED)
    assert source.look(PATIENCE_SECONDS).latency is None  # it had been there before
    number = iter(range(1000))
    writer = threading.Timer(0.05, lambda: filled.create_execution(make_execution(f"w-{next(number)}")))
    writer.start()
    snapshot = source.look(PATIENCE_SECONDS)
    writer.join()
    if source._is_told:
        assert snapshot.latency is not None
        assert 0 < snapshot.latency.median_ns < PATIENCE_SECONDS * 1e9
        assert snapshot.latency.samples == 1
    else:
        assert snapshot.latency is None
    assert snapshot.events[-1].execution_id == "w-0"


def test_without_notices_it_looks_once_an_interval(filled: Store, make_source: Callable[..., Source]) -> None:
    polling = PollingNotifier()
    with mock.patch.object(source_module, "open_notifier", return_value=polling):
        source = make_source(polling_seconds=0.07)
        source.look()
        source.look(0.01)
        source.rest(0.0)
        assert source._is_told is False
        lookout = source._event_store._log.lookout()  # type: ignore[attr-defined]
        assert lookout.notifier.longest_sleep_seconds == 0.07
        move(filled, "e-new", ExecutionState.BID_ACCEPTED)
        assert look_until(source, lambda snapshot: "e-new" in ids_of(snapshot)).latency is None


def test_an_idle_store_costs_one_stat_and_one_number_a_look(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    forbidden = mock.Mock(side_effect=AssertionError("it costs too much"))
    with (
        mock.patch.multiple(
            Store, metrics=forbidden, counts=forbidden, get_live_executions=forbidden, list_executions=forbidden
        ),
        mock.patch.object(source._metrics_budget, "is_due", return_value=False),
    ):
        before = source.look(0.0)
        assert source.look(0.02).executions == before.executions
        assert source.look(0.0).counts == before.counts


def test_selecting_and_leaving_end_a_wait(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    timer = threading.Timer(0.05, source.select, [Filter("Failed")])
    timer.start()
    assert ids_of(source.look(PATIENCE_SECONDS * 10)) == ["e-failed"]
    timer.join()
    timer = threading.Timer(0.05, source.leave)
    timer.start()
    source.rest(PATIENCE_SECONDS * 10)
    timer.join()


def test_a_watcher_that_lags_is_named(filled: Store, make_source: Callable[..., Source]) -> None:
    filled.event_store.store_checkpoint("mailer", 2)
    filled.event_store.store_checkpoint("metrics", 8)
    snapshot = make_source().look()
    assert snapshot.laggard is not None
    assert (snapshot.laggard.watcher_id, snapshot.laggard.lag) == ("mailer", snapshot.event_log.latest - 2)


def test_an_event_of_a_type_of_ones_own_is_shown(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    source.look()
    filled.event_store.store_event(StoreEventRequest(Operation.CREATE, "Mine", {"a": [1, None]}))
    assert source.look().events[-1].text == '{"a":[1,null]}'


def test_a_damaged_event_is_told_and_passed(
    open_store: StoreFactory, tmp_path: Path, make_source: Callable[..., Source]
) -> None:
    path = tmp_path / "damaged"  # not the factory's, which would verify it
    with Store(path) as store:
        for number in range(6):
            store.create_execution(make_execution(f"e-{number}", state=ExecutionState.BID_ACCEPTED))
    (segment,) = (path / "events").glob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"CREATE", b"CREATF")
    segment.write_bytes(b"\n".join(lines))
    with Store(path, read_only=True) as store:
        source = Source(store)
        snapshot = source.look()
        assert [row.seq_num for row in snapshot.events] == [1, 2, 4, 5, 6]
        (problem,) = snapshot.problems
        assert "event 3" in problem
        assert source.look().problems == snapshot.problems


def test_without_a_part_of_the_log_the_rest_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    with Store(path) as store:
        for number in range(6):
            store.create_execution(make_execution(f"e-{number}", state=ExecutionState.BID_ACCEPTED))
    (segment,) = (path / "events").glob("*.jsonl")
    segment.unlink()
    with Store(path, read_only=True) as store:
        source = Source(store)
        snapshot = source.look()
        assert (len(snapshot.executions), snapshot.counts["BidAccepted"], snapshot.events) == (6, 6, ())
        assert source.look(0.02).problems == snapshot.problems
        (problem,) = snapshot.problems
        assert "missing" in problem or "lines are there" in problem


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_store_that_goes_away_is_told(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store"
    Store(path).close()
    with Store(path, read_only=True) as store:
        source = Source(store)
        source.look()
        if what == "removed":
            shutil.rmtree(path)
        else:
            path.rename(tmp_path / "elsewhere")
            Store(path).close()
        with pytest.raises(StoreNotFoundError, match=f"the store was {what}"):
            source.look()


def test_one_execution_in_full(filled: Store, make_source: Callable[..., Source]) -> None:
    source = make_source()
    detail = source.detail(LONG_ID)
    assert detail.execution == filled.get_execution(LONG_ID)
    assert [event.message for event in detail.events] == [f"made {LONG_ID}"]
    assert [revision.state for revision in detail.history] == ["New", "Running"]
    filled.delete_execution(LONG_ID)
    detail = source.detail(LONG_ID)
    assert (detail.execution, detail.events, len(detail.history)) == (None, (), 3)
    assert source.detail("never").history == ()


def test_what_is_collected_meanwhile_is_passed(open_store: StoreFactory, make_source: Callable[..., Source]) -> None:
    from datetime import timedelta

    store = open_store()
    store.create_execution(make_execution("e-0"))
    source = make_source()
    source.look()
    for number in range(1, 30):
        store.create_execution(make_execution(f"e-{number}"))
    store.collect_events(retention=timedelta(0))
    store.create_execution(make_execution("e-last"))
    snapshot = source.look()
    assert snapshot.events[-1].execution_id == "e-last"
    assert snapshot.total == 31
    # What is known of the log as a whole is asked for anew now and then, the less often the longer it takes.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while source.look().event_log.oldest <= 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_store_that_is_not_in_a_folder() -> None:
    with connect("memory:") as store:
        fill(store)
        source = Source(store, polling_seconds=0.05)
        before = source.look()
        assert (ids_of(before), before.latency, before.journal_bytes) == ([LONG_ID, "e-accepted"], None, 0)
        writer = threading.Timer(0.05, lambda: move(store, "e-new", ExecutionState.BID_ACCEPTED))
        writer.start()
        after = source.look(PATIENCE_SECONDS)
        writer.join()
        source.rest(0.01)
        assert (ids_of(after), after.latency) == (["e-new", LONG_ID, "e-accepted"], None)
        assert after.counts["BidAccepted"] == 2
        source.leave()


def test_no_byte_is_written(filled: Store, open_store: StoreFactory, make_source: Callable[..., Source]) -> None:
    from tests.support import listing

    before = listing(filled.path)
    source = make_source()
    source.look()
    source.detail(LONG_ID)
    source.select(Filter("Failed"))
    source.look(0.01)
    assert listing(filled.path) == before
    assert os.path.isdir(filled.path)
