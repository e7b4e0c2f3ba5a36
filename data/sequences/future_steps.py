"""Steps after the last one of each series, whose times follow from the frequency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.sequences import with_computed_features
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.schema.config import DatasetConfig


def append_future(series: Series, steps: int, dataset: DatasetConfig) -> Series:
    """Append ``steps`` steps to each series: with their times, calendars and entity, all other values missing.

    Raises:
        TypeError: the data set has no regular steps.
    """
    time = dataset.data.time
    of_time = parse_steps(time) if time is not None else None
    if of_time is None:
        raise TypeError("the times of future steps follow from data.time.frequency, received none")
    rows, starts = series.rows, series.starts
    count = len(starts) - 1
    after = np.repeat(starts[1:], steps)
    is_future = np.insert(np.zeros(len(rows), bool), after, True)
    ahead = np.tile(np.arange(1, steps + 1), count)
    # Each new row begins as a copy of its series' last one.
    index = np.insert(np.arange(len(rows)), after, after - 1)
    out, grid = rows.take(index), series.grid[index]
    out.time[is_future] = of_time.ahead(out.time[is_future], ahead)
    grid[is_future] += ahead
    out.row[is_future] = 0
    for values in out.numeric.values():
        values[is_future] = np.nan
    for codes, _ in out.categorical.values():
        codes[is_future] = -1
    owner = np.searchsorted(starts, series.segments, side="right") - 1
    return replace(
        series,
        rows=with_computed_features(out, dataset),
        starts=starts + steps * np.arange(count + 1),
        segments=series.segments + steps * owner,
        grid=grid,
    )
