"""A store as JSON lines and back, and what is said of a stream that is wrong."""

from __future__ import annotations

import io
import json
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
    UpdateExecutionRequest,
)
from execstore.errors import (
    ExecStoreError,
    ExecutionNotFoundError,
    ExecutionsNotFoundForJobError,
    SourceDamagedError,
    StoreCorruptedError,
)
from execstore.interop.bacalhau import BacalhauDatabase
from execstore.interop.exporting import ExportReport, export_jsonl
from execstore.interop.importing import import_into, import_new
from execstore.interop.jsonl import JsonlReader
from execstore.interop.reading import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StoreFactory


def export(store: Store, selection: Selection | None = None) -> bytes:
    return export_with_report(store, selection)[0]


def export_with_report(store: Store, selection: Selection | None = None) -> tuple[bytes, ExportReport]:
    stream = io.BytesIO()
    report = export_jsonl(store, stream, selection)
    return stream.getvalue(), report


def reader(data: bytes) -> JsonlReader:
    return JsonlReader(io.BytesIO(data), "in.jsonl", len(data))


def parsed(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture
def store(open_store: StoreFactory) -> Store:
    """Two jobs, three executions, one of them awkward; events, a log, checkpoints."""
    store = open_store()
    job = {"Name": "näme <&>\u2028", "Count": 1, "Meta": {"big": 2**64 - 1, "zero": -0.0, "float": 1e300}}
    for number, job_id in enumerate(("j-1", "j-2", "j-1")):
        execution = Execution(f"e {number}/ü" if number == 2 else f"e-{number}", "ns", job_id=job_id, job=job)
        execution = execution.replace(compute_state=State(ExecutionState.NEW), extra={"Later": [1, None]})
        if number == 2:
            execution = execution.replace(id="long-" + "ü" * 400)
        store.create_execution(execution, Event("made", "now", "2026-01-02T03:04:05.123456789+05:30"))
    new_values = Execution(
        compute_state=State(ExecutionState.RUNNING, "go"),
        run_output=RunCommandResult(stdout="out\n", exit_code=-1),
        published_result=SpecConfig("s3", {"n": None}),
    )
    store.update_execution_state(UpdateExecutionRequest("e-1", new_values, events=(Event("ran"), Event("more"))))
    store.checkpoint("requester ü", 2**64 - 1)
    store.event_store.store_checkpoint("logger", 3)
    return store


# --- there and back ---


def test_one_line_an_item_in_order(store: Store) -> None:
    items = parsed(export(store))
    assert items[0] == {"type": "header", "format": "execstore-jsonl", "version": 1}
    kinds = [item["type"] for item in items]
    executions = (
        ["execution", "execution_event"] + ["execution"] + ["execution_event"] * 3 + ["execution", "execution_event"]
    )
    assert kinds == ["header", *executions, *["event"] * 9, "checkpoint", "watcher_checkpoint", "end"]
    ids = [item["execution"]["ID"] for item in items if item["type"] == "execution"]
    assert ids == sorted(ids)
    assert [item["event"]["seqNum"] for item in items if item["type"] == "event"] == list(range(1, 10))
    assert items[-1] == {
        "type": "end",
        "executions": 3,
        "execution_events": 5,
        "events": 9,
        "checkpoints": 2,
        "latest_event_num": 9,
    }


def test_export_import_export_gives_the_same_bytes(store: Store, open_store: StoreFactory) -> None:
    data = export(store)
    report = import_new(reader(data), open_store.path("other"))
    assert (report.executions, report.execution_events, report.log_events) == (3, 5, 9)
    assert (report.skipped, report.notes) == ([], [])
    other = open_store("other")
    assert export(other) == data
    for execution in store.list_executions():
        assert other.get_execution(execution.id) == execution


def test_real_data_there_and_back(database: Path, open_store: StoreFactory) -> None:
    with BacalhauDatabase.open(database) as source:
        import_new(source, open_store.path("first"))
    data = export(open_store("first"))
    import_new(reader(data), open_store.path("second"))
    assert export(open_store("second")) == data


def test_empty_store_there_and_back(open_store: StoreFactory) -> None:
    data = export(open_store())
    assert len(data.splitlines()) == 2
    import_new(reader(data), open_store.path("other"))
    assert export(open_store("other")) == data


def test_export_may_be_read_only_and_lines_may_be_reformatted(store: Store, open_store: StoreFactory) -> None:
    with Store(store.path, read_only=True) as only_read:
        data = export(only_read)
    spaced = b"\n\n".join(json.dumps(item).encode() for item in parsed(data))
    import_new(reader(spaced), open_store.path("other"))
    assert export(open_store("other")) == data


# --- a part of a store ---


@pytest.mark.parametrize(
    ("selection", "ids", "seq_nums"),
    [
        (Selection(job_id="j-2"), ["e-1"], [3, 4, 7, 8, 9]),
        (Selection(state=ExecutionState.RUNNING), ["e-1"], [3, 4, 7, 8, 9]),
        (Selection(state=ExecutionState.NEW, job_id="j-1"), ["e-0", "long-" + "ü" * 400], [1, 2, 5, 6]),
        (Selection(job_id="j-1", since_ns=2**63), [], []),
    ],
)
def test_selections(store: Store, selection: Selection, ids: list[str], seq_nums: list[int]) -> None:
    items = parsed(export(store, selection))
    assert [item["execution"]["ID"] for item in items if item["type"] == "execution"] == ids
    assert [item["event"]["seqNum"] for item in items if item["type"] == "event"] == seq_nums
    assert "selection" in items[0]
    assert not [item for item in items if "checkpoint" in item["type"]]
    assert "latest_event_num" not in items[-1]


def test_a_job_that_is_none_writes_nothing(store: Store) -> None:
    stream = io.BytesIO()
    with pytest.raises(ExecutionsNotFoundForJobError) as caught:
        export_jsonl(store, stream, Selection(job_id="nope"))
    assert (caught.value.job_id, stream.getvalue()) == ("nope", b"")


def test_selection_by_time(store: Store) -> None:
    since = store.get_execution("e-1").modify_time
    items = parsed(export(store, Selection(since_ns=since)))
    assert [item["execution"]["ID"] for item in items if item["type"] == "execution"] == ["e-1"]
    assert [item["event"]["seqNum"] for item in items if item["type"] == "event"] == [7, 8, 9]


def test_part_of_a_store_is_imported_without_its_log(store: Store, open_store: StoreFactory) -> None:
    report = import_new(reader(export(store, Selection(job_id="j-2"))), open_store.path("other"))
    assert (report.executions, report.execution_events, report.log_events) == (1, 3, 0)
    assert report.notes == ['a part of a store: {"job":"j-2"}']
    assert report.skipped == ["5 events of the event log: a part of a log can't be taken over"]
    assert open_store("other").event_store.get_latest_event_num() == 0


# --- damage in the store ---


def test_damaged_execution_is_left_out_and_said_so(store: Store, tmp_path: Path) -> None:
    copy = import_copy(store, tmp_path)
    (copy / "executions" / "e-1.json").write_bytes(b"{")
    with (copy / "execution_events" / "e-0.jsonl").open("ab") as lines:
        lines.write(b"broken\n")
    with Store(copy, read_only=True) as damaged:
        data, report = export_with_report(damaged)
    assert next(item["execution"]["ID"] for item in parsed(data) if item["type"] == "execution") == "e-0"
    assert report.executions == 2
    assert [sentence.partition(":")[0] for sentence in report.skipped] == [
        "event 2 of execution e-0",
        "executions/e-1.json",
    ]


def test_damaged_log_is_not_exported(store: Store, tmp_path: Path) -> None:
    copy = import_copy(store, tmp_path)
    segment = next((copy / "events").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b'"CREATE"', b'"UPDATE"', 1))
    with Store(copy, read_only=True) as damaged, pytest.raises(StoreCorruptedError, match="event 1 is damaged"):
        export(damaged)


