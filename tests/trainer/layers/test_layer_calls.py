"""What callers give the NoisyGRU: masks, dtypes, empty batches, huge states; and how it is copied.

Expected values are the stock layer's, whose loop is Keras' own, and the laws of the noise.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers.fused_gru import Weights, fused_gru
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU

BATCH, STEPS, FEATURES, UNITS = 4, 6, 3, 5
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0] * 6, [0, 1, 0, 1, 1, 0]])
MASKS = {
    **{
        dtype: MASK.astype(dtype)
        for dtype in ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64")
    },
    "2.5": MASK * 2.5,
    "-1": -MASK,
    "nan": np.where(MASK, np.nan, 0.0),
    "a tensor": tf.constant(MASK),
    "a list of one": [tf.constant(MASK)],
    "(B, T, 1)": MASK.astype(bool)[:, :, None],
    "(B, T, 1) of int": MASK[:, :, None],
    "(1, T)": MASK[1:2].astype(bool),
    "(B, T, U)": np.random.default_rng(1).random((BATCH, STEPS, UNITS)) < 0.5,
}
SHAPES = ("last", "all")
saves_a_model = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def pair(**arguments: Any) -> tuple[Any, Any]:
    """A NoisyGRU without noise and the stock GRU, of the same random weights."""
    ours = NoisyGRU(UNITS, stddev=0, return_state=True, **arguments)
    stock = keras.layers.GRU(UNITS, return_state=True, **arguments)
    rng = np.random.default_rng(3)
    for layer in (ours, stock):
        layer.build((None, STEPS, FEATURES))
    ours.set_weights([rng.normal(scale=0.7, size=weight.shape) for weight in ours.get_weights()])
    stock.set_weights(ours.get_weights())
    return ours, stock


def sequences(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "arguments", [{}, {"return_sequences": True}, {"go_backwards": True}], ids=["last", "all", "back"]
)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_every_mask_that_keras_gru_takes(mask: Any, arguments: Any, training: bool) -> None:
    ours, stock = pair(**arguments)
    given = sequences(BATCH, STEPS, FEATURES)
    for one, other in zip(ours(given, mask=mask, training=training), stock(given, mask=mask), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)


@pytest.mark.parametrize("steps", [1, STEPS - 1, STEPS + 1])
def test_a_mask_of_another_length_is_named(steps: int) -> None:
    ours, _ = pair()
    with pytest.raises(ValueError, match=rf"Expected: 6 steps\. Received: a mask of shape \(4, {steps}\)"):
        ours(sequences(BATCH, STEPS, FEATURES), mask=np.ones((BATCH, steps), bool))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [1e5, 1e6, 1e30, 1e37])
def test_a_masked_step_keeps_a_state_of_any_size(size: float, training: bool) -> None:
    ours, _ = pair()
    state = (np.array([[1, -1, 1, -1, 1]]) * size).repeat(BATCH, 0).astype("float32")
    _, kept = ours(
        sequences(BATCH, STEPS, FEATURES), mask=np.zeros((BATCH, STEPS), bool), initial_state=state, training=training
    )
    np.testing.assert_array_equal(kept, state)


def test_a_masked_step_has_no_gradient_beside_a_huge_state() -> None:
    ours, stock = pair()
    given, start, found = tf.constant(sequences(BATCH, STEPS, FEATURES)), tf.fill((BATCH, UNITS), 1e6), []
    for layer in (ours, stock):
        with tf.GradientTape() as tape:
            tape.watch([given, start])
            output, state = layer(given, mask=MASK.astype(bool), initial_state=start, training=True)
            loss = tf.reduce_sum(output + state)
        found.append(tape.gradient(loss, [given, start]))
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize(("dtype", "resolution"), [("float16", 2**-11), ("bfloat16", 2**-8), ("mixed_float16", 2**-11)])
def test_half_precision_draws_what_float32_draws(dtype: str, resolution: float, noise: str) -> None:
    """Orthogonal initial weights need a QR that bfloat16 has not, in the stock layer as well."""
    half: Any = {
        "seed": 1,
        "stddev": 0.5,
        "noise": noise,
        "recurrent_initializer": "glorot_uniform",
        "return_state": True,
    }
    masked = np.zeros((200, 1), bool)  # so that the state that comes back is the one that was drawn
    drawn = [
        tf.cast(NoisyGRU(64, dtype=each, **half)(np.zeros((200, 1, 2)), mask=masked, training=True)[1], tf.float64)
        for each in (dtype, "float32")
    ]
    np.testing.assert_allclose(*drawn, rtol=resolution, atol=1e-4)
    # 12,800 draws: the deviation's standard error is .5/sqrt(2 n) = .0031 at most.
    assert abs(np.std(drawn[0]) - 0.5) < 0.0125


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"return_sequences": True}, {"learn_mean": True}, {"fused": False}])
@pytest.mark.parametrize("in_graph", [False, True])
def test_an_empty_batch(arguments: Any, training: bool, in_graph: bool) -> None:
    layer = NoisyGRU(UNITS, **arguments)
    layer.build((None, STEPS, FEATURES))
    function = lambda given: layer(given, training=training)  # noqa: E731
    call = tf.function(function, input_signature=[tf.TensorSpec([None, None, FEATURES])]) if in_graph else function
    with tf.GradientTape() as tape:
        output = call(tf.zeros((0, STEPS, FEATURES)))
        loss = tf.reduce_sum(output)
    assert output.shape == ((0, STEPS, UNITS) if "return_sequences" in arguments else (0, UNITS))
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert gradient is None or not np.any(tf.convert_to_tensor(gradient))


@pytest.mark.parametrize("kept", [True, False])
def test_inference_for_the_last_output_keeps_one_state(kept: bool) -> None:
    """At 1,000 sequences of 500 steps of 256 units all states would be 512 MB."""
    graph = tf.Graph()
    with graph.as_default():
        weights = Weights(tf.zeros((3, 15)), tf.zeros((5, 15)), tf.zeros((2, 15)))
        given: Any = tf.compat.v1.placeholder(tf.float32, (None, None, 3))
        fused_gru(
            given,
            tf.zeros((tf.shape(given)[0], 5)),
            None,
            weights,
            go_backwards=False,
            training=False,
            return_sequences=kept,
        )
    kinds = {operation.type for operation in graph.get_operations()}
    assert ("TensorListReserve" in kinds) == kept


def test_time_distributed_draws_once_for_an_axis_of_unknown_size_as_the_stock_dropout_does() -> None:
    """The documented limit of Keras' vectorized_map; with a size the draws are independent."""

    # As many steps as rows, because Keras 3.15 goes through as many steps as there are rows.
    def states(layer: Any, outer: int | None) -> np.ndarray:
        distributed = keras.layers.TimeDistributed(layer)
        signature = [tf.TensorSpec([8, outer, 1, FEATURES])]
        run = tf.function(lambda given: distributed(given, training=True), input_signature=signature)
        return run(tf.ones((8, 8, 1, FEATURES))).numpy().reshape(8, 8, -1)

    for layer in (NoisyGRU(UNITS, stddev=1.0), keras.layers.Dropout(0.5)):
        drawn = states(layer, None)
        np.testing.assert_array_equal(drawn, drawn[:, :1].repeat(8, 1))
    assert np.ptp(states(NoisyGRU(UNITS, stddev=1.0), 8), axis=1).min() > 0.01


