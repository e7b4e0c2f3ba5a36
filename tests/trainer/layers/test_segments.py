"""The layers around a stack over segments, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from noisy_gru.trainer.layers.segments import (
    DecoderPositions,
    JoinSegments,
    LastSteps,
    Segments,
    SplitChannels,
)

pytestmark = pytest.mark.slow


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 11), length=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_segments_end_with_the_sequence(steps: int, length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(4, steps, 3)).astype(np.float32)
    past = random.integers(0, steps + 1, 4)
    segments, mask = Segments(length)(features, past)
    assert segments.shape[1] == -(-steps // length)
    for row in range(4):
        sequence = features[row, : past[row]]
        missing = -len(sequence) % length
        whole = np.concatenate([np.zeros((missing, 3), np.float32), sequence])
        count = len(whole) // length
        assert_array_equal(segments[row, :count], whole.reshape(count, length * 3))
        assert not np.any(segments[row, count:])
        assert_array_equal(mask[row], np.arange(segments.shape[1]) < count)


def test_a_sequence_for_each_target() -> None:
    features = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    split = SplitChannels(own=[[1, 3], [0, 4]], shared=[2])(features)
    assert split.shape == (4, 3, 3)
    for row, target, channels in ((0, 0, [1, 3, 2]), (0, 1, [0, 4, 2]), (1, 0, [1, 3, 2]), (1, 1, [0, 4, 2])):
        assert_array_equal(split[row * 2 + target], features[row][:, channels])


def test_positions_and_channels() -> None:
    layer = DecoderPositions(positions=3, channels=2, width=4, seed=0)
    rows = np.array(layer(np.zeros((2 * 2, 7), np.float32)))  # two windows of two channels
    position, channel = (weight.numpy() for weight in layer.weights)
    assert rows.shape == (2 * 2 * 3, 1, 4)
    for window in range(2):
        for c in range(2):
            for n in range(3):
                expected = np.concatenate([position[n], channel[c]])
                assert_array_equal(rows[(window * 2 + c) * 3 + n, 0], expected)


@pytest.mark.parametrize(("channels", "targets"), [(1, 3), (3, 1)])
def test_segments_are_joined_in_time(channels: int, targets: int) -> None:
    """Each value says which window, step and target it is of."""
    windows, positions, length, horizons = 2, 3, 4, 10
    steps = positions * length
    truth = np.arange(windows * steps * channels * targets, dtype=np.float32)
    truth = truth.reshape(windows, steps, channels * targets)
    decoded = [
        truth[b, n * length : (n + 1) * length, c * targets : (c + 1) * targets].reshape(1, -1)
        for b in range(windows)
        for c in range(channels)
        for n in range(positions)
    ]
    joined = JoinSegments(positions, channels, targets, horizons)(np.stack(decoded))
    assert_array_equal(joined, truth[:, :horizons])


def test_last_steps() -> None:
    features = np.arange(2 * 6 * 2, dtype=np.float32).reshape(2, 6, 2)
    last = LastSteps(3, [1, 0])(features, np.array([4, 2]))
    assert_array_equal(last[0], features[0, 1:4].T[[1, 0]])
    assert_array_equal(last[1], np.concatenate([np.zeros((1, 2)), features[1, :2]]).T[[1, 0]])
