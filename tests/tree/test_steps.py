"""Steps: their JSON form, and what they make of a tree."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.tree.steps import (
    Absent,
    Append,
    Mark,
    Move,
    Overlay,
    Put,
    Remove,
    RemoveFolder,
    Step,
    Tail,
    Target,
    Whole,
    describe_steps,
    parse_steps,
    payload,
)

STEPS: list[Step] = [
    Put("a/x.json", b"{}\n"),
    Put("a/new.json", b"{}", is_new=True),
    Append("b/y.jsonl", 0, b"1\n"),
    Append("b/y.jsonl", 2, b"2\n"),
    Mark("i/g/x", "../../.a/x.json"),
    Move("i/g/x", "i/h/x", "../../.a/x.json"),
    Remove("a/old.json"),
    RemoveFolder("i/g"),
]


def test_steps_come_back_from_their_json_form() -> None:
    assert parse_steps(describe_steps(STEPS), payload(STEPS)) == tuple(STEPS)


@pytest.mark.parametrize(
    ("described", "data"),
    [
        ([["put", "../x", 1]], b"1"),
        ([["put", "/etc/passwd", 1]], b"1"),
        ([["put", "a/x", 2]], b"1"),
        ([["put", "a/x", 1]], b"12"),
        ([["put", "a/x", -1]], b""),
        ([["put", "a/x", "1"]], b"1"),
        ([["append", "a/x", -1, 1]], b"1"),
        ([["move", "../x", "a/x", "t"]], b""),
        ([["mark", "a/x"]], b""),
        ([["destroy", "a/x"]], b""),
        ([[]], b""),
        (["put"], b""),
        ([None], b""),
    ],
)
def test_malformed_steps_are_refused(described: list[list[object]], data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_steps(described, data)


@pytest.mark.parametrize(
    ("steps", "path", "entry"),
    [
        ([Put("a/x", b"1"), Put("a/x", b"2")], "a/x", Whole(b"2")),
        ([Put("a/x", b"1"), Remove("a/x")], "a/x", Absent()),
        ([Remove("a/x"), Put("a/x", b"2", is_new=True)], "a/x", Whole(b"2")),
        ([Append("a/x", 0, b"12"), Append("a/x", 2, b"3")], "a/x", Whole(b"123", grows=True)),
        ([Append("a/x", 0, b"12"), Append("a/x", 1, b"9")], "a/x", Whole(b"19", grows=True)),
        ([Append("a/x", 5, b"12"), Append("a/x", 7, b"3")], "a/x", Tail(5, b"123")),
        ([Append("a/x", 5, b"12"), Append("a/x", 5, b"12")], "a/x", Tail(5, b"12")),
        ([Append("a/x", 5, b"12"), Append("a/x", 3, b"345")], "a/x", Tail(3, b"345")),
        ([Mark("i/g/x", "t"), Move("i/g/x", "i/h/x", "t")], "i/g/x", Absent()),
        ([Mark("i/g/x", "t"), Move("i/g/x", "i/h/x", "t")], "i/h/x", Target("t")),
        ([Remove("a/y")], "a/x", None),
    ],
)
def test_an_overlay_holds_the_last_state_of_each_path(steps: list[Step], path: str, entry: object) -> None:
    assert Overlay(steps).get(path) == entry


def test_final_steps_keep_a_move_whose_ends_are_as_it_left_them() -> None:
    assert Overlay([Move("i/g/x", "i/h/x", "t"), Move("i/h/x", "i/j/x", "t")]).final_steps() == [
        Move("i/g/x", "i/j/x", "t"),
        Remove("i/h/x"),
    ]
    assert Overlay([Move("i/g/x", "i/h/x", "t"), Mark("i/g/x", "t")]).final_steps() == [
        Mark("i/g/x", "t"),
        Mark("i/h/x", "t"),
    ]


_FILES = st.sampled_from(["a/1", "a/2", "b/1"])
_MARKS = st.sampled_from(["i/g/1", "i/h/1", "i/h/2"])


@st.composite
def _histories(draw: st.DrawFn) -> list[Step]:
    """Steps as a store makes them: appends at the end of what is there, moves of what is there."""
    files: dict[str, bytes] = {"a/1": b"old"}
    marks: set[str] = {"i/g/1"}
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["put", "append", "remove", "mark", "move", "unmark"]))
        if kind == "put":
            path = draw(_FILES)
            files[path] = draw(st.binary(max_size=3))
            steps.append(Put(path, files[path]))
        elif kind == "append":
            path = draw(_FILES)
            data = draw(st.binary(min_size=1, max_size=3))
            steps.append(Append(path, len(files.get(path, b"")), data))
            files[path] = files.get(path, b"") + data
        elif kind == "remove":
            path = draw(_FILES)
            files.pop(path, None)
            steps.append(Remove(path))
        elif kind == "mark":
            path = draw(_MARKS)
            marks.add(path)
            steps.append(Mark(path, "t"))
        elif kind == "unmark":
            path = draw(_MARKS)
            marks.discard(path)
            steps.append(Remove(path))
        elif marks:
            source, path = draw(st.sampled_from(sorted(marks))), draw(_MARKS)
            if source != path:
                marks.discard(source)
                marks.add(path)
                steps.append(Move(source, path, "t"))
    return steps


def _perform(tree: dict[str, bytes | str], steps: list[Step]) -> dict[str, bytes | str]:
    """The meaning of the steps, spelled out: the model."""
    tree = copy.copy(tree)
    for step in steps:
        if isinstance(step, Put):
            tree[step.path] = step.data
        elif isinstance(step, Append):
            before = tree.get(step.path, b"")
            assert isinstance(before, bytes)
            tree[step.path] = before[: step.offset] + step.data
        elif isinstance(step, Mark):
            tree[step.path] = step.target
        elif isinstance(step, Move):
            tree.pop(step.source, None)
            tree[step.path] = step.target
        elif isinstance(step, Remove):
            tree.pop(step.path, None)
    return tree


@given(_histories())
def test_final_steps_have_the_same_outcome(steps: list[Step]) -> None:
    before: dict[str, bytes | str] = {"a/1": b"old", "i/g/1": "t"}
    assert _perform(before, Overlay(steps).final_steps()) == _perform(before, steps)


@given(_histories(), st.integers(0, 12))
def test_final_steps_are_idempotent_after_any_part_of_them(steps: list[Step], done: int) -> None:
    before: dict[str, bytes | str] = {"a/1": b"old", "i/g/1": "t"}
    final = Overlay(steps).final_steps()
    assert _perform(_perform(before, final[:done]), final) == _perform(before, steps)


@given(_histories())
def test_the_json_form_keeps_every_history(steps: list[Step]) -> None:
    assert parse_steps(describe_steps(steps), payload(steps)) == tuple(steps)
