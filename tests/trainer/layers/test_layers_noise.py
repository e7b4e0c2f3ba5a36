"""The noise of the NoisyGRU, as noise: its law, its independence, its seeds, and its absence from inference."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from noisy_gru.trainer.layers.noisy_gru import NoisyGRU

UNITS = 16
STDDEV = 0.3
# The laws as scipy knows them, each scaled to STDDEV by its own standard deviation.
LAWS = {
    "normal": stats.norm(scale=STDDEV),
    "truncated_normal": stats.truncnorm(-2, 2, scale=STDDEV / stats.truncnorm(-2, 2).std()),
    "uniform": stats.uniform(-STDDEV * 3**0.5, 2 * STDDEV * 3**0.5),
}
# Five standard errors: a right layer fails a fixed seed once in two million.
SIGMAS = 5


def glass(layer):
    """Make a GRU show its first state: with z = sigmoid(1000) = 1 every state is the one before it."""
    layer.build((None, 1, 1))
    kernel, recurrent_kernel, bias = layer.cell.get_weights()
    layer.cell.set_weights([0 * kernel, 0 * recurrent_kernel, 0 * bias + np.repeat([1000.0, 0.0, 0.0], layer.units)])
    return layer


def draw(layer, batch=8, training=True):
    return np.asarray(layer(np.ones((batch, 1, 1), "float32"), training=training))


@pytest.mark.parametrize("noise", LAWS)
def test_the_first_state_follows_its_law(noise):
    draws = draw(glass(NoisyGRU(UNITS, stddev=STDDEV, noise=noise, seed=11)), batch=4000).ravel().astype("float64")
    law = LAWS[noise]
    assert law.std() == pytest.approx(STDDEV)
    # The standard error of a standard deviation follows from the law's fourth moment.
    kurtosis = law.stats(moments="k") + 3
    assert abs(draws.mean()) < SIGMAS * STDDEV / len(draws) ** 0.5
    assert abs(draws.std() / STDDEV - 1) < SIGMAS * ((kurtosis - 1) / 4 / len(draws)) ** 0.5
    assert 0.001 < stats.kstest(draws, law.cdf).pvalue < 0.999
    # The test tells the laws apart, and a standard deviation wrong by a twentieth.
    assert stats.kstest(1.05 * draws, law.cdf).pvalue < 0.001
    for other in set(LAWS) - {noise}:
        assert stats.kstest(draws, LAWS[other].cdf).pvalue < 0.001


def test_the_noise_lies_around_the_learned_mean():
    layer = glass(NoisyGRU(UNITS, stddev=STDDEV, learn_mean=True, seed=12))
    mean = np.linspace(-0.5, 0.5, UNITS)
    layer.set_weights([mean, *layer.get_weights()[1:]])
    draws = draw(layer, batch=4000)
    assert np.abs(draws.mean(axis=0) - mean).max() < SIGMAS * STDDEV / 4000**0.5
    assert 0.001 < stats.kstest((draws - mean).ravel(), LAWS["normal"].cdf).pvalue < 0.999
    np.testing.assert_allclose(draw(layer, training=False), np.tile(mean, (8, 1)), atol=1e-7)


def assert_uncorrelated(rows):
    """No two rows correlate, and none repeats another's values."""
    rows = np.asarray(rows)
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), k=1)]
    assert np.abs(correlations).max() < SIGMAS / rows.shape[1] ** 0.5
    # float32 values meet by chance; a reused stream meets everywhere.
    assert all(np.isin(one, other).mean() < 0.01 for i, one in enumerate(rows) for other in rows[:i])


def test_sequences_units_and_calls_are_independent():
    layer = glass(NoisyGRU(UNITS, stddev=STDDEV, seed=13))
    step = tf.function(lambda: layer(tf.ones((6, 1, 1)), training=True))
    draws = np.stack([step() for _ in range(300)])  # (calls, sequences, units)
    assert_uncorrelated(draws.transpose(1, 0, 2).reshape(6, -1))
    assert_uncorrelated(draws.transpose(2, 0, 1).reshape(UNITS, -1))
    few = np.stack([draw(layer, batch=400).ravel() for _ in range(5)])
    assert_uncorrelated(few)


@pytest.mark.parametrize("seeds", [(None, None, None), (1, 2, 3)])
def test_layers_are_independent(seeds):
    keras.utils.set_random_seed(14)
    assert_uncorrelated([draw(glass(NoisyGRU(UNITS, stddev=STDDEV, seed=seed)), batch=400).ravel() for seed in seeds])


def test_the_two_directions_of_a_bidirectional_are_independent_though_they_share_a_seed():
    layer = keras.layers.Bidirectional(NoisyGRU(UNITS, stddev=STDDEV, seed=15))
    layer.build((None, 1, 1))
    assert layer.forward_layer.seed == layer.backward_layer.seed == 15
    assert_uncorrelated([draw(glass(each), batch=400).ravel() for each in (layer.forward_layer, layer.backward_layer)])


def test_the_noise_is_independent_of_the_dropout_with_the_same_seed():
    # Keras' dropout keeps a unit where a uniform draw is large, so uniform noise of its own seed correlates with it.
    layer = glass(NoisyGRU(UNITS, noise="uniform", seed=16, dropout=0.5))
    noise = draw(layer, batch=400).ravel()
    ones: Any = np.ones((400, UNITS), "float32")
    mask = np.asarray(keras.random.dropout(ones, 0.5, seed=keras.random.SeedGenerator(16))).ravel()
    naive = np.asarray(keras.random.uniform((400, UNITS), seed=keras.random.SeedGenerator(16))).ravel()
    assert np.corrcoef(mask, naive)[0, 1] > 0.5
    assert abs(np.corrcoef(mask, noise)[0, 1]) < SIGMAS / noise.size**0.5


