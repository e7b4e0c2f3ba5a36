"""Measure how a table's times follow each other: step, gaps, season.

The season is the number of steps after which values are alike again: of the calendar's candidates for a step (24 or 168
for hours), the one with the highest autocorrelation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.sequences.calendar_steps import parse_calendar_steps
from noisy_gru.pipeline.init.business_weeks import BUSINESS_DAY, business_days, is_of_weekdays

DAY = 86400.0
DAY_NS = 86400 * 10**9
# Season lengths that a step suggests, the usual one first.
_SEASONS: dict[float, tuple[int, ...]] = {
    1.0: (60, 3600),
    10.0: (360, 8640),
    30.0: (120, 2880),
    60.0: (1440, 60),
    300.0: (288,),
    600.0: (144, 1008),
    900.0: (96, 672),
    1200.0: (72,),
    1800.0: (48, 336),
    3600.0: (24, 168),
    7200.0: (12, 84),
    10800.0: (8, 56),
    14400.0: (6, 42),
    21600.0: (4, 28),
    43200.0: (2, 14),
    DAY: (7, 365),
    7 * DAY: (52,),
}
# Name, shortest and longest in days, season, pandas offset.
_CALENDAR_STEPS = (("month", 28, 31, 12, "M"), ("quarter", 89, 92, 4, "Q"), ("year", 364, 366, 0, "Y"))
_GRID_SEASONS = (4, 5, 6, 7, 8, 10, 12, 13, 24, 26, 30, 48, 52, 60, 72, 96, 144, 168, 288, 336, 365)
_MOST_HOLES = 0.75
_MOST_OFF_GRID = 0.01
_MOST_RESTARTS = 0.05
_JITTER = 0.1  # of a step
_LEAST_CORRELATION = 0.5
IRREGULAR = "irregular"


@dataclass(frozen=True)
class TimeStructure:
    """How times follow each other.

    ``step`` is the usual distance, in seconds for timestamps; ``name`` says it in words. ``frequency`` is set where a
    run may fill or cut at gaps. ``holes`` is the part of the steps that is missing on the grid, ``irregular`` the part
    of the distances that are no multiples of the step. ``align`` is that of `data.time`: not ``exact``
    where the distance stays and the phase changes, a little at a time or where a sensor is started anew. ``market`` is
    one whose closed days are the missing business days.
    """

    step: float
    name: str
    frequency: str | None
    seasons: tuple[int, ...]
    holes: float
    irregular: float
    align: str = "exact"
    market: str | None = None

    @property
    def gaps(self) -> str:
        """The value for ``data.time.gaps``."""
        some = self.holes > 0 or self.align != "exact"
        return "fill" if self.is_regular and some else "ignore"

    @property
    def is_regular(self) -> bool:
        """Whether a run may put the rows on a grid, of which the times ahead follow."""
        return self.frequency is not None and self.holes <= _MOST_HOLES

    @property
    def steps(self) -> dict[str, Any]:
        """The keys of ``data.time`` that say which steps there are."""
        closed = {"holidays": {"market": self.market}} if self.market is not None else {}
        return {"frequency": self.frequency, **closed}

    def describe(self) -> str:
        """Say how regular the steps are."""
        if self.irregular >= 0.01:
            return f"{self.irregular:.0%} of the times are off a common grid"
        return f"{self.holes:.2%} of them are missing" if self.holes else "the usual distance of times"


def time_structure(when: np.ndarray, series: np.ndarray, kind: str, *, years: bool = False) -> TimeStructure | None:
    """Measure times [N] of series [N]; None if no series has two.

    ``years`` says that numbers are years, which have no season.
    """
    known = np.isfinite(when) & (series >= 0)
    order = np.lexsort((when[known], series[known]))
    same = np.diff(series[known][order]) == 0
    steps = np.diff(when[known][order])[same]
    steps = steps[steps > 0]
    if not len(steps):
        return None
    values, counts = np.unique(np.round(steps, 6), return_counts=True)
    step = float(values[counts.argmax()])
    if kind == "timestamp":
        days = steps / DAY
        for name, low, high, season, offset in _CALENDAR_STEPS:
            within = float(np.mean((days > low - 0.5) & (days < high + 0.5)))
            near = float(np.mean((days > 0.75 * low) & (days < 1.25 * high)))
            found = None
            if within >= 0.5 or near >= 0.9:
                found = _of_calendar(when[known][order], series[known][order], offset)
            if found is not None or within >= 0.9:
                frequency, holes, align = found or (None, 0.0, "exact")
                seasons = (season,) if season else ()
                return TimeStructure(step, f"1 {name}", frequency, seasons, holes, 0.0, align)
        if step == DAY and is_of_weekdays(when[known], steps):
            structure = TimeStructure(DAY, "1 business day", None, (5, 21), 0.0, 0.0)
            found = business_days(nanoseconds(when[known][order]), series[known][order])
            if found is None or found.off >= _MOST_OFF_GRID:
                return structure
            return replace(structure, frequency=BUSINESS_DAY, holes=found.missing, market=found.market)
    multiples = np.round(steps / step)
    on_grid = np.abs(steps - multiples * step) < max(1e-6, 1e-3 * step if kind == "float" else 1e-3)
    off_phase = _off_phase(when[known][order], series[known][order], step)
    irregular = max(1.0 - float(np.mean(on_grid)), off_phase)
    total = float(np.sum(np.maximum(multiples, 1)))
    holes = float(np.sum(np.maximum(multiples, 1) - 1)) / total
    regular = counts.max() >= 0.5 * len(steps)
    usable = irregular < 0.01 and regular
    if kind == "timestamp":
        wanders = not usable and regular and float(np.mean(on_grid)) >= 1 - _MOST_RESTARTS
        if not usable and not wanders and (nominal := _nominal_step(steps)) is not None:
            step, wanders = nominal, True
            missed = np.maximum(np.round(steps / step), 1)
            holes = float(np.sum(missed - 1)) / float(np.sum(missed))
        align = _align(when[known], series[known], step) if wanders else "exact"
        frequency = _offset(step) if usable or wanders else None
        if not regular and frequency is None:
            return TimeStructure(step, IRREGULAR, None, (), holes, irregular)
        return TimeStructure(step, _in_words(step), frequency, _SEASONS.get(step, ()), holes, irregular, align)
    if kind == "float":
        part = 1 / step if step > 0 else 0.0
        seasons = (round(part),) if abs(part - round(part)) < 0.01 * part and round(part) in (4, 12, 52) else ()
        return TimeStructure(step, f"{step:g}", None, seasons, holes, irregular)
    seasons = () if years else _GRID_SEASONS
    name = f"{step:g} year{'s' if step != 1 else ''}" if years else f"{step:g}"
    return TimeStructure(step, name, f"{step:.0f}" if usable else None, seasons, holes, irregular)


def nanoseconds(when: np.ndarray) -> np.ndarray:
    """Return seconds as int64 nanoseconds, to the microsecond."""
    return np.round(when * 1e6).astype(np.int64) * 1000


def _of_calendar(when: np.ndarray, series: np.ndarray, offset: str) -> tuple[str, float, str] | None:
    """Return the pandas offset of sorted times, the part of the steps that is missing, and the value for `align`.

    It is ``exact`` where times keep to a day of their months; None where a step has several of them.
    """
    time, starts = nanoseconds(when), np.flatnonzero(np.diff(series, prepend=-1, append=-1) != 0)
    steps = parse_calendar_steps(f"{offset}S", "UTC")
    if steps is None:
        return None
    number, off = steps.grid(time, starts)
    align = "exact"
    if off.mean() >= _MOST_OFF_GRID:
        moved = {"floor": steps.floor(time), "nearest": steps.nearest(time)}
        shared = {name: 1 - len(np.unique(np.stack([series, to]), axis=1).T) / len(to) for name, to in moved.items()}
        align = min(moved, key=shared.__getitem__)
        if shared[align] >= _MOST_OFF_GRID:
            return None
        number, _ = steps.grid(moved[align], starts)
    ahead = np.diff(number)[np.diff(series) == 0]
    # The last day of a month is the first one's day before.
    day_after = (time + DAY_NS).astype("datetime64[ns]")
    at_end = np.mean(day_after.astype("datetime64[M]") > time.astype("datetime64[ns]")) > 0.9
    total = max(int(ahead.sum()), 1)
    named = "E" if at_end and align == "exact" else "S"
    return f"{offset}{named}", float(np.sum(np.maximum(ahead - 1, 0))) / total, align


def _align(when: np.ndarray, series: np.ndarray, step: float) -> str:
    """Return the value for `data.time.align` that puts fewer rows into a step that has one already."""

    def taken(shift: float) -> int:
        return len(pd.MultiIndex.from_arrays([series, np.floor(when / step + shift)]).unique())

    return "nearest" if taken(0.5) >= taken(0.0) else "floor"


def _nominal_step(steps: np.ndarray) -> float | None:
    """Return the usual step (5 minutes, an hour) that distances with some jitter are multiples of; None for none."""
    middle = float(np.median(steps))
    step = min(_SEASONS, key=lambda each: abs(np.log(middle / each)))
    rest = np.abs(steps - np.maximum(np.round(steps / step), 1) * step)
    return step if np.mean(rest < _JITTER * step) >= 1 - _MOST_RESTARTS else None


def _off_phase(when: np.ndarray, series: np.ndarray, step: float) -> float:
    """Return the part of the rows that are off the grid of most rows of their series: a run with gaps rejects them."""
    first = pd.Series(when).groupby(series).transform("min").to_numpy()
    phase = pd.Series(np.round((when - first) / step % 1.0, 4) % 1.0)
    usual = phase.groupby(series).agg(lambda each: each.mode().iloc[0])
    return float(np.mean(phase.to_numpy() != usual.loc[series].to_numpy()))


def _in_words(step: float) -> str:
    for name, seconds in (("week", 7 * DAY), ("day", DAY), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        if step >= seconds and step % seconds == 0:
            count = step / seconds
            return f"{count:.0f} {name}{'s' if count != 1 else ''}"
    return f"{step:g} seconds"


def _offset(step: float) -> str:
    """Return a fixed duration as a pandas offset."""
    for name, seconds in (("D", DAY), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        count = step / seconds
        if count >= 1 and abs(count - round(count)) < 1e-6:
            return f"{round(count)}{name}"
    return f"{round(step * 1e9)}ns"


def season_of(structure: TimeStructure, histories: list[np.ndarray], length: int) -> tuple[int | None, str]:
    """Return the season in steps, and why; None if there is none, or the history is shorter than two.

    Args:
        structure: the step and its candidates.
        histories: values [n] of some series in the order of time.
        length: typical length of a series.
    """
    candidates = [season for season in structure.seasons if 2 * season <= length]
    if not candidates:
        return None, ""
    usual = structure.seasons is not _GRID_SEASONS
    scores = {season: _correlation(histories, season) for season in candidates}
    if usual:
        first = candidates[0]
        for longer in candidates[1:]:
            # A day's values are like those of a week ago wherever they change slowly.
            rest = _correlation(histories, longer // 2)
            if scores[longer] > max(scores[first] - 0.2, rest + 0.3, 0.3) and not _stands_out(histories, first):
                return longer, f"values {longer} steps of {structure.name} apart correlate by {scores[longer]:.2f}"
        return first, f"usual for steps of {structure.name}"
    least = max(max(scores.values()) - 0.1, _LEAST_CORRELATION)
    # From the shortest on: a multiple of the season correlates about as much.
    for season in candidates:
        between = max(_correlation(histories, round(season * part)) for part in (0.4, 0.5, 0.6))
        if scores[season] >= max(least, between + 0.3):
            return season, f"values {season} steps apart correlate by {scores[season]:.2f}"
    return None, ""


def _stands_out(histories: list[np.ndarray], season: int) -> bool:
    """Return whether values a season apart are more alike than those a quarter nearer or farther."""
    quarter = max(1, round(season / 4))
    around = [_correlation(histories, season + shift) for shift in (-quarter, quarter)]
    return _correlation(histories, season) > max(around) + 0.02


def _correlation(histories: list[np.ndarray], lag: int) -> float:
    """Return the mean autocorrelation at a lag of series without their linear trends."""
    found = []
    for values in histories:
        known = np.isfinite(values)
        if lag < 1 or len(values) < 2 * lag or known.sum() < 8:
            continue
        place = np.arange(len(values), dtype=float)
        slope, start = np.polyfit(place[known], values[known], 1)
        rest = np.where(known, values - slope * place - start, 0.0)
        total = float(np.sum(rest**2))
        if total > 0:
            found.append(float(np.sum(rest[lag:] * rest[:-lag])) / total * len(rest) / (len(rest) - lag))
    return float(np.mean(found)) if found else 0.0
