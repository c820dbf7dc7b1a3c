"""What is taken from a compute node's database, and what is skipped and said so."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from execstore.errors import SourceDamagedError
from execstore.interop.bacalhau import BacalhauDatabase
from execstore.interop.items import CheckpointItem, ExecutionItem, Item, LogEnd, LogItem
from execstore.watcher.lines import parse_ends
from tests.interop.bolt_writer import BoltWriter, bucket_value, inline_bucket_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Values = dict[bytes, Any]


def write(path: Path, buckets: Mapping[str, Any]) -> Path:
    """A database of these buckets; a bucket's values are bytes, or items of an inline bucket."""
    writer = BoltWriter()
    top = []
    for page_id, (name, values) in enumerate(sorted(buckets.items()), 4):
        items = [
            (
                key,
                value if isinstance(value, bytes) else inline_bucket_value(sorted(value.items())),
                not isinstance(value, bytes),
            )
            for key, value in sorted(values.items())
        ]
        writer.leaf(page_id, items)
        top.append((name.encode(), bucket_value(page_id, sequence=9 if name.endswith("events") else 0), True))
    writer.leaf(3, top)
    path.write_bytes(writer.build())
    return path


def execution(execution_id: str = "e-1", **members: Any) -> bytes:
    return json.dumps({"ID": execution_id, "JobID": "j-1", "ComputeState": {"StateType": 6}, **members}).encode()


def number(value: int) -> bytes:
    return struct.pack(">Q", value)


def log_event(seq_num: int, **members: Any) -> bytes:
    event = {"seqNum": seq_num, "operation": "CREATE", "objectType": "ExecutionEvent", "object": None, "timestamp": 5}
    return json.dumps(event | members, separators=(",", ":")).encode()


def read(path: Path) -> tuple[list[Item], list[str], list[str]]:
    with BacalhauDatabase.open(path) as database:
        return list(database.items()), database.skipped, database.notes


@pytest.mark.parametrize("prefix", ["v2_", "v1_", "v3_", ""])
def test_schemas_that_differ_by_prefix(tmp_path: Path, prefix: str) -> None:
    path = write(tmp_path / "db", {f"{prefix}executions": {b"e-1": execution()}})
    items, skipped, notes = read(path)
    assert [item.execution.id for item in items if isinstance(item, ExecutionItem)] == ["e-1"]
    assert (skipped, notes) == ([], [])


def test_newest_schema_is_taken_and_the_other_named(tmp_path: Path) -> None:
    buckets = {"v1_executions": {b"e-old": execution("e-old")}, "v2_executions": {b"e-new": execution("e-new")}}
    items, _, notes = read(write(tmp_path / "db", buckets))
    assert [item.execution.id for item in items if isinstance(item, ExecutionItem)] == ["e-new"]
    assert notes == ["buckets that were not looked at: v1_executions"]


@pytest.mark.parametrize(
    ("buckets", "reason"),
    [
        ({"jobs": {}, "tasks": {}}, "no bucket of executions, but jobs, tasks"),
        ({}, "no bucket at all"),
        ({"v1_executions": {}, "v1_execution_history": {}}, "an older Bacalhau"),
    ],
)
def test_databases_of_something_else(tmp_path: Path, buckets: dict[str, Values], reason: str) -> None:
    with pytest.raises(SourceDamagedError, match=reason):
        read(write(tmp_path / "db", buckets))


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (b'{"ID":', "execution e-1: "),
        (b"[]", "execution e-1: "),
        (execution("e-2"), "execution e-1: invalid execution: ID: it says that it is 'e-2'"),
        (execution(JobID=""), "execution e-1: invalid execution: JobID: must not be empty"),
        (execution(Revision="x"), "execution e-1: invalid execution: Revision"),
        ({b"k": b"v"}, "execution e-1: invalid execution: a bucket stands in its place"),
    ],
)
def test_broken_executions_are_skipped(tmp_path: Path, stored: Any, reason: str) -> None:
    path = write(
        tmp_path / "db", {"v2_executions": {b"e-0": execution("e-0"), b"e-1": stored, b"e-9": execution("e-9")}}
    )
    items, skipped, _ = read(path)
    assert [item.execution.id for item in items if isinstance(item, ExecutionItem)] == ["e-0", "e-9"]
    assert len(skipped) == 1
    assert skipped[0].startswith(reason)


