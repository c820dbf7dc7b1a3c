"""What goes from the beginning of the event log, what stays, and that nobody is hurt by it."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execstore import ExecutionState, Store
from execstore.collection import (
    DEFAULT_RETENTION_NS,
    SMALLEST_MAX_BYTES,
    Collector,
    Limits,
    Segment,
    decide,
    segments_of,
)
from execstore.errors import (
    EventsCompactedError,
    InvalidArgumentError,
    StoreReadOnlyError,
    TransactionOpenError,
)
from execstore.schema import LAYOUT
from execstore.tree.segments import LogReader, Rotation
from execstore.watcher import (
    EventIterator,
    GetEventsRequest,
    JSONSerializer,
    Operation,
    StoreEventRequest,
    WatcherManager,
    WatcherState,
)
from execstore.watcher.options import CompactionStrategy
from tests.conformance.engines import SEGMENT_BYTES
from tests.store.worker import make
from tests.support import FakeClock, log_entries, make_execution, make_request, python
from tests.watcher.support import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from execstore.engine import Reader
    from tests.conformance.conftest import Stores

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
NOTHING = timedelta(0)


@pytest.fixture(autouse=True)
def note_type() -> None:
    """The object type of most events here."""
    JSONSerializer.register_type("Note", dict)


def append(store: Store, *texts: str) -> int:
    """Append an event of a user's own for each text; returns the last number."""
    number = 0
    for text in texts:
        number = store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Note", {"text": text}))
    return number


def append_segments(store: Store, count: int) -> list[int]:
    """Append events, two of which fill a segment of a small store; returns the segments' first numbers."""
    if store.engine().segment_bytes > SEGMENT_BYTES:
        pytest.skip("the engine's segments can't be made small")
    firsts = []
    for _ in range(count):
        firsts.append(append(store, "x" * 2000))
        append(store, "x" * 1500)
    assert segment_firsts(store)[-count:] == firsts
    return firsts


def segment_firsts(store: Store) -> list[int]:
    return store.look(lambda reader: reader.segment_numbers(LAYOUT.log))


def numbers(store: Store) -> list[int]:
    """The numbers of the events in the log, read as a watcher would."""
    store.event_store.serializer.register_type("Note", dict)
    request = GetEventsRequest(EventIterator.trim_horizon())
    return [event.seq_num for event in store.event_store.get_events(request, timeout=0).events]


def write_checkpoints(store: Store, checkpoints: Mapping[str, int]) -> None:
    for name, number in checkpoints.items():
        store.event_store.store_checkpoint(name, number)


# --- the rule -------------------------------------------------------------------------------------------------------


def model(
    segments: list[Segment], log_bytes: int, latest: int, checkpoints: Mapping[str, int], limits: Limits, now_ns: int
) -> int:
    """How many segments go, said in another way: the most of which each may go, as if it stood alone."""

    def is_old(segment: Segment) -> bool:
        return segment.newest_ns is not None and segment.newest_ns + limits.retention_ns <= now_ns

    def is_handled(segment: Segment) -> bool:
        return all(segment.last <= checkpoint or checkpoint >= latest for checkpoint in checkpoints.values())

    def is_too_much(index: int) -> bool:
        if not limits.max_bytes or segments[index].last == latest:
            return False
        return log_bytes - sum(each.size_bytes for each in segments[:index]) > limits.max_bytes

    going = [is_old(each) and is_handled(each) for each in segments]
    by_age = len(list(itertools.takewhile(bool, going)))
    return next((index for index in range(by_age, len(segments)) if not is_too_much(index)), len(segments))


segment_shapes = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 50), st.integers(0, 30), st.booleans()), max_size=6
)


