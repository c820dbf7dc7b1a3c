"""The parts that need no server: requests, answers, what a change writes, habits."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.errors import (
    ChangeTooLargeError,
    StoreAccessError,
    StoreCorruptedError,
    StoreFullError,
    UnsupportedFormatError,
)
from execstore.etcd.address import EtcdAddress
from execstore.etcd.change import Known
from execstore.etcd.connection import ChunkDecoder, HttpError, parse_head
from execstore.etcd.failures import EtcdError, Meaning, to_store_error
from execstore.etcd.head import Format, encode_format, encode_head, parse_format
from execstore.etcd.head import parse_head as parse_store_head
from execstore.etcd.keys import Keys, end_of, number_of
from execstore.etcd.snapshot import Habits, Question
from execstore.etcd.watch import StreamLines
from execstore.etcd.wire import MAX_OPERATIONS, KeyValue, WireError, key_values, nest, parse_object, put, responses
from execstore.etcd.writes import Writes

# --- HTTP ---


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_chunks_come_out_whole_however_they_are_cut(chunks: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\nnext"
    decoder = ChunkDecoder()
    found = b""
    while raw:
        length = data.draw(st.integers(1, len(raw)))
        found += decoder.feed(raw[:length])
        raw = raw[length:]
        if decoder.is_over:
            break
    assert decoder.is_over
    assert found == b"".join(chunks)
    assert (decoder.rest + raw) == b"next"


@pytest.mark.parametrize("raw", [b"xyz\r\n", b"-1\r\n", b"\r\n", b"1" * 70000])
def test_chunks_without_a_length_are_refused(raw: bytes) -> None:
    with pytest.raises(HttpError):
        ChunkDecoder().feed(raw)


def test_heads_of_answers() -> None:
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y") == (200, 12, False, True)
    assert parse_head(b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: Chunked\r\nConnection: close") == (
        404,
        None,
        True,
        False,
    )
    for bad in (b"", b"SSH-2.0", b"HTTP/1.1 20", b"HTTP/1.1 abc", b"HTTP/1.1 200 OK\r\nnonsense"):
        with pytest.raises(HttpError):
            parse_head(bad)
    for bad in (b"Content-Length: x", b"Transfer-Encoding: gzip"):
        with pytest.raises(HttpError):
            parse_head(b"HTTP/1.1 200 OK\r\n" + bad)


def test_lines_of_a_stream() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    lines = StreamLines()
    assert lines.feed(head[:20]) == []
    assert lines.feed(head[20:] + b'5\r\n{}\n{"\r\n') == [b"{}"]
    assert lines.feed(b'5\r\na":1}\r\n1\r\n\n\r\n') == [b'{"a":1}']
    with pytest.raises(HttpError, match="over"):
        lines.feed(b"0\r\n\r\n")
    with pytest.raises(HttpError, match="status 403"):
        StreamLines().feed(head.replace(b"200 OK", b"403 No"))


# --- requests and answers ---


def test_keys_and_values_come_out_as_they_went_in() -> None:
    value = bytes(range(256))
    request = json.loads(put(b"k\xff", value, 7))["request_put"]
    assert (b64decode(request["key"]), b64decode(request["value"]), request["lease"]) == (b"k\xff", value, "7")
    found = {"kvs": [{"key": request["key"], "value": request["value"], "create_revision": "3", "mod_revision": "9"}]}
    assert key_values(found) == [KeyValue(b"k\xff", value, 3, 9)]
    assert responses({"responses": [{"response_range": found}, {"response_range": {}}]}) == [
        [KeyValue(b"k\xff", value, 3, 9)],
        [],
    ]


@pytest.mark.parametrize(
    "answer",
    [{"kvs": [{}]}, {"kvs": [{"key": "%", "create_revision": "1", "mod_revision": "1"}]}, {"kvs": ["x"]}, {"kvs": 1}],
)
def test_answers_that_make_no_sense(answer: dict[str, object]) -> None:
    with pytest.raises(WireError):
        key_values(answer)
    with pytest.raises(WireError):
        responses({"responses": [answer]})


def test_no_object_is_no_answer() -> None:
    for data in (b"[]", b"", b"<html>", b"\xff"):
        with pytest.raises(WireError):
            parse_object(data)


@pytest.mark.parametrize("number", [1, 124, 125, 1000, MAX_OPERATIONS])
def test_many_operations_fit_by_transactions_within_one(number: int) -> None:
    operations = [put(b"k%d" % n, b"v") for n in range(number)]
    nested = [json.loads(each) for each in nest(operations)]
    assert len(nested) <= 125
    inner = [each["request_txn"]["success"] if "request_txn" in each else [each] for each in nested]
    # etcd allows as many within as the outer one leaves of 128; that has three or four more.
    assert number <= 124 or max(len(each) for each in inner) <= 128 - (len(nested) + 4)
    assert [each for some in inner for each in some] == [json.loads(each) for each in operations]


# --- what a change writes ---

_KEYS = [b"a", b"a/1", b"a/2", b"a/3", b"b", b"b/1"]
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(_KEYS), st.binary(max_size=3)),
        st.tuples(st.just("remove"), st.sampled_from(_KEYS), st.just(b"")),
        st.tuples(st.just("range"), st.sampled_from([b"a/", b"b/"]), st.just(b"")),
    ),
    max_size=12,
)


def _do(writes: Writes, step: tuple[str, bytes, bytes]) -> None:
    kind, key, value = step
    if kind == "put":
        writes.put(key, value)
    elif kind == "remove":
        writes.remove(key)
    else:
        writes.remove_range(key, end_of(key))


def _apply(operations: list[bytes], content: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What etcd makes of them: all at once, and it refuses any two that have to do with the same key."""
    result = dict(content)
    puts = set()
    for each in map(json.loads, operations):
        if "request_put" in each:
            key = b64decode(each["request_put"]["key"])
            assert key not in puts
            puts.add(key)
            result[key] = b64decode(each["request_put"]["value"])
    for each in map(json.loads, operations):
        if "request_delete_range" in each:
            start = b64decode(each["request_delete_range"]["key"])
            end = b64decode(each["request_delete_range"].get("range_end", "")) or start + b"\0"
            assert not any(start <= key < end for key in puts), "etcd: duplicate key given in txn request"
            result = {key: value for key, value in result.items() if not start <= key < end}
    return result


