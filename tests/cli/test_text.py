"""Tables, times and escaping: the pure functions under the commands."""

from __future__ import annotations

import pytest

from execstore.cli.context import shorten_ids
from execstore.cli.output import one_line, several_lines
from execstore.cli.table import Column, cell_width, cut, render_table
from execstore.cli.times import TimeStyle, format_duration, format_time

_NOW = 1_795_492_500_000_000_000
_S = 1_000_000_000


@pytest.mark.parametrize(
    ("time_ns", "style", "shown"),
    [
        (0, TimeStyle.AGE, "-"),
        (0, TimeStyle.NS, "-"),
        (_NOW, TimeStyle.AGE, "now"),
        (_NOW - _S + 1, TimeStyle.AGE, "now"),
        (_NOW - _S, TimeStyle.AGE, "1s ago"),
        (_NOW - 59 * _S, TimeStyle.AGE, "59s ago"),
        (_NOW - 180 * _S, TimeStyle.AGE, "3m ago"),
        (_NOW - 7200 * _S, TimeStyle.AGE, "2h ago"),
        (_NOW - 86_400 * 40 * _S, TimeStyle.AGE, "40d ago"),
        (_NOW + _S, TimeStyle.AGE, "now"),
        (_NOW + 90 * _S, TimeStyle.AGE, "in 1m"),
        (_NOW, TimeStyle.UTC, "2026-11-24 03:55:00"),
        (_NOW + 1, TimeStyle.NS, "1795492500000000001"),
        (10**30, TimeStyle.UTC, str(10**30)),
        (-(10**30), TimeStyle.UTC, str(-(10**30))),
    ],
)
def test_times(time_ns: int, style: TimeStyle, shown: str) -> None:
    assert format_time(time_ns, style, _NOW) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (86_400, "1d")])
def test_durations(seconds: int, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[0m\0\x7f", r"\x1b[0m\x00\x7f"),
        ("\u202e\u2028\u200b", r"\u202e\u2028\u200b"),
        ("é 日本語 🐟", "é 日本語 🐟"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("\udcff", r"\udcff"),
        (r"a\nb", r"a\nb"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\n\nb\n\n", ["a", "", "b", ""]),
        ("a\r\nb\rc", ["a", r"b\rc"]),
        ("a\tb", ["a       b"]),
        ("\x1b[2J\n\a", [r"\x1b[2J", r"\x07"]),
    ],
)
def test_several_lines(text: str, lines: list[str]) -> None:
    assert several_lines(text) == lines


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("abcd", 1, "…"),
        ("abcd", 0, ""),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("a\u0301bc", 2, "a\u0301…"),
    ],
)
def test_cut(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert cell_width(shown) <= width


def test_a_table_is_as_wide_as_it_must_be() -> None:
    columns = (Column("ID"), Column("N", right=True), Column("NOTE"))
    rows = [["a", "1", "x"], ["bbb", "100", ""]]
    assert render_table(columns, rows, None) == [
        "\x1b[1mID\x1b[0m     \x1b[1mN\x1b[0m  \x1b[1mNOTE\x1b[0m",
        "a      1  x",
        "bbb  100  ",
    ]


@pytest.mark.parametrize("width", range(20, 60))
def test_a_table_fits_the_width_by_its_last_columns_first(width: int) -> None:
    columns = (Column("ID", minimum=4), Column("STATE"), Column("MESSAGE", minimum=7))
    lines = render_table(columns, [["e-0123456789", "Running", "日本語 and more of it"]], width)
    shown = lines[1]
    assert cell_width(shown) <= max(width, 4 + 2 + 7 + 2 + 7)
    assert "Running" in shown
    assert shown.startswith("e-0123456789" if width >= 30 else "e-")


def test_a_colour_does_not_count_as_width() -> None:
    columns = (Column("STATE", colour=lambda text: "red" if text == "Failed" else None), Column("X"))
    lines = render_table(columns, [["Failed", "x"], ["New", "y"]], None)
    assert lines[1:] == ["\x1b[31mFailed\x1b[0m  x", "New     y"]


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        ([], []),
        (["e-0123456789"], ["e-01234567"]),
        (["e-01234567-a", "e-01234567-b"], ["e-01234567-a", "e-01234567-b"]),
        (["e-01234567-ax", "e-11234567-bx"], ["e-01234567", "e-11234567"]),
        (["short", "shorter than"], ["short", "shorter th"]),
        (["same-0123456789", "same-0123456789"], ["same-01234", "same-01234"]),
    ],
)
def test_ids_are_shortened_as_long_as_they_differ(ids: list[str], short: list[str]) -> None:
    assert shorten_ids(ids) == short


def test_on_a_terminal_a_column_that_says_nothing_is_left_out() -> None:
    columns = (Column("ID"), Column("PART", right=True, boring="0"), Column("NOTE", boring=""))
    rows = [["a", "0", ""], ["b", "0", ""]]
    assert [line.split() for line in render_table(columns, rows, 80)[1:]] == [["a"], ["b"]]
    assert [line.split() for line in render_table(columns, [*rows, ["c", "1", "x"]], 80)[1:]] == [
        ["a", "0"],
        ["b", "0"],
        ["c", "1", "x"],
    ]
    # A program that reads the lines finds each column where it was.
    assert "PART" in render_table(columns, rows, None)[0]


def test_on_a_terminal_a_last_column_may_go_on_below() -> None:
    columns = (Column("ID"), Column("WHAT", minimum=8, wraps=True))
    row = ["e-1", "one two three four"]
    lines = render_table(columns, [row, ["e-2", ""], ["e-3", "日本語 日本語 日本語"]], 16)
    assert all(cell_width(line) <= 16 for line in lines[1:])
    assert [line.split() for line in lines[1:4]] == [["e-1", "one", "two"], ["three", "four"], ["e-2"]]
    assert lines[2].startswith("     three")
    assert render_table(columns, [row], None)[1] == "e-1  one two three four"
