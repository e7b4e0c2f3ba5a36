"""Batches of transformed sequences: kept in memory if they fit, shuffled by seed and epoch.

The order of an epoch depends on the seed and the epoch's number alone, so a resumed training sees what an uninterrupted
one would. Sequences are stored concatenated, without padding, and batches are gathered from there.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.balanced_order import BalancedOrder
from noisy_gru.trainer.inputs.contents import read_contents
from noisy_gru.trainer.inputs.flat_sequences import Flat, flattened, joined, padded, padded_labels, padded_targets
from noisy_gru.trainer.inputs.pass_order import PassOrder
from noisy_gru.trainer.inputs.transformed_files import PARSE_BLOCK, TransformedBlock, TransformedFiles, permutation

# With `bucket_by_length`, sequences of this many batches are sorted by length together.
_POOL = 50


@dataclass(frozen=True)
class BatchConfig:
    """How to make batches of sequences.

    Attributes:
        balanced: those of an epoch are drawn by `BalancedOrder`, from memory.
        drawn: how many an epoch has, drawn by `PassOrder`, from memory; None: all.
    """

    batch_size: int
    seed: int = 0
    bucket_by_length: bool = False
    cache_bytes: float = 4e9
    balanced: bool = False
    drawn: int | None = None


class SequenceData:
    """The transformed sequences of a split.

    The answers of batches are labels [B] or targets [B, ..., K]. With `task.per_step` they are float32 [B, T, 2]: the
    class of each step, 0 where it is not known, and its weight: 0 there, else 1 / (known labels of a sequence, on
    average), so that the mean over the sequences of summed losses is the mean over the split's known labels. Numbers of
    steps are [B, T, 2 K], targets and weights likewise. Where
    targets are missing they are [B, H, 2 K]: the targets, 0 where missing, and their weights: 0 where missing, else 1 /
    (fraction of the split's targets that is known), so that the mean of weighted losses over the split is the mean over
    its known targets.

    Args:
        patterns: file patterns of TFRecords of transformed tf.Examples, gzipped if they end in .gz.
        feature_spec: the parsing spec, as `TFTransformOutput.transformed_feature_spec()` gives it.
        layout: of the data set.
        config: of the batches.
        split: its name, for messages.
        given: Transform's outputs for some sequences, which are read in place of files.

    Raises:
        DataError: as `read_contents`.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        feature_spec: Mapping[str, Any],
        layout: Layout,
        config: BatchConfig,
        split: str,
        *,
        given: Mapping[str, Any] | None = None,
    ):
        self.layout = layout
        self.config = config
        self.split = split
        self.answer = names.LABEL if layout.is_classification else names.TARGETS
        wanted = [names.FEATURES, names.LENGTH, self.answer, *(layout.ids(i) for i in range(len(layout.categorical)))]
        wanted += layout.static_inputs
        if layout.observed_targets:
            wanted.append(names.LAST_TARGET)
        spec = {key: feature_spec[key] for key in wanted}
        self._files: Any = TransformedFiles(patterns, spec) if given is None else TransformedBlock(given, spec)
        # The epoch whose order `shuffled` has when it is iterated next.
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.padded_lengths: tuple[int, ...] = ()
        contents = read_contents(self._files.blocks(), layout, split, config.cache_bytes)
        self.count = len(contents.lengths)
        self.longest = int(contents.lengths.max(initial=0))
        self.unseen_labels = contents.unseen_labels
        self.known_targets = contents.known_targets
        self.known_number = contents.known_number
        self.labels = contents.labels
        self.digest = contents.digest
        self._lengths = contents.lengths
        self._memory = contents.sequences
        self._order = self._drawn_order()

    def __len__(self) -> int:
        """Number of usable sequences."""
        return self.count

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        drawn = self.config.drawn if isinstance(self._order, PassOrder) else None
        return math.ceil((drawn or self.count) / self.config.batch_size)

    @property
    def in_memory(self) -> bool:
        """Whether the sequences are kept in memory, or read again for each epoch."""
        return self._memory is not None

    def pad_to(self, lengths: tuple[int, ...]) -> None:
        """Make batches of few shapes from now on, for a compiler that compiles each.

        Every batch gets `batch_size` rows, and the first of these lengths that holds it. Rows beyond the last batch's
        end repeat its last one, with weight 0.

        Args:
            lengths: rising; the last holds the longest sequence. empty: pad to the longest of each batch again.
        """
        self.padded_lengths = lengths

    def with_seed(self, seed: int) -> SequenceData:
        """Return the same sequences, not read again, in the order of another seed."""
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, seed=seed)
        other.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        other._order = other._drawn_order()
        return other

    def _drawn_order(self) -> BalancedOrder | PassOrder | None:
        """Return what draws the sequences of an epoch; None: a permutation of all."""
        if self._memory is None:
            return None
        if self.config.balanced:
            return BalancedOrder(self.labels, seed=self.config.seed)
        if self.config.drawn is not None:
            return PassOrder(self.count, self.config.drawn, seed=self.config.seed)
        return None

    def longest_of_batches(self, *, shuffled: bool) -> np.ndarray:
        """Return the longest sequence of each batch, int64 [steps], of `one_pass`, or about those of `shuffled`."""
        lengths, size = self._lengths, self.config.batch_size
        if shuffled:
            lengths = np.random.default_rng(self.config.seed).permutation(lengths)
            if self.config.bucket_by_length:
                pools = np.arange(self.count) // (size * _POOL)
                lengths = lengths[np.lexsort((-lengths, pools))]
        return np.maximum.reduceat(lengths, np.arange(0, self.count, size))

    def one_pass(self) -> tf.data.Dataset:
        """Return every sequence once, in the order of the files: (inputs, answer) in padded batches.

        After `pad_to` it is (inputs, answer, weight float32 [batch_size]); so with `shuffled`.
        """
        return self._batches(shuffle=False)

    def shuffled(self) -> tf.data.Dataset:
        """Return every sequence once, or those drawn, in the order of the seed and of `epoch`: (inputs, answer)."""
        return self._batches(shuffle=True)

    def epochs(self, first: int, last: int) -> tf.data.Dataset:
        """Return the batches of `shuffled` for the epochs `first` to `last` - 1, one after the other."""
        return self._batches(shuffle=True, epochs=tf.data.Dataset.range(first, last))

    def one_of_each_shape(self) -> tf.data.Dataset:
        """Return, after `pad_to`, one batch of each padded length."""
        flat = self._memory or next(iter(self._chunks(0, shuffle=False)))
        size = self.config.batch_size
        rows = tf.range(size, dtype=tf.int64) % tf.size(flat[names.LENGTH], tf.int64)

        def batch(steps: tf.Tensor) -> tuple[Any, ...]:
            inputs = padded(flat, rows, steps, self.layout)
            # No sequence is longer than the axis.
            inputs[names.LENGTH] = tf.minimum(inputs[names.LENGTH], steps)
            return inputs, self._answers_of(flat, rows, steps), tf.ones([tf.size(rows)])

        return tf.data.Dataset.from_tensor_slices(np.array(self.padded_lengths, np.int64)).map(batch)

    def shards(self, *, shuffled: bool, count: int, own: range) -> tf.data.Dataset:
        """Return the batches of `shuffled` or `one_pass`, each split among replicas.

        Part i of a batch of n rows has the rows from i * size on, with size = ceil(n / count). All parts have that
        size: rows beyond the batch's end repeat its last one, with weight 0.

        Args:
            shuffled: as `shuffled`, else as `one_pass`.
            count: number of replicas.
            own: the parts to return, one after the other, batch by batch.

        Returns:
            (inputs, answer, weight float32 [size], rows of the whole batch float32 []), `steps * len(own)` of them.
        """

        def parts(rows: tf.Tensor) -> tf.data.Dataset:
            total = tf.size(rows, tf.int64)
            size = -(-total // count)

            def part(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
                places = number * size + tf.range(size)
                weight = tf.cast(places < total, tf.float32)
                return tf.gather(rows, tf.minimum(places, total - 1)), weight, tf.cast(total, tf.float32)

            return tf.data.Dataset.range(own.start, own.stop).map(part)

        return self._batches(shuffle=shuffled, parts=parts, per_batch=len(own))

    def answers(self) -> np.ndarray:
        """Return the labels int64 [N], or targets float32 [N, H * K], in the order of the files."""
        return np.concatenate([block[self.answer].numpy() for block in self._files.blocks()] or [np.zeros([0])])

    def _batches(
        self, *, shuffle: bool, epochs: tf.data.Dataset | None = None, parts: Any = None, per_batch: int = 1
    ) -> tf.data.Dataset:
        # There is no Python to convert, and AutoGraph takes seconds to find that out.
        @tf.autograph.experimental.do_not_convert
        def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            if self._memory is not None:
                order = tf.range(self.count, dtype=tf.int64)
                if shuffle and self._order is not None:
                    order = self._order(epoch)
                elif shuffle:
                    order = permutation(self.count, self.config.seed, epoch, draw=0)
                return self._cut(self._memory, order, epoch, shuffle=shuffle, parts=parts)
            chunks = self._chunks(epoch, shuffle=shuffle)

            def of_chunk(number: tf.Tensor, flat: Flat) -> tf.data.Dataset:
                order = tf.range(tf.size(flat[names.LENGTH], tf.int64))
                # A number for each chunk; an epoch has fewer than 2**20.
                return self._cut(flat, order, epoch * 2**20 + number, shuffle=shuffle, parts=parts)

            return chunks.enumerate().flat_map(of_chunk)

        if epochs is not None:
            return epochs.flat_map(of_epoch).prefetch(tf.data.AUTOTUNE)
        batches = tf.data.Dataset.range(1).map(lambda _: self.epoch.read_value()).flat_map(of_epoch)
        number = self.steps if shuffle else math.ceil(self.count / self.config.batch_size)
        return batches.apply(tf.data.experimental.assert_cardinality(number * per_batch)).prefetch(tf.data.AUTOTUNE)

    def _cut(self, flat: Flat, order: tf.Tensor, draw_of: tf.Tensor, *, shuffle: bool, parts: Any) -> tf.data.Dataset:
        """Batch the sequences in this order; with buckets, batches of similar length in another order."""
        size, count = self.config.batch_size, tf.size(order, tf.int64)
        starts = tf.range(0, count, size, tf.int64)
        if shuffle and self.config.bucket_by_length:
            pools = tf.range(count) // (size * _POOL)
            lengths = tf.gather(flat[names.LENGTH], order)
            # The longest first, because the last batch may be padded with repeats.
            order = tf.gather(order, tf.argsort(pools * (self.longest + 1) + self.longest - lengths, stable=True))
            starts = tf.gather(starts, permutation(tf.size(starts), self.config.seed, draw_of, draw=1))
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
            return padded(flat, rows, steps, self.layout), self._answers_of(flat, rows, steps), *weights

        batches = tf.data.Dataset.from_tensor_slices(starts).map(rows)
        batches = batches if parts is None else batches.flat_map(parts)
        return batches.map(batch)

    def _answers_of(self, flat: Flat, rows: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        if self.layout.is_per_step and not self.layout.is_classification:
            targets = padded_targets(flat, rows, steps)
            known = tf.math.is_finite(targets)
            weight = np.float32(self.count * len(self.layout.targets) / max(self.known_number, 1))
            return tf.concat([tf.where(known, targets, 0.0), tf.cast(known, tf.float32) * weight], axis=-1)
        if self.layout.is_per_step:
            labels = padded_labels(flat, rows, steps)
            weights = tf.cast(labels >= 0, tf.float32) * np.float32(self.count / max(len(self.labels), 1))
            return tf.stack([tf.cast(tf.maximum(labels, 0), tf.float32), weights], axis=-1)
        answer = tf.gather(flat[self.answer], rows)
        if self.layout.is_classification:
            return answer
        targets = tf.reshape(answer, [-1, *self.layout.target_shape])
        if self.known_targets == 1:
            return targets
        known = tf.math.is_finite(targets)
        # Weights of mean 1: sums over rows, however they are cut into batches and replicas, are of the known targets.
        weights = tf.cast(known, targets.dtype) / self.known_targets
        return tf.concat([tf.where(known, targets, 0.0), weights], axis=-1)

    def _chunks(self, epoch: Any, *, shuffle: bool) -> tf.data.Dataset:
        """Return sequences read from the files, many whole batches at a time."""
        size = self.config.batch_size
        chunk = size * (_POOL if self.config.bucket_by_length else math.ceil(PARSE_BLOCK / size))
        blocks = self._files.chunks(
            chunk, seed=self.config.seed, epoch=epoch, shuffle=shuffle, some_unseen=bool(self.unseen_labels)
        )
        return blocks.map(lambda block: joined([flattened(block, self.layout)], self.layout)).prefetch(1)
