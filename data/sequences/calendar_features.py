"""Calendar features: a step's time as sine and cosine, as a category, or as 0 or 1; the same wherever rows are read.

A cycle begins at midnight (the hour at its first minute), on Monday, on the first of the month or on 1 January, by the
clock of a zone, whose days have 23 to 25 hours where it changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from noisy_gru.data.sequences.holiday_dates import holiday_days
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.values.wall_clock import DAY, wall_clock
from noisy_gru.schema.calendars import CALENDAR_NUMBERS, HOLIDAY, CalendarName, calendar_texts
from noisy_gru.schema.config import DataConfig, FeatureConfig

HOUR = 3600 * 10**9
MINUTE = 60 * 10**9


def cycle_fraction(time: np.ndarray, calendar: CalendarName) -> np.ndarray:
    """Return the elapsed fraction of a cycle, float64 [N] in [0, 1), at ``time`` int64 [N], ns of wall clock.

    The cycle of a day of the month is its month, which has its own length, and so has a year. A year of weeks begins
    with the first week of ISO 8601; months and quarters are equal parts of a year.
    """
    if calendar == "minute_of_hour":
        return time % HOUR / HOUR
    if calendar == "hour_of_day":
        return time % DAY / DAY
    day, first = _days(time)
    if calendar == "day_of_week":
        return (_weekday(day) + time % DAY / DAY) / 7
    if calendar == "week_of_year":
        begin, end = _iso_year(_every(day, first))
        return _elapsed(time, day - first, begin, end)
    unit, count = {"day_of_month": ("M", 1), "day_of_year": ("Y", 1), "month_of_year": ("M", 12), "quarter": ("M", 4)}[
        calendar
    ]
    month = _every(day, first).astype(f"datetime64[{unit}]").astype(np.int64)
    months = 3 if calendar == "quarter" else 1
    begin = month - month % months
    bounds = [each.astype(f"datetime64[{unit}]").astype("datetime64[D]") for each in (begin, begin + months)]
    elapsed = _elapsed(time, day - first, *bounds)
    return elapsed if count == 1 else ((begin // months % count)[day - first] + elapsed) / count


def calendar_number(time: np.ndarray, calendar: CalendarName) -> np.ndarray:
    """Return a calendar's number, int64 [N], at ``time`` int64 [N], ns of wall clock: 1 to 12 for months, say.

    Days, weeks, months and quarters count from 1 (Monday is 1), hours and minutes from 0. Weeks of the year are those
    of ISO 8601; the first week of a month is its days 1 to 7, so the third Thursday is in week 3.
    """
    if calendar == "minute_of_hour":
        return time % HOUR // MINUTE
    if calendar == "hour_of_day":
        return time % DAY // HOUR
    day, first = _days(time)
    every = _every(day, first)
    if calendar == "day_of_week":
        found = _weekday(every.astype(np.int64)) + 1
    elif calendar == "week_of_year":
        found = (every - _iso_year(every)[0]).astype(np.int64) // 7 + 1
    elif calendar in ("day_of_month", "week_of_month", "day_of_year"):
        unit = "datetime64[Y]" if calendar == "day_of_year" else "datetime64[M]"
        found = (every - every.astype(unit).astype("datetime64[D]")).astype(np.int64) + 1
        found = (found - 1) // 7 + 1 if calendar == "week_of_month" else found
    else:
        month = every.astype("datetime64[M]").astype(np.int64) % 12
        found = month // (3 if calendar == "quarter" else 1) + 1
    return found[day - first]


def is_weekend(time: np.ndarray) -> np.ndarray:
    """Return bool [N]: whether ``time`` int64 [N], ns of wall clock, is on a Saturday or Sunday."""
    return _weekday(time // DAY) >= 5


def is_holiday(time: np.ndarray, country: str, subdivision: str | None) -> np.ndarray:
    """Return bool [N]: whether ``time`` int64 [N], ns of wall clock, is on a public holiday; see ``holiday_days``."""
    day, first = _days(time)
    every = _every(day, first)
    if not len(every):
        return np.zeros(0, bool)
    there = np.zeros(len(every), bool)
    there[day - first] = True
    years = np.unique(every[there].astype("datetime64[Y]").astype(np.int64)) + 1970
    known = holiday_days(country, subdivision, years.tolist())
    return np.isin(every.astype(np.int64), known)[day - first]


def calendar_values(time: np.ndarray, feature: FeatureConfig, timezone: str) -> np.ndarray:
    """Return the values of a calendar feature: float32 [N], or the numbers of a category, int64 [N].

    Args:
        time: int64 [N], ns since 1970 in UTC.
        feature: one of ``DataConfig.features`` with a calendar.
        timezone: `data.time.timezone`.
    """
    return _values(wall_clock(time, timezone), feature, cycle_fraction)


def _values(clock: np.ndarray, feature: FeatureConfig, fraction: Callable[..., np.ndarray]) -> np.ndarray:
    calendar = feature.calendar
    if calendar is None:
        raise TypeError(f"feature {feature.name} has no calendar")
    if feature.kind == "categorical":
        return calendar_number(clock, calendar)
    if calendar == HOLIDAY:
        return is_holiday(clock, feature.country or "", feature.subdivision).astype(np.float32)
    if calendar == "weekend":
        return is_weekend(clock).astype(np.float32)
    angle = 2 * np.pi * fraction(clock, calendar)
    return (np.sin(angle) if feature.name.endswith("_sin") else np.cos(angle)).astype(np.float32)


def add_calendar_features(rows: Rows, data: DataConfig) -> Rows:
    """Add the calendar features of a data set as columns of ``Rows``, also to filled-in steps."""
    features = [feature for feature in data.features if feature.calendar is not None]
    if not features or data.time is None:
        return rows
    clock = wall_clock(rows.time, data.time.timezone)
    fractions: dict[str, np.ndarray] = {}

    def fraction(_: np.ndarray, calendar: CalendarName) -> np.ndarray:
        # Sine and cosine have it in common.
        if calendar not in fractions:
            fractions[calendar] = cycle_fraction(clock, calendar)
        return fractions[calendar]

    numeric, categorical = dict(rows.numeric), dict(rows.categorical)
    for feature in features:
        values = _values(clock, feature, fraction)
        if feature.kind == "numeric":
            numeric[feature.name] = values
        else:
            low = CALENDAR_NUMBERS[feature.calendar or ""][0]
            categorical[feature.name] = ((values - low).astype(np.int32), calendar_texts(feature.calendar or ""))
    return replace(rows, numeric=numeric, categorical=categorical)


def _days(time: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the days since 1970 of times, int64 [N], and the first of them."""
    day = time // DAY
    return day, int(day.min(initial=np.iinfo(np.int64).max)) if len(day) else 0


def _every(day: np.ndarray, first: int) -> np.ndarray:
    """Return all days from the first to the last one, datetime64[D]: each is looked at once, not each row."""
    return np.arange(first, int(day.max()) + 1 if len(day) else first).astype("datetime64[D]")


def _weekday(day: np.ndarray) -> np.ndarray:
    # 1970-01-01 was a Thursday.
    return (day + 3) % 7


def _iso_year(every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first Monday of the year of weeks that each day is in, and of the next, datetime64[D]."""
    # A week is of the year of its Thursday; 4 January is in the first one.
    year = (every - _weekday(every.astype(np.int64)) + 3).astype("datetime64[Y]")
    fourths = [(each.astype("datetime64[D]") + 3) for each in (year, year + 1)]
    begin, end = (fourth - _weekday(fourth.astype(np.int64)) for fourth in fourths)
    return begin, end


def _elapsed(time: np.ndarray, place: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the elapsed fraction of a cycle that depends on the day, at ``place`` [N] of ``begin`` and ``end``."""
    start = begin.astype(np.int64)
    length = (end.astype(np.int64) - start) * DAY
    return (time - start[place] * DAY) / length[place]
