"""The served numbers of a regression or forecast: from a model's scaled output to predictions and quantiles."""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.schema.interval_config import MEDIAN, OutputConfig, levels_of
from noisy_gru.trainer import features as names
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.features import Layout


@dataclass(frozen=True)
class ServedNumbers:
    """From a model's output to its answer.

    Attributes:
        layout: of the data set.
        calibration: of the quantiles; None: as they were trained.
        window: from the model's inputs to the scale of each window, [B, K]; for a calibration in its units.
        bounds: of the answers.
    """

    layout: Layout
    calibration: Calibration | None
    window: Callable[[Mapping[str, Any]], Any] | None
    bounds: OutputConfig

    @property
    def unrounded(self) -> ServedNumbers:
        """The same, without rounding to whole numbers."""
        return replace(self, bounds=self.bounds.model_copy(update={"integer": False}))

    def __call__(self, outputs: Any, inputs: Mapping[str, Any], units: Mapping[str, Any]) -> dict[str, Any]:
        """Return `predictions`, and `quantiles` if the task has some.

        Args:
            outputs: scaled, [B, *shape] or [B, *shape, Q]; with `task.per_step` [B, T, K].
            inputs: of the model.
            units: `target_scale` and `target_mean`, [B, K].
        """
        scale, mean = units[names.TARGET_SCALE], units[names.TARGET_MEAN]
        if len(self.layout.target_shape) == 2 or self.layout.is_per_step:
            scale, mean = scale[:, tf.newaxis, :], mean[:, tf.newaxis, :]
        levels = levels_of(self.layout.dataset.task)
        if not levels:
            return {names.PREDICTIONS: _bounded(outputs * scale + mean, self.bounds)}
        quantiles = outputs if self.layout.quantiles else tf.repeat(outputs[..., tf.newaxis], len(levels), axis=-1)
        median = levels.index(MEDIAN)
        if self.calibration is not None:
            offsets = tf.constant(np.array(self.calibration.offsets, np.float32))
            if self.window is not None:
                offsets *= self.window(inputs)[:, tf.newaxis, :, tf.newaxis]
            quantiles = _in_order(quantiles + offsets, median)
        quantiles = quantiles * scale[..., tf.newaxis] + mean[..., tf.newaxis]
        quantiles = _bounded(quantiles, self.bounds)
        return {names.PREDICTIONS: quantiles[..., median], names.QUANTILES: quantiles}


def _in_order(quantiles: Any, median: int) -> Any:
    """Move quantiles away from the median as far as the one before is: narrowed ones may cross."""
    found = tf.unstack(quantiles, axis=-1)
    for place in range(median - 1, -1, -1):
        found[place] = tf.minimum(found[place], found[place + 1])
    for place in range(median + 1, len(found)):
        found[place] = tf.maximum(found[place], found[place - 1])
    return tf.stack(found, axis=-1)


def _bounded(values: Any, bounds: OutputConfig) -> Any:
    """Round and clip; what is no finite number stays so, and the client refuses it."""
    if bounds == OutputConfig():
        return values
    found = tf.round(values) if bounds.integer else values
    if bounds.min is not None:
        found = tf.maximum(found, np.float32(bounds.min))
    if bounds.max is not None:
        found = tf.minimum(found, np.float32(bounds.max))
    return tf.where(tf.math.is_finite(values), found, values)
