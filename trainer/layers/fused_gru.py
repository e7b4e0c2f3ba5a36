"""The GRU over a whole sequence as a few large products and two short loops, with a gradient of its own.

What the stock loop does at every step is here done once for all steps: the product with the inputs before the loop,
and in the gradient the products that give the kernels' and the inputs' gradients after it. The loops keep what only
they can do, the recurrence. Equations and gate order are those of `NoisyGRU` (`reset_after=True`):

    p[t]  = h[t-1] U
    z[t]  = sigmoid(x[t] W_z + b_z + c_z + p_z[t])
    r[t]  = sigmoid(x[t] W_r + b_r + c_r + p_r[t])
    q[t]  = p_h[t] + c_h
    hh[t] = tanh(x[t] W_h + b_h + r[t] * q[t])
    h[t]  = z[t] * h[t-1] + (1 - z[t]) * hh[t]

With g[t] the gradient that reaches h[t], the gradients before the activations are g[t] times factors that do not
depend on it, so these are made for all steps at once, from h and the p that the forward loop keeps:

    dhh[t] = g[t] * f_hh[t],    f_hh = (1 - z) * (1 - hh^2)
    dq[t]  = g[t] * f_q[t],     f_q  = f_hh * r
    dr[t]  = g[t] * f_r[t],     f_r  = f_q * q * (1 - r)
    dz[t]  = g[t] * f_z[t],     f_z  = (h[t-1] - hh) * z * (1 - z)

and the gradient of h[t-1] is g[t] * z[t] + [dz dr dq][t] U^T, which is all that the backward loop does.

With a decay d[t] (GRU-D) the step goes on from d[t] * h[t-1] in place of h[t-1], in all of these; the gradient of that
product goes to both.

A masked step has a z of exactly 1: it leaves the state alone, all its factors are 0, and neither loop knows of masks.

Everything is plain TensorFlow: it runs with XLA and without. What XLA's CPU compiler makes of it decides the form: a
kernel in a loop costs more to start than to run, so each loop has as few as can be; and a slice of a sigmoid keeps its
kernel from using vector instructions, so z and r are computed separately.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

# Makes sigmoid exactly 1, whatever finite product with the state is added.
_KEEP = math.inf


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
    return_sequences: bool = True,
    decay: Any = None,
) -> tuple[Any, Any, Any]:
    """Run a GRU over a batch of sequences.

    Args:
        sequences: float32 or float64 (B, T, F); B and T may be unknown.
        initial_state: of that dtype, (B, U).
        mask: bool (B, T), True where a step counts; None: all do.
        weights: of the layer.
        go_backwards: read from the last step to the first; the outputs come in that order.
        training: whether a gradient will be computed. If not, nothing is kept for one.
        zero_masked: Keras' `zero_output_for_mask`: a masked step gives zeros, instead of the output before it (which
            is zeros where no step counted yet).
        return_sequences: whether to return the outputs of all steps. If not, inference keeps the last state only.
        decay: of that dtype, (B, T, U): factors on the state before each step; None: 1.

    Returns:
        The last output (B, U), the outputs (B, T, U) (without `return_sequences` the last alone, (B, 1, U)) and the
        last state (B, U), as Keras' `inner_loop` returns them.
    """
    x = tf.transpose(sequences, [1, 0, 2])
    steps = None if mask is None else tf.transpose(mask)[:, :, tf.newaxis]
    decay = None if decay is None else tf.transpose(decay, [1, 0, 2])
    if go_backwards:
        x = tf.reverse(x, [0])
        decay = None if decay is None else tf.reverse(decay, [0])
        steps = None if steps is None else tf.reverse(steps, [0])
    if steps is not None:
        # Masked values, NaN included, must not reach a product.
        x = tf.where(steps, x, tf.zeros_like(x))
        decay = None if decay is None else tf.where(steps, decay, tf.ones_like(decay))
    counted = None
    if steps is not None:
        # Steps with an output of their own or, without `zero_masked`, that of a step before.
        counted = steps if zero_masked else tf.cumsum(tf.cast(steps, tf.int32), axis=0) > 0
    if training:
        state, hidden = _with_gradient(x, initial_state, steps, weights, decay)
    else:
        state, hidden, _ = _forward(
            _from_inputs(x, steps, weights), initial_state, weights, decay, keep_states=return_sequences
        )
    last = state if counted is None else tf.where(counted[-1], state, tf.zeros_like(state))
    if not return_sequences:
        return last, last[:, tf.newaxis], state
    if counted is not None:
        hidden = tf.where(counted, hidden, tf.zeros_like(hidden))
    outputs = tf.transpose(hidden, [1, 0, 2])
    units = weights.recurrent.shape[0]
    return last, tf.ensure_shape(outputs, [*sequences.shape[:2], units]), state


def shared_start_step(sequences: Any, states: Any, weights: Weights, repeats: int) -> Any:
    """Run one step of a GRU for sequences of which `repeats` each start from the same state.

    The product with a state is computed once for its sequences, and that with an input once for all that share it.

    Args:
        sequences: float32 or float64 (M, 1, F); repeated as a whole until there are `repeats` for each state.
        states: of that dtype, (S, U); S * repeats is a multiple of M, and M of `repeats`.
        weights: of the layer.
        repeats: sequences of each state, beside each other.

    Returns:
        The new states (S * repeats, U).
    """
    units = weights.recurrent.shape[0]
    groups = tf.shape(sequences)[0] // repeats

    def gates(values: Any, each: int) -> list[Any]:
        shaped = tf.reshape(values, [-1, groups, each, 3 * units])
        return [shaped[..., gate * units : (gate + 1) * units] for gate in range(3)]

    x_z, x_r, x_h = gates(sequences[:, 0] @ weights.kernel + weights.bias[0], repeats)
    p_z, p_r, p_h = gates(states @ weights.recurrent + weights.bias[1], 1)
    before = tf.reshape(states, [-1, groups, 1, units])
    z = tf.sigmoid(x_z + p_z)
    hh = tf.tanh(x_h + tf.sigmoid(x_r + p_r) * p_h)
    return tf.reshape(z * before + (1.0 - z) * hh, [-1, units])


def _with_gradient(x: Any, initial_state: Any, steps: Any, weights: Weights, decay: Any) -> tuple[Any, Any]:
    @tf.custom_gradient
    def run(x: Any, initial_state: Any, kernel: Any, recurrent: Any, bias: Any, *decays: Any) -> Any:
        layer_weights = Weights(kernel, recurrent, bias)
        inputs = _from_inputs(x, steps, layer_weights)
        factors = decays[0] if decays else None
        state, hidden, within = _forward(inputs, initial_state, layer_weights, factors, keep_products=True)

        def gradient(d_state: Any, d_hidden: Any) -> tuple[Any, ...]:
            kept = _Forward(initial_state, inputs, hidden, within, factors)
            return _backward(x, layer_weights, kept, d_state, d_hidden)

        return (state, hidden), gradient

    return run(x, initial_state, *weights, *(() if decay is None else (decay,)))


def _from_inputs(x: Any, steps: Any, weights: Weights) -> Any:
    """Compute the gates' sums of inputs and biases, except c_h, which r multiplies: (T, B, 3U)."""
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    added = bias[0] + tf.concat([bias[1, : 2 * units], tf.zeros_like(bias[1, 2 * units :])], 0)
    inputs = tf.reshape(x, [-1, x.shape[2]]) @ kernel + added
    inputs = tf.reshape(inputs, [tf.shape(x)[0], tf.shape(x)[1], 3 * units])
    if steps is None:
        return inputs
    is_z = tf.range(3 * units) < units
    return tf.where(tf.logical_or(steps, ~is_z), inputs, tf.constant(_KEEP, inputs.dtype))


