"""Masked batch normalization and pooling against NumPy, one sequence at a time."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.trainer.layers.convolutions import MaskedBatchNormalization, ZeroMasked
from noisy_gru.trainer.layers.pooling import AdaptivePooling, AttentionPooling

pytestmark = pytest.mark.slow


def ragged(lengths: list[int], width: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences with rubbish after their ends, and their mask."""
    values = np.random.default_rng(4).normal(2.0, 3.0, size=(len(lengths), steps, width)).astype(np.float32)
    mask = np.arange(steps) < np.array(lengths)[:, None]
    values[~mask] = 1e6
    return values, mask


def test_batch_normalization_is_that_of_the_steps_that_count() -> None:
    values, mask = ragged([5, 2, 0, 7], 3, 9)
    layer: Any = MaskedBatchNormalization(momentum=0.75, epsilon=0.01)
    layer.build(values.shape)
    layer.gamma.assign([1.0, 2.0, -1.0])
    layer.beta.assign([0.0, 0.5, 3.0])
    steps = values[mask].astype(np.float64)
    mean, variance = steps.mean(axis=0), steps.var(axis=0)
    expected = (steps - mean) / np.sqrt(variance + 0.01) * [1, 2, -1] + [0, 0.5, 3]
    assert_allclose(np.array(layer(values, mask=mask, training=True))[mask], expected, rtol=1e-4, atol=1e-5)
    moving = 0.25 * mean, 0.75 + 0.25 * variance
    assert_allclose(layer.moving_mean, moving[0], rtol=1e-5)
    assert_allclose(layer.moving_variance, moving[1], rtol=1e-5)
    served = (steps - moving[0]) / np.sqrt(moving[1] + 0.01) * [1, 2, -1] + [0, 0.5, 3]
    assert_allclose(np.array(layer(values, mask=mask, training=False))[mask], served, rtol=1e-4, atol=1e-4)
    # Served values change no statistics, and neither does a batch without a step.
    layer(values, mask=np.zeros_like(mask), training=True)
    assert_allclose(layer.moving_mean, moving[0], rtol=1e-6)


def test_batch_normalization_without_a_mask_is_that_of_keras() -> None:
    values = np.random.default_rng(1).normal(1.0, 2.0, size=(6, 5, 4)).astype(np.float32)
    mask = np.ones((6, 5), bool)
    ours: Any = MaskedBatchNormalization(momentum=0.9, epsilon=1e-3)
    theirs: Any = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    for _ in range(3):
        outputs = ours(values, mask=mask, training=True), theirs(values, training=True)
        assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
    assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-5)
    assert_allclose(ours(values, mask=mask), theirs(values), rtol=1e-4, atol=1e-5)


def test_masked_steps_are_zeros() -> None:
    values, mask = ragged([2, 0, 3], 2, 3)
    values[0, 2] = np.nan
    assert_array_equal(ZeroMasked()(values, mask=mask), np.where(mask[:, :, None], values, 0))


def test_attention_is_a_softmax_over_the_steps_that_count() -> None:
    values, mask = ragged([4, 1, 0], 3, 6)
    layer: Any = AttentionPooling()
    layer.build(values.shape)
    # It starts as the mean.
    means = [values[0, :4].mean(axis=0), values[1, 0], np.zeros(3)]
    assert_allclose(layer(values, mask), means, rtol=1e-5)
    random = np.random.default_rng(7)
    kernel, bias, context = (random.normal(size=shape).astype(np.float32) for shape in ((3, 3), (3,), (3,)))
    layer.set_weights([kernel, bias, context])
    pooled = np.array(layer(values, mask))
    scores = np.tanh(values[0, :4].astype(np.float64) @ kernel + bias) @ context
    weights = np.exp(scores) / np.exp(scores).sum()
    assert_allclose(pooled[0], weights @ values[0, :4], rtol=1e-5)
    assert_allclose(pooled[1:], [values[1, 0], np.zeros(3)], rtol=1e-5)
    again = AttentionPooling.from_config(layer.get_config())
    again.build(values.shape)
    again.set_weights(layer.get_weights())
    assert_array_equal(again(values, mask), pooled)


@pytest.mark.parametrize("steps", [1, 4, 6, 9])
def test_each_sequence_is_pooled_by_its_own_length(steps: int) -> None:
    lengths = [9, 7, 5, 4, 1, 0]
    values, _ = ragged(lengths, 2, 9)
    pooled, counts = (np.array(each) for each in AdaptivePooling(steps)(values, np.array(lengths)))
    assert pooled.shape == (6, min(9, steps), 2)
    assert_array_equal(counts, np.minimum(lengths, steps))
    for row, length in enumerate(lengths):
        taken = min(length, steps)
        expected = np.zeros((min(9, steps), 2))
        # Bins of step numbers whose sizes differ by one at most.
        bins = np.array([step * taken // length for step in range(length)])
        for place in range(taken):
            expected[place] = values[row, :length][bins == place].mean(axis=0)
        assert_allclose(pooled[row], expected, rtol=1e-5)
        sizes = np.bincount(bins, minlength=taken) if length else np.zeros(0)
        assert not length or sizes.max() - sizes.min() <= 1