@given(
    shapes=segment_shapes,
    checkpoints=st.dictionaries(st.sampled_from("abc"), st.integers(0, 30), max_size=3),
    retention_ns=st.integers(0, 40),
    max_bytes=st.integers(0, 150),
    room=st.integers(0, 20),
    now_ns=st.integers(0, 120),
    oldest=st.integers(1, 5),
)
@example([(2, 10, 5, True)], {"a": 0}, 0, 0, 0, 100, 1)
@example([(2, 10, 5, True)], {"a": 99}, 0, 0, 0, 100, 1)
def test_the_rule_holds_for_any_log(
    shapes: list[tuple[int, int, int, bool]],
    checkpoints: dict[str, int],
    retention_ns: int,
    max_bytes: int,
    room: int,
    now_ns: int,
    oldest: int,
) -> None:
    segments: list[Segment] = []
    first, newest_ns = oldest, 0
    for count, size, age_ns, can_be_read in shapes:
        newest_ns += age_ns
        segments.append(Segment(first, first + count - 1, size, newest_ns if can_be_read else None))
        first += count
    limits = Limits(retention_ns, max_bytes)
    log_bytes = sum(segment.size_bytes for segment in segments) + room
    latest = first - 1

    decision = decide(segments, log_bytes, oldest, latest, checkpoints, limits, now_ns)

    assert decision.segments == model(segments, log_bytes, latest, checkpoints, limits, now_ns)
    gone = segments[: decision.segments]
    assert decision.horizon == (gone[-1].last + 1 if gone else oldest)
    assert decision.size_bytes == sum(segment.size_bytes for segment in gone)
    assert decision.by_age == model(segments, log_bytes, latest, checkpoints, Limits(retention_ns, 0), now_ns)
    if decision.held_by is not None:
        others = {name: number for name, number in checkpoints.items() if name != decision.held_by}
        held = segments[decision.by_age]
        assert checkpoints[decision.held_by] < held.last
        assert checkpoints[decision.held_by] <= min(others.values(), default=latest)


def test_the_rule_takes_no_more_segments_than_it_needs() -> None:
    def segments() -> Any:
        yield Segment(1, 2, 10, 0)
        yield Segment(3, 4, 10, 60)
        raise AssertionError("asked for more")

    decision = decide(segments(), 30, 1, 6, {}, Limits(50), 100)
    assert (decision.segments, decision.due_ns) == (1, 110)


@pytest.mark.parametrize(
    ("limits", "rotation"),
    [
        (Limits(), Rotation(0, 6 * HOUR_NS)),
        (Limits(0), Rotation(0, 60 * SECOND_NS)),
        (Limits(DAY_NS, 40_000), Rotation(10_000, 6 * HOUR_NS)),
    ],
)
def test_segments_are_a_quarter_of_the_limits(limits: Limits, rotation: Rotation) -> None:
    assert limits.rotation() == rotation


# --- the reference's observations (part 8), as they should be ---------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoints", "left"),
    [
        pytest.param({}, [], id="without checkpoints age alone decides"),
        pytest.param({"w1": 4, "w2": 2}, [3, 4, 5], id="the lowest checkpoint decides"),
        pytest.param({"w1": 4, "w2": 0}, [1, 2, 3, 4, 5], id="a checkpoint of 0 holds the log"),
        pytest.param({"w1": 0, "w2": 4}, [1, 2, 3, 4, 5], id="a 0 that comes first too"),
        pytest.param({"w1": 5, "w2": 5}, [], id="all handled"),
        pytest.param({"w1": 99}, [], id="a checkpoint beyond the log counts as the latest"),
        pytest.param({"w1": 99, "w2": 3}, [4, 5], id="and not as the lowest"),
    ],
)
def test_garbage_collection_of_five_events(
    open_store: Stores, clock: FakeClock, checkpoints: dict[str, int], left: list[int]
) -> None:
    """Each event is a segment of its own here, as segments go whole."""
    store = open_store(clock=clock)
    for _ in range(5):
        append(store, "x" * 3500)
    write_checkpoints(store, checkpoints)
    assert numbers(store) == [1, 2, 3, 4, 5], "nothing is old yet"
    clock.now_ns += SECOND_NS
    report = store.collect_events(retention=NOTHING)
    assert numbers(store) == left
    assert (report.events, report.segments, report.latest) == (5 - len(left), 5 - len(left), 5)
    assert report.oldest == store.event_store.get_oldest_event_num() == (left[0] if left else 6)


def test_below_what_was_collected_there_is_an_error_that_names_the_oldest(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 3)
    write_checkpoints(store, {"w": 4})
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    with pytest.raises(EventsCompactedError) as caught:
        store.event_store.get_events(GetEventsRequest(EventIterator.at_sequence_number(1)), timeout=0)
    assert (caught.value.requested, caught.value.oldest) == (1, 5)
    assert numbers(store) == [5, 6]


def test_a_watcher_that_is_removed_holds_the_log_no_longer(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 2)
    write_checkpoints(store, {"dead": 1})
    clock.now_ns += 2 * DAY_NS
    assert store.collect_events().held_by == "dead"
    assert numbers(store) == [1, 2, 3, 4]
    WatcherManager(store.event_store).remove_checkpoint("dead")
    assert store.collect_events().held_by is None
    assert numbers(store) == []


