"""Keys to file names and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.tree.paths import (
    NAME_LIMIT,
    decode_name,
    encode_name,
    is_safe_path,
    lines_path,
    marker_path,
    marker_target,
    record_path,
    segment_first,
    segment_path,
    stem,
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("e-73f58819-f4b3-464e-898e-dd8b6a2f026c", "e-73f58819-f4b3-464e-898e-dd8b6a2f026c"),
        ("a.b_C-9", "a.b_C-9"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (".a.", "%2Ea%2E"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("a/b", "a%2Fb"),
        ("%2F", "%252F"),
        ("con", "%63on"),
        ("CON.txt", "%43ON.txt"),
        ("lpt1", "%6Cpt1"),
        ("console", "console"),
        ("üñï/✓", "%C3%BC%C3%B1%C3%AF%2F%E2%9C%93"),
        ("🎉", "%F0%9F%8E%89"),
        ("a b\n\0", "a%20b%0A%00"),
    ],
)
def test_names_are_as_the_format_says(key: str, name: str) -> None:
    assert encode_name(key) == name
    assert decode_name(name) == key


def test_a_long_key_ends_in_a_hash_of_all_of_it() -> None:
    first, second = "x" * 1005, "x" * 1004 + "y"
    assert encode_name(first) != encode_name(second)
    assert encode_name(first).startswith("x" * 160 + "%-")
    assert decode_name(encode_name(first)) is None


def test_a_long_key_is_not_cut_within_an_escape() -> None:
    for padding in range(3):
        name = encode_name("x" * padding + "é" * 500)
        assert decode_name(name) is None
        assert "%" not in name.removesuffix(name[name.index("%-") :])[-2:].replace("%C3", "").replace("%A9", "")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_every_key_comes_back_and_its_name_is_safe(key: str) -> None:
    name = encode_name(key)
    assert decode_name(name) in {key, None}
    assert (decode_name(name) is None) == (len(name) > NAME_LIMIT or "%-" in name)
    assert 0 < len(name.encode()) <= NAME_LIMIT
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isascii()


@given(st.lists(st.text(max_size=8), min_size=2, max_size=2, unique=True))
def test_different_keys_have_different_names(keys: list[str]) -> None:
    assert encode_name(keys[0]) != encode_name(keys[1])


@pytest.mark.parametrize(
    "name", ["%2e", "a%", "%41", "é", "a b", "%zz", ".new", "%C3", "con", "..", "%+1", "a/b", "%2"]
)
def test_a_name_that_is_nobodys_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        decode_name(name)


def test_paths_stand_as_the_format_says() -> None:
    assert record_path("executions", "a/b") == "executions/a%2Fb.json"
    assert lines_path("execution_events", "e") == "execution_events/e.jsonl"
    assert marker_path("idx", "Running", "e") == "idx/Running/e"
    assert segment_path("events", 7) == "events/00000000000000000007.jsonl"
    assert segment_first("00000000000000000007.jsonl") == 7
    assert segment_first("7.jsonl") is None
    assert stem("e.json", ".json") == "e"
    assert stem(".new.json", ".json") is None
    assert stem("e.jsonl", ".json") is None


def test_the_target_of_a_bacalhau_id_fits_into_an_ext4_inode() -> None:
    target = marker_target(".e", "e-73f58819-f4b3-464e-898e-dd8b6a2f026c")
    assert len(target) <= 59


@pytest.mark.parametrize("path", ["a", "a/b", "a/b/c", ".e"])
def test_safe_paths(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/b/c/d", "a\0b"])
def test_unsafe_paths(path: str) -> None:
    assert not is_safe_path(path)
