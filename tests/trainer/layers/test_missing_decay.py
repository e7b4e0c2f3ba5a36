"""GRU-D against the paper's equations in NumPy, one sequence, step and channel at a time; gradients by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers.missing_decay import MissingDecay
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru_step

BATCH, STEPS, UNITS = 5, 7, 4
# Two channels that may be missing, one that never is, two flags, and the time since the step before, scaled.
A, PLAIN, B, A_MISSING, B_MISSING, TIME = range(6)
MEANS = (0.3, -0.2)
LENGTHS = np.array([7, 4, 1, 0, 6])
MASK = np.arange(STEPS) < LENGTHS[:, None]
OFFSET, SCALE, UNIT = 1.5, 0.5, 0.7


def sequences(rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=(BATCH, STEPS, 6))
    for channel, flag, mean in ((A, A_MISSING, MEANS[0]), (B, B_MISSING, MEANS[1])):
        missing = rng.random((BATCH, STEPS)) < 0.6
        values[:, :, channel][missing] = mean
        values[:, :, flag] = missing
    # One channel that is never seen.
    values[1, :, B], values[1, :, B_MISSING] = MEANS[1], 1.0
    return values


def drawn(layer: Any, rng: np.random.Generator) -> Any:
    layer.set_weights([rng.normal(0.2, 0.4, size=weight.shape) for weight in layer.get_weights()])
    return layer


def oracle(values: np.ndarray, weights: list[np.ndarray], *, with_time: bool) -> tuple[np.ndarray, np.ndarray]:
    """Equations 2 to 6 of Che et al. (2018): the inputs, and the factors on the state."""
    input_rate, input_bias, state_rate, state_bias = weights
    filled, factors = values.copy(), np.zeros((BATCH, STEPS, UNITS))
    for row in range(BATCH):
        delta, last = np.zeros(2), list(MEANS)
        for t in range(STEPS):
            passed = max(values[row, t, TIME] * SCALE + OFFSET, 0.0) / UNIT if with_time else 1.0
            for d, flag in enumerate((A_MISSING, B_MISSING)):
                if t == 0:
                    delta[d] = 0.0
                elif values[row, t - 1, flag]:
                    delta[d] = passed + delta[d]
                else:
                    delta[d] = passed
            for d, (channel, flag) in enumerate(((A, A_MISSING), (B, B_MISSING))):
                gamma = np.exp(-max(0.0, input_rate[d] * delta[d] + input_bias[d]))
                if values[row, t, flag]:
                    filled[row, t, channel] = gamma * last[d] + (1 - gamma) * MEANS[d]
                else:
                    last[d] = values[row, t, channel]
            factors[row, t] = np.exp(-np.maximum(0.0, delta @ state_rate + state_bias))
    return filled, factors


def layer_of(rng: np.random.Generator, *, with_time: bool, dtype: str = "float64") -> Any:
    time = {"time_channel": TIME, "time_offset": OFFSET, "time_scale": SCALE, "time_unit": UNIT} if with_time else {}
    layer = MissingDecay(UNITS, [A, B], [A_MISSING, B_MISSING], dtype=dtype, **time)
    layer.build((None, None, 6))
    return drawn(layer, rng)


@pytest.mark.parametrize("with_time", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_the_papers(with_time: bool, compiled: bool) -> None:
    rng = np.random.default_rng(1)
    layer, values = layer_of(rng, with_time=with_time), sequences(rng)
    filled, factors = tf.function(layer, jit_compile=compiled)(tf.constant(values))
    expected, expected_factors = oracle(values, layer.get_weights(), with_time=with_time)
    np.testing.assert_allclose(filled, expected, atol=1e-12)
    np.testing.assert_allclose(factors, expected_factors, atol=1e-12)
    again: Any = MissingDecay.from_config(layer.get_config())
    again.build((None, None, 6))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(values)[1], layer(values)[1])


@pytest.mark.parametrize("with_time", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pieces_are_the_whole(with_time: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer, values = layer_of(rng, with_time=with_time), sequences(rng)
    expected, expected_factors = (each.numpy() for each in layer(values))
    done = np.zeros(BATCH, np.int64)
    last = since = rng.normal(size=(BATCH, 2))
    while (done < STEPS).any():
        lengths = np.minimum(rng.integers(0, 4, BATCH), STEPS - done)
        piece = rng.normal(size=(BATCH, int(lengths.max()), 6))
        for row, (start, count) in enumerate(zip(done, lengths, strict=True)):
            piece[row, :count] = values[row, start : start + count]
        filled, factors, last_after, since_after = layer.stepped(tf.constant(piece), lengths, last, since, done == 0)
        for row, (start, count) in enumerate(zip(done, lengths, strict=True)):
            np.testing.assert_allclose(filled[row, :count], expected[row, start : start + count], atol=1e-12)
            np.testing.assert_allclose(factors[row, :count], expected_factors[row, start : start + count], atol=1e-12)
        moves = (lengths > 0)[:, None]
        last, since = np.where(moves, last_after, last), np.where(moves, since_after, since)
        done += lengths


def test_a_time_in_logarithms() -> None:
    rng = np.random.default_rng(2)
    values = sequences(rng)
    plain = layer_of(np.random.default_rng(3), with_time=True)
    logged: Any = MissingDecay.from_config({**plain.get_config(), "time_is_log": True})
    logged.build((None, None, 6))
    logged.set_weights(plain.get_weights())
    times = np.maximum(values[:, :, TIME] * SCALE + OFFSET, 0.0)
    other = values.copy()
    other[:, :, TIME] = (np.log1p(times) - OFFSET) / SCALE
    np.testing.assert_allclose(logged(other)[1], plain(values)[1], atol=1e-12)


def states(values: np.ndarray, factors: np.ndarray, weights: list[np.ndarray], start: np.ndarray) -> np.ndarray:
    """The GRU of the paper: each step goes on from the faded state. Last states by the step of the NumPy oracle."""
    h = start.copy()
    for row in range(BATCH):
        for t in range(LENGTHS[row]):
            kernel, recurrent_kernel, bias = weights
            h[row] = gru_step(values[row, t], factors[row, t] * h[row], kernel, recurrent_kernel, bias, True)
    return h


def test_the_state_fades_and_gradients_are_those_of_differences() -> None:
    rng = np.random.default_rng(4)
    decay, values, start = layer_of(rng, with_time=False), sequences(rng), rng.normal(size=(BATCH, UNITS))
    layer: Any = NoisyGRU(UNITS, dtype="float64", decays=True, return_state=True, return_sequences=True)
    layer.build((None, STEPS, 6 + UNITS))
    drawn(layer, rng)

    def loss_at(weights: list[np.ndarray], own: list[np.ndarray], first: Any) -> float:
        return float((states(*oracle(values, weights, with_time=False), own, first) ** 2).sum())

    @tf.function(jit_compile=True)
    def step(first: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(first)
            inputs = tf.concat(decay(tf.constant(values)), -1)
            outputs, last = layer(inputs, initial_state=first, mask=MASK, training=True)
            loss = tf.reduce_sum(last**2) + 0.0 * tf.reduce_sum(outputs)
        return last, tape.gradient(loss, [first, *decay.trainable_variables, *layer.trainable_variables])

    found, gradients = step(tf.constant(start))
    filled, factors = oracle(values, decay.get_weights(), with_time=False)
    np.testing.assert_allclose(found, states(filled, factors, layer.get_weights(), start), atol=1e-12)
    inference = layer(np.concatenate([filled, factors], -1), initial_state=start, mask=MASK, training=False)[1]
    np.testing.assert_allclose(inference, found, atol=1e-12)
    given = [start, *decay.get_weights(), *layer.get_weights()]
    for place, value in enumerate(given):
        for entry in {0, value.size // 2, value.size - 1}:
            losses = []
            for sign in (1, -1):
                moved = [each.copy() for each in given]
                moved[place].flat[entry] += sign * 1e-6
                losses.append(loss_at(moved[1:5], moved[5:], moved[0]))
            difference = (losses[0] - losses[1]) / 2e-6
            assert gradients[place].numpy().flat[entry] == pytest.approx(difference, abs=2e-7, rel=1e-5), place


def test_what_can_not_fade_is_refused() -> None:
    bad: Any
    for bad in ({"fused": False}, {"recurrent_dropout": 0.1}, {"go_backwards": True}, {"stateful": True}):
        with pytest.raises(ValueError, match="`decays=True` needs"):
            NoisyGRU(UNITS, decays=True, **bad)
