"""What is fuzzed: each parser, with what it may raise, what it is begun with, and what must hold of all that it takes.

A parser behind a checksum has two targets. The plain one gets the bytes as they are, and holds the checksum to its
word. The one called ``…_sealed`` gets what the checksum covers and seals it first, as a hostile writer could, so that
what lies behind is reached at all.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import os
import re
import struct
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from execstore import Store, codec, records
from execstore.codec import CodecError
from execstore.demo.jobs import Command, JobFileError, Refusal, command_of, packaged_job_folder, parse_job
from execstore.errors import (
    DeserializationError,
    ExecStoreError,
    InvalidArgumentError,
    InvalidExecutionError,
    SourceDamagedError,
    StoreCorruptedError,
    StoreFullError,
    UnsupportedFormatError,
)
from execstore.etcd import head as etcd_head
from execstore.etcd.address import EtcdAddress
from execstore.etcd.connection import ChunkDecoder, HttpError
from execstore.etcd.connection import parse_head as parse_http_head
from execstore.etcd.wire import KeyValue, WireError, key_values, put, responses
from execstore.etcd.wire import parse_object as parse_answer
from execstore.integrity.archive import (
    MANIFEST_NAME,
    SUMS_NAME,
    encode_manifest,
    encode_sum,
    parse_manifest,
    parse_place,
    parse_sums,
)
from execstore.integrity.tar import TarWriter
from execstore.interop import jsonl
from execstore.interop.bolt import BoltFile, Bucket
from execstore.interop.bolt_pages import fnv1a_64
from execstore.interop.items import CheckpointItem, ExecutionItem, LogItem
from execstore.schema import LAYOUT
from execstore.timestamps import Timestamp
from execstore.tree.format_file import Format, encode_format, parse_format
from execstore.tree.head import Head, encode_head, parse_head
from execstore.tree.journal import JournalFiles, encode_record, parse_record, seed
from execstore.tree.paths import NAME_LIMIT, decode_name, encode_name, is_safe_path
from execstore.tree.steps import (
    Append,
    Mark,
    Move,
    Put,
    Remove,
    RemoveFolder,
    Step,
    describe_steps,
    parse_steps,
    payload,
)
from execstore.tree.tree import Tree
from execstore.watcher.events import Operation
from execstore.watcher.lines import encode_line, parse_ends, parse_number, parse_object
from tests.interop.bolt_writer import BoltWriter, bucket_value, inline_bucket_value
from tests.support import docker_execution, full_execution, make_event, make_execution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from execstore.tree.filesystem import FileSystem

__all__ = ["FINDINGS", "TARGETS", "TOKENS", "Target", "run_target"]

FINDINGS: Final = Path(__file__).parent / "findings"
"""Inputs that once broke a promise, ``TARGET-what.bin``; they are tried again in every run of the tests."""

_SEED = seed("5f1e3c6a90b7d248")
# In memory where that can be had: what is flushed here is of no worth.
_SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None
_BOLT_PAGE = 1024
_ENDS_IN_CHECKSUM = re.compile(rb'(.*),"crc32":"([0-9a-f]{8})"\}', re.DOTALL)
_SECTION = b"\n--8<--\n"


TOKENS: Final = (
    *(b"\0", b"\n", b"\r\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"/", b"..", b"%", b"%2F", b"\xff"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"1e999",
        b"-1",
        b"0",
        b"1.5",
        b'"\\ud800"',
        b"\\u0000",
        b"\\ud800",
        b"[]",
        b"{}",
        b'""',
    ),
    *(b"9223372036854775808", b"99999999999999999999999", b"\xed\xa0\x80", b"[" * 2000, b"9" * 5000),
)
"""What a parser may stumble over, wherever it stands."""


class Target(NamedTuple):
    """``check`` parses its argument and asserts; what it raises must be of ``refusals``. ``seeds`` are good inputs."""

    check: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]


def run_target(target: Target, data: bytes) -> bool:
    """Try one input; whether it was taken. Raises ``AssertionError``, or whatever the parser mustn't raise."""
    try:
        target.check(data)
    except target.refusals:
        return False
    return True


