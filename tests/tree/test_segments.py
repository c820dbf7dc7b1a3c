"""The numbered log: where lines go, and reading them by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execstore.errors import StoreCorruptedError
from execstore.tree.filesystem import RealFileSystem
from execstore.tree.reader import Reader
from execstore.tree.segments import LOG_VALUE, LogReader, LogState, Rotation

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_line_begins_the_first_segment() -> None:
    state, offset = LogState().after(10, 5, 100)
    assert (state, offset) == (LogState(latest=1, oldest=1, segment=1, bytes=10, since_ns=5), 0)


def test_a_segment_that_would_be_too_large_is_followed_by_another() -> None:
    state, _ = LogState().after(60, 5, 100)
    state, offset = state.after(40, 6, 100)
    assert (state, offset) == (LogState(latest=2, oldest=1, segment=1, bytes=100, since_ns=5), 60)
    state, offset = state.after(1, 7, 100)
    assert (state, offset) == (LogState(latest=3, oldest=1, segment=3, bytes=1, since_ns=7), 0)


def test_a_line_larger_than_a_segment_has_one_of_its_own() -> None:
    state, _ = LogState().after(500, 5, 100)
    state, offset = state.after(10, 6, 100)
    assert (state.segment, offset) == (2, 0)


@pytest.mark.parametrize(
    ("time_ns", "segment"), [pytest.param(104, 1, id="younger"), pytest.param(105, 2, id="as old as it may become")]
)
def test_a_segment_whose_first_line_is_old_is_followed_by_another(time_ns: int, segment: int) -> None:
    state, _ = LogState().after(10, 5, 1000, 100)
    state, _ = state.after(10, time_ns, 1000, 100)
    assert (state.latest, state.segment, state.since_ns) == (2, segment, 5 if segment == 1 else time_ns)


@pytest.mark.parametrize(
    ("number", "dropped", "left"),
    [
        (1, [], LogState(9, 1, 7, 50, 5)),
        (3, [], LogState(9, 1, 7, 50, 5)),
        (4, [1], LogState(9, 4, 7, 50, 5)),
        (9, [1, 4], LogState(9, 7, 7, 50, 5)),
        (10, [1, 4, 7], LogState(9, 10, 10)),
    ],
)
def test_only_whole_segments_are_dropped(number: int, dropped: list[int], left: LogState) -> None:
    assert LogState(9, 1, 7, 50, 5).without_segments([1, 4, 7], number) == (left, dropped)
    assert left.is_empty == (number == 10)


def test_an_empty_log_stays_empty_and_goes_on_with_its_number() -> None:
    state = LogState(9, 10, 10)
    assert state.without_segments([], 10) == (state, [])
    assert state.after(5, 77, 1000, 100) == (LogState(10, 10, 10, 5, 77), 0)


@pytest.mark.parametrize(
    ("rotation", "within"),
    [
        (Rotation(), Rotation(1000)),
        (Rotation(400, 7), Rotation(400, 7)),
        (Rotation(4000, 7), Rotation(1000, 7)),
    ],
)
def test_a_rotation_never_goes_beyond_the_stores_size(rotation: Rotation, within: Rotation) -> None:
    assert rotation.within(1000) == within


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"one\n", b"one"),
        (b"one\ntwo\n", b"two"),
        (b"x" * 5000 + b"\n", b"x" * 5000),
        (b"one\n" + b"x" * 4095 + b"\n", b"x" * 4095),
        (b"one\n" + b"x" * 4096 + b"\n", b"x" * 4096),
        (b"one\n" + b"x" * 100_000 + b"\n", b"x" * 100_000),
        (b"one\n\n", b""),
        (b"one\ntwo", None),
        (b"", None),
    ],
)
def test_the_last_line_of_a_segment_is_read_from_its_end(tmp_path: Path, data: bytes, end: bytes | None) -> None:
    (tmp_path / "events").mkdir()
    reader = Reader(RealFileSystem(str(tmp_path)), "root")
    assert reader.segment_end("events", 1) is None
    (tmp_path / "events" / f"{1:020d}.jsonl").write_bytes(data)
    assert reader.segment_end("events", 1) == end
    assert reader.segment_bytes("events", 1) == len(data)


def test_a_state_comes_back() -> None:
    state = LogState(9, 3, 7, 120, 55)
    assert LogState.of({LOG_VALUE: state.to_value()}) == state
    assert LogState.of({}) == LogState()


class _Log:
    """A log on disk, written line by line."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self.folder = folder
        (folder / "events").mkdir()
        self.fs = RealFileSystem(str(folder))
        self.state = LogState()
        self.lines: dict[int, bytes] = {}
        self._segment_bytes = segment_bytes

    def write(self, line: bytes) -> None:
        self.state, offset = self.state.after(len(line) + 1, 0, self._segment_bytes)
        self.fs.overwrite(f"events/{self.state.segment:020d}.jsonl", offset, line + b"\n")
        self.lines[self.state.latest] = line

    def reader(self) -> Reader:
        return Reader(self.fs, str(self.folder), (), {LOG_VALUE: self.state.to_value()})


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=40),
    reads=st.lists(st.tuples(st.integers(1, 45), st.integers(1, 45)), max_size=12),
)
def test_any_part_is_read_as_it_was_written_while_the_log_grows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reads: list[tuple[int, int]]
) -> None:
    log = _Log(tmp_path_factory.mktemp("log"), 100)
    reader = LogReader("events", "root")
    for number, size in enumerate(sizes):
        log.write(b"x" * size)
        for first, maximum in reads[number % 3 :: 3]:
            expected = [(n, log.lines[n]) for n in range(first, first + maximum) if n in log.lines]
            assert reader.read(log.reader(), first, maximum) == expected


def test_lines_behind_the_latest_are_not_read(tmp_path: Path) -> None:
    log = _Log(tmp_path, 1000)
    log.write(b"one")
    log.fs.overwrite("events/00000000000000000001.jsonl", 4, b"half a li")
    reader = LogReader("events", "root")
    assert reader.read(log.reader(), 1, 10) == [(1, b"one")]
    log.write(b"half a line")
    assert reader.read(log.reader(), 1, 10) == [(1, b"one"), (2, b"half a line")]


@pytest.mark.parametrize("damage", ["missing", "short", "empty"])
def test_a_damaged_segment_is_named(tmp_path: Path, damage: str) -> None:
    log = _Log(tmp_path, 20)
    for number in range(6):
        log.write(b"line %d" % number)
    path = tmp_path / "events" / "00000000000000000003.jsonl"
    assert path.exists()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:9] if damage == "short" else b"")
    with pytest.raises(StoreCorruptedError, match=r"0000000000000000000[13]\.jsonl"):
        LogReader("events", "root").read(log.reader(), 1, 10)
    assert len(LogReader("events", "root").read(log.reader(), 5, 10)) == 2, "what is behind it can still be read"
