"""Archives that aren't what they say: each is refused for its own reason, and nothing of it is left."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from execstore import ExecutionState, Store
from execstore.errors import (
    ExecStoreError,
    InvalidArgumentError,
    SourceDamagedError,
    StoreFullError,
    UnsupportedFormatError,
)
from tests.conftest import StoreFactory
from tests.support import make_event, make_execution, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive with something of everything."""
    factory = StoreFactory(tmp_path_factory.mktemp("origin"))
    stream = io.BytesIO()
    with factory() as store:
        for number in range(4):
            store.create_execution(make_execution(f"e{number}", f"job{number % 2}"), make_event())
        store.update_execution_state(make_request("e1", ExecutionState.RUNNING, make_event()))
        store.create_execution(make_execution("é" * 300))
        store.checkpoint("cp", 7)
        store.event_store.store_checkpoint("w", 3)
        store.backup(stream)
    factory.finish()
    return stream.getvalue()


class Archive:
    """A backup's members, to be changed at will, and written anew."""

    def __init__(self, data: bytes) -> None:
        self.members: list[Member] = []
        self.tail = b""
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for info in archive:
                info.pax_headers = {}
                file = archive.extractfile(info) if info.isfile() else None
                self.members.append((info, b"" if file is None else file.read()))

    def index(self, name: str) -> int:
        return next(number for number, (info, _) in enumerate(self.members) if info.name == name)

    def content(self, name: str) -> bytes:
        return self.members[self.index(name)][1]

    def replace(self, name: str, data: bytes) -> None:
        info = self.members[self.index(name)][0]
        info.size = len(data)
        self.members[self.index(name)] = (info, data)

    def remove(self, name: str) -> None:
        del self.members[self.index(name)]

    def add(self, name: str, data: bytes = b"", *, before: str = "SHA256SUMS", **fields: Any) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for field, value in fields.items():
            setattr(info, field, value)
        self.members.insert(self.index(before), (info, data))

    def manifest(self, **members: Any) -> None:
        found = json.loads(self.content("BACKUP")) | members
        self.replace("BACKUP", json.dumps(found).encode())

    def announce(self) -> None:
        """Make numbers and checksums right for what is there now: a forger would."""
        files = [(i, d) for i, d in self.members if i.isfile() and i.name not in {"BACKUP", "SHA256SUMS"}]
        links = sum(info.issym() for info, _ in self.members)
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {info.name}\n" for info, data in files)
        self.replace("SHA256SUMS", sums.encode())
        self.manifest(files=len(files), links=links, bytes=sum(len(data) for _, data in files))

    def facts(self) -> dict[str, bytes]:
        """What is in it, but for what each backup says of itself; the log in one piece."""
        found = {"events": b""}
        for info, data in self.members:
            if info.name.startswith("events/"):
                found["events"] += data
            elif info.isfile() and info.name not in {"BACKUP", "SHA256SUMS"}:
                found[info.name] = data
        return found

    def write(self) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for info, data in self.members:
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue() + self.tail


def forged(change: Callable[[Archive], object]) -> Callable[[Archive], object]:
    """The change, with numbers and checksums that fit."""

    def make(archive: Archive) -> None:
        change(archive)
        archive.announce()

    return make


def record(**members: Any) -> bytes:
    return json.dumps({"ID": "x", "JobID": "j", "ComputeState": {"StateType": "New"}, **members}).encode()


def swap(archive: Archive, one: str, other: str) -> None:
    first, second = archive.index(one), archive.index(other)
    archive.members[first], archive.members[second] = archive.members[second], archive.members[first]


def edit(name: str, old: bytes, new: bytes) -> Callable[[Archive], object]:
    return lambda archive: archive.replace(name, archive.content(name).replace(old, new))


def forget_a_file(archive: Archive) -> None:
    archive.remove("checkpoints/w.json")
    archive.announce()
    archive.manifest(files=99)


