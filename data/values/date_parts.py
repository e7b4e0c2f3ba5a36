"""Times of dates in several columns: a year, a month, a day …, vectorised.

>>> times, bad = times_of_parts({"year": np.array([2024.0, 2026.0]), "month": np.array([2.0, 2.0]),
...                              "day": np.array([29.0, 29.0])})
>>> times.astype("datetime64[ns]").astype("datetime64[D]"), bad
(array(['2024-02-29', '1970-01-01'], dtype='datetime64[D]'), array([False,  True]))
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping

import numpy as np

from noisy_gru.data.arrow import pc
from noisy_gru.data.values.parsing import Array
from noisy_gru.schema.date_parts import DatePart

_SECOND = 10**9
_DAY = 86400 * _SECOND
# Whole years that int64 nanoseconds since 1970 hold.
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
_LEAST: dict[str, int] = {"year": _FIRST_YEAR, "hour": 0, "minute": 0, "second": 0}
_MOST: dict[str, int] = {"year": _LAST_YEAR, "quarter": 4, "month": 12, "week": 53, "day": 31, "day_of_year": 366}
_MOST |= {"hour": 23, "minute": 59}
_MONTHS = {
    name.lower(): number
    for names in (calendar.month_name, calendar.month_abbr)
    for number, name in enumerate(names)
    if name
}


def named_parts(array: Array, part: DatePart) -> np.ndarray:
    """Return the numbers of months or quarters written as `Jan`, `January` or `Q1`, float64 [N]; NaN for others."""
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(array)).dictionary_encode()
    if part == "month":
        numbers = [_MONTHS.get((text or "").rstrip("."), np.nan) for text in texts.dictionary.to_pylist()]
    else:
        quarters = {f"q{number}": float(number) for number in range(1, 5)}
        numbers = [quarters.get(text or "", np.nan) for text in texts.dictionary.to_pylist()]
    place = pc.fill_null(texts.indices, len(numbers)).to_numpy(zero_copy_only=False)
    return np.array([*numbers, np.nan], np.float64)[place]


def times_of_parts(parts: Mapping[DatePart, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 nanoseconds since 1970 [N], and a mask [N] of the dates that don't exist.

    Args:
        parts: float64 [N] each, NaN where missing; the year, and what a configuration names beside it. A part that
            isn't given is its first: month 1, day 1, hour 0. Only seconds may have a fraction.
    """
    bad = np.zeros(len(parts["year"]), bool)
    found: dict[str, np.ndarray] = {}
    for part, values in parts.items():
        least = _LEAST.get(part, 1)
        wrong = ~((values >= least) & (values < 60 if part == "second" else values <= _MOST[part]))
        if part != "second":
            wrong |= values != np.floor(values)
        bad |= wrong
        found[part] = np.where(wrong, least, values)
    year = found.pop("year").astype(np.int64)
    days = _days(year, {part: values.astype(np.int64) for part, values in found.items() if part != "second"}, bad)
    times = days * _DAY
    for part, seconds in (("hour", 3600), ("minute", 60)):
        if part in found:
            times += found[part].astype(np.int64) * seconds * _SECOND
    if "second" in found:
        times += np.round(found["second"] * _SECOND).astype(np.int64)
    return np.where(bad, 0, times), bad


def _days(year: np.ndarray, found: Mapping[str, np.ndarray], bad: np.ndarray) -> np.ndarray:
    """Return the days since 1970, int64 [N]; ``bad`` is set where a month or a year is shorter."""
    first = _first_day((year - 1970) * 12)
    if "week" in found:
        # The week of 4 January is the first; 1970-01-01 was a Thursday.
        monday = first + 3 - (first + 6) % 7
        days = monday + 7 * (found["week"] - 1)
        following = _first_day((year - 1969) * 12)
        bad |= days >= following + 3 - (following + 6) % 7
        return days
    if "day_of_year" in found:
        days = first + found["day_of_year"] - 1
        bad |= days >= _first_day((year - 1969) * 12)
        return days
    month = found["month"] - 1 if "month" in found else 3 * (found["quarter"] - 1) if "quarter" in found else 0
    months = (year - 1970) * 12 + month
    days = _first_day(months) + (found["day"] - 1 if "day" in found else 0)
    bad |= days >= _first_day(months + 1)
    return days


def _first_day(months: np.ndarray) -> np.ndarray:
    """Return the first day of months since January 1970, as days since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
