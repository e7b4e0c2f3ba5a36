"""Calendar features: sine and cosine of a step's time within its day, week or year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import CalendarName, FeatureConfig


def cycle_fraction(time: np.ndarray, calendar: CalendarName) -> np.ndarray:
    """Return the elapsed fraction of the cycle, float64 [N] in [0, 1), at ``time`` int64 [N], ns since 1970 in UTC.

    A day begins at midnight, a week on Monday, a year on 1 January (and has its own length).
    """
    stamp = time.astype("datetime64[ns]")
    if calendar == "day_of_year":
        year = stamp.astype("datetime64[Y]")
        first, following = year.astype("datetime64[ns]"), (year + 1).astype("datetime64[ns]")
        return (stamp - first) / (following - first)
    day = stamp.astype("datetime64[D]")
    of_day = (stamp - day.astype("datetime64[ns]")) / np.timedelta64(1, "D")
    if calendar == "hour_of_day":
        return of_day
    # 1970-01-01 was a Thursday.
    return ((day.astype(np.int64) + 3) % 7 + of_day) / 7


def add_calendar_features(rows: Rows, features: Sequence[FeatureConfig]) -> Rows:
    """Add the calendar features among ``features`` as float32 [N] columns, also to filled-in steps."""
    found = {}
    for feature in features:
        if feature.calendar is not None:
            angle = 2 * np.pi * cycle_fraction(rows.time, feature.calendar)
            wave = np.sin(angle) if feature.name.endswith("_sin") else np.cos(angle)
            found[feature.name] = wave.astype(np.float32)
    return replace(rows, numeric={**rows.numeric, **found}) if found else rows
