"""The GRU over a whole sequence as three large products and two short loops, with a gradient of its own.

What the stock loop does at every step is here done once for all steps: the product with the inputs before the loop,
and in the gradient the products that give the kernels' and the inputs' gradients after it. The loops keep what only
they can do, the recurrence. Equations and gate order are those of `NoisyGRU` (`reset_after=True`):

    z[t]  = sigmoid(x[t] W_z + b_z + h[t-1] U_z + c_z)
    r[t]  = sigmoid(x[t] W_r + b_r + h[t-1] U_r + c_r)
    q[t]  = h[t-1] U_h + c_h
    hh[t] = tanh(x[t] W_h + b_h + r[t] * q[t])
    h[t]  = z[t] * h[t-1] + (1 - z[t]) * hh[t]

With g[t] the gradient that reaches h[t], the gradients before the activations are

    dhh[t] = g[t] * (1 - z[t]) * (1 - hh[t]^2)
    dz[t]  = g[t] * (h[t-1] - hh[t]) * z[t] * (1 - z[t])
    dr[t]  = dhh[t] * q[t] * r[t] * (1 - r[t])

and what goes on to h[t-1] is g[t] * z[t] + [dz dr dhh*r][t] U^T. The forward loop keeps z, r, hh and q for it.
A masked step leaves the state alone. Everything is plain TensorFlow: it runs with XLA and without.
"""

# TensorFlow's type hints know no tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false, reportOptionalSubscript=false

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Weights(NamedTuple):
    """`kernel` (F, 3U), `recurrent` (U, 3U) and `bias` (2, 3U) of a GRU with `reset_after`, float32 or float64."""

    kernel: Any
    recurrent: Any
    bias: Any


def fused_gru(
    sequences: Any,
    initial_state: Any,
    mask: Any,
    weights: Weights,
    *,
    go_backwards: bool,
    training: bool,
    zero_masked: bool = False,
) -> tuple[Any, Any, Any]:
    """Run a GRU over a batch of sequences.

    Args:
        sequences: float32 or float64 (B, T, F); B and T may be unknown.
        initial_state: of that dtype, (B, U).
        mask: bool (B, T), True where a step counts; None: all do.
        weights: of the layer.
        go_backwards: read from the last step to the first; the outputs come in that order.
        training: whether a gradient will be asked for. Without it nothing is kept for one.
        zero_masked: Keras' `zero_output_for_mask`: a masked step gives zeros, instead of the output before it (which
            is zeros where no step counted yet).

    Returns:
        The last output (B, U), the outputs (B, T, U) and the last state (B, U), as Keras' `inner_loop` gives them.
    """
    x = tf.transpose(sequences, [1, 0, 2])
    steps = None if mask is None else tf.transpose(mask)[:, :, tf.newaxis]
    if go_backwards:
        x = tf.reverse(x, [0])
        steps = None if steps is None else tf.reverse(steps, [0])
    if training:
        state, hidden = _with_gradient(x, initial_state, steps, weights)
    else:
        state, hidden, _ = _forward(x, initial_state, steps, weights, keep=False)
    last = state
    if steps is not None:
        told = steps if zero_masked else tf.cumsum(tf.cast(steps, tf.int32), axis=0) > 0
        hidden = tf.where(told, hidden, tf.zeros_like(hidden))
        last = tf.where(told[-1], state, tf.zeros_like(state))
    outputs = tf.transpose(hidden, [1, 0, 2])
    units = weights.recurrent.shape[0]
    return last, tf.ensure_shape(outputs, [*sequences.shape[:2], units]), state


