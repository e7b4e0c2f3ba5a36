"""How well windows are mixed that are too many for memory, though the files keep neighbours together."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.data.sequences.shards import WINDOWS_TOGETHER
from noisy_gru.trainer.inputs.transformed_files import TransformedFiles

pytestmark = pytest.mark.slow

WINDOWS, BATCH = 50_048, 128


def test_a_batch_is_of_many_blocks(tmp_path) -> None:
    path = str(tmp_path / "windows.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(WINDOWS):
            value = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
            writer.write(
                tf.train.Example(features=tf.train.Features(feature={"n": value})).SerializeToString(deterministic=True)
            )
    files = TransformedFiles([path], {"n": tf.io.FixedLenFeature([], tf.int64)})
    chunks = files.chunks(BATCH, seed=3, epoch=tf.constant(1, tf.int64), shuffle=True, some_unseen=False)
    batches = [chunk["n"].numpy() for chunk in chunks]
    numbers = np.concatenate(batches)
    np.testing.assert_array_equal(np.sort(numbers), np.arange(WINDOWS))
    # In a perfect order a batch of 128 holds windows of 782 (1 - (1 - 1/782) ** 128) = 118 blocks, from a buffer of
    # 20,000 windows, 312 blocks, 105.
    distinct = [len(np.unique(batch // WINDOWS_TOGETHER)) for batch in batches[:-1]]
    assert np.mean(distinct) > 95 and min(distinct) > 75
    neighbours = np.abs(np.diff(numbers)) == 1
    assert neighbours.mean() < 0.01