def _flipped(data: bytes) -> Iterator[bytes]:
    """The same with one bit changed, a few times; which ones is up to the data."""
    for salt in range(8):
        bit = zlib.crc32(data, salt) % (8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@contextlib.contextmanager
def _promised() -> Iterator[None]:
    """No refusal counts any more: what stands here is done with what a parser took."""
    try:
        yield
    except (ExecStoreError, ValueError) as error:
        raise AssertionError(f"something was taken that doesn't hold: {error!r}") from error


def _same(value: Any) -> bytes | None:
    """The value's JSON, which must read the same again; ``None`` for NaN and half characters, which aren't written."""
    try:
        data = codec.encode(value)
    except InvalidExecutionError:
        return None
    with _promised():
        assert codec.decode(data) == value
        assert codec.encode_trusted(value) == data
    return data


# --- the codec ------------------------------------------------------------------------------------------------------


def _check_decode(data: bytes) -> None:
    _same(codec.decode(data))


def _check_decode_strict(data: bytes) -> None:
    value = codec.decode_strict(data)
    encoded = _same(value)
    with _promised():
        if encoded is not None:
            assert codec.decode_strict(encoded) == value
            assert codec.decode(data.removeprefix(b"\xef\xbb\xbf")) == value


def _json_seeds() -> list[bytes]:
    return [
        codec.encode({"a": [1, -2, 3.5, 1e300, True, False, None], "é\n": {"": '\U0001f600\\"'}}),
        b'{"a":1,"a":2}',
        b' [ 1e5 , 0.1 , -0 , 123456789012345678901234567890 , "\\ud83d\\ude00" ] ',
        b"\xef\xbb\xbf[NaN, Infinity, 1e999]",
        b"[" * 50 + b"]" * 50,
        b'"\\ud800"',
    ]


# --- the tree -------------------------------------------------------------------------------------------------------


_STEPS: tuple[Step, ...] = (
    Put("a/x", b'{\n"a":1\n}\n'),
    Put("a/y", b"{}\n", is_new=True),
    Append("b/y", 7, b"1\n"),
    Mark("i/g/x", "../../a/x.json"),
    Move("i/g/x", "i/h/x", "../../a/x.json"),
    Remove("a/z"),
    RemoveFolder("i/g"),
)


def _record(number: int = 7, previous: int = 5) -> tuple[bytes, int]:
    return encode_record(number, 3, previous, _STEPS, {"counts": {"New": number}}, _SEED)


def _check_record(data: bytes) -> None:
    record = parse_record(data, 0, _SEED)
    if record is None:
        return
    with _promised():
        header, _, rest = data.partition(b"\n")
        prefix, _, stated = header.rpartition(b" crc32 ")
        body = rest[: record.end - len(header) - 1]
        assert zlib.crc32(prefix + body, _SEED) == int(stated, 16) == record.checksum
        assert all(parse_record(changed, 0, _SEED) is None for changed in _flipped(data[: record.end]))
        assert parse_record(data[: record.end - 1], 0, _SEED) is None
        assert isinstance(record.values, dict)
        for step in record.steps:
            _check_step(step)
        if _same(describe_steps(record.steps)) is None or _same(record.values) is None:
            return
        again, checksum = encode_record(
            record.transaction, record.epoch, record.previous, record.steps, record.values, _SEED
        )
        assert parse_record(again, 0, _SEED) == record._replace(checksum=checksum, end=len(again))


def _check_step(step: Step) -> None:
    assert is_safe_path(step.path)
    os.fsencode(step.path)
    if isinstance(step, Append):
        assert 0 <= step.offset + len(step.data) < 1 << 63
    if isinstance(step, Move):
        assert is_safe_path(step.source)
    if isinstance(step, (Mark, Move)):
        assert "\0" not in step.target


def _check_record_sealed(body: bytes) -> None:
    prefix = b"@transaction 7 epoch 3 after 00000005 bytes %d" % len(body)
    _check_record(b"%b crc32 %08x\n%b" % (prefix, zlib.crc32(prefix + body, _SEED), body))


class _OneFile:
    """As much of a file system as the journal needs to read these bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        return 0

    def close(self, descriptor: int) -> None:
        pass

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        return self._data[offset : offset + length]

    def length(self, descriptor: int) -> int:
        return len(self._data)


def _check_chain(data: bytes) -> None:
    files = JournalFiles(cast("FileSystem", _OneFile(data)), _SEED, write=False)
    start, before = 0, None
    for record in files.chain(0):
        assert before is None or before.is_followed_by(record)
        assert files.read_at(0, start) == record
        assert start < record.end <= len(data)
        _check_record(data[start : record.end])
        start, before = record.end, record


def _chain() -> bytes:
    chain, previous = b"", 0
    for number in range(1, 5):
        record, previous = _record(number, previous)
        chain += record
    return chain


def _check_steps(data: bytes) -> None:
    line, _, content = data.partition(b"\n")
    described = codec.decode(line)
    if not isinstance(described, list):
        return
    steps = parse_steps(described, content)
    with _promised():
        for step in steps:
            _check_step(step)
        assert parse_steps(describe_steps(steps), payload(steps)) == steps


_HEADS = (
    Head(8, 7, 1, 3, 4096, 0xDEADBEEF, clean=False, values={"counts": {"New": 1}, "é": [1, None]}),
    Head(0, 0, 0, 1, 0, 0, clean=True, values={}),
)


def _check_head(data: bytes) -> None:
    head = parse_head(data)
    if head is None:
        return
    first_line, _, rest = data.partition(b"\n")
    prefix, _, stated = first_line.rpartition(b" crc32 ")
    length = int(prefix.rpartition(b" ")[2])
    assert zlib.crc32(prefix + rest[:length]) == int(stated, 16)
    assert all(parse_head(changed) is None for changed in _flipped(data[: len(first_line) + 1 + length]))
    numbers = (head.begun, head.published, head.epoch, head.offset)
    assert all(type(number) is int and number >= 0 for number in numbers)
    assert type(head.journal) is int
    assert head.journal in {0, 1}
    assert 0 <= head.checksum < 1 << 32
    assert type(head.clean) is bool
    assert isinstance(head.values, dict)
    if _same(head.values) is not None:
        assert parse_head(encode_head(head)) == head


def _check_head_sealed(body: bytes) -> None:
    prefix = b"begun %020d published %020d bytes %08d" % (8, 8, len(body))
    _check_head(b"%b crc32 %08x\n%b" % (prefix, zlib.crc32(prefix + body), body))


def _check_format(data: bytes) -> None:
    form = parse_format(data, "FORMAT")
    with _promised():
        seed(form.store_id)  # what every opening does next
        assert parse_format(encode_format(form), "FORMAT") == form


def _check_name(data: bytes) -> None:
    name = os.fsdecode(data)  # what a listing gives
    key = decode_name(name)
    with _promised():
        if key is not None:
            assert encode_name(key) == name
            assert is_safe_path(f"a/{name}")


def _check_key(data: bytes) -> None:
    key = data.decode("utf-8", "surrogatepass")
    with _promised():
        name = encode_name(key)
        assert name.isascii()
        assert 0 < len(name) <= NAME_LIMIT
        assert is_safe_path(f"a/{name}")
        if not any("\ud800" <= character <= "\udfff" for character in key):
            assert decode_name(name) in {key, None}


# --- the event log --------------------------------------------------------------------------------------------------


def _check_line(line: bytes) -> None:
    number = parse_number(line) or 7
    ends = parse_ends(line, number)
    assert ends.seq_num == number
    covered = _ENDS_IN_CHECKSUM.fullmatch(line)
    if covered is not None:
        assert zlib.crc32(covered[1]) == int(covered[2], 16)
    value = parse_object(line, number)
    encoded = _same(value)
    if encoded is None or _same(ends.object_type) is None:
        return
    with _promised():
        again = encode_line(number, ends.operation, ends.object_type, encoded, ends.timestamp)
        assert parse_ends(again, number) == ends
        assert parse_object(again, number) == value
    # A bit may flip in the name of the checksum itself; what the line says is the same then.
    for changed in _flipped(again):
        with contextlib.suppress(DeserializationError):
            assert parse_ends(changed, number) == ends
            assert parse_object(changed, number) == value


def _check_line_sealed(line: bytes) -> None:
    _check_line(b'%b,"crc32":"%08x"}' % (line, zlib.crc32(line)))


def _lines() -> list[bytes]:
    value = codec.encode({"Current": docker_execution().to_dict(), "Previous": None, "Events": None})
    return [
        encode_line(7, Operation.CREATE, "ExecutionUpsert", b'{"a":[1,"x"]}', 1795489652174612621),
        encode_line(1, Operation.UPDATE, 'é"', b"null", -1),
        encode_line(7, Operation.CREATE, "ExecutionUpsert", value, 1),
        b'{"object":1,"seqNum":7,"operation":"DELETE","objectType":"T","timestamp":5}',
    ]


# --- executions -----------------------------------------------------------------------------------------------------


def _check_execution(data: bytes) -> None:
    execution = records.parse_execution(data)
    record = records.encode_execution(execution, trusted=True)
    with _promised():
        assert records.encode_execution(execution) == record
        again = records.parse_execution(record)
        assert again.to_dict() == codec.decode(codec.encode(execution.to_dict()))
        assert records.encode_execution(again) == record
        assert records.parse_execution(records.compact(record)) == again


def _check_event(data: bytes) -> None:
    event = records.parse_event(data)
    line = records.encode_event(event)
    assert b"\n" not in line
    with _promised():
        assert records.encode_event(records.parse_event(line)) == line


def _check_checkpoint(data: bytes) -> None:
    name, number = records.parse_checkpoint(data)
    assert number >= 0
    assert records.parse_checkpoint(records.encode_checkpoint(name, number)) == (name, number)


def _check_timestamp(data: bytes) -> None:
    time = Timestamp.parse(data.decode("utf-8", "surrogatepass"))
    with _promised():
        assert Timestamp.parse(time.to_text()) == time


def _execution_seeds() -> list[bytes]:
    executions = (docker_execution(), full_execution(), make_execution(extra={"New": {"a": 1}}))
    numbered = codec.encode(full_execution().to_dict(numbers=True))
    return [*map(records.encode_execution, executions), numbered]


# --- what comes from outside ----------------------------------------------------------------------------------------


def _check_job(data: bytes) -> None:
    document = codec.decode_strict(data)
    job = parse_job(document, "job.json")
    with _promised():
        assert parse_job(codec.decode_strict(data), "job.json") == job
        assert isinstance(command_of(job), Command | Refusal)
        _same(job.document)


def _job_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(packaged_job_folder()).glob("*.json"))]


def _check_jsonl(data: bytes) -> None:
    for item in jsonl.JsonlReader(io.BytesIO(data), "the stream", len(data)).items():
        if isinstance(item, ExecutionItem):
            with _promised():
                assert records.parse_execution(item.record).id == item.execution.id
                lines = item.event_lines.split(b"\n")[:-1]
                assert len(lines) == item.events
                for line in lines:
                    records.parse_event(line)
        elif isinstance(item, LogItem):
            assert b"\n" not in item.line
            # What an import puts into the log must be readable there.
            with _promised():
                parse_ends(item.line, item.seq_num)
                parse_object(item.line, item.seq_num)
        elif isinstance(item, CheckpointItem):
            with _promised():
                records.encode_checkpoint(item.name, item.sequence_number)


def _jsonl_seeds() -> list[bytes]:
    log = [encode_line(number, Operation.CREATE, "ExecutionUpsert", b'{"Current":null}', number) for number in (1, 2)]
    foreign = b'{"object":{},"seqNum":3,"operation":"DELETE","objectType":"T","timestamp":5}'
    stream = b"".join(
        (
            jsonl.header_line(),
            jsonl.execution_line(make_execution()),
            jsonl.execution_event_line(b'"e1"', records.encode_event(make_event())),
            *map(jsonl.event_line, [*log, foreign]),
            jsonl.checkpoint_line("cp", 2, of_watcher=False),
            jsonl.checkpoint_line("w", 2, of_watcher=True),
            jsonl.end_line(executions=1, execution_events=1, events=3, checkpoints=2, latest_event_num=3),
        )
    )
    part = jsonl.header_line({"job": "job1"}) + jsonl.execution_line(make_execution()) + b'{"type":"end"}\n'
    return [stream, part]


def _check_bolt(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        path = os.path.join(folder, "x.db")
        Path(path).write_bytes(data)
        with BoltFile.open(path) as database:
            # Every element takes 16 bytes, and none is reached twice.
            for found, (names, value) in enumerate(database.walk(), start=1):
                assert found <= len(data) // 16
                assert isinstance(value, bytes | Bucket)
                assert len(b"".join(names)) <= 200 * len(data)


def _check_bolt_sealed(data: bytes) -> None:
    pages = bytearray(data)
    for start in (0, _BOLT_PAGE):
        meta = pages[start + 16 : start + 72]
        if len(pages) >= start + 80:
            struct.pack_into("<Q", pages, start + 72, fnv1a_64(bytes(meta)))
    _check_bolt(bytes(pages))


def _bolt_seeds() -> list[bytes]:
    writer = BoltWriter(page_size=_BOLT_PAGE)
    writer.branch(3, [(b"a", 4), (b"m", 5)])
    writer.leaf(4, [(b"a", bucket_value(6, 9), True), (b"b", b"value of b", False)])
    inline = inline_bucket_value([(b"x", b"1"), (b"y", b"")], 3)
    writer.leaf(5, [(b"m", inline, True), (b"n", b"\0\xff", False)])
    writer.leaf(6, [(b"big", b"B" * 1200, False)])
    return [writer.build()]


def _check_manifest(data: bytes) -> None:
    manifest = parse_manifest(data, "x.tar")
    with _promised():
        assert parse_manifest(encode_manifest(manifest), "x.tar") == manifest


def _check_sums(data: bytes) -> None:
    sums = parse_sums(data)
    if sums is not None and "".join(sums).isascii():
        assert parse_sums(b"".join(encode_sum(*item) for item in sums.items())) == sums


def _check_place(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    place = parse_place(name)
    if not isinstance(place, str):
        assert is_safe_path(name)
        assert place.folder == name.partition("/")[0]


def _check_restore(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        target = os.path.join(folder, "store")
        try:
            report = Store.restore(io.BytesIO(data), target, max_bytes=1 << 20)
        except BaseException:
            assert os.listdir(folder) == []
            raise
        assert os.listdir(folder) == ["store"]
        with _promised(), Store(target, read_only=True) as store:
            problems = store.verify().problems
            assert [(p.kind, p.path) for p in problems] == [(p.kind, p.path) for p in report.problems]
            assert sum(1 for _ in store.list_executions()) == report.executions


@functools.cache
def _backup() -> bytes:
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as folder:
        Tree(folder + "/s", LAYOUT, journal_bytes=12288, segment_bytes=4096).close()
        with Store(folder + "/s") as store:
            store.create_execution(make_execution(), make_event())
            store.create_execution(make_execution("é" * 300))
            store.checkpoint("cp", 1)
            store.event_store.store_checkpoint("w", 2)
            store.backup(stream)
    return stream.getvalue()


def _restore_seeds() -> list[bytes]:
    return [_backup(), gzip.compress(_backup(), mtime=0)]


def _check_restore_sealed(data: bytes) -> None:
    """The members, each its name and its content; the manifest's sums, and the archive's, are put right."""
    stream = io.BytesIO()
    writer = TarWriter(stream, 0)
    members = [section.partition(b"\n") for section in data.split(_SECTION)]
    files = [(os.fsdecode(name), content) for name, _, content in members if not name.startswith(b"@")]
    manifest = _decoded(files[0][1]) if files else None
    if isinstance(manifest, dict):
        manifest |= {"files": len(files) - 1, "bytes": sum(len(content) for _, content in files[1:])}
        encoded = codec.encode(manifest) if _same(manifest) is not None else b"{}"
        writer.add_file(MANIFEST_NAME, encoded)
    sums = b""
    for raw, _, content in members[1:]:
        name = os.fsdecode(raw)
        if name.startswith("@"):
            writer.add_link(name[1:], os.fsdecode(content))
        else:
            writer.add_file(name, content)
            sums += hashlib.sha256(content).hexdigest().encode() + b"  " + raw + b"\n"
    writer.add_file(SUMS_NAME, sums)
    writer.finish()
    _check_restore(stream.getvalue())


def _decoded(data: bytes) -> Any:
    try:
        return codec.decode(data)
    except CodecError:
        return None


def _restore_sealed_seeds() -> list[bytes]:
    sections: list[bytes] = []
    with tarfile.open(fileobj=io.BytesIO(_backup())) as archive:
        for info in archive:
            if info.name == SUMS_NAME:
                continue
            if info.issym():
                sections.append(os.fsencode(f"@{info.name}\n{info.linkname}"))
            else:
                file = archive.extractfile(info)
                sections.append(os.fsencode(info.name) + b"\n" + (file.read() if file else b""))
    return [_SECTION.join(sections)]


def _manifest_seeds() -> list[bytes]:
    return [_restore_sealed_seeds()[0].split(_SECTION)[0].partition(b"\n")[2]]


# --- etcd -----------------------------------------------------------------------------------------------------------


def _check_etcd_address(data: bytes) -> None:
    address = EtcdAddress.parse(data.decode("latin-1"), {})
    shown = str(address)
    with _promised():
        assert address.prefix.startswith("/")
        assert not address.prefix.endswith("/")
        # Without its password, user and files, which it is shown without, it is the same again.
        again = EtcdAddress.parse(re.sub(r"//[^/]*@", "//", shown), {})
        assert (again.endpoints, again.prefix, again.tls) == (address.endpoints, address.prefix, address.tls)


def _check_etcd_answer(data: bytes) -> None:
    answer = parse_answer(data)
    found = [key_values(answer), *responses(answer)]
    with _promised():
        for each in (pair for some in found for pair in some):
            again = parse_answer(put(each.key, each.value))["request_put"]
            again |= {"create_revision": "1", "mod_revision": "1"}
            assert key_values({"kvs": [again]}) == [KeyValue(each.key, each.value, 1, 1)]


def _check_etcd_chunks(data: bytes) -> None:
    whole = ChunkDecoder()
    expected = whole.feed(data)
    with _promised():
        piecewise = ChunkDecoder()
        found = b"".join(piecewise.feed(data[at : at + 1]) for at in range(len(data)) if not piecewise.is_over)
        assert (found, piecewise.is_over) == (expected, whole.is_over)


def _check_etcd_format(data: bytes) -> None:
    form = etcd_head.parse_format(data, "etcd://h/p")
    with _promised():
        assert etcd_head.parse_format(etcd_head.encode_format(form), "etcd://h/p") == form


def _check_etcd_head(data: bytes) -> None:
    head = etcd_head.parse_head(KeyValue(b"", data, 1, 1), "etcd://h/p")
    _same(head.values)


def _check_etcd_http(data: bytes) -> None:
    head = parse_http_head(data)
    with _promised():
        assert 0 <= head.status <= 999
        assert head.length is None or head.length >= 0


def _etcd_answer_seeds() -> list[bytes]:
    pair = b'{"key":"L2E=","create_revision":"3","mod_revision":"9","version":"1","value":"/+8="}'
    return [
        b'{"header":{"revision":"9"},"kvs":[%b],"count":"1"}' % pair,
        b'{"header":{"revision":"9"},"succeeded":true,"responses":[{"response_range":{"kvs":[%b]}}]}' % pair,
    ]


_JSON_REFUSALS = (CodecError, InvalidExecutionError)
_RESTORE_REFUSALS = (SourceDamagedError, UnsupportedFormatError, InvalidArgumentError, StoreFullError)

TARGETS: Final[dict[str, Target]] = {
    "bolt": Target(_check_bolt, (SourceDamagedError,), _bolt_seeds),
    "bolt_sealed": Target(_check_bolt_sealed, (SourceDamagedError,), _bolt_seeds),
    "checkpoint": Target(_check_checkpoint, _JSON_REFUSALS, lambda: [records.encode_checkpoint("w/é", 7)]),
    "decode": Target(_check_decode, (CodecError,), _json_seeds),
    "decode_strict": Target(_check_decode_strict, (CodecError,), _json_seeds),
    "etcd_address": Target(
        _check_etcd_address,
        (InvalidArgumentError,),
        lambda: [b"etcd://al%40ce:p%3Aw@one:1234,[::1]/lab/a%20b?ca=/x&timeout_seconds=2", b"etcds://h"],
    ),
    "etcd_answer": Target(_check_etcd_answer, (WireError,), _etcd_answer_seeds),
    "etcd_chunks": Target(
        _check_etcd_chunks, (HttpError,), lambda: [b"3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\nrest"]
    ),
    "etcd_format": Target(
        _check_etcd_format,
        (StoreCorruptedError, UnsupportedFormatError),
        lambda: [etcd_head.encode_format(etcd_head.Format("5f1e3c6a90b7d248", 65536))],
    ),
    "etcd_head": Target(
        _check_etcd_head,
        (StoreCorruptedError,),
        lambda: [etcd_head.encode_head(7, {"counts": {"New": 1}, "time_ns": 1, "log": [1, 1, 1, 680, 1]})],
    ),
    "etcd_http": Target(
        _check_etcd_http, (HttpError,), lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close"]
    ),
    "event": Target(
        _check_event,
        _JSON_REFUSALS,
        lambda: [records.encode_event(make_event()), b"null", b'{"Message":"m","Details":{"a":"b"},"Timestamp":1}'],
    ),
    "event_line": Target(_check_line, (DeserializationError,), _lines),
    "event_line_sealed": Target(
        _check_line_sealed,
        (DeserializationError,),
        lambda: [line.rpartition(b',"crc32":')[0] for line in _lines()[:3]],
    ),
    "execution": Target(_check_execution, _JSON_REFUSALS, _execution_seeds),
    "format": Target(
        _check_format,
        (StoreCorruptedError, UnsupportedFormatError),
        lambda: [encode_format(Format("5f1e3c6a90b7d248", 1048576, 65536))],
    ),
    "head": Target(_check_head, (), lambda: [encode_head(head) for head in _HEADS]),
    "head_sealed": Target(_check_head_sealed, (), lambda: [encode_head(head).partition(b"\n")[2] for head in _HEADS]),
    "job": Target(_check_job, (CodecError, JobFileError), _job_seeds),
    "journal_chain": Target(_check_chain, (ValueError,), lambda: [_chain(), _chain() + b"\n" * 600]),
    "jsonl": Target(_check_jsonl, (SourceDamagedError,), _jsonl_seeds),
    "key": Target(_check_key, (UnicodeDecodeError,), lambda: ["é/.con".encode(), b"nul.txt", b".", b"x" * 300]),
    "manifest": Target(_check_manifest, (SourceDamagedError, UnsupportedFormatError), _manifest_seeds),
    "name": Target(
        _check_name,
        (ValueError,),
        lambda: [encode_name(key).encode() for key in ("", "e-1.x", "é/.con", "nul.txt", ".", "x" * 300)],
    ),
    "place": Target(
        _check_place, (), lambda: [b"executions/e1.json", b"log/00000000000000000001.jsonl", b"/etc/passwd", b"a/../b"]
    ),
    "record": Target(_check_record, (ValueError,), lambda: [_record()[0]]),
    "record_sealed": Target(_check_record_sealed, (ValueError,), lambda: [_record()[0].partition(b"\n")[2]]),
    "restore": Target(_check_restore, _RESTORE_REFUSALS, _restore_seeds),
    "restore_sealed": Target(_check_restore_sealed, _RESTORE_REFUSALS, _restore_sealed_seeds),
    "steps": Target(
        _check_steps,
        (ValueError,),
        lambda: [codec.encode(describe_steps(_STEPS)) + b"\n" + payload(_STEPS)],
    ),
    "sums": Target(_check_sums, (), lambda: [encode_sum("executions/e1.json", "0123456789abcdef" * 4) * 2]),
    "timestamp": Target(
        _check_timestamp,
        (InvalidExecutionError, UnicodeDecodeError),
        lambda: [b"2026-01-02T03:04:05.123456789+05:30", b"0000-01-01T00:00:00Z", b"9999-12-31T23:59:59-23:59"],
    ),
}
