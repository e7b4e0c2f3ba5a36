"""Transformed sequences as batches: read in large blocks, kept in memory where they fit, shuffled by seed and epoch.

The order of an epoch follows from the seed and the epoch's number alone, so a resumed training sees what an undisturbed
one would have seen. Sequences are kept one after the other, without padding, and cut into batches from there.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.schema.errors import DataError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.flat_sequences import Flat, flattened, joined, padded

logger = logging.getLogger(__name__)

_PARSE_BLOCK = 1024
_SHUFFLE_BUFFER = 20_000
# With `bucket_by_length`, sequences of this many batches are sorted by length together.
_POOL = 50


@dataclass(frozen=True)
class BatchConfig:
    """How sequences become batches."""

    batch_size: int
    seed: int = 0
    bucket_by_length: bool = False
    cache_bytes: float = 4e9


class SequenceData:
    """The transformed sequences of a split.

    Args:
        patterns: file patterns of TFRecords of transformed tf.Examples, gzipped if they end in .gz.
        feature_spec: the parsing spec, as `TFTransformOutput.transformed_feature_spec()` gives it.
        layout: of the data set.
        config: how to make batches.
        split: its name, for messages.

    Raises:
        DataError: a target is not finite, so no loss could be computed.
    """

    def __init__(
        self, patterns: Sequence[str], feature_spec: Mapping[str, Any], layout: Layout, config: BatchConfig, split: str
    ):
        self.layout = layout
        self.config = config
        self.split = split
        self.answer = names.LABEL if layout.is_classification else names.TARGETS
        wanted = [names.FEATURES, names.LENGTH, self.answer, *(layout.ids(i) for i in range(len(layout.categorical)))]
        if layout.observed_targets:
            wanted.append(names.LAST_TARGET)
        self._spec = {key: feature_spec[key] for key in wanted}
        self._files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        # The epoch whose order `shuffled` gives when it is iterated next.
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.padded_lengths: tuple[int, ...] = ()
        self.count = 0
        self.longest = 0
        self.unseen_labels = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._lengths = np.zeros(0, np.int64)
        self._memory: Flat | None = self._read()

    def __len__(self) -> int:
        """Sequences that can be used."""
        return self.count

    @property
    def steps(self) -> int:
        """Batches in one pass."""
        return math.ceil(self.count / self.config.batch_size)

    @property
    def digest(self) -> str:
        """A hash of every transformed sequence, in order."""
        return self._hash.hexdigest()

    @property
    def in_memory(self) -> bool:
        """Whether the sequences are kept in memory, or read again for each epoch."""
        return self._memory is not None

    def pad_to(self, lengths: tuple[int, ...]) -> None:
        """Make batches of few shapes from now on, for a compiler that works anew for each.

        Every batch gets `batch_size` rows, and the first of these lengths that holds it. Rows beyond the last batch's
        end repeat its last one and weigh 0.

        Args:
            lengths: rising; the last holds the longest sequence. None: as long as the longest of the batch, again.
        """
        self.padded_lengths = lengths

    def longest_of_batches(self, *, shuffled: bool) -> np.ndarray:
        """The longest sequence of each batch, int64 [steps], as `shuffled` or `one_pass` are like to make them."""
        lengths, size = self._lengths, self.config.batch_size
        if shuffled:
            lengths = np.random.default_rng(self.config.seed).permutation(lengths)
            if self.config.bucket_by_length:
                pools = np.arange(self.count) // (size * _POOL)
                lengths = lengths[np.lexsort((-lengths, pools))]
        return np.maximum.reduceat(lengths, np.arange(0, self.count, size))

    def one_pass(self) -> tf.data.Dataset:
        """Every sequence once, in the order of the files: (inputs, answer) in padded batches.

        After `pad_to` it is (inputs, answer, weight float32 [batch_size]); so with `shuffled`.
        """
        return self._batches(shuffle=False)

    def shuffled(self) -> tf.data.Dataset:
        """Every sequence once, in the order of the seed and of the number in `epoch`: (inputs, answer) in batches."""
        return self._batches(shuffle=True)

    def epochs(self, first: int, last: int) -> tf.data.Dataset:
        """What `shuffled` gives, of one epoch after the other: those from `first` on, up to and without `last`."""
        return self._batches(shuffle=True, epochs=tf.data.Dataset.range(first, last))

    def one_of_each_shape(self) -> tf.data.Dataset:
        """After `pad_to`: a batch of each padded length, of the type of the others."""
        flat = self._memory or next(iter(self._chunks(self._epoch_files(0, shuffle=False), epoch=0, shuffle=False)))
        size = self.config.batch_size
        rows = tf.range(size, dtype=tf.int64) % tf.size(flat[names.LENGTH], tf.int64)

        def batch(steps: tf.Tensor) -> tuple[Any, ...]:
            inputs = padded(flat, rows, steps, self.layout)
            # No sequence is longer than the axis.
            inputs[names.LENGTH] = tf.minimum(inputs[names.LENGTH], steps)
            return inputs, self._answers_of(flat, rows), tf.ones([tf.size(rows)])

        return tf.data.Dataset.from_tensor_slices(np.array(self.padded_lengths, np.int64)).map(batch)

    def shares(self, *, shuffled: bool, count: int, mine: range) -> tf.data.Dataset:
        """The batches of `shuffled` or `one_pass`, each cut into as many parts as there are replicas.

        Part i of a batch of n rows holds the rows from i * size on, with size = ceil(n / count). All parts have that
        size: rows beyond the batch's end repeat its last one and weigh 0.

        Args:
            shuffled: as `shuffled`, else as `one_pass`.
            count: parts of a batch.
            mine: which of them are wanted; they come one after the other, batch by batch.

        Returns:
            (inputs, answer, weight float32 [size], rows of the whole batch float32 []), `steps * len(mine)` of them.
        """

        def parts(rows: tf.Tensor) -> tf.data.Dataset:
            total = tf.size(rows, tf.int64)
            size = -(-total // count)

            def part(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
                places = number * size + tf.range(size)
                weight = tf.cast(places < total, tf.float32)
                return tf.gather(rows, tf.minimum(places, total - 1)), weight, tf.cast(total, tf.float32)

            return tf.data.Dataset.range(mine.start, mine.stop).map(part)

        return self._batches(shuffle=shuffled, parts=parts, per_batch=len(mine))

    def answers(self) -> np.ndarray:
        """The labels int64 [N], or targets float32 [N, H * K], in the order of the files."""
        return np.concatenate([block[self.answer].numpy() for block in self._blocks()] or [np.zeros([0])])

    def _blocks(self) -> Iterator[dict[str, Any]]:
        if self._files:
            records = tf.data.Dataset.from_tensor_slices(self._files).flat_map(_records)
            yield from self._parsed(records.batch(_PARSE_BLOCK)).prefetch(tf.data.AUTOTUNE)

    def _parsed(self, blocks: tf.data.Dataset) -> tf.data.Dataset:
        return blocks.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _parse(self, serialized: tf.Tensor) -> dict[str, Any]:
        block = tf.io.parse_example(serialized, self._spec)
        if self.answer == names.LABEL:
            # A class that train never showed has no place in the loss.
            known = block[names.LABEL] >= 0
            block = {key: _select(value, known) for key, value in block.items()}
            block["unseen"] = tf.reduce_sum(tf.cast(~known, tf.int64))
        return block

    def _read(self) -> Flat | None:
        """One pass over the files: counts, checks, and the sequences themselves where they fit."""
        parts: list[Flat] | None = []
        all_lengths = [self._lengths]
        size = 0
        for block in self._blocks():
            lengths = block[names.LENGTH].numpy()
            all_lengths.append(lengths)
            self.count += len(lengths)
            self.longest = max(self.longest, int(lengths.max(initial=0)))
            self.unseen_labels += int(block.pop("unseen", 0))
            if self.answer == names.TARGETS and not np.isfinite(block[names.TARGETS].numpy()).all():
                raise DataError(
                    f"The targets {', '.join(self.layout.targets)} of split {self.split} hold missing or infinite "
                    "values. Every sequence needs a finite target: leave the others out when the data is ingested."
                )
            arrays = [array for key in sorted(block) for array in _arrays(block[key])]
            size += sum(array.nbytes for array in arrays)
            for array in arrays:
                self._hash.update(np.ascontiguousarray(array).data)
            if parts is not None and size <= self.config.cache_bytes:
                parts.append(flattened(block, self.layout))
            else:
                parts = None
        self._lengths = np.concatenate(all_lengths)
        if self.unseen_labels:
            logger.warning(
                "%d sequences of split %s have a label that no sequence of train has; they are left out of the loss",
                self.unseen_labels,
                self.split,
            )
        return joined(parts, self.layout) if parts else None

    def _batches(
        self, *, shuffle: bool, epochs: tf.data.Dataset | None = None, parts: Any = None, per_batch: int = 1
    ) -> tf.data.Dataset:
        # There is no Python to make a graph of, and AutoGraph takes a second or two to find that out.
        @tf.autograph.experimental.do_not_convert
        def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            if self._memory is not None:
                order = tf.range(self.count, dtype=tf.int64)
                if shuffle:
                    order = _permutation(self.count, self.config.seed, epoch, draw=0)
                return self._cut(self._memory, order, epoch, shuffle=shuffle, parts=parts)
            chunks = self._chunks(self._epoch_files(epoch, shuffle=shuffle), epoch=epoch, shuffle=shuffle)

            def of_chunk(number: tf.Tensor, flat: Flat) -> tf.data.Dataset:
                order = tf.range(tf.size(flat[names.LENGTH], tf.int64))
                # Of this chunk alone; an epoch has fewer than 2**20 of them.
                return self._cut(flat, order, epoch * 2**20 + number, shuffle=shuffle, parts=parts)

            return chunks.enumerate().flat_map(of_chunk)

        if epochs is not None:
            return epochs.flat_map(of_epoch).prefetch(tf.data.AUTOTUNE)
        batches = tf.data.Dataset.range(1).map(lambda _: self.epoch.read_value()).flat_map(of_epoch)
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps * per_batch)).prefetch(tf.data.AUTOTUNE)

    def _cut(self, flat: Flat, order: tf.Tensor, draw_of: tf.Tensor, *, shuffle: bool, parts: Any) -> tf.data.Dataset:
        """The sequences in this order, as padded batches; with buckets, of like length and in another order."""
        size, count = self.config.batch_size, tf.size(order, tf.int64)
        starts = tf.range(0, count, size, tf.int64)
        if shuffle and self.config.bucket_by_length:
            pools = tf.range(count) // (size * _POOL)
            lengths = tf.gather(flat[names.LENGTH], order)
            # The longest first, because the last batch of all may be filled up with repeats.
            order = tf.gather(order, tf.argsort(pools * (self.longest + 1) + self.longest - lengths, stable=True))
            starts = tf.gather(starts, _permutation(tf.size(starts), self.config.seed, draw_of, draw=1))
        few = np.array(self.padded_lengths, np.int64)

        def rows(start: tf.Tensor) -> Any:
            if not len(few):
                return order[start : start + size]
            places = start + tf.range(size, dtype=tf.int64)
            return tf.gather(order, tf.minimum(places, count - 1)), tf.cast(places < count, tf.float32)

        def batch(rows: tf.Tensor, *weights: tf.Tensor) -> tuple[Any, ...]:
            steps = tf.maximum(tf.reduce_max(tf.gather(flat[names.LENGTH], rows)), 1)
            if len(few):
                steps = tf.gather(few, tf.searchsorted(few, steps[tf.newaxis])[0])
            return padded(flat, rows, steps, self.layout), self._answers_of(flat, rows), *weights

        batches = tf.data.Dataset.from_tensor_slices(starts).map(rows)
        batches = batches if parts is None else batches.flat_map(parts)
        return batches.map(batch)

    def _answers_of(self, flat: Flat, rows: tf.Tensor) -> tf.Tensor:
        answer = tf.gather(flat[self.answer], rows)
        return answer if self.layout.is_classification else tf.reshape(answer, [-1, *self.layout.target_shape])

    def _epoch_files(self, epoch: Any, *, shuffle: bool) -> tf.Tensor:
        files = tf.constant(self._files, tf.string)
        return tf.gather(files, _permutation(len(self._files), self.config.seed, epoch, draw=2)) if shuffle else files

    def _chunks(self, files: tf.Tensor, *, epoch: Any, shuffle: bool) -> tf.data.Dataset:
        """Sequences read from files, many batches at a time, each of which is whole but the last."""
        records = tf.data.Dataset.from_tensor_slices(files).flat_map(_records)
        if self.unseen_labels:
            records = records.batch(_PARSE_BLOCK).map(self._with_known_label).unbatch()
        if shuffle:
            # Of this graph alone. Else TensorFlow mixes in its global seed, and fails where that is 0.
            tf.compat.v1.set_random_seed(1)
            records = records.shuffle(_SHUFFLE_BUFFER, seed=self.config.seed + epoch)
        size = self.config.batch_size
        chunk = size * (_POOL if self.config.bucket_by_length else math.ceil(_PARSE_BLOCK / size))
        blocks = self._parsed(records.batch(chunk)).map(_without_counts)
        return blocks.map(lambda block: joined([flattened(block, self.layout)], self.layout)).prefetch(1)

    def _with_known_label(self, serialized: tf.Tensor) -> tf.Tensor:
        spec = {names.LABEL: self._spec[names.LABEL]}
        return tf.boolean_mask(serialized, tf.io.parse_example(serialized, spec)[names.LABEL] >= 0)


def _records(file: tf.Tensor) -> tf.data.Dataset:
    compression = tf.where(tf.strings.regex_full_match(file, r".*\.gz"), "GZIP", "")
    return tf.data.TFRecordDataset(file, compression_type=compression, buffer_size=1 << 20)


def _select(value: Any, keep: tf.Tensor) -> Any:
    return tf.ragged.boolean_mask(value, keep) if isinstance(value, tf.RaggedTensor) else tf.boolean_mask(value, keep)


def _without_counts(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "unseen"}


def _permutation(count: Any, seed: int, epoch: Any, *, draw: int) -> tf.Tensor:
    key = tf.stack([tf.constant(seed * 4 + draw, tf.int64), tf.cast(epoch, tf.int64)])
    keys = tf.random.stateless_uniform(tf.reshape(count, [1]), seed=key, dtype=tf.float64)
    return tf.cast(tf.argsort(keys, stable=True), tf.int64)


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, tf.RaggedTensor):
        return [value.flat_values.numpy(), value.row_splits.numpy()]
    return [value.numpy()]
