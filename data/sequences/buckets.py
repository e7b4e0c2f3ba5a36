"""One bucket from its chunks to its shards: the work that Beam spreads over its workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from noisy_gru.data.columns import Columns
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences, series_of_bucket, whole_sequences
from noisy_gru.data.sequences.shards import shards
from noisy_gru.data.sequences.splits import Boundaries, boundaries
from noisy_gru.data.sequences.windows import training_windows
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig, TimeSplitConfig


def boundaries_of(report: IngestionReport, dataset: DatasetConfig) -> Boundaries | None:
    """Where splits by time begin, from the report of all reading; None for other splits, or without rows."""
    if not isinstance(dataset.splits, TimeSplitConfig) or "read" not in report.times:
        return None
    return boundaries(dataset, *report.times["read"])


def sequences_of(rows: Rows, at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine) -> Sequences:
    """The sequences of one bucket's rows, for training and evaluation.

    Args:
        rows: all rows of some entities.
        at: where splits by time begin, None for other splits.
        dataset: the configuration.
        quarantine: receives what is taken out, and the counts.
    """
    series, split = series_of_bucket(rows, dataset, quarantine)
    if isinstance(dataset.task, ForecastingConfig):
        return training_windows(series, split, at, dataset, quarantine)
    return whole_sequences(series, split, at, dataset, quarantine)


def encoder_of(sequences: Sequences, dataset: DatasetConfig, *, prediction: bool = False) -> Encoder:
    """What encodes these sequences."""
    horizon = dataset.task.max_horizon if isinstance(dataset.task, ForecastingConfig) else 0
    return Encoder(sequences, Columns.of(dataset, prediction=prediction), horizon)


def bucket_shards(
    chunks: Iterable[bytes], at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine
) -> Iterator[tuple[str, int, bytes]]:
    """Split, number and bytes of each shard of a bucket."""
    sequences = sequences_of(unpack(chunks), at, dataset, quarantine)
    yield from shards(sequences, encoder_of(sequences, dataset), quarantine.report)
