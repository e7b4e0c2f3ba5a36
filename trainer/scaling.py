"""Scaling of numeric columns in Transform: z-score, range, quartiles or logarithms, fitted on finite values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
import tensorflow_transform as tft

# A standard deviation below this part of the largest magnitude is float32 rounding, not variation.
_ROUNDING = 1e-7
_QUANTILE_ERROR = 1e-3


class Scaling(NamedTuple):
    """float64 [G], one for each of G columns: scaled = (value - centre) / scale; a missing value becomes `fill`."""

    centre: tf.Tensor
    scale: tf.Tensor
    fill: tf.Tensor


def with_logarithms(matrix: tf.Tensor, kinds: Sequence[str]) -> tf.Tensor:
    """Return sign(x) log(1 + |x|) in the columns of kind `log1p`, and the others as they are; float64 [N, G]."""
    if "log1p" not in kinds:
        return matrix
    logged = tf.constant([[kind == "log1p" for kind in kinds]])
    return tf.where(logged, tf.sign(matrix) * tf.math.log1p(tf.abs(matrix)), matrix)


def fit_scaling(matrix: tf.Tensor, kinds: Sequence[str]) -> Scaling:
    """Fit the scaling of each column to the analysed split's finite values; `matrix` is float64 [N, G].

    Columns of kind `log1p` hold logarithms already, and are z-scored.
    """
    zero, one = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
    # Both leave out NaN and infinity.
    mean = _or(tft.mean(matrix, reduce_instance_dims=False), zero)
    deviation = _varies(tf.sqrt(_or(tft.var(matrix, reduce_instance_dims=False), zero)), mean, one)
    centre, scale, fill = tf.unstack(mean), tf.unstack(deviation), tf.unstack(mean)
    finite = tf.math.is_finite(matrix)
    ranged = [index for index, kind in enumerate(kinds) if kind == "minmax"]
    if ranged:
        values, here = tf.gather(matrix, ranged, axis=1), tf.gather(finite, ranged, axis=1)
        infinity = tf.constant(math.inf, tf.float64)
        low = _or(tft.min(tf.where(here, values, infinity), reduce_instance_dims=False), zero)
        high = _or(tft.max(tf.where(here, values, -infinity), reduce_instance_dims=False), zero)
        spread = _varies(high - low, low, one)
        for index, bottom, width in zip(ranged, tf.unstack(low), tf.unstack(spread), strict=True):
            centre[index], scale[index] = bottom, width
    for index, kind in enumerate(kinds):
        if kind == "none":
            centre[index], scale[index] = zero, one
        elif kind == "robust":
            column = tf.cast(tf.boolean_mask(matrix[:, index], finite[:, index]), tf.float32)
            quartiles = tft.quantiles(column, num_buckets=4, epsilon=_QUANTILE_ERROR)
            low, median, high = tf.unstack(tf.cast(tf.reshape(quartiles, [3]), tf.float64))
            centre[index] = fill[index] = _or(median, zero)
            # A half that is one value (mostly zeros, say) has no such range, and the deviation takes its place.
            scale[index] = _varies(_or(high - low, zero), centre[index], deviation[index])
    return Scaling(tf.stack(centre), tf.stack(scale), tf.stack(fill))


def _or(value: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_finite(value), value, default)


def _varies(spread: tf.Tensor, level: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(spread > _ROUNDING * tf.abs(level), spread, default)
