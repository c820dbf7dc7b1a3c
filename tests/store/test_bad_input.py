"""Bad input: each kind gets an error of its own that says what is wrong, and nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from execstore import (
    Event,
    Execution,
    ExecutionState,
    RunCommandResult,
    SpecConfig,
    State,
    Store,
    UpdateExecutionCondition,
    UpdateExecutionRequest,
)
from execstore.errors import (
    CheckpointNameBlankError,
    ExecStoreError,
    InvalidArgumentError,
    InvalidExecutionError,
    NotAStoreError,
    StoreCorruptedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    UnsupportedFormatError,
)
from tests.support import listing, log_entries, make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import StoreFactory

NEW, RUNNING = ExecutionState.NEW, ExecutionState.RUNNING


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with an execution, ``e1``."""
    store.create_execution(make_execution(), make_event("first"))
    return store


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    return value


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "negative job version": ({"job_version": -1}, "JobVersion"),
    "negative revision": ({"revision": -1}, "Revision"),
    "text for a number": ({"job_version": "1"}, "JobVersion"),
    "float for a number": ({"partition_index": 1.0}, "PartitionIndex"),
    "bool for a number": ({"partition_index": True}, "PartitionIndex"),
    "bytes for text": ({"name": b"bytes"}, "Name"),
    "number for text": ({"node_id": 5}, "NodeID"),
    "lone surrogate": ({"name": "\ud800"}, ""),
    "NaN": ({"job": {"a": float("nan")}}, "Job.a"),
    "infinity": ({"job": {"a": [1, float("inf")]}}, "Job.a[1]"),
    "cycle": ({"job": cycle()}, "Job.a[0]"),
    "too deep": ({"job": deep(1001)}, "Job"),
    "bytes inside": ({"published_result": SpecConfig("s3", {"a": b"x"})}, "PublishedResult.Params.a"),
    "set inside": ({"allocated_resources": {"Tasks": {1, 2}}}, "AllocatedResources.Tasks"),
    "number as a key": ({"extra": {"X": {1: 2}}}, "X"),
    "known member in extra": ({"extra": {"JobID": "x"}}, "JobID"),
    "job that is a list": ({"job": []}, "Job"),
    "state that is text": ({"compute_state": "New"}, "ComputeState"),
    "unknown state name": ({"compute_state": State("Sleeping")}, "ComputeState.StateType"),
    "desired state in its place": ({"desired_state": State(RUNNING)}, "DesiredState.StateType"),
    "message that is bytes": ({"compute_state": State(NEW, b"x")}, "ComputeState.Message"),  # type: ignore[arg-type]
    "details that aren't texts": ({"compute_state": State(NEW, "", {"a": 1})}, "ComputeState.Details"),  # type: ignore[dict-item]
    "output that is text": ({"run_output": "out"}, "RunOutput"),
    "exit code that is text": ({"run_output": RunCommandResult(exit_code="1")}, "RunOutput.ExitCode"),  # type: ignore[arg-type]
    "result that is an object": ({"published_result": {"Type": "s3"}}, "PublishedResult"),
}


@pytest.mark.parametrize(("fields", "member"), FIELDS.values(), ids=FIELDS)
def test_a_value_that_can_not_be_stored(filled: Store, fields: dict[str, Any], member: str) -> None:
    before = listing(filled.path)
    with pytest.raises(InvalidExecutionError) as created:
        filled.create_execution(make_execution("e2").replace(**fields), make_event("e2"))
    with pytest.raises(InvalidExecutionError) as updated:
        filled.update_execution_state(UpdateExecutionRequest("e1", Execution(**fields), events=[make_event("e1")]))
    for caught in (created, updated):
        assert caught.value.member.startswith(member)
        assert "\n" not in str(caught.value)
    assert listing(filled.path) == before


EVENTS: dict[str, tuple[Any, str]] = {
    "text": ("event", ""),
    "dict": ({"Message": "m"}, ""),
    "bytes in it": (Event("t", b"bytes"), "Message"),  # type: ignore[arg-type]
    "details that aren't texts": (Event("t", "m", None, {"a": 1}), "Details.a"),  # type: ignore[dict-item]
    "NaN in it": (Event("t", "m", extra={"a": float("nan")}), "a"),
    "lone surrogate": (Event("t\ud800", "m"), "Topic"),
}


@pytest.mark.parametrize(("event", "member"), EVENTS.values(), ids=EVENTS)
def test_an_event_that_can_not_be_stored(filled: Store, event: Any, member: str) -> None:
    before = listing(filled.path)
    for call in (
        lambda: filled.create_execution(make_execution("e2"), make_event(), event),
        lambda: filled.update_execution_state(make_request("e1", RUNNING, make_event(), event)),
        lambda: filled.add_execution_event("e1", make_event(), event),
    ):
        with pytest.raises(InvalidExecutionError) as caught:
            call()
        assert caught.value.member.endswith(member)
    assert listing(filled.path) == before


