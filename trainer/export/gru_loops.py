"""What the two ways to run a stack of GRUs in a server have in common: `serving_one`, `serving_many`.

Both give what Keras' layers give, to rounding, with a free batch and time axis, in the operations that a TensorFlow
graph without XLA runs fastest. What a graph costs at batch 1 is the number of its operations, later the arithmetic;
hence two ways. With w[t] = 1 - z[t] (the weights of z negated) a step is

    hh[t] = tanh(within[t] + r[t] * q[t]),    h[t] = h[t-1] + w[t] * (hh[t] - h[t-1])

in the words of `fused_gru`; `within` is what the inputs give to the candidate. Steps behind a sequence's end are
read, too: there w is 0 wherever the state is still wanted.
"""

# TensorFlow's type hints know no tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOptionalSubscript=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# What a weight must add to w to outweigh all others: its sigmoid is 0 in float32, beside any product of state or input.
HOLD = -1e30
# Rounds that may run ahead of each other; more would only hold more memory.
_ROUNDS_AT_ONCE = 4


class Gru(NamedTuple):
    """Weights of a GRU that reads one way: `kernel` (F, 3U), `recurrent` (U, 3U), `bias` (2, 3U), `start` (U,).

    NumPy arrays or tensors, float32; gates in Keras' order z, r, h; `start` is the state before the first step.
    """

    kernel: Any
    recurrent: Any
    bias: Any
    start: Any

    @property
    def units(self) -> int:
        return self.recurrent.shape[0]


# From the input up; each layer one GRU, or the one that reads forwards and the one that reads backwards.
Stack = Sequence[tuple[Gru, ...]]


def step(h: Any, w: Any, r: Any, q: Any, within: Any) -> Any:
    """The next state from the one before and the four sums of weighted inputs, w and r before their sigmoid."""
    return h + tf.sigmoid(w) * (tf.tanh(within + tf.sigmoid(r) * q) - h)


def run_rounds(
    rounds: Any, body: Callable[..., tuple[Any, list[Any]]], start: Any, shapes: list[Any]
) -> tuple[Any, list]:
    """Run `body(i, state)` for i from 0 on; the last state, and what it gave each time, one tensor for each shape."""
    told = [tf.TensorArray(tf.float32, rounds, element_shape=shape) for shape in shapes]

    def once(i: Any, state: Any, *told: Any) -> tuple[Any, ...]:
        state, outputs = body(i, state)
        return i + 1, state, *(array.write(i, output) for array, output in zip(told, outputs, strict=True))

    _, state, *told = tf.while_loop(
        lambda i, *_: i < rounds, once, (0, start, *told), parallel_iterations=_ROUNDS_AT_ONCE
    )
    return state, [array.stack() for array in told]


def ended(lengths: Any, count: Any) -> Any:
    """1.0 (count, B, 1) for the steps behind a sequence's end."""
    steps = tf.range(count)[:, tf.newaxis, tf.newaxis]
    return tf.cast(steps >= tf.cast(lengths, tf.int32)[tf.newaxis, :, tf.newaxis], tf.float32)


def or_zeros(lengths: Any, last: Any) -> Any:
    return tf.where(lengths[:, tf.newaxis] > 0, last, 0.0)
