"""The bbolt reader, against a file of the real thing and against files that are wrong on purpose."""

from __future__ import annotations

import fcntl
import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execstore.errors import SourceBusyError, SourceDamagedError
from execstore.interop import bolt
from execstore.interop.bolt import BoltFile, Bucket
from execstore.interop.bolt_pages import fnv1a_64
from tests.interop.bolt_writer import BoltWriter, bucket_value, inline_bucket_value

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


def tree(bucket: Bucket) -> dict[str, Any]:
    """A bucket in the shape in which the expected file has it."""
    items: list[dict[str, Any]] = []
    for key, value in bucket.items():
        if isinstance(value, Bucket):
            items.append({"key_hex": key.hex(), "bucket": tree(value)})
        else:
            items.append({"key_hex": key.hex(), "bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()})
    return {"sequence": bucket.sequence, "items": items}


def read(path: Path) -> dict[str, Any]:
    with BoltFile.open(path) as database:
        return tree(database.root)


def small_database(**options: Any) -> BoltWriter:
    """One branch page over two leaves, an inline bucket, a bucket of its own page, a value that overflows."""
    writer = BoltWriter(**options)
    order = writer.order
    writer.branch(3, [(b"a", 4), (b"m", 5)])
    writer.leaf(4, [(b"a", bucket_value(6, 9, order=order), True), (b"b", b"value of b", False)])
    inline = inline_bucket_value([(b"x", b"1"), (b"y", b"")], 3, order=order)
    writer.leaf(5, [(b"m", inline, True), (b"n", b"\0\xff", False)])
    writer.leaf(6, [(b"big", b"B" * (2 * writer.page_size), False)])
    return writer


SMALL = {
    (b"a",): 9,
    (b"b",): b"value of b",
    (b"m",): 3,
    (b"m", b"x"): b"1",
    (b"m", b"y"): b"",
    (b"n",): b"\0\xff",
}


def flat(path: Path) -> dict[tuple[bytes, ...], bytes | int]:
    with BoltFile.open(path) as database:
        return {key: value if isinstance(value, bytes) else value.sequence for key, value in database.walk()}


def test_real_database_is_read_whole(database: Path, expected: dict[str, Any]) -> None:
    with BoltFile.open(database) as opened:
        read_back = {name.decode(): tree(bucket) for name, bucket in opened.root.items() if isinstance(bucket, Bucket)}
        assert opened.notes == ()
        assert opened.meta.page_size == expected["file"]["page_size"]
    assert read_back == expected["buckets"]


def test_real_database_by_key(database: Path, expected: dict[str, Any]) -> None:
    with BoltFile.open(database) as opened:
        executions = opened.root.bucket(b"v2_executions")
        assert executions is not None
        for execution_id, text in expected["executions_stored_bytes"].items():
            assert executions.get(execution_id.encode()) == text.encode()
        for missing in (b"\0", b"nope", b"zzzz", b"e" * 5000):
            assert executions.get(missing) is None
        assert opened.root.get(b"v2_executions") is None
        assert opened.root.bucket(b"nope") is None


@pytest.mark.parametrize("page_size", [1024, 4096, 16384, 65536])
@pytest.mark.parametrize("order", ["<", ">"])
def test_page_sizes_and_byte_orders(tmp_path: Path, page_size: int, order: str) -> None:
    path = tmp_path / "small.db"
    path.write_bytes(small_database(page_size=page_size, order=order).build())
    assert flat(path) == SMALL | {(b"a", b"big"): b"B" * (2 * page_size)}


@pytest.mark.parametrize("transaction_id", [6, 7])
def test_later_of_two_valid_metas_holds(tmp_path: Path, transaction_id: int) -> None:
    path = tmp_path / "small.db"
    path.write_bytes(small_database(transaction_id=transaction_id).build())
    with BoltFile.open(path) as database:
        assert database.meta.transaction_id == transaction_id


@pytest.mark.parametrize("page_size", [1024, 4096, 16384])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_damaged_meta_is_noted_and_the_other_read(tmp_path: Path, page_size: int, broken: int) -> None:
    data = bytearray(small_database(page_size=page_size).build())
    data[broken * page_size + 16 + 40] ^= 1
    path = tmp_path / "small.db"
    path.write_bytes(data)
    with BoltFile.open(path) as database:
        assert len(list(database.walk())) == 7
        assert len(database.notes) == 1
        assert f"page {broken} is damaged: wrong checksum" in database.notes[0]


def test_empty_buckets_and_empty_database(tmp_path: Path) -> None:
    writer = BoltWriter()
    writer.leaf(3, [(b"empty", bucket_value(4), True), (b"inline", inline_bucket_value([]), True)])
    writer.leaf(4, [])
    path = tmp_path / "empty.db"
    path.write_bytes(writer.build())
    assert flat(path) == {(b"empty",): 0, (b"inline",): 0}
    writer.leaf(3, [])
    path.write_bytes(writer.build())
    assert flat(path) == {}


def patched(offset: int, new: bytes) -> bytes:
    data = bytearray(small_database().build())
    data[offset : offset + len(new)] = new
    return bytes(data)


def both_metas(offset: int, new: bytes, *, sum_right: bool) -> bytes:
    data = bytearray(small_database().build())
    for start in (16, PAGE + 16):
        data[start + offset : start + offset + len(new)] = new
        if sum_right:
            data[start + 56 : start + 64] = struct.pack("<Q", fnv1a_64(bytes(data[start : start + 56])))
    return bytes(data)


def with_pages(change: dict[int, Any]) -> bytes:
    writer = small_database()
    for page_id, content in change.items():
        if content and isinstance(content[0][1], int):
            writer.branch(page_id, content)
        else:
            writer.leaf(page_id, content)
    return writer.build(page_count=12)


VALUE = (b"k", b"v", False)

DAMAGED = {
    "empty": (b"", "", "the file is empty"),
    "foreign": (b"SQLite format 3\0" * 1000, "page 0", "no magic number"),
    "short foreign": (b"hello", "", "it is no bolt database: the file ends in its first page"),
    "only zeros": (bytes(8 * PAGE), "page 0", "no magic number"),
    "cut off": (small_database().build()[: 5 * PAGE + 100], "page 5", "cut off"),
    "cut off after the metas": (small_database().build()[: 2 * PAGE], "page 2", "cut off"),
    "both checksums wrong": (both_metas(40, b"\7", sum_right=False), "page 0", "wrong checksum"),
    "other version": (both_metas(4, b"\3", sum_right=True), "page 0", "version 3"),
    "page size not a power of two": (both_metas(8, b"\1", sum_right=True), "page 0", "4097 bytes can't be"),
    "page size 0": (both_metas(8, bytes(4), sum_right=True), "page 0", "0 bytes can't be"),
    "root page out of range": (both_metas(16, b"\xe7\3", sum_right=True), "page 1", "it refers to page 999"),
    "root page is a meta page": (both_metas(16, b"\1", sum_right=True), "page 1", "it refers to page 1"),
    "root page is the free list": (both_metas(16, b"\2", sum_right=True), "page 2", "no branch or leaf"),
    "another page's number": (patched(4 * PAGE, b"\5"), "page 4", "it says that it is page 5"),
    "another kind": (patched(4 * PAGE + 8, b"\x10"), "page 4", "no branch or leaf"),
    "two kinds": (patched(4 * PAGE + 8, b"\3"), "page 4", "no branch or leaf"),
    "overflow beyond the file": (patched(6 * PAGE + 12, b"\xff"), "page 6", "runs on to page 261"),
    "overflow into a page in use": (patched(4 * PAGE + 12, b"\1"), "page 3", "page 5"),
    "too many elements": (patched(4 * PAGE + 10, b"\xff\xff"), "page 4", "don't fit"),
    "element outside the page": (patched(5 * PAGE + 16 + 16 + 12, b"\0\x10"), "page 5", "ends at byte"),
    "element at the wrong place": (patched(4 * PAGE + 16 + 4, b"\1"), "page 4", "lies at byte"),
    "unknown flags": (patched(4 * PAGE + 16, b"\5"), "page 4", "unknown flags"),
    "child out of range": (with_pages({3: [(b"a", 4), (b"m", 4000)]}), "page 3", "refers to page 4000"),
    "circle of one": (with_pages({3: [(b"a", 4), (b"m", 3)]}), "page 3", "circle"),
    "circle of two": (with_pages({3: [(b"a", 4), (b"m", 9)], 9: [(b"m", 3)]}), "page 9", "circle"),
    "circle through a bucket": (with_pages({6: [(b"in", bucket_value(6), True)]}), "page 6", "circle"),
    "one page twice": (with_pages({3: [(b"a", 4), (b"m", 4)]}), "page 3", "refers already"),
    "keys out of order": (with_pages({5: [(b"n", b"", False), (b"m", b"", False)]}), "page 5", "out of order"),
    "same key twice": (with_pages({5: [(b"n", b"", False), (b"n", b"", False)]}), "page 5", "out of order"),
    "key below its branch": (with_pages({5: [(b"l", b"", False)]}), "page 5", "out of order"),
    "key above its branch": (with_pages({4: [(b"m", b"", False)]}), "page 4", "out of order"),
    "branch keys out of order": (with_pages({3: [(b"m", 5), (b"a", 4)]}), "page 3", "out of order"),
    "empty key": (with_pages({5: [(b"", b"", False)]}), "page 5", "empty key"),
    "empty leaf below a branch": (with_pages({5: []}), "page 5", "empty leaf"),
    "branch without elements": (patched(3 * PAGE + 10, b"\0"), "page 3", "without elements"),
    "short bucket": (with_pages({5: [(b"n", b"short", True)]}), "page 5", "needs 16"),
    "short inline bucket": (with_pages({5: [(b"n", bytes(20), True)]}), "page 5", "too short"),
    "inline bucket that is none": (with_pages({5: [(b"n", bytes(40), True)]}), "page 5", "no leaf page"),
}


@pytest.mark.parametrize(("content", "place", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(tmp_path: Path, content: bytes, place: str, reason: str) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(content)
    with pytest.raises(SourceDamagedError) as caught:
        read(path)
    assert caught.value.place == place
    assert reason in caught.value.reason
    assert caught.value.path == str(path)


def test_bucket_inside_an_inline_bucket(tmp_path: Path) -> None:
    inner = bucket_value(0) + struct.pack("<QHHI", 0, 2, 1, 0) + struct.pack("<IIII", 1, 16, 1, 16) + b"k" + bytes(16)
    path = tmp_path / "damaged.db"
    path.write_bytes(with_pages({5: [(b"n", inner, True)]}))
    with pytest.raises(SourceDamagedError, match="bucket inside an inline bucket"):
        read(path)


def test_buckets_nested_without_end(tmp_path: Path) -> None:
    writer = BoltWriter(page_size=1024)
    for page_id in range(3, 400):
        writer.leaf(page_id, [(b"deeper", bucket_value(page_id + 1), True)])
    path = tmp_path / "deep.db"
    path.write_bytes(writer.build())
    with pytest.raises(SourceDamagedError, match="nested more than 200 deep"), BoltFile.open(path) as database:
        list(database.walk())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_gives_a_result_or_the_one_error(tmp_path: Path, data: st.DataObject) -> None:
    """Pages have no checksum, so a change inside a value can't be seen; anything else must not get through."""
    content = bytearray(small_database(page_size=1024).build())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flipped.db"
    path.write_bytes(content)
    try:
        with BoltFile.open(path) as database:
            everything = list(database.walk())
            assert database.root.get(b"nope") is None
    except SourceDamagedError:
        return
    assert len(everything) <= 7


FLIPS = st.tuples(st.integers(0, 1290), st.integers(0, 300), st.integers(1, 255))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(FLIPS, min_size=1, max_size=3))
def test_real_database_with_flipped_page_heads(
    tmp_path: Path, database_bytes: bytes, flips: list[tuple[int, int, int]]
) -> None:
    content = bytearray(database_bytes)
    for page_id, offset, change in flips:
        content[page_id * PAGE + offset] ^= change
    path = tmp_path / "flipped.db"
    path.write_bytes(content)
    error = None
    try:
        with BoltFile.open(path) as database:
            for _ in database.walk():
                pass
    except SourceDamagedError as damage:
        error = damage
    assert error is None or error.place.startswith("page ")


def test_any_truncation_is_noticed(tmp_path: Path, database_bytes: bytes) -> None:
    path = tmp_path / "cut.db"
    used = 1291 * PAGE
    for length in (1, 79, 80, PAGE, PAGE + 80, 2 * PAGE, 100 * PAGE + 1, used - 1):
        path.write_bytes(database_bytes[:length])
        with pytest.raises(SourceDamagedError):
            read(path)
    path.write_bytes(database_bytes[:used])
    assert len(read(path)["items"]) == 7


def test_lock_of_a_running_node_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "small.db"
    path.write_bytes(small_database().build())
    with path.open("rb+") as node:
        fcntl.flock(node, fcntl.LOCK_EX)
        with pytest.raises(SourceBusyError, match="--force"):
            BoltFile.open(path)
        with BoltFile.open(path, force=True) as database:
            assert len(list(database.walk())) == 7
            assert "running process" in database.notes[0]
    with BoltFile.open(path) as database, path.open("rb+") as node:
        assert database.notes == ()
        with pytest.raises(BlockingIOError):
            fcntl.flock(node, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "small.db"
    content = small_database().build()
    path.write_bytes(content)
    path.chmod(0o400)
    read(path)
    assert path.read_bytes() == content


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(SourceDamagedError, match="isn't a file"):
        BoltFile.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        BoltFile.open(tmp_path / "nope.db")


def test_command_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.db"
    path.write_bytes(small_database().build())
    assert bolt.main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a/  (sequence 9)",
        "  big  8192 bytes",
        "b  10 bytes",
        "m/  (sequence 3)",
        "  x  1 bytes",
        "  y  0 bytes",
        "n  2 bytes",
    ]
    assert bolt.main([str(path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {"bucket": ["a"], "key": "big", "key_hex": "626967", "type": "value", "bytes": 8192}
    assert lines[0] == {"bucket": [], "key": "a", "key_hex": "61", "type": "bucket", "sequence": 9}


def test_command_shows_binary_keys_in_hexadecimal(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bolt.main([str(database)]) == 0
    listing = capsys.readouterr().out
    assert "0x0000000000000001  " in listing
    assert "чек🎉  8 bytes" in listing


def test_command_fails_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.db"
    path.write_bytes(b"")
    assert bolt.main([str(path)]) == 3
    assert bolt.main([str(tmp_path / "nope.db")]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert errors[0] == f"error: {path}: the file is empty"
