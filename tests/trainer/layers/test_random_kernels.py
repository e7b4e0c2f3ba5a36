"""Features of fixed random kernels against NumPy, one sequence at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.trainer.layers.random_kernels import THRESHOLDS, RandomKernels, random_kernels

pytestmark = pytest.mark.slow


def ragged(lengths: list[int], steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth sequences of three channels with rubbish after their ends, and their mask."""
    values = np.random.default_rng(seed).normal(size=(len(lengths), steps, 3)).cumsum(axis=1).astype(np.float32)
    mask = np.arange(steps) < np.array(lengths)[:, None]
    values[~mask] = 1e6
    return values, mask


def test_the_kernels_are_those_of_minirocket() -> None:
    (kernels,) = random_kernels(1, 1, seed=0)
    assert kernels.shape == (9, 84)
    assert_array_equal(np.sort(kernels, axis=0)[:, 0], [-1] * 6 + [2] * 3)
    assert len(np.unique(kernels, axis=1).T) == 84 and not kernels.sum(axis=0).any()
    of_many = random_kernels(12, 3, seed=1).reshape(3, 9, 12, 84)
    read = (of_many != 0).any(axis=1).sum(axis=1)
    assert read.min() == 1 and 6 <= read.max() <= 9
    assert_array_equal(of_many, random_kernels(12, 3, seed=1).reshape(of_many.shape))
    assert (of_many != random_kernels(12, 3, seed=2).reshape(of_many.shape)).any()


def convolved(row: np.ndarray, kernels: np.ndarray, dilation: int) -> np.ndarray:
    """The outputs of 84 kernels [9, 3, 84] at each step of a sequence [n, 3]."""
    outputs = np.zeros((len(row), 84))
    for step in range(len(row)):
        for tap in range(9):
            place = step + (tap - 4) * dilation
            if 0 <= place < len(row):
                outputs[step] += row[place] @ kernels[tap]
    return outputs


def test_the_features_of_numpy() -> None:
    dilations, lengths = [1, 2], [[12, 3, 0, 7], [9, 1, 5]]
    layer: Any = RandomKernels(dilations, seed=3)
    assert not np.array(layer(*ragged([4], 5, 0))).any(), "nothing is known before the first batch"
    batches = [ragged(each, 13, seed) for seed, each in enumerate(lengths)]
    answers = [np.array(layer(*each, training=True)) for each in batches]
    kernels = random_kernels(3, 2, seed=3).reshape(2, 9, 3, 84)

    def outputs_of(batch: int) -> list[np.ndarray]:
        values, mask = batches[batch]
        rows = [row[counts].astype(np.float64) for row, counts in zip(values, mask, strict=True)]
        return [
            np.concatenate([convolved(row, kernels[i], d) for i, d in enumerate(dilations)], axis=1) for row in rows
        ]

    power = mean = square = 0.0
    features: Any = []
    for number in range(2):
        outputs = outputs_of(number)
        rate = 1 / (number + 1)
        power = power + rate * ((np.concatenate(outputs) ** 2).mean(axis=0) - power)
        features = []
        for each in outputs:
            above = [np.clip((each / np.sqrt(power) - z) / 0.1 + 0.5, 0, 1).sum(axis=0) for z in THRESHOLDS]
            features.append(np.concatenate(above) / max(len(each), 1))
        some = np.array([each for each, own in zip(features, outputs, strict=True) if len(own)])
        mean = mean + rate * (some.mean(axis=0) - mean)
        square = square + rate * ((some**2).mean(axis=0) - square)
        deviation = np.sqrt(np.maximum(square - mean**2, 0) + 1e-4)
        expected = np.clip((np.array(features) - mean) / deviation, -5, 5) * 10 / np.sqrt(2 * 84 * 11)
        expected[[not len(own) for own in outputs]] = 0
        assert_allclose(answers[number], expected, rtol=1e-3, atol=2e-4)
    # Served with what training has left, and it stays so.
    served = np.array(layer(*batches[1], training=False))
    assert_allclose(served, answers[1], rtol=1e-3, atol=2e-4)
    assert_allclose(layer(*batches[1]), served)


def test_padding_empty_rows_and_empty_batches_change_nothing() -> None:
    layer: Any = RandomKernels([1, 4])
    values, mask = ragged([12, 3, 7], 12, seed=0)
    layer(values, mask, training=True)
    weights = layer.get_weights()
    longer, shorter = np.pad(values, [(0, 1), (0, 9), (0, 0)]), np.pad(mask, [(0, 1), (0, 9)])
    layer.set_weights([np.zeros_like(each) if index else each for index, each in enumerate(weights)])
    again = np.array(layer(longer, shorter, training=True))
    assert_allclose(again[:3], layer(values, mask), rtol=1e-4, atol=1e-5)
    assert not again[3].any()
    for one, two in zip(weights, layer.get_weights(), strict=True):
        assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    layer(values, np.zeros_like(mask), training=True)
    for one, two in zip(weights, layer.get_weights(), strict=True):
        assert_allclose(two, one, rtol=1e-4, atol=1e-5)


def test_a_flat_sequence_is_answered_alike_by_rounding_of_either_sign() -> None:
    layer: Any = RandomKernels([1])
    values, mask = ragged([12, 12], 12, seed=0)
    layer(values, mask, training=True)
    flat = np.full((2, 12, 3), 0.1, np.float32)
    flat[1] += 1e-7 * np.random.default_rng(0).choice([-1, 1], flat[1].shape)
    one, two = np.array(layer(flat, mask))
    assert_allclose(one, two, atol=1e-4)


def test_nothing_of_it_is_trained() -> None:
    layer: Any = RandomKernels([1, 2])
    values, mask = ragged([5, 4], 6, seed=0)
    with tf.GradientTape() as tape:
        given = tf.constant(values)
        tape.watch(given)
        total = tf.reduce_sum(layer(given, mask, training=True))
    assert tape.gradient(total, given) is None and layer.trainable_weights == []
    again = RandomKernels.from_config(layer.get_config())
    again.build(values.shape)
    again.set_weights(layer.get_weights())
    assert_array_equal(again(values, mask), layer(values, mask))
