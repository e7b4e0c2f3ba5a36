"""When a cron expression fires: by hand, and on the days when the clocks change as cron(8) has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest

from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.pipeline.retrain.schedule import next_time

BERLIN = "Europe/Berlin"
MINUTE = timedelta(minutes=1)


def fires(cron: str, zone: str, start: datetime) -> Iterator[datetime]:
    times, place = cron_times(cron), ZoneInfo(zone)
    moment: datetime | None = start.astimezone(UTC)
    while moment is not None and (moment := next_time(times, place, moment)) is not None:
        yield moment


def first_times(cron: str, zone: str, start: str, count: int) -> list[str]:
    """The first times from ``start`` on."""
    begun = datetime.fromisoformat(start) - timedelta(microseconds=1)
    return [f"{when:%m-%d %H:%M}" for when in islice(fires(cron, zone, begun), count)]


def test_the_night_of_the_spring_change_is_not_lost():
    """Berlin goes from 02:00 to 03:00 on the 29th: the night after it is the 30th, 22:00 in UTC of the 29th."""
    assert first_times("@daily", BERLIN, "2026-03-29T00:30+01:00", 2) == ["03-29 22:00", "03-30 22:00"]
    assert first_times("@weekly", BERLIN, "2026-03-29T00:30+01:00", 1) == ["04-04 22:00"]
    # Santiago goes from 24:00 to 01:00 on Sunday the 6th of September, which has no 00:00: 04:00 in UTC is 01:00.
    assert first_times("@daily", "America/Santiago", "2026-09-05T12:00Z", 2) == ["09-06 04:00", "09-07 03:00"]
    assert first_times("@weekly", "America/Santiago", "2026-09-05T12:00Z", 2) == ["09-06 04:00", "09-13 03:00"]
    assert first_times("*/15 0 * * 0", "America/Santiago", "2026-09-05T12:00Z", 2) == ["09-06 04:00", "09-13 03:00"]
    # Samoa had no 30 December 2011.
    assert first_times("0 3 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z", 1) == ["12-30 10:00"]


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        # Spring: 02:30 does not exist on the 29th; it runs at 03:00 in summer time, 01:00 in UTC.
        ("30 2 * * *", "2026-03-27T12:00Z", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # Autumn: 02:30 comes twice on the 25th, in summer time first: 00:30 in UTC.
        ("30 2 * * *", "2026-10-23T12:00Z", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        ("0,30 2 * * *", "2026-10-24T22:00Z", ["10-25 00:00", "10-25 00:30", "10-26 01:00"]),
        # Every hour is every hour, whatever it is called.
        ("0 * * * *", "2026-03-29T00:00Z", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        ("0 * * * *", "2026-10-25T00:00Z", ["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
        ("*/30 * * * *", "2026-10-25T00:10Z", ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"]),
        # A start within the second of both hours: the time has passed.
        ("30 2 * * *", "2026-10-25T01:15Z", ["10-26 01:30"]),
    ],
)
def test_days_when_the_clocks_change(cron, start, expected):
    assert first_times(cron, BERLIN, start, len(expected)) == expected


def test_a_change_by_half_an_hour():
    # Lord Howe Island goes from 02:00+10:30 to 02:30+11:00, 15:30 in UTC: 02:10 runs then.
    expected = ["10-02 15:40", "10-03 15:30", "10-04 15:10"]
    assert first_times("10 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:00Z", 3) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        # 2026-06-01 is a Monday.
        ("0 3 * * 1", ["06-01 03:00", "06-08 03:00"]),
        ("0 3 * * 0", ["06-07 03:00", "06-14 03:00"]),
        ("0 3 * * 5-6", ["06-05 03:00", "06-06 03:00", "06-12 03:00"]),
        # Either the 10th or a Friday, as in crontab.
        ("0 3 10 * FRI", ["06-05 03:00", "06-10 03:00", "06-12 03:00"]),
        # Days with an odd number that are Fridays: the field begins with a star.
        ("0 3 */2 * FRI", ["06-05 03:00", "06-19 03:00"]),
    ],
)
def test_days_of_the_week(cron, expected):
    assert first_times(cron, "UTC", "2026-06-01T00:00Z", len(expected)) == expected


def test_it_fires_in_its_zone():
    (first,) = islice(fires("0 3 * * *", "Asia/Tokyo", datetime(2026, 1, 1, tzinfo=UTC)), 1)
    assert first.astimezone(ZoneInfo("Asia/Tokyo")).hour == 3
    assert first == datetime(2026, 1, 1, 18, tzinfo=UTC)


def test_what_comes_once_in_forty_years():
    # 2100 is no leap year. 29 February is a Sunday in 2088 and in 2128.
    start = datetime(2093, 1, 1, tzinfo=UTC)
    assert [when.year for when in islice(fires("0 0 29 2 *", "UTC", start), 2)] == [2096, 2104]
    assert [when.year for when in islice(fires("0 0 29 2 */7", "UTC", start), 1)] == [2128]
    assert [when.year for when in islice(fires("*/30 * 29 2 */7", "UTC", start), 1)] == [2128]


class Daemon:
    """cron as a daemon: it looks at the wall each minute, and starts what the clock reached since it last looked.

    An oracle that shares no code with ours, for expressions of numbers, ranges, lists and steps.
    """

    def __init__(self, cron: str):
        minute, hour, day, month, weekday = cron.split()
        self._minutes, self._hours = self._set(minute, 0, 59), self._set(hour, 0, 23)
        self._days, self._months, self._weekdays = (
            self._set(day, 1, 31),
            self._set(month, 1, 12),
            self._set(weekday, 0, 6),
        )
        self._both = day[0] == "*" or weekday[0] == "*"
        self._hourly = self._hours == set(range(24))

    @staticmethod
    def _set(text: str, low: int, high: int) -> set[int]:
        found = set()
        for part in text.split(","):
            numbers, _, step = part.partition("/")
            first, _, last = (f"{low}-{high}" if numbers == "*" else numbers).partition("-")
            found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
        return found

    def _fits(self, wall: datetime) -> bool:
        if wall.minute not in self._minutes or wall.hour not in self._hours or wall.month not in self._months:
            return False
        day, weekday = wall.day in self._days, (wall.weekday() + 1) % 7 in self._weekdays
        return (day and weekday) if self._both else (day or weekday)

    def starts(self, walls: list[tuple[datetime, datetime]]) -> list[datetime]:
        """When it starts something, of a row of minutes: each in UTC, and what is on the wall."""
        found = []
        reached = walls[0][1]
        for moment, wall in walls[1:]:
            if self._hourly:
                started = self._fits(wall)
            else:
                skipped = range(1, max(0, (wall - reached) // MINUTE) + 1)
                started = any(self._fits(reached + number * MINUTE) for number in skipped)
                reached = max(reached, wall)
            if started:
                found.append(moment)
        return found


def changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """The minutes in which a zone's clock is set, by halving."""
    day = timedelta(days=4)
    moment, offset = start, start.astimezone(zone).utcoffset()
    while moment < end:
        following = moment + day
        after = following.astimezone(zone).utcoffset()
        if after != offset:
            low, high = moment, following
            while high - low > MINUTE:
                middle = low + (high - low) // MINUTE // 2 * MINUTE
                low, high = (low, middle) if middle.astimezone(zone).utcoffset() != offset else (middle, high)
            yield high
        moment, offset = following, after


