"""Aggregate the rows of each step of time to one row, by `data.resample`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.alignment import step_groups
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.schema.config import Aggregate, DatasetConfig


def resample_rows(rows: Rows, dataset: DatasetConfig, quarantine: Quarantine, *, prediction: bool = False) -> Rows:
    """Return one row for each step of each series that has rows, at the time that names the step.

    File and row number are those of the step's first row, and so are label and split. The label of a step
    (`task.per_step`) is the last one that its rows have.

    Args:
        rows: sorted.
        dataset: with `data.resample`, else the rows stay as they are.
        quarantine: counts the rows that become part of another.
        prediction: rows at the end of a series with only columns that are known in advance are the future, so a `count`
            there is missing.

    Raises:
        DataError: the frequency is no distance of time.
    """
    resample, time = dataset.data.resample, dataset.data.time
    steps = parse_steps(time) if time is not None else None
    if resample is None or steps is None or not len(rows):
        return rows
    step = steps.label(rows.time)
    group = step_groups(rows, step)
    first = np.searchsorted(group, np.arange(group[-1] + 1))
    numeric = {
        name: _AGGREGATES[resample.aggregate.get(name, "mean")](values.astype(np.float64), group, first)
        for name, values in rows.numeric.items()
    }
    out = replace(rows, time=step).take(first)
    categorical = {}
    for name, (codes, texts) in rows.categorical.items():
        there = np.array([bool(text) for text in texts] + [False])[codes]
        place = (_first_place if resample.aggregate.get(name) == "first" else _last_place)(there, group, first)
        categorical[name] = (np.where(place < 0, codes[first], codes[place]).astype(codes.dtype), texts)
    quarantine.report.rows_merged += len(rows) - len(out)
    found = {name: _as_float32(name, values, quarantine) for name, values in numeric.items()}
    out = replace(out, numeric=found, categorical=categorical)
    if rows.label_per_step and rows.label is not None:
        codes, texts = rows.label
        place = _last_place(codes >= 0, group, first)
        out = replace(out, label=(np.where(place < 0, -1, codes[place]).astype(codes.dtype), texts))
    counted = counted_columns(dataset)
    if prediction and counted:
        future = _future(out, Columns.of(dataset, prediction=True), counted)
        for name in counted:
            out.numeric[name][future] = np.nan
    return out


def _as_float32(name: str, values: np.ndarray, quarantine: Quarantine) -> np.ndarray:
    """Cast to float32; a sum beyond its range counts as missing."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    infinite = np.isinf(narrow)
    quarantine.report.count_imputed("infinite_value", name, int(infinite.sum()))
    return np.where(infinite, np.float32(np.nan), narrow)


def counted_columns(dataset: DatasetConfig) -> list[str]:
    """Return the numeric columns whose values are counted."""
    resample = dataset.data.resample
    return [name for name, how in resample.aggregate.items() if how == "count"] if resample is not None else []


def count_filled_as_zero(rows: Rows, dataset: DatasetConfig) -> None:
    """Set the counts of filled steps to 0 in place, but for those before nothing else than the future."""
    for name in counted_columns(dataset):
        values, starts = rows.numeric[name], rows.starts()
        known = np.where(np.isnan(values), -1, np.arange(len(values)))
        last = np.maximum.reduceat(known, starts[:-1]) if len(values) else known
        past = np.arange(len(values)) < np.repeat(last, np.diff(starts))
        values[past & (rows.row == 0)] = 0


def _future(rows: Rows, columns: Columns, counted: list[str]) -> np.ndarray:
    """Mask [N] of the rows after the last of their series that has a measured value."""
    if columns.future != "rows":
        return np.zeros(len(rows), bool)
    measured = np.zeros(len(rows), bool)
    for name in columns.past_only(columns.numeric):
        values = rows.numeric[name]
        measured |= (values > 0) if name in counted else ~np.isnan(values)
    for name in columns.past_only(columns.categorical):
        codes, texts = rows.categorical[name]
        measured |= np.array([bool(text) for text in texts] + [False])[codes]
    starts = rows.starts()
    last = np.maximum.reduceat(np.where(measured, np.arange(len(rows)), -1), starts[:-1])
    return np.arange(len(rows)) > np.repeat(last, np.diff(starts))


def _sum(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    total = np.add.reduceat(np.where(np.isnan(values), 0.0, values), first)
    return np.where(_count(values, group, first) > 0, total, np.nan)


def _mean(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    return _sum(values, group, first) / np.maximum(_count(values, group, first), 1)


def _count(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.add.reduceat((~np.isnan(values)).astype(np.float64), first)


def _min(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.fmin.reduceat(values, first)


def _max(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.fmax.reduceat(values, first)


def _median(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    # NaN is sorted to the end of its step.
    ordered = values[np.lexsort((values, group))]
    count = _count(values, group, first).astype(np.int64)
    low, high = first + np.maximum(count - 1, 0) // 2, first + count // 2
    return np.where(count > 0, (ordered[low] + ordered[np.minimum(high, len(values) - 1)]) / 2, np.nan)


def _first(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    place = _first_place(~np.isnan(values), group, first)
    return np.where(place < 0, np.nan, values[place])


def _last(values: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    place = _last_place(~np.isnan(values), group, first)
    return np.where(place < 0, np.nan, values[place])


def _first_place(there: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the first row of each step that has a value, -1 for none."""
    count = len(there)
    place = np.minimum.reduceat(np.where(there, np.arange(count), count), first)
    return np.where(place == count, -1, place)


def _last_place(there: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.maximum.reduceat(np.where(there, np.arange(len(there)), -1), first)


_AGGREGATES: dict[Aggregate, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _mean,
    "sum": _sum,
    "last": _last,
    "first": _first,
    "min": _min,
    "max": _max,
    "count": _count,
    "median": _median,
}
