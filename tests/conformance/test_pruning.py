"""What is pruned and what stays: the rule, by hand, and in writers over simulated months."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import Execution, ExecutionState, Store
from execstore.errors import InvalidArgumentError, StoreFullError, StoreReadOnlyError, TransactionOpenError
from execstore.pruning import TERMINAL_STATES, Candidate, Pruner, PruneRule, decide
from execstore.records import parse_execution
from execstore.tree.tree import Tree
from execstore.watcher import Operation
from tests.conformance.content import content_of
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from execstore.tree.change import Change
    from tests.conformance.conftest import Stores
    from tests.support import FakeClock

S = ExecutionState
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
NOTHING = timedelta(0)


def end(store: Store, execution_id: str, job_id: str = "job1", state: S = S.COMPLETED) -> Execution:
    """Create an execution with an event, and end it."""
    store.create_execution(make_execution(execution_id, job_id), make_event())
    return store.update_execution_state(make_request(execution_id, state))


def store_path(store: Store) -> Path:
    return Path(store.path)


def ids(store: Store) -> list[str]:
    return [execution.id for execution in store.list_executions()]


def in_every_state(store: Store) -> None:
    for number, state in enumerate(S):
        if state is not S.UNDEFINED:
            store.create_execution(make_execution(f"e{number:02}", f"job{number}"), make_event())
            if state is not S.NEW:
                store.update_execution_state(make_request(f"e{number:02}", state))


# --- the rule -------------------------------------------------------------------------------------------------------


candidates_of_any_store = st.lists(
    st.builds(Candidate, st.uuids().map(str), st.sampled_from("ab"), st.sampled_from(list(S)), st.integers(0, 20)),
    max_size=12,
)


@given(
    candidates=candidates_of_any_store,
    older_than_ns=st.integers(0, 20),
    states=st.frozensets(st.sampled_from(list(S))),
    keep_per_job=st.one_of(st.none(), st.integers(0, 4)),
    now_ns=st.integers(0, 40),
)
def test_the_rule_holds_for_any_store(
    candidates: list[Candidate], older_than_ns: int, states: frozenset[S], keep_per_job: int | None, now_ns: int
) -> None:
    """Said in another way: each stays or goes by itself, by how many of its job and of those states are newer."""
    live = {S.BID_ACCEPTED, S.RUNNING, S.PUBLISHING}

    def age(each: Candidate) -> tuple[int, str]:
        return each.modify_time, each.execution_id

    def goes(one: Candidate) -> bool:
        newer = [
            other
            for other in candidates
            if other.job_id == one.job_id and other.state in states - live and age(other) > age(one)
        ]
        is_kept = keep_per_job is not None and len(newer) < keep_per_job
        return one.state in states - live and one.modify_time + older_than_ns <= now_ns and not is_kept

    going = decide(candidates, PruneRule(older_than_ns, states, keep_per_job), now_ns)
    assert set(going) == {each for each in candidates if goes(each)}
    assert [age(each) for each in going] == sorted(age(each) for each in going)
    # Whoever decides bit by bit, without a number to keep, decides the same.
    if keep_per_job is None:
        rule = PruneRule(older_than_ns, states)
        alone = [one for one in candidates if decide([one], rule, now_ns)]
        assert alone == [one for one in candidates if goes(one)]


# --- by hand --------------------------------------------------------------------------------------------------------


def test_what_has_ended_goes_and_its_traces_with_it(store: Store) -> None:
    in_every_state(store)
    ended = [f"e{number:02}" for number, state in enumerate(S) if state.is_terminal]
    assert store.prune(older_than=NOTHING) == ended
    assert not set(ended) & set(ids(store))
    assert {state for state, number in store.counts().items() if number} == set(S) - TERMINAL_STATES - {S.UNDEFINED}
    deletes = [entry for entry in log_entries(store) if entry.operation is Operation.DELETE]
    assert [entry.object.previous.id for entry in deletes] == ended
    for folder in ("idx_executions_by_job_id", "execution_events"):
        left = {name.split("/")[1] for name in content_of(store) if name.startswith(f"{folder}/")}
        assert len(left) == 11 - len(ended)


def test_the_young_stay(store: Store, clock: FakeClock) -> None:
    end(store, "old")
    clock.now_ns += DAY_NS
    end(store, "young")
    assert store.prune(older_than=timedelta(days=1, seconds=1)) == []
    clock.now_ns += SECOND_NS
    assert store.prune(older_than=timedelta(days=1)) == ["old"]
    assert ids(store) == ["young"]


def test_so_many_of_each_job_stay(store: Store, clock: FakeClock) -> None:
    for number in range(4):
        end(store, f"a{number}", "a", S.FAILED if number % 2 else S.COMPLETED)
    end(store, "b0", "b")
    store.create_execution(make_execution("a9", "a", S.BID_ACCEPTED))  # live ones don't count
    assert store.prune(older_than=NOTHING, keep_per_job=3, dry_run=True) == ["a0"]
    assert store.prune(older_than=NOTHING, keep_per_job=1, states=[S.FAILED]) == ["a1"]
    assert store.prune(older_than=NOTHING, keep_per_job=2) == ["a0"]
    assert store.prune(older_than=NOTHING, keep_per_job=0) == ["a2", "a3", "b0"]
    assert ids(store) == ["a9"]


def test_states_that_are_asked_for(store: Store) -> None:
    in_every_state(store)
    assert store.prune(older_than=NOTHING, states=[S.NEW]) == ["e01"]
    assert store.prune(older_than=NOTHING, states=["Failed", S.CANCELLED]) == ["e10", "e11"]  # type: ignore[list-item]
    assert store.prune(older_than=NOTHING, states=[]) == []


def test_a_dry_run_tells_exactly_and_writes_nothing(open_store: Stores) -> None:
    def stored_bytes(store: Store) -> int:
        folders = ("executions/", "execution_events/")
        return sum(len(data) for name, data in content_of(store).items() if name.startswith(folders))

    with open_store() as store:
        in_every_state(store)
    with open_store(read_only=True) as reading:
        whole = content_of(reading)
        planned = reading.prune_executions(older_than=NOTHING, dry_run=True)
        assert content_of(reading) == whole
    with open_store() as store:
        before = stored_bytes(store)
        done = store.prune_executions(older_than=NOTHING)
        after = stored_bytes(store)
    assert planned.executions == done.executions
    assert (planned.dry_run, done.dry_run) == (True, False)
    assert planned.bytes == done.bytes == before - after > 0
    document = planned.to_dict()
    assert (document["count"], document["bytes"], document["dry_run"]) == (5, planned.bytes, True)
    assert document["executions"][0]["state"] == "AskForBidRejected"


@pytest.mark.folder
def test_other_writers_come_in_between(store: Store, open_store: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small changes; and one that is gone, and made anew under the same ID, when its turn comes, stays."""
    for number in range(30):
        end(store, f"e{number:02}")
    other = open_store(lock_timeout=1.0)
    change, begun = Tree.change, 0

    def change_after_others(tree: Tree, operation: Callable[[Change], Any]) -> Any:
        nonlocal begun
        if tree is store.tree("change"):
            begun += 1
            other.create_execution(make_execution(f"f{begun}", "other"))
            if begun == 1:
                other.delete_execution("e29")
                other.delete_execution("e28")
                end(other, "e28")
        return change(tree, operation)

    monkeypatch.setattr(Tree, "change", change_after_others)
    assert store.prune(older_than=NOTHING) == [f"e{number:02}" for number in range(28)]
    monkeypatch.undo()
    assert ids(store) == ["e28", *(f"f{number}" for number in range(1, begun + 1))]
    assert begun == 4