@given(_steps, st.dictionaries(st.sampled_from(_KEYS), st.just(b"old")), st.integers(0, 12))
def test_writes_come_to_the_same_as_one_after_the_other(
    steps: list[tuple[str, bytes, bytes]], content: dict[bytes, bytes], cut: int
) -> None:
    writes = Writes()
    expected = dict(content)
    for step in steps[:cut]:
        _do(writes, step)
    saved = writes.save()
    for step in steps[cut:]:
        _do(writes, step)
    writes.restore(saved)  # as if what came behind the cut had raised
    for step in steps[:cut]:
        kind, key, value = step
        if kind == "put":
            expected[key] = value
        else:
            end = end_of(key) if kind == "range" else key + b"\0"
            expected = {each: old for each, old in expected.items() if not key <= each < end}
    assert _apply(writes.operations(), content) == expected
    for key in _KEYS:
        seen = writes.puts.get(key) if writes.tells(key) else content.get(key)
        assert seen == expected.get(key)


# --- names, head and FORMAT ---


def test_no_key_of_a_store_is_outside_its_prefix() -> None:
    keys = Keys("/p")
    for hostile in ("../../x", "/x", "", ".", "a/b", "é" * 300, "\0"):
        for key in (keys.record("executions", hostile), keys.marker("index", hostile, hostile)):
            assert key.startswith(b"/p/")
            assert key.count(b"/") == (4 if key.startswith(b"/p/index") else 3)
            assert key.isascii()
            assert key.decode().isprintable()


def test_numbers_of_keys() -> None:
    keys = Keys("/p")
    assert number_of(keys.log_line("events", 12)) == 12
    for bad in (b"/p/events/12", b"/p/events/" + b"x" * 20, b""):
        with pytest.raises(ValueError, match="20 digits"):
            number_of(bad)


def test_head_and_format_come_out_as_they_went_in() -> None:
    form = Format("abc", 4096)
    assert parse_format(encode_format(form), "etcd://h/p") == form
    found = KeyValue(b"", encode_head(3, {"counts": {"New": 1}}), 1, 77)
    assert parse_store_head(found, "etcd://h/p") == (77, 3, {"counts": {"New": 1}})


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_store_of_another_version(version: int) -> None:
    data = json.dumps({"format": "execstore-etcd", "version": version, "anything": 1}).encode()
    with pytest.raises(UnsupportedFormatError, match="newer" if version > 1 else "older"):
        parse_format(data, "etcd://h/p")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format":"execstore","version":1}',
        b'{"format":"execstore-etcd","version":"1"}',
        b'{"format":"execstore-etcd","version":1,"store_id":""}',
        b'{"format":"execstore-etcd","version":1,"store_id":"x"}',
    ],
)
def test_a_format_that_is_none(data: bytes) -> None:
    with pytest.raises(StoreCorruptedError, match="etcd://h/p/FORMAT is damaged"):
        parse_format(data, "etcd://h/p")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"transaction":"1","values":{}}', b'{"transaction":1,"values":[]}']
)
def test_a_head_that_is_none(data: bytes) -> None:
    with pytest.raises(StoreCorruptedError, match="etcd://h/p/head is damaged"):
        parse_store_head(KeyValue(b"", data, 1, 1), "etcd://h/p")


