"""Gaps in time series: filled with missing values (up to a limit), or used to cut a series into segments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.steps import Steps, parse_steps
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

OFF_GRID = "off_grid"
# A wider gap means a wrong time rather than missing steps.
MOST_FILLED = 1_000_000
MOST_FILLED_RATIO = 100


@dataclass(frozen=True)
class Series:
    """Sorted rows, grouped into series.

    ``starts`` int64 [S + 1] are the first rows of the series (an entity in a split), ``segments`` int64 [G + 1] those
    of the runs without a gap; both end with N. ``grid`` int64 [N] is a row's step number within its series.
    """

    rows: Rows
    starts: np.ndarray
    segments: np.ndarray
    grid: np.ndarray


def _series_of(starts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def regularize(rows: Rows, time: TimeConfig | None, action: str, quarantine: Quarantine) -> Series:
    """Group sorted rows into series, with gaps filled, cut, or ignored.

    The grid of a series has the phase that most of its rows share; rows between two grid steps are rejected by
    ``action``.

    Raises:
        DataError: filling would create far more steps than there are rows.
    """
    starts = rows.starts()
    steps = parse_steps(time) if time is not None and time.gaps != "ignore" else None
    if steps is None or time is None or not len(rows):
        grid = np.arange(len(rows)) - starts[_series_of(starts)]
        return Series(rows, starts, starts, grid)
    grid, off = steps.grid(rows.time, starts)
    if off.any():
        quarantine.rows(
            action,
            OFF_GRID,
            int(off.sum()),
            lambda: rows.records(
                np.flatnonzero(off), time.kind, f"expected a time on its entity's grid of {time.frequency}"
            ),
        )
        rows, grid = rows.take(~off), grid[~off]
        starts = rows.starts()
    grid = grid - grid[starts[:-1]][_series_of(starts)] if len(rows) else grid
    if time.gaps == "fill":
        most = np.iinfo(np.int64).max if time.fill_limit is None else time.fill_limit + 1
        segments = np.union1d(starts, np.flatnonzero(np.diff(grid) > most) + 1)
        return _filled(Series(rows, starts, segments, grid), steps, quarantine)
    segments = np.union1d(starts, np.flatnonzero(np.diff(grid) != 1) + 1)
    return Series(rows, starts, segments, grid)


def _filled(found: Series, of_time: Steps, quarantine: Quarantine) -> Series:
    """Fill the gaps within each segment."""
    rows, starts = found.rows, found.segments
    if not len(rows):
        return found
    first = found.grid[starts[:-1]]
    grid = found.grid - first[_series_of(starts)]
    lengths = grid[starts[1:] - 1] + 1
    given = np.diff(starts)
    wide = lengths - given > np.maximum(MOST_FILLED, MOST_FILLED_RATIO * given)
    if wide.any():
        place = int(np.flatnonzero(wide)[0])
        raise DataError(
            f"entity {rows.entities[rows.entity[starts[place]]]}: {given[place]} rows cover {lengths[place]} steps of "
            "data.time.frequency, too many to fill. Correct the times or the frequency, or set data.time.fill_limit or "
            "data.time.gaps: split"
        )
    new_starts = np.concatenate([[0], np.cumsum(lengths)])
    if new_starts[-1] == len(rows):
        return found
    series = _series_of(new_starts)
    to = new_starts[_series_of(starts)] + grid
    filled = np.ones(new_starts[-1], bool)
    filled[to] = False
    # Every new row starts as a copy of its segment's first row, without the measured values.
    out = rows.take(starts[series])
    steps = np.arange(len(out)) - new_starts[series]
    out.time[:] = of_time.ahead(out.time, steps)
    out.time[to] = rows.time
    out.row[:] = 0
    out.row[to] = rows.row
    out.file[to] = rows.file
    for name, values in out.numeric.items():
        values[:] = np.nan
        values[to] = rows.numeric[name]
    for name, (codes, _) in out.categorical.items():
        codes[:] = -1
        codes[to] = rows.categorical[name][0]
    label = out.label
    if isinstance(label, tuple):
        if rows.label_per_step:
            label[0][:] = -1
        label[0][to] = rows.label[0]
    elif label is not None:
        label[to] = rows.label
    quarantine.report.steps_filled += int(filled.sum())
    series_starts = new_starts[np.searchsorted(starts, found.starts)]
    return Series(replace(out, label=label), series_starts, new_starts, steps + first[series])
