"""Transformed sequences as batches: read in large blocks, kept in memory where they fit, shuffled by seed and epoch.

The order of an epoch follows from the seed and the epoch's number alone, so a resumed training sees what an undisturbed
one would have seen.
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
from noisy_gru.trainer.features import Layout, model_inputs

logger = logging.getLogger(__name__)

_PARSE_BLOCK = 1024
_SHUFFLE_BUFFER = 20_000
# With `bucket_by_length`, sequences of this many batches are sorted by length together.
_POOL = 50
_SHAPES = 8


@dataclass(frozen=True)
class BatchConfig:
    """How sequences become batches."""

    batch_size: int
    seed: int = 0
    bucket_by_length: bool = False
    few_shapes: bool = False  # pads to at most 8 lengths, for a compiler that works anew for each
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
        self.count = 0
        self.longest = 0
        self.unseen_labels = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._memory: dict[str, Any] | None = self._read()

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

    def one_pass(self) -> tf.data.Dataset:
        """Every sequence once, in the order of the files: (inputs, answer) in padded batches."""
        return self._batches(shuffle=False)

    def shuffled(self) -> tf.data.Dataset:
        """Every sequence once, in the order of the seed and of the number in `epoch`: (inputs, answer) in batches."""
        return self._batches(shuffle=True)

    def answers(self) -> np.ndarray:
        """The labels int64 [N], or targets float32 [N, H * K], in the order of the files."""
        return np.concatenate([block[self.answer].numpy() for block in self._blocks()] or [np.zeros([0])])

    def _blocks(self) -> Iterator[dict[str, Any]]:
        yield from self._parsed(self._files)

    def _parsed(self, files: Any) -> tf.data.Dataset:
        records = tf.data.Dataset.from_tensor_slices(files).flat_map(_records) if len(self._files) else None
        if records is None:
            return tf.data.Dataset.from_tensor_slices(tf.zeros([0], tf.string)).batch(1).map(self._parse)
        return records.batch(_PARSE_BLOCK).map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _parse(self, serialized: tf.Tensor) -> dict[str, Any]:
        block = tf.io.parse_example(serialized, self._spec)
        if self.answer == names.LABEL:
            # A class that train never showed has no place in the loss.
            known = block[names.LABEL] >= 0
            block = {key: _select(value, known) for key, value in block.items()}
            block["unseen"] = tf.reduce_sum(tf.cast(~known, tf.int64))
        return block

    def _read(self) -> dict[str, Any] | None:
        """One pass over the files: counts, checks, and the sequences themselves where they fit."""
        blocks: list[dict[str, Any]] | None = []
        size = 0
        for block in self._blocks():
            lengths = block[names.LENGTH].numpy()
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
            if blocks is not None and size <= self.config.cache_bytes:
                blocks.append(block)
            else:
                blocks = None
        if self.unseen_labels:
            logger.warning(
                "%d sequences of split %s have a label that no sequence of train has; they are left out of the loss",
                self.unseen_labels,
                self.split,
            )
        if not blocks:
            return None
        return {key: tf.concat([block[key] for block in blocks], axis=0) for key in blocks[0]}

    def _batches(self, *, shuffle: bool) -> tf.data.Dataset:
        one_epoch = self._from_memory if self.in_memory else self._from_files
        multiple_of = max(math.ceil(self.longest / _SHAPES), 1) if self.config.few_shapes else 1

        def padded(block: dict[str, Any]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            inputs = model_inputs(block, self.layout, multiple_of=multiple_of)
            answer = block[self.answer]
            if not self.layout.is_classification:
                answer = tf.reshape(answer, [-1, *self.layout.target_shape])
            return inputs, answer

        start = tf.data.Dataset.range(1).map(lambda _: self.epoch.read_value())
        batches = start.flat_map(lambda epoch: one_epoch(epoch, shuffle))
        batches = batches.map(padded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return batches.apply(tf.data.experimental.assert_cardinality(self.steps)).prefetch(tf.data.AUTOTUNE)

    def _from_memory(self, epoch: tf.Tensor, shuffle: bool) -> tf.data.Dataset:
        memory, size = self._memory or {}, self.config.batch_size
        starts = tf.range(self.steps, dtype=tf.int64) * size
        order = tf.range(self.count, dtype=tf.int64)
        if shuffle:
            order = _permutation(self.count, self.config.seed, epoch, draw=0)
            if self.config.bucket_by_length:
                pools = tf.range(self.count, dtype=tf.int64) // (size * _POOL)
                lengths = tf.gather(memory[names.LENGTH], order)
                order = tf.gather(order, tf.argsort(pools * (self.longest + 1) + lengths, stable=True))
                starts = tf.gather(starts, _permutation(self.steps, self.config.seed, epoch, draw=1))

        def block(start: tf.Tensor) -> dict[str, Any]:
            rows = order[start : start + size]
            return {key: tf.gather(value, rows) for key, value in memory.items()}

        return tf.data.Dataset.from_tensor_slices(starts).map(
            block, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def _from_files(self, epoch: tf.Tensor, shuffle: bool) -> tf.data.Dataset:
        files = tf.constant(self._files, tf.string)
        if shuffle:
            files = tf.gather(files, _permutation(len(self._files), self.config.seed, epoch, draw=2))
        rows = self._parsed(files).map(_without_counts).unbatch()
        if shuffle:
            # Of this graph alone. Else TensorFlow mixes in its global seed, and fails where that is 0.
            tf.compat.v1.set_random_seed(1)
            rows = rows.shuffle(_SHUFFLE_BUFFER, seed=self.config.seed + epoch)
        return rows.ragged_batch(self.config.batch_size).map(_as_specified(self._spec))


def _records(file: tf.Tensor) -> tf.data.Dataset:
    compression = tf.where(tf.strings.regex_full_match(file, r".*\.gz"), "GZIP", "")
    return tf.data.TFRecordDataset(file, compression_type=compression, buffer_size=1 << 20)


def _select(value: Any, keep: tf.Tensor) -> Any:
    return tf.ragged.boolean_mask(value, keep) if isinstance(value, tf.RaggedTensor) else tf.boolean_mask(value, keep)


def _without_counts(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "unseen"}


def _as_specified(spec: Mapping[str, Any]) -> Any:
    """Fixed-length columns come out of a ragged batch dense again."""

    def restore(block: dict[str, Any]) -> dict[str, Any]:
        fixed = {key for key, feature in spec.items() if isinstance(feature, tf.io.FixedLenFeature)}
        return {
            key: value.to_tensor(shape=[None, *spec[key].shape])
            if key in fixed and isinstance(value, tf.RaggedTensor)
            else value
            for key, value in block.items()
        }

    return restore


def _permutation(count: int, seed: int, epoch: tf.Tensor, *, draw: int) -> tf.Tensor:
    keys = tf.random.stateless_uniform([count], seed=tf.stack([seed * 4 + draw, epoch]), dtype=tf.float64)
    return tf.cast(tf.argsort(keys, stable=True), tf.int64)


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, tf.RaggedTensor):
        return [value.flat_values.numpy(), value.row_splits.numpy()]
    return [value.numpy()]
