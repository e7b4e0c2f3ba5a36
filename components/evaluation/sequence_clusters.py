"""Clusters of dependent test sequences, which the bootstrap resamples.

    >>> clusters_of(["a", "b", "c"], dataset).unit  # doctest: +SKIP
    'entity'

A sequence that is its entity's only one is a cluster by itself. Windows of one entity overlap and share its habits, so
an entity is a cluster. A forecast of a few series (three airports) has too few of these, but much time: there a cluster
is a block of time over all series, as long as the reach of a window and its horizons, since what happens in one series
often happens in the others as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from noisy_gru.data.sequences.sequence_ids import split_sequence_id
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

MIN_ENTITIES = 10
PLURALS = {"entity": "entities", "block of time": "blocks of time"}
# A block is as long as two windows with their horizons, or as one if that gives fewer than this.
_FEW_BLOCKS, _MAX_BLOCKS = 10, 30


@dataclass(frozen=True)
class Clusters:
    """Code of each sequence's cluster, int64 [N], and what a cluster is: `entity` or `block of time`."""

    codes: np.ndarray
    unit: str


def clusters_of(sequence_ids: Sequence[str], dataset: DatasetConfig) -> Clusters:
    """Return the clusters of a test split; equal for any order of the same sequences."""
    names = np.array([split_sequence_id(each, dataset)[0] for each in sequence_ids], dtype=object)
    entities, codes = np.unique(names.astype(str), return_inverse=True)
    if isinstance(dataset.task, ForecastingConfig) and len(entities) < MIN_ENTITIES:
        blocks = _blocks(sequence_ids, dataset.task)
        if blocks is not None and int(blocks.max(initial=-1)) + 1 >= len(entities):
            return Clusters(blocks, "block of time")
    return Clusters(codes.astype(np.int64), "entity")


def _blocks(sequence_ids: Sequence[str], task: ForecastingConfig) -> np.ndarray | None:
    """Return the block of time of each window [N], over all entities; None if the ids hold no times."""
    times = [_time(each.rpartition("@")[2]) for each in sequence_ids]
    if not times or any(time is None for time in times):
        return None
    distinct, order = np.unique(np.array(times, float), return_inverse=True)
    reach = -(-(task.input_length + task.max_horizon) // task.stride)
    count = max(min(_MAX_BLOCKS, len(distinct) // (2 * reach)), min(_FEW_BLOCKS, len(distinct) // reach))
    return order * max(count, 1) // max(len(distinct), 1)


def _time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Nanoseconds, which datetime doesn't know, decide nothing here.
        return datetime.fromisoformat(text[:19]).timestamp()
    except ValueError:
        return None
