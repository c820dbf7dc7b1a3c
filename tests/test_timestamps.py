from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstore.errors import InvalidExecutionError
from execstore.timestamps import Timestamp

SECOND = 1_000_000_000
MIN_NS = Timestamp.parse("0000-01-02T00:00:00Z").nanoseconds
MAX_NS = Timestamp.parse("9999-12-30T23:59:59.999999999Z").nanoseconds
offsets = st.none() | st.integers(-1439, 1439).map(lambda minutes: minutes * 60)
timestamps = st.builds(Timestamp, st.integers(MIN_NS, MAX_NS), offsets)


@pytest.mark.parametrize(
    ("text", "nanoseconds", "offset"),
    [
        ("1970-01-01T00:00:00Z", 0, None),
        ("1970-01-01T00:00:00+00:00", 0, 0),
        ("1970-01-01T00:00:00.000000001Z", 1, None),
        ("1969-12-31T23:59:59.999999999Z", -1, None),
        ("1970-01-01T05:30:00+05:30", 0, 19800),
        ("1969-12-31T16:00:00-08:00", 0, -28800),
        ("1970-01-01T23:59:00+23:59", 0, 86340),
        ("2026-01-02T03:04:05.1234567Z", 1767323045123456700, None),
        ("2024-02-29T12:00:00Z", 1709208000 * SECOND, None),
        ("2000-02-29T00:00:00Z", 951782400 * SECOND, None),
        ("0001-01-01T00:00:00Z", -62135596800 * SECOND, None),
        ("0000-01-01T00:00:00Z", -62167219200 * SECOND, None),
        ("0000-02-29T00:00:00Z", -62162121600 * SECOND, None),
        ("9999-12-31T23:59:59.999999999Z", 253402300800 * SECOND - 1, None),
        ("0000-01-01T00:00:00+05:00", (-62167219200 - 18000) * SECOND, 18000),
        ("9999-12-31T23:59:59-23:59", (253402300799 + 86340) * SECOND, -86340),
    ],
)
def test_texts_and_what_they_mean(text: str, nanoseconds: int, offset: int | None) -> None:
    timestamp = Timestamp.parse(text)
    assert (timestamp.nanoseconds, timestamp.offset_seconds) == (nanoseconds, offset)
    assert str(timestamp) == timestamp.to_text() == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-01-02T03:04:05.500Z", "2026-01-02T03:04:05.5Z"),
        ("2026-01-02T03:04:05.000000000Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05+00:00"),
    ],
)
def test_what_is_written_otherwise_than_it_was_read(text: str, written: str) -> None:
    assert str(Timestamp.parse(text)) == written


@given(timestamps)
def test_every_timestamp_comes_back_from_its_text(timestamp: Timestamp) -> None:
    assert Timestamp.parse(timestamp.to_text()) == timestamp


@given(st.datetimes(timezones=st.just(UTC) | st.timezones()))
def test_times_agree_with_datetime(moment: datetime) -> None:
    offset = moment.utcoffset()
    if offset is None or offset % timedelta(minutes=1):
        return
    timestamp = Timestamp.from_datetime(moment)
    assert timestamp.to_datetime() == moment.astimezone(timezone(offset))
    assert str(timestamp)[:19] == moment.isoformat()[:19]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05+0530",
        "2026-01-02T03:04:05+05",
        "2026-01-02T03:04:05 Z",
        "2026-01-02T03:04:05Z\n",
        "\uff12026-01-02T03:04:05Z",
        "10000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60",
        "2026-01-01T00:00:00.1234567890Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        Timestamp.parse(text, "Events[0].Timestamp")
    assert caught.value.member == "Events[0].Timestamp"


