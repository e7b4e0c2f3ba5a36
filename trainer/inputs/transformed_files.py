"""Files of transformed sequences: TFRecords, parsed in blocks, in the order of the files or of an epoch."""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from noisy_gru.trainer import features as names

PARSE_BLOCK = 1024
UNSEEN = "unseen"  # int64 []: sequences of a block that were dropped for their label
_SHUFFLE_BUFFER = 20_000


class TransformedFiles:
    """TFRecord files of transformed tf.Examples. Sequences with a label that is not in train are dropped.

    Args:
        patterns: file patterns; files that end in .gz are gzipped.
        spec: the parsing spec of the features to read; with `label` for classification.
    """

    def __init__(self, patterns: Sequence[str], spec: Mapping[str, Any]):
        self._spec = dict(spec)
        self._paths = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))

    def blocks(self) -> Iterator[dict[str, Any]]:
        """Yield all sequences in the order of the files, parsed, with `UNSEEN` for classification."""
        if self._paths:
            records = tf.data.Dataset.from_tensor_slices(self._paths).flat_map(_records)
            yield from self._parsed(records.batch(PARSE_BLOCK)).prefetch(tf.data.AUTOTUNE)

    def chunks(self, size: int, *, seed: int, epoch: Any, shuffle: bool, some_unseen: bool) -> tf.data.Dataset:
        """Return parsed chunks of `size` sequences, of which the last may be smaller.

        Args:
            size: sequences of a chunk.
            seed: of the order.
            epoch: whose order it is.
            shuffle: whether to shuffle the files, and the sequences in a buffer.
            some_unseen: whether any sequence has an unknown label.
        """
        files = tf.constant(self._paths, tf.string)
        if shuffle:
            files = tf.gather(files, permutation(len(self._paths), seed, epoch, draw=2))
        records = tf.data.Dataset.from_tensor_slices(files).flat_map(_records)
        if some_unseen:
            records = records.batch(PARSE_BLOCK).map(self._with_known_label).unbatch()
        if shuffle:
            # Of this graph alone. Else TensorFlow mixes in its global seed, and fails where that is 0.
            tf.compat.v1.set_random_seed(1)
            records = records.shuffle(_SHUFFLE_BUFFER, seed=seed + epoch)
        return self._parsed(records.batch(size)).map(_without_counts)

    def _parsed(self, blocks: tf.data.Dataset) -> tf.data.Dataset:
        return blocks.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _parse(self, serialized: tf.Tensor) -> dict[str, Any]:
        return of_known_labels(tf.io.parse_example(serialized, self._spec))

    def _with_known_label(self, serialized: tf.Tensor) -> tf.Tensor:
        spec = {names.LABEL: self._spec[names.LABEL]}
        return tf.boolean_mask(serialized, tf.io.parse_example(serialized, spec)[names.LABEL] >= 0)


class TransformedBlock:
    """Sequences that Transform's graph was given here, in place of `TransformedFiles`: as many as fit into memory.

    Args:
        block: Transform's outputs, as `features` names them.
        spec: the parsing spec of the features to keep.
    """

    def __init__(self, block: Mapping[str, Any], spec: Mapping[str, Any]):
        self._block = of_known_labels({key: block[key] for key in spec})

    def blocks(self) -> Iterator[dict[str, Any]]:
        """Yield the sequences, as `TransformedFiles.blocks`."""
        yield dict(self._block)


def of_known_labels(block: dict[str, Any]) -> dict[str, Any]:
    """Return the parsed sequences without those whose class is not in train, which has no place in the loss.

    Of a class for each sequence, `UNSEEN` is how many were left out.
    """
    label = block.get(names.LABEL)
    if label is None or isinstance(label, tf.RaggedTensor):
        return block
    known = label >= 0
    selected = {key: _select(value, known) for key, value in block.items()}
    return {**selected, UNSEEN: tf.reduce_sum(tf.cast(~known, tf.int64))}


def permutation(count: Any, seed: int, epoch: Any, *, draw: int) -> tf.Tensor:
    """Return a permutation int64 [count] that depends on seed, epoch and draw alone."""
    key = tf.stack([tf.constant(seed * 4 + draw, tf.int64), tf.cast(epoch, tf.int64)])
    keys = tf.random.stateless_uniform(tf.reshape(count, [1]), seed=key, dtype=tf.float64)
    return tf.cast(tf.argsort(keys, stable=True), tf.int64)


def _records(file: tf.Tensor) -> tf.data.Dataset:
    compression = tf.where(tf.strings.regex_full_match(file, r".*\.gz"), "GZIP", "")
    return tf.data.TFRecordDataset(file, compression_type=compression, buffer_size=1 << 20)


def _select(value: Any, keep: tf.Tensor) -> Any:
    return tf.ragged.boolean_mask(value, keep) if isinstance(value, tf.RaggedTensor) else tf.boolean_mask(value, keep)


def _without_counts(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != UNSEEN}