def put_link(archive: Archive, name: str) -> None:
    archive.members[archive.index(name)] = (_link(name, "/etc/passwd"), b"")


SEGMENT = "events/00000000000000000001.jsonl"
E1 = "executions/e1.json"
LINK = "idx_executions_by_state/Running/e1"

HOSTILE: dict[str, tuple[Callable[[Archive], object], str, str]] = {
    # name: what is done to the archive, the place that the error names, its reason
    "leads out": (lambda a: a.add("../evil", b"x"), "../evil", "leads out of the store"),
    "leads out from within": (
        lambda a: a.add("executions/../../evil.json", b"x"),
        "executions/../../evil.json",
        "leads out of the store",
    ),
    "absolute": (lambda a: a.add("/tmp/evil", b"x"), "/tmp/evil", "absolute"),
    "absolute link": (
        lambda a: a.add("/tmp/evil", type=tarfile.SYMTYPE, linkname="x"),
        "/tmp/evil",
        "one more than the|absolute",
    ),
    "unknown name": (lambda a: a.add("notes.txt", b"x"), "notes.txt", "no backup holds a file of this name"),
    "unknown folder": (lambda a: a.add("other/a.json", b"x"), "other/a.json", "no backup holds"),
    "engine's file": (lambda a: a.add("head", b"x"), "head", "no backup holds"),
    "odd name": (lambda a: a.add("executions/a b.json", b"x"), "executions/a b.json", "no backup holds"),
    "hidden name": (lambda a: a.add("executions/.new", b"x"), "executions/.new", "no backup holds"),
    "surrogate": (lambda a: a.add("executions/\udcff.json", b"x"), "", "extended header holds something"),
    "odd segment": (lambda a: a.add("events/1.jsonl", b"x"), "events/1.jsonl", "no backup holds"),
    "dotted": (lambda a: a.add("./executions/x.json", b"x"), "./executions/x.json", "no backup holds"),
    "hard link": (lambda a: a.add("executions/x.json", type=tarfile.LNKTYPE, linkname=E1), "", "it is a hard link"),
    "device": (lambda a: a.add("executions/x.json", type=tarfile.CHRTYPE), "executions/x.json", "it is a device"),
    "block device": (lambda a: a.add("executions/x.json", type=tarfile.BLKTYPE), "", "it is a device"),
    "pipe": (lambda a: a.add("executions/x.json", type=tarfile.FIFOTYPE), "executions/x.json", "it is a named pipe"),
    "folder": (lambda a: a.add("executions", type=tarfile.DIRTYPE), "executions", "it is a folder"),
    "contiguous": (lambda a: a.add("executions/x.json", type=tarfile.CONTTYPE), "", "it is something"),
    "record as link": (
        forged(lambda a: a.add("executions/x.json", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "executions/x.json",
        "it is a symbolic link where a file belongs",
    ),
    "index entry that leads elsewhere": (
        forged(lambda a: setattr(a.members[a.index(LINK)][0], "linkname", "/etc/passwd")),
        LINK,
        "it leads to /etc/passwd",
    ),
    "index entry of another": (
        forged(lambda a: setattr(a.members[a.index(LINK)][0], "linkname", "../../.e/e2.json")),
        LINK,
        "where no index entry does",
    ),
    "alias that leads elsewhere": (
        forged(lambda a: setattr(a.members[a.index(".e")][0], "linkname", "..")),
        ".e",
        "it leads to ..",
    ),
    "index entry as file": (
        forged(lambda a: a.add("idx_executions_by_state/New/x", b"x")),
        "idx_executions_by_state/New/x",
        "an index entry is a symbolic link",
    ),
    "a link too many": (
        lambda a: a.add("idx_executions_by_state/New/x", type=tarfile.SYMTYPE, linkname="../../.e/x.json"),
        "idx_executions_by_state/New/x",
        "one more than the",
    ),
    "twice": (forged(lambda a: a.add(E1, a.content(E1))), E1, "twice"),
    "a file too many": (lambda a: a.add("executions/x.json", record()), "", "BACKUP announces"),
    "more bytes than announced": (lambda a: a.replace(E1, a.content(E1) + b" " * 9999), "", "more than BACKUP"),
    "fewer files": (lambda a: a.remove("checkpoints/w.json"), "SHA256SUMS", "which isn't in the archive"),
    "fewer files, forged sums": (
        lambda a: forget_a_file(a),
        "SHA256SUMS",
        "BACKUP announces 99 files",
    ),
    "a byte changed": (edit(E1, b"test", b"tesT"), "SHA256SUMS", f"another checksum for {E1}"),
    "no JSON": (forged(lambda a: a.replace(E1, b"{]")), E1, "Expected object or value"),
    "no execution": (forged(lambda a: a.replace(E1, b"[1]")), E1, "invalid execution|object"),
    "nested deep": (forged(lambda a: a.replace(E1, b"[" * 100_000 + b"]" * 100_000)), E1, "deep|nest|depth"),
    "another's": (forged(lambda a: a.replace(E1, a.content("executions/e2.json"))), E1, "it holds execution 'e2'"),
    "zeros": (forged(lambda a: a.replace(E1, bytes(600))), E1, "Expected|character"),
    "events of nobody": (
        forged(lambda a: a.add("execution_events/x.jsonl", b"{}\n")),
        "execution_events/x.jsonl",
        "doesn't stand right before",
    ),
    "events before their execution": (
        lambda a: swap(a, E1, "execution_events/e1.jsonl"),
        "execution_events/e1.jsonl",
        "doesn't stand right before",
    ),
    "no event": (
        forged(lambda a: a.replace("execution_events/e1.jsonl", b"[]\n")),
        "execution_events/e1.jsonl",
        "line 1",
    ),
    "half an event": (
        forged(lambda a: a.replace("execution_events/e1.jsonl", a.content("execution_events/e1.jsonl")[:-5])),
        "execution_events/e1.jsonl",
        "isn't ended",
    ),
    "log with a byte changed": (forged(edit(SEGMENT, b"CREATE", b"CREATF")), SEGMENT, "checksum doesn't fit"),
    "log with a hole": (forged(lambda a: a.remove(SEGMENT)), "events/0", "event 1 should come next"),
    "log that ends early": (lambda a: a.manifest(latest_event=99), "SHA256SUMS", "event 12 and those behind it"),
    "log not ended": (forged(lambda a: a.replace(SEGMENT, a.content(SEGMENT)[:-1])), SEGMENT, "isn't ended"),
    "empty segment": (forged(lambda a: a.replace(SEGMENT, b"")), SEGMENT, "isn't ended"),
    "no checkpoint": (forged(lambda a: a.replace("checkpoints/w.json", b"{}")), "checkpoints/w.json", "no checkpoint"),
    "negative checkpoint": (
        forged(lambda a: a.replace("checkpoints/w.json", b'{"Name":"w","SequenceNumber":-1}')),
        "checkpoints/w.json",
        "no checkpoint",
    ),
    "another's checkpoint": (
        forged(lambda a: a.replace("checkpoints/w.json", a.content("sequence_tracking/cp.json"))),
        "checkpoints/w.json",
        "it is of 'cp'",
    ),
    "counts": (lambda a: a.manifest(counts={"New": 3}), "SHA256SUMS", "BACKUP counts 3 executions"),
    "no manifest": (lambda a: a.remove("BACKUP"), ".e", "a backup begins with BACKUP"),
    "manifest later": (lambda a: swap(a, "BACKUP", E1), E1, "a backup begins with BACKUP"),
    "manifest twice": (lambda a: a.add("BACKUP", b"{}"), "BACKUP", "no backup holds"),
    "manifest as link": (
        lambda a: a.members.insert(0, (_link("BACKUP", "/etc/passwd"), b"")),
        "BACKUP",
        "a backup begins with BACKUP",
    ),
    "huge manifest": (lambda a: a.replace("BACKUP", b" " * 70_000), "BACKUP", "it is of 70000 bytes"),
    "manifest no JSON": (lambda a: a.replace("BACKUP", b"{]"), "BACKUP", "no JSON"),
    "manifest of another": (lambda a: a.manifest(format="zip"), "BACKUP", "doesn't say that this is a backup"),
    "manifest without version": (lambda a: a.manifest(version="1"), "BACKUP", "no version number"),
    "manifest with text": (lambda a: a.manifest(files="many"), "BACKUP", "files must be a number"),
    "manifest with true": (lambda a: a.manifest(bytes=True), "BACKUP", "bytes must be a number"),
    "manifest negative": (lambda a: a.manifest(latest_event=-1), "BACKUP", "latest_event must be a number"),
    "manifest contradicts": (lambda a: a.manifest(oldest_event=50), "BACKUP", "contradict"),
    "manifest counts": (lambda a: a.manifest(counts={"Napping": 1}), "BACKUP", "counts"),
    "manifest limits": (lambda a: a.manifest(event_limits=[1, "x"]), "BACKUP", "event_limits"),
    "no sums": (lambda a: a.remove("SHA256SUMS"), "sequence_tracking/cp.json", "without SHA256SUMS"),
    "sums of nothing": (lambda a: a.replace("SHA256SUMS", b""), "SHA256SUMS", "another checksum"),
    "no sums at all": (lambda a: a.replace("SHA256SUMS", b"x\n"), "SHA256SUMS", "no list of the files' checksums"),
    "huge sums": (lambda a: a.replace("SHA256SUMS", b"x" * 10**6), "SHA256SUMS", "no list of the files' checksums"),
    "sums as link": (
        lambda a: put_link(a, "SHA256SUMS"),
        "SHA256SUMS",
        "no list",
    ),
    "something behind the sums": (lambda a: a.members.append((_file("executions/x.json"), b"")), "", "stands behind"),
    "something behind the end": (lambda a: setattr(a, "tail", b"x"), "its end", "stands behind the archive's end"),
    "zeros without an end": (lambda a: setattr(a, "tail", bytes(2 << 20)), "its end", "stands behind"),
    "foreign extended header": (
        lambda a: a.members.insert(1, (_file("executions/x.json", {"comment": "x"}), b"")),
        "",
        "extended header holds something",
    ),
    "huge extended header": (
        lambda a: a.members.insert(1, (_file("executions/x.json", {"path": "x" * 10_000}), b"")),
        "",
        "extended header is of",
    ),
}


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def _file(name: str, pax_headers: dict[str, str] | None = None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = pax_headers or {}
    return info


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("packed", [False, True], ids=["tar", "gzip"])
@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    backup: bytes, tmp_path: Path, case: str, packed: bool
) -> None:
    change, place, reason = HOSTILE[case]
    archive = Archive(backup)
    change(archive)
    data = archive.write()
    file = tmp_path / "b.tar"
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(SourceDamagedError, match=reason) as caught:
        Store.restore(file, tmp_path / "deep/down/restored")
    assert caught.value.path == str(file)
    assert caught.value.place.startswith(place)
    assert caught.value.place
    assert str(caught.value).count("\n") == 0
    assert tree(tmp_path) == ["b.tar"]


def test_the_table_would_notice_if_all_archives_were_refused(backup: bytes, tmp_path: Path) -> None:
    archive = Archive(backup)
    archive.announce()
    assert Store.restore(io.BytesIO(archive.write()), tmp_path / "restored").executions == 5


@pytest.mark.parametrize(("version", "word"), [(0, "older"), (2, "newer")])
def test_another_version_is_told(backup: bytes, tmp_path: Path, version: int, word: str) -> None:
    archive = Archive(backup)
    archive.manifest(version=version, files="whatever that means then")
    with pytest.raises(UnsupportedFormatError, match=word):
        Store.restore(io.BytesIO(archive.write()), tmp_path / "restored")
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0" * 10240, b"hello", b"x" * 5000, b"PK\3\4" + b"x" * 600, b"\x1f\x8b", b"\x1f\x8b" + b"x" * 600],
)
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(data)
    with pytest.raises(SourceDamagedError):
        Store.restore(tmp_path / "b.tar", tmp_path / "restored")
    assert tree(tmp_path) == ["b.tar"]


def test_an_archive_cut_off_anywhere_is_told(backup: bytes, tmp_path: Path) -> None:
    chance = random.Random(5)
    packed = gzip.compress(backup)
    for data in (backup.rstrip(b"\0"), packed):
        for _ in range(15):
            with pytest.raises(SourceDamagedError):
                Store.restore(io.BytesIO(data[: chance.randrange(len(data))]), tmp_path / "restored")
            assert tree(tmp_path) == []


def test_any_byte_of_an_archive_may_change(backup: bytes, tmp_path: Path) -> None:
    """Either that is told, or it was one that doesn't matter."""
    chance = random.Random(6)
    expected = Archive(backup).facts()
    told = 0
    for number in range(80):
        changed = bytearray(backup)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        target = tmp_path / str(number)
        try:
            Store.restore(io.BytesIO(bytes(changed)), target)
        except ExecStoreError:
            told += 1
            assert tree(tmp_path) == []
            continue
        again = io.BytesIO()
        with Store(target) as store:
            store.backup(again)
        assert Archive(again.getvalue()).facts() == expected
        shutil.rmtree(target)
    assert 0 < told < 80


def test_a_bomb_is_refused_before_it_goes_off(backup: bytes, tmp_path: Path) -> None:
    """A hundred kilobytes that unpack to a hundred megabytes, of which nothing is read but its header."""
    archive = Archive(backup)
    archive.add("executions/bomb.json", bytes(100 << 20), before=E1)
    bomb = gzip.compress(archive.write(), 9)
    assert len(bomb) < 1 << 20
    with pytest.raises(SourceDamagedError, match="more than BACKUP announces"):
        Store.restore(io.BytesIO(bomb), tmp_path / "restored")
    archive.announce()
    with pytest.raises(InvalidArgumentError, match=r"announces \d+ bytes, and 1000000 were allowed"):
        Store.restore(io.BytesIO(gzip.compress(archive.write(), 1)), tmp_path / "restored", max_bytes=1_000_000)
    assert tree(tmp_path) == []


def test_more_than_there_is_room_for_is_refused(backup: bytes, tmp_path: Path) -> None:
    archive = Archive(backup)
    archive.manifest(bytes=1 << 60)
    with pytest.raises(StoreFullError, match="are free"):
        Store.restore(io.BytesIO(archive.write()), tmp_path / "restored")
    assert tree(tmp_path) == []


def test_announced_events_that_are_damaged_may_be_so(backup: bytes, tmp_path: Path) -> None:
    """What a damaged line said is lost, but its number isn't given to another event."""
    archive = Archive(backup)
    edit(SEGMENT, b"CREATE", b"CREATF")(archive)
    archive.announce()
    damaged = archive.content(SEGMENT).count(b"CREATF")
    archive.manifest(damaged_events=damaged)
    report = Store.restore(io.BytesIO(archive.write()), tmp_path / "restored")
    assert [problem.kind for problem in report.problems] == ["log"] * damaged


def test_an_archive_from_a_pipe_that_stops_is_told(backup: bytes, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, backup[:3000])
    os.close(writing)
    with open(reading, "rb") as stream, pytest.raises(SourceDamagedError, match="the archive ends here"):
        Store.restore(stream, tmp_path / "restored")
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(("", "x"), {}), (("a\0b", "x"), {}), (("b.tar", ""), {}), (("b.tar", "x"), {"max_bytes": -1})],
)
def test_arguments_that_make_no_sense(arguments: tuple[str, str], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        Store.restore(*arguments, **options)