def _forward(
    inputs: Any,
    initial_state: Any,
    weights: Weights,
    decay: Any,
    *,
    keep_states: bool = True,
    keep_products: bool = False,
) -> tuple[Any, Any, Any]:
    """Return the last state (B, U) and, if they are kept, all states h (T, B, U) and p (T, B, 3U), else None."""
    recurrent, c_h = weights.recurrent, weights.bias[1, 2 * weights.recurrent.shape[0] :]
    units = recurrent.shape[0]
    count, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]

    def read(t: Any, gate: int) -> Any:
        return tf.reshape(tf.slice(inputs, [t, 0, gate * units], [1, batch, units]), [-1, units])

    def step(t: Any, before: Any, *kept: Any) -> tuple[Any, ...]:
        h = before if decay is None else before * tf.ensure_shape(tf.gather(decay, t), before.shape)
        p = h @ recurrent
        z = tf.sigmoid(read(t, 0) + p[:, :units])
        r = tf.sigmoid(read(t, 1) + p[:, units : 2 * units])
        hh = tf.tanh(read(t, 2) + r * (p[:, 2 * units :] + c_h))
        new = tf.ensure_shape(z * h + (1.0 - z) * hh, h.shape)
        values = [*([new] if keep_states else []), *([p] if keep_products else [])]
        return t + 1, new, *(array.write(t, value) for array, value in zip(kept, values, strict=True))

    widths = [*([units] if keep_states else []), *([3 * units] if keep_products else [])]
    _, last, *kept = tf.while_loop(
        lambda t, *_: t < count, step, (0, initial_state, *_arrays(inputs, *widths)), maximum_iterations=count
    )
    states, products = kept[:1] if keep_states else [], kept[1:] if keep_states else kept
    return last, states[0].stack() if states else None, products[0].stack() if products else None