@pytest.mark.parametrize(("noise", "seed"), [("normal", 0), ("truncated_normal", 7), ("uniform", -3), ("normal", None)])
def test_the_same_seed_draws_the_same_call_by_call(noise, seed):
    runs = []
    for graph in (False, False, True):
        keras.utils.set_random_seed(17)
        layer = glass(NoisyGRU(UNITS, noise=noise, seed=seed))
        step = tf.function(lambda layer=layer: layer(tf.ones((8, 1, 1)), training=True))
        runs.append([step().numpy() if graph else draw(layer) for _ in range(3)])
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_allclose(runs[0], runs[2], rtol=1e-6)
    other = glass(NoisyGRU(UNITS, noise=noise, seed=None if seed is None else seed + 1))
    assert np.abs(draw(other) - runs[0][0]).max() > 0.01


@pytest.mark.parametrize("training", [False, None])
def test_nothing_is_random_outside_training(training):
    layer = NoisyGRU(UNITS, stddev=3.0)
    sequences = np.random.default_rng(18).normal(size=(4, 5, 2)).astype("float32")
    state = layer.noise_seed_generator.state.numpy()
    np.testing.assert_array_equal(layer(sequences, training=training), layer(sequences))
    np.testing.assert_array_equal(layer.noise_seed_generator.state.numpy(), state)


def graph_of(layer, training):
    """The operations of the layer's graph, inner functions included, and the number of variables it reads."""
    function = tf.function(lambda x: layer(x, training=training))
    concrete = function.get_concrete_function(tf.TensorSpec((None, None, 2)))
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    return {node.op for node in nodes}, len(concrete.captured_inputs)


@pytest.mark.parametrize(
    ("noise", "learn_mean", "scale"),
    [
        ("normal", False, "fixed"),
        ("truncated_normal", True, "fixed"),
        ("uniform", False, "fixed"),
        ("carried", True, "fixed"),
        ("normal", True, "learned"),
        ("normal", False, "residual"),
    ],
)
def test_the_inference_graph_holds_no_random_op_no_seed_and_no_stddev(noise, learn_mean, scale):
    layer = NoisyGRU(UNITS, noise=noise, learn_mean=learn_mean, scale=scale)
    layer.build((None, None, 2))
    for training in (False, None):
        ops, variables = graph_of(layer, training)
        assert not [op for op in ops if "Random" in op or "Rng" in op or "Bitwise" in op or "Cudnn" in op]
        assert variables == 3 + learn_mean
    ops, variables = graph_of(layer, True)
    assert "BitwiseXor" in ops
    assert variables == 3 + learn_mean + 2 + (scale != "fixed")


def test_the_exported_model_holds_no_seed_and_no_stddev(tmp_path):
    model = keras.Sequential([keras.Input((None, 2)), NoisyGRU(UNITS, stddev=0.3, use_cudnn=False)])
    serve = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec((None, None, 2))])
    serve.get_concrete_function()
    archive: Any = keras.export.ExportArchive()
    archive.add_endpoint("serve", serve)
    archive.add_variable_collection("weights", model.weights)
    archive.write_out(str(tmp_path / "export"), verbose=False)
    checkpoint = tf.train.load_checkpoint(str(tmp_path / "export" / "variables" / "variables"))
    shapes = {tuple(shape) for key, shape in checkpoint.get_variable_to_shape_map().items() if "VARIABLE_VALUE" in key}
    assert shapes == {(2, 3 * UNITS), (UNITS, 3 * UNITS)}
    sequences = np.random.default_rng(19).normal(size=(4, 5, 2)).astype("float32")
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(loaded.serve(sequences), model(sequences), atol=5e-6)


def test_a_new_stddev_takes_effect_without_a_new_trace():
    layer = glass(NoisyGRU(UNITS, stddev=0.5, seed=20))
    traces = []

    @tf.function
    def step(sequences):
        traces.append(sequences)
        return layer(sequences, training=True)

    for stddev in (0.5, 0.05, 0, 2):
        layer.current_stddev = stddev
        draws = step(tf.ones((1000, 1, 1))).numpy()
        assert draws.std() == pytest.approx(stddev, rel=SIGMAS / (2 * draws.size) ** 0.5)
        assert layer.current_stddev == stddev
    assert len(traces) == 1
    assert layer.stddev == layer.get_config()["stddev"] == 0.5


def test_a_batch_of_unknown_size_draws_for_every_sequence():
    layer = glass(NoisyGRU(UNITS, seed=21))
    step = tf.function(
        lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((None, None, 1))], reduce_retracing=True
    )
    for batch in (1, 5, 3):
        draws = step(tf.ones((batch, 1, 1))).numpy()
        assert draws.shape == (batch, UNITS)
        assert len(np.unique(draws)) == batch * UNITS


@pytest.mark.slow
def test_the_replicas_of_a_strategy_draw_apart():
    # Logical devices must be set before TensorFlow starts, hence a process of its own.
    code = """
        import numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            layer = NoisyGRU(16, stddev=0.3, seed=22, return_state=True)
            layer.build((None, 1, 1))
        nothing = tf.zeros((400, 1), bool)
        step = tf.function(lambda: strategy.run(lambda: layer(tf.ones((400, 1, 1)), mask=nothing, training=True)[1]))
        draws = [np.ravel(each) for _ in range(2) for each in strategy.experimental_local_results(step())]
        correlations = np.corrcoef(draws)[np.triu_indices(4, k=1)]
        print(np.abs(correlations).max(), np.std(draws))
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    correlation, stddev = map(float, finished.stdout.split()[-2:])
    assert correlation < SIGMAS / 6400**0.5
    assert stddev == pytest.approx(0.3, rel=0.05)
