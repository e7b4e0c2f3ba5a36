"""The NoisyGRU as a GRU: against the stock layer, an independent one in NumPy, and a step worked by hand."""

import json
import zipfile
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru, gru_step

# Keras' own annotations know the defaults' types only.
QUIET: Any = {"verbose": 0}
IN_A_GRAPH: Any = {"jit_compile": False}
WITH_XLA: Any = {"jit_compile": True}

BATCH, STEPS, FEATURES, UNITS = 5, 7, 3, 4
# Keras 3.15 writes its variables with np.array(variable), which NumPy 2 deprecates.
saves_a_model = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def rng():
    return np.random.default_rng(20240501)


@pytest.fixture
def sequences(rng):
    return rng.normal(size=(BATCH, STEPS, FEATURES)).astype("float32")


@pytest.fixture
def mask():
    lengths = np.array([7, 4, 1, 0, 6])  # one row without any step
    return np.arange(STEPS) < lengths[:, None]


def random_weights(layer, rng):
    """Give a built layer weights far from any symmetry, biases included."""
    layer.set_weights([rng.normal(scale=0.6, size=w.shape) for w in layer.get_weights()])


def built(rng, **arguments):
    layer = NoisyGRU(UNITS, **arguments)
    layer.build((None, STEPS, FEATURES))
    random_weights(layer, rng)
    return layer


# Arguments of the noise, beside `stddev` and its law.
OWN = ("scale", "share", "carry_seed", "residual_momentum", "decays")


def stock_twin(layer, **changes):
    """keras.layers.GRU with the same configuration and weights."""
    config = layer.get_config()
    for name in ("stddev", "current_stddev", "noise", "learn_mean", "fused", *OWN):
        del config[name]
    twin = keras.layers.GRU.from_config(config | changes)
    twin.build((None, STEPS, FEATURES))
    twin.set_weights(layer.cell.get_weights())
    return twin


def run(layer, mode, *args, **kwargs):
    """Call a layer eagerly, or in a graph that knows neither the batch size nor the number of steps."""
    if mode == "eager":
        return layer(*args, **kwargs)
    args = [tf.convert_to_tensor(argument) for argument in args]
    signature = [tf.TensorSpec([None, None, *argument.shape[2:]], argument.dtype) for argument in args]
    return tf.function(lambda *tensors: layer(*tensors, **kwargs), input_signature=signature)(*args)


MODES = ("eager", "graph")