CALLS: dict[str, tuple[Callable[[Store], object], type[ExecStoreError], str]] = {
    "an execution that is a dict": (
        lambda store: store.create_execution({"ID": "e2"}),  # type: ignore[arg-type]
        InvalidExecutionError,
        "must be an Execution, not dict",
    ),
    "new values that are a dict": (
        lambda store: store.update_execution_state(UpdateExecutionRequest("e1", {})),  # type: ignore[arg-type]
        InvalidExecutionError,
        "must be an Execution, not dict",
    ),
    "states that are one text": (
        lambda store: store.update_execution_state(
            UpdateExecutionRequest("e1", condition=UpdateExecutionCondition("Running"))  # type: ignore[arg-type]
        ),
        InvalidArgumentError,
        "expected_states",
    ),
    "a negative expected revision": (
        lambda store: store.update_execution_state(make_request("e1", revision=-1)),
        InvalidArgumentError,
        "expected_revision",
    ),
    "clear of an unknown field": (
        lambda store: store.update_execution_state(make_request("e1", clear=("no_such_field",))),
        InvalidExecutionError,
        "can't be cleared",
    ),
    "a blank checkpoint": (
        lambda store: store.checkpoint("", 1),
        CheckpointNameBlankError,
        "checkpoint name cannot be blank",
    ),
    "a checkpoint below zero": (lambda store: store.checkpoint("cp", -1), InvalidArgumentError, "sequence_number"),
    "a checkpoint that is a float": (
        lambda store: store.checkpoint("cp", 1.0),  # type: ignore[arg-type]
        InvalidArgumentError,
        "sequence_number",
    ),
    "a checkpoint that is a bool": (
        lambda store: store.checkpoint("cp", True),
        InvalidArgumentError,
        "sequence_number",
    ),
    "a checkpoint's name that is bytes": (
        lambda store: store.checkpoint(b"cp", 1),  # type: ignore[arg-type]
        InvalidArgumentError,
        "name",
    ),
    "a checkpoint's name of over 32768 bytes": (
        lambda store: store.checkpoint("x" * 32769, 1),
        InvalidExecutionError,
        "32769 bytes",
    ),
    "the count of an unknown state": (
        lambda store: store.get_execution_count("Sleeping"),  # type: ignore[arg-type]
        InvalidExecutionError,
        "'Sleeping' is not a state; it must be one of Undefined, New",
    ),
    "the list of an unknown state": (
        lambda store: store.list_executions(state="Sleeping"),  # type: ignore[arg-type]
        InvalidExecutionError,
        "is not a state",
    ),
    "a negative limit": (lambda store: store.list_executions(limit=-1), InvalidArgumentError, "limit"),
}


@pytest.mark.parametrize(("call", "kind", "text"), CALLS.values(), ids=CALLS)
def test_a_call_that_makes_no_sense(
    filled: Store, call: Callable[[Store], object], kind: type[ExecStoreError], text: str
) -> None:
    before = listing(filled.path)
    with pytest.raises(kind) as caught:
        call(filled)
    assert text in str(caught.value)
    assert listing(filled.path) == before


KEYS: dict[str, Callable[[Store, Any], object]] = {
    "get_execution": lambda store, key: store.get_execution(key),
    "get_executions": lambda store, key: store.get_executions(key),
    "get_execution_events": lambda store, key: store.get_execution_events(key),
    "delete_execution": lambda store, key: store.delete_execution(key),
    "add_execution_event": lambda store, key: store.add_execution_event(key, make_event()),
    "update_execution_state": lambda store, key: store.update_execution_state(make_request(key, RUNNING)),
    "list_executions by job": lambda store, key: list(store.list_executions(job_id=key)),
    "list_executions after": lambda store, key: list(store.list_executions(after=key)),
}


@pytest.mark.parametrize("key", [b"e1", 5, ["e1"]], ids=repr)
@pytest.mark.parametrize("call", KEYS.values(), ids=KEYS)
def test_a_key_that_is_no_text(filled: Store, call: Callable[[Store, Any], object], key: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"must be text|is a str"):
        call(filled, key)


# --- size -----------------------------------------------------------------------------------------------------------