def test_broken_events_are_skipped(tmp_path: Path) -> None:
    good, bad = b'{"Message":"m","Topic":"t"}', b'{"Message":7}'
    events = {b"e-1": {number(1): good, number(2): bad, number(3): b"null"}, b"e-0": {number(1): good}, b"e-2": b"x"}
    buckets = {"v2_executions": {b"e-1": execution(), b"e-2": execution("e-2")}, "v2_execution_events": events}
    items, skipped, _ = read(write(tmp_path / "db", buckets))
    first = items[0]
    assert isinstance(first, ExecutionItem)
    assert first.events == 2
    assert first.event_lines.count(b"\n") == 2
    assert b'"Timestamp":"0001-01-01T00:00:00Z"' in first.event_lines
    assert skipped == [
        "events of e-0: there is no such execution",
        "event 2 of execution e-1: invalid execution: Message: must be a string, not int",
        "events of e-2: a value stands in their place",
    ]


def test_log_begins_behind_what_cannot_be_read(tmp_path: Path) -> None:
    log = {
        number(2) + number(5): log_event(2),
        number(3) + number(5): b"broken",
        number(4) + number(5): log_event(4),
        number(6) + number(5): log_event(6),
        number(7) + number(5): log_event(7, operation="UPDATE"),
    }
    items, skipped, _ = read(write(tmp_path / "db", {"v2_executions": {}, "v2_events": log}))
    assert [item.seq_num for item in items if isinstance(item, LogItem)] == [2, 4, 6, 7]
    assert items[-1] == LogEnd(9)
    assert len(skipped) == 2
    assert skipped[0].startswith("the event log up to number 3: event 3 is not JSON")
    assert skipped[1] == "the event log up to number 5: there is a gap before 6"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (number(1), log_event(1)),
        (number(1) + number(5), log_event(2)),
        (number(1) + number(5), log_event(1, operation="INSERT")),
        (number(1) + number(5), log_event(1, timestamp="x")),
        (number(1) + number(5), {b"k": b"v"}),
    ],
)
def test_broken_log_events(tmp_path: Path, key: bytes, value: Any) -> None:
    items, skipped, _ = read(write(tmp_path / "db", {"v2_executions": {}, "v2_events": {key: value}}))
    assert items == [LogEnd(9)]
    assert len(skipped) == 1


def test_log_lines_keep_the_object_as_it_stands_and_get_a_checksum(tmp_path: Path) -> None:
    compact = b'{"seqNum":1,"operation":"CREATE","objectType":"X","object":{"a":-0,"b":"\\u003c"},"timestamp":5}'
    spaced = b'{ "timestamp": 5, "seqNum": 2, "operation": "CREATE",\n "objectType": "X", "object": { "a": 1 } }'
    log = {number(1) + number(5): compact, number(2) + number(5): spaced}
    items, skipped, _ = read(write(tmp_path / "db", {"v2_executions": {}, "v2_events": log}))
    assert skipped == []
    lines = [item.line for item in items if isinstance(item, LogItem)]
    assert lines[0].startswith(compact[:-1] + b',"crc32":"')
    assert lines[1].startswith(
        b'{"seqNum":2,"operation":"CREATE","objectType":"X","object":{"a":1},"timestamp":5,"crc32":'
    )
    assert [parse_ends(line, number).timestamp for number, line in enumerate(lines, 1)] == [5, 5]


def test_checkpoints(tmp_path: Path) -> None:
    buckets = {
        "v2_executions": {},
        "v2_checkpoints": {b"w": number(2**64 - 1)},
        "v2_sequence_tracking": {b"\xff": number(1), b"short": b"\1", "ü".encode(): number(7), b"in": {b"k": b"v"}},
    }
    items, skipped, _ = read(write(tmp_path / "db", buckets))
    assert items == [CheckpointItem("ü", 7, of_watcher=False), CheckpointItem("w", 2**64 - 1, of_watcher=True)]
    assert sorted(skipped) == [
        "checkpoint 0xff: its name is no UTF-8 text",
        "checkpoint in: its value is no number of 8 bytes",
        "checkpoint short: its value is no number of 8 bytes",
    ]


def test_an_index_that_says_something_else_is_noted(tmp_path: Path) -> None:
    buckets = {
        "v2_executions": {b"e-1": execution()},
        "v2_idx_executions_by_job_id": {b"j-1": {b"e-1": b"", b"e-gone": b""}},
        "v2_idx_executions_by_state": {b"Running": {b"e-1": b""}},
    }
    _, _, notes = read(write(tmp_path / "db", buckets))
    assert len(notes) == 1
    assert notes[0].startswith("its index by job has 2 entries for 1 executions")


def test_minus_zero_survives(tmp_path: Path) -> None:
    params = b'{"ID":"e-1","JobID":"j-1","PublishedResult":{"Type":"","Params":{"z":-0,"big":18446744073709551615}}}'
    items, _, _ = read(write(tmp_path / "db", {"v2_executions": {b"e-1": params}}))
    first = items[0]
    assert isinstance(first, ExecutionItem)
    assert b'"z":-0.0,"big":18446744073709551615' in first.record
