"""The scale of each window that a model with `model.window_normalization` measures errors and intervals in."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from noisy_gru.trainer.layers.window_normalization import WindowNormalization

# Of a window that is relative to its last value alone the scale is that of all.
_SCALED = ("mean_std", "mean_abs")


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
