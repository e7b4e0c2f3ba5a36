"""Forecasts in logarithms: from their scaled units to the target's, for targets with `scale: log1p`."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# exp(80) is a float32, and more than any amount.
_MOST = 80.0


@keras.saving.register_keras_serializable(package="noisy_gru")
class FromLogarithms(keras.layers.Layer):
    r"""Turn forecasts of logarithms into the target's scaled units, and back.

    With v = y * scale[k] + centre[k] the forecast logarithm of target k, limited to 80 on both sides,

        call(y)[b, h, k]        = (sign(v) (exp(|v|) - 1) - target_centre[k]) / target_scale[k]
        logarithms(z)[b, h, k]  = (sign(x) log(1 + |x|) - centre[k]) / scale[k]

    where x = z * target_scale[k] + target_centre[k],
    and both leave the targets alone that have no logarithms.

    Args:
        logged: for each target whether it has.
        centre, scale: of the logarithms, for each target.
        target_centre, target_scale: of the target itself.

    Call arguments:
        forecast: float tensor [B, H, K], or quantiles [B, H, K, Q].
    """

    def __init__(
        self,
        logged: Sequence[bool],
        centre: Sequence[float],
        scale: Sequence[float],
        target_centre: Sequence[float],
        target_scale: Sequence[float],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.logged = list(logged)
        self.centre, self.scale = list(centre), list(scale)
        self.target_centre, self.target_scale = list(target_centre), list(target_scale)

    def call(self, forecast: Any) -> Any:
        centre, scale, target_centre, target_scale, logged = self._constants(forecast)
        value = ops.clip(forecast * scale + centre, -_MOST, _MOST)
        amount = ops.sign(value) * ops.expm1(ops.abs(value))
        return ops.where(logged, (amount - target_centre) / target_scale, forecast)

    def logarithms(self, scaled: Any) -> Any:
        """Return the inverse, for errors in the units of the forecast."""
        centre, scale, target_centre, target_scale, logged = self._constants(scaled)
        value = scaled * target_scale + target_centre
        logarithm = ops.sign(value) * ops.log1p(ops.abs(value))
        return ops.where(logged, (logarithm - centre) / scale, scaled)

    def _constants(self, tensor: Any) -> list[Any]:
        shape = (-1, 1) if len(tensor.shape) == 4 else (-1,)
        numbers = [self.centre, self.scale, self.target_centre, self.target_scale]
        constants = [*(ops.convert_to_tensor(each, dtype=tensor.dtype) for each in numbers), self.logged]
        return [ops.reshape(each, shape) for each in constants]

    def compute_output_spec(self, forecast: Any) -> keras.KerasTensor:
        return keras.KerasTensor(forecast.shape, dtype=forecast.dtype)

    def get_config(self) -> dict[str, Any]:
        keys = ("logged", "centre", "scale", "target_centre", "target_scale")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}
