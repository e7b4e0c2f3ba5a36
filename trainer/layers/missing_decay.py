"""What was last observed, fading with time: the decays of GRU-D (Che et al. 2018)."""

# Keras' type hints give None for what an operation returns; TensorFlow's know no tensors as arguments.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

# max(0, 0) has no gradient, so the rates begin above 0.
_FIRST_RATE = 0.1


@keras.saving.register_keras_serializable(package="noisy_gru")
class MissingDecay(keras.layers.Layer):
    r"""Let a missing value fade from the last observed one to the mean, and give the factors by which a state fades.

    With m[t, d] 1 where channel d is observed at step t and else 0, and s[t] the time of step t,

        delta[t, d]   = 0                                       t = 1
                        s[t] - s[t-1]                           m[t-1, d] = 1
                        s[t] - s[t-1] + delta[t-1, d]           m[t-1, d] = 0
        gamma_x[t, d] = exp(-max(0, w_x[d] delta[t, d] + b_x[d]))
        gamma_h[t]    = exp(-max(0, delta[t] W_h + b_h))
        x[t, d]       = m x[t, d] + (1 - m) (gamma_x x[t', d] + (1 - gamma_x) mean[d])

    t' being the last step before t at which d is observed; before the first one a missing value is the mean. A GRU
    (`NoisyGRU` with `decays`) then reads x, and goes on from gamma_h[t] * h[t-1].

    Args:
        units: U, of the GRU.
        channels: indices of the D channels that may be missing. Where one is missing it holds the mean already.
        flags: for each of them the index of the channel that is 1 where it is missing.
        time_channel: index of the channel with the time since the step before; None: each step is 1.
        time_offset, time_scale, time_unit: the time is `max(0, channel * time_scale + time_offset) / time_unit`.
        time_is_log: whether it is expm1 of the sum, for a channel that holds logarithms.
        seed: of the first rates of the state.

    Call arguments:
        features: float tensor [B, T, F].

    Returns:
        The features [B, T, F] with these channels filled in, and gamma_h [B, T, U].

    Source: Che, Purushotham, Cho, Sontag and Liu (2018), "Recurrent Neural Networks for Multivariate Time Series with
    Missing Values", Scientific Reports 8, arXiv:1606.01865, equations 2 to 6.
    """

    def __init__(
        self,
        units: int,
        channels: Sequence[int],
        flags: Sequence[int],
        time_channel: int | None = None,
        time_offset: float = 0.0,
        time_scale: float = 1.0,
        time_unit: float = 1.0,
        time_is_log: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units, self.channels, self.flags = units, list(channels), list(flags)
        self.time_channel, self.time_offset, self.time_scale = time_channel, time_offset, time_scale
        self.time_unit, self.time_is_log, self.seed = time_unit, time_is_log, seed

    def build(self, features_shape: Any) -> None:
        count = len(self.channels)
        constant = keras.initializers.Constant(_FIRST_RATE)
        uniform = keras.initializers.RandomUniform(0.0, 2 * _FIRST_RATE / count, seed=self.seed)
        self.input_rate = self.add_weight((count,), constant, name="input_rate")
        self.input_bias = self.add_weight((count,), "zeros", name="input_bias")
        self.state_rate = self.add_weight((count, self.units), uniform, name="state_rate")
        self.state_bias = self.add_weight((self.units,), "zeros", name="state_bias")

    def call(self, features: Any) -> Any:
        rows = ops.shape(features)[0]
        zeros = ops.zeros((rows, len(self.channels)), features.dtype)
        length = ops.full((rows,), ops.shape(features)[1], "int64")
        filled, decay, _, _ = self.stepped(features, length, zeros, zeros, ops.ones((rows,), "bool"))
        return filled, decay

    def stepped(self, features: Any, lengths: Any, last: Any, since: Any, is_new: Any) -> tuple[Any, Any, Any, Any]:
        """Fill in a piece of a sequence.

        Args:
            features: float tensor [B, T, F].
            lengths: int tensor [B], steps of the piece.
            last: [B, D], the last values before the piece; the mean where there is none.
            since: [B, D], the time from their observation to the last step before the piece.
            is_new: bool [B], where the piece is the first: `last` and `since` don't count there.

        Returns:
            The features and factors of `call`, and `last` and `since` after the piece; for a piece without a step they
            have no meaning.
        """
        values, missing = (ops.take(features, places, axis=2) for places in (self.channels, self.flags))
        begins = is_new[:, None]
        # In the first piece a channel that was never observed holds the mean at its first step.
        last = ops.where(begins, ops.sum(values[:, :1], axis=1), last)
        since = ops.where(begins, 0.0, since)
        # One step more, at which nothing is read, stands for what the next piece goes on from; [B, D, T + 1].
        clock = ops.broadcast_to(ops.cumsum(self._times(features, is_new), axis=1), ops.shape(values))
        clock, known, observed = (
            ops.transpose(tf.pad(each, [[0, 0], [0, 1], [0, 0]]), (0, 2, 1))
            for each in (clock, values, ops.cast(missing < 0.5, "int32"))
        )
        steps = ops.shape(observed)[2]
        place = ops.broadcast_to(ops.arange(steps, dtype="int32"), ops.shape(observed))
        # The observed steps in order; of each step the one before it is the last that came earlier.
        order = tf.sort(ops.where(observed > 0, place, steps - 1), axis=2)
        count = ops.cumsum(observed, axis=2) - observed
        before = tf.gather(order, ops.maximum(count - 1, 0), batch_dims=2)
        found = count > 0
        seen = ops.where(found, tf.gather(known, before, batch_dims=2), last[:, :, None])
        delta = clock - ops.where(found, tf.gather(clock, before, batch_dims=2), -since[:, :, None])

        def at(tensor: Any, step: Any) -> Any:
            return tf.gather(tensor, step, axis=2, batch_dims=2)[:, :, 0]

        end = ops.broadcast_to(ops.cast(lengths, "int32")[:, None, None], (ops.shape(last)[0], len(self.channels), 1))
        # The clock stands still at the step that isn't read: it goes on with the next piece.
        stopped = at(clock, ops.maximum(end - 1, 0)) - at(clock, end)
        last_after, since_after = at(seen, end), at(delta, end) + stopped
        seen, delta = (ops.transpose(each[:, :, :-1], (0, 2, 1)) for each in (seen, delta))
        observed = missing < 0.5
        fade = ops.exp(-ops.relu(self.input_rate * delta + self.input_bias))
        decay = ops.exp(-ops.relu(ops.matmul(delta, self.state_rate) + self.state_bias))
        filled = ops.where(observed, values, fade * seen + (1.0 - fade) * values)
        width = features.shape[2]
        source = [width + self.channels.index(each) if each in self.channels else each for each in range(width)]
        return ops.take(ops.concatenate([features, filled], axis=2), source, axis=2), decay, last_after, since_after

    def _times(self, features: Any, is_new: Any) -> Any:
        """Return the time that passed before each step, [B, T, 1]; none before the first of a sequence."""
        if self.time_channel is None:
            passed = ops.ones_like(features[:, :, :1])
        else:
            passed = features[:, :, self.time_channel : self.time_channel + 1] * self.time_scale + self.time_offset
            passed = ops.relu(ops.expm1(passed) if self.time_is_log else passed) / self.time_unit
        first = ops.arange(ops.shape(features)[1])[None, :, None] == 0
        return ops.where(ops.logical_and(first, is_new[:, None, None]), 0.0, passed)

    def compute_output_spec(self, features: Any) -> Any:
        decay = keras.KerasTensor((*features.shape[:2], self.units), dtype=features.dtype)
        return keras.KerasTensor(features.shape, dtype=features.dtype), decay

    def get_config(self) -> dict[str, Any]:
        keys = ("units", "channels", "flags", "time_channel", "time_offset", "time_scale", "time_unit", "time_is_log")
        keys = (*keys, "seed")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}