def test_the_oracle_agrees_with_two_steps_worked_by_hand():
    # One unit, one feature, x = 1, h = 0.5; logit(0.75) = ln 3, logit(0.5) = 0, atanh(0.6) = ln 2.
    kernel = np.array([[np.log(3.0), 0.0, np.log(2.0)]])
    recurrent_kernel = np.array([[0.0, 0.0, 2.0]])
    # reset_after: hh = tanh(ln 2 + 0.5 * (0.5 * 2 - 1)) = 0.6, h = 0.75 * 0.5 + 0.25 * 0.6
    bias = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    after = gru_step(np.ones(1), np.full(1, 0.5), kernel, recurrent_kernel, bias, reset_after=True)
    np.testing.assert_allclose(after, [0.525], rtol=1e-12)
    # reset before: hh = tanh(ln 2 - 0.5 + (0.5 * 0.5) * 2) = 0.6
    bias = np.array([0.0, 0.0, -0.5])
    before = gru_step(np.ones(1), np.full(1, 0.5), kernel, recurrent_kernel, bias, reset_after=False)
    np.testing.assert_allclose(before, [0.525], rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("reset_after", [True, False])
def test_inference_equals_the_numpy_gru(rng, sequences, reset_after, go_backwards, mode):
    layer = built(rng, reset_after=reset_after, go_backwards=go_backwards, return_sequences=True, return_state=True)
    outputs, state = run(layer, mode, sequences)
    expected, _, expected_state = gru(
        sequences, layer.get_weights(), reset_after=reset_after, go_backwards=go_backwards
    )
    np.testing.assert_allclose(outputs, expected, atol=5e-6)
    np.testing.assert_allclose(state, expected_state, atol=5e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("return_sequences", [True, False])
def test_masked_inference_equals_the_numpy_gru_with_an_empty_row(rng, sequences, mask, return_sequences, mode):
    layer = built(rng, learn_mean=True, return_sequences=return_sequences, return_state=True)
    mean = layer.get_weights()[0]
    output, state = run(lambda *both: layer(both[0], mask=both[1]), mode, sequences, mask)
    outputs, last, expected_state = gru(
        sequences, layer.cell.get_weights(), initial_state=np.tile(mean, (BATCH, 1)), mask=mask
    )
    np.testing.assert_allclose(output, outputs if return_sequences else last, atol=5e-6)
    np.testing.assert_allclose(state, expected_state, atol=5e-6)
    # Worked by hand: no step, so nothing comes out and the state is still the mean.
    np.testing.assert_array_equal(output[3], np.zeros_like(output[3]))
    np.testing.assert_array_equal(state[3], mean)


@pytest.mark.parametrize("mode", MODES)
def test_training_equals_the_numpy_gru_from_the_state_that_was_drawn(rng, sequences, mode):
    # A row without any step keeps its first state, so it shows what was drawn beside the row that uses it.
    layer = built(rng, stddev=0.5, seed=5, learn_mean=True, return_state=True)
    nothing = np.zeros((BATCH, STEPS), dtype=bool)
    _, drawn = layer(sequences, mask=nothing, training=True)
    twin = NoisyGRU.from_config(layer.get_config())
    twin.build((None, STEPS, FEATURES))
    twin.set_weights(layer.get_weights())
    output, _ = run(twin, mode, sequences, training=True)
    assert np.abs(drawn - layer.get_weights()[0]).min() > 1e-4
    _, expected, _ = gru(sequences, layer.cell.get_weights(), initial_state=drawn)
    np.testing.assert_allclose(output, expected, atol=5e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"reset_after": False},
        {"noise": "uniform", "use_bias": False},
        {"noise": "truncated_normal", "return_sequences": True, "go_backwards": True},
        {"return_state": True, "implementation": 1},
        {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 8},
    ],
    ids=str,
)
def test_no_noise_is_the_stock_gru_bit_for_bit(rng, sequences, arguments):
    layer = built(rng, stddev=0, fused=False, **arguments)
    twin = stock_twin(layer)
    for mode, training in (("eager", False), ("eager", True), ("graph", True)):
        ours = run(layer, mode, sequences, training=training)
        stock = run(twin, mode, sequences, training=training)
        tf.nest.map_structure(np.testing.assert_array_equal, ours, stock)


def test_unrolled_no_noise_is_the_stock_gru_bit_for_bit(rng, sequences):
    layer = built(rng, stddev=0, unroll=True)
    np.testing.assert_array_equal(layer(sequences, training=True), stock_twin(layer)(sequences, training=True))


def test_training_without_noise_learns_what_the_stock_gru_learns_bit_for_bit(rng, sequences):
    layer = built(rng, stddev=0, fused=False)
    models = [keras.Sequential([each, keras.layers.Dense(1)]) for each in (layer, stock_twin(layer))]
    for model in models:
        model.build((None, STEPS, FEATURES))
    before = layer.get_weights()
    models[1].layers[1].set_weights(models[0].layers[1].get_weights())
    for model in models:
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        model.fit(sequences, sequences[:, 0, :1], batch_size=2, epochs=2, shuffle=False, **QUIET)
    for ours, stock in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, stock)
    assert np.abs(before[0] - layer.get_weights()[0]).max() > 1e-4


@pytest.mark.parametrize("training", [False, True, None])
def test_a_callers_initial_state_wins(rng, sequences, training):
    layer = built(rng, stddev=3.0, learn_mean=True)
    start = rng.normal(size=(BATCH, UNITS)).astype("float32")
    expected = gru(sequences, layer.cell.get_weights(), initial_state=start)[1]
    for given in (start, [start]):
        np.testing.assert_allclose(layer(sequences, initial_state=given, training=training), expected, atol=5e-6)


