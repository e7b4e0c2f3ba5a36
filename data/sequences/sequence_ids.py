"""Names of sequences: the entity, and the time of the last input step where an entity has several sequences."""

from __future__ import annotations

import numpy as np

from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.values.parsing import format_times
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig


def has_several_sequences(dataset: DatasetConfig) -> bool:
    """Whether an entity may have several sequences: windows of a forecast, or the parts of a series cut at gaps."""
    time = dataset.data.time
    return isinstance(dataset.task, ForecastingConfig) or (time is not None and time.cuts_at_gaps)


def sequence_ids(rows: Rows, start: np.ndarray, stop: np.ndarray, dataset: DatasetConfig) -> list[str]:
    """Return the id of each sequence [M]: ``<entity>``, or ``<entity>@<time of the last step>``."""
    names = [rows.entities[code] for code in rows.entity[start].tolist()]
    if not has_several_sequences(dataset):
        return names
    kind = dataset.data.time.kind if dataset.data.time else "integer"
    return [f"{name}@{time}" for name, time in zip(names, format_times(rows.time[stop - 1], kind), strict=True)]


def split_sequence_id(sequence_id: str, dataset: DatasetConfig) -> tuple[str, tuple[float, str]]:
    """Return the entity of an id and its time as a sort key, ``(0, "")`` where the id has none."""
    if not has_several_sequences(dataset):
        return sequence_id, (0.0, "")
    entity, at, moment = sequence_id.rpartition("@")
    if not at:
        return sequence_id, (0.0, "")
    try:
        return entity, (float(moment), "")
    except ValueError:
        return entity, (0.0, moment)
