"""Elapsed features: seconds since the row before, steps since a column was last observed; within the sequence.

They count from a source row. A source before the sequence begins is none, so a value depends on the sequence alone, and
a request has the values of training whatever history it brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import FeatureConfig


def source_rows(rows: Rows, feature: FeatureConfig) -> np.ndarray:
    """Return the row that each row's value counts from, int64 [N]; -1 for none.

    It may belong to another series: whoever uses it compares it with the begin of the sequence.
    """
    if feature.elapsed == "seconds_since_last":
        # At the begin of a series stands a row, or the last step of a stream.
        marked = rows.row > 0
        marked[rows.starts()[:-1]] = True
        found = np.maximum.accumulate(np.where(marked, np.arange(len(rows)), -1))
        return np.concatenate([[-1], found[:-1]]) if len(rows) else found
    name = feature.column or ""
    if name in rows.categorical:
        codes, texts = rows.categorical[name]
        observed = np.array([bool(text) for text in texts] + [False])[codes]
    else:
        observed = ~np.isnan(rows.numeric[name])
    return np.maximum.accumulate(np.where(observed, np.arange(len(rows)), -1))


def add_elapsed_features(series: Series, features: Sequence[FeatureConfig]) -> Series:
    """Add the elapsed features among ``features`` as float32 [N] columns; they count within segments."""
    rows, found = series.rows, {}
    begin = np.repeat(series.segments[:-1], np.diff(series.segments))
    for feature in features:
        if feature.elapsed is None:
            continue
        source = source_rows(rows, feature)
        if feature.elapsed == "seconds_since_last":
            passed = (rows.time - rows.time[source]) / 1e9 if len(rows) else np.zeros(0)
        else:
            passed = (np.arange(len(rows)) - source).astype(np.float64)
        found[feature.name] = np.where(source < begin, np.nan, passed).astype(np.float32)
    return replace(series, rows=replace(rows, numeric={**rows.numeric, **found})) if found else series