def test_a_document_over_16_mib_is_refused(filled: Store) -> None:
    before = listing(filled.path)
    with pytest.raises(InvalidExecutionError, match="16777216"):
        filled.create_execution(make_execution("e2", name="x" * (16 << 20)))
    with pytest.raises(InvalidExecutionError, match="max_document_bytes"):
        filled.update_execution_state(make_request("e1", name="x" * (16 << 20)))
    assert listing(filled.path) == before


def test_an_event_over_16_mib_is_refused(filled: Store) -> None:
    before = listing(filled.path)
    with pytest.raises(InvalidExecutionError, match="16777216"):
        filled.add_execution_event("e1", make_event("x" * (16 << 20)))
    assert listing(filled.path) == before


def test_the_limit_can_be_set(open_store: StoreFactory) -> None:
    store = open_store(max_document_bytes=2000)
    store.create_execution(make_execution(name="x" * 1000))
    with pytest.raises(InvalidExecutionError, match="more than the 2000"):
        store.create_execution(make_execution("e2", name="x" * 2000))
    with pytest.raises(InvalidExecutionError, match="more than the 2000"):
        store.update_execution_state(make_request("e1", run_output=RunCommandResult("x" * 1000)))
    large = open_store(max_document_bytes=32 << 20)
    assert large.create_execution(make_execution("e2", name="x" * (17 << 20))).revision == 1
    assert len(store.get_execution("e2").name) == 17 << 20, "what is there can be read"
    assert len(log_entries(store)) == 2


def test_a_refused_update_leaves_its_transaction_empty(filled: Store) -> None:
    before = listing(filled.path)
    with filled.begin_tx() as transaction:
        with pytest.raises(InvalidExecutionError, match="16777216"):
            transaction.create_execution(make_execution("e2", name="x" * (16 << 20)))
        with pytest.raises(InvalidExecutionError, match="16777216"):
            transaction.update_execution_state(make_request("e1", name="x" * (16 << 20)))
    assert listing(filled.path) == before


# --- places ---------------------------------------------------------------------------------------------------------


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    before = listing(tmp_path)
    for path, read_only in ((tmp_path / "file", True), (tmp_path / "file", False), (tmp_path / "file" / "a", False)):
        with pytest.raises(NotAStoreError) as caught:
            Store(path, read_only=read_only)
        assert caught.value.path == str(path)
    with pytest.raises(StoreNotFoundError):
        Store(tmp_path / "file" / "a", read_only=True)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "names", [["notes.txt"], [".git/config"], ["executions/e1.json", "README"]], ids=lambda names: names[0]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_with_other_things_in_it_is_left_untouched(tmp_path: Path, names: list[str], read_only: bool) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(NotAStoreError, match="other things in it"):
        Store(tmp_path, read_only=read_only)
    assert listing(tmp_path) == before


def test_an_empty_folder_becomes_a_store(tmp_path: Path, open_store: StoreFactory) -> None:
    open_store.path().mkdir()
    assert open_store(small=False).create_execution(make_execution()).revision == 1


@pytest.mark.parametrize("make_folder", [False, True])
def test_read_only_where_there_is_no_store(tmp_path: Path, make_folder: bool) -> None:
    path = tmp_path / "none"
    if make_folder:
        path.mkdir()
    before = listing(tmp_path)
    with pytest.raises(StoreNotFoundError) as caught:
        Store(path, read_only=True)
    assert caught.value.path == str(path)
    assert listing(tmp_path) == before


def rewrite_format(path: Path, **members: object) -> bytes:
    """Change members of a store's FORMAT; returns what it was."""
    file = path / "FORMAT"
    was = file.read_bytes()
    file.write_text(json.dumps({**json.loads(was), **members}))
    return was


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("version", "text"),
    [(2, "is newer (format 2) than this program (format 1); install a newer"), (0, "is older (format 0)")],
)
def test_a_store_of_another_version(
    filled: Store, open_store: StoreFactory, version: int, text: str, read_only: bool
) -> None:
    filled.close()
    was = rewrite_format(open_store.path(), version=version, journal_bytes="unknown")
    before = listing(open_store.path())
    with pytest.raises(UnsupportedFormatError) as caught:
        open_store(read_only=read_only)
    assert text in str(caught.value)
    assert (caught.value.found, caught.value.supported) == (version, 1)
    assert listing(open_store.path()) == before
    (open_store.path() / "FORMAT").write_bytes(was)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format":"other","version":1}', b'{"format":"execstore"}', b"\xff\xfe", b"x" * 100_000],
    ids=["empty", "cut", "list", "other", "no version", "no text", "long"],
)
def test_a_damaged_format(filled: Store, open_store: StoreFactory, content: bytes, read_only: bool) -> None:
    filled.close()
    file = open_store.path() / "FORMAT"
    was = file.read_bytes()
    file.write_bytes(content)
    before = listing(open_store.path())
    with pytest.raises(StoreCorruptedError, match="FORMAT"):
        open_store(read_only=read_only)
    assert listing(open_store.path()) == before
    file.write_bytes(was)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", ["FORMAT", "head", "journal.0", "journal.1", "lock", "lock.flush", "lock.handles"])
