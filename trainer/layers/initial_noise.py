"""Draws of the first state: unit noise of three laws, states carried over from other sequences, the residual error."""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

CARRIED = "carried"
NOISES = ("normal", "truncated_normal", "uniform", CARRIED)
SCALES = ("fixed", "learned", "residual")

# A GRU's states lie within +-1.
LARGEST_RESIDUAL = 1.0

# Standard deviation of a unit normal cut at +-2.
_TRUNCATED_STDDEV = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def unit_noise(bits: Any, noise: str, dtype: str) -> Any:
    """Return numbers of mean 0 and standard deviation 1.

    Args:
        bits: uint32 of any shape.
        noise: law, "normal", "truncated_normal" (cut at +-2, then rescaled) or "uniform".
        dtype: "float32" or "float64".
    """
    # Odd multiples of 2**-23 in (-1, 1), exact in float32.
    centred = tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), dtype) * 2**-22 + (2**-23 - 1)
    if noise == "normal":
        return tf.math.erfinv(centred) * math.sqrt(2)
    if noise == "truncated_normal":
        return tf.math.erfinv(centred * math.erf(math.sqrt(2))) * (math.sqrt(2) / _TRUNCATED_STDDEV)
    return centred * math.sqrt(3)


def carried_states(mean: Any, final: Any, bits: Any, share: Any) -> Any:
    """Let a part of the sequences of a batch start from the final state of another one.

    Sequence b gets the final state of sequence (b + k) mod B, with one k of 1 to B - 1 for the batch, so that each
    state is carried at most once. Where that equals its own final state (a batch of one, or a sequence that stands
    twice in the batch) it starts from its mean.

    Args:
        mean: (B, U), first states of the sequences that carry nothing.
        final: (B, U), the states after the sequences; no gradient reaches them.
        bits: uint32 (B, 2).
        share: scalar, the part of the sequences.
    """
    final = tf.stop_gradient(final)
    rows = tf.shape(final, tf.int64)[0]
    first = tf.cast(tf.reduce_sum(bits[:1, 1]), tf.int64)
    shift = 1 + tf.math.floormod(first, tf.maximum(rows - 1, 1))
    carried = tf.gather(final, tf.math.floormod(tf.range(rows) + shift, tf.maximum(rows, 1)))
    # In (0, 1).
    uniform = tf.cast(tf.bitwise.right_shift(bits[:, 0], tf.constant(9, tf.uint32)), tf.float32) * 2**-23 + 2**-24
    takes = tf.logical_and(uniform < tf.cast(share, tf.float32), tf.reduce_any(carried != final, axis=1))
    return tf.where(takes[:, tf.newaxis], carried, mean)


def with_residual(state: Any, variance: Any, anchor: Any, momentum: float) -> Any:
    """Return the first states unchanged, and keep the variance of their residual error in the backward pass.

    The residual error of a first state is what error backpropagation brings to it, d(loss of its sequence) / d state.
    `variance` follows its mean square over the batch, for each unit, by 1 - momentum. The loss is the mean over the
    batch.

    Args:
        state: (B, U).
        variance: variable (U,), float32 or float64.
        anchor: a trained tensor; with it the gradient comes by here even if `state` depends on no weight.
        momentum: part of the variance that a batch leaves.
    """

    @tf.custom_gradient
    def run(state: Any, anchor: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            residual = tf.cast(upstream, variance.dtype) * tf.cast(tf.shape(upstream)[0], variance.dtype)
            square = tf.reduce_mean(tf.square(residual), axis=0)
            variance.assign(momentum * variance.value + (1 - momentum) * square)
            return upstream, tf.zeros_like(anchor)

        return tf.identity(state), gradient

    return run(state, anchor)
