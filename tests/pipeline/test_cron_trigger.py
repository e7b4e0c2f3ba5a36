"""When a cron expression fires: by hand, on the days when the clocks change, and as systemd reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger

from noisy_gru.pipeline.cron import cron_times
from noisy_gru.pipeline.cron_trigger import cron_trigger
from noisy_gru.pipeline.printed_schedule import on_calendar

BERLIN = "Europe/Berlin"


def fires(trigger: BaseTrigger, start: datetime) -> Iterator[datetime]:
    """The times in UTC, asked for as APScheduler asks: a few milliseconds after each."""
    previous, now = None, start.astimezone(UTC)
    while (found := trigger.get_next_fire_time(previous, now)) is not None:
        yield found.astimezone(UTC)
        previous, now = found, found.astimezone(UTC) + timedelta(milliseconds=5)


def told(cron: str, zone: str, start: str, count: int, **options) -> list[str]:
    trigger = cron_trigger(cron_times(cron), zone, **options)
    return [f"{when:%m-%d %H:%M}" for when in islice(fires(trigger, datetime.fromisoformat(start)), count)]


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        # Spring: 02:30 does not exist on the 29th; it is 03:30 in summer time, 01:30 in UTC.
        ("30 2 * * *", "2026-03-27T12:00Z", ["03-28 01:30", "03-29 01:30", "03-30 00:30"]),
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
    assert told(cron, BERLIN, start, len(expected)) == expected


def test_a_change_by_half_an_hour():
    # Lord Howe Island goes from 02:00+10:30 to 02:30+11:00; 02:10 is 02:40 then, 15:40 in UTC.
    expected = ["10-02 15:40", "10-03 15:40", "10-04 15:10"]
    assert told("10 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:00Z", 3) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        # 2026-06-01 is a Monday; APScheduler itself would count days from it.
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
    assert told(cron, "UTC", "2026-06-01T00:00Z", len(expected)) == expected


def test_jitter_is_added_to_the_moment_and_does_not_skip_or_repeat_one():
    draws = []

    def uniform(low: float, high: float) -> float:
        draws.append((low, high))
        return high * 0.75

    # On the day when 02:30 comes twice: 45 minutes after the first of both, which is the second hour of that name.
    assert told("30 2 * * *", BERLIN, "2026-10-24T12:00Z", 2, jitter=timedelta(hours=1), uniform=uniform) == [
        "10-25 01:15",
        "10-26 02:15",
    ]
    assert set(draws) == {(0.0, 3600.0)}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * * *",
        "*/20 8-18/4 * * *",
        "0 3 * * 0,2-4",
        "15 10 12 30 1,6 ?",
        "0 0 29 2 *",
        "7 4 10 * FRI",
        "0 3 */9 * 2",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns"])
def test_systemd_reads_the_printed_times_as_ours(cron, zone):
    times = cron_times(cron)
    base = datetime(2026, 4, 1, 12, 0, 1, tzinfo=UTC)
    theirs: set[datetime] = set()
    for line in on_calendar(times, zone):
        done = subprocess.run(
            ["systemd-analyze", "calendar", "--iterations=12", f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", line],
            capture_output=True,
            text=True,
            check=True,
            env={"LC_ALL": "C", "TZ": "UTC"},
        )
        stamps = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout.split("Next elapse")[1])
        theirs |= {datetime.fromisoformat(stamp).replace(tzinfo=UTC) for stamp in stamps}
    ours = list(islice(fires(cron_trigger(times, zone), base), 12))
    assert len(theirs) >= 12
    assert ours == sorted(theirs)[:12]


def test_it_fires_in_its_zone():
    (first,) = islice(fires(cron_trigger(cron_times("0 3 * * *"), "Asia/Tokyo"), datetime(2026, 1, 1, tzinfo=UTC)), 1)
    assert first.astimezone(ZoneInfo("Asia/Tokyo")).hour == 3
    assert first == datetime(2026, 1, 1, 18, tzinfo=UTC)
