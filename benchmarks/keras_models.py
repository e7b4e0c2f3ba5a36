"""This package's models of the training benchmark's cases beyond a stack, as the Trainer builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.model_cases import CLASSES, KERNELS, MODEL_CASES, POOL, SEGMENT, ModelCase, prefixes
from benchmarks.train_worker import LEARNING_RATE, STDDEVS, Arrays
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer import features as names
from noisy_gru.trainer.callbacks.stddev_schedule import noisy_layers
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord


def build(case: ModelCase, problem: Arrays, prefix: str, *, xla: bool) -> keras.Model:
    """Return the model with the problem's weights, compiled."""
    columns = [f"x{index}" for index in range(case.channels)]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}}
    data["features"] = [{"name": name, "missing": "impute"} for name in columns]
    layers = [{"units": units, "stddev": stddev} for units, stddev in zip(case.units, STDDEVS, strict=False)]
    task: dict[str, Any] = {"kind": "regression", "label": "y"}
    config: dict[str, Any] = {"layers": layers}
    loss: Any = "mse"
    if case.name == "segments":
        task = {"kind": "forecasting", "targets": columns, "input_length": case.steps}
        task["horizons"] = list(range(1, case.horizon + 1))
        config |= {"segment": SEGMENT, "channels": "shared", "window_normalization": "last"}
    elif case.name == "convolutions":
        task = {"kind": "classification", "label": "y"}
        config["convolutions"] = {"filters": list(case.filters), "kernels": list(KERNELS), "pool": POOL}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    scales = dict.fromkeys(columns, Scale(0.0, 1.0, 0.0))
    sizes = VocabularySizes(CLASSES, (), TransformRecord(scales, {}, [], scales))
    layout = Layout(DatasetConfig.model_validate({"data": data, "task": task}))
    model = build_model(
        ModelConfig.model_validate(config), layout, sizes, seed=0, name=f"member_{prefix or 0}".strip("/")
    )
    for layer in model.layers:
        for number, variable in enumerate(layer.trainable_variables):
            variable.assign(problem[f"{prefix}{layer.name}/{number}"])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=xla)
    model.optimizer.build(model.trainable_variables)
    return model


def make(problem: Arrays, *, xla: bool) -> tuple[Arrays, Callable[[], None]]:
    """Return loss and gradients in training without noise, and a function that does a step of each member."""
    name = str(problem["case"])
    models = {prefix: build(MODEL_CASES[name], problem, prefix, xla=xla) for prefix in prefixes(name)}
    x = tf.constant(problem["x"])
    lengths = tf.fill([x.shape[0]], tf.constant(x.shape[1], tf.int64))
    inputs = {names.FEATURES: x, names.LENGTH: lengths, names.LAST_TARGET: x[:, -1, :]}
    answer = tf.constant(problem["y"])
    found: Arrays = {}
    losses = []
    for prefix, model in models.items():
        given: dict[str, Any] = {key: inputs[key] for key in model.input}
        loss, gradients = _gradients(model, given, answer)
        losses.append(loss)
        found |= {prefix + key: value for key, value in gradients.items()}
    found["loss"] = np.array(losses, np.float32)
    steps = [_compiled(model, {key: inputs[key] for key in model.input}, answer) for model in models.values()]

    def run() -> None:
        for step in steps:
            step().numpy()

    return found, run


def _gradients(model: keras.Model, inputs: dict[str, Any], answer: Any) -> tuple[Any, Arrays]:
    order = [(layer.name, number) for layer in model.layers for number in range(len(layer.trainable_variables))]
    trained: Any = [
        layer.trainable_variables[number].value
        for layer in model.layers
        for number in range(len(layer.trainable_variables))
    ]
    kept = [(layer, layer.get_weights()) for layer in model.layers]
    for layer in noisy_layers(model):
        layer.current_stddev = 0.0

    @tf.function(jit_compile=model.jit_compile)
    def run() -> Any:
        with tf.GradientTape() as tape:
            loss: Any = model.compute_loss(inputs, answer, model(inputs, training=True))
        return loss, tape.gradient(loss, trained)

    loss, gradients = run()
    for layer, weights in kept:
        layer.set_weights(weights)
    for layer in noisy_layers(model):
        if isinstance(layer, NoisyGRU):
            layer.current_stddev = layer.stddev
    found = [np.asarray(tf.convert_to_tensor(each)) for each in gradients]
    return loss.numpy(), {f"{name}/{number}": each for (name, number), each in zip(order, found, strict=True)}


def _compiled(model: keras.Model, inputs: dict[str, Any], answer: Any) -> Callable[[], Any]:
    return tf.function(lambda: model.train_step((inputs, answer))["loss"], jit_compile=model.jit_compile)
