"""Rows moved to the steps of a grid: each to the nearest one, or to the last that isn't after it.

The grid is the same for all entities, data and requests: multiples of `data.time.frequency`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.gaps import OFF_GRID, parse_frequency, parse_tolerance
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

SAME_STEP = "same_step"
# A time that is a multiple of the frequency, but for rounding, is on its step.
_ROUNDING = 1e-9


def floor_times(time: np.ndarray, frequency: int | float) -> np.ndarray:
    """Return the step at or before each time [N], in the unit of times."""
    if np.issubdtype(time.dtype, np.integer):
        low = time - time % frequency
        # The step before the first time of int64 is none.
        return np.where(low > time, low + frequency, low)
    return np.floor(time / frequency + _ROUNDING) * frequency


def nearest_times(time: np.ndarray, frequency: int | float) -> np.ndarray:
    """Return the step nearest to each time [N]; of two as near, the later."""
    if np.issubdtype(time.dtype, np.integer):
        rest, low = time % frequency, floor_times(time, frequency)
        # Nor is the one after its last.
        up = (rest >= frequency - rest) & (low <= time) & (low + frequency > low)
        return np.where(up, low + frequency, low)
    return np.floor(time / frequency + 0.5 + _ROUNDING) * frequency


def align_rows(rows: Rows, time: TimeConfig, action: str, quarantine: Quarantine) -> Rows:
    """Move sorted rows to their steps by `data.time.align`, and keep the closest of each step (of two, the earlier).

    Args:
        rows: sorted, with at most one for each entity, split and time.
        time: the configuration; with `align: exact` the rows stay as they are.
        action: for rows farther from their step than `tolerance`.
        quarantine: receives the rejected rows, and counts those that are not the closest as dropped.

    Raises:
        DataError: frequency or tolerance are no distances of time.
    """
    frequency = parse_frequency(time)
    if time.align == "exact" or frequency is None or not len(rows):
        return rows
    step = (floor_times if time.align == "floor" else nearest_times)(rows.time, frequency)
    distance = np.abs(rows.time - step)
    tolerance = parse_tolerance(time)
    if tolerance is not None and (far := distance > tolerance).any():
        problem = f"expected a time within {time.tolerance} (data.time.tolerance) of a step of {time.frequency}"
        quarantine.rows(action, OFF_GRID, int(far.sum()), lambda: rows.records(np.flatnonzero(far), time.kind, problem))
        rows, step, distance = rows.take(~far), step[~far], distance[~far]
    group = step_groups(rows, step)
    # Stable: of two rows as close, the earlier comes first.
    order = np.lexsort((distance, group))
    closest = order[np.searchsorted(group, np.arange(group[-1] + 1 if len(group) else 0))]
    quarantine.rows("drop", SAME_STEP, len(rows) - len(closest), list)
    return replace(rows, time=step).take(closest)


def step_groups(rows: Rows, step: np.ndarray) -> np.ndarray:
    """Number the steps of all series of sorted rows: int64 [N], rising."""
    if not len(rows):
        return np.zeros(0, np.int64)
    new = np.diff(step, prepend=step[0]) != 0
    new[rows.starts()[:-1]] = True
    return np.cumsum(new) - 1


def check_alignment(time: TimeConfig) -> None:
    """Raise ``DataError`` if tolerance or frequency are no distances of time."""
    frequency, tolerance = parse_frequency(time), parse_tolerance(time)
    if frequency is not None and tolerance is not None and tolerance >= frequency:
        raise DataError(
            f"data.time.tolerance: expected less than data.time.frequency ({time.frequency}), received {time.tolerance}"
        )
