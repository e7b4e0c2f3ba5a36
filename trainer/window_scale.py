"""The scale of each window that a model with `model.window_normalization` measures errors and intervals in."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.segments import LastSteps
from noisy_gru.trainer.layers.target_steps import PastLength
from noisy_gru.trainer.layers.window_normalization import WindowNormalization
from noisy_gru.trainer.relative_forecast import window_normalization
from noisy_gru.trainer.transform_record import TransformRecord

# Of a window that is relative to its last value alone the scale is that of all.
_SCALED = ("mean_std", "mean_abs")
# Of seasonal differences, as a part of the standard deviation of the window, and of the scaled target where that is 0,
# too: a window that repeats itself exactly would otherwise weigh more than all others together.
_LEAST_DIFFERENCE, _LEAST_SPREAD = 0.05, 1e-3


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


def seasonal_scale(layout: Layout, record: TransformRecord | None) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function from a model's inputs to each window's seasonal differences, [B, K], in the target's scale.

    That is the mean of |x[t] - x[t - season_length]| over the window's past, by which MASE divides. Pairs with a
    missing value don't count; a window without any pair has the scale that all share.
    """
    task: Any = layout.dataset.task
    if record is None:
        raise ValueError("seasonal differences need the scales of the fitted Transform")
    place = {name: index for index, name in enumerate(layout.channels)}
    values_of = LastSteps(task.input_length, [place[name] for name in layout.targets])
    flags = [place.get(f"{name} is missing", -1) for name in layout.targets]
    flags_of = LastSteps(task.input_length, [max(flag, 0) for flag in flags])
    past_of, season = PastLength(layout.future_steps), task.season_length
    # A logarithm's loss is in the units of its feature.
    slopes = [
        1.0 if logged else record.numeric[name].scale / record.targets[name].scale
        for name, logged in zip(layout.targets, layout.logged_targets, strict=True)
    ]

    def scale(given: Mapping[str, Any]) -> Any:
        past = past_of(given[names.LENGTH])
        values = values_of(given[names.FEATURES], past)
        steps = ops.arange(task.input_length, dtype=past.dtype)[None, None, :]
        known = ops.broadcast_to(steps >= task.input_length - past[:, None, None], ops.shape(values))
        if max(flags) >= 0:
            has_flag = ops.convert_to_tensor([[[flag >= 0] for flag in flags]])
            missing = ops.logical_and(has_flag, flags_of(given[names.FEATURES], past) > 0.5)
            known = ops.logical_and(known, ops.logical_not(missing))
        pairs = ops.cast(ops.logical_and(known[..., season:], known[..., :-season]), values.dtype)
        number = ops.sum(pairs, axis=-1)
        found = ops.sum(ops.abs(values[..., season:] - values[..., :-season]) * pairs, axis=-1) / ops.maximum(number, 1)
        counts = ops.cast(known, values.dtype)
        total = ops.maximum(ops.sum(counts, axis=-1, keepdims=True), 1)
        mean = ops.sum(values * counts, axis=-1, keepdims=True) / total
        spread = ops.sqrt(ops.sum(ops.square(values - mean) * counts, axis=-1) / total[..., 0])
        least = _LEAST_DIFFERENCE * spread + _LEAST_SPREAD
        slope = ops.convert_to_tensor([slopes], dtype=values.dtype)
        return ops.where(number > 0, ops.maximum(found, least), 1.0) * slope

    return scale


def value_scale(layout: Layout, record: TransformRecord | None) -> Callable[[Any, Any], Any]:
    """Return a function from targets and forecasts [B, H, K] to the mean of their magnitudes, in the target's scale.

    Magnitudes are those in the units of the data, whatever scaling came before.
    """
    if record is None:
        raise ValueError("magnitudes of values need the scales of the fitted Transform")
    scales = [record.targets[name] for name in layout.targets]
    zero = [each.centre / each.scale for each in scales]

    def scale(targets: Any, forecasts: Any) -> Any:
        centre = ops.convert_to_tensor([[zero]], dtype=forecasts.dtype)
        return (ops.abs(targets + centre) + ops.abs(forecasts + centre)) / 2 + _LEAST_SPREAD

    return scale
