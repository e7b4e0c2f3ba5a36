"""The model on a stream: from new steps and the state of earlier ones, to outputs and a new state.

    stepper = Stepper(model, config, layout)
    state = tf.zeros([2, stepper.state_size])  # two new streams
    outputs, state = stepper(inputs, state, observed)

The outputs are those of the model for all steps so far in one call. The state of a stream is one row of numbers, all
zeros before its first step:

| columns | content |
|---|---|
| 1 | number of steps |
| 1 | checksum of the weights, so that no other model version accepts the state |
| the units of each GRU, from the input up | hidden state |
| 2 for each decaying feature, only with `model.missing: decay` | last value, scaled; time since it was observed |
| 1 for each target, only with `model.target: difference` | last value, scaled |
"""

# TensorFlow's and Keras' type hints know neither tensors as arguments nor what a model returns.

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.model import INITIAL_MEAN, MISSING_DECAY
from noisy_gru.trainer.model_checks import check_model_config
from noisy_gru.trainer.model_config import ModelConfig

_LARGEST_TARGET = 1e9  # scaled: so many deviations from the mean


class Stepper:
    """Run a model's layers on pieces of a sequence; it has no weights of its own.

    Args:
        model: of `build_model`, or loaded; with its final weights.
        config: of the model, with `serving_step`.
        layout: of the data set.

    Raises:
        ConfigError: the model needs the whole sequence at once.
    """

    def __init__(self, model: keras.Model, config: ModelConfig, layout: Layout):
        check_model_config(config, layout.dataset)
        self._layers = [layer for layer in model.layers if isinstance(layer, NoisyGRU)]
        self._per_step = layout.is_per_step
        self._targets = len(layout.targets) if config.target == "difference" else 0
        self._decay: Any = model.get_layer(MISSING_DECAY) if config.missing == "decay" else None
        decaying = 0 if self._decay is None else len(self._decay.channels)
        self._sizes = [1, 1, *(layer.units for layer in self._layers), decaying, decaying, self._targets]
        weights = b"".join(np.ascontiguousarray(weight).tobytes() for weight in model.get_weights())
        # Whole numbers up to 2**24 are exact in float32; 0 is a new stream's.
        self._mark = float(1 + zlib.crc32(weights) % (2**24 - 1))
        inputs: Any = model.input
        sequences = self._layers[0].input
        sequences = sequences[0] if isinstance(sequences, list) else sequences
        self._means = [layer.output for layer in model.layers if layer.name.startswith(INITIAL_MEAN)]
        below = [sequences, model.get_layer("mask").output, *self._means]
        self._inputs = list(inputs)
        filled = [] if self._decay is None else list(self._decay.output)
        self._below = keras.Model([*(inputs[key] for key in self._inputs), *filled], below, name="below")
        self._static = [key for key in inputs if names.is_static(key)]
        read = [self._layers[-1].output, *(inputs[key] for key in self._static)]
        self._above = keras.Model(
            [*read, *([inputs[names.LAST_TARGET]] if self._targets else [])], model.output, name="above"
        )

    @property
    def state_size(self) -> int:
        """S, the size of a stream's state."""
        return sum(self._sizes)

    def is_known(self, state: Any) -> tf.Tensor:
        """Return whether each row of a state [B, S] is a new stream's, or was returned by these weights: bool [B]."""
        is_new = tf.reduce_all(state == 0, axis=1)
        steps, mark, *hidden, _, since, last_target = tf.split(state, self._sizes, axis=1)
        is_returned = tf.reduce_all(tf.math.is_finite(state), axis=1) & (mark == self._mark)[:, 0]
        is_returned &= ((steps > 0) & (steps == tf.floor(steps)))[:, 0]
        is_returned &= tf.reduce_all(since >= 0, axis=1)
        is_returned &= tf.reduce_all(tf.abs(last_target) <= _LARGEST_TARGET, axis=1)
        for layer, values in zip(self._layers, hidden, strict=True):
            if layer.cell.activation is keras.activations.tanh:
                # A step mixes the last state with a tanh, so no value exceeds the larger of 1 and the initial mean, to
                # which static features add a tanh.
                (first,) = layer.get_initial_state(1)
                largest = tf.abs(tf.cast(first, tf.float32)) + (1.0 if self._means else 0.0)
                bound = tf.maximum(largest, 1.0) * 1.001
                is_returned &= tf.reduce_all(tf.abs(values) <= bound, axis=1)
        return is_new | is_returned

    def __call__(self, inputs: Mapping[str, Any], state: Any, observed: Any = None) -> tuple[Any, tf.Tensor]:
        """Run new steps.

        Args:
            inputs: the model's inputs for the new steps, of which a row may have none; static features in every call.
            state: float32 [B, S], of the last call; zeros for a new stream.
            observed: bool [B, K], whether the new steps hold a value of each target; used for a `difference` alone.

        Returns:
            The model's output for all steps so far (with `task.per_step` to each new step), and the state float32 [B,
            S], unchanged without a new step.
        """
        length = inputs[names.LENGTH]
        steps, mark, *hidden, last_value, since, last_target = tf.split(state, self._sizes, axis=1)
        is_new, moves = steps == 0, length[:, tf.newaxis] > 0
        last_step = tf.maximum(length - 1, 0)
        filled: list[Any] = []
        if self._decay is not None:
            before = last_value, since, is_new[:, 0]
            *filled, value_after, since_after = self._decay.stepped(inputs[names.FEATURES], length, *before)
            last_value, since = tf.where(moves, value_after, last_value), tf.where(moves, since_after, since)
        read_below = [*(inputs[key] for key in self._inputs), *filled]
        sequences, mask, *means = self._below(read_below, training=False)
        after = [steps + tf.cast(length, tf.float32)[:, tf.newaxis], tf.where(moves, self._mark, mark)]
        for place, (layer, before) in enumerate(zip(self._layers, hidden, strict=True)):
            (first,) = layer.get_initial_state(tf.shape(length)[0])
            first = first + means[place] if means else first
            start = tf.where(is_new, tf.cast(first, tf.float32), before)
            sequences = layer(sequences, initial_state=[start], mask=mask, training=False)
            end = tf.gather(sequences, last_step, batch_dims=1) if layer.return_sequences else sequences
            # A stream without a step keeps its zeros, even with a learned mean: so does the model's output.
            after.append(tf.where(moves, tf.cast(end, tf.float32), before))
        top = after[-1]
        after += [last_value, since]
        # A tensor of its own carries no mask, which the rest of the model doesn't take.
        read = [sequences + 0.0 if self._per_step else top, *(inputs[key] for key in self._static)]
        if self._targets:
            # Transform's default stands in for the last value until there is one.
            last = tf.where(observed | is_new, inputs[names.LAST_TARGET], last_target)
            read.append(last)
            after.append(tf.where(moves, last, last_target))
        return self._above(read, training=False), tf.concat(after, axis=1)
