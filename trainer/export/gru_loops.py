"""Common parts of the two ways to run a stack of GRUs in a server: `single_sequence_gru` and `batched_gru`.

Both compute what Keras' layers do, to rounding, with free batch and time axes, in the operations that a TensorFlow
graph without XLA runs fastest. At batch 1 the cost is the number of operations, later the arithmetic; hence two ways.
With w[t] = 1 - z[t] (the weights of z negated) a step is

    hh[t] = tanh(within[t] + r[t] * q[t]),    h[t] = h[t-1] + w[t] * (hh[t] - h[t-1])

in the notation of `fused_gru`; `within` is the inputs' part of the candidate. Steps after a sequence's end are
computed, too: there w is 0 wherever the state is still needed.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# Added to w it outweighs all other terms: its sigmoid is 0 in float32, whatever the products of state and input.
HOLD = -1e30
# Rounds that may run in parallel; more would only take more memory.
_ROUNDS_AT_ONCE = 4


class Gru(NamedTuple):
    """Weights of a GRU that reads one way: `kernel` (F, 3U), `recurrent` (U, 3U), `bias` (2, 3U), `start` (U,).

    NumPy arrays or tensors, float32; gates in Keras' order z, r, h; `start` is the state before the first step, (B, U)
    if each sequence has its own.
    """

    kernel: Any
    recurrent: Any
    bias: Any
    start: Any

    @property
    def units(self) -> int:
        return self.recurrent.shape[0]


# From the input up; each layer has one GRU, or a forward and a backward one.
Stack = Sequence[tuple[Gru, ...]]


def step(h: Any, w: Any, r: Any, q: Any, within: Any) -> Any:
    """Return the next state from the last one and the four weighted sums, w and r before their sigmoid."""
    return h + tf.sigmoid(w) * (tf.tanh(within + tf.sigmoid(r) * q) - h)


def run_rounds(
    rounds: Any, body: Callable[..., tuple[Any, list[Any]]], start: Any, shapes: list[Any]
) -> tuple[Any, list]:
    """Run `body(i, state)` for each round; return the last state and the stacked outputs, a tensor for each shape."""
    arrays = [tf.TensorArray(tf.float32, rounds, element_shape=shape) for shape in shapes]

    def once(i: Any, state: Any, *arrays: Any) -> tuple[Any, ...]:
        state, outputs = body(i, state)
        return i + 1, state, *(array.write(i, output) for array, output in zip(arrays, outputs, strict=True))

    _, state, *arrays = tf.while_loop(
        lambda i, *_: i < rounds, once, (0, start, *arrays), parallel_iterations=_ROUNDS_AT_ONCE
    )
    return state, [array.stack() for array in arrays]


def ended(lengths: Any, count: Any) -> Any:
    """Return 1.0 (count, B, 1) for the steps after a sequence's end, else 0.0."""
    steps = tf.range(count)[:, tf.newaxis, tf.newaxis]
    return tf.cast(steps >= tf.cast(lengths, tf.int32)[tf.newaxis, :, tf.newaxis], tf.float32)


def or_zeros(lengths: Any, last: Any) -> Any:
    """Return `last`, (B, U), with zeros for empty sequences."""
    return tf.where(lengths[:, tf.newaxis] > 0, last, 0.0)
