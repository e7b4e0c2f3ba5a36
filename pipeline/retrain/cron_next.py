"""When a cron expression fires next, as cron(8) of Debian has it on the days when the clocks change.

>>> next_time(cron_times("30 2 * * *"), ZoneInfo("Europe/Berlin"), datetime(2026, 3, 29, tzinfo=UTC))  # doctest: +SKIP
datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)

What names an hour fires once for each time that it names: at once after the clock skipped it, and the first time if the
clock repeats it. What fires in every hour follows the clock on the wall: not in an hour that is skipped, twice in one
that is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from noisy_gru.pipeline.config.cron import CronTimes

_HOURS = 24
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
# 29 February on one day of the week comes every 28 years, and every 40 around 2100.
_FURTHEST = timedelta(days=41 * 366)


def next_time(times: CronTimes, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first time of a cron expression after a moment.

    Args:
        times: the expression.
        zone: of its times.
        after: the moment, with a time zone.

    Returns:
        The time in UTC; None if there is none in the next forty years.
    """
    after = after.astimezone(UTC)
    if len(times.hours) == _HOURS:
        return _by_the_clock(times, zone, after)
    for day in _days(times, after.astimezone(zone).date()):
        for hour, minute, second in product(times.hours, times.minutes, times.seconds):
            moment = _reached(datetime.combine(day, time(hour, minute, second)), zone)
            if moment > after:
                return moment
    return None


def _days(times: CronTimes, first: date) -> Iterator[date]:
    """The days that fit, from ``first`` on."""
    for number in range(min(_FURTHEST, date.max - first) // _DAY):
        day = first + number * _DAY
        if _fits(times, day):
            yield day


def _fits(times: CronTimes, day: date) -> bool:
    # Sunday is 0 in cron, and 7 to isoweekday.
    fits = (day.day in times.days, day.isoweekday() % 7 in times.weekdays)
    return day.month in times.months and (any(fits) if times.either_day else all(fits))


def _reached(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the clock on the wall shows ``wall`` or more, in UTC."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # The clock skips it: somewhere between what both offsets make of it.
    before, reached = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment
    while reached - before > _SECOND:
        middle = before + (reached - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).replace(tzinfo=None) >= wall:
            reached = middle
        else:
            before = middle
    return reached


def _by_the_clock(times: CronTimes, zone: ZoneInfo, after: datetime) -> datetime | None:
    """``next_time`` of what fires in every hour: looks at the clock on the wall, in leaps where no minute can fit."""
    moment = after.replace(microsecond=0) + _SECOND
    furthest = min(after, datetime.max.replace(tzinfo=UTC) - _FURTHEST - 2 * _DAY) + _FURTHEST
    while moment < furthest:
        local = moment.astimezone(zone)
        if not _fits(times, local.date()):
            leap = timedelta(hours=23 - local.hour, minutes=59 - local.minute, seconds=60 - local.second)
        elif local.minute not in times.minutes:
            leap = timedelta(seconds=60 - local.second)
        elif local.second not in times.seconds:
            leap = _SECOND
        else:
            return moment
        there = moment + leap
        if there.astimezone(zone).utcoffset() != local.utcoffset():
            # The clock changes on the way, so the leap may be too wide.
            there = moment + min(leap, timedelta(seconds=60 - local.second))
        moment = there
    return None
