"""One bucket from its chunks to its shards: the work that Beam spreads over its workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from noisy_gru.data.columns import Columns
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences, regular_series, whole_sequences
from noisy_gru.data.sequences.shards import encode_shards
from noisy_gru.data.sequences.splits import Boundaries, split_boundaries
from noisy_gru.data.sequences.windows import training_windows
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig, TimeSplitConfig


def boundaries_from_report(report: IngestionReport, dataset: DatasetConfig) -> Boundaries | None:
    """Where splits by time begin, from the report of all reading; None for other splits, or without rows."""
    if not isinstance(dataset.splits, TimeSplitConfig) or "read" not in report.time_ranges:
        return None
    return split_boundaries(dataset, *report.time_ranges["read"])


def build_sequences(rows: Rows, at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine) -> Sequences:
    """The sequences of one bucket's rows, for training and evaluation.

    Args:
        rows: all rows of some entities.
        at: where splits by time begin, None for other splits.
        dataset: the configuration.
        quarantine: receives what is taken out, and the counts.
    """
    series, split = regular_series(rows, dataset, quarantine)
    if isinstance(dataset.task, ForecastingConfig):
        return training_windows(series, split, at, dataset, quarantine)
    return whole_sequences(series, split, at, dataset, quarantine)


def make_encoder(sequences: Sequences, dataset: DatasetConfig, *, prediction: bool = False) -> Encoder:
    """What encodes these sequences."""
    horizon = dataset.task.max_horizon if isinstance(dataset.task, ForecastingConfig) else 0
    return Encoder(sequences, Columns.of(dataset, prediction=prediction), horizon)


def bucket_shards(
    chunks: Iterable[bytes], at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine
) -> Iterator[tuple[str, int, bytes]]:
    """Split, number and bytes of each shard of a bucket."""
    sequences = build_sequences(unpack(chunks), at, dataset, quarantine)
    yield from encode_shards(sequences, make_encoder(sequences, dataset), quarantine.report)
