"""A stack of GRUs over a batch of sequences: every layer, or each half of it, is a chain of small operations.

    last = many_sequences(x, lengths, stack, sequences=False)

Several chains are in one loop, and TensorFlow works them off side by side: all layers of a stack in one direction, each
as far behind the one below as need be, or the two halves of a layer.
"""

# TensorFlow's type hints know no tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOptionalSubscript=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from noisy_gru.trainer.serving_loops import HOLD, Gru, Stack, ended, or_zeros, run_rounds, step

_STEPS = 4  # in a round of the loop: little waste at the end


def many_sequences(x: Any, lengths: Any, stack: Stack, *, sequences: bool) -> Any:
    """Run a stack over a batch of sequences: as `one_sequence`, for x (B, T, F) and lengths (B,)."""
    return (_both_ways if len(stack[0]) == 2 else _chains)(x, lengths, stack, sequences)


def _time_major(x: Any, count: Any) -> Any:
    """From (B, T, F) to (count, B, F), zeros behind the end."""
    x = tf.transpose(x, [1, 0, 2])
    return tf.pad(x, [[0, count - tf.shape(x)[0]], [0, 0], [0, 0]])


def _gates(weights: Any, units: int, *order: int) -> Any:
    """Columns of a kernel or bias in the order w, r, then h or zeros as `order` says: 2 for h, 3 for zeros."""
    last = weights[..., 2 * units :]
    parts = [-weights[..., :units], weights[..., units : 2 * units]]
    return tf.concat([*parts, *(last if each == 2 else tf.zeros_like(last) for each in order)], -1)


def _joined(gru: Gru) -> tuple[Any, Any]:
    """Weights and bias of what inputs and state, side by side, give to w, r, q and within."""
    units = gru.units
    weights = tf.concat([_gates(gru.kernel, units, 3, 2), _gates(gru.recurrent, units, 2, 3)], 0)
    return weights, _gates(gru.bias[0], units, 3, 2) + _gates(gru.bias[1], units, 2, 3)


def _inputs(gru: Gru) -> list[tuple[Any, Any]]:
    """Kernel and bias, with all biases but that of q, of what the inputs give to w, r and within."""
    kernels, outer, inner = (tf.split(each, 3, -1) for each in (gru.kernel, gru.bias[0], gru.bias[1]))
    biases = (-outer[0] - inner[0], outer[1] + inner[1], outer[2])
    # Three products, because cutting one into parts would copy it.
    return list(zip((-kernels[0], *kernels[1:]), biases, strict=True))


def _own(gru: Gru) -> tuple[Any, Any]:
    """Weights and bias of what a state gives to w, r and q, where the inputs' part is computed before the loop."""
    units = gru.units
    return _gates(gru.recurrent, units, 2), tf.concat([tf.zeros([2 * units]), gru.bias[1, 2 * units :]], 0)


def _starts(grus: Sequence[Gru], batch: Any) -> tuple[Any, ...]:
    return tuple(tf.tile(tf.convert_to_tensor(gru.start)[tf.newaxis], [batch, 1]) for gru in grus)


def _chains(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    layers = [gru for (gru,) in stack]
    batch, steps = tf.shape(x)[0], tf.shape(x)[1]
    rounds = -(-steps // _STEPS)
    inputs = tf.reshape(_time_major(x, rounds * _STEPS), [rounds, _STEPS, batch, x.shape[2]])
    weights = [_joined(gru) for gru in layers]
    # Only the top layer's state after the end is wanted.
    hold = HOLD * ended(lengths, rounds * _STEPS)
    hold = tf.reshape(hold, [rounds, _STEPS, batch, 1])

    def body(i: Any, states: Any) -> tuple[Any, list[Any]]:
        states, outputs = list(states), []
        for read, held in zip(*(tf.unstack(each[i], _STEPS) for each in (inputs, hold)), strict=True):
            for index, (h, (kernel, bias)) in enumerate(zip(states, weights, strict=True)):
                sums = tf.nn.bias_add(tf.concat([read, h], 1) @ kernel, bias)
                w, r, q, within = tf.split(sums, 4, 1)
                if index == len(layers) - 1 and not sequences:
                    w = w + held
                states[index] = read = step(h, w, r, q, within)
            outputs.append(read)
        return tuple(states), [tf.stack(outputs)] if sequences else []

    units = layers[-1].units
    shapes = [[_STEPS, x.shape[0], units]] if sequences else []
    states, told = run_rounds(rounds, body, _starts(layers, batch), shapes)
    if not sequences:
        return or_zeros(lengths, states[-1])
    return tf.transpose(tf.reshape(told[0], [-1, batch, units])[:steps], [1, 0, 2])


def _both_ways(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    batch, steps = tf.shape(x)[0], tf.shape(x)[1]
    rounds = -(-steps // _STEPS)
    count = rounds * _STEPS
    inputs, hold = _time_major(x, count), HOLD * ended(lengths, count)
    # In reverse, what stands behind the end comes first, and moves nothing.
    holds = [tf.reshape(each, [rounds, _STEPS, batch, 1]) for each in (hold, tf.reverse(hold, [0]))]
    states: Any = ()
    for number, layer in enumerate(stack):
        keep, units, width = sequences or number < len(stack) - 1, layer[0].units, layer[0].kernel.shape[0]
        shape = [rounds, _STEPS, batch, width]
        read = [tf.reshape(each, shape) for each in (inputs, tf.reverse(inputs, [0]))]
        weights = [(*_own(gru), _inputs(gru)) for gru in layer]

        def body(i: Any, states: Any, read: Any = read, weights: Any = weights, keep: bool = keep) -> Any:
            last, outputs = [], []
            for h, xs, hold, (own, bias, kernels) in zip(states, read, holds, weights, strict=True):
                told, flat, shape = [], tf.reshape(xs[i], [-1, xs.shape[3]]), [_STEPS, tf.shape(xs)[2], h.shape[1]]
                sums = [tf.reshape(tf.nn.bias_add(flat @ kernel, each), shape) for kernel, each in kernels]
                sums[0] += hold[i]
                for more_w, more_r, within in zip(*(tf.unstack(each, _STEPS) for each in sums), strict=True):
                    w, r, q = tf.split(tf.nn.bias_add(h @ own, bias), 3, 1)
                    h = step(h, w + more_w, r + more_r, q, within)
                    told.append(h)
                last.append(h)
                outputs += [tf.stack(told)] if keep else []
            return tuple(last), outputs

        shapes = [[_STEPS, x.shape[0], units]] * 2 if keep else []
        states, told = run_rounds(rounds, body, _starts(layer, batch), shapes)
        if keep:
            forwards, back = (tf.reshape(each, [-1, batch, units]) for each in told)
            inputs = tf.concat([forwards, tf.reverse(back, [0])], 2)
    if sequences:
        return tf.transpose(inputs[:steps], [1, 0, 2])
    return or_zeros(lengths, tf.concat(states, 1))
