"""Forecasts relative to their window: normalized inputs, a linear path beside the stack, and the way back."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from typing import Any

import keras

from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.log_units import FromLogarithms
from noisy_gru.trainer.layers.segments import LastSteps
from noisy_gru.trainer.layers.window_normalization import UndoWindowNormalization, WindowNormalization
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

FROM_LOGARITHMS = "from_logarithms"
_UNUSED = Scale(0.0, 1.0, 0.0)  # of a target that is no feature, and so has no logarithms


class RelativeForecast:
    """What `model.window_normalization` and `model.linear_path` put around the stack.

    Args:
        features: [B, T, F].
        past: int [B], steps of the past.
        config: of the model.
        layout: of the data set, a forecast of observed targets.
        record: the fitted scales; None without `window_normalization`.

    Attributes:
        features: [B, T, F], normalized.
    """

    def __init__(self, features: Any, past: Any, config: ModelConfig, layout: Layout, record: TransformRecord | None):
        self._units: list[Any] = []
        if config.window_normalization != "none":
            layer = window_normalization(config.window_normalization, layout, record)
            features, *self._units = layer(features, past)
        self.features = features
        self._linear = None
        if config.linear_path:
            task: Any = layout.dataset.task
            targets = [layout.channels.index(name) for name in layout.targets]
            steps = LastSteps(task.input_length, targets, name="target_window")(features, past)
            # Zeros first: the stack and the path would otherwise both begin with noise as large as the target.
            path = keras.layers.Dense(
                len(layout.horizons), kernel_initializer="zeros", dtype="float32", name="linear_path"
            )
            self._linear = keras.layers.Permute((2, 1), dtype="float32", name="linear_forecast")(path(steps))

    def restored(self, outputs: Any) -> Any:
        """Return the forecast [B, H, K], or [B, H, K, Q], in the target's scaled units, from the stack's."""
        if self._linear is not None:
            linear = self._linear
            if len(outputs.shape) == 4:
                # The same for all quantiles.
                linear = keras.layers.Reshape((*linear.shape[1:], 1), dtype="float32", name="linear_quantiles")(linear)
            outputs = keras.layers.Add(dtype="float32", name="with_linear_path")([outputs, linear])
        if self._units:
            undo = UndoWindowNormalization(dtype="float32", name="undo_window_normalization")
            outputs = undo(outputs, *self._units)
        return outputs


def window_normalization(kind: str, layout: Layout, record: TransformRecord | None) -> WindowNormalization:
    """Return the layer of a kind of normalization, with the fitted scales."""
    task = layout.dataset.task
    if record is None or not isinstance(task, ForecastingConfig):
        raise ValueError("window_normalization needs a forecast, and the scales of the fitted Transform")
    place = {name: index for index, name in enumerate(layout.channels)}
    # What is known in advance has a level that the past doesn't determine.
    columns = [feature.name for feature in layout.numeric if not feature.known_in_advance]
    # A logarithm's forecast stays in the units of its feature until `FromLogarithms`.
    pairs = [
        (record.numeric[name], record.numeric[name] if logged else record.targets[name])
        for name, logged in zip(layout.targets, layout.logged_targets, strict=True)
    ]
    return WindowNormalization(
        kind,
        channels=[place[name] for name in columns],
        missing=[place.get(f"{name} is missing", -1) for name in columns],
        targets=[columns.index(name) for name in layout.targets],
        centre=[record.numeric[name].centre / record.numeric[name].scale for name in columns],
        slope=[own.scale / target.scale for own, target in pairs],
        shift=[(own.centre - target.centre) / target.scale for own, target in pairs],
        season=task.season_length,
        dtype="float32",
        name="window_normalization",
    )


def from_logarithms(outputs: Any, layout: Layout, record: TransformRecord | None) -> Any:
    """Bring the forecasts [B, H, K] of logarithms to the target's scaled units; all others are as they were."""
    if not any(layout.logged_targets):
        return outputs
    if record is None:
        raise ValueError("a target with scale: log1p needs the scales of the fitted Transform")
    pairs = [(record.numeric.get(name, _UNUSED), record.targets[name]) for name in layout.targets]
    own, others = zip(*pairs, strict=True)
    layer = FromLogarithms(
        logged=layout.logged_targets,
        centre=[each.centre for each in own],
        scale=[each.scale for each in own],
        target_centre=[each.centre for each in others],
        target_scale=[each.scale for each in others],
        dtype="float32",
        name=FROM_LOGARITHMS,
    )
    return layer(outputs)