def test_numbers_go_on_after_all_was_collected_and_the_store_opened_anew(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append(store, *"abcde")
    clock.now_ns += 2 * DAY_NS
    assert store.collect_events().events == 5
    assert store.event_store.get_latest_event_num() == 5
    store.close()
    again = open_store(clock=clock)
    assert (again.event_store.get_latest_event_num(), again.event_store.get_oldest_event_num()) == (5, 6)
    assert numbers(again) == []
    assert append(again, "f") == 6
    assert numbers(again) == [6]
    assert segment_firsts(again) == [6]


# --- by hand --------------------------------------------------------------------------------------------------------


def test_a_segment_goes_whole_or_not_at_all(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 2)
    write_checkpoints(store, {"w": 3})
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    assert numbers(store) == [3, 4]


def test_a_young_segment_keeps_what_is_behind_it(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    clock.now_ns += 20 * HOUR_NS
    append_segments(store, 1)
    clock.now_ns += 5 * HOUR_NS
    report = store.collect_events()
    assert (report.segments, report.held_by) == (1, None)
    assert numbers(store) == [3, 4]


def test_a_dry_run_changes_nothing_and_says_what_would_go(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 3)
    write_checkpoints(store, {"w": 4})
    clock.now_ns += 2 * DAY_NS
    planned = store.collect_events(dry_run=True)
    assert numbers(store) == [1, 2, 3, 4, 5, 6]
    done = store.collect_events()
    assert planned.dry_run
    assert not done.dry_run
    assert planned.to_dict() | {"dry_run": False} == done.to_dict()
    assert done.bytes > 4 * 1500


def test_a_reader_may_look_but_not_collect(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    clock.now_ns += 2 * DAY_NS
    reader = open_store(clock=clock, read_only=True)
    assert reader.collect_events(dry_run=True).events == 2
    with pytest.raises(StoreReadOnlyError):
        reader.collect_events()


def test_a_thread_with_an_open_transaction_may_not_collect(store: Store) -> None:
    with store.begin_tx(), pytest.raises(TransactionOpenError):
        store.collect_events()


def test_a_thousand_segments_go_in_several_changes(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, durability="relaxed")
    for _ in range(70):
        append(store, "x" * 4100)
    clock.now_ns += 2 * DAY_NS
    report = store.collect_events()
    assert (report.segments, report.events, report.oldest) == (70, 70, 71)
    assert segment_firsts(store) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"event_retention": timedelta(seconds=-1)}, "event_retention"),
        ({"event_retention": 3600}, "event_retention"),
        ({"event_max_bytes": -1}, "event_max_bytes"),
        ({"event_max_bytes": True}, "event_max_bytes"),
        ({"event_max_bytes": 1e6}, "event_max_bytes"),
        ({"event_max_bytes": SMALLEST_MAX_BYTES - 1}, "event_max_bytes"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Store(tmp_path / "new", **arguments)
    assert caught.value.argument == named
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [{"retention": timedelta(-1)}, {"max_bytes": 1}])
def test_limits_of_one_collection_that_make_no_sense_are_refused(store: Store, arguments: dict[str, Any]) -> None:
    append(store, "a")
    with pytest.raises(InvalidArgumentError):
        store.collect_events(**arguments)
    assert numbers(store) == [1]


@pytest.mark.folder
def test_a_checkpoint_that_cannot_be_read_holds_the_log(
    open_store: Stores, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    write_checkpoints(store, {"w": 2})
    path = open_store.path() / "checkpoints" / "w.json"
    whole = path.read_bytes()
    path.write_bytes(b"garbage")
    clock.now_ns += 2 * DAY_NS
    report = store.collect_events()
    assert (report.segments, report.held_by) == (0, "w")
    assert "checkpoints/w.json" in caplog.text
    path.write_bytes(whole)


@pytest.mark.folder
def test_a_damaged_segment_counts_as_being_as_new_as_the_next(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    clock.now_ns += 20 * HOUR_NS
    append_segments(store, 1)
    path = open_store.path() / "events" / f"{1:020d}.jsonl"
    path.write_bytes(path.read_bytes()[:-50] + b"\0" * 50)
    clock.now_ns += 5 * HOUR_NS
    assert store.collect_events().segments == 0
    clock.now_ns += 20 * HOUR_NS
    assert store.collect_events().segments == 2


@pytest.mark.folder
def test_a_segment_that_is_missing_does_not_stop_the_collection(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 3)
    (open_store.path() / "events" / f"{3:020d}.jsonl").unlink()
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    assert segment_firsts(store) == []
    assert append(store, "next") == 7


@pytest.mark.folder
def test_the_segments_of_a_log_are_told_by_their_last_lines(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append(store, "a", "b")
    append(store, "x" * 30_000)  # longer than what is read of an end at first
    clock.now_ns += SECOND_NS
    append(store, "c")

    def look(reader: Reader) -> list[Segment]:
        return list(segments_of(reader))

    found = store.look(look)
    assert [(segment.first, segment.last) for segment in found] == [(1, 2), (3, 3), (4, 4)]
    files = sorted((open_store.path() / "events").iterdir())
    assert [segment.size_bytes for segment in found] == [file.stat().st_size for file in files]
    assert [event.timestamp for event in log_entries(store)][1:] == [segment.newest_ns for segment in found]


# --- after commits --------------------------------------------------------------------------------------------------


def test_writers_collect_a_little_at_a_time(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 20)
    clock.now_ns += 2 * DAY_NS
    oldest = []
    for _ in range(4):
        append(store, "x")
        oldest.append(store.event_store.get_oldest_event_num())
        clock.now_ns += SECOND_NS
    assert oldest == [17, 33, 41, 41], "eight segments at most, then the rest, then what is young stays"


def test_a_transaction_collects_as_well(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    clock.now_ns += 2 * DAY_NS
    with store.begin_tx() as transaction:
        transaction.create_execution(make_execution())
    assert store.event_store.get_oldest_event_num() == 3


def test_a_program_that_commits_once_collects_too(open_store: Stores, clock: FakeClock) -> None:
    append_segments(open_store(clock=clock), 1)
    clock.now_ns += 2 * DAY_NS
    open_store(clock=clock).create_execution(make_execution())
    assert open_store().event_store.get_oldest_event_num() == 3


def test_commits_do_not_look_again_before_something_can_be_old(
    open_store: Stores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    run = Collector._run

    def counting(self: Collector, *arguments: Any) -> int:
        looks.append(arguments)
        return run(self, *arguments)

    monkeypatch.setattr(Collector, "_run", counting)
    store = open_store(clock=clock, durability="relaxed")
    for _ in range(200):
        append(store, "x" * 200)
        clock.now_ns += SECOND_NS // 10
    assert len(segment_firsts(store)) > 10
    assert len(looks) == 1
    clock.now_ns -= DAY_NS  # a clock that is set back must not put off the next look
    append(store, "x")
    assert len(looks) == 2


def test_what_goes_wrong_in_a_collection_does_not_reach_the_writer(
    open_store: Stores, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(clock=clock)
    append_segments(store, 1)
    clock.now_ns += 2 * DAY_NS

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("execstore.collection._plan", fail)
    assert append(store, "x") == 3
    assert "the event log can't be collected" in caplog.text
    assert "Input/output error" in caplog.text
    caplog.clear()
    assert append(store, "y") == 4
    assert not caplog.records, "it isn't tried again at once"


def test_a_commit_does_not_wait_for_the_lock_to_collect(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, lock_timeout=60.0)
    append_segments(store, 1)
    clock.now_ns += 2 * DAY_NS
    other = open_store(clock=clock)
    held = other.begin_tx()
    store._collector.after_commit(store.engine(), store.look(lambda reader: reader.values))
    assert numbers(store) == [1, 2]
    held.rollback()
    clock.now_ns += SECOND_NS
    append(store, "x")
    assert numbers(store) == [3]


def test_many_threads_that_commit_and_collect_lose_nothing(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, durability="relaxed")
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(15):
                store.create_execution(make(f"{name}-{number}", name, name="x" * 1500))
                clock.now_ns += HOUR_NS
                store.collect_events()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.event_store.get_latest_event_num() == 60
    assert len(list(store.list_executions())) == 60
    left = [event.seq_num for event in log_entries(store, store.event_store.get_oldest_event_num() - 1)]
    assert left == list(range(store.event_store.get_oldest_event_num(), 61))


# --- a slow device, and a small one -----------------------------------------------------------------------------------


def test_in_thirty_days_with_little_written_the_log_stays_small(open_store: Stores, clock: FakeClock) -> None:
    """An event every two hours never fills a segment; without rotation by age nothing would ever go."""
    store = open_store(clock=clock, durability="relaxed", small=False)
    most_events = most_segments = 0
    for hour in range(0, 30 * 24, 2):
        append(store, f"hour {hour}")
        status = store.event_log_status()
        most_events, most_segments = max(most_events, status.events), max(most_segments, status.segments)
        clock.now_ns += 2 * HOUR_NS
    assert most_segments <= 6
    assert 12 <= most_events <= 12 + 4, "a day's events, and those of a segment that is in part young"
    assert store.event_store.get_latest_event_num() == 360


def test_in_thirty_days_the_log_stays_bounded_whoever_watches(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, durability="relaxed")
    sizes = []
    for hour in range(30 * 24):
        store.create_execution(make_execution(f"e{hour}"))
        if hour % 5 == 0:
            store.event_store.store_checkpoint("slow", max(store.event_store.get_latest_event_num() - 10, 0))
        sizes.append(store.event_log_status().bytes)
        clock.now_ns += HOUR_NS
    first_days, last_days = max(sizes[: 3 * 24]), max(sizes[3 * 24 :])
    assert last_days <= first_days * 1.2
    assert store.event_log_status().held_by in {None, "slow"}


def test_a_cap_holds_whatever_watchers_have_not_seen(
    open_store: Stores, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(clock=clock, durability="relaxed", event_max_bytes=SMALLEST_MAX_BYTES)
    write_checkpoints(store, {"stalled": 3, "swift": 0})
    sizes = []
    with caplog.at_level(logging.INFO, "execstore"):
        for _ in range(300):
            number = append(store, "x" * 300)
            write_checkpoints(store, {"swift": number})
            sizes.append(store.event_log_status().bytes)
    assert max(sizes) <= SMALLEST_MAX_BYTES
    assert sizes[-1] > SMALLEST_MAX_BYTES // 2
    status = store.event_log_status()
    stalled, swift = status.watchers
    assert (stalled.watcher_id, stalled.lag, stalled.lost) == ("stalled", 297, status.oldest - 1 - 3)
    assert (swift.lag, swift.lost) == (0, 0)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings
    assert all("watcher stalled lost " in text for text in warnings)
    assert sum(int(text.split(" lost ")[1].split()[0]) for text in warnings) == stalled.lost
    assert "to keep it within 16384 bytes" in caplog.text


def test_a_cap_never_takes_the_newest_segment(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, event_max_bytes=SMALLEST_MAX_BYTES)
    append(store, "a")
    assert append(store, "x" * 3 * SMALLEST_MAX_BYTES) == 2
    assert numbers(store) == [2]


def test_a_cap_is_met_by_a_log_that_was_there_before(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 20)
    report = store.collect_events(max_bytes=SMALLEST_MAX_BYTES)
    assert report.segments > 10
    assert store.event_log_status().bytes <= SMALLEST_MAX_BYTES
    assert report.lost == {}


# --- the limits are the store's -------------------------------------------------------------------------------------


def test_a_handle_that_is_given_no_limits_keeps_to_those_of_others(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, event_retention=timedelta(days=7), event_max_bytes=1 << 20)
    append_segments(store, 2)
    clock.now_ns += 2 * DAY_NS
    other = open_store(clock=clock)
    other.create_execution(make_execution())
    assert other.collect_events().segments == 0
    status = other.event_log_status()
    assert (status.retention_ns, status.max_bytes) == (7 * DAY_NS, 1 << 20)
    assert other.event_store.get_oldest_event_num() == 1


def test_one_limit_leaves_the_other_as_it_was(open_store: Stores) -> None:
    append(open_store(event_max_bytes=1 << 20), "a")
    append(open_store(event_retention=timedelta(days=7)), "b")
    status = open_store().event_log_status()
    assert (status.retention_ns, status.max_bytes) == (7 * DAY_NS, 1 << 20)
    append(open_store(event_max_bytes=0), "c")
    assert open_store().event_log_status().max_bytes == 0


def test_the_longest_retention_there_is_keeps_everything(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, event_retention=timedelta.max)
    append(store, "a")
    clock.now_ns += 36_500 * DAY_NS
    append(store, "b")
    assert open_store(clock=clock).collect_events().segments == 0
    assert numbers(store) == [1, 2]


def test_a_store_that_was_told_nothing_keeps_a_day(store: Store) -> None:
    append(store, "a")
    assert store.event_log_status().retention_ns == DEFAULT_RETENTION_NS == DAY_NS
    assert "event_limits" not in store.look(lambda reader: reader.values)


# --- status ---------------------------------------------------------------------------------------------------------


def test_the_status_says_who_holds_the_log(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    assert store.event_log_status().to_dict() == {
        "latest": 0,
        "oldest": 1,
        "events": 0,
        "bytes": 0,
        "segments": 0,
        "retention_ns": DAY_NS,
        "max_bytes": 0,
        "held_by": None,
        "watchers": [],
    }
    append_segments(store, 2)
    write_checkpoints(store, {"b": 1, "a": 4, "c": 9})
    assert store.event_log_status().held_by is None, "age holds it"
    clock.now_ns += 2 * DAY_NS
    status = store.event_log_status()
    assert status.held_by == "b"
    assert [(each.watcher_id, each.checkpoint, each.lag, each.lost, each.holds_log) for each in status.watchers] == [
        ("a", 4, 0, 0, False),
        ("b", 1, 3, 0, True),
        ("c", 9, 0, 0, False),
    ]
    lines = store.engine().read_log(1, 100)
    assert (status.bytes, status.segments) == (sum(len(line) + 1 for _, line in lines), len(segment_firsts(store)))


# --- readers and watchers -------------------------------------------------------------------------------------------


@pytest.mark.folder
def test_a_reader_forgets_segments_that_are_gone(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    firsts = append_segments(store, 2)
    log: LogReader = store.tree("log").log
    assert numbers(store) == [1, 2, 3, 4]
    assert sorted(log._segments) == firsts
    write_checkpoints(store, {"w": 2})
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    append(store, "more")
    assert numbers(store) == [3, 4, 5]
    assert firsts[0] not in log._segments


def test_reading_goes_on_while_segments_vanish(open_store: Stores, clock: FakeClock) -> None:
    """Readers see whole runs of events, or are told what was collected; never a gap, never damage."""
    store = open_store(clock=clock, durability="relaxed")
    reader = open_store(read_only=True)
    append(store, "x" * 1500)
    done = threading.Event()
    failures: list[object] = []
    compacted = []

    def read(handle: Store) -> None:
        position = 1
        while not done.is_set():
            try:
                request = GetEventsRequest(EventIterator.at_sequence_number(position), limit=5)
                events = handle.event_store.get_events(request, timeout=0).events
            except EventsCompactedError as error:
                compacted.append(error)
                position = error.oldest
                continue
            except BaseException as error:  # noqa: BLE001 - shown by the test
                failures.append(error)
                return
            if [event.seq_num for event in events] != list(range(position, position + len(events))):
                failures.append([event.seq_num for event in events])
            position = max(position - 3, 1)  # always a little behind, where things vanish

    for handle in (store, reader):
        handle.event_store.serializer.register_type("Note", dict)
    threads = [threading.Thread(target=read, args=(handle,)) for handle in (store, reader)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        append(store, "x" * 1500, "y" * 1500, "z" * 1500)
        clock.now_ns += DAY_NS
        store.collect_events()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert compacted


@pytest.mark.parametrize("strategy", list(CompactionStrategy))
def test_a_watcher_that_missed_events_stops_or_goes_on(
    open_store: Stores, clock: FakeClock, strategy: CompactionStrategy
) -> None:
    store = open_store(clock=clock)
    store.event_store.serializer.register_type("Note", dict)
    append_segments(store, 3)
    with WatcherManager(store.event_store) as manager:
        recorder = Recorder()
        watcher = manager.create("w", handler=recorder, on_compacted=strategy)
        watcher.checkpoint(1)
        store.collect_events(retention=NOTHING, max_bytes=SMALLEST_MAX_BYTES)
        assert store.event_store.get_oldest_event_num() == 1, "neither asks for it"
        append_segments(store, 4)
        store.collect_events(max_bytes=SMALLEST_MAX_BYTES)
        oldest, latest = store.event_store.get_oldest_event_num(), store.event_store.get_latest_event_num()
        assert oldest > 2
        watcher.start()
        if strategy is CompactionStrategy.CONTINUE:
            recorder.wait_for_number(latest)
            assert recorder.numbers == list(range(oldest, latest + 1))
        else:
            watcher._run.thread.join(30)  # type: ignore[union-attr]
            stats = watcher.stats()
            assert stats.state is WatcherState.STOPPED
            assert isinstance(stats.error, EventsCompactedError)
            assert recorder.numbers == []


def test_a_watcher_that_keeps_up_never_notices(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, durability="relaxed", event_retention=NOTHING)
    store.event_store.serializer.register_type("Note", dict)
    write_checkpoints(store, {"w": 0})
    with WatcherManager(store.event_store) as manager:
        recorder = Recorder()
        watcher = manager.create("w", handler=recorder, auto_start=True)
        for round_number in range(1, 21):
            number = append(store, "x" * 2500, "y" * 2500)
            recorder.wait_for_number(number)
            watcher.checkpoint(number)
            clock.now_ns += SECOND_NS
            append(store, f"round {round_number}")
        recorder.wait_for_number(60)
    assert recorder.numbers == list(range(1, 61))
    assert store.event_store.get_oldest_event_num() > 50


def test_verify_agrees_while_segments_go(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock, durability="relaxed")
    other = open_store(read_only=True)
    done = threading.Event()
    problems: list[object] = []

    def check() -> None:
        while not done.is_set():
            problems.extend(other.verify().problems)

    thread = threading.Thread(target=check)
    thread.start()
    for _ in range(30):
        append(store, "x" * 1500, "y" * 1500, "z" * 1500)
        clock.now_ns += DAY_NS
        store.collect_events()
    done.set()
    thread.join()
    assert not problems


# --- crashes and repair ---------------------------------------------------------------------------------------------

_COLLECTING = """
import sys
from datetime import timedelta
from execstore import Store
from execstore.watcher import Operation, StoreEventRequest
store = Store(sys.argv[1])
while True:
    for _ in range(3):
        number = store.event_store.store_event(StoreEventRequest(Operation.CREATE, "Note", {"text": "x" * 2500}))
    report = store.collect_events(retention=timedelta(0))
    print(number, report.oldest, flush=True)
"""


@pytest.mark.parametrize("rounds", [1, 2, 5, 11])
@pytest.mark.folder
def test_a_kill_in_the_middle_of_collecting_loses_and_repeats_nothing(open_store: Stores, rounds: int) -> None:
    open_store().close()
    with python("-c", _COLLECTING, str(open_store.path())) as process:
        assert process.stdout is not None
        for _ in range(rounds):
            number, oldest = map(int, process.stdout.readline().split())
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            number, oldest = map(int, line.split())
    store = open_store()
    found_oldest, latest = store.event_store.get_oldest_event_num(), store.event_store.get_latest_event_num()
    assert latest >= number
    assert oldest <= found_oldest <= latest + 1
    assert numbers(store) == list(range(found_oldest, latest + 1))
    assert append(store, "next") == latest + 1
    assert store.verify().ok


@pytest.mark.folder
def test_a_repair_lets_the_log_begin_where_its_segments_do(open_store: Stores) -> None:
    store = open_store()
    append_segments(store, 3)
    (open_store.path() / "events" / f"{1:020d}.jsonl").unlink()
    assert not store.verify().ok
    report = store.repair()
    assert report.ok
    assert [action.action for action in report.actions] == ["the log's oldest event is 3"]
    assert numbers(store) == [3, 4, 5, 6]


@pytest.mark.folder
def test_a_repair_of_a_log_without_segments_keeps_its_number(open_store: Stores) -> None:
    store = open_store()
    append_segments(store, 2)
    for path in (open_store.path() / "events").iterdir():
        path.unlink()
    assert store.repair().ok
    assert numbers(store) == []
    assert append(store, "next") == 5


@pytest.mark.folder
def test_a_repair_sets_aside_a_segment_that_was_collected(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    append_segments(store, 2)
    write_checkpoints(store, {"w": 2})
    path = open_store.path() / "events" / f"{1:020d}.jsonl"
    data = path.read_bytes()
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    path.write_bytes(data)
    assert not store.verify().ok
    report = store.repair()
    assert report.ok
    assert report.actions[0].quarantined
    assert numbers(store) == [3, 4]


def test_executions_outlive_their_events(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    store.create_execution(make_execution("e1"))
    clock.now_ns += 2 * DAY_NS
    store.collect_events()
    assert store.update_execution_state(make_request("e1", ExecutionState.RUNNING)).revision == 2
    assert numbers(store) == [2]
