"""Shards of tf.Examples by the names of their sequences: which there are, and all but some of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from noisy_gru.components.sequence_example_gen.in_process import SHARDS


def ids_in(folder: Path) -> set[str]:
    """The names of the sequences in all shards below a folder."""
    return {name for shard in folder.glob(SHARDS) for name, _ in _records(shard)}


def keep_others(folder: Path, names: set[str]) -> int:
    """Takes the sequences of these names out of all shards below a folder; how many others there are."""
    kept = 0
    for shard in sorted(folder.glob(SHARDS)):
        records = [record for name, record in _records(shard) if name not in names]
        kept += len(records)
        shard.unlink()
        if records:
            with tf.io.TFRecordWriter(str(shard), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
                for record in records:
                    writer.write(record)
    return kept


def _records(shard: Path) -> Iterator[tuple[str, bytes]]:
    records: Any = tf.data.TFRecordDataset(str(shard), compression_type="GZIP")
    for record in records.as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        yield example.features.feature["sequence_id"].bytes_list.value[0].decode(), record
