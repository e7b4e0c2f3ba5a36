"""Quantiles that cannot cross: the median, and steps away from it that are never negative."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# Of a head near zero, softplus(-1) = 0.31: neighbouring quantiles begin that far apart.
START = -1.0


@keras.saving.register_keras_serializable(package="noisy_gru")
class OrderedQuantiles(keras.layers.Layer):
    r"""Make quantiles of a head's numbers: [..., K * Q] to [..., K, Q], rising along the last axis.

    With `u` the Q numbers of a target and `m` the place of the median,

        q[m] = u[m]
        q[j] = q[j - 1] + softplus(u[j] - 1)    for j > m
        q[j] = q[j + 1] - softplus(u[j] - 1)    for j < m

    so the median is as free as a prediction without quantiles, whatever the others are. Sorting would do as well, but
    then no output belongs to a level, and each gets the gradient of whichever level it happens to take.

    Args:
        quantiles: Q.
        median: m.
    """

    def __init__(self, quantiles: int, median: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.quantiles, self.median = quantiles, median

    def call(self, numbers: Any) -> Any:
        inner = [-1 if size is None else size for size in numbers.shape[1:-1]]
        targets = numbers.shape[-1] // self.quantiles
        free = ops.reshape(numbers, (-1, *inner, targets, self.quantiles))
        middle = free[..., self.median : self.median + 1]
        gaps = ops.softplus(free + START)
        above = middle + ops.cumsum(gaps[..., self.median + 1 :], axis=-1)
        below = middle - ops.flip(ops.cumsum(ops.flip(gaps[..., : self.median], axis=-1), axis=-1), axis=-1)
        return ops.concatenate([below, middle, above], axis=-1)

    def compute_output_spec(self, numbers: Any) -> keras.KerasTensor:
        shape = (*numbers.shape[:-1], numbers.shape[-1] // self.quantiles, self.quantiles)
        return keras.KerasTensor(shape, dtype=numbers.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantiles": self.quantiles, "median": self.median}
