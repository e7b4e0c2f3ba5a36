"""The annealing of the noise: its schedules by hand, its reach, its traces, and a resumed run."""

import math
from typing import Any

import keras
import numpy as np
import pytest

from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule, noisy_layers
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU

HALF = math.sqrt(0.5)
# Keras' own annotations know the defaults' types only.
QUIET: Any = {"verbose": 0}
IN_A_GRAPH: Any = {"jit_compile": False}


class Recorder(keras.callbacks.Callback):
    """Notes every layer's stddev at the first batch of each epoch, when the epoch's noise is set."""

    def __init__(self):
        super().__init__()
        self.stddevs = []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.stddevs.append([layer.current_stddev for layer in noisy_layers(self.model)])


class TraceCounter(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.traces = []

    def call(self, sequences, training=None):
        if training:
            self.traces.append(None)
        return sequences


@keras.saving.register_keras_serializable(package="noisy_gru_tests")
class Listed(keras.layers.Layer):
    """Holds its layers in a list, as a user's own layer may."""

    def __init__(self):
        super().__init__()
        self.inner = [NoisyGRU(2, stddev=0.01)]

    def build(self, shape):
        self.inner[0].build(shape)

    def call(self, sequences, training=None):
        return self.inner[0](sequences, training=training)


def fit(model, callbacks, epochs, initial_epoch=0):
    rng = np.random.default_rng(3)
    return model.fit(
        rng.normal(size=(6, 1, 3)).astype("float32"),
        np.zeros((6, model.output_shape[-1]), "float32"),
        batch_size=3,
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=callbacks,
        **QUIET,
    )


def small_model():
    model = keras.Sequential([keras.Input((None, 3)), NoisyGRU(2, stddev=0.5, seed=1)])
    # Eagerly, because a trace costs more than the few steps of these tests.
    model.compile("sgd", "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("arguments", "factors"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"schedule": "linear", "final": 0.2}, [1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        ({"schedule": "linear", "final": 3}, [1, 1.5, 2, 2.5, 3, 3]),
        ({"schedule": "cosine"}, [1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0]),
        ({"schedule": "cosine", "final": 0.5}, [1, (3 + HALF) / 4, 0.75, (3 - HALF) / 4, 0.5, 0.5]),
        ({"schedule": lambda epoch: 2.0**-epoch}, [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
    ],
    ids=lambda given: str(given).split(" at 0x")[0],
)
def test_the_factors_by_hand(arguments, factors):
    schedule = StddevSchedule(**arguments, epochs=5)
    np.testing.assert_allclose([schedule.factor(epoch) for epoch in range(6)], factors, atol=1e-12)


def test_a_schedule_of_one_epoch_trains_at_full_noise():
    assert StddevSchedule("linear", epochs=1).factor(0) == 1


def test_every_layer_is_annealed_wherever_it_is_nested_without_a_new_trace():
    counter = TraceCounter()
    inner = keras.Sequential([keras.Input((None, 3)), NoisyGRU(3, stddev=0.2, return_sequences=True)])
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            counter,
            keras.layers.Bidirectional(NoisyGRU(2, stddev=0.4, return_sequences=True)),
            keras.layers.Dense(3),
            inner,
            Listed(),
        ]
    )
    model.compile("sgd", "mse", **IN_A_GRAPH)
    recorder = Recorder()
    counter.traces.clear()
    fit(model, [StddevSchedule("linear"), recorder], epochs=3)
    # Bidirectional's two, the inner model's, and the one in a list; at 1, 1/2 and 0 of their own scale.
    assert [sorted(epoch) for epoch in recorder.stddevs] == [
        [0.01, 0.2, 0.4, 0.4],
        [0.005, 0.1, 0.2, 0.2],
        [0, 0, 0, 0],
    ]
    assert len(counter.traces) == 1


def test_the_noise_itself_follows_the_schedule():
    # All-zero sequences and weights but for z = 1: the outputs are the noise, their mean square its variance.
    layer = NoisyGRU(50, stddev=0.5, seed=2, bias_initializer="zeros", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((None, 3)), layer])
    layer.cell.bias.assign(np.repeat([1000.0, 0, 0], 50) + np.zeros((2, 1)))
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    losses = model.fit(
        np.zeros((200, 1, 3)),
        np.zeros((200, 50)),
        batch_size=200,
        epochs=3,
        callbacks=[StddevSchedule("linear")],
        **QUIET,
    ).history["loss"]
    np.testing.assert_allclose(losses, [0.25, 0.0625, 0.0], rtol=5 * math.sqrt(2 / 10_000))


def test_a_resumed_run_goes_on_where_it_stopped():
    whole, first, second = Recorder(), Recorder(), Recorder()
    history = fit(small_model(), [StddevSchedule("cosine"), whole], epochs=4)
    fit(small_model(), [StddevSchedule("cosine", epochs=4), first], epochs=2)
    fit(small_model(), [StddevSchedule("cosine"), second], epochs=4, initial_epoch=2)
    np.testing.assert_allclose(np.ravel(whole.stddevs), [0.5, 0.375, 0.125, 0], atol=1e-12)
    assert first.stddevs + second.stddevs == whole.stddevs
    np.testing.assert_allclose(history.history["stddev_factor"], [1, 0.75, 0.25, 0], atol=1e-12)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_an_interrupted_run_restored_by_keras_goes_on_where_it_stopped(tmp_path):
    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def callbacks():
        return [keras.callbacks.BackupAndRestore(tmp_path), StddevSchedule("linear"), recorder]

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(small_model(), [*callbacks(), Interruption()], epochs=5)
    fit(small_model(), callbacks(), epochs=5)
    np.testing.assert_allclose(np.ravel(recorder.stddevs), [0.5, 0.375, 0.25, 0.125, 0], atol=1e-12)


@pytest.mark.parametrize("factor", [-1, float("nan"), "1", None])
def test_a_bad_factor_is_named(factor: Any):
    with pytest.raises(ValueError, match=r"finite number >= 0. Received: schedule\(3\)="):
        StddevSchedule(lambda epoch: factor).factor(3)
    with pytest.raises(ValueError, match=r"finite number >= 0. Received: final="):
        StddevSchedule(final=factor)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"one of .*'cosine'.*Received: schedule='step'"):
        StddevSchedule("step")
    bad_epochs: Any = (0, 2.5, True)
    for epochs in bad_epochs:
        with pytest.raises(ValueError, match=rf"integer > 0 or None. Received: epochs={epochs}"):
            StddevSchedule(epochs=epochs)
    with pytest.raises(ValueError, match=r"Received: epochs=None"):
        StddevSchedule("linear").factor(0)


def test_a_model_without_a_noisy_gru_is_refused():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(2)])
    model.compile("sgd", "mse", **IN_A_GRAPH)
    with pytest.raises(ValueError, match="needs a model with a NoisyGRU"):
        fit(model, [StddevSchedule("linear")], epochs=1)
