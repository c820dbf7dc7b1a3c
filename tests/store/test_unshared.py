"""No caller is given what another one may change."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore import Event
from execstore.records import encode_execution
from execstore.unshared import unshared
from tests.strategies import executions_of
from tests.support import make_execution

if TYPE_CHECKING:
    from execstore import Execution, Store
    from tests.conftest import StoreFactory

OBJECTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.integers() | st.text(max_size=3) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
EXECUTIONS = executions_of(
    texts=st.text(max_size=3),
    objects=OBJECTS,
    extras=st.dictionaries(st.text(max_size=3).map(lambda text: f"x{text}"), st.integers(), max_size=2),
    details=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    integers=st.integers(-(1 << 63), (1 << 63) - 1),
    counts=st.integers(0, 1 << 62),
    state_numbers=st.integers(0, 2),
)


def changeable(value: Any) -> list[int]:
    """The identities of all dicts and lists within a value."""
    if isinstance(value, dict):
        return [id(value), *(each for inner in value.values() for each in changeable(inner))]
    if isinstance(value, list):
        return [id(value), *(each for inner in value for each in changeable(inner))]
    if hasattr(value, "__dict__") and not isinstance(value, Enum):
        return [each for inner in vars(value).values() for each in changeable(inner)]
    return []


@given(EXECUTIONS)
def test_a_copy_is_equal_and_shares_nothing_changeable(execution: Execution) -> None:
    copy = unshared(execution)
    assert copy == execution
    assert copy.to_dict() == execution.to_dict()
    assert not set(changeable(copy)) & set(changeable(execution))


def test_what_one_caller_does_to_a_job_no_other_one_sees(store: Store) -> None:
    job = {"Tasks": [{"Name": "main"}], "Labels": {}}
    store.create_execution(make_execution("e1", job=job), Event("Test", "m", details={"a": "b"}))
    for _ in range(4):
        for found in (store.get_execution("e1"), *store.get_executions(store.get_execution("e1").job_id)):
            assert found.job == job
            assert isinstance(found.job, dict)
            found.job["Tasks"][0]["Name"] = "mine"
            found.compute_state.details["mine"] = "x"  # type: ignore[index]
        (event,) = store.get_execution_events("e1")
        assert event.details == {"a": "b"}
        event.details["mine"] = "x"  # type: ignore[index]


@pytest.mark.parametrize("field", ["job", "allocated_resources", "extra"])
def test_what_is_nested_deeper_than_pythons_stack_is_read_again_and_again(field: str, open_store: StoreFactory) -> None:
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"a": nested}
    store = open_store()
    created = store.create_execution(make_execution("deep").replace(**{field: {"x": nested}}))
    for _ in range(4):  # read, kept, and copied
        for found in (store.get_execution("deep"), *store.get_executions(created.job_id)):
            assert encode_execution(found) == encode_execution(created)
