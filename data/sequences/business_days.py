"""Steps of business days: Monday to Friday by the clock of a time zone, without a list of holidays."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

import numpy as np

from noisy_gru.data.sequences.holiday_dates import check_holidays, check_market, holiday_days, market_holiday_days
from noisy_gru.data.values.wall_clock import DAY, from_wall_clock, wall_clock
from noisy_gru.schema.holiday_config import HolidayConfig

_NAME = re.compile(r"\s*1?B\s*")
# Times that are moments of UTC keep their hour while a zone changes its own.
_DAYLIGHT_SAVING = DAY // 12
# int64 nanoseconds end on these days.
_FIRST, _LAST = -106751, 106751


@dataclass(frozen=True)
class BusinessDaySteps:
    """Days from Monday to Friday that are no holidays.

    ``dates_in_utc``: times at midnight of UTC are days, whatever the zone.
    """

    zone: str = "UTC"
    dates_in_utc: bool = True
    holidays: HolidayConfig | None = None

    @property
    def shortest(self) -> int:
        """Fewest nanoseconds of a step."""
        return DAY

    def label(self, time: np.ndarray) -> np.ndarray:
        """Return the time that names the step of each time [N], int64 ns since 1970 in UTC: a weekend's is Friday."""
        return self.floor(time)

    def floor(self, time: np.ndarray) -> np.ndarray:
        """Return the beginning of the business day at or before each time [N]."""
        day, _, is_date = self._day_and_phase(time)
        days = self._days(day)
        return self._moment(days[np.searchsorted(days, day, side="right") - 1] * DAY, is_date)

    def nearest(self, time: np.ndarray) -> np.ndarray:
        """Return the beginning of a business day that is nearest to each time [N]; of two as near, the later."""
        day, _, is_date = self._day_and_phase(time)
        days = self._days(day)
        place = np.searchsorted(days, day, side="right") - 1
        low, high = (self._moment(days[each] * DAY, is_date) for each in (place, place + 1))
        return np.where(high - time <= time - low, high, low)

    def ahead(self, time: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """Return the times so many business days after times, at the same hour.

        The first step after a day that is none is the next business day, as pandas' CustomBusinessDay counts.
        """
        time, steps = np.broadcast_arrays(time, steps)
        day, phase, is_date = self._day_and_phase(time)
        days = self._days(day, most=int(np.abs(steps).max(initial=0)))
        place = np.searchsorted(days, day, side="right") - 1
        # Back from a Saturday, the first step is Friday.
        place = place + ((steps < 0) & (days[place] != day))
        moved = self._moment(days[place + steps] * DAY + phase, is_date)
        return np.where(steps == 0, time, moved)

    def grid(self, time: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each row's step [N], and a mask [N] of the rows that are off their series' steps.

        Off are rows on a day that is no business day, or at another time of day than most rows of their series.

        Args:
            time: int64 [N], rising within each series.
            starts: the first row of each series, int64 [S + 1].
        """
        day, phase, _ = self._day_and_phase(time)
        days = self._days(day)
        number = np.searchsorted(days, day, side="right") - 1
        idle = days[number] != day
        usual = phase[starts[:-1]].copy()
        series = np.repeat(np.arange(len(usual)), np.diff(starts))
        for place in np.unique(series[(phase != usual[series]) | idle]):
            mine = slice(starts[place], starts[place + 1])
            of_business = phase[mine][~idle[mine]]
            if len(of_business):
                values, counts = np.unique(of_business, return_counts=True)
                usual[place] = values[counts.argmax()]
        distance = np.abs(phase - usual[series])
        off = idle | (distance > (0 if self.zone == "UTC" else _DAYLIGHT_SAVING))
        # Of two rows of a day within that hour, one is on the step.
        order = np.lexsort((distance, off, number, series))
        again = (np.diff(series[order], prepend=-1) == 0) & (np.diff(number[order], prepend=-1) == 0)
        off[order[again]] = True
        return number, off

    def _day_and_phase(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return days since 1970, nanoseconds since their midnight, and a mask of the dates, which are days of UTC."""
        wall = wall_clock(time.ravel(), self.zone).reshape(time.shape)
        is_date = np.zeros(time.shape, bool)
        if self.dates_in_utc and self.zone != "UTC":
            is_date = time % DAY == 0
            wall = np.where(is_date, time, wall)
        return wall // DAY, wall % DAY, is_date

    def _moment(self, wall: np.ndarray, is_date: np.ndarray) -> np.ndarray:
        found, _ = from_wall_clock(wall.ravel(), self.zone, ambiguous="earlier", nonexistent="shift_forward")
        return np.where(is_date, wall, found.reshape(wall.shape))

    def _days(self, day: np.ndarray, most: int = 0) -> np.ndarray:
        """Return all business days around days, int64 days since 1970, rising: ``most`` more of them at both ends."""
        # A year has more than 150 of them; three weeks are longer than any run of holidays.
        room = 21 + most * 365 // 150
        low, high = (int(day.min()), int(day.max())) if day.size else (0, 0)
        every = np.arange(max(low - room, _FIRST), min(high + room, _LAST) + 1)
        # 1970-01-01 was a Thursday.
        every = every[(every + 3) % 7 < 5]
        if self.holidays is None or not len(every):
            return every
        years = every[[0, -1]].astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        return every[~np.isin(every, holidays_of(self.holidays, range(years[0], years[1] + 1)))]


def parse_business_days(
    text: str, zone: str, *, dates_in_utc: bool = True, holidays: HolidayConfig | None = None
) -> BusinessDaySteps | None:
    """Parse `B` or `1B`; None for any other frequency.

    Raises:
        DataError: the package `holidays` has no such country or market.
    """
    if _NAME.fullmatch(text) is None:
        return None
    if holidays is not None and holidays.country is not None:
        check_holidays(holidays.country, holidays.subdivision, key="data.time.holidays")
    if holidays is not None and holidays.market is not None:
        check_market(holidays.market)
    return BusinessDaySteps(zone, dates_in_utc, holidays)


def holidays_of(config: HolidayConfig, years: range) -> np.ndarray:
    """Return the holidays of some years, int64 days since 1970."""
    found = [np.array([datetime.date.fromisoformat(day) for day in config.dates], "datetime64[D]").astype(np.int64)]
    if config.country is not None:
        found.append(holiday_days(config.country, config.subdivision, years))
    if config.market is not None:
        found.append(market_holiday_days(config.market, years))
    return np.concatenate(found)