def import_copy(store: Store, tmp_path: Path) -> Path:
    import_new(reader(export(store)), tmp_path / "copy")
    return tmp_path / "copy"


# --- streams that are wrong ---

HEADER = b'{"type":"header","format":"execstore-jsonl","version":1}'
END = b'{"type":"end"}'
GOOD = b'{"type":"execution","execution":{"ID":"e-1","JobID":"j"}}'
EVENT = b'{"type":"execution_event","execution_id":"e-1","event":{"Message":"m","Topic":"t"}}'
LOG = b'{"type":"event","event":{"seqNum":%d,"operation":"CREATE","objectType":"X","object":1,"timestamp":5}}'

WRONG = {
    "nothing": ([], 1, "cut off"),
    "no header": ([GOOD, END], 1, "not an export of execstore"),
    "another format": ([b'{"type":"header","format":"x","version":1}'], 1, "not an export of execstore"),
    "a newer version": ([b'{"type":"header","format":"execstore-jsonl","version":2}'], 1, "version 2"),
    "no JSON": ([HEADER, GOOD, b'{"type":'], 3, "column 9"),
    "not UTF-8": ([HEADER, b'{"type":"\xff"}'], 2, "not UTF-8"),
    "NaN": ([HEADER, GOOD.replace(b'"j"', b"NaN")], 2, "NaN is not a number"),
    "a member twice": ([HEADER, GOOD.replace(b'"ID"', b'"JobID":"x","ID"')], 2, "twice"),
    "a list": ([HEADER, b"[]"], 2, "no type"),
    "an unknown type": ([HEADER, b'{"type":"job"}'], 2, "'job', which isn't known"),
    "no execution in it": ([HEADER, b'{"type":"execution","execution":7}'], 2, "execution"),
    "no ID": ([HEADER, b'{"type":"execution","execution":{"JobID":"j"}}'], 2, "ID: must not be empty"),
    "a wrong member": ([HEADER, GOOD.replace(b'"j"', b"7")], 2, "execution.JobID: must be a string"),
    "a wrong state": ([HEADER, GOOD.replace(b'"j"', b'"j","ComputeState":{"StateType":"Nope"}')], 2, "'Nope' is not"),
    "a lone surrogate": ([HEADER, GOOD.replace(b'"j"', b'"\\ud800"')], 2, "surrogate"),
    "an event of another": ([HEADER, GOOD, EVENT.replace(b"e-1", b"e-2")], 3, "doesn't stand behind"),
    "an event alone": ([HEADER, EVENT], 2, "doesn't stand behind"),
    "a wrong event": ([HEADER, GOOD, EVENT, EVENT.replace(b'"m"', b"7")], 4, "Message: must be a string"),
    "no event in it": ([HEADER, GOOD, b'{"type":"execution_event","execution_id":"e-1"}'], 3, "no event"),
    "a log event without number": ([HEADER, LOG.replace(b"%d", b"null")], 2, "without a seqNum"),
    "a log event out of order": ([HEADER, LOG % 4, LOG % 4], 3, "event 4 stands behind event 4"),
    "a gap in the log": ([HEADER, LOG % 4, LOG % 6], 3, "event 6 stands behind event 4"),
    "a log event of no operation": ([HEADER, LOG.replace(b"CREATE", b"X") % 4], 2, "no known operation"),
    "a log event with a wrong sum": ([HEADER, (LOG % 4).replace(b":5}", b':5,"crc32":"00000000"}')], 2, "checksum"),
    "a checkpoint without a name": ([HEADER, b'{"type":"checkpoint","sequence_number":1}'], 2, "without a name"),
    "a negative checkpoint": ([HEADER, b'{"type":"checkpoint","name":"c","sequence_number":-1}'], 2, "sequence_number"),
    "cut off": ([HEADER, GOOD, EVENT], 4, "cut off"),
    "lines missing": ([HEADER, GOOD, b'{"type":"end","executions":2}'], 3, "should be 2 executions, there are 1"),
    "lines behind the end": ([HEADER, GOOD, END, GOOD], 4, "more lines"),
}


