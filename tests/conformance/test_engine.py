"""The seam itself: what ``execstore.engine`` says of a reader, a change and an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from execstore.engine import LogState
from execstore.errors import StoreClosedError, StoreNotFoundError, StoreReadOnlyError
from execstore.schema import EXECUTION_EVENTS, EXECUTIONS, JOB_INDEX, LAYOUT, SEQUENCE_TRACKING
from tests.conformance.content import content_of
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.engine import Change, Engine, Reader
    from tests.conformance.conftest import Stores

# Collections that verify, at the end of each test, has no more to say of than that they are there: what these tests put
# into them is taken back.
KEYS = ("plain", "a/b", "..", "Ünï", "x" * 300)
GROUPS = ("group", "g/1", "g/2")


@pytest.fixture
def engine_of(store: Store) -> Iterator[Engine]:
    """An engine with two executions; whatever a test does to other keys is gone in the end."""
    store.create_execution(make_execution("e1"), make_event("a"))
    store.create_execution(make_execution("e2", "job2"))
    engine = store.engine()
    before = content_of(store)
    yield engine
    if not engine.closed:
        engine.change(clean)
        after = content_of(store)
        for moving in ("log", "values"):
            before.pop(moving), after.pop(moving)
        assert after == before


def clean(change: Change) -> None:
    for key in KEYS:
        if change.has_record(EXECUTIONS, key):
            change.remove_record(EXECUTIONS, key)
        change.remove_lines(EXECUTION_EVENTS, key)
        for group in (*KEYS, *GROUPS):
            if change.name_of(key) in change.members(JOB_INDEX, group):
                change.unmark(JOB_INDEX, group, key, drop_empty=True)
    change.set_value("other", None)


def put_all(change: Change) -> None:
    for key in KEYS:
        change.put_record(EXECUTIONS, key, b"1" + key.encode(), is_new=True)
        change.append_lines(EXECUTION_EVENTS, key, b"a\n", is_new=True)
        change.append_lines(EXECUTION_EVENTS, key, b"b\n")
        change.mark(JOB_INDEX, key, key)
    change.set_value("other", [1, "two", {"three": None}])


def seen(reader: Reader) -> tuple[Any, ...]:
    """What a reader says of all that `put_all` put."""
    return (
        [reader.record(EXECUTIONS, key) for key in KEYS],
        [reader.has_record(EXECUTIONS, key) for key in KEYS],
        [reader.record_named(EXECUTIONS, reader.name_of(key)) for key in KEYS],
        [reader.has_record_named(EXECUTIONS, reader.name_of(key)) for key in KEYS],
        {reader.name_of(key) for key in KEYS} & set(reader.record_names(EXECUTIONS)),
        [reader.lines(EXECUTION_EVENTS, key) or None for key in KEYS],
        [reader.lines_bytes(EXECUTION_EVENTS, key) for key in KEYS],
        {reader.name_of(key) for key in KEYS} & set(reader.lines_names(EXECUTION_EVENTS)),
        [reader.has_lines_named(EXECUTION_EVENTS, reader.name_of(key)) for key in KEYS],
        [reader.members(JOB_INDEX, key) for key in KEYS],
        [reader.wrong_marker(LAYOUT, JOB_INDEX, key, key) is None for key in KEYS],
        reader.values.get("other"),
    )


NOTHING: tuple[Any, ...] = (
    [None] * 5,
    [False] * 5,
    [None] * 5,
    [False] * 5,
    set(),
    [None] * 5,
    [0] * 5,
    set(),
    [False] * 5,
    [[]] * 5,
    [False] * 5,
    None,
)


def everything(engine: Engine) -> tuple[Any, ...]:
    names = engine.read(lambda reader: [reader.name_of(key) for key in KEYS])
    records = [b"1" + key.encode() for key in KEYS]
    return (
        records,
        [True] * 5,
        records,
        [True] * 5,
        set(names),
        [b"a\nb\n"] * 5,
        [4] * 5,
        set(names),
        [True] * 5,
        [[name] for name in names],
        [True] * 5,
        [1, "two", {"three": None}],
    )


def test_a_change_sees_its_own_writes_and_others_see_them_once_they_are_committed(
    engine_of: Engine, open_store: Stores
) -> None:
    other = open_store().engine()
    expected = everything(engine_of)
    change = engine_of.begin()
    assert change.is_empty
    assert seen(change) == NOTHING
    put_all(change)
    assert not change.is_empty
    assert seen(change) == expected
    assert engine_of.read(seen) == other.read(seen) == NOTHING
    engine_of.commit(change)
    assert engine_of.read(seen) == other.read(seen) == expected


@pytest.mark.parametrize("way", ["rollback", "reject"])
def test_a_change_that_ends_otherwise_leaves_nothing(engine_of: Engine, open_store: Stores, way: str) -> None:
    change = engine_of.begin()
    put_all(change)
    getattr(engine_of, way)(change)
    assert engine_of.read(seen) == open_store().engine().read(seen) == NOTHING
    engine_of.rollback(engine_of.begin())


def test_an_operation_that_raises_leaves_nothing_and_its_error_comes_through(engine_of: Engine) -> None:
    def operation(change: Change) -> None:
        put_all(change)
        raise ZeroDivisionError("its own")

    with pytest.raises(ZeroDivisionError, match="its own"):
        engine_of.change(operation)
    assert engine_of.read(seen) == NOTHING
    engine_of.change(put_all)
    assert engine_of.read(seen) == everything(engine_of)


def test_what_an_operation_returns_is_given(engine_of: Engine) -> None:
    assert engine_of.change(lambda change: change.has_record(EXECUTIONS, "e1")) is True
    assert engine_of.change(lambda change: change.has_record(EXECUTIONS, "plain")) is False


def test_a_change_that_stays_empty_is_none(engine_of: Engine) -> None:
    status = engine_of.status()
    changes: list[Change] = []

    def operation(change: Change) -> None:
        changes.append(change)
        change.set_value("time_ns", change.values["time_ns"])

    engine_of.change(operation)
    change = engine_of.begin()
    engine_of.commit(change)
    after = engine_of.status()
    assert status is not None
    assert after is not None
    assert after.transaction == status.transaction
    assert changes[-1].is_empty
    assert change.is_empty


def test_each_change_raises_the_transaction_for_all(engine_of: Engine, open_store: Stores) -> None:
    other = open_store().engine()
    numbers = []
    for engine in (engine_of, other, engine_of, other):
        status = engine.status()
        assert status is not None
        numbers.append(status.transaction)
        engine.change(lambda change: change.set_value("other", len(numbers)))
    assert numbers == sorted(set(numbers))


def test_records_and_lines_are_replaced_and_removed(engine_of: Engine) -> None:
    engine_of.change(put_all)

    def replace(change: Change) -> None:
        change.put_record(EXECUTIONS, "plain", b"2")
        change.put_lines(EXECUTION_EVENTS, "plain", b"c\n")
        change.append_lines(EXECUTION_EVENTS, "plain", b"d\n")
        change.remove_record(EXECUTIONS, "a/b")
        change.remove_lines(EXECUTION_EVENTS, "a/b")
        change.remove_lines(EXECUTION_EVENTS, "never there")
        assert change.record(EXECUTIONS, "plain") == b"2"
        assert change.lines(EXECUTION_EVENTS, "plain") == b"c\nd\n"
        assert not change.lines(EXECUTION_EVENTS, "a/b")

    engine_of.change(replace)
    reader_says = engine_of.read(
        lambda reader: (
            reader.record(EXECUTIONS, "plain"),
            reader.lines(EXECUTION_EVENTS, "plain"),
            reader.record(EXECUTIONS, "a/b"),
            reader.lines(EXECUTION_EVENTS, "a/b") or None,
        )
    )
    assert reader_says == (b"2", b"c\nd\n", None, None)


def test_one_change_may_put_and_remove_and_put_again(engine_of: Engine) -> None:
    def operation(change: Change) -> None:
        for data in (b"1", b"2"):
            change.put_record(EXECUTIONS, "plain", data)
            change.append_lines(EXECUTION_EVENTS, "plain", data + b"\n")
            change.mark(JOB_INDEX, "group", "plain")
            change.remove_record(EXECUTIONS, "plain")
            change.remove_lines(EXECUTION_EVENTS, "plain")
            change.unmark(JOB_INDEX, "group", "plain", drop_empty=True)
            assert change.record(EXECUTIONS, "plain") is None
            assert change.members(JOB_INDEX, "group") == []
        change.put_record(EXECUTIONS, "plain", b"3")
        change.append_lines(EXECUTION_EVENTS, "plain", b"3\n")
        change.mark(JOB_INDEX, "group", "plain")

    engine_of.change(operation)
    assert engine_of.read(
        lambda reader: (
            reader.record(EXECUTIONS, "plain"),
            reader.lines(EXECUTION_EVENTS, "plain"),
            reader.members(JOB_INDEX, "group"),
        )
    ) == (b"3", b"3\n", [engine_of.read(lambda reader: reader.name_of("plain"))])


def test_marks_move_and_go(engine_of: Engine) -> None:
    def members(reader: Reader) -> list[list[str]]:
        return [sorted(reader.members(JOB_INDEX, group)) for group in ("g/1", "g/2")]

    def group_texts(reader: Reader) -> set[str]:
        return {group.key or "" for group in reader.groups(JOB_INDEX) if reader.members_named(JOB_INDEX, group.text)}

    for key in ("plain", "a/b"):
        engine_of.change(lambda change, key=key: change.mark(JOB_INDEX, "g/1", key))  # type: ignore[misc]
    plain, other = engine_of.read(lambda reader: (reader.name_of("plain"), reader.name_of("a/b")))
    assert engine_of.read(members) == [sorted([plain, other]), []]
    engine_of.change(lambda change: change.move_mark(JOB_INDEX, "g/1", "g/2", "plain"))
    assert engine_of.read(members) == [[other], [plain]]
    engine_of.change(lambda change: change.move_mark(JOB_INDEX, "g/2", "g/2", "plain"))
    assert engine_of.read(members) == [[other], [plain]]
    assert engine_of.read(group_texts) == {"job1", "job2", "g/1", "g/2"}
    engine_of.change(lambda change: change.unmark(JOB_INDEX, "g/1", "a/b", drop_empty=True))
    engine_of.change(lambda change: change.unmark(JOB_INDEX, "g/2", "plain", drop_empty=False))
    engine_of.change(lambda change: change.drop_group(JOB_INDEX, "g/2"))
    engine_of.change(lambda change: change.drop_group(JOB_INDEX, "job1"))
    assert engine_of.read(group_texts) == {"job1", "job2"}
    names = engine_of.read(lambda reader: {group.key for group in reader.groups(JOB_INDEX)})
    assert names == {"job1", "job2"}, "an empty group was dropped, one with members wasn't"
    wrong = engine_of.read(lambda reader: reader.wrong_marker(LAYOUT, JOB_INDEX, "g/1", "a/b"))
    assert wrong is not None
    assert wrong.reason == "the entry is missing"


def test_a_name_is_a_keys_own(engine_of: Engine) -> None:
    names = engine_of.read(lambda reader: {key: reader.name_of(key) for key in KEYS})
    assert len(set(names.values())) == len(KEYS)
    for key, name in names.items():
        assert engine_of.read(lambda reader, name=name: reader.key_of(name)) in {key, None}  # type: ignore[misc]


def test_many_records_at_once_are_those_one_by_one(engine_of: Engine) -> None:
    engine_of.change(put_all)

    def look(reader: Reader) -> tuple[Any, list[bytes | None]]:
        names = [*reader.record_names(EXECUTIONS), reader.name_of("never there")]
        several = getattr(reader, "records_named", None)
        return several and several(EXECUTIONS, names), [reader.record_named(EXECUTIONS, name) for name in names]

    at_once, one_by_one = engine_of.read(look)
    assert at_once is None or at_once == one_by_one


# --- the log --------------------------------------------------------------------------------------------------------


def test_the_log_is_read_by_number_and_by_segment(store: Store) -> None:
    for number in range(40):
        store.create_execution(make_execution(f"e{number}"), make_event("x" * 300))
    engine = store.engine()
    lines = engine.read_log(1, 1000)
    while lines[-1][0] < 80:
        lines += engine.read_log(lines[-1][0] + 1, 1000)
    assert [number for number, _ in lines] == list(range(1, 81))
    assert engine.read_log(7, 3)[0] == lines[6]
    assert engine.read_log(81, 10) == []

    def look(reader: Reader) -> list[tuple[int, bytes | None, int, bytes | None]]:
        return [
            (
                first,
                reader.segment(reader.segment_file(LAYOUT.log, first), 0),
                reader.segment_bytes(LAYOUT.log, first),
                reader.segment_end(LAYOUT.log, first),
            )
            for first in reader.segment_numbers(LAYOUT.log)
        ]

    by_number = dict(lines)
    expected = 1
    for first, data, size_bytes, end in engine.read(look):
        assert data is not None
        assert first == expected
        assert size_bytes == len(data)
        found = data.splitlines()
        assert found == [by_number[first + place] for place in range(len(found))]
        assert end == found[-1]
        expected = first + len(found)
    assert expected == 81
    assert engine.read(lambda reader: reader.segment(reader.segment_file(LAYOUT.log, 999), 0)) is None
    assert engine.read(lambda reader: reader.segment_end(LAYOUT.log, 999)) is None
    assert engine.read(lambda reader: reader.segment_bytes(LAYOUT.log, 999)) == 0


def test_a_transaction_may_log_and_drop_and_log(store: Store) -> None:
    """Numbers go on, whatever was dropped in the same change."""
    engine = store.engine()
    first = engine.begin()
    for number in range(1, 31):
        assert first.next_log_number() == number
        assert first.append_log(b"x" * 500, number) == number
    assert first.segment_numbers(LAYOUT.log)[0] == 1
    engine.rollback(first)
    assert engine.read(lambda reader: LogState.of(reader.values)) == LogState()
    assert engine.read_log(1, 10) == []
    store.create_execution(make_execution())
    change = engine.begin()
    state = change.drop_log_before(2)
    assert (state.oldest, state.latest, state.is_empty) == (2, 1, True)
    assert change.segment_numbers(LAYOUT.log) == []
    assert change.next_log_number() == 2
    engine.commit(change)
    assert engine.read_log(1, 10) == []
    assert store.event_store.get_oldest_event_num() == 2
    store.delete_execution("e1")
    assert [number for number, _ in engine.read_log(1, 10)] == [2]


# --- handles --------------------------------------------------------------------------------------------------------


def test_whoever_tries_while_another_writes_is_told_at_once(store: Store, open_store: Stores) -> None:
    other = open_store().engine()
    change = store.engine().begin()
    assert other.try_begin() is None
    store.engine().rollback(change)
    again = other.try_begin()
    assert again is not None
    other.rollback(again)


def test_own_changes_are_told_of(store: Store, open_store: Stores) -> None:
    engine, told = store.engine(), []
    engine.on_change = lambda: told.append("change")
    engine.on_close = lambda: told.append("close")
    store.create_execution(make_execution())
    store.create_execution(make_execution("e2"))
    store.counts()
    assert told == ["change", "change"]
    store.close()
    store.close()
    assert told == ["change", "change", "close"]


def test_what_is_known_for_nothing_is_true(store: Store, open_store: Stores) -> None:
    other = open_store()
    store.create_execution(make_execution())
    for engine in (store.engine(), other.engine()):
        values = engine.read(lambda reader: dict(reader.values))
        peeked = engine.peek()
        assert peeked is None or peeked == values


CHANGES: dict[str, Callable[[Engine], object]] = {
    "change": lambda engine: engine.change(lambda change: change.set_value("other", 1)),
    "begin": lambda engine: engine.begin(),
    "try_begin": lambda engine: engine.try_begin(),
}


@pytest.mark.parametrize("method", CHANGES)
def test_a_read_only_handle_changes_nothing(store: Store, open_store: Stores, method: str) -> None:
    store.create_execution(make_execution())
    reading = open_store(read_only=True)
    with pytest.raises(StoreReadOnlyError):
        CHANGES[method](reading.engine())
    with pytest.raises(StoreReadOnlyError):
        reading.delete_execution("e1")
    assert reading.read_only
    assert reading.get_execution("e1") == store.get_execution("e1")
    store.update_execution_state(make_request("e1", ExecutionState.RUNNING))
    assert reading.get_execution("e1").revision == 2
    assert reading.verify().ok


def test_a_store_that_is_not_there_is_not_made_by_a_reader(open_store: Stores) -> None:
    with pytest.raises(StoreNotFoundError):
        open_store("nowhere", read_only=True)
    open_store("nowhere").create_execution(make_execution())
    assert open_store("nowhere", read_only=True).get_execution("e1").revision == 1


@pytest.mark.parametrize("method", [*CHANGES, "read", "read_log", "status"])
def test_a_closed_handle_says_so(store: Store, method: str) -> None:
    engine = store.engine()
    store.close()
    assert engine.closed
    calls: dict[str, Callable[[Engine], object]] = {
        **CHANGES,
        "read": lambda engine: engine.read(lambda reader: reader.values),
        "read_log": lambda engine: engine.read_log(1, 1),
        "status": lambda engine: engine.status(),
    }
    with pytest.raises(StoreClosedError):
        calls[method](engine)


def test_each_store_has_an_identity_that_stays(store: Store, open_store: Stores) -> None:
    assert len(store.store_id) >= 16
    assert open_store().store_id == open_store(read_only=True).store_id == store.store_id
    assert open_store("other").store_id != store.store_id


def test_stores_beside_each_other_know_nothing_of_each_other(store: Store, open_store: Stores) -> None:
    other = open_store("store-2")
    store.create_execution(make_execution())
    other.checkpoint("cp", 3)
    assert list(other.list_executions()) == []
    assert store.get_checkpoint("cp") == 0
    assert other.event_store.get_latest_event_num() == 0
    assert store.look(lambda reader: reader.record_names(SEQUENCE_TRACKING)) == []


def test_an_option_that_no_store_has_is_refused(open_store: Stores) -> None:
    with pytest.raises(TypeError, match="no option 'colour'"):
        open_store(colour="red")


def test_a_limit_of_lock_timeout_zero_still_writes(open_store: Stores) -> None:
    store = open_store(lock_timeout=0)
    store.create_execution(make_execution())
    with store.begin_tx() as transaction:
        transaction.delete_execution("e1")
    assert list(store.list_executions()) == []
