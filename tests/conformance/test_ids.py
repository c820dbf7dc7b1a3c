"""Any ID that the reference takes goes through every method and never leaves its folder."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execstore import ExecutionState, Store
from execstore.errors import (
    ExecutionEventsNotFoundError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    InvalidExecutionError,
)
from execstore.validation import MAX_ID_BYTES
from tests.support import log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.conftest import Stores

IDS = {
    "plain": "e-73f58819-f4b3-464e-898e-dd8b6a2f026c",
    "path upwards": "../../etc/passwd",
    "absolute path": "/etc/passwd",
    "dot": ".",
    "two dots": "..",
    "hidden": ".hidden",
    "the engine's own": ".new",
    "ends in a dot": "e.",
    "reserved by Windows": "con",
    "reserved with an ending": "NUL.txt",
    "slash": "a/b",
    "backslash": "a\\b",
    "escaped slash": "%2F",
    "per cent": "%",
    "looks hashed": "a%-" + "0" * 64,
    "json": "e.json",
    "emoji": "🎉👩‍👩‍👧",
    "right to left": "\u202eevil",
    "controls": "\x01\x1c\x7f",
    "capital": "Exec-A",
    "small": "exec-a",
    "ends in a unit separator": "e\x1f",
    "composed": "é",
    "decomposed": "e\u0301",
    "1,005 bytes": "é/" * 335,
    "240 bytes": "x" * 240,
    "241 bytes": "x" * 241,
    "2,009 bytes": "j" * 2009,
    "longest": "x" * MAX_ID_BYTES,
}


GO_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace() and code not in range(0x1C, 0x20))


def execution_of(logged: Any) -> str:
    """The ID that an object of the event log speaks of."""
    if hasattr(logged, "execution_id"):
        return str(logged.execution_id)
    return str((logged.current or logged.previous).id)


def files_outside(folder: Path) -> set[str]:
    """What stands beside the store, and every name in it that isn't as safe as can be."""
    found = {name for name in os.listdir(folder.parent) if name != folder.name}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if not re.fullmatch(r"(?:\.[a-z]?[a-z]*|[A-Za-z0-9._%-]{1,255})", name) or len(os.fsencode(name)) > 255:
                found.add(os.path.join(parent, name))
    return found


def live_through(store: Store, execution_id: str, job_id: str, name: str) -> None:
    """Every method, with these keys, from the creation to the deletion."""
    created = store.create_execution(make_execution(execution_id, job_id), make_event("a"))
    assert (created.id, created.job_id) == (execution_id, job_id)
    updated = store.update_execution_state(make_request(execution_id, ExecutionState.RUNNING, make_event("b")))
    store.add_execution_event(execution_id, make_event("c"))
    store.checkpoint(name, 5)
    store.event_store.store_checkpoint(name, 6)
    assert store.get_execution(execution_id) == updated
    assert store.get_executions(job_id) == [updated]
    assert store.get_live_executions() == [updated]
    assert list(store.list_executions()) == [updated]
    assert list(store.list_executions(job_id=job_id, state=ExecutionState.RUNNING)) == [updated]
    assert list(store.list_executions(after=execution_id)) == []
    assert [event.message for event in store.get_execution_events(execution_id)] == ["a", "b", "c"]
    assert (store.get_checkpoint(name), store.event_store.get_checkpoint(name)) == (5, 6)
    with store.begin_tx() as transaction:
        assert transaction.get_executions(job_id) == [updated]
        moved = transaction.update_execution_state(make_request(execution_id, job_id=f"{job_id}-2"))
        assert transaction.get_executions(f"{job_id}-2") == [moved]
    assert store.get_executions(f"{job_id}-2") == [moved]
    store.delete_execution(execution_id)
    for call, kind in (
        (lambda: store.get_execution(execution_id), ExecutionNotFoundError),
        (lambda: store.get_executions(job_id), ExecutionsNotFoundForJobError),
        (lambda: store.get_executions(f"{job_id}-2"), ExecutionsNotFoundForJobError),
        (lambda: store.get_execution_events(execution_id), ExecutionEventsNotFoundError),
    ):
        with pytest.raises(kind):
            call()
    assert log_entries(store)[-1].object.previous == moved


@pytest.mark.parametrize("key", IDS.values(), ids=IDS)
def test_a_key_goes_through_every_method(store: Store, open_store: Stores, key: str) -> None:
    job_id = key[: MAX_ID_BYTES - 2]
    live_through(store, key, job_id, key)
    assert files_outside(open_store.path()) == set()


def test_all_of_them_beside_each_other(store: Store, open_store: Stores) -> None:
    for key in IDS.values():
        store.create_execution(make_execution(key, key), make_event(key[:5]))
        store.checkpoint(key, len(key))
    store.close()
    again = open_store()
    assert [execution.id for execution in again.list_executions()] == sorted(IDS.values())
    for key in IDS.values():
        assert [execution.id for execution in again.get_executions(key)] == [key]
        assert again.get_execution_events(key)[0].message == key[:5]
        assert again.get_checkpoint(key) == len(key)
    pages: list[str] = []
    page = [execution.id for execution in again.list_executions(limit=4)]
    while page:
        pages += page
        page = [execution.id for execution in again.list_executions(limit=4, after=page[-1])]
    assert pages == sorted(IDS.values())
    assert files_outside(open_store.path()) == set()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    execution_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    job_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
)
def test_any_text_is_stored_or_refused_whole(
    store: Store, open_store: Stores, execution_id: str, job_id: str, name: str
) -> None:
    latest = store.event_store.get_latest_event_num()
    # Go knows fewer kinds of space than Python.
    if re.search(rf"[{GO_SPACES}\0]", execution_id) or not job_id.strip(GO_SPACES):
        with pytest.raises(InvalidExecutionError, match=r"^CreateExecution failure: "):
            store.create_execution(make_execution(execution_id, job_id))
        assert store.event_store.get_latest_event_num() == latest
    else:
        live_through(store, execution_id, job_id, name)
        assert {execution_of(event.object) for event in log_entries(store, latest)} == {execution_id}
    assert files_outside(open_store.path()) == set()


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_no_text(store: Store, key: str) -> None:
    with pytest.raises(InvalidExecutionError, match="lone surrogate"):
        store.create_execution(make_execution(key))
    with pytest.raises(InvalidExecutionError, match="lone surrogate"):
        store.create_execution(make_execution("e1", key))
    with pytest.raises(InvalidExecutionError, match="lone surrogate"):
        store.checkpoint(key, 1)
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution(key)
    with pytest.raises(ExecutionsNotFoundForJobError):
        store.get_executions(key)
    assert store.get_checkpoint(key) == 0
