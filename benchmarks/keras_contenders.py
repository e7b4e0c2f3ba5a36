"""Keras models of the training benchmark: the noisy stack written by hand, and this package's, with and without XLA."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.train_worker import LEARNING_RATE, STDDEVS, Arrays, Timed
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer import features as names
from noisy_gru.trainer.callbacks.stddev_schedule import noisy_layers
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.loss_units import use_row_weights
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import LayerConfig, ModelConfig

BATCHES = 20
SPEC = {
    names.FEATURES: tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64),
    names.LENGTH: tf.io.FixedLenFeature([], tf.int64),
    names.TARGETS: tf.io.FixedLenFeature([1], tf.float32),
}


class ByHand(keras.layers.Layer):
    """The common hand-written form: the stock layer, called with a random initial state."""

    def __init__(self, units: int, stddev: float, **arguments: Any):
        super().__init__()
        self.units, self.stddev = units, stddev
        self.gru = keras.layers.GRU(units, **arguments)

    def call(self, sequences: Any, training: bool = False) -> Any:
        state = None
        if training:
            state = tf.random.normal((tf.shape(sequences)[0], self.units), stddev=self.stddev)
        return self.gru(sequences, initial_state=state)


def layout_of(problem: Arrays) -> Layout:
    """Return a data set with the problem's features and one number to predict."""
    features = [f"x{index:03d}" for index in range(problem["x"].shape[2])]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    return Layout(DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "label": "y"}}))


def build(problem: Arrays, *, by_hand: bool, xla: bool) -> keras.Model:
    """Return the stack with the problem's weights, compiled."""
    widths = [len(problem[f"recurrent_{layer}"]) for layer in range(len(STDDEVS))]
    if by_hand:
        inputs = hidden = keras.Input((None, problem["x"].shape[2]))
        for layer, (units, stddev) in enumerate(zip(widths, STDDEVS, strict=True)):
            # Keras takes "auto" for cuDNN, which XLA can't compile.
            cudnn: dict[str, Any] = {"use_cudnn": False} if xla else {}
            hidden = ByHand(units, stddev, return_sequences=layer + 1 < len(widths), **cudnn)(hidden)
        model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    else:
        layers = [LayerConfig(units=units, stddev=stddev) for units, stddev in zip(widths, STDDEVS, strict=True)]
        model = build_model(ModelConfig(layers=layers), layout_of(problem), VocabularySizes(), seed=0)
    stored = [problem[f"{name}_{i}"] for i in range(len(widths)) for name in ("kernel", "recurrent", "bias")]
    model.set_weights([*stored, problem["head_kernel"], problem["head_bias"]])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "mse", jit_compile=xla)
    model.optimizer.build(model.trainable_variables)
    return model


def data_of(model: keras.Model, problem: Arrays) -> tuple[Any, Any]:
    """Return the batch, as the model takes it."""
    x, y = tf.constant(problem["x"]), tf.constant(problem["y"])
    if not isinstance(model.input, dict):
        return x, y
    return {names.FEATURES: x, names.LENGTH: tf.fill([x.shape[0]], tf.constant(x.shape[1], tf.int64))}, y


def gradients(model: keras.Model, problem: Arrays) -> Arrays:
    """Return loss and gradients in training, without noise."""
    inputs, answer = data_of(model, problem)
    hand_made = [layer for layer in model.layers if isinstance(layer, ByHand)]
    for layer in hand_made:
        layer.stddev = 0.0
    for layer in noisy_layers(model):
        layer.current_stddev = 0.0
    trained = [variable.value for variable in model.trainable_variables]

    @tf.function(jit_compile=model.jit_compile)
    def run() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs, training=True) - answer) ** 2)
        return loss, tape.gradient(loss, trained)

    loss, found = run()
    for layer, stddev in zip(hand_made, STDDEVS, strict=False):
        layer.stddev = stddev
    for layer in noisy_layers(model):
        assert isinstance(layer, NoisyGRU)
        layer.current_stddev = layer.stddev
    order = [f"{name}_{i}" for i in range(len(STDDEVS)) for name in ("kernel", "recurrent", "bias")]
    values = dict(zip([*order, "head_kernel", "head_bias"], (each.numpy() for each in found), strict=True))
    return {"loss": loss.numpy(), **values}


def compiled_step(model: keras.Model, problem: Arrays) -> Callable[[], None]:
    """Keras' own step, compiled, on a batch that is there already."""
    data = data_of(model, problem)
    step = tf.function(lambda: model.train_step(data)["loss"], jit_compile=model.jit_compile)

    def run() -> None:
        step().numpy()

    return run


def fitting(model: keras.Model, problem: Arrays) -> Timed:
    """Run the Trainer's loop on sequences read from files and shuffled; return the seconds of a step, by epoch."""
    batch, steps, _ = problem["x"].shape
    with tempfile.TemporaryDirectory(prefix="train-step-data-") as folder:
        path = str(Path(folder) / "data.gz")
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index in range(batch * BATCHES):
                writer.write(example(problem["x"][index % batch], problem["y"][index % batch]))
        data = SequenceData([path], SPEC, layout_of(problem), BatchConfig(batch), "train")
    data.pad_to((steps,))
    training = Training(model, data)
    return lambda calls: [seconds / BATCHES for seconds in training.take(max(calls // BATCHES, 1))]


class Training(keras.callbacks.Callback):
    """A training that runs some epochs per call. One for all rounds, because every new one compiles again.

    Args:
        model: as `build` makes it.
        data: to fit, padded to few lengths.
    """

    def __init__(self, model: keras.Model, data: SequenceData):
        super().__init__()
        self._wanted, self._done = queue.Queue(), queue.Queue()
        model.compile(
            keras.optimizers.Adam(LEARNING_RATE), "mse", jit_compile=model.jit_compile, steps_per_execution=32
        )
        model.optimizer.build(model.trainable_variables)
        use_row_weights(model)
        empty = SequenceData([], SPEC, data.layout, data.config, "eval")
        arguments = {"initial_epoch": 0, "epochs": 1_000_000, "callbacks": [self]}
        threading.Thread(target=run_epochs, args=(model, data, empty), kwargs=arguments, daemon=True).start()

    def take(self, epochs: int) -> list[float]:
        """Train further epochs; return the seconds of each."""
        for _ in range(epochs):
            self._wanted.put(None)
        return [self._done.get() for _ in range(epochs)]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._wanted.get()
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._done.put(time.perf_counter() - self._began)


def example(x: np.ndarray, y: np.ndarray) -> bytes:
    """Return a transformed sequence [T, F] and its target, serialized."""
    floats = {names.FEATURES: x.ravel(), names.TARGETS: y}
    features = {key: tf.train.Feature(float_list=tf.train.FloatList(value=value)) for key, value in floats.items()}
    features[names.LENGTH] = tf.train.Feature(int64_list=tf.train.Int64List(value=[len(x)]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
