"""Recognise times of business days, and the market whose closed days are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisy_gru.data.sequences.business_days import BusinessDaySteps
from noisy_gru.data.sequences.holiday_dates import market_holiday_days
from noisy_gru.data.values.wall_clock import DAY

BUSINESS_DAY = "1B"
# Whose closed days are looked for: New York, London, Frankfurt, TARGET, Tokyo, Toronto.
_MARKETS = ("XNYS", "XLON", "XETR", "XECB", "XJPX", "XTSE")
_LEAST_CLOSED = 3
_LEAST_EXPLAINED = 0.8
_MOST_AT_WEEKENDS = 0.01
_LEAST_WEEKENDS = 0.1


@dataclass(frozen=True)
class BusinessDays:
    """How sorted times fit business days.

    ``off`` is the part of the rows that are at another time of day than most, ``missing`` that of the business days
    without a row, ``market`` one that is closed on most of the days without any.
    """

    off: float
    missing: float
    market: str | None


def is_of_weekdays(when: np.ndarray, steps: np.ndarray) -> bool:
    """Return whether times [N], seconds since 1970, are of all weekdays and skip weekends; ``steps``: in between."""
    day = 86400.0
    weekday = _weekday(np.floor(when / day).astype(np.int64))
    if not set(range(5)) <= set(weekday.tolist()):
        return False
    skipped = np.mean(np.isclose(steps, 3 * day))
    return bool(np.mean(weekday >= 5) < _MOST_AT_WEEKENDS and skipped > _LEAST_WEEKENDS)


def business_days(time: np.ndarray, series: np.ndarray) -> BusinessDays | None:
    """Measure times [N], int64 ns, sorted within series [N]; None if no series has two."""
    starts = np.flatnonzero(np.diff(series, prepend=-1, append=-1) != 0)
    number, off = BusinessDaySteps().grid(time, starts)
    day = time[~off] // DAY
    inside = np.diff(series[~off]) == 0
    ahead = np.diff(number[~off])[inside]
    if not ahead.size:
        return None
    market = _market_of(np.unique(day)) if (ahead > 1).any() else None
    if market is not None:
        ahead = ahead - np.diff(np.searchsorted(_closed(market, day), day))[inside]
    missing = float(np.sum(np.maximum(ahead - 1, 0))) / max(int(ahead.sum()), 1)
    return BusinessDays(float(off.mean()), missing, market)


def _market_of(days: np.ndarray) -> str | None:
    """Return the market that is closed on most of the missing weekdays between days [N], rising; None for none."""
    every = np.arange(days[0], days[-1] + 1)
    missing = np.setdiff1d(every[_weekday(every) < 5], days)
    if len(missing) < _LEAST_CLOSED:
        return None
    found = {}
    for market in _MARKETS:
        closed = _closed(market, days)
        both = int(np.isin(closed, missing).sum())
        # A day with rows was no holiday, and its rows would have no step.
        if both == len(closed) and both >= _LEAST_EXPLAINED * len(missing):
            found[market] = both
    return max(found, key=found.__getitem__) if found else None


def _closed(market: str, days: np.ndarray) -> np.ndarray:
    """Return a market's closed weekdays from the first to the last of days, rising."""
    first, last = int(days.min()), int(days.max())
    years = [int(np.datetime64(each, "D").astype("datetime64[Y]").astype(int)) + 1970 for each in (first, last)]
    closed = np.unique(market_holiday_days(market, range(years[0], years[1] + 1)))
    return closed[(closed >= first) & (closed <= last) & (_weekday(closed) < 5)]


def _weekday(day: np.ndarray) -> np.ndarray:
    # 1970-01-01 was a Thursday.
    return (day + 3) % 7
