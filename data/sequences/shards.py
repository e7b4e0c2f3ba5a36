"""From the rows of a bucket to its sequences, and their gzipped TFRecord shards: the same input, the same bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b

import google_crc32c
import numpy as np

from noisy_gru.data.columns import TARGET
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences, regular_series, whole_sequences
from noisy_gru.data.sequences.splits import Boundaries
from noisy_gru.data.sequences.windows import training_windows
from noisy_gru.schema.config import SPLITS, DatasetConfig, ForecastingConfig
from noisy_gru.storage.gzip_stream import GzipStream

SHARD_BYTES = 128 << 20
# Windows of one series overlap, and gzip finds that only in neighbours: 64 together compress nearly as well as all, and
# the Trainer's shuffle buffer holds hundreds of blocks.
WINDOWS_TOGETHER = 64


def masked_crc(data: bytes) -> int:
    """Return the checksum of TFRecord files."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(record: bytes) -> bytes:
    """Frame a record for a TFRecord file."""
    size = struct.pack("<Q", len(record))
    return b"".join([size, struct.pack("<I", masked_crc(size)), record, struct.pack("<I", masked_crc(record))])


def shuffled_order(sequences: Sequences, block: int) -> list[int]:
    """Return the order in shards: blocks of neighbours by the hash of their first id, the same in every run.

    Args:
        sequences: of a split, in any order.
        block: how many that follow each other by entity and time stay together.
    """
    ordered = np.lexsort((sequences.rows.time[sequences.start], sequences.rows.entity[sequences.start])).tolist()
    blocks = [ordered[start : start + block] for start in range(0, len(ordered), block)]
    keys = [blake2b(sequences.ids[each[0]].encode(), digest_size=8, person=b"order").digest() for each in blocks]
    places = sorted(range(len(blocks)), key=lambda place: (keys[place], sequences.ids[blocks[place][0]]))
    return [each for place in places for each in blocks[place]]


def build_sequences(rows: Rows, at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine) -> Sequences:
    """Build the sequences of a bucket's rows, for training and evaluation.

    Args:
        rows: all rows of some entities.
        at: boundaries of a split by time; None for other splits.
        dataset: the configuration.
        quarantine: receives the rejected rows, and the counts.
    """
    series, split = regular_series(rows, dataset, quarantine)
    if isinstance(dataset.task, ForecastingConfig):
        return training_windows(series, split, at, dataset, quarantine)
    return whole_sequences(series, split, at, dataset, quarantine)


def encode_shards(
    sequences: Sequences, encode: Encoder, report: IngestionReport, shard_bytes: int = SHARD_BYTES
) -> Iterator[tuple[str, int, bytes]]:
    """Yield split, number and gzipped bytes of each shard; a split without sequences has none.

    A shard holds at most ``shard_bytes`` before compression, or one sequence.
    """
    are_windows = any(key.startswith(TARGET) for key in sequences.horizon_values)
    block = WINDOWS_TOGETHER if are_windows else 1
    for code, split in enumerate(SPLITS):
        chosen = np.flatnonzero(sequences.split == code)
        if not len(chosen):
            continue
        count_sequences(sequences, chosen, split, report)
        number, shard = 0, _Shard()
        for example in encode.examples(chosen[shuffled_order(sequences.take(chosen), block)]):
            record = frame_record(example)
            if shard.size and shard.size + len(record) > shard_bytes:
                yield split, number, shard.content()
                number, shard = number + 1, _Shard()
            shard.add(record)
        yield split, number, shard.content()


class _Shard:
    """Gzipped records; ``size`` is their bytes before compression."""

    def __init__(self) -> None:
        self.size = 0
        self._stream = GzipStream()
        self._written: list[bytes] = []

    def add(self, record: bytes) -> None:
        self.size += len(record)
        if written := self._stream.compress(record):
            self._written.append(written)

    def content(self) -> bytes:
        """Return the file."""
        return b"".join([*self._written, self._stream.flush()])


def count_sequences(sequences: Sequences, chosen: np.ndarray, split: str, report: IngestionReport) -> None:
    """Count the chosen sequences, of a split, in the report."""
    rows, lengths = sequences.rows, sequences.stop - sequences.start
    report.sequences[split] += len(chosen)
    for length, count in zip(*np.unique(lengths[chosen], return_counts=True), strict=True):
        report.lengths[str(length)] += int(count)
    first, last = sequences.start[chosen], sequences.stop[chosen] - 1
    report.widen_time_range(split, rows.time[first].min().item(), rows.time[last].max().item())
    if isinstance(rows.label, tuple):
        codes, texts = rows.label
        labels = report.labels.setdefault(split, type(report.sequences)())
        of_each = codes[first]
        if rows.label_per_step:
            of_each = np.concatenate([codes[begin:end] for begin, end in zip(first, last + 1, strict=True)])
        for code, count in zip(*np.unique(of_each[of_each >= 0], return_counts=True), strict=True):
            labels[texts[code]] += int(count)
