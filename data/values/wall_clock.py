"""Wall-clock time: UTC to a named time zone and back, with its daylight saving, vectorised.

>>> time = np.array(["2026-07-01T12:00"], "datetime64[ns]").astype(np.int64)
>>> wall_clock(time, "Europe/Berlin").astype("datetime64[ns]")
array(['2026-07-01T14:00:00.000000000'], dtype='datetime64[ns]')
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

SECOND = 10**9
DAY = 86400 * SECOND
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_INT64 = np.iinfo(np.int64)


def wall_clock(time: np.ndarray, timezone: str) -> np.ndarray:
    """Return the time that a clock shows in a zone, int64 [N], ns as if it were UTC.

    An hour that comes twice in autumn has the same times twice. pandas converts row by row in Python with a zone of
    zoneinfo, and with one of pytz knows no change after 2037.

    Args:
        time: int64 [N], ns since 1970 in UTC.
        timezone: as the tz database names it.
    """
    if timezone == "UTC" or not len(time):
        return time
    years = time[[time.argmin(), time.argmax()]].astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64)
    changes = [change for year in range(years[0] + 1970, years[1] + 1971) for change in _changes(timezone, year)]
    starts = np.array([start for start, _ in changes], np.int64)
    offsets = np.array([offset for _, offset in changes], np.int64) * SECOND
    offset = offsets[np.searchsorted(starts, time // SECOND, side="right") - 1]
    # Hours from the ends of int64, 1677 and 2262, the sum would start again at the other end.
    return np.clip(time, _INT64.min - offset.min(initial=0), _INT64.max - offset.max(initial=0)) + offset


def from_wall_clock(
    clock: np.ndarray, timezone: str, *, ambiguous: str = "reject", nonexistent: str = "reject"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the time in UTC of what a clock shows in a zone, int64 [N], and a mask [N] of the rejected.

    The options are those of pandas' ``tz_localize``, which takes a zone of zoneinfo row by row.

    Args:
        clock: int64 [N], ns as if it were UTC.
        timezone: as the tz database names it.
        ambiguous: a time that comes twice: ``reject``, ``earlier`` or ``later``; ``infer`` is earlier here, since the
            order of an entity's rows decides (`repeated_hours`).
        nonexistent: a time that is skipped: ``reject``, ``shift_forward`` (to the moment of the change) or
            ``shift_backward`` (to the nanosecond before it).
    """
    bad = np.zeros(len(clock), bool)
    if timezone == "UTC" or not len(clock):
        return clock, bad
    years = clock[[clock.argmin(), clock.argmax()]].astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64)
    changes = [change for year in range(years[0] + 1969, years[1] + 1972) for change in _changes(timezone, year)]
    starts = np.array([start for start, _ in changes], np.int64)
    offsets = np.array([offset for _, offset in changes], np.int64)
    seconds = clock // SECOND
    # The first part of the year's clock that ends after the time, and the last that begins before it.
    first = np.searchsorted(starts[1:] + offsets[:-1], seconds, side="right")
    last = np.searchsorted(starts + offsets, seconds, side="right") - 1
    offset = offsets[last if ambiguous == "later" else first] * SECOND
    # Hours from the ends of int64, 1677 and 2262.
    beyond = ((offset > 0) & (clock < _INT64.min + 1 + offset)) | ((offset < 0) & (clock > _INT64.max + offset))
    found = np.where(beyond, 0, clock - np.where(beyond, 0, offset))
    skipped = first > last
    if nonexistent != "reject":
        change = starts[first] * SECOND
        found = np.where(skipped, change if nonexistent == "shift_forward" else change - 1, found)
    bad = beyond | (skipped & (nonexistent == "reject")) | ((first < last) & (ambiguous == "reject"))
    return np.where(bad, 0, found), bad


@lru_cache(maxsize=4096)
def _changes(timezone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the offsets from UTC in a year of UTC, each with its beginning; in seconds, the first at New Year."""
    zone = ZoneInfo(timezone)

    def offset(second: int) -> int:
        since = (_EPOCH + datetime.timedelta(seconds=second)).astimezone(zone).utcoffset()
        return 0 if since is None else int(since.total_seconds())

    first, after = (
        int((datetime.datetime(each, 1, 1, tzinfo=datetime.UTC) - _EPOCH).total_seconds()) for each in (year, year + 1)
    )
    found = [(first, offset(first))]
    for day in range(first, after, 86400):
        while offset(min(day + 86400, after) - 1) != found[-1][1]:
            low, high = max(day, found[-1][0]), min(day + 86400, after) - 1
            # The first second of the day with another offset than before.
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if offset(middle) != found[-1][1] else (middle + 1, high)
            found.append((low, offset(low)))
    return tuple(found)