def test_several_prune_at_once(open_store: Stores) -> None:
    with open_store(durability="relaxed") as store:
        for number in range(60):
            end(store, f"e{number:02}")
        expected = ids(store)
    stores = [open_store() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        gone = list(pool.map(lambda each: each.prune(older_than=NOTHING), stores))
    assert sorted(itertools.chain(*gone)) == expected
    assert ids(stores[0]) == []


@pytest.mark.folder
def test_a_damaged_record_stays(open_store: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store("store")
    end(store, "e1")
    end(store, "e2")
    record = tmp_path / "store" / "executions" / "e1.json"
    content = record.read_bytes()
    record.write_bytes(b"{")
    assert store.prune(older_than=NOTHING) == ["e2"]
    assert "e1 is damaged" in caplog.text
    record.write_bytes(content)
    assert store.prune(older_than=NOTHING) == ["e1"]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"older_than": 7}, "older_than"),
        ({"older_than": None}, "older_than"),
        ({"older_than": timedelta(seconds=-1)}, "older_than"),
        ({"older_than": NOTHING, "states": [S.FAILED, S.RUNNING]}, "states"),
        ({"older_than": NOTHING, "states": "Failed"}, "states"),
        ({"older_than": NOTHING, "keep_per_job": -1}, "keep_per_job"),
        ({"older_than": NOTHING, "keep_per_job": True}, "keep_per_job"),
    ],
)
def test_arguments_that_make_no_sense(store: Store, options: dict[str, Any], argument: str) -> None:
    end(store, "e1")
    with pytest.raises(InvalidArgumentError) as raised:
        store.prune(**options)
    assert raised.value.argument == argument
    assert ids(store) == ["e1"]


