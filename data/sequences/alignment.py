"""Rows moved to the steps of a grid: each to the nearest one, or to the last that isn't after it.

The grid is the same for all entities, data and requests: multiples of `data.time.frequency`, or steps of the calendar.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.gaps import OFF_GRID
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.steps import parse_steps, parse_tolerance
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

SAME_STEP = "same_step"


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
    steps = parse_steps(time)
    if time.align == "exact" or steps is None or not len(rows):
        return rows
    step = (steps.floor if time.align == "floor" else steps.nearest)(rows.time)
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
    steps, tolerance = parse_steps(time), parse_tolerance(time)
    if steps is not None and tolerance is not None and tolerance >= steps.shortest:
        raise DataError(
            f"data.time.tolerance: expected less than data.time.frequency ({time.frequency}), received {time.tolerance}"
        )
