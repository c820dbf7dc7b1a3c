"""The event models: texts, equality, and refusal of wrong values."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from typing import TYPE_CHECKING

import pytest

from execstore.errors import InvalidArgumentError
from execstore.watcher import (
    Event,
    EventFilter,
    EventIterator,
    EventIteratorType,
    GetEventsRequest,
    GetEventsResponse,
    Operation,
    StoreEventRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ITERATORS = [
    (EventIterator.trim_horizon(), "trim_horizon", "EventIterator.trim_horizon()"),
    (EventIterator.latest(), "latest", "EventIterator.latest()"),
    (EventIterator.at_sequence_number(0), "at_sequence_number(0)", "EventIterator.at_sequence_number(0)"),
    (EventIterator.at_sequence_number(7), "at_sequence_number(7)", "EventIterator.at_sequence_number(7)"),
    (EventIterator.after_sequence_number(99), "after_sequence_number(99)", "EventIterator.after_sequence_number(99)"),
]


@pytest.mark.parametrize(("iterator", "text", "representation"), ITERATORS)
def test_iterator_prints_as_the_reference(iterator: EventIterator, text: str, representation: str) -> None:
    assert str(iterator) == text
    assert f"{iterator}" == text
    assert repr(iterator) == representation
    assert eval(repr(iterator)) == iterator


def test_iterators_compare_by_value() -> None:
    assert EventIterator.after_sequence_number(3) == EventIterator.after_sequence_number(3)
    assert EventIterator.after_sequence_number(3) != EventIterator.after_sequence_number(4)
    assert EventIterator.after_sequence_number(3) != EventIterator.at_sequence_number(3)
    assert EventIterator.trim_horizon() != EventIterator.after_sequence_number(0)
    assert len({EventIterator.latest(), EventIterator.latest(), EventIterator.trim_horizon()}) == 2


@pytest.mark.parametrize("number", [-1, 2**64, True, 1.0, "1", None])
def test_iterator_refuses_what_is_no_sequence_number(number: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^sequence_number: a sequence number is"):
        EventIterator.at_sequence_number(number)  # type: ignore[arg-type]


def test_iterator_takes_the_largest_number_of_the_reference() -> None:
    assert EventIterator.after_sequence_number(2**64 - 1).sequence_number == 2**64 - 1


def test_iterator_refuses_a_number_at_an_end_of_the_log() -> None:
    with pytest.raises(InvalidArgumentError, match="latest takes none"):
        EventIterator(EventIteratorType.LATEST, 5)


def test_iterator_refuses_an_unknown_kind() -> None:
    with pytest.raises(InvalidArgumentError, match="'first' is no kind of iterator"):
        EventIterator("first")  # type: ignore[arg-type]


MATCHES = [
    (EventFilter(), True),
    (EventFilter(object_types=("A",)), True),
    (EventFilter(object_types=("B",)), False),
    (EventFilter(object_types=("B", "A")), True),
    (EventFilter(operations=(Operation.UPDATE,)), True),
    (EventFilter(operations=(Operation.CREATE, Operation.DELETE)), False),
    (EventFilter(object_types=("A",), operations=(Operation.CREATE,)), False),
    (EventFilter(object_types=("B",), operations=(Operation.UPDATE,)), False),
    (EventFilter(object_types=("A",), operations=(Operation.UPDATE,)), True),
]


@pytest.mark.parametrize(("event_filter", "expected"), MATCHES)
def test_filter_of_an_update_of_type_a(event_filter: EventFilter, expected: bool) -> None:
    assert event_filter.matches("UPDATE", "A") is expected


def test_filter_takes_any_iterable_and_operations_by_name() -> None:
    made = EventFilter(object_types=["A"], operations=iter(["DELETE"]))  # type: ignore[arg-type]
    assert made == EventFilter(object_types=("A",), operations=(Operation.DELETE,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"object_types": "Upsert"}, r"^object_types: takes several names, so write \('Upsert',\)"),
        ({"object_types": [1]}, "^object_types: a type's name is a str, not int"),
        ({"operations": "CREATE"}, "^operations: takes several names"),
        ({"operations": ["MOVE"]}, "^operations: 'MOVE' is no operation; it is one of CREATE, UPDATE, DELETE"),
    ],
)
def test_filter_refuses_wrong_values(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        EventFilter(**arguments)  # type: ignore[arg-type]


def test_store_request_takes_the_operation_by_name() -> None:
    assert StoreEventRequest("CREATE", "A", {}).operation is Operation.CREATE  # type: ignore[arg-type]


@pytest.mark.parametrize(("operation", "object_type"), [("create", "A"), ("", "A"), (None, "A"), ("CREATE", 5)])
def test_store_request_refuses_wrong_values(operation: object, object_type: object) -> None:
    with pytest.raises(InvalidArgumentError):
        StoreEventRequest(operation, object_type, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        EventIterator.latest(),
        EventFilter(),
        Event(1, Operation.CREATE, "A", None, 0),
        StoreEventRequest(Operation.CREATE, "A", None),
        GetEventsRequest(EventIterator.latest()),
        GetEventsResponse([], EventIterator.latest()),
    ],
)
def test_models_are_frozen(model: object) -> None:
    name = dataclasses.fields(model)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(model, name, None)


# --- events whose object is made late -------------------------------------------------------------------------------


def late_event(made: list[int]) -> Event:
    def make_object() -> dict[str, int]:
        made.append(1)
        return {"n": 1}

    return Event.with_late_object(1, Operation.CREATE, "A", make_object, 5)


def test_a_late_object_is_made_once_and_only_when_looked_at() -> None:
    made: list[int] = []
    event = late_event(made)
    assert (event.seq_num, event.operation, event.object_type, event.timestamp) == (1, Operation.CREATE, "A", 5)
    assert made == []
    assert event.object is event.object
    assert made == [1]


@pytest.mark.parametrize(
    "use",
    [
        lambda event: event == Event(1, Operation.CREATE, "A", {"n": 1}, 5),
        lambda event: repr(event) == repr(Event(1, Operation.CREATE, "A", {"n": 1}, 5)),
        lambda event: pickle.loads(pickle.dumps(event)) == event,
        lambda event: copy.deepcopy(event) == event,
        lambda event: dataclasses.replace(event, seq_num=2) == Event(2, Operation.CREATE, "A", {"n": 1}, 5),
    ],
    ids=["equality", "repr", "pickle", "deepcopy", "replace"],
)
def test_an_event_with_a_late_object_is_like_any_other(use: Callable[[Event], bool]) -> None:
    assert use(late_event([]))


def test_an_event_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="Event has no attribute 'sequence'"):
        late_event([]).sequence  # type: ignore[attr-defined]  # noqa: B018


def test_a_late_object_asked_for_by_two_threads_is_there_for_both() -> None:
    event = Event.with_late_object(1, Operation.CREATE, "A", lambda: barrier.wait(30), 5)
    barrier = threading.Barrier(2)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(event.object)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 2
    assert set(found) <= {0, 1}
    assert event.object in (0, 1)


def test_a_thread_that_finds_the_object_made_by_another_takes_that() -> None:
    made: list[int] = []
    event = late_event(made)
    assert event.object == {"n": 1}
    # What a thread runs that missed the object a moment before another has set it.
    assert Event.__getattr__(event, "object") is event.object  # type: ignore[attr-defined]
    assert made == [1]


@pytest.mark.parametrize(
    "arguments",
    [{"event_iterator": "latest"}, {"limit": "1"}, {"filter": ("A",)}, {"event_iterator": 5}],
)
def test_get_request_refuses_wrong_types(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(arguments))}: is of type "):
        GetEventsRequest(**{"event_iterator": EventIterator.latest(), **arguments})  # type: ignore[arg-type]


def test_all_threads_are_given_the_same_late_object() -> None:
    """Both look at once: the second one comes while the first one makes it."""
    together = threading.Barrier(2)

    def make() -> object:
        together.wait(timeout=60)
        return object()

    event = Event.with_late_object(1, Operation.CREATE, "T", make, 5)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(event.object)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1] is event.object