@given(st.text() | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z"))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        timestamp = Timestamp.parse(text)
    except InvalidExecutionError:
        return
    assert Timestamp.parse(str(timestamp)) == timestamp


@pytest.mark.parametrize("nanoseconds", [253402300800 * SECOND, -62167219200 * SECOND - 1, 10**40, -(10**40)])
def test_a_year_that_has_not_four_digits_is_not_written(nanoseconds: int) -> None:
    with pytest.raises(InvalidExecutionError, match=r"year outside of range \[0,9999\]"):
        Timestamp(nanoseconds).to_text()


def test_the_year_is_that_of_the_own_zone() -> None:
    new_year = Timestamp.parse("9999-12-31T23:59:59-01:00")
    with pytest.raises(InvalidExecutionError, match="year outside"):
        Timestamp(new_year.nanoseconds).to_text()


@pytest.mark.parametrize(
    ("nanoseconds", "offset"),
    [(0, 30), (0, 86400), (0, -86400), (1.5, None), (True, None), ("0", None), (0, 60.0), (0, True)],
)
def test_a_timestamp_is_made_of_fitting_integers(nanoseconds: Any, offset: Any) -> None:
    with pytest.raises(InvalidExecutionError) as caught:
        Timestamp(nanoseconds, offset)
    assert caught.value.member == "Timestamp"


def test_now_asks_the_clock() -> None:
    assert Timestamp.now(lambda: 1_500_000_000) == Timestamp(1_500_000_000)
    assert str(Timestamp.now(lambda: 1_500_000_000)) == "1970-01-01T00:00:01.5Z"


def test_now_is_now() -> None:
    before = datetime.now(UTC)
    assert before <= Timestamp.now().to_datetime() <= datetime.now(UTC) + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, ZoneInfo("Asia/Kolkata")), "2026-01-02T03:04:05+05:30"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "0001-01-01T00:00:00+14:00"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))), "9999-12-31T23:59:59.999999-14:00"),
    ],
)
def test_from_datetime(moment: datetime, text: str) -> None:
    assert str(Timestamp.from_datetime(moment)) == text


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (datetime(2026, 1, 2), "without a time zone"),  # noqa: DTZ001 - on purpose
        (datetime(1800, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), "not in whole minutes"),
    ],
)
def test_from_a_datetime_that_is_no_point_in_time(moment: datetime, reason: str) -> None:
    with pytest.raises(InvalidExecutionError, match=reason):
        Timestamp.from_datetime(moment)


def test_to_datetime_cuts_to_microseconds() -> None:
    moment = Timestamp.parse("1969-12-31T23:59:59.999999999+01:00").to_datetime()
    assert moment.isoformat() == "1969-12-31T23:59:59.999999+01:00"


def test_to_datetime_has_no_year_0() -> None:
    with pytest.raises(InvalidExecutionError, match="outside of what a datetime can hold"):
        Timestamp.parse("0000-06-01T00:00:00Z").to_datetime()


def test_timestamps_are_ordered_by_instant() -> None:
    early = Timestamp.parse("2026-01-01T00:00:00+05:00")
    late = Timestamp.parse("2025-12-31T23:00:00Z")
    assert early < late
    assert early <= late
    assert late > early
    assert late >= early
    assert sorted([late, early]) == [early, late]


def test_the_same_instant_in_two_zones_is_written_differently_and_so_not_equal() -> None:
    assert Timestamp(0) != Timestamp(0, 0)
    assert Timestamp(0) < Timestamp(0, 0) < Timestamp(0, 60)


@given(timestamps, timestamps)
def test_the_order_is_total(first: Timestamp, second: Timestamp) -> None:
    assert (first < second) + (first == second) + (first > second) == 1
    assert (first <= second) == (not first > second)
    assert (first >= second) == (not first < second)


def test_a_timestamp_is_not_compared_to_other_things() -> None:
    with pytest.raises(TypeError):
        Timestamp(0) < 5  # noqa: B015 - the comparison itself is the test


@pytest.mark.parametrize("timestamp", [Timestamp.ZERO, Timestamp(5, 3600)])
def test_timestamps_are_values(timestamp: Timestamp) -> None:
    assert pickle.loads(pickle.dumps(timestamp)) == copy.deepcopy(timestamp) == timestamp
    assert hash(copy.copy(timestamp)) == hash(timestamp)
    with pytest.raises(AttributeError):
        timestamp.nanoseconds = 1  # type: ignore[misc]