def _with_gradient(x: Any, initial_state: Any, steps: Any, weights: Weights) -> tuple[Any, Any]:
    @tf.custom_gradient
    def run(x: Any, initial_state: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
        given = Weights(kernel, recurrent, bias)
        state, hidden, kept = _forward(x, initial_state, steps, given, keep=True)

        def gradient(d_state: Any, d_hidden: Any) -> tuple[Any, ...]:
            return _backward(x, initial_state, steps, given, hidden, kept, d_state, d_hidden)

        return (state, hidden), gradient

    return run(x, initial_state, *weights)


def _forward(x: Any, initial_state: Any, steps: Any, weights: Weights, *, keep: bool) -> tuple[Any, Any, Any]:
    """The last state (B, U), all states (T, B, U), and what the gradient needs: z, r, hh, q side by side (T, B, 4U)."""
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    count, batch = tf.shape(x)[0], tf.shape(x)[1]
    # r multiplies c_h, so only c_z and c_r may be added before the loop.
    bias_before = tf.concat([bias[0, : 2 * units] + bias[1, : 2 * units], bias[0, 2 * units :]], 0)
    bias_within = bias[1, 2 * units :]
    inputs = tf.reshape(x, [-1, x.shape[2]]) @ kernel + bias_before
    inputs = tf.reshape(inputs, [count, batch, 3 * units])
    states = tf.TensorArray(x.dtype, count, element_shape=[x.shape[1], units])
    kept = tf.TensorArray(x.dtype, count if keep else 0, element_shape=[x.shape[1], 4 * units])

    def step(t: Any, h: Any, states: Any, kept: Any) -> tuple[Any, ...]:
        before, within = inputs[t], h @ recurrent
        gates = tf.sigmoid(before[:, : 2 * units] + within[:, : 2 * units])
        z, r = gates[:, :units], gates[:, units:]
        q = within[:, 2 * units :] + bias_within
        hh = tf.tanh(before[:, 2 * units :] + r * q)
        new = z * h + (1.0 - z) * hh
        if steps is not None:
            new = tf.where(steps[t], new, h)
        if keep:
            kept = kept.write(t, tf.concat([gates, hh, q], 1))
        return t + 1, tf.ensure_shape(new, h.shape), states.write(t, new), kept

    _, last, states, kept = tf.while_loop(
        lambda t, *_: t < count, step, (0, initial_state, states, kept), maximum_iterations=count
    )
    return last, states.stack(), kept.stack() if keep else None


def _backward(
    x: Any, initial_state: Any, steps: Any, weights: Weights, hidden: Any, kept: Any, d_state: Any, d_hidden: Any
) -> tuple[Any, ...]:
    """Gradients of x, the initial state, and the three weights."""
    kernel, recurrent, _ = weights
    units = recurrent.shape[0]
    count = tf.shape(x)[0]
    transposed = tf.transpose(recurrent)
    before = tf.concat([initial_state[tf.newaxis], hidden[:-1]], 0)
    gates = tf.TensorArray(x.dtype, count, element_shape=[x.shape[1], 4 * units])

    def step(t: Any, g: Any, gates: Any) -> tuple[Any, ...]:
        g = g + d_hidden[t]
        z, r, hh, q = tf.split(kept[t], 4, axis=1)
        zeros = passed = tf.zeros_like(g)
        if steps is not None:
            passed, g = tf.where(steps[t], zeros, g), tf.where(steps[t], g, zeros)
        d_hh = g * (1.0 - z) * (1.0 - hh * hh)
        d_z = g * (before[t] - hh) * z * (1.0 - z)
        d_r = d_hh * q * r * (1.0 - r)
        within = tf.concat([d_z, d_r, d_hh * r], 1)
        going_on = passed + g * z + within @ transposed
        return t - 1, tf.ensure_shape(going_on, g.shape), gates.write(t, tf.concat([within, d_hh], 1))

    _, d_initial, gates = tf.while_loop(
        lambda t, *_: t >= 0, step, (count - 1, d_state, gates), maximum_iterations=count
    )
    flat = tf.reshape(gates.stack(), [-1, 4 * units])
    d_within = flat[:, : 3 * units]
    d_inputs = tf.concat([flat[:, : 2 * units], flat[:, 3 * units :]], 1)
    d_x = tf.reshape(tf.matmul(d_inputs, kernel, transpose_b=True), tf.shape(x))
    d_kernel = tf.matmul(tf.reshape(x, [-1, x.shape[2]]), d_inputs, transpose_a=True)
    d_recurrent = tf.matmul(tf.reshape(before, [-1, units]), d_within, transpose_a=True)
    d_bias = tf.stack([tf.reduce_sum(d_inputs, 0), tf.reduce_sum(d_within, 0)])
    return d_x, d_initial, d_kernel, d_recurrent, d_bias
