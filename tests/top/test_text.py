"""Short texts: numbers, times, cut IDs, bars; and how lines and columns share the room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.cli.table import cell_width, wrap
from execstore.top.arrangement import arrange
from execstore.top.text import age, bars, change_of, clock, cut_middle, rate, size, span, spark_events, spark_levels
from execstore.top.trend import Bucket, Trend
from execstore.top.wrapping import hanging

_S = 1_000_000_000
_TEXT = st.text(alphabet=st.sampled_from("abc-日é🐟 \u0301"), max_size=60)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("e-123456789", 11, "e-123456789"),
        ("e-123456789", 10, "e-123…6789"),
        ("e-123456789", 5, "e-…89"),
        ("e-123456789", 2, "e…"),
        ("e-123456789", 0, ""),
        ("日本日本日本", 7, "日本…本"),
        ("日本日本日本", 6, "日…本"),
    ],
)
def test_an_id_is_cut_in_the_middle(text: str, width: int, shown: str) -> None:
    assert cut_middle(text, width) == shown


@given(_TEXT, st.integers(0, 70))
def test_what_is_cut_is_never_too_wide(text: str, width: int) -> None:
    shown = cut_middle(text, width)
    assert cell_width(shown) <= width
    assert shown == text or cell_width(text) > width


@given(_TEXT, st.integers(2, 70))
def test_what_is_wrapped_is_whole_and_never_too_wide(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in hanging("  name  ", text, max(width, 12)):
        assert cell_width(line.plain.rstrip()) <= max(width, 12)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (age(-5), "0s"),
        (age(59 * _S), "59s"),
        (age(192 * _S), "3m 12s"),
        (age(7320 * _S), "2h 02m"),
        (age(90_000 * _S), "1d 01h"),
        (span(430_000), "0.43 ms"),
        (span(12_400_000), "12 ms"),
        (span(1_500_000_000), "1.5 s"),
        (span(75 * _S), "1m 15s"),
        (rate(None), "-"),
        (rate(0.0), "0.0"),
        (rate(99.94), "99.9"),
        (rate(12345.6), "12,346"),
        (size(1023), "1023 B"),
        (size(3 << 20), "3.0 MiB"),
        (size(3 << 50), "3072.0 TiB"),
        (clock(1_795_492_500 * _S), "03:55:00"),
        (clock(10**30), "--:--:--"),
        (bars([0, 1, 8], 0, 8), " ▁█"),
        (bars([5, 5, 5], 5, 12), "▁▁▁"),
    ],
)
def test_short_texts(shown: str, expected: str) -> None:
    assert shown == expected


def trend_of(*levels: int, first: int = 0) -> Trend:
    return Trend(
        tuple(Bucket(first + index, {"New": level} if level else {}, level) for index, level in enumerate(levels))
    )


def test_one_more_of_many_is_one_step() -> None:
    assert spark_levels(trend_of(4200, 4200, 4201), "New", 60) == "▁▁▂".rjust(60)
    assert spark_levels(trend_of(0, 1, 2), "New", 60).strip(" ") == "▂▃"
    assert spark_levels(trend_of(0, 700), "New", 60)[-2:] == " █"
    assert spark_levels(Trend(), "New", 4) == "    "
    assert change_of(trend_of(10, 2000, 1300), "New") == "+1,290"
    assert (change_of(trend_of(3, 1), "New"), change_of(trend_of(3, 3), "New"), change_of(Trend(), "New")) == (
        "-2",
        "",
        "",
    )


def test_bars_that_are_joined_do_not_change_while_they_move() -> None:
    levels = [number // 3 % 8 + 1 for number in range(80)]
    before = spark_events(trend_of(*levels[:60]), 20)
    for moved in (3, 6, 9):
        after = spark_events(trend_of(*levels[moved : moved + 60], first=moved), 20)
        assert after[: -moved // 3] == before[moved // 3 :]
    assert len(set(before)) == 8


@pytest.mark.parametrize("events_are_focused", [False, True])
def test_every_line_is_given_to_one_part(events_are_focused: bool) -> None:
    for lines in range(120):
        for states in (0, 5, 12):
            parts = arrange(lines, states, events_are_focused=events_are_focused)
            assert min(parts) >= 0
            assert sum(parts) == lines
            if lines >= 10:
                assert min(parts.executions, parts.events) >= 4
    assert arrange(22, 7, events_are_focused=False).board == 8
    assert arrange(6, 7, events_are_focused=events_are_focused)[1 + events_are_focused] == 5
