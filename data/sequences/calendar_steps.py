"""Steps of the calendar: months, quarters and years, of different lengths, by the clock of a time zone."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np

from noisy_gru.data.values.wall_clock import DAY, from_wall_clock, wall_clock

# Months since 1970 that begin within int64 nanoseconds.
_FIRST, _LAST = -3507, 3507
# Times that are moments of UTC keep their hour while a zone changes its own.
_DAYLIGHT_SAVING = DAY // 12
_OLD_NAMES = re.compile(r"([0-9]*)([MQYA])(-[A-Z]{3})?")


@dataclass(frozen=True)
class CalendarSteps:
    """Periods of ``months`` months, of which one begins ``anchor`` months after January 1970.

    ``at_end``: a period is named by its last day, not its first. ``dates_in_utc``: times at midnight of UTC are days.
    """

    months: int
    anchor: int
    at_end: bool
    zone: str = "UTC"
    dates_in_utc: bool = True

    @property
    def shortest(self) -> int:
        """Fewest nanoseconds of a step."""
        return 28 * DAY * self.months

    def label(self, time: np.ndarray) -> np.ndarray:
        """Return the time that names the period of each time [N], int64 ns since 1970 in UTC."""
        return self._moment(self._point(self._period(wall_clock(time, self.zone))))

    def floor(self, time: np.ndarray) -> np.ndarray:
        """Return the step at or before each time [N]."""
        return self._moment(self._point(self._before(time)))

    def nearest(self, time: np.ndarray) -> np.ndarray:
        """Return the step nearest to each time [N]; of two as near, the later."""
        period = self._before(time)
        low, high = self._moment(self._point(period)), self._moment(self._point(period + 1))
        return np.where(high - time <= time - low, high, low)

    def ahead(self, time: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """Return the times so many steps after times, on the same day of the month (or its last one).

        What is within a day before the first of a month stays so: the last day of a month is followed by last days.
        """
        time, steps = np.broadcast_arrays(time, steps)
        month, phase = _month_and_phase(wall_clock(time.ravel(), self.zone).reshape(time.shape))
        # Where a clock skips midnight, a day begins later.
        midnight = phase - phase % DAY
        phase = np.where(self._moment(_on_day(month, midnight)) == time, midnight, phase)
        found = self._moment(_on_day(month + steps * self.months, phase))
        if self.zone == "UTC" or not self.dates_in_utc:
            return found
        month, phase = _month_and_phase(time)
        return np.where(time % DAY == 0, _on_day(month + steps * self.months, phase), found)

    def grid(self, time: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each row's step [N], and a mask [N] of the rows between the steps of their series.

        Args:
            time: int64 [N], rising within each series.
            starts: the first row of each series, int64 [S + 1].
        """
        wall = wall_clock(time, self.zone)
        month, phase = _month_and_phase(wall)
        keys = np.stack([(month - self.anchor) % self.months, phase], axis=1)
        first, count = starts[:-1], np.diff(starts)
        usual = keys[first]
        differs = (keys != np.repeat(usual, count, axis=0)).any(axis=1)
        for place in np.unique(np.repeat(np.arange(len(first)), count)[differs]):
            values, counts = np.unique(keys[starts[place] : starts[place + 1]], axis=0, return_counts=True)
            usual[place] = values[counts.argmax()]
        rest, on_day = np.repeat(usual, count, axis=0).T
        number = (month - self.anchor - rest) // self.months
        candidates = number + np.array([[0], [-1], [1]])
        points = _on_day(candidates * self.months + self.anchor + rest, on_day)
        distance = np.abs(points - wall)
        closest = distance.argmin(axis=0)
        rows = np.arange(len(time))
        most = 0 if self.zone == "UTC" else _DAYLIGHT_SAVING
        return candidates[closest, rows], distance[closest, rows] > most

    def _period(self, wall: np.ndarray) -> np.ndarray:
        return (_month(wall) - self.anchor) // self.months

    def _before(self, time: np.ndarray) -> np.ndarray:
        """Return the last period whose point is not after each time."""
        period = self._period(wall_clock(time, self.zone))
        return np.where(self._moment(self._point(period)) > time, period - 1, period)

    def _point(self, period: np.ndarray) -> np.ndarray:
        if self.at_end:
            return _start((period + 1) * self.months + self.anchor) - DAY
        return _start(period * self.months + self.anchor)

    def _moment(self, wall: np.ndarray) -> np.ndarray:
        found, _ = from_wall_clock(wall.ravel(), self.zone, ambiguous="earlier", nonexistent="shift_forward")
        return found.reshape(wall.shape)


def parse_calendar_steps(text: str, zone: str, *, dates_in_utc: bool = True) -> CalendarSteps | None:
    """Parse a pandas offset of months, quarters or years: `MS`, `2ME`, `QS-FEB`, `YE`; None for any other.

    `M`, `Q` and `Y` are their ends, as in pandas before 2.2.
    """
    import pandas as pd

    if old := _OLD_NAMES.fullmatch(text.strip()):
        count, name, month = old.groups()
        text = f"{count}{'Y' if name == 'A' else name}E{month or ''}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            offset = pd.tseries.frequencies.to_offset(text)
        except ValueError:
            return None
    kinds: dict[type, tuple[int, bool]] = {
        pd.offsets.MonthBegin: (1, False),
        pd.offsets.MonthEnd: (1, True),
        pd.offsets.QuarterBegin: (3, False),
        pd.offsets.QuarterEnd: (3, True),
        pd.offsets.YearBegin: (12, False),
        pd.offsets.YearEnd: (12, True),
    }
    if type(offset) not in kinds or offset.n < 1:
        return None
    months, at_end = kinds[type(offset)]
    named = int(getattr(offset, "startingMonth", None) or getattr(offset, "month", None) or (12 if at_end else 1))
    # A period begins in the named month, or after it.
    anchor = (named if at_end else named - 1) % months
    return CalendarSteps(months * offset.n, anchor, at_end, zone, dates_in_utc)


def _month(wall: np.ndarray) -> np.ndarray:
    """Return months since January 1970, int64."""
    return wall.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)


def _start(month: np.ndarray) -> np.ndarray:
    """Return the beginning of months, ns since 1970."""
    return np.clip(month, _FIRST, _LAST).astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64)


def _month_and_phase(wall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return month and nanoseconds since its beginning; within the day before it, those are negative."""
    month = _month(wall)
    following = _start(month + 1)
    is_last_day = following - wall <= DAY
    return month + is_last_day, wall - np.where(is_last_day, following, _start(month))


def _on_day(month: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return the time of a phase in months: of a shorter month, on its last day."""
    start, following = _start(month), _start(month + 1)
    return np.minimum(start + phase, following - DAY + phase % DAY)
