"""First states carried over from other sequences, and scales that are learned or follow the residual error.

The oracle is the GRU in NumPy: gradients by central differences, and first states by trying every sequence as donor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru

BATCH, STEPS, FEATURES, UNITS = 6, 5, 3, 4
LENGTHS = np.array([5, 3, 1, 2, 5, 4])
MASK = np.arange(STEPS) < LENGTHS[:, None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def sequences(rng: np.random.Generator) -> Any:
    return rng.normal(size=(BATCH, STEPS, FEATURES))


def made(rng: np.random.Generator, **arguments: Any) -> Any:
    """A float64 layer whose first states matter; weights of the noise stay as they begin."""
    layer: Any = NoisyGRU(UNITS, dtype="float64", return_state=True, **arguments)
    layer.build((None, STEPS, FEATURES))
    layer.cell.set_weights([rng.normal(scale=0.6, size=weight.shape) for weight in layer.cell.get_weights()])
    return layer


def ends(layer: Any, sequences: Any, starts: Any = None) -> np.ndarray:
    """Final states of the sequences by the oracle."""
    return gru(sequences, layer.cell.get_weights(), initial_state=starts, mask=MASK, go_backwards=layer.go_backwards)[2]


def donors(layer: Any, sequences: Any, found: Any, own: Any = None) -> list[int]:
    """For each sequence the one whose final state it started from; -1 for its mean."""
    final = ends(layer, sequences, own)
    candidates = [ends(layer, sequences, np.tile(each, (BATCH, 1))) for each in final]
    candidates.append(ends(layer, sequences, own))
    matches = [
        [place for place, each in enumerate(candidates) if np.abs(each[row] - found[row]).max() < 1e-9]
        for row in range(BATCH)
    ]
    assert all(len(each) == 1 for each in matches), matches
    return [each[0] if each[0] < BATCH else -1 for each in matches]


@pytest.mark.parametrize(
    ("fused", "compiled", "arguments"),
    [
        (True, False, {}),
        (True, True, {"return_sequences": True}),
        (False, False, {"go_backwards": True}),
        (True, False, {"go_backwards": True, "dropout": 0.5}),
    ],
)
def test_a_carried_state_is_the_end_of_exactly_one_other_sequence(
    rng: Any, sequences: Any, fused: bool, compiled: bool, arguments: Any
) -> None:
    layer = made(rng, noise="carried", share=1.0, seed=5, fused=fused, **arguments)
    if arguments.get("dropout"):
        # The others are read without dropout; so is this one here, for the oracle.
        layer.inner_loop = lambda **given: NoisyGRU.inner_loop(layer, **{**given, "training": False})
    call = tf.function(lambda x: layer(x, mask=MASK, training=True)[1], jit_compile=compiled)
    shifts = set()
    for _ in range(8):
        found = donors(layer, sequences, call(tf.constant(sequences)).numpy())
        assert sorted(found) == list(range(BATCH)), "each state is carried once"
        assert not any(donor == row for row, donor in enumerate(found)), "no sequence gets its own"
        shifts.add((found[0]) % BATCH)
    assert len(shifts) > 2, "not always the same donors"


def test_the_others_start_from_their_mean(rng: Any, sequences: Any) -> None:
    layer = made(rng, noise="carried", share=0.5, seed=6, learn_mean=True)
    layer.initial_mean.assign(rng.normal(size=UNITS))
    function_of_static = rng.normal(size=(BATCH, UNITS))
    own = layer.initial_mean.numpy() + function_of_static
    twin = made(np.random.default_rng(3), noise="carried", share=0.5, seed=1, carry_seed=9)
    other = made(np.random.default_rng(4), noise="carried", share=0.5, seed=2, carry_seed=9)
    carried = []
    for _ in range(8):
        found = layer(sequences, initial_mean=function_of_static, mask=MASK, training=True)[1].numpy()
        carried += [donor >= 0 for donor in donors(layer, sequences, found, own)]
        # One `carry_seed`: the same sequences, from the same donors, in both layers.
        both = [donors(each, sequences, each(sequences, mask=MASK, training=True)[1].numpy()) for each in (twin, other)]
        assert both[0] == both[1]
    assert stats.binomtest(sum(carried), len(carried), 0.5).pvalue > 1e-3


def test_annealing_lowers_the_share_and_zero_is_off(rng: Any, sequences: Any) -> None:
    layer = made(rng, noise="carried", share=1.0, stddev=0.025, seed=7)
    layer.current_stddev = 0.0125
    carried = []
    for _ in range(8):
        carried += [
            each >= 0 for each in donors(layer, sequences, layer(sequences, mask=MASK, training=True)[1].numpy())
        ]
    assert stats.binomtest(sum(carried), len(carried), 0.5).pvalue > 1e-3
    for off in (layer, made(rng, noise="carried", stddev=0.0, seed=7)):
        off.current_stddev = 0.0
        assert donors(off, sequences, off(sequences, mask=MASK, training=True)[1].numpy()) == [-1] * BATCH


def test_a_batch_without_another_sequence_carries_nothing(rng: Any, sequences: Any) -> None:
    layer = made(rng, noise="carried", share=1.0, seed=8)
    expected = layer(sequences[:1], training=False)[1].numpy()
    np.testing.assert_allclose(layer(sequences[:1], training=True)[1], expected, atol=1e-12)
    # A batch that is filled up repeats its last sequence.
    repeated = np.repeat(sequences[:1], 3, axis=0)
    np.testing.assert_allclose(layer(repeated, training=True)[1], np.repeat(expected, 3, axis=0), atol=1e-12)
    assert layer(sequences[:0], training=True)[1].shape == (0, UNITS)


def test_no_gradient_reaches_the_sequence_that_a_state_comes_from(rng: Any, sequences: Any) -> None:
    layer = made(rng, noise="carried", share=1.0, seed=9)
    x: Any = tf.constant(sequences)
    with tf.GradientTape() as tape:
        tape.watch(x)
        last = layer(x, mask=MASK, training=True)[1]
        loss = tf.reduce_sum(last[2] ** 2)
    gradients: Any = tape.gradient(loss, [x, *layer.trainable_variables])
    assert np.abs(gradients[0].numpy()[2, 0]).max() > 1e-6
    assert not np.delete(gradients[0].numpy(), 2, axis=0).any()
    # The state is a constant: the gradients are those of the same state given from outside.
    start = np.zeros((BATCH, UNITS))
    start[2] = ends(layer, sequences)[donors(layer, sequences, last.numpy())[2]]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, initial_state=tf.constant(start), mask=MASK, training=True)[1][2] ** 2)
    expected_gradients: Any = tape.gradient(loss, layer.trainable_variables)
    for found, expected in zip(gradients[1:], expected_gradients, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_same_seed_carries_the_same(rng: Any, sequences: Any) -> None:
    def draw(seed: int, count: int = 3) -> list[np.ndarray]:
        layer = made(np.random.default_rng(1), noise="carried", seed=seed)
        return [layer(sequences, mask=MASK, training=True)[1].numpy() for _ in range(count)]

    np.testing.assert_array_equal(draw(4), draw(4))
    assert np.abs(np.array(draw(4)) - draw(5)).max() > 1e-3


def unit_draws(layer: Any) -> np.ndarray:
    """The e of the next call of a layer with this seed: without a step the state that comes out is the first."""
    twin = NoisyGRU(UNITS, dtype="float64", stddev=1.0, noise=layer.noise, seed=layer.seed, return_state=True)
    nothing = np.zeros((BATCH, STEPS), bool)
    return twin(np.zeros((BATCH, STEPS, FEATURES)), mask=nothing, training=True)[1].numpy()


def loss_of(layer: Any, sequences: Any, starts: Any) -> float:
    return float((ends(layer, sequences, starts) ** 2).sum(axis=1).mean())


def gradients_of(layer: Any, sequences: Any, *, compiled: bool) -> list[np.ndarray]:
    @tf.function(jit_compile=compiled)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.reduce_sum(layer(x, mask=MASK, training=True)[1] ** 2, axis=1))
        return tape.gradient(loss, layer.trainable_variables)

    return [each.numpy() for each in step(tf.constant(sequences))]


@pytest.mark.parametrize(
    ("fused", "compiled", "noise"), [(True, True, "normal"), (False, False, "uniform"), (True, False, "normal")]
)
def test_the_gradient_of_a_learned_scale_is_that_of_differences(
    rng: Any, sequences: Any, fused: bool, compiled: bool, noise: str
) -> None:
    layer = made(rng, scale="learned", stddev=0.4, noise=noise, seed=21, fused=fused)
    assert layer.trainable_weights[0].name == "log_stddev"
    layer.log_stddev.assign(np.log(rng.uniform(0.2, 0.8, UNITS)))
    logs, draws = layer.log_stddev.numpy(), unit_draws(layer)
    (found, *_) = gradients_of(layer, sequences, compiled=compiled)
    for unit in range(UNITS):
        step = np.eye(UNITS)[unit] * 1e-6
        high, low = (loss_of(layer, sequences, np.exp(logs + each) * draws) for each in (step, -step))
        assert found[unit] == pytest.approx((high - low) / 2e-6, abs=1e-7)
    np.testing.assert_allclose(layer.unit_stddevs, np.exp(logs))


@pytest.mark.parametrize(("fused", "compiled"), [(True, True), (False, False)])
def test_the_residual_scale_follows_the_error_at_the_first_state(
    rng: Any, sequences: Any, fused: bool, compiled: bool
) -> None:
    layer = made(rng, scale="residual", stddev=0.4, residual_momentum=0.75, seed=22, fused=fused)
    starts = 0.4 * unit_draws(layer)
    gradients_of(layer, sequences, compiled=compiled)
    # The residual of a sequence is the gradient of its own loss; by differences in the oracle.
    residual = np.zeros((BATCH, UNITS))
    for row in range(BATCH):
        for unit in range(UNITS):
            step = np.zeros((BATCH, UNITS))
            step[row, unit] = 1e-6
            high, low = (loss_of(layer, sequences, starts + each) for each in (step, -step))
            residual[row, unit] = BATCH * (high - low) / 2e-6
    expected = 0.75 * 0.4**2 + 0.25 * (residual**2).mean(axis=0)
    np.testing.assert_allclose(layer.residual_variance.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(layer.unit_stddevs, np.sqrt(expected))
    # The next draw has this scale, never more than the range of a state, times the factor of a schedule.
    layer.residual_variance.assign([0.01, 0.25, 9.0, 0.0])
    layer.current_stddev = 0.2
    drawn = layer(np.zeros((4000, 1, FEATURES)), mask=np.zeros((4000, 1), bool), training=True)[1].numpy()
    np.testing.assert_allclose(drawn.std(axis=0), [0.05, 0.25, 0.5, 0.0], rtol=0.06)
    # Inference leaves it alone.
    before = layer.residual_variance.numpy()
    layer(sequences, training=False)
    np.testing.assert_array_equal(layer.residual_variance.numpy(), before)


@pytest.mark.parametrize("arguments", [{"scale": "learned"}, {"scale": "residual"}, {"noise": "carried", "share": 0.3}])
def test_a_configuration_brings_it_back_and_inference_is_the_stock_layers(
    rng: Any, sequences: Any, arguments: Any
) -> None:
    layer = made(rng, seed=3, carry_seed=4, residual_momentum=0.5, **arguments)
    again: Any = NoisyGRU.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    again.build((None, STEPS, FEATURES))
    again.set_weights(layer.get_weights())
    for training in (False, True):
        np.testing.assert_array_equal(
            again(sequences, mask=MASK, training=training)[1], layer(sequences, mask=MASK, training=training)[1]
        )
    np.testing.assert_allclose(layer(sequences, mask=MASK)[1], ends(layer, sequences), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": "auto"}, "one of .*'residual'.*Received: scale='auto'"),
        ({"scale": "learned", "noise": "carried"}, "with `noise='carried'` there is none"),
        ({"scale": "residual", "stddev": 0}, "must be above 0"),
        ({"share": 0}, "Received: share=0"),
        ({"share": 1.5}, "Received: share=1.5"),
        ({"residual_momentum": 1}, "Received: residual_momentum=1"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoisyGRU(UNITS, **arguments)
