"""The fused loop: its answers and gradients are the stock layer's, and the gradient is the answers' derivative."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers import fusable_gru as layers
from noisy_gru.trainer.layers.fused_gru import Weights, fused_gru
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru as numpy_gru

BATCH, STEPS, FEATURES, UNITS = 6, 9, 3, 5
LENGTHS = np.array([9, 4, 1, 0, 6, 9])  # one row without any step
PREFIX = np.arange(STEPS) < LENGTHS[:, None]
HOLES = np.random.default_rng(5).random((BATCH, STEPS)) < 0.6


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(scale=0.7, size=shape).astype("float32")


def pair(**arguments: Any) -> tuple[Any, Any]:
    """A fused layer without noise and the stock GRU, of the same weights."""
    ours = NoisyGRU(UNITS, stddev=0, **arguments)
    stock = keras.layers.GRU(UNITS, **arguments)
    for layer in (ours, stock):
        layer.build((None, STEPS, FEATURES))
    ours.set_weights([random(*weight.shape, seed=index) for index, weight in enumerate(ours.get_weights())])
    stock.set_weights(ours.get_weights())
    return ours, stock


def answers_and_gradients(layer: Any, sequences: Any, start: Any, mask: Any, **calling: Any) -> list[np.ndarray]:
    """What the layer gives, and the gradients of a sum of it, weighted at random, for inputs, state and weights."""
    sequences, start = tf.constant(sequences), tf.constant(start)

    @tf.function(reduce_retracing=True)
    def run(sequences: Any, start: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([sequences, start])
            outputs = tf.nest.flatten(layer(sequences, initial_state=start, mask=mask, **calling))
            weighted = [each * random(*each.shape, seed=20 + index) for index, each in enumerate(outputs)]
            loss = tf.add_n([tf.reduce_sum(each) for each in weighted])
        weights = [variable.value for variable in layer.trainable_variables]
        return outputs, tape.gradient(loss, [sequences, start, *weights])

    return [each.numpy() for each in tf.nest.flatten(run(sequences, start))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, PREFIX, HOLES], ids=["no mask", "lengths", "holes"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"return_sequences": True, "return_state": True},
        {"return_state": True, "go_backwards": True},
        {"return_sequences": True, "go_backwards": True},
        {"return_sequences": True, "zero_output_for_mask": True},
        {"return_state": True, "zero_output_for_mask": True},
        {},
    ],
    ids=lambda arguments: " ".join(arguments) or "last",
)
def test_answers_and_gradients_are_the_stock_layers(arguments: Any, mask: Any, training: bool) -> None:
    ours, stock = pair(**arguments)
    sequences, start = random(BATCH, STEPS, FEATURES, seed=8), random(BATCH, UNITS, seed=9)
    found = answers_and_gradients(ours, sequences, start, mask, training=training)
    expected = answers_and_gradients(stock, sequences, start, mask, training=training)
    assert len(found) == len(expected) >= 6
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [None, PREFIX, HOLES], ids=["no mask", "lengths", "holes"])
def test_the_gradient_is_the_derivative(mask: Any) -> None:
    """Against central differences, in float64."""
    values = [random(2, 4, 3), random(2, 5), random(3, 15), random(5, 15), random(2, 15)]
    inputs = [tf.constant(value, tf.float64) for value in values]
    steps = None if mask is None else tf.constant(mask[1:3, :4])

    def loss(sequences: Any, start: Any, *weights: Any) -> Any:
        last, outputs, state = fused_gru(sequences, start, steps, Weights(*weights), go_backwards=True, training=True)
        return tf.reduce_sum(outputs * tf.cos(outputs)) + tf.reduce_sum(last * state)

    theoretical, numerical = tf.test.compute_gradient(loss, inputs, delta=1e-6)
    for one, other in zip(theoretical, numerical, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.slow
def test_xla_computes_the_same_without_knowing_the_shape() -> None:
    ours, _ = pair(return_sequences=True)
    sequences, start = random(BATCH, STEPS, FEATURES, seed=8), random(BATCH, UNITS, seed=9)
    shapes = [tf.TensorSpec([None, None, FEATURES]), tf.TensorSpec([None, UNITS]), tf.TensorSpec([None, None], tf.bool)]

    def run(sequences: Any, start: Any, mask: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ours(sequences, initial_state=start, mask=mask, training=True) ** 2)
        return [loss, *tape.gradient(loss, [variable.value for variable in ours.trainable_variables])]

    compiled = tf.function(run, input_signature=shapes, jit_compile=True)
    plain = tf.function(run, input_signature=shapes)
    for one, other in zip(compiled(sequences, start, PREFIX), plain(sequences, start, PREFIX), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_dropout_draws_what_the_stock_layer_draws() -> None:
    ours, stock = pair(dropout=0.5, seed=7, return_sequences=True)
    sequences = random(BATCH, STEPS, FEATURES, seed=8)
    start = np.zeros((BATCH, UNITS), "float32")
    found = answers_and_gradients(ours, sequences, start, None, training=True)
    expected = answers_and_gradients(stock, sequences, start, None, training=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)
    assert np.abs(found[0] - ours(sequences, training=False).numpy()).max() > 1e-2


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({}, True),
        ({"dropout": 0.3}, True),
        ({"fused": False}, False),
        ({"recurrent_dropout": 0.3}, False),
        ({"reset_after": False}, False),
        ({"use_bias": False}, False),
        ({"activation": "relu"}, False),
        ({"recurrent_activation": "hard_sigmoid"}, False),
        ({"unroll": True}, False),
        ({"dtype": "mixed_float16"}, False),
    ],
    ids=str,
)
def test_what_does_not_fit_is_the_stock_layers(arguments: Any, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(layers, "fused_gru", lambda *given, **more: called.append(1) or fused_gru(*given, **more))
    NoisyGRU(UNITS, **arguments)(random(BATCH, STEPS, FEATURES), training=True)
    assert bool(called) == fits


def test_nothing_is_kept_for_a_gradient_that_nobody_asks_for() -> None:
    ours, _ = pair()
    graph = tf.function(lambda sequences: ours(sequences, training=False)).get_concrete_function(
        tf.TensorSpec([None, None, FEATURES])
    )
    operations = [operation.type for operation in graph.graph.get_operations()]
    assert not [name for name in operations if "Random" in name or name == "IdentityN"]


@pytest.mark.parametrize("kept", [{}, {"return_sequences": True}])
@pytest.mark.parametrize(("rows", "recurrent_dropout"), [(24, 0.0), (6, 0.0), (3, 0.0), (6, 0.1)])
def test_sequences_that_share_a_start_are_as_if_each_had_it(kept, rows, recurrent_dropout):
    """Eight states, three sequences from each; of the sequences only `rows` differ, and are repeated."""
    layer = NoisyGRU(5, return_state=True, recurrent_dropout=recurrent_dropout, **kept)
    rng = np.random.default_rng(2)
    sequences = rng.normal(size=(rows, 1, 4)).astype(np.float32)
    states = rng.normal(size=(8, 5)).astype(np.float32)
    layer.build(sequences.shape)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    expected, _, state = numpy_gru(
        np.tile(sequences, (24 // rows, 1, 1)), layer.get_weights(), initial_state=np.repeat(states, 3, axis=0)
    )
    outputs, last = layer(sequences, initial_state=states, repeats=3)
    np.testing.assert_allclose(outputs, expected if kept else expected[:, -1], atol=1e-5)
    np.testing.assert_allclose(last, state, atol=1e-5)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(starts := tf.constant(states))
        shared = tf.reduce_sum(tf.sin(layer(sequences, initial_state=starts, repeats=3)[1] * 3.0))
        each = tf.tile(tf.constant(sequences), (24 // rows, 1, 1)), tf.repeat(starts, 3, axis=0)
        alone = tf.reduce_sum(tf.sin(layer(each[0], initial_state=each[1])[1] * 3.0))
    wanted = [starts, *(weight.value for weight in layer.trainable_variables)]
    gradients: Any = tape
    for found, ordinary in zip(gradients.gradient(shared, wanted), gradients.gradient(alone, wanted), strict=True):
        np.testing.assert_allclose(found, ordinary, atol=2e-4)


def test_one_sequence_of_each_start_is_repeated_for_all_of_them():
    layer = NoisyGRU(5)
    rng = np.random.default_rng(2)
    sequence, states = rng.normal(size=(1, 1, 4)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    found = layer(sequence, initial_state=states, repeats=1)
    np.testing.assert_allclose(found, layer(np.repeat(sequence, 6, axis=0), initial_state=states), atol=5e-6)


def test_sequences_share_no_start_that_is_not_given():
    with pytest.raises(ValueError, match="`repeats` of a NoisyGRU's call needs an `initial_state`"):
        NoisyGRU(5)(np.zeros((6, 1, 4), np.float32), repeats=3)