def test_a_stateful_layer_goes_on_from_the_last_batch_without_noise(rng, sequences):
    layer = NoisyGRU(UNITS, stddev=3.0, stateful=True, learn_mean=True)
    layer.build((BATCH, STEPS, FEATURES))
    random_weights(layer, rng)
    layer.reset_state()
    start = np.tile(layer.get_weights()[0], (BATCH, 1))
    expected, _, _ = gru(np.concatenate([sequences, sequences], axis=1), layer.cell.get_weights(), initial_state=start)
    for training in (True, False):
        first, second = layer(sequences, training=training), layer(sequences, training=training)
        np.testing.assert_allclose(first, expected[:, STEPS - 1], atol=5e-6)
        np.testing.assert_allclose(second, expected[:, -1], atol=5e-6)
        layer.reset_state()


def test_the_mean_is_learned(rng, sequences):
    # Mean squared error towards the outputs of a GRU that starts from 0.5: the mean must find it.
    layer = built(rng, stddev=0.01, learn_mean=True, seed=0)
    layer.set_weights([np.zeros(UNITS), *layer.get_weights()[1:]])
    targets = gru(sequences[:, :1], layer.cell.get_weights(), initial_state=np.full((BATCH, UNITS), 0.5))[1]
    layer.cell.trainable = False
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.Adam(0.05), "mse", **IN_A_GRAPH)
    model.fit(np.tile(sequences[:, :1], (80, 1, 1)), np.tile(targets, (80, 1)), batch_size=BATCH, **QUIET)
    assert [w.name for w in model.trainable_weights] == ["initial_mean"]
    np.testing.assert_allclose(layer.get_weights()[0], np.full(UNITS, 0.5), atol=0.05)


def test_bidirectional_is_two_grus(rng, sequences, mask):
    layer = keras.layers.Bidirectional(NoisyGRU(UNITS, return_sequences=True))
    layer.build((None, STEPS, FEATURES))
    random_weights(layer, rng)
    weights = layer.get_weights()
    forward, _, _ = gru(sequences, weights[:3], mask=mask)
    backward, _, _ = gru(sequences, weights[3:], mask=mask, go_backwards=True)
    # Keras' Bidirectional gives zeros at masked steps.
    expected = np.concatenate([forward, backward[:, ::-1]], axis=-1) * mask[:, :, None]
    np.testing.assert_allclose(layer(sequences, mask=mask), expected, atol=5e-6)
    np.testing.assert_allclose(layer(sequences, mask=mask, training=False), expected, atol=5e-6)
    assert np.abs(layer(sequences, mask=mask, training=True) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2), ("float64", 1e-12)]
)
def test_precision_policies(rng, sequences, policy, tolerance):
    layer = built(rng, stddev=3.0, learn_mean=True, dtype=policy)
    compute_dtype = keras.DTypePolicy(policy).compute_dtype
    start = np.tile(layer.get_weights()[0], (BATCH, 1))
    output = layer(sequences, training=False)
    assert output.dtype == compute_dtype
    expected = gru(sequences, layer.cell.get_weights(), initial_state=start)[1]
    np.testing.assert_allclose(tf.cast(output, "float64"), expected, atol=tolerance)
    noisy = layer(sequences, training=True)
    assert noisy.dtype == compute_dtype
    assert np.abs(tf.cast(noisy, "float64") - expected).max() > 3 * tolerance


@pytest.mark.slow
def test_xla_computes_the_same_and_draws_noise(rng, sequences):
    # use_cudnn=False because Keras takes "auto" for cuDNN, which XLA cannot compile.
    layer = built(rng, use_cudnn=False, stddev=0.5, seed=4)
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(0.0), "mse", **WITH_XLA)
    targets = gru(sequences, layer.get_weights())[1]
    layer.current_stddev = 0
    (equal,) = model.fit(sequences, targets, **QUIET).history["loss"]
    layer.current_stddev = 0.5
    (noisy,) = model.fit(sequences, targets, **QUIET).history["loss"]
    assert model.jit_compile
    assert equal < 1e-10
    assert noisy > 1e-4


