"""Points in time as Go's ``time.Time`` writes them in JSON: RFC 3339, to the nanosecond, in their own time zone.

Python's ``datetime`` stops at microseconds and has no year 0, so the calendar is done here with integers.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final, Self

from execstore.errors import InvalidExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timestamp"]

_NS_PER_SECOND: Final = 1_000_000_000
_SECONDS_PER_DAY: Final = 86_400
_FORM: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A point in time, and the time zone it is written in.

    Two are equal if they are written the same; they are ordered by the instant, then by the zone.

    Args:
        nanoseconds: since 1970-01-01T00:00:00Z, negative before.
        offset_seconds: of the local time from UTC, in whole minutes and under a day; ``None`` is written ``Z``.

    Raises:
        InvalidExecutionError: if one of them is something else.
    """

    nanoseconds: int
    offset_seconds: int | None = None

    ZERO: ClassVar[Timestamp]
    """Go's zero time, 0001-01-01T00:00:00Z."""

    def __post_init__(self) -> None:
        offset = self.offset_seconds
        if type(self.nanoseconds) is not int or not (offset is None or type(offset) is int):
            raise InvalidExecutionError("Timestamp", "nanoseconds and offset are integers")
        if offset and (offset % 60 or not -_SECONDS_PER_DAY < offset < _SECONDS_PER_DAY):
            raise InvalidExecutionError("Timestamp", "the offset must be in whole minutes, and less than a day")

    @classmethod
    def now(cls, clock: Callable[[], int] = time.time_ns) -> Self:
        """The present, in UTC. ``clock`` returns nanoseconds since the epoch."""
        return cls(clock())

    @classmethod
    def parse(cls, text: str, member: str = "") -> Self:
        """A time of RFC 3339, ``2026-01-02T03:04:05.123456789+05:30``, with up to nine digits behind the point.

        Args:
            member: where the text stands, for the error.

        Raises:
            InvalidExecutionError: naming ``member`` and what is wrong.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            reason = f"{text[:60]!r} is not a time like 2026-01-02T03:04:05.123456789Z (RFC 3339)"
            raise InvalidExecutionError(member, reason)
        minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
        seconds = _seconds_of_minute(minute)
        if seconds is None or second > "59":
            raise InvalidExecutionError(member, f"{text[:60]!r} is a date or a time of day that doesn't exist")
        seconds += int(second)
        offset = None
        if sign is not None:
            if offset_hours > "23" or offset_minutes > "59":
                raise InvalidExecutionError(member, f"{text[:60]!r} has a time zone that doesn't exist")
            offset = (int(offset_hours) * 60 + int(offset_minutes)) * (-60 if sign == "-" else 60)
            seconds -= offset
        nanoseconds = seconds * _NS_PER_SECOND
        if fraction is not None:
            if len(fraction) > 9:
                raise InvalidExecutionError(member, f"{text[:60]!r} is finer than nanoseconds (nine digits)")
            nanoseconds += int(fraction.ljust(9, "0"))
        # Both are right, so there is no need to check them: this is done for each event that is read.
        parsed = object.__new__(cls)
        object.__setattr__(parsed, "nanoseconds", nanoseconds)
        object.__setattr__(parsed, "offset_seconds", offset)
        return parsed

    @classmethod
    def from_datetime(cls, moment: datetime, member: str = "") -> Self:
        """The same time; one in ``datetime.UTC`` is written ``Z``, any other with its offset.

        Raises:
            InvalidExecutionError: naming ``member``, if it has no time zone (then it is no point in time), or one with
                an offset that isn't in whole minutes.
        """
        offset = moment.utcoffset()
        if offset is None:
            raise InvalidExecutionError(member, "a datetime without a time zone; give one, such as datetime.UTC")
        if offset % timedelta(minutes=1):
            raise InvalidExecutionError(member, f"the time zone's offset {offset} is not in whole minutes")
        # Subtracting the offset from a datetime near its limits would overflow; on integers it can't.
        local = moment.replace(tzinfo=None) - datetime(1970, 1, 1)  # noqa: DTZ001 - both without zone, on purpose
        offset_seconds = int(offset.total_seconds())
        nanoseconds = (local // timedelta(microseconds=1)) * 1000 - offset_seconds * _NS_PER_SECOND
        return cls(nanoseconds, None if moment.tzinfo is UTC else offset_seconds)

    def to_datetime(self) -> datetime:
        """The same time as a ``datetime``, cut to microseconds.

        Raises:
            InvalidExecutionError: for a time outside of the years 1 to 9999, which ``datetime`` can't hold.
        """
        zone = UTC if self.offset_seconds is None else timezone(timedelta(seconds=self.offset_seconds))
        local = self.nanoseconds + (self.offset_seconds or 0) * _NS_PER_SECOND
        try:
            naive = datetime(1970, 1, 1) + timedelta(microseconds=local // 1000)  # noqa: DTZ001 - the zone comes next
        except OverflowError:
            raise InvalidExecutionError("", f"{self.to_text()} is outside of what a datetime can hold") from None
        return naive.replace(tzinfo=zone)

    def to_text(self, member: str = "") -> str:
        """RFC 3339 as Go writes it: without the fraction's trailing zeros.

        Raises:
            InvalidExecutionError: naming ``member``, for a year outside of 0 to 9999, as the reference does.
        """
        seconds, fraction = divmod(self.nanoseconds, _NS_PER_SECOND)
        offset = self.offset_seconds
        if offset is None:
            zone = "Z"
        else:
            seconds += offset
            sign = "-" if offset < 0 else "+"
            zone = f"{sign}{abs(offset) // 3600:02}:{abs(offset) // 60 % 60:02}"
        days, second = divmod(seconds, _SECONDS_PER_DAY)
        date = _date_of_days(days)
        if date is None:
            raise InvalidExecutionError(member, "year outside of range [0,9999]")
        point = f".{fraction:09}".rstrip("0") if fraction else ""
        return f"{date}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}{point}{zone}"

    def __str__(self) -> str:
        return self.to_text()

    def _order(self) -> tuple[int, int, bool]:
        return self.nanoseconds, self.offset_seconds or 0, self.offset_seconds is not None

    def __lt__(self, other: object) -> bool:
        return self._order() < other._order() if isinstance(other, Timestamp) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self._order() <= other._order() if isinstance(other, Timestamp) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self._order() > other._order() if isinstance(other, Timestamp) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self._order() >= other._order() if isinstance(other, Timestamp) else NotImplemented


# Days since the epoch and back, after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms". An era is the 400
# years after which the calendar repeats; a year begins in March here, so that the leap day is its last.
# All are remembered for a while, since the times of one store fall on few days, and those of one reader on few minutes.

_DAYS_PER_ERA: Final = 146_097
_DAYS_FROM_0000_03_01_TO_EPOCH: Final = 719_468


@lru_cache(maxsize=1024)
def _seconds_of_minute(minute: str) -> int | None:
    """The seconds since the epoch of ``YYYY-MM-DDThh:mm``, ``None`` if there is no such minute."""
    days = _days_of_date(minute[:10])
    if days is None or minute[11:13] > "23" or minute[14:] > "59":
        return None
    return days * _SECONDS_PER_DAY + int(minute[11:13]) * 3600 + int(minute[14:]) * 60


@lru_cache(maxsize=64)
def _days_of_date(date: str) -> int | None:
    """The days since the epoch of ``YYYY-MM-DD``, ``None`` if there is no such day."""
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    shifted_year = year - (month <= 2)
    era, year_of_era = divmod(shifted_year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    days = era * _DAYS_PER_ERA + day_of_era - _DAYS_FROM_0000_03_01_TO_EPOCH
    # A day that doesn't exist (the 31st of April, the 13th month) comes back as another one.
    return days if _date_of_days(days) == date else None


@lru_cache(maxsize=64)
def _date_of_days(days: int) -> str | None:
    """``YYYY-MM-DD`` of so many days since the epoch, ``None`` if the year is outside of 0 to 9999."""
    era, day_of_era = divmod(days + _DAYS_FROM_0000_03_01_TO_EPOCH, _DAYS_PER_ERA)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = (shifted_month + 2) % 12 + 1
    year = era * 400 + year_of_era + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}" if 0 <= year <= 9999 else None


Timestamp.ZERO = Timestamp.parse("0001-01-01T00:00:00Z")
