"""Assignment of entities, sequences and windows to splits: by hash of the entity, as given, or by time."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.data.values.parsing import parse_times
from noisy_gru.data.values.time_formats import formatted_times, lacks_zone, localized
from noisy_gru.schema.config import DatasetConfig, EntitySplitConfig, ForecastingConfig, TimeConfig, TimeSplitConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.split_config import NO_PART

TRAIN, EVAL, TEST = 0, 1, 2
EMBARGO, ACROSS_BOUNDARY = -1, -2


def without_splits(dataset: DatasetConfig) -> DatasetConfig:
    """Return a configuration that keeps every sequence, whatever the splits."""
    # A split by entities has no embargo, and a test part of (nearly) 0 no sequences.
    return dataset.model_copy(update={"splits": EntitySplitConfig(eval=0.0, test=NO_PART)})


def hash_fraction(entity: str, seed: int) -> float:
    """Hash an entity to a uniform number in [0, 1), reproducible for a seed."""
    digest = blake2b(entity.encode(), digest_size=8, key=str(seed).encode(), person=b"split").digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def splits_of_series(rows: Rows, starts: np.ndarray, dataset: DatasetConfig) -> np.ndarray:
    """Return the split of each series [S], by entities, files or column; all train if time decides."""
    config = dataset.splits
    first = starts[:-1]
    if isinstance(config, TimeSplitConfig) or not len(first):
        return np.full(len(first), TRAIN, np.int8)
    names = [rows.entities[code] for code in rows.entity[first].tolist()]
    parts = np.array([hash_fraction(name, dataset.seed) for name in names])
    if isinstance(config, EntitySplitConfig):
        split = np.full(len(first), TRAIN, np.int8)
        split[parts < config.test + config.eval] = EVAL
        split[parts < config.test] = TEST
        return split
    if rows.split is None:
        raise DataError(f"splits.by: {config.by} needs a split for every row, received rows without a split")
    split = rows.split[first].copy()
    split[(split == TRAIN) & (parts < config.eval_from_train)] = EVAL
    return split


@dataclass(frozen=True)
class Boundaries:
    """Start times of eval and test, in the unit of times; equal ones leave eval empty."""

    eval: int | float
    test: int | float


def _at(value: str, key: str, time: TimeConfig) -> int | float:
    text = pa.array([value])
    values, bad = parse_times(text, time.kind)
    local = lacks_zone(text, None)
    if bad[0] and time.format is not None:
        values, bad = formatted_times(text, time.format)
        local = lacks_zone(text, time.format)
    if time.spelling.zone is not None:
        values, bad = localized(values, bad, local, time.spelling)
    if bad[0]:
        raise DataError(f"splits.{key}: expected a time ({time.kind}) or a part below 1, received {value!r}")
    return values[0].item()


def split_boundaries(dataset: DatasetConfig, first: int | float, last: int | float) -> Boundaries:
    """Return the boundaries of a split by time, given the first and last time of all rows.

    Raises:
        DataError: a boundary is no time, or eval starts after test.
    """
    config, time = dataset.splits, dataset.data.time
    if not isinstance(config, TimeSplitConfig) or time is None:
        raise DataError("splits.by: time needs data.time")

    def part(fraction: float) -> int | float:
        length = (last - first) * fraction
        return round(length) if isinstance(last, int) else length

    test = _at(config.test, "test", time) if isinstance(config.test, str) else last - part(config.test)
    start = _at(config.eval, "eval", time) if isinstance(config.eval, str) else test - part(config.eval)
    if start > test:
        raise DataError(f"splits.eval ({config.eval}) starts after splits.test ({config.test}): swap or correct them")
    return Boundaries(start, test)


def boundaries_from_report(report: IngestionReport, dataset: DatasetConfig) -> Boundaries | None:
    """Return the boundaries of a split by time, from the report of all reading; None for other splits or no rows."""
    if not isinstance(dataset.splits, TimeSplitConfig) or "read" not in report.time_ranges:
        return None
    return split_boundaries(dataset, *report.time_ranges["read"])


def embargo_of(dataset: DatasetConfig) -> int:
    """Return the steps left out between splits by time: as configured, by default the furthest horizon."""
    embargo = getattr(dataset.splits, "embargo", None)
    if embargo is not None:
        return embargo
    return dataset.task.max_horizon if isinstance(dataset.task, ForecastingConfig) else 0


def splits_of_windows(time: np.ndarray, ends: np.ndarray, at: Boundaries, embargo: int) -> np.ndarray:
    """Return the split of each window of a series, or EMBARGO.

    Args:
        time: [n] times of the series, rising.
        ends: [m] position of each window's last input step, which decides the split.
        at: the boundaries.
        embargo: windows that end at most this many steps before the next split are left out: with at least the
            furthest horizon none of their targets is in the next split.
    """
    split = np.full(len(ends), TRAIN, np.int8)
    for boundary, after in ((at.eval, EVAL), (at.test, TEST)):
        place = np.searchsorted(time, boundary)
        split[(ends >= place - embargo) & (ends < place)] = EMBARGO
        split[ends >= place] = after
    return split


def splits_of_ranges(first: np.ndarray, last: np.ndarray, at: Boundaries, dataset: DatasetConfig) -> np.ndarray:
    """Return the split of whole sequences by their first and last times [m], or EMBARGO or ACROSS_BOUNDARY."""
    count = embargo_of(dataset)
    steps = parse_steps(dataset.data.time) if dataset.data.time else None
    if count and steps is None:
        raise DataError("splits.embargo counts steps, so for whole sequences it needs data.time.frequency")
    split = np.full(len(first), TRAIN, np.int8)
    for boundary, after in ((at.eval, EVAL), (at.test, TEST)):
        before = boundary if steps is None else steps.ahead(np.array(boundary, last.dtype), -count)
        split[(last >= before) & (last < boundary)] = EMBARGO
        split[(first < boundary) & (last >= boundary)] = ACROSS_BOUNDARY
        split[first >= boundary] = after
    return split
