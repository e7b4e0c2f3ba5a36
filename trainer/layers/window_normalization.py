"""Normalization of each window by its own level and spread, undone on the forecast."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

KINDS = ("last", "mean_std", "mean_abs")

# As RevIN's: a window that never varies is only centred.
_LEAST_VARIANCE = 1e-5
_LEAST_LEVEL = 1e-6


@keras.saving.register_keras_serializable(package="noisy_gru")
class WindowNormalization(keras.layers.Layer):
    r"""Subtract from each window its own level, divide by its own spread, and return both for the forecast.

    For window `b` and channel `c`, over the steps `t` of the past at which a value was observed:

        last:      offset = x[b, t_last, c]                       scale = 1
        mean_std:  offset = mean_t x[b, t, c]                     scale = sqrt(var_t x[b, t, c] + 1e-5)
        mean_abs:  offset = mean over the last `season` steps     scale = mean_t |x[b, t, c] + centre[c]| + 1e-6

        normalized[b, t, c] = (x[b, t, c] - offset) / scale       0 where no value was observed, and after the past

    `centre[c]` is the distance of the scaled zero from the data's zero, so that `mean_abs` is the mean magnitude in the
    units of the data, whatever scaling came before. A forecast `y` of target k in normalized units is, in the target's
    own scaled units, `y * target_scale + target_offset`, with

        target_scale[b, k] = slope[k] * scale,      target_offset[b, k] = slope[k] * offset + shift[k]

    since a column may be scaled differently as an input and as a target. A window without any observed value has offset
    0 and scale 1.

    Args:
        kind: "last", "mean_std" or "mean_abs".
        channels: indices of the normalized channels of the input.
        missing: for each of them the index of the channel that is 1 where it is missing, or -1 if there is none.
        targets: for each target its place in `channels`.
        centre: for each of `channels` (see above).
        slope, shift: for each target (see above).
        season: steps whose mean is the level of `mean_abs`; None: all.

    Call arguments:
        features: float tensor [B, T, F].
        past: int tensor [B], steps of the past.

    Returns:
        The features [B, T, F] with these channels normalized and the others unchanged; `target_offset` and
        `target_scale`, [B, K].

    Sources: Kim et al. (2022), "Reversible Instance Normalization for Accurate Time-Series Forecasting against
    Distribution Shift", ICLR (mean_std); Salinas et al. (2020), "DeepAR", International Journal of Forecasting 36
    (mean_abs); Lin et al. (2023), "SegRNN", arXiv:2308.11200 (last).
    """

    def __init__(
        self,
        kind: str,
        channels: Sequence[int],
        missing: Sequence[int],
        targets: Sequence[int],
        centre: Sequence[float],
        slope: Sequence[float],
        shift: Sequence[float],
        season: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"Argument `kind` must be one of {KINDS}. Received: kind={kind!r}")
        self.kind = kind
        self.channels, self.missing, self.targets = list(channels), list(missing), list(targets)
        self.centre, self.slope, self.shift = list(centre), list(slope), list(shift)
        self.season = season

    def call(self, features: Any, past: Any) -> Any:
        steps = ops.arange(ops.shape(features)[1], dtype=past.dtype)[None, :, None]
        past = past[:, None, None]
        values = ops.take(features, self.channels, axis=2)
        observed = ops.broadcast_to(steps < past, ops.shape(values))
        if max(self.missing, default=-1) >= 0:
            flags = ops.take(features, [max(index, 0) for index in self.missing], axis=2)
            has_flag = ops.convert_to_tensor([index >= 0 for index in self.missing])
            observed = ops.logical_and(observed, ops.logical_not(ops.logical_and(has_flag, flags > 0.5)))
        offset, scale = self._level_and_spread(values, observed, steps, past)
        normalized = ops.where(observed, (values - offset) / scale, 0.0)
        place = {channel: index for index, channel in enumerate(self.channels)}
        width = features.shape[2]
        # Each channel of the result comes from the normalized ones, or is as it was.
        both = ops.concatenate([features, normalized], axis=2)
        result = ops.take(both, [width + place[index] if index in place else index for index in range(width)], axis=2)
        slope, shift = (ops.convert_to_tensor([each], dtype=features.dtype) for each in (self.slope, self.shift))
        target_offset = ops.take(offset[:, 0, :], self.targets, axis=1) * slope + shift
        target_scale = ops.take(scale[:, 0, :], self.targets, axis=1) * slope
        return result, target_offset, target_scale

    def _level_and_spread(self, values: Any, observed: Any, steps: Any, past: Any) -> tuple[Any, Any]:
        """Return offset and scale, [B, 1, C]."""
        count = ops.sum(ops.cast(observed, values.dtype), axis=1, keepdims=True)
        if self.kind == "last":
            at = ops.max(ops.where(observed, steps, -1), axis=1, keepdims=True)
            last = ops.sum(ops.where(steps == at, values, 0.0), axis=1, keepdims=True)
            return ops.where(count > 0, last, 0.0), ops.ones_like(last)
        offset = _mean(values, observed)
        if self.kind == "mean_std":
            variance = _mean(ops.square(values - offset), observed)
            return offset, ops.where(count > 0, ops.sqrt(variance + _LEAST_VARIANCE), 1.0)
        centre = ops.convert_to_tensor([[self.centre]], dtype=values.dtype)
        scale = _mean(ops.abs(values + centre), observed) + _LEAST_LEVEL
        if self.season is not None:
            recent = ops.logical_and(observed, steps >= past - self.season)
            # A season without a reading has no level of its own.
            found = ops.any(recent, axis=1, keepdims=True)
            offset = ops.where(found, _mean(values, recent), offset)
        return offset, ops.where(count > 0, scale, 1.0)

    def compute_output_spec(self, features: Any, past: Any) -> Any:
        shape = (features.shape[0], len(self.targets))
        # Two tensors: Keras tells a layer's outputs apart by identity.
        offset, scale = (keras.KerasTensor(shape, dtype=features.dtype) for _ in range(2))
        return keras.KerasTensor(features.shape, dtype=features.dtype), offset, scale

    def get_config(self) -> dict[str, Any]:
        keys = ("kind", "channels", "missing", "targets", "centre", "slope", "shift", "season")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


def _mean(values: Any, counts: Any) -> Any:
    """Mean over the steps that count, [B, 1, C]; 0 without any."""
    number = ops.sum(ops.cast(counts, values.dtype), axis=1, keepdims=True)
    return ops.sum(ops.where(counts, values, 0.0), axis=1, keepdims=True) / ops.maximum(number, 1.0)


@keras.saving.register_keras_serializable(package="noisy_gru")
class UndoWindowNormalization(keras.layers.Layer):
    """Bring a forecast back to the target's scaled units: y [B, H, K], or [B, H, K, Q], to y * scale + offset."""

    def call(self, forecast: Any, target_offset: Any, target_scale: Any) -> Any:
        scale, offset = target_scale[:, None, :], target_offset[:, None, :]
        if len(forecast.shape) == 4:
            scale, offset = scale[..., None], offset[..., None]
        return forecast * scale + offset

    def compute_output_spec(self, forecast: Any, target_offset: Any, target_scale: Any) -> keras.KerasTensor:
        return keras.KerasTensor(forecast.shape, dtype=forecast.dtype)