@pytest.mark.parametrize("how", ["missing", "link", "folder"])
def test_an_engine_file_that_is_not_what_it_was(
    filled: Store, open_store: StoreFactory, tmp_path: Path, name: str, how: str, read_only: bool
) -> None:
    filled.close()
    file = open_store.path() / name
    file.rename(tmp_path / "kept")
    if how == "link":
        file.symlink_to(tmp_path / "kept")
    elif how == "folder":
        file.mkdir()
    before = listing(tmp_path)
    with pytest.raises(StoreCorruptedError, match=name):
        open_store(read_only=read_only)
    assert listing(tmp_path) == before
    if how == "link":
        file.unlink()
    elif how == "folder":
        file.rmdir()
    (tmp_path / "kept").rename(file)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "durability": ({"durability": "some"}, "durability"),
    "negative timeout": ({"lock_timeout": -1}, "lock_timeout"),
    "NaN as a timeout": ({"lock_timeout": float("nan")}, "lock_timeout"),
    "endless timeout": ({"lock_timeout": float("inf")}, "lock_timeout"),
    "timeout that is text": ({"lock_timeout": "1"}, "lock_timeout"),
    "clock that is a number": ({"clock": 5}, "clock"),
    "no clock": ({"clock": None}, "clock"),
    "negative long poll": ({"long_poll_timeout": -0.1}, "long_poll_timeout"),
    "retention in seconds": ({"event_retention": 5}, "event_retention"),
    "negative retention": ({"event_retention": timedelta(-1)}, "event_retention"),
    "no document fits": ({"max_document_bytes": 0}, "max_document_bytes"),
}


@pytest.mark.parametrize(("options", "argument"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_makes_no_sense(tmp_path: Path, options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Store(tmp_path / "store", **options)
    assert caught.value.argument == argument
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["", b"bytes", "with\0nul"], ids=repr)
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="path"):
        Store(path)


def test_a_clock_that_gives_no_number(open_store: StoreFactory) -> None:
    store = open_store(clock=lambda: "now")
    with pytest.raises((InvalidArgumentError, TypeError)):
        store.create_execution(make_execution())
    assert store.counts()[NEW] == 0


def test_a_clock_that_fails_leaves_nothing_behind(open_store: StoreFactory) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    store = open_store(clock=fail)
    before = listing(store.path)
    with pytest.raises(ZeroDivisionError):
        store.create_execution(make_execution())
    assert listing(store.path) == before
    assert open_store(lock_timeout=0).create_execution(make_execution()).revision == 1, "the lock is free"


def test_writing_to_a_read_only_store(filled: Store, open_store: StoreFactory) -> None:
    reader = open_store(read_only=True)
    before = listing(reader.path)
    for call in (
        lambda: reader.create_execution(make_execution("e2")),
        lambda: reader.update_execution_state(make_request("e1", RUNNING)),
        lambda: reader.delete_execution("e1"),
        lambda: reader.add_execution_event("e1", make_event()),
        lambda: reader.checkpoint("cp", 1),
        reader.begin_tx,
        reader.repair,
        lambda: reader.event_store.store_checkpoint("w", 1),
    ):
        with pytest.raises(StoreReadOnlyError, match="it was opened read-only"):
            call()
    assert listing(reader.path) == before


class _SaysSomethingElse(Mapping[str, str]):
    """What JSON writers ask is not what it holds."""

    def __getitem__(self, name: str) -> str:
        return {"k": "1"}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["k"])

    def __len__(self) -> int:
        return 1

    def __json__(self) -> str:
        return '{"k":2}'


def test_a_mapping_is_stored_as_what_was_checked(store: Store) -> None:
    store.create_execution(make_execution("e").replace(extra={"m": _SaysSomethingElse()}))
    new_values = Execution(
        extra={"n": [_SaysSomethingElse()]}, compute_state=State(ExecutionState.UNDEFINED, details=_SaysSomethingElse())
    )
    store.update_execution_state(UpdateExecutionRequest("e", new_values))
    store.add_execution_event("e", Event("t", "m", details=_SaysSomethingElse()))
    execution = store.get_execution("e")
    assert execution.extra == {"m": {"k": "1"}, "n": [{"k": "1"}]}
    assert execution.compute_state.details == {"k": "1"}
    assert store.get_execution_events("e")[-1].details == {"k": "1"}
