"""Quantiles of a distribution with a location and a scale: normal, or Student's t."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

# Of the scale, in the target's scaled units: a constant target has a finite density.
LEAST_SCALE = 1e-3


def law_of(task: Any) -> tuple[list[float], float | None] | None:
    """Return a task's distribution: its `standard_quantiles`, and the degrees of freedom, None of a normal one.

    None if each quantile is trained by itself, or there are none.
    """
    kind = getattr(task, "distribution", None)
    if kind is None:
        return None
    degrees = task.degrees_of_freedom if kind == "student_t" else None
    return standard_quantiles(task.quantiles, degrees), degrees


def standard_quantiles(levels: Sequence[float], degrees: float | None) -> list[float]:
    """Return the quantiles of the distribution of location 0 and scale 1.

    Args:
        levels: in (0, 1).
        degrees: of freedom of Student's t; None: the normal distribution.
    """
    # Loaded here: a served model holds the numbers.
    from scipy.special import ndtri, stdtrit

    found = ndtri(np.array(levels)) if degrees is None else stdtrit(degrees, np.array(levels))
    return [float(each) for each in found]


def likelihood_loss(quantiles: Sequence[float], median: int, degrees: float | None) -> Any:
    """Return a function of targets [...] and their quantiles [..., Q] to the negative log-likelihood [...].

    Location and scale follow from the outermost quantiles, of which each distribution has two at least.

    Args:
        quantiles: of `standard_quantiles`.
        median: place of the median among them.
        degrees: of freedom of Student's t; None: the normal distribution.
    """
    width = quantiles[-1] - quantiles[0]

    def loss(targets: Any, predicted: Any) -> Any:
        scale = ops.maximum((predicted[..., -1] - predicted[..., 0]) / width, LEAST_SCALE)
        error = (targets - predicted[..., median]) / scale
        if degrees is None:
            return ops.log(scale) + ops.square(error) / 2 + math.log(2 * math.pi) / 2
        constant = math.lgamma(degrees / 2) - math.lgamma((degrees + 1) / 2) + math.log(degrees * math.pi) / 2
        return ops.log(scale) + (degrees + 1) / 2 * ops.log1p(ops.square(error) / degrees) + constant

    return loss


@keras.saving.register_keras_serializable(package="noisy_gru")
class LocatedQuantiles(keras.layers.Layer):
    r"""Make quantiles of a head's numbers: [..., K * 2] to [..., K, Q], rising along the last axis.

    With the two numbers `m` and `u` of a target and the quantiles `z` of the distribution of location 0 and scale 1,

        q[j] = m + (softplus(u) + 0.001) z[j]

    so no quantile crosses another, and the median is the location.

    Args:
        standard: z, rising.
    """

    def __init__(self, standard: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.standard = list(standard)

    def call(self, numbers: Any) -> Any:
        inner = [-1 if size is None else size for size in numbers.shape[1:-1]]
        pairs = ops.reshape(numbers, (-1, *inner, numbers.shape[-1] // 2, 2))
        standard = ops.convert_to_tensor(self.standard, dtype=numbers.dtype)
        return pairs[..., :1] + (ops.softplus(pairs[..., 1:]) + LEAST_SCALE) * standard

    def compute_output_spec(self, numbers: Any) -> keras.KerasTensor:
        shape = (*numbers.shape[:-1], numbers.shape[-1] // 2, len(self.standard))
        return keras.KerasTensor(shape, dtype=numbers.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "standard": self.standard}
