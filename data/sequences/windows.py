"""Windows for forecasting, cut from the start of each history, with targets and naive forecasts.

The first window of a series (of a segment if gaps cut) ends at its step ``input_length``, and another follows every
``stride`` steps: new rows at the end add windows and change none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noisy_gru.data.columns import NAIVE_LAST, NAIVE_SEASONAL, TARGET, Columns
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.sequence_ids import sequence_ids
from noisy_gru.data.sequences.sequences import (
    TOO_SHORT,
    Sequences,
    count_kept,
    drop_outside_splits,
    quarantine_ranges,
)
from noisy_gru.data.sequences.splits import Boundaries, embargo_of, splits_of_windows
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

MISSING_TARGET, NO_READINGS = "missing_target", "no_readings"


def window_ends(segments: np.ndarray, task: ForecastingConfig) -> np.ndarray:
    """Return the row of each window's last input step, int64 [M], for segments that begin at [G + 1]."""
    ends = [
        np.arange(start + task.input_length - 1, stop - task.max_horizon, task.stride)
        for start, stop in zip(segments[:-1].tolist(), segments[1:].tolist(), strict=True)
    ]
    return np.concatenate(ends) if ends else np.empty(0, np.int64)


def horizon_values(series: Series, ends: np.ndarray, task: ForecastingConfig) -> dict[str, np.ndarray]:
    """Return targets and naive forecasts, float32 [M, horizons], by tf.Example key; forecasts read up to ``ends``."""
    horizons = np.array(task.horizons)
    found: dict[str, np.ndarray] = {}
    seasonal = seasonal_rows(series, ends, horizons, task.season_length) if task.season_length else None
    for name in task.targets:
        values = series.rows.numeric[name]
        found[TARGET + name] = values[ends[:, None] + horizons]
        found[NAIVE_LAST + name] = np.repeat(values[ends][:, None], len(horizons), axis=1)
        if seasonal is not None:
            found[NAIVE_SEASONAL + name] = np.where(seasonal < 0, np.float32(np.nan), values[seasonal])
    return found


def seasonal_rows(series: Series, ends: np.ndarray, horizons: np.ndarray, season: int) -> np.ndarray:
    """Return the row one season before each horizon (more, if that is unknown yet) [M, horizons]; -1 for none."""
    owner = np.searchsorted(series.starts, ends, side="right") - 1
    back = horizons - season * np.ceil(horizons / season).astype(np.int64)
    wanted = series.grid[ends][:, None] + back
    # Series and step as one rising number, so that one search finds a step's row even across gaps.
    width = int(series.grid.max(initial=0)) + 1
    every = np.repeat(np.arange(len(series.starts) - 1), np.diff(series.starts)) * width + series.grid
    key = owner[:, None] * width + wanted
    place = np.minimum(np.searchsorted(every, key), len(every) - 1)
    return np.where((wanted >= 0) & (every[place] == key), place, -1)


def training_windows(
    series: Series, split: np.ndarray, at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine
) -> Sequences:
    """Cut all windows of all series that are in a split, hold a reading, and have the targets that the policy asks."""
    task, time, rows = dataset.task, dataset.data.time, series.rows
    if not isinstance(task, ForecastingConfig) or time is None:
        raise TypeError(f"windows are cut for forecasting, received the task {task.kind}")
    start, stop = series.segments[:-1], series.segments[1:]
    needed = task.input_length + task.max_horizon
    short = stop - start < needed
    quarantine_ranges(
        rows,
        start[short],
        stop[short],
        dataset.data.policies.too_short,
        TOO_SHORT,
        time.kind,
        quarantine,
        f"expected at least {needed} steps (task.input_length and the furthest of task.horizons)",
    )
    count_kept(rows, start[~short], stop[~short], quarantine)
    ends = window_ends(series.segments, task)
    owner = np.searchsorted(series.starts, ends, side="right") - 1
    of_window = split[owner] if at is None else _splits_by_time(series, ends, owner, at, embargo_of(dataset))
    first = ends - task.input_length + 1
    found = Sequences(rows, first, ends + 1, of_window, sequence_ids(rows, first, ends + 1, dataset))
    found = _with_readings(drop_outside_splits(found, quarantine), dataset, quarantine)
    found = replace(found, horizon_values=horizon_values(series, found.stop - 1, task), series=series)
    return _with_targets(found, dataset, quarantine)


def _splits_by_time(series: Series, ends: np.ndarray, owner: np.ndarray, at: Boundaries, embargo: int) -> np.ndarray:
    found = np.empty(len(ends), np.int8)
    bounds = np.searchsorted(owner, np.arange(len(series.starts)))
    for place, (start, stop) in enumerate(zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True)):
        low, high = bounds[place], bounds[place + 1]
        found[low:high] = splits_of_windows(series.rows.time[start:stop], ends[low:high] - start, at, embargo)
    return found


def _with_readings(found: Sequences, dataset: DatasetConfig, quarantine: Quarantine) -> Sequences:
    """Drop windows whose input steps hold no value of any measured feature: there is nothing to learn from them."""
    columns, rows = Columns.of(dataset), found.rows
    numeric, categorical = columns.past_only(columns.numeric_features), columns.past_only(columns.categorical)
    if not numeric and not categorical:
        return found
    is_read = np.zeros(len(rows), bool)
    for name in numeric:
        is_read |= ~np.isnan(rows.numeric[name])
    for name in categorical:
        codes, texts = rows.categorical[name]
        is_read |= np.array([bool(text) for text in texts] + [False])[codes]
    before = np.concatenate([[0], np.cumsum(is_read)])
    kept = before[found.stop] > before[found.start]
    if count := int((~kept).sum()):
        quarantine.report.sequences_dropped[NO_READINGS] += count
    return found.take(kept)


def _with_targets(found: Sequences, dataset: DatasetConfig, quarantine: Quarantine) -> Sequences:
    policy = dataset.data.policies.missing_target
    missing = {
        key.removeprefix(TARGET): np.isnan(values)
        for key, values in found.horizon_values.items()
        if key.startswith(TARGET)
    }
    every = np.concatenate(list(missing.values()), axis=1)
    rejected = np.asarray(every.all(axis=1) if policy == "mask" else every.any(axis=1))
    quarantine.sequences(
        "drop" if policy == "mask" else policy,
        MISSING_TARGET,
        int(rejected.sum()),
        lambda: [
            {
                "sequence_id": found.ids[place],
                "problem": "expected every target of the window, received a missing one; "
                "data.policies.missing_target: mask keeps windows with some",
            }
            for place in np.flatnonzero(rejected).tolist()
        ],
    )
    for name, cells in missing.items():
        quarantine.report.count_masked(name, int(cells[~rejected].sum()))
    return found.take(~rejected)