class _Forward(NamedTuple):
    """What the forward loop read and kept: time-major but for `initial_state` (B, U); `decay` may be None."""

    initial_state: Any
    inputs: Any
    hidden: Any
    within: Any
    decay: Any


def _backward(x: Any, weights: Weights, kept: _Forward, d_state: Any, d_hidden: Any) -> tuple[Any, ...]:
    """Return the gradients of x, the initial state, the three weights, and the decay if there is one."""
    initial_state, inputs, hidden, within, decay = kept
    kernel, recurrent, bias = weights
    units = recurrent.shape[0]
    count = tf.shape(x)[0]
    transposed = tf.transpose(recurrent)
    previous = tf.concat([initial_state[tf.newaxis], hidden[:-1]], 0)
    before = previous if decay is None else previous * decay
    (x_z, x_r, x_h), (p_z, p_r, p_h) = (tf.split(each, 3, axis=2) for each in (inputs, within))
    z, r, q = tf.sigmoid(x_z + p_z), tf.sigmoid(x_r + p_r), p_h + bias[1, 2 * units :]
    hh = tf.tanh(x_h + r * q)
    f_hh = (1.0 - z) * (1.0 - hh * hh)
    f_q = f_hh * r
    factors = tf.stack([(before - hh) * z * (1.0 - z), f_q * q * (1.0 - r), f_q], 2)

    def read(array: Any, t: Any) -> Any:
        return tf.ensure_shape(tf.gather(array, t), array.shape[1:])

    def step(t: Any, g: Any, gradients: Any, *decayed: Any) -> tuple[Any, ...]:
        d_gates = tf.reshape(g[:, tf.newaxis] * read(factors, t), [-1, 3 * units])
        d_before = tf.ensure_shape(g * read(z, t) + d_gates @ transposed, g.shape)
        to_previous = d_before if decay is None else d_before * read(decay, t)
        decayed = tuple(array.write(t, d_before) for array in decayed)
        return t - 1, to_previous + read(reaching, t), gradients.write(t, g), *decayed

    # What reaches h[t-1] from outside the loop, beside g[t].
    reaching = tf.concat([tf.zeros_like(d_state)[tf.newaxis], d_hidden[:-1]], 0)
    _, d_initial, gradients, *decayed = tf.while_loop(
        lambda t, *_: t >= 0,
        step,
        (count - 1, d_state + d_hidden[-1], *_arrays(x, units, *([] if decay is None else [units]))),
        maximum_iterations=count,
    )
    g = gradients.stack()
    d_gates = tf.reshape(g[:, :, tf.newaxis] * factors, [-1, 3 * units])
    d_inputs = tf.concat([d_gates[:, : 2 * units], tf.reshape(g * f_hh, [-1, units])], 1)
    d_x = tf.matmul(d_inputs, kernel, transpose_b=True)
    d_kernel = tf.matmul(tf.reshape(x, [-1, x.shape[2]]), d_inputs, transpose_a=True)
    d_recurrent = tf.matmul(tf.reshape(before, [-1, units]), d_gates, transpose_a=True)
    d_bias = tf.stack([tf.reduce_sum(d_inputs, 0), tf.reduce_sum(d_gates, 0)])
    d_decay = [array.stack() * previous for array in decayed]
    return tf.reshape(d_x, tf.shape(x)), d_initial, d_kernel, d_recurrent, d_bias, *d_decay


def _arrays(x: Any, *widths: int) -> list[Any]:
    """Return arrays for a step's (B, width) at each step of x (T, B, …)."""
    return [tf.TensorArray(x.dtype, tf.shape(x)[0], element_shape=[x.shape[1], width]) for width in widths]
