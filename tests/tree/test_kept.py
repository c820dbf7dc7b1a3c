"""What is kept of what was read: never older than what the tree shows, never shared, never too much."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execstore.tree.filesystem import RealFileSystem
from execstore.tree.kept import Kept
from execstore.tree.layout import Layout
from execstore.tree.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from execstore.tree.reader import Reader

LAYOUT = Layout(records=("records",), lines=("lines",), indexes={"index": "records"}, log="log")


class Made(list[bytes]):
    """A value that could be changed."""


def read(reader: Reader, key: str) -> Made | None:
    return reader.record_made("records", key, lambda data: Made([data]), Made)


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def make(**options: Any) -> Tree:
        trees.append(Tree(str(tmp_path / "store"), LAYOUT, **options))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()


def put(tree: Tree, key: str, data: bytes, group: str = "g") -> None:
    change = tree.begin()
    change.put_record("records", key, data)
    change.append_lines("lines", key, data + b"\n")
    change.mark("index", group, key)
    tree.commit(change)


def get(tree: Tree, key: str) -> bytes | None:
    made = tree.read(lambda reader: read(reader, key))
    return None if made is None else made[0]


def test_the_third_reading_needs_no_file(open_tree: Callable[..., Tree], monkeypatch: pytest.MonkeyPatch) -> None:
    tree = open_tree()
    put(tree, "a", b"1")
    assert [get(tree, "a") for _ in range(2)] == [b"1", b"1"]
    assert [tree.read(lambda reader: reader.members("index", "g")) for _ in range(2)] == [["a"], ["a"]]

    def refuse(*_: Any) -> bytes:
        raise AssertionError("the file was read")

    monkeypatch.setattr(tree._fs, "read", refuse)
    monkeypatch.setattr(tree._fs, "names", refuse)
    assert get(tree, "a") == b"1"
    assert tree.read(lambda reader: reader.members("index", "g")) == ["a"]


def test_nobody_changes_what_another_is_given(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    put(tree, "a", b"1")
    for _ in range(4):
        made = tree.read(lambda reader: read(reader, "a"))
        assert made == [b"1"]
        made.append(b"mine")
        members = tree.read(lambda reader: reader.members("index", "g"))
        assert members == ["a"]
        members.append("mine")


def test_what_was_changed_by_hand_is_read_again(open_tree: Callable[..., Tree], tmp_path: Path) -> None:
    tree = open_tree()
    put(tree, "a", b"1")
    for _ in range(3):
        get(tree, "a")
    (tmp_path / "store/records/a.json").write_bytes(b"by hand")
    assert get(tree, "a") == b"by hand"
    os.remove(tmp_path / "store/records/a.json")
    assert get(tree, "a") is None
    put(tree, "a", b"1")


def test_a_change_sees_its_own_writes(open_tree: Callable[..., Tree]) -> None:
    tree = open_tree()
    put(tree, "a", b"1")
    for _ in range(3):
        get(tree, "a")
    change = tree.begin()
    assert read(change, "a") == [b"1"]
    change.put_record("records", "a", b"2")
    assert read(change, "a") == [b"2"]
    tree.rollback(change)
    assert get(tree, "a") == b"1"


def test_what_a_change_removed_is_gone(open_tree: Callable[..., Tree]) -> None:
    """For itself, and for those that come before it is published."""
    tree = open_tree()
    put(tree, "a", b"1")
    for _ in range(3):
        get(tree, "a")
    change = tree.begin()
    change.remove_record("records", "a")
    assert read(change, "a") is None
    tree.stage(change)
    following = tree.next_change(is_first=False)
    assert read(following, "a") is None
    tree.rollback(change)
    tree.await_shown(tree.newest_staged())
    assert get(tree, "a") is None


class SameStamps(RealFileSystem):
    """Its stamps tell nothing, as those of two changes within one tick of the clock may."""

    def stamp(self, path: str) -> tuple[int, ...] | None:
        return None if super().stamp(path) is None else (1,)


@pytest.mark.parametrize("file_system", [RealFileSystem, SameStamps])
@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "remove", "move", "get"]), st.integers(0, 2), st.sampled_from("abc")),
        max_size=40,
    )
)
def test_all_handles_always_read_what_was_committed_last(
    steps: list[tuple[str, int, str]],
    tmp_path_factory: pytest.TempPathFactory,
    file_system: Callable[[str], RealFileSystem],
) -> None:
    path = str(tmp_path_factory.mktemp("kept") / "store")
    Tree(path, LAYOUT, journal_bytes=8192).close()
    handles = [Tree(path, LAYOUT, read_only=read_only, file_system=file_system) for read_only in (False, False, True)]
    records: dict[str, bytes] = {}
    groups: dict[str, str] = {}
    for number, (action, which, key) in enumerate(steps):
        writer = handles[which % 2]
        if action == "put":
            records[key] = b"%04d" % number
            put(writer, key, records[key], groups.setdefault(key, "g"))
        elif action == "remove" and key in records:
            change = writer.begin()
            change.remove_record("records", key)
            change.remove_lines("lines", key)
            change.unmark("index", groups.pop(key), key, drop_empty=True)
            del records[key]
            writer.commit(change)
        elif action == "move" and key in records:
            change = writer.begin()
            new = "h" if groups[key] == "g" else "g"
            change.move_mark("index", groups[key], new, key)
            groups[key] = new
            writer.commit(change)
        for tree in handles if action != "get" else handles[which : which + 1]:
            assert {each: get(tree, each) for each in "abc"} == {each: records.get(each) for each in "abc"}
            for group in "gh":
                members = tree.read(lambda reader, group=group: reader.members("index", group))  # type: ignore[misc]
                assert sorted(members) == sorted(each for each, of in groups.items() if of == group)
    for tree in handles:
        tree.close()


def test_it_stays_within_its_size() -> None:
    kept = Kept(maximum_bytes=100_000)
    for number in range(200):
        kept.put(1, f"p{number}", (number,), number, 1000)
    held = [number for number in range(200) if kept.look(1, f"p{number}")[0] is not None]
    assert held == list(range(200 - len(held), 200)), "what was used longest ago goes first"
    assert 60 < len(held) < 100
    kept.put(1, "huge", (1,), "huge", 50_000)
    assert kept.look(1, "huge")[0] is None, "one large file doesn't drive all others out"


def test_what_is_read_but_once_is_not_kept() -> None:
    kept = Kept()
    assert kept.look(1, "a") == (None, False)
    assert kept.look(1, "a") == (None, True)


def test_an_old_moment_adds_nothing_to_a_newer_one() -> None:
    kept = Kept()
    kept.put(5, "a", (1,), "five", 1)
    kept.put(4, "b", (1,), "four", 1)
    assert kept.look(5, "b")[0] is None
    entry, _ = kept.look(5, "a")
    assert entry is not None
    assert entry.value == "five"
    assert kept.look(4, "a")[0] is None
    kept.put(6, "c", (1,), "six", 1)
    assert kept.look(6, "a")[0] is None, "another handle's change may have touched it"