def test_who_may_not_write_may_not_prune(open_store: Stores) -> None:
    with open_store() as store:
        end(store, "e1")
        with store.begin_tx(), pytest.raises(TransactionOpenError):
            store.prune(older_than=NOTHING)
    with open_store(read_only=True) as reading, pytest.raises(StoreReadOnlyError):
        reading.prune(older_than=NOTHING)


# --- in writers -----------------------------------------------------------------------------------------------------


def tree_bytes(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


@pytest.mark.parametrize("handles", [1, 3])
@pytest.mark.folder
def test_over_months_a_store_stays_the_same_size(open_store: Stores, clock: FakeClock, handles: int) -> None:
    """A node that runs 12 executions a day, pruned after 2 days and collected after 1: for 2 months."""
    options: dict[str, Any] = {"clock": clock, "event_retention": timedelta(days=1), "retention": timedelta(days=2)}
    stores = [open_store(durability="relaxed", **options) for _ in range(handles)]
    path = store_path(stores[0])
    stores[0].create_execution(make_execution("live", "forever", S.BID_ACCEPTED))
    sizes: list[int] = []
    numbers: list[int] = []
    for hour in range(0, 24 * 60, 2):
        clock.now_ns += 2 * HOUR_NS
        state = S.FAILED if hour % 5 == 0 else S.COMPLETED
        end(stores[hour // 2 % handles], f"e{hour:05}", f"job{hour // 24}", state)
        if hour % 120 == 118 and hour > 240:
            numbers.append(sum(stores[0].counts().values()))
            sizes.append(tree_bytes(path))
            oldest = min(execution.modify_time for execution in stores[0].list_executions() if execution.id != "live")
            # Two days, and no more than an eighth of that and a few commits until a sweep gets there.
            assert clock.now_ns - oldest <= 2 * DAY_NS * 9 // 8 + 12 * HOUR_NS * handles
    assert max(numbers) <= 25 + 3 + 6 * handles
    assert max(sizes) <= min(sizes) * 1.1
    jobs = [name for name in (path / "idx_executions_by_job_id").iterdir() if not name.name.startswith(".")]
    assert len(jobs) <= 6
    assert ids(stores[0])[-1] == "live"


def test_without_a_retention_nothing_goes(store: Store, clock: FakeClock) -> None:
    end(store, "e1")
    clock.now_ns += 1000 * DAY_NS
    store.checkpoint("c", 1)
    assert ids(store) == ["e1"]


def test_handles_of_one_commit_each_get_everywhere(open_store: Stores, clock: FakeClock) -> None:
    """As a script under cron: no handle lives long enough for a whole sweep."""
    with open_store(durability="relaxed", clock=clock) as store:
        for number in range(150):
            end(store, f"e{number:03}", f"job{number}")
    clock.now_ns += 2 * DAY_NS
    for turn in range(1000):
        with open_store(durability="relaxed", clock=clock, retention=timedelta(days=1)) as store:
            store.checkpoint("turn", turn)
            if not any(store.counts().values()):
                break
    else:
        pytest.fail(f"{ids(store)} stay")
    assert turn < 100


class Commits:
    """Counts what is done in commits, by reading and by deleting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        for name in ("read", "try_begin"):
            self._count(monkeypatch, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        method = getattr(Tree, name)

        def counted(*arguments: Any) -> Any:
            self.counts[name] += 1
            return method(*arguments)

        monkeypatch.setattr(Tree, name, counted)


def test_a_commit_that_needs_no_look_pays_nothing(
    open_store: Stores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(clock=clock, retention=timedelta(days=8))
    for number in range(3):
        end(store, f"e{number}")
    clock.now_ns += 2 * SECOND_NS
    store.checkpoint("c", 0)
    commits = Commits(monkeypatch)
    for number in range(50):
        store.checkpoint("c", number)
    assert commits.counts == {}


def test_a_record_is_read_once_and_once_more_to_go(
    open_store: Stores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(durability="relaxed", clock=clock, retention=timedelta(days=8))
    reads: Counter[str] = Counter()

    def counted(record: bytes) -> Execution:
        execution = parse_execution(record)
        reads[execution.id] += 1
        return execution

    monkeypatch.setattr("execstore.pruning.parse_execution", counted)
    for number in range(40):
        end(store, f"e{number:02}")
    for _ in range(10 * 24):
        clock.now_ns += HOUR_NS
        store.checkpoint("c", 1)
    assert ids(store) == []
    assert max(reads.values()) == 2


def test_who_has_the_lock_is_not_waited_for(open_store: Stores, clock: FakeClock) -> None:
    store, other = open_store(clock=clock), open_store(clock=clock, lock_timeout=0.0)
    end(store, "e1")
    clock.now_ns += DAY_NS
    rule = PruneRule(HOUR_NS)
    pruner = Pruner(rule, other.rules)
    with store.begin_tx():
        pruner.after_commit(other.engine())
    assert ids(store) == ["e1"]
    clock.now_ns += SECOND_NS
    pruner.after_commit(other.engine())
    assert ids(store) == []


def test_a_clock_that_was_set_back_does_not_stop_it(open_store: Stores, clock: FakeClock) -> None:
    store = open_store(clock=clock)
    pruner = Pruner(PruneRule(HOUR_NS), store.rules)
    clock.now_ns += 1000 * DAY_NS
    pruner.after_commit(store.engine())
    clock.now_ns -= 1000 * DAY_NS
    end(store, "e1")
    clock.now_ns += 2 * HOUR_NS
    for _ in range(3):
        pruner.after_commit(store.engine())
        clock.now_ns += HOUR_NS
    assert ids(store) == []


@pytest.mark.folder
def test_what_goes_wrong_is_not_the_callers(
    open_store: Stores, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(clock=clock, retention=timedelta(hours=1))
    end(store, "e1")
    clock.now_ns += DAY_NS

    def fail(tree: Tree) -> None:
        raise StoreFullError(tree.path, "the disk is full")

    monkeypatch.setattr(Tree, "try_begin", fail)
    store.checkpoint("c", 1)
    assert store.get_checkpoint("c") == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "can't be pruned now" in caplog.text
    monkeypatch.undo()
    clock.now_ns += HOUR_NS
    store.checkpoint("c", 2)
    assert ids(store) == []


@pytest.mark.parametrize("retention", [7, timedelta(seconds=-1), "7d"])
def test_a_retention_that_makes_no_sense(tmp_path: Path, retention: Any) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Store(tmp_path / "store", retention=retention)
    assert raised.value.argument == "retention"
    assert not (tmp_path / "store").exists()