# --- errors ---


@pytest.mark.parametrize(
    ("message", "code", "meaning"),
    [
        ("etcdserver: mvcc: required revision has been compacted", 11, Meaning.COMPACTED),
        ("etcdserver: requested lease not found", 5, Meaning.NO_LEASE),
        ("etcdserver: mvcc: database space exceeded", 8, Meaning.FULL),
        ("etcdserver: request is too large", 3, Meaning.TOO_LARGE),
        ("etcdserver: too many operations in txn request", 3, Meaning.TOO_MANY),
        ("etcdserver: invalid auth token", 16, Meaning.LOG_IN),
        ("etcdserver: revision of auth store is old", 3, Meaning.OTHER),
        ("etcdserver: permission denied", 7, Meaning.DENIED),
        ("etcdserver: authentication failed, invalid user ID or password", 3, Meaning.DENIED),
        ("etcdserver: user name is empty", 3, Meaning.LOG_IN),
        ("etcdserver: authentication is not enabled", 9, Meaning.NO_LOGIN),
        ("etcdserver: request timed out", 14, Meaning.AGAIN),
        ("etcdserver: request timed out, possibly due to previous leader failure", 14, Meaning.AGAIN),
        ("etcdserver: leader changed", 14, Meaning.AGAIN),
        ("etcdserver: no leader", 14, Meaning.AGAIN),
        ("etcdserver: server stopped", 14, Meaning.AGAIN),
        ("etcdserver: too many requests", 8, Meaning.AGAIN),
        ("transport is closing", 14, Meaning.AGAIN),
        ("something new", 14, Meaning.AGAIN),
        ("something new", 2, Meaning.OTHER),
    ],
)
def test_what_an_error_of_etcd_means(message: str, code: int, meaning: Meaning) -> None:
    assert EtcdError(message, code).meaning is meaning


def test_what_the_caller_is_told() -> None:
    address = EtcdAddress.parse("etcd://alice:hush@h/p", {})

    def told(message: str, code: int = 0) -> Exception:
        error = to_store_error(EtcdError(message, code), address, 2_000_000)
        assert "hush" not in str(error)
        assert "etcd://alice@h:2379/p" in str(error)
        return error

    full = told("etcdserver: mvcc: database space exceeded")
    assert isinstance(full, StoreFullError)
    assert "nothing was changed" in str(full)
    assert "etcdctl alarm disarm" in str(full)
    large = told("etcdserver: request is too large")
    assert isinstance(large, ChangeTooLargeError)
    assert (large.size, large.limit, large.unit) == (2_000_000, 1572864, "bytes")
    many = told("etcdserver: too many operations in txn request")
    assert isinstance(many, ChangeTooLargeError)
    assert "--max-txn-ops" in str(many)
    for message, reason in (
        ("etcdserver: permission denied", "grant the user's role readwrite on the prefix /p/"),
        ("etcdserver: authentication failed, invalid user ID or password", "alice or its password is wrong"),
        ("etcdserver: user name is empty", "put user and password into the address"),
        ("etcdserver: something", "3.4 or newer"),
    ):
        denied = told(message)
        assert isinstance(denied, StoreAccessError)
        assert reason in str(denied)


# --- what is remembered ---


def test_known_records_stay_within_their_bytes() -> None:
    known = Known([b"/p/executions/"], most_bytes=3000)
    known.put(b"/p/head", b"x")
    assert b"/p/head" not in known
    for number in range(10):
        known.put(b"/p/executions/%d" % number, b"x" * 1000)
    assert [number for number in range(10) if b"/p/executions/%d" % number in known] == [8, 9]
    known.put(b"/p/executions/9", None)
    assert known.get(b"/p/executions/9") is None
    known.put(b"/p/executions/7", b"y" * 1000)
    assert known.get(b"/p/executions/8") == b"x" * 1000, "what shrank makes room"


def test_habits_are_what_was_asked_last() -> None:
    habits = Habits()
    first, others = Question(b"a", b"b"), [Question(b"%d" % n) for n in range(200)]
    assert habits.followers(first) == []
    habits.expect(first, others[5])
    habits.expect(first, others[5])
    assert habits.followers(first) == [others[5]]
    habits.learn(first, others[:99])
    assert habits.followers(first) == others[:99]
    habits.learn(first, others[:100])
    assert habits.followers(first) == [], "they wouldn't fit into a transaction"
