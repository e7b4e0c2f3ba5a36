"""Windows of a request whose targets have come: what was predicted beside what came.

>>> windows = windows_with_actual(series, end, task, ahead=0, counts=mask)  # doctest: +SKIP
>>> windows.values["target/load"]  # NaN where there is no value yet  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from noisy_gru.data.columns import TARGET
from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.schema.config import ForecastingConfig

# Says which rows hold values that are to be compared, bool [rows].
Counting = Callable[[Rows], np.ndarray]


@dataclass(frozen=True)
class ActualWindows:
    """M windows, by series and time.

    Attributes:
        first: row of each window's first step, int64 [M].
        stop: row after its last step, int64 [M].
        owner: its series, int64 [M].
        values: what came at each horizon, float32 [M, H], by tf.Example key of the target.
    """

    first: np.ndarray
    stop: np.ndarray
    owner: np.ndarray
    values: dict[str, np.ndarray]


def every_row(rows: Rows) -> np.ndarray:
    """Let all values be compared."""
    return np.ones(len(rows), bool)


def rows_of_files(names: Collection[str]) -> Counting:
    """Let the values of some files be compared; the others only add earlier steps."""
    return lambda rows: np.array([name in names for name in rows.file_names], bool)[rows.file]


def windows_with_actual(
    series: Series, end: np.ndarray, task: ForecastingConfig, ahead: int, counts: np.ndarray
) -> ActualWindows:
    """Cut a window at each step before one whose value came, and the latest window of each series.

    Args:
        series: of the request.
        end: row after the past of each series, int64 [S].
        task: the forecast.
        ahead: rows after its last step that a window needs, for columns known in advance.
        counts: rows whose values are compared, bool [rows].
    """
    stops, lasts = [], []
    owner_of = np.searchsorted(series.starts, series.segments[:-1], side="right") - 1
    bounds = zip(series.segments[:-1].tolist(), series.segments[1:].tolist(), end[owner_of].tolist(), strict=True)
    for start, stop, past in bounds:
        found = np.arange(start + task.input_length, min(past, stop - ahead) + 1)
        stops.append(found)
        lasts.append(np.full(len(found), stop))
    stop, last = (np.concatenate(each) if each else np.empty(0, np.int64) for each in (stops, lasts))
    owner = np.searchsorted(series.starts, stop - 1, side="right") - 1
    rows = stop[:, np.newaxis] - 1 + np.array(task.horizons)
    is_there = rows < last[:, np.newaxis]
    rows = np.where(is_there, rows, 0)
    is_there &= counts[rows] if len(counts) else False
    values = {}
    for name in task.targets:
        column = series.rows.numeric[name]
        values[TARGET + name] = np.where(is_there, column[rows] if len(column) else 0, np.float32(np.nan))
    known = np.any([~np.isnan(each).all(axis=1) for each in values.values()], axis=0)
    kept = known | (stop == end[owner])
    return ActualWindows(
        stop[kept] - task.input_length, stop[kept], owner[kept], {name: each[kept] for name, each in values.items()}
    )


def actual_of(sequences: Sequences, task: ForecastingConfig) -> np.ndarray:
    """Return what came after each window, float32 [M, H, K]; NaN where it isn't known."""
    return np.stack([sequences.horizon_values[TARGET + name] for name in task.targets], axis=-1).astype(np.float32)
