"""The GRU over a whole sequence as a few large products and two short loops, with a gradient of its own.

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
    dq[t]  = dhh[t] * r[t]
    dz[t]  = g[t] * (h[t-1] - hh[t]) * z[t] * (1 - z[t])
    dr[t]  = dq[t] * q[t] * (1 - r[t])

and what goes on to h[t-1] is g[t] * z[t] + [dz dr dq][t] U^T. The forward loop keeps z, r, q and hh for it.
A masked step leaves the state alone. Everything is plain TensorFlow: it runs with XLA and without.

What XLA's CPU compiler makes of it decides the form. An array that a loop reads at step t is read by `tf.slice`, once
for each part: a slice that two parts of a kernel share keeps it from using vector instructions. What is kept of a step
goes to the array whose product needs it, so that nothing is copied after the loop, and biases are added within it.
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


class Kept(NamedTuple):
    """What the gradient needs of each step: `gates`, z and r side by side (T, B, 2U), `q` and `hh` (T, B, U)."""

    gates: Any
    q: Any
    hh: Any


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
    """The last state (B, U), all states (T, B, U), and what the gradient needs."""
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    count, batch = tf.shape(x)[0], tf.shape(x)[1]
    # r multiplies c_h, so only c_z and c_r may be added to what the inputs give.
    bias_gates = bias[0, : 2 * units] + bias[1, : 2 * units]
    bias_candidate, bias_q = bias[0, 2 * units :], bias[1, 2 * units :]
    inputs = tf.reshape(tf.reshape(x, [-1, x.shape[2]]) @ kernel, [count, batch, 3 * units])
    read = _reader(batch)

    def step(t: Any, h: Any, states: Any, *kept: Any) -> tuple[Any, ...]:
        within = h @ recurrent
        gates = tf.sigmoid(read(inputs, t, 0, 2 * units) + within[:, : 2 * units] + bias_gates)
        z, r = gates[:, :units], gates[:, units:]
        q = within[:, 2 * units :] + bias_q
        hh = tf.tanh(read(inputs, t, 2 * units, units) + bias_candidate + r * q)
        new = z * h + (1.0 - z) * hh
        if steps is not None:
            new = tf.where(tf.gather(steps, t), new, h)
        written = [array.write(t, value) for array, value in zip(kept, (gates, q, hh), strict=False)]
        return t + 1, tf.ensure_shape(new, h.shape), states.write(t, new), *written

    arrays = _arrays(x, units, *((2 * units, units, units) if keep else ()))
    _, last, states, *kept = tf.while_loop(
        lambda t, *_: t < count, step, (0, initial_state, *arrays), maximum_iterations=count
    )
    return last, states.stack(), Kept(*(array.stack() for array in kept)) if keep else None


def _backward(
    x: Any, initial_state: Any, steps: Any, weights: Weights, hidden: Any, kept: Kept, d_state: Any, d_hidden: Any
) -> tuple[Any, ...]:
    """Gradients of x, the initial state, and the three weights."""
    kernel, recurrent, _ = weights
    units = recurrent.shape[0]
    count, batch = tf.shape(x)[0], tf.shape(x)[1]
    transposed = tf.transpose(recurrent)
    before = tf.concat([initial_state[tf.newaxis], hidden[:-1]], 0)
    read = _reader(batch)

    def step(t: Any, g: Any, *arrays: Any) -> tuple[Any, ...]:
        g = g + read(d_hidden, t, 0, units)
        z, r = read(kept.gates, t, 0, units), read(kept.gates, t, units, units)
        q, hh = read(kept.q, t, 0, units), read(kept.hh, t, 0, units)
        passed = None
        if steps is not None:
            counts, zeros = tf.gather(steps, t), tf.zeros_like(g)
            passed, g = tf.where(counts, zeros, g), tf.where(counts, g, zeros)
        d_hh = g * (1.0 - z) * (1.0 - hh * hh)
        d_q = d_hh * r
        d_gates = tf.concat([g * (read(before, t, 0, units) - hh) * z * (1.0 - z), d_q * q * (1.0 - r)], 1)
        going_on = g * z + tf.concat([d_gates, d_q], 1) @ transposed
        going_on = going_on if passed is None else going_on + passed
        written = [array.write(t, value) for array, value in zip(arrays, (d_gates, d_q, d_hh), strict=True)]
        return t - 1, tf.ensure_shape(going_on, g.shape), *written

    _, d_initial, *arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        step,
        (count - 1, d_state, *_arrays(x, 2 * units, units, units)),
        maximum_iterations=count,
    )
    d_gates, d_q, d_hh = (
        tf.reshape(array.stack(), [-1, width]) for array, width in zip(arrays, (2 * units, units, units), strict=True)
    )
    flat, flat_before = tf.reshape(x, [-1, x.shape[2]]), tf.reshape(before, [-1, units])
    d_x = tf.matmul(d_gates, kernel[:, : 2 * units], transpose_b=True)
    d_x += tf.matmul(d_hh, kernel[:, 2 * units :], transpose_b=True)
    d_kernel = tf.concat([tf.matmul(flat, part, transpose_a=True) for part in (d_gates, d_hh)], 1)
    d_recurrent = tf.concat([tf.matmul(flat_before, part, transpose_a=True) for part in (d_gates, d_q)], 1)
    of_gates, of_q, of_hh = (tf.reduce_sum(part, 0) for part in (d_gates, d_q, d_hh))
    d_bias = tf.stack([tf.concat([of_gates, of_hh], 0), tf.concat([of_gates, of_q], 0)])
    return tf.reshape(d_x, tf.shape(x)), d_initial, d_kernel, d_recurrent, d_bias


def _reader(batch: Any) -> Any:
    """A function that reads `width` columns from `first` on of an array (T, B, N) at step t: (B, width)."""

    def read(array: Any, t: Any, first: int, width: int) -> Any:
        return tf.reshape(tf.slice(array, [t, 0, first], [1, batch, width]), [-1, width])

    return read


def _arrays(x: Any, *widths: int) -> list[Any]:
    """Arrays for a step's (B, width) at each step of x (T, B, F)."""
    return [tf.TensorArray(x.dtype, tf.shape(x)[0], element_shape=[x.shape[1], width]) for width in widths]