@saves_a_model
@pytest.mark.parametrize("way", ["clone", "h5", "keras", "json"])
def test_every_copy_of_a_model_keeps_the_annealed_noise(way: str, tmp_path: Any) -> None:
    model = keras.Sequential([keras.Input((None, FEATURES)), NoisyGRU(UNITS, stddev=0.4)])
    bidirectional = keras.layers.Bidirectional(NoisyGRU(UNITS, stddev=0.3))
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), NoisyGRU(4, stddev=0.4, return_sequences=True), bidirectional]
    )
    model.layers[0].current_stddev = 0.1
    bidirectional.backward_layer.current_stddev = 0.0
    if way == "clone":
        copy: Any = keras.models.clone_model(model)
    elif way == "json":
        copy = keras.models.model_from_json(model.to_json())
    else:
        path = tmp_path / f"model.{way}"
        model.save(path)
        copy = keras.models.load_model(path)
    first, second = copy.layers
    layers = (first, second.forward_layer, second.backward_layer)
    assert [layer.current_stddev for layer in layers] == [0.1, 0.3, 0.0]
    assert [layer.stddev for layer in layers] == [0.4, 0.3, 0.3]


def test_a_configuration_without_the_stddev_in_force_has_the_reference_scale() -> None:
    config = NoisyGRU(UNITS, stddev=0.4).get_config()
    del config["current_stddev"]
    assert NoisyGRU.from_config(config).current_stddev == 0.4


def test_another_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' other backends are not among the locked packages, so its answer is put in."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"Set KERAS_BACKEND=tensorflow before .* Received: backend 'jax'"):
        NoisyGRU(UNITS)
