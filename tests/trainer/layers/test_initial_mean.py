"""The call argument `initial_mean`: against an independent GRU in NumPy, the unfused path, and Keras' own wrapper."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers.noisy_bidirectional import NoisyBidirectional
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru

BATCH, STEPS, FEATURES, UNITS = 5, 7, 3, 4
LENGTHS = np.array([7, 4, 1, 0, 6])
MASK = np.arange(STEPS) < LENGTHS[:, None]
# Keras 3.15 writes its variables with np.array(variable), which NumPy 2 deprecates.
saves_a_model = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def sequences(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(BATCH, STEPS, FEATURES)).astype("float32")


@pytest.fixture
def mean(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(BATCH, UNITS)).astype("float32")


def built(layer: Any, rng: np.random.Generator) -> Any:
    layer.build((None, STEPS, FEATURES))
    layer.set_weights([rng.normal(scale=0.6, size=weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.mark.parametrize("learn_mean", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_inference_starts_from_the_mean(
    rng: np.random.Generator, sequences: Any, mean: Any, masked: bool, fused: bool, learn_mean: bool
) -> None:
    layer = built(NoisyGRU(UNITS, fused=fused, learn_mean=learn_mean, return_sequences=True), rng)
    own = layer.initial_mean.numpy() if learn_mean else 0.0
    mask = MASK if masked else None
    expected, _, _ = gru(sequences, layer.cell.get_weights(), initial_state=mean + own, mask=mask)

    found = layer(sequences, initial_mean=mean, mask=mask, training=False)

    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("noise", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize("learn_mean", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_training_adds_the_noise_to_the_mean(
    rng: np.random.Generator, sequences: Any, mean: Any, compiled: bool, learn_mean: bool, noise: str
) -> None:
    layer = built(NoisyGRU(UNITS, stddev=0.3, noise=noise, seed=3, learn_mean=learn_mean, return_state=True), rng)
    own = layer.initial_mean.numpy() if learn_mean else 0.0
    # Without a counted step the state that comes out is the first: the noise of this seed's first call.
    twin = built(NoisyGRU(UNITS, stddev=0.3, noise=noise, seed=3, return_state=True), rng)
    _, drawn = twin(sequences, mask=np.zeros((BATCH, STEPS), bool), training=True)
    assert float(np.abs(drawn).max()) > 0.1
    _, last, state = gru(sequences, layer.cell.get_weights(), initial_state=drawn + mean + own, mask=MASK)

    def call(mean: Any) -> Any:
        return layer(sequences, initial_mean=mean, mask=MASK, training=True)

    found, found_state = tf.function(call, jit_compile=True)(tf.constant(mean)) if compiled else call(mean)

    np.testing.assert_allclose(found, last, atol=1e-5)
    np.testing.assert_allclose(found_state, state, atol=1e-5)


@pytest.mark.parametrize("sequences_returned", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_the_gradient_is_that_of_the_unfused_path_and_of_differences(
    rng: np.random.Generator, sequences: Any, mean: Any, go_backwards: bool, sequences_returned: bool
) -> None:
    arguments: Any = {"return_sequences": sequences_returned, "go_backwards": go_backwards, "seed": 5, "stddev": 0.2}
    layers = [NoisyGRU(UNITS, fused=fused, dtype="float64", **arguments) for fused in (True, False)]
    first = built(layers[0], rng)
    layers[1].build((None, STEPS, FEATURES))
    layers[1].set_weights(first.get_weights())
    weight = rng.normal(size=(STEPS, UNITS) if sequences_returned else (UNITS,))
    gradients, losses = [], []
    for layer in layers:
        at: Any = tf.constant(mean, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(at)
            out = layer(tf.cast(sequences, tf.float64), initial_mean=at, mask=MASK, training=True)
            loss = tf.reduce_sum(out * weight)
        gradients.append(tape.gradient(loss, [at, *layer.trainable_variables]))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    for fused, unfused in zip(*gradients, strict=True):
        np.testing.assert_allclose(fused, unfused, atol=1e-9)

    def loss_at(value: np.ndarray) -> float:
        out = first(tf.cast(sequences, tf.float64), initial_mean=value, mask=MASK, training=False)
        return float(tf.reduce_sum(out * weight))

    quiet: Any = tf.constant(mean, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(quiet)
        out = first(tf.cast(sequences, tf.float64), initial_mean=quiet, mask=MASK, training=False)
        loss = tf.reduce_sum(out * weight)
    exact = tape.gradient(loss, quiet).numpy()
    for row, unit in ((0, 0), (1, 3), (4, 2)):
        step = np.zeros((BATCH, UNITS))
        step[row, unit] = 1e-5
        difference = (loss_at(mean + step) - loss_at(mean - step)) / 2e-5
        assert exact[row, unit] == pytest.approx(difference, abs=1e-7)
    # A sequence without a step depends on no first state.
    assert not exact[3].any()


def test_a_mean_of_zeros_changes_nothing(rng: np.random.Generator, sequences: Any) -> None:
    layer, twin = NoisyGRU(UNITS, seed=1), NoisyGRU(UNITS, seed=1)
    twin.build((None, STEPS, FEATURES))
    twin.set_weights(built(layer, rng).get_weights())
    for training in (False, True):
        with_zeros = layer(sequences, initial_mean=np.zeros((BATCH, UNITS), np.float32), training=training)
        np.testing.assert_array_equal(with_zeros, twin(sequences, training=training))


def test_an_unknown_batch_size_and_an_empty_batch(rng: np.random.Generator, sequences: Any, mean: Any) -> None:
    layer = built(NoisyGRU(UNITS, seed=1), rng)
    call = tf.function(
        lambda x, m: layer(x, initial_mean=m, training=True),
        input_signature=[tf.TensorSpec([None, None, FEATURES]), tf.TensorSpec([None, UNITS])],
    )
    assert call(sequences, mean).shape == (BATCH, UNITS)
    assert call(sequences[:0], mean[:0]).shape == (0, UNITS)


@pytest.mark.parametrize("dtype", ["mixed_float16", "float64"])
def test_precision_policies(rng: np.random.Generator, sequences: Any, mean: Any, dtype: str) -> None:
    layer = built(NoisyGRU(UNITS, dtype=dtype), rng)
    _, last, _ = gru(sequences, layer.get_weights(), initial_state=mean)
    found = layer(sequences, initial_mean=mean)
    assert found.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(found, tf.float64), last, atol=0.02 if dtype == "mixed_float16" else 1e-6)


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_without_a_mean_is_keras(
    rng: np.random.Generator, sequences: Any, return_sequences: bool, return_state: bool, merge: Any
) -> None:
    def inner() -> NoisyGRU:
        return NoisyGRU(UNITS, seed=2, return_sequences=return_sequences, return_state=return_state)

    ours = built(NoisyBidirectional(inner(), merge_mode=merge), rng)
    stock = keras.layers.Bidirectional(inner(), merge_mode=merge)
    stock.build((None, STEPS, FEATURES))
    stock.set_weights(ours.get_weights())
    for training in (False, True):
        found, expected = (layer(sequences, mask=MASK, training=training) for layer in (ours, stock))
        tf.nest.map_structure(np.testing.assert_array_equal, tf.nest.flatten(found), tf.nest.flatten(expected))


@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_has_a_mean_for_each_direction(
    rng: np.random.Generator, sequences: Any, return_sequences: bool
) -> None:
    layer = built(NoisyBidirectional(NoisyGRU(UNITS, return_sequences=return_sequences)), rng)
    means = rng.normal(size=(BATCH, 2 * UNITS)).astype("float32")
    weights = [half.cell.get_weights() for half in (layer.forward_layer, layer.backward_layer)]
    ahead = gru(sequences, weights[0], initial_state=means[:, :UNITS])
    back = gru(sequences, weights[1], initial_state=means[:, UNITS:], go_backwards=True)
    if return_sequences:
        expected = np.concatenate([ahead[0], back[0][:, ::-1]], axis=2)
    else:
        expected = np.concatenate([ahead[1], back[1]], axis=1)

    np.testing.assert_allclose(layer(sequences, initial_mean=means), expected, atol=1e-5)


@saves_a_model
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_model_whose_first_state_is_a_function_of_an_input_is_saved(
    rng: np.random.Generator, sequences: Any, both_ways: bool, tmp_path: Any
) -> None:
    steps, static = keras.Input((None, FEATURES)), keras.Input((2,))
    start = keras.layers.Dense(UNITS * (2 if both_ways else 1), activation="tanh")(static)
    layer: Any = NoisyGRU(UNITS, seed=1)
    layer = NoisyBidirectional(layer) if both_ways else layer
    model = keras.Model([steps, static], layer(steps, initial_mean=start))
    values = rng.normal(size=(BATCH, 2)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "model.keras")

    expected = model([sequences, values], training=False)
    np.testing.assert_array_equal(loaded([sequences, values], training=False), expected)
    clone: Any = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone([sequences, values], training=False), expected)
    # The first state matters.
    assert np.abs(np.asarray(model([sequences, 0 * values], training=False)) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "call", "words"),
    [
        ({}, {"initial_mean": np.zeros((BATCH, UNITS + 1), np.float32)}, r"Expected: \(batch, 4\)"),
        ({}, {"initial_mean": np.zeros(UNITS, np.float32)}, r"Received: \(4,\)"),
        (
            {},
            {"initial_mean": np.zeros((BATCH, UNITS)), "initial_state": np.zeros((BATCH, UNITS))},
            "with an `initial_state`",
        ),
        ({"stateful": True}, {"initial_mean": np.zeros((BATCH, UNITS), np.float32)}, "with `stateful=True`"),
    ],
)
def test_a_bad_mean_is_named(sequences: Any, arguments: Any, call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoisyGRU(UNITS, **arguments)(sequences, **call)


def test_a_bad_mean_of_two_directions_is_named(sequences: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected: \(batch, 8\). Received: \(5, 4\)"):
        NoisyBidirectional(NoisyGRU(UNITS))(sequences, initial_mean=np.zeros((BATCH, UNITS), np.float32))
