"""The model as a server runs it: its stack of GRUs in loops for serving, all other layers unchanged.

    predict = serving_function(model)  # None if the loops don't support the stack
    outputs = predict(inputs)  # model(inputs, training=False), to rounding

The variables are the model's own. Only the rearranged weights for a batch of one are constants of the graph, so a model
that is trained further must be wrapped again.
"""

# Keras' and TensorFlow's type hints know neither tensors as arguments nor what a model returns.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.trainer import features as names
from noisy_gru.trainer.export.batched_gru import run_batched
from noisy_gru.trainer.export.gru_loops import Gru
from noisy_gru.trainer.export.single_sequence_gru import has_blocks, run_single_sequence
from noisy_gru.trainer.layers.convolutions import MaskedBatchNormalization
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.layers.pooling import AttentionPooling, LengthMask, MaskedPooling
from noisy_gru.trainer.layers.random_kernels import RandomKernels
from noisy_gru.trainer.layers.segments import LastSteps, Segments
from noisy_gru.trainer.layers.target_steps import PastLength, TargetSteps
from noisy_gru.trainer.layers.window_normalization import WindowNormalization
from noisy_gru.trainer.model import INITIAL_MEAN

Predict = Callable[[Mapping[str, Any]], Any]


def serving_function(model: keras.Model) -> Predict | None:
    """Return a function that computes the model's outputs in fewer operations of a TensorFlow graph.

    Args:
        model: of `build_model` for serving, or loaded; with its final weights.

    Returns:
        A function from the model's inputs to its outputs in inference; None if the loops don't support the
        configuration of a GRU, `fused` is off, or the model reads segments, has convolutions or is relative to its
        window: then serve the model itself.
    """
    others = Segments | WindowNormalization | LastSteps | MaskedBatchNormalization | RandomKernels
    if any(isinstance(layer, others) for layer in model.layers):
        return None
    stack = gru_layers(model)
    return _ServingFunction(model, stack) if stack and all(_fits(gru) for layer in stack for gru in layer) else None


def gru_layers(model: keras.Model) -> list[tuple[NoisyGRU, ...]]:
    """Return the GRUs of a model, from the input up: one for each layer, or one for each direction of it."""
    layers: list[tuple[NoisyGRU, ...]] = []
    for layer in model.layers:
        if isinstance(layer, NoisyGRU):
            layers.append((layer,))
        elif isinstance(layer, keras.layers.Bidirectional):
            layers.append((layer.forward_layer, layer.backward_layer))
    return layers


def _fits(gru: NoisyGRU) -> bool:
    """Return whether the loops support a layer's configuration."""
    return (
        gru.has_fused_equations
        and gru.compute_dtype == gru.variable_dtype == "float32"
        and not (gru.stateful or gru.unroll or gru.decays)
    )


class _ServingFunction:
    def __init__(self, model: keras.Model, stack: list[tuple[NoisyGRU, ...]]):
        self._layers = stack
        self._constants = [tuple(_constants(gru) for gru in layer) for layer in stack]
        self._has_blocks = has_blocks(self._constants)
        outer = [layer for layer in model.layers if isinstance(layer, NoisyGRU | keras.layers.Bidirectional)]
        inputs: Any = model.input
        # With a mask a layer has two inputs.
        sequences = outer[0].input
        sequences = sequences[0] if isinstance(sequences, list) else sequences
        self._below = keras.Model(inputs, sequences, name="below")
        pooling = [layer for layer in model.layers if isinstance(layer, MaskedPooling | AttentionPooling)]
        top: Any = outer[-1]
        self._sequences = top.return_sequences
        past = [layer.output for layer in model.layers if isinstance(layer, PastLength)]
        self._length = keras.Model(inputs, past[0], name="past_length_alone") if past else None
        # What the head reads beside the states, computed from the inputs.
        kinds = (LengthMask, TargetSteps) if pooling else (TargetSteps,)
        beside = [layer.output for layer in model.layers if isinstance(layer, kinds)]
        self._beside = keras.Model(inputs, beside, name="beside") if beside else None
        # The inputs that it reads as they are.
        self._static = [key for key in inputs if names.is_static(key)]
        self._read = [key for key in inputs if key == names.LAST_TARGET or key in self._static]
        means = [layer.output for layer in model.layers if layer.name.startswith(INITIAL_MEAN)]
        static = {key: inputs[key] for key in self._static}
        self._means = keras.Model(static, means, name="initial_means") if means else None
        read = [outer[-1].output, *beside, *(inputs[key] for key in self._read)]
        self._above = keras.Model(read, model.output, name="above")

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        x, lengths = self._below(dict(inputs), training=False), inputs[names.LENGTH]
        means = self._initial_means(inputs)
        if self._length is not None:
            lengths = self._length(dict(inputs), training=False)
        if self._has_blocks:
            alone = tf.equal(tf.shape(x)[0], 1)
            states = tf.cond(alone, lambda: self._one(x, lengths, means), lambda: self._many(x, lengths, means))
        else:
            states = self._many(x, lengths, means)
        read = [states]
        if self._beside is not None:
            beside = self._beside(dict(inputs), training=False)
            # Keras gives a single output without its list.
            read += beside if isinstance(beside, list) else [beside]
        read += [inputs[key] for key in self._read]
        return self._above(read if len(read) > 1 else states, training=False)

    def _initial_means(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Return the mean of the first state, (B, both directions' units), of each layer; empty without any."""
        if self._means is None:
            return []
        means = self._means({key: inputs[key] for key in self._static}, training=False)
        return means if isinstance(means, list) else [means]

    def _one(self, x: Any, lengths: Any, means: list[Any]) -> Any:
        stack = _with_means(self._constants, means)
        return run_single_sequence(x, lengths, stack, sequences=self._sequences)

    def _many(self, x: Any, lengths: Any, means: list[Any]) -> Any:
        stack = _with_means([tuple(_tensors(gru) for gru in layer) for layer in self._layers], means)
        return run_batched(x, lengths, stack, sequences=self._sequences)


def _with_means(stack: Sequence[tuple[Gru, ...]], means: list[Any]) -> Sequence[tuple[Gru, ...]]:
    """Add to the first state of each GRU its part of the layer's mean; the stack itself without means."""
    if not means:
        return stack
    added = [tf.split(mean, len(layer), 1) for layer, mean in zip(stack, means, strict=True)]
    return [
        tuple(
            Gru(gru.kernel, gru.recurrent, gru.bias, gru.start + part) for gru, part in zip(layer, parts, strict=True)
        )
        for layer, parts in zip(stack, added, strict=True)
    ]


def _constants(gru: NoisyGRU) -> Gru:
    mean = np.zeros(gru.units, np.float32) if gru.initial_mean is None else gru.initial_mean.numpy()
    kernel, recurrent, bias = (weight.numpy() for weight in _weights(gru))
    return Gru(kernel, recurrent, bias, mean)


def _tensors(gru: NoisyGRU) -> Gru:
    mean = tf.zeros([gru.units]) if gru.initial_mean is None else tf.convert_to_tensor(gru.initial_mean)
    kernel, recurrent, bias = (tf.convert_to_tensor(weight) for weight in _weights(gru))
    return Gru(kernel, recurrent, bias, mean)


def _weights(gru: NoisyGRU) -> tuple[Any, Any, Any]:
    return gru.cell.kernel, gru.cell.recurrent_kernel, gru.cell.bias
