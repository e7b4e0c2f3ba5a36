"""The noisy stack in JAX: `lax.scan` over the steps, with JAX's gradient or one with large products after the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, np.ndarray]


def _gates(within: Any, h: Any, recurrent: Any, bias_q: Any) -> tuple[Any, ...]:
    units = h.shape[1]
    own = h @ recurrent
    zr = jax.nn.sigmoid(within[:, : 2 * units] + own[:, : 2 * units])
    z, r = zr[:, :units], zr[:, units:]
    q = own[:, 2 * units :] + bias_q
    return z, r, q, jnp.tanh(within[:, 2 * units :] + r * q)


def _inputs(x: Any, kernel: Any, bias: Any) -> Any:
    units = bias.shape[1] // 3
    return x @ kernel + jnp.concatenate([bias[0, : 2 * units] + bias[1, : 2 * units], bias[0, 2 * units :]])


def plain(x: Any, h0: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """Return all states (T, B, U) for x (T, B, F)."""
    units = h0.shape[1]

    def step(h: Any, within: Any) -> tuple[Any, Any]:
        z, _, _, hh = _gates(within, h, recurrent, bias[1, 2 * units :])
        new = z * h + (1 - z) * hh
        return new, new

    return jax.lax.scan(step, h0, _inputs(x, kernel, bias))[1]


@jax.custom_vjp
def custom(x: Any, h0: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """As `plain`, with a gradient of its own."""
    return plain(x, h0, kernel, recurrent, bias)


def _forward(x: Any, h0: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, Any]:
    units = h0.shape[1]

    def step(h: Any, within: Any) -> tuple[Any, Any]:
        z, r, q, hh = _gates(within, h, recurrent, bias[1, 2 * units :])
        new = z * h + (1 - z) * hh
        return new, (new, h, z, r, q, hh)

    _, (states, *kept) = jax.lax.scan(step, h0, _inputs(x, kernel, bias))
    return states, (x, kernel, recurrent, *kept)


def _backward(residuals: Any, d_states: Any) -> tuple[Any, ...]:
    x, kernel, recurrent, *kept = residuals

    def step(g: Any, at: Any) -> tuple[Any, Any]:
        d_state, before, z, r, q, hh = at
        g = g + d_state
        d_hh = g * (1 - z) * (1 - hh * hh)
        d_q = d_hh * r
        d_zr = jnp.concatenate([g * (before - hh) * z * (1 - z), d_q * q * (1 - r)], 1)
        return g * z + jnp.concatenate([d_zr, d_q], 1) @ recurrent.T, (d_zr, d_q, d_hh)

    zeros = jnp.zeros_like(d_states[0])
    d_h0, (d_zr, d_q, d_hh) = jax.lax.scan(step, zeros, (d_states, *kept), reverse=True)
    d_inputs, d_own = jnp.concatenate([d_zr, d_hh], 2), jnp.concatenate([d_zr, d_q], 2)
    d_x = d_inputs @ kernel.T
    d_kernel = jnp.einsum("tbf,tbu->fu", x, d_inputs)
    d_recurrent = jnp.einsum("tbf,tbu->fu", kept[0], d_own)
    return d_x, d_h0, d_kernel, d_recurrent, jnp.stack([d_inputs.sum((0, 1)), d_own.sum((0, 1))])


custom.defvjp(_forward, _backward)


def make(
    problem: Arrays, *, custom_gradient: bool, stddevs: Sequence[float], learning_rate: float
) -> tuple[Arrays, Callable[[], None]]:
    """Return loss and gradients without noise, and a function that does a step with it."""
    gru: Any = custom if custom_gradient else plain
    x, y = jnp.asarray(problem["x"]), jnp.asarray(problem["y"])
    weights = {name: jnp.asarray(value) for name, value in problem.items() if name not in ("x", "y")}

    def loss_of(weights: Any, key: Any, factor: float) -> Any:
        hidden = x.transpose(1, 0, 2)
        for index, stddev in enumerate(stddevs):
            kernel, recurrent, bias = (weights[f"{name}_{index}"] for name in ("kernel", "recurrent", "bias"))
            key, own = jax.random.split(key)
            start = factor * stddev * jax.random.normal(own, (x.shape[0], recurrent.shape[0]))
            hidden = gru(hidden, start, kernel, recurrent, bias)
        return jnp.mean((hidden[-1] @ weights["head_kernel"] + weights["head_bias"] - y) ** 2)

    def adam(weights: Any, m: Any, v: Any, count: Any, gradient: Any) -> tuple[Any, ...]:
        count = count + 1
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, gradient)
        rate = learning_rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        return jax.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-7), weights, m, v), m, v, count

    def update(state: Any, key: Any) -> tuple[Any, Any, Any]:
        key, own = jax.random.split(key)
        weights, m, v, count = state
        loss, gradient = jax.value_and_grad(loss_of)(weights, own, 1.0)
        return adam(weights, m, v, count, gradient), key, loss

    step = jax.jit(update, donate_argnums=0)
    loss, gradient = jax.value_and_grad(loss_of)(weights, jax.random.key(0), 0.0)
    found = {"loss": np.asarray(loss), **{name: np.asarray(value) for name, value in gradient.items()}}
    zeros = jax.tree.map(jnp.zeros_like, weights)
    held: dict[str, Any] = {"state": (weights, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros(()))}
    held["key"] = jax.random.key(1)

    def run() -> None:
        held["state"], held["key"], loss = step(held["state"], held["key"])
        loss.block_until_ready()

    return found, run