CRONS = (
    "0 0 * * *",
    "30 2 * * *",
    "0,30 1-3 * * *",
    "0 0 * * 0",
    "30 23 * * *",
    "15 0 1 * *",
    "0 * * * *",
    "*/20 * * * 0",
    "0 */6 * * *",
    "*/30 2 * * *",
    "15 1 */2 * 6",
    "0 0 13 * 5",
)


@pytest.mark.slow
def test_each_kind_of_change_of_all_zones_in_ten_years():
    """A change is of the kind of another if both offsets, the time on the wall and the day of the week are the same."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    kinds: dict[tuple, tuple[str, datetime]] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for moment in changes(zone, start, end):
            before, after = (moment - MINUTE).astimezone(zone), moment.astimezone(zone)
            kind = (before.utcoffset(), after.utcoffset(), after.time(), after.weekday())
            kinds.setdefault(kind, (name, moment))
    # History, for what the ten years to come do not hold: a day left out, half an hour, a change at 23:30.
    kinds[0,] = ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC))
    kinds[1,] = ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC))
    kinds[2,] = ("America/Caracas", datetime(2016, 5, 1, 7, tzinfo=UTC))
    assert len(kinds) > 40
    for name, moment in kinds.values():
        first, last = moment - timedelta(hours=26), moment + timedelta(hours=26)
        zone = ZoneInfo(name)
        minutes = [first + number * MINUTE for number in range((last - first) // MINUTE + 1)]
        walls = [(minute, minute.astimezone(zone).replace(tzinfo=None)) for minute in minutes]
        for cron in CRONS:
            ours = [*takewhile(minutes[-1].__ge__, fires(cron, name, first))]
            assert ours == Daemon(cron).starts(walls), (name, moment, cron)


@pytest.mark.slow
def test_every_night_of_ten_years_near_a_change_has_its_run():
    """In each zone, each day around each change gets exactly one @daily, but a day that the calendar leaves out."""
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    nights = 0
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for moment in changes(zone, start, end):
            day = (moment - timedelta(days=2)).astimezone(zone).date()
            requested = datetime.combine(day, time(12), tzinfo=zone)
            days = [when.astimezone(zone).date() for when in islice(fires("@daily", name, requested), 4)]
            assert days == [day + timedelta(days=number) for number in (1, 2, 3, 4)], (name, moment)
            nights += 4
    assert nights > 10_000