@saves_a_model
def test_a_keras_file_needs_no_custom_objects_and_keeps_the_annealed_noise(rng, sequences, mask, tmp_path):
    inputs = keras.Input((None, FEATURES))
    bidirectional = keras.layers.Bidirectional(NoisyGRU(UNITS, stddev=0.2, return_sequences=True, seed=1))
    noisy = NoisyGRU(2, stddev=0.1, noise="uniform", learn_mean=True, use_cudnn=False, implementation=1, name="last")
    model = keras.Model(inputs, noisy(bidirectional(inputs)))
    random_weights(model, rng)
    bidirectional.backward_layer.current_stddev = 0.15
    noisy.current_stddev = 0.025
    model.save(tmp_path / "model.keras")
    loaded: Any = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(sequences), model(sequences))
    last = loaded.get_layer("last")
    assert isinstance(last, NoisyGRU)
    assert (last.stddev, last.noise, last.learn_mean, last.use_cudnn) == (0.1, "uniform", True, False)
    assert last.current_stddev == 0.025
    assert loaded.layers[1].forward_layer.current_stddev == 0.2
    assert loaded.layers[1].backward_layer.current_stddev == 0.15
    assert last.get_config() == noisy.get_config()
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert config["config"]["layers"][2]["registered_name"] == "noisy_gru>NoisyGRU"


@saves_a_model
def test_a_loaded_stateful_layer_starts_from_the_learned_mean(rng, tmp_path):
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 1, FEATURES)), NoisyGRU(UNITS, stateful=True, learn_mean=True)]
    )
    random_weights(model, rng)
    model.save(tmp_path / "model.keras")
    loaded: Any = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.layers[0].states[0], np.tile(model.get_weights()[0], (2, 1)))


def test_weights_go_to_and_from_the_stock_gru(rng, sequences):
    stock = keras.layers.GRU(UNITS)
    stock.build((None, STEPS, FEATURES))
    random_weights(stock, rng)
    layer = NoisyGRU(UNITS, fused=False)
    layer.build((None, STEPS, FEATURES))
    layer.set_weights(stock.get_weights())
    np.testing.assert_array_equal(layer(sequences), stock(sequences))
    random_weights(layer, rng)
    assert np.abs(layer(sequences) - stock(sequences)).max() > 1e-3
    stock.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(sequences), stock(sequences))


@pytest.mark.parametrize("stddev", [-0.1, float("nan"), float("inf"), "0.1", None, True, 1j])
def test_a_bad_stddev_is_named(stddev):
    with pytest.raises(ValueError, match="finite number >= 0") as error:
        NoisyGRU(UNITS, stddev=stddev)
    assert str(error.value).endswith(f"Received: stddev={stddev!r}")
    layer = NoisyGRU(UNITS)
    with pytest.raises(ValueError, match=r"Received: current_stddev="):
        layer.current_stddev = stddev
    assert layer.current_stddev == 0.1


@pytest.mark.parametrize("noise", ["gaussian", None, 3, ["normal"]])
def test_a_bad_noise_is_named(noise):
    with pytest.raises(ValueError, match="truncated_normal") as error:
        NoisyGRU(UNITS, noise=noise)
    assert str(error.value).endswith(f"Received: noise={noise!r}")


def test_a_bad_learn_mean_is_named():
    number: Any = 1
    with pytest.raises(ValueError, match=r"Received: learn_mean=1$"):
        NoisyGRU(UNITS, learn_mean=number)


def test_a_bad_fused_is_named():
    word: Any = "auto"
    with pytest.raises(ValueError, match=r"Received: fused='auto'$"):
        NoisyGRU(UNITS, fused=word)
