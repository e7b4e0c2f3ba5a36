"""A stack of GRUs over a batch of sequences, for servers: each layer, or each direction of it, is a chain of small ops.

    last = run_batched(x, lengths, stack, sequences=False)

Several chains share one loop, and TensorFlow runs them in parallel: all layers of a stack in one direction, each behind
the one below it, or the two directions of a layer.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from noisy_gru.trainer.export.gru_loops import HOLD, Gru, Stack, ended, or_zeros, run_rounds, step

_STEPS = 4  # in a round of the loop: little waste at the end


def run_batched(x: Any, lengths: Any, stack: Stack, *, sequences: bool) -> Any:
    """Run a stack over a batch of sequences: `run_single_sequence` for x (B, T, F) and lengths (B,)."""
    return (_bidirectional if len(stack[0]) == 2 else _chains)(x, lengths, stack, sequences)


def _time_major(x: Any, count: Any) -> Any:
    """Transpose (B, T, F) to (count, B, F), with zeros after the end."""
    x = tf.transpose(x, [1, 0, 2])
    return tf.pad(x, [[0, count - tf.shape(x)[0]], [0, 0], [0, 0]])


class _Weights(NamedTuple):
    """Weights of a GRU for the loops: kernels and biases of the inputs for w, r and within, and those of the state."""

    inputs: list[tuple[Any, Any]]
    own: Any
    bias: Any


def _weights(gru: Gru) -> _Weights:
    kernels, states, outer, inner = (
        tf.split(each, 3, -1) for each in (gru.kernel, gru.recurrent, *tf.unstack(gru.bias))
    )
    # r multiplies the last inner bias, so it can't be added to the inputs' sums.
    before = (-outer[0] - inner[0], outer[1] + inner[1], outer[2])
    return _Weights(
        list(zip((-kernels[0], *kernels[1:]), before, strict=True)),
        tf.concat([-states[0], *states[1:]], 1),
        tf.concat([tf.zeros([2 * gru.units]), inner[2]], 0),
    )


def _round(h: Any, x: Any, hold: Any, weights: _Weights) -> list[Any]:
    """Return the states (B, U) after each step of a round.

    Args:
        h: (B, U), the state before the round.
        x: (steps times B, F), the inputs of all its steps.
        hold: (steps, B, 1), added to w; None: nothing.
        weights: of the GRU.
    """
    shape = [_STEPS, tf.shape(h)[0], h.shape[1]]
    # Three products, because cutting one into parts would copy it.
    sums = [tf.reshape(tf.nn.bias_add(x @ kernel, bias), shape) for kernel, bias in weights.inputs]
    if hold is not None:
        sums[0] += hold
    states = []
    for more_w, more_r, within in zip(*(tf.unstack(each, _STEPS) for each in sums), strict=True):
        w, r, q = tf.split(tf.nn.bias_add(h @ weights.own, weights.bias), 3, 1)
        h = step(h, w + more_w, r + more_r, q, within)
        states.append(h)
    return states


def _starts(grus: Sequence[Gru], batch: Any) -> tuple[Any, ...]:
    starts = [tf.convert_to_tensor(gru.start) for gru in grus]
    return tuple(each if len(each.shape) == 2 else tf.tile(each[tf.newaxis], [batch, 1]) for each in starts)


def _chains(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    layers = [gru for (gru,) in stack]
    batch, steps = tf.shape(x)[0], tf.shape(x)[1]
    rounds = -(-steps // _STEPS)
    inputs = tf.reshape(_time_major(x, rounds * _STEPS), [rounds, _STEPS * batch, x.shape[2]])
    weights = [_weights(gru) for gru in layers]
    hold = tf.reshape(HOLD * ended(lengths, rounds * _STEPS), [rounds, _STEPS, batch, 1])

    def body(i: Any, states: Any) -> tuple[Any, list[Any]]:
        last, read, outputs = [], inputs[i], []
        for index, (h, each) in enumerate(zip(states, weights, strict=True)):
            # Only the top layer's state after the end is returned.
            is_held = index == len(layers) - 1 and not sequences
            outputs = _round(h, read, hold[i] if is_held else None, each)
            read = tf.concat(outputs, 0)
            last.append(outputs[-1])
        return tuple(last), [tf.stack(outputs)] if sequences else []

    units = layers[-1].units
    shapes = [[_STEPS, x.shape[0], units]] if sequences else []
    states, outputs = run_rounds(rounds, body, _starts(layers, batch), shapes)
    if not sequences:
        return or_zeros(lengths, states[-1])
    return tf.transpose(tf.reshape(outputs[0], [-1, batch, units])[:steps], [1, 0, 2])


def _bidirectional(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    batch, steps = tf.shape(x)[0], tf.shape(x)[1]
    rounds = -(-steps // _STEPS)
    count = rounds * _STEPS
    inputs, hold = _time_major(x, count), HOLD * ended(lengths, count)
    # In reverse, the steps after the end come first, and leave the state unchanged.
    holds = [tf.reshape(each, [rounds, _STEPS, batch, 1]) for each in (hold, tf.reverse(hold, [0]))]
    states: Any = ()
    for number, layer in enumerate(stack):
        keep, units, width = sequences or number < len(stack) - 1, layer[0].units, layer[0].kernel.shape[0]
        shape = [rounds, _STEPS * batch, width]
        read = [tf.reshape(each, shape) for each in (inputs, tf.reverse(inputs, [0]))]
        weights = [_weights(gru) for gru in layer]

        def body(i: Any, states: Any, read: Any = read, weights: Any = weights, keep: bool = keep) -> Any:
            halves = zip(states, read, holds, weights, strict=True)
            outputs = [_round(h, xs[i], hold[i], each) for h, xs, hold, each in halves]
            return tuple(each[-1] for each in outputs), [tf.stack(each) for each in outputs] if keep else []

        shapes = [[_STEPS, x.shape[0], units]] * 2 if keep else []
        states, outputs = run_rounds(rounds, body, _starts(layer, batch), shapes)
        if keep:
            forwards, back = (tf.reshape(each, [-1, batch, units]) for each in outputs)
            inputs = tf.concat([forwards, tf.reverse(back, [0])], 2)
    if sequences:
        return tf.transpose(inputs[:steps], [1, 0, 2])
    return or_zeros(lengths, tf.concat(states, 1))