@pytest.mark.parametrize(("lines", "number", "reason"), WRONG.values(), ids=WRONG)
def test_mistakes_name_their_line_and_leave_nothing(
    tmp_path: Path, lines: list[bytes], number: int, reason: str
) -> None:
    with pytest.raises(SourceDamagedError) as caught:
        import_new(reader(b"".join(line + b"\n" for line in lines)), tmp_path / "store")
    assert caught.value.place == f"line {number}"
    assert reason in caught.value.reason
    assert list(tmp_path.iterdir()) == []


def test_merge_writes_nothing_of_an_execution_with_a_broken_event(open_store: StoreFactory) -> None:
    store = open_store()
    lines = [HEADER, GOOD, EVENT, GOOD.replace(b"e-1", b"e-2"), EVENT.replace(b"e-1", b"e-2"), b"broken"]
    with pytest.raises(SourceDamagedError, match="line 6"):
        import_into(reader(b"\n".join(lines)), store)
    assert len(store.get_execution_events("e-1")) == 1
    with pytest.raises(ExecutionNotFoundError):
        store.get_execution("e-2")


def test_minimal_stream_by_hand(open_store: StoreFactory) -> None:
    import_new(reader(b"\n".join([HEADER, GOOD, b"", EVENT, LOG % 3, END])), open_store.path())
    store = open_store()
    assert store.get_execution("e-1").job_id == "j"
    assert store.event_store.get_latest_event_num() == 3


def test_every_cut_is_noticed(store: Store, tmp_path: Path) -> None:
    data = export(store)
    for length in range(0, len(data) - 1, 97):
        with pytest.raises(ExecStoreError):
            for _ in reader(data[:length]).items():
                pass
