"""A stack of GRUs over one sequence, in as few operations as possible: ten for a step of the whole stack.

    last = run_single_sequence(x, lengths, stack, sequences=False)

The stack is one GRU whose recurrent kernel holds those of all layers as blocks. In one direction, each layer is a step
behind the one below (a wavefront), and the connections between layers are blocks, too. In two directions, the two
halves of each layer are blocks. The blocks are constants of the graph: too large ones if the stack is wide.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.trainer.export.gru_loops import HOLD, Gru, Stack, ended, or_zeros, run_rounds, step

_STEPS = 8  # in a round of the loop: few rounds
_LARGEST_BLOCKS = 1_000_000  # bytes


def has_blocks(stack: Stack) -> bool:
    """Return whether the constants of `run_single_sequence` are small enough for the graph."""
    both = len(stack[0]) == 2
    widths = [sum(gru.units for gru in layer) for layer in stack]
    blocks = sum(width**2 for width in widths) if both else sum(widths) ** 2
    inputs = [gru.kernel.shape[0] * gru.units for layer in (stack if both else stack[:1]) for gru in layer]
    return 16 * (blocks + sum(inputs)) <= _LARGEST_BLOCKS


def run_single_sequence(x: Any, lengths: Any, stack: Stack, *, sequences: bool) -> Any:
    """Run a stack over a batch of one sequence.

    Args:
        x: float32 (1, T, F), finite; T may be unknown.
        lengths: integers (1,), the steps that count.
        stack: weights, as NumPy arrays; first states may be tensors (1, U).
        sequences: whether to return all outputs of the top layer; those after the end are undefined.

    Returns:
        The last output (1, U), zeros for an empty sequence, or all outputs (1, T, U). U: both directions' units.
    """
    return (_bidirectional if len(stack[0]) == 2 else _wavefront)(x, lengths, stack, sequences)


def _into_blocks(gru: Gru, rows: np.ndarray, own: np.ndarray, bias: np.ndarray) -> None:
    """Write the weights of a layer into the blocks.

    Args:
        gru: NumPy arrays.
        rows: (F, 4, U), view of its inputs' weights, in the order w, r, q, within.
        own: (U, 4, U), the same for its own state.
        bias: (4, U), the same for its biases.
    """
    units = gru.units
    for block, gate, sign in ((0, 0, -1.0), (1, 1, 1.0), (2, 2, 1.0), (3, 2, 1.0)):
        part = slice(gate * units, (gate + 1) * units)
        if block != 3:
            own[:, block] = sign * gru.recurrent[:, part]
            bias[block] += sign * gru.bias[1, part]
        if block != 2:
            rows[:, block] = sign * gru.kernel[:, part]
            bias[block] += sign * gru.bias[0, part]


def _joined_starts(grus: Sequence[Gru]) -> Any:
    """Return the first states side by side, (1, S): a constant, unless they are tensors."""
    if all(isinstance(gru.start, np.ndarray) for gru in grus):
        return tf.constant(np.concatenate([gru.start for gru in grus])[np.newaxis])
    return tf.concat([tf.reshape(gru.start, [1, gru.units]) for gru in grus], 1)


def _block_loop(before: Any, own: np.ndarray, start: Any, *, keep: bool) -> tuple[Any, Any]:
    """Run one wide GRU over one sequence; return its last state (1, S), and all (N, S) if `keep`.

    Args:
        before: (rounds, steps in each, 4 S), the sums of inputs and biases.
        own: (S, 4 S), recurrent weights.
        start: (1, S), the first state.
        keep: whether to return all states.
    """
    width = own.shape[0]
    weights = tf.constant(own)

    def body(i: Any, h: Any) -> tuple[Any, list[Any]]:
        states = []
        for row in tf.unstack(before[i], _STEPS):
            # One sequence's sums are a vector, so they can be the product's bias: TensorFlow fuses the two.
            h = step(h, *tf.split(tf.nn.bias_add(h @ weights, row), 4, 1))
            states.append(h)
        return h, [tf.concat(states, 0)] if keep else []

    shapes = [[_STEPS, width]] if keep else []
    last, outputs = run_rounds(tf.shape(before)[0], body, start, shapes)
    return last, tf.reshape(outputs[0], [-1, width]) if keep else None


def _wavefront(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    layers = [gru for (gru,) in stack]
    count, features, top = len(layers), layers[0].kernel.shape[0], layers[-1].units
    edges = np.cumsum([0, *(gru.units for gru in layers)])
    width = int(edges[-1])
    # Layers that must hold their state at times: all but the lowest before they begin, the top one after its end.
    held = list(range(1, count)) if sequences else list(range(min(1, count - 1), count))
    rows = np.zeros((features + len(held), 4, width), np.float32)
    own, bias = np.zeros((width, 4, width), np.float32), np.zeros((4, width), np.float32)
    for index, gru in enumerate(layers):
        here = slice(edges[index], edges[index + 1])
        below = rows[:features] if index == 0 else own[edges[index - 1] : edges[index]]
        _into_blocks(gru, below[:, :, here], own[here, :, here], bias[:, here])
    for row, index in enumerate(held):
        rows[features + row, 0, edges[index] : edges[index + 1]] = HOLD
    steps = tf.shape(x)[1]
    rounds = -(-(steps + count - 1) // _STEPS)
    inputs = tf.pad(x[0], [[0, rounds * _STEPS - steps], [0, 0]])
    if held:
        place = tf.range(rounds * _STEPS)[:, tf.newaxis] - tf.constant(held)
        hold = place < 0
        if not sequences:
            is_top = tf.constant([index == count - 1 for index in held])
            hold = hold | (is_top & (place >= tf.cast(lengths[0], tf.int32)))
        inputs = tf.concat([inputs, tf.cast(hold, tf.float32)], 1)
    before = tf.nn.bias_add(inputs @ tf.constant(rows.reshape(len(rows), -1)), tf.constant(bias.reshape(-1)))
    before = tf.reshape(before, [rounds, _STEPS, 4 * width])
    start = _joined_starts(layers)
    last, states = _block_loop(before, own.reshape(width, -1), start, keep=sequences)
    if not sequences:
        return or_zeros(lengths, last[:, width - top :])
    return states[tf.newaxis, count - 1 : count - 1 + steps, width - top :]


def _bidirectional(x: Any, lengths: Any, stack: Stack, sequences: bool) -> Any:
    steps = tf.shape(x)[1]
    rounds = -(-steps // _STEPS)
    inputs = tf.pad(x[0], [[0, rounds * _STEPS - steps], [0, 0]])
    over = ended(lengths, rounds * _STEPS)[:, 0]
    last = None
    for index, layer in enumerate(stack):
        features, units = layer[0].kernel.shape[0], layer[0].units
        keep = sequences or index < len(stack) - 1
        own = np.zeros((2 * units, 4, 2 * units), np.float32)
        marked = tf.concat([inputs, over], 1)
        sums = []
        for direction, gru in enumerate(layer):
            here = slice(direction * units, (direction + 1) * units)
            rows, bias = np.zeros((features + 1, 4, units), np.float32), np.zeros((4, units), np.float32)
            _into_blocks(gru, rows[:features], own[here, :, here], bias)
            rows[features, 0] = HOLD
            read = tf.reverse(marked, [0]) if direction else marked
            product = tf.nn.bias_add(read @ tf.constant(rows.reshape(features + 1, -1)), tf.constant(bias.reshape(-1)))
            sums.append(tf.reshape(product, [rounds, _STEPS, 4, units]))
        before = tf.reshape(tf.stack(sums, 3), [rounds, _STEPS, 8 * units])
        start = _joined_starts(layer)
        last, states = _block_loop(before, own.reshape(2 * units, -1), start, keep=keep)
        if keep:
            inputs = tf.concat([states[:, :units], tf.reverse(states[:, units:], [0])], 1)
    return inputs[tf.newaxis, :steps] if sequences else or_zeros(lengths, last)
