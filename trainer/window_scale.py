"""The scale of each window that a model with `model.window_normalization` measures errors and intervals in."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.target_steps import PastLength
from noisy_gru.trainer.layers.window_normalization import WindowNormalization
from noisy_gru.trainer.relative_forecast import window_normalization
from noisy_gru.trainer.transform_record import TransformRecord

# Of a window that is relative to its last value alone the scale is that of all.
_SCALED = ("mean_std", "mean_abs")


def calibration_scale(
    model: keras.Model, layout: Layout, record: Callable[[], TransformRecord]
) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return the scale of each window that intervals are calibrated in, as `window_scale`.

    Args:
        model: the Keras model.
        layout: of the data set.
        record: returns the fitted scales, for `calibration.scale: window` of a model that has no scale of its own.
    """
    own = window_scale(model)
    if own is not None or layout.dataset.task.calibration.scale != "window":  # type: ignore[union-attr]
        return own
    layer, past = window_normalization("mean_std", layout, record()), PastLength(layout.future_steps)
    return lambda given: layer(given[names.FEATURES], past(given[names.LENGTH]))[2]


def window_scale(model: keras.Model) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return a function from a model's inputs to the scale of each window and target, [B, K], in the target's scale.

    None for a model whose windows all have one scale.
    """
    for layer in model.layers:
        if isinstance(layer, WindowNormalization) and layer.kind in _SCALED:
            inputs: Any = model.input
            scales = keras.Model(inputs, layer.output[2], name="window_scales")
            return lambda given: scales({key: given[key] for key in inputs}, training=False)
        if isinstance(layer, keras.Model) and (inner := window_scale(layer)) is not None:
            return inner
    return None
