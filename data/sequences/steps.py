"""The steps of `data.time.frequency`: of one length, or of the calendar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisy_gru.data.sequences.business_days import BusinessDaySteps, parse_business_days
from noisy_gru.data.sequences.calendar_steps import CalendarSteps, parse_calendar_steps
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

_TOLERANCE = 1e-6
# A time that is a multiple of the frequency, but for rounding, is on its step.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class FixedSteps:
    """Steps of one ``length``, in the unit of times: multiples of it, or of another phase."""

    length: int | float

    @property
    def shortest(self) -> int | float:
        """The length of a step."""
        return self.length

    def label(self, time: np.ndarray) -> np.ndarray:
        """Return the time that names the step of each time [N]: its beginning."""
        return floor_times(time, self.length)

    def floor(self, time: np.ndarray) -> np.ndarray:
        """Return the step at or before each time [N]."""
        return floor_times(time, self.length)

    def nearest(self, time: np.ndarray) -> np.ndarray:
        """Return the step nearest to each time [N]; of two as near, the later."""
        return nearest_times(time, self.length)

    def ahead(self, time: np.ndarray, steps: np.ndarray | int) -> np.ndarray:
        """Return the times so many steps after times."""
        return time + np.asarray(steps * self.length).astype(time.dtype)

    def grid(self, time: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each row's step [N], and a mask [N] of the rows between the steps of their series.

        Args:
            time: [N], rising within each series.
            starts: the first row of each series, int64 [S + 1].
        """
        series, frequency = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), self.length
        since = time - time[starts[:-1]][series]
        if np.issubdtype(since.dtype, np.integer):
            phase = since % frequency
        else:
            phase = since - np.round(since / frequency) * frequency
            phase = np.round(phase / (frequency * _TOLERANCE)).astype(np.int64)
        usual = np.zeros(len(starts) - 1, phase.dtype)
        for place in np.unique(series[phase != 0]):
            values, counts = np.unique(phase[starts[place] : starts[place + 1]], return_counts=True)
            usual[place] = values[counts.argmax()]
        usual = usual[series]
        off = phase != usual
        if np.issubdtype(since.dtype, np.integer):
            return (since - usual) // frequency, off
        return np.round(since / frequency - usual * _TOLERANCE).astype(np.int64), off


Steps = FixedSteps | CalendarSteps | BusinessDaySteps


def parse_steps(time: TimeConfig) -> Steps | None:
    """Parse `data.time.frequency`; None if it isn't set.

    Raises:
        DataError: the frequency is neither a positive fixed duration nor a step of the calendar; or the package
            `holidays` has no such country or market.
    """
    if time.frequency is not None and time.kind == "timestamp":
        days_in_utc = time.without_zone == "utc"
        business = parse_business_days(time.frequency, time.timezone, dates_in_utc=days_in_utc, holidays=time.holidays)
        found = business or parse_calendar_steps(time.frequency, time.timezone, dates_in_utc=days_in_utc)
        if found is not None:
            return found
    length = _parse_distance(time.frequency, "frequency", time)
    return None if length is None else FixedSteps(length)


def parse_tolerance(time: TimeConfig) -> int | float | None:
    """Parse the largest distance of a row from its step, in the unit of times (nanoseconds for timestamps).

    Raises:
        DataError: the tolerance is no positive fixed duration.
    """
    return _parse_distance(time.tolerance, "tolerance", time)


def _parse_distance(text: str | None, key: str, time: TimeConfig) -> int | float | None:
    if text is None:
        return None
    try:
        if time.kind == "timestamp":
            # Only here: importing pandas is a third of the time of a small `noisy-gru predict`.
            import pandas as pd

            value: int | float = pd.tseries.frequencies.to_offset(text).nanos
        else:
            value = int(text) if time.kind == "integer" else float(text)
    except ValueError as error:
        raise DataError(_no_distance(text, key, time)) from error
    if not (np.isfinite(value) and value > 0):
        raise DataError(_no_distance(text, key, time))
    return value


def _no_distance(text: str, key: str, time: TimeConfig) -> str:
    expected = "a positive whole number" if time.kind == "integer" else "a positive number"
    if time.kind == "timestamp":
        calendar = ", 1B (business days), or MS, QS or YS (months, quarters, years; ME, QE and YE by their last day)"
        expected = f"a fixed duration such as 1h or 15min{calendar if key == 'frequency' else ''}"
    return f"data.time.{key}: expected {expected} (data.time.kind is {time.kind}), received {text!r}"


def floor_times(time: np.ndarray, frequency: int | float) -> np.ndarray:
    """Return the multiple of a length at or before each time [N], in the unit of times."""
    if np.issubdtype(time.dtype, np.integer):
        low = time - time % frequency
        # The step before the first time of int64 is none.
        return np.where(low > time, low + frequency, low)
    return np.floor(time / frequency + _ROUNDING) * frequency


def nearest_times(time: np.ndarray, frequency: int | float) -> np.ndarray:
    """Return the multiple of a length nearest to each time [N]; of two as near, the later."""
    if np.issubdtype(time.dtype, np.integer):
        rest, low = time % frequency, floor_times(time, frequency)
        # Nor is the one after its last.
        up = (rest >= frequency - rest) & (low <= time) & (low + frequency > low)
        return np.where(up, low + frequency, low)
    return np.floor(time / frequency + 0.5 + _ROUNDING) * frequency
