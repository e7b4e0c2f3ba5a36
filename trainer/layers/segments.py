"""Segments of a sequence in place of its steps, and what a parallel decoder needs (SegRNN)."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="noisy_gru")
class Segments(keras.layers.Layer):
    """Cut each sequence from its end into segments of `length` steps: [B, T, F] to [B, N, length * F].

    N is the number of segments of the longest axis, ceil(T / length). A sequence of n steps has
    ceil(n / length) of them, of which the first is filled with zeros at its beginning; those after are zeros.

    Args:
        length: steps of a segment.

    Call arguments:
        features: float tensor [B, T, F].
        past: int tensor [B], steps that count.

    Returns:
        The segments [B, N, length * F], step by step, and a bool mask [B, N], True where one counts.
    """

    def __init__(self, length: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.length = length

    def call(self, features: Any, past: Any) -> Any:
        rows, width, size = ops.shape(features)[0], features.shape[2], self.length
        steps = ops.shape(features)[1]
        number = (steps + size - 1) // size
        counted = -(-past // size)
        places = ops.arange(number * size, dtype=past.dtype)[None, :] - (counted * size - past)[:, None]
        inside = ops.logical_and(places >= 0, places < past[:, None])
        taken = tf.gather(features, ops.where(inside, places, 0), batch_dims=1)
        cut = ops.where(inside[:, :, None], taken, 0.0)
        mask = ops.arange(number, dtype=past.dtype)[None, :] < counted[:, None]
        return ops.reshape(cut, (rows, number, size * width)), mask

    def compute_output_spec(self, features: Any, past: Any) -> Any:
        steps, width = features.shape[1], features.shape[2]
        number = None if steps is None else -(-steps // self.length)
        segments = keras.KerasTensor((features.shape[0], number, self.length * width), dtype=features.dtype)
        return segments, keras.KerasTensor((features.shape[0], number), dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length}


@keras.saving.register_keras_serializable(package="noisy_gru")
class SplitChannels(keras.layers.Layer):
    """Make one sequence of each target: [B, T, F] to [B * K, T, len(own) + len(shared)], targets varying fastest.

    Args:
        own: for each target the indices of its own channels, equally many for each.
        shared: indices of the channels that every target reads.
    """

    def __init__(self, own: list[list[int]], shared: list[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.own, self.shared = own, shared

    def call(self, features: Any) -> Any:
        shape = ops.shape(features)
        width = len(self.own[0]) + len(self.shared)
        taken = ops.take(features, [index for own in self.own for index in [*own, *self.shared]], axis=2)
        by_target = ops.transpose(ops.reshape(taken, (shape[0], shape[1], len(self.own), width)), (0, 2, 1, 3))
        return ops.reshape(by_target, (shape[0] * len(self.own), shape[1], width))

    def compute_output_spec(self, features: Any) -> keras.KerasTensor:
        width = len(self.own[0]) + len(self.shared)
        return keras.KerasTensor((None, features.shape[1], width), dtype=features.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "own": self.own, "shared": self.shared}


@keras.saving.register_keras_serializable(package="noisy_gru")
class AddToEach(keras.layers.Layer):
    """Add rows [M, ...] to each M rows of a tensor [W * M, ...]."""

    def call(self, tensor: Any, rows: Any) -> Any:
        shape: Any = ops.shape(rows)
        return ops.reshape(ops.reshape(tensor, (-1, *shape)) + rows[None], (-1, *shape[1:]))

    def compute_output_spec(self, tensor: Any, rows: Any) -> keras.KerasTensor:
        return keras.KerasTensor(tensor.shape, dtype=tensor.dtype)


@keras.saving.register_keras_serializable(package="noisy_gru")
class RepeatRows(keras.layers.Layer):
    """Repeat each row of a tensor `times` times: [B, ...] to [B * times, ...], copies beside each other."""

    def __init__(self, times: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.times = times

    def call(self, rows: Any) -> Any:
        return ops.repeat(rows, self.times, axis=0)

    def compute_output_spec(self, rows: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, *rows.shape[1:]), dtype=rows.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "times": self.times}


@keras.saving.register_keras_serializable(package="noisy_gru")
class DecoderPositions(keras.layers.Layer):
    """Embeddings of the forecast's segments, and of the channels: [channels * N, 1, width], the same for each window.

    Row c * N + n is `position[n]`, of `width` numbers; with several channels it is the concatenation of `position[n]`
    and `channel[c]`, of half the width each (Lin et al. 2023, arXiv:2308.11200, section 3.3).

    Args:
        positions: N, segments of the forecast.
        channels: sequences of each window, targets varying fastest.
        width: of the embedding.
        once: whether to return them once; else, as models saved by earlier versions read them, for each window.

    Call arguments:
        sequences: a tensor [S, ...] of S = windows * channels rows, whose values don't count.
    """

    def __init__(
        self, positions: int, channels: int, width: int, seed: int | None = None, once: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.positions, self.channels, self.width, self.seed, self.once = positions, channels, width, seed, once

    def build(self, _: Any) -> None:
        of_channel = self.width // 2 if self.channels > 1 else 0

        def weight(name: str, shape: tuple[int, int], seed: int | None) -> Any:
            return self.add_weight(name=name, shape=shape, initializer=keras.initializers.RandomNormal(0.0, 1.0, seed))

        self.position = weight("position", (self.positions, self.width - of_channel), self.seed)
        if of_channel:
            other = None if self.seed is None else self.seed + 1
            self.channel = weight("channel", (self.channels, of_channel), other)

    def call(self, sequences: Any) -> Any:
        table: Any = self.position
        if self.channels > 1:
            positions = ops.tile(self.position, (self.channels, 1))
            channels = ops.repeat(self.channel, self.positions, axis=0)
            table = ops.concatenate([positions, channels], axis=1)
        if not self.once:
            table = ops.tile(table, (ops.shape(sequences)[0] // self.channels, 1))
        return ops.expand_dims(table, 1)

    def compute_output_spec(self, sequences: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, 1, self.width), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        keys = ("positions", "channels", "width", "seed", "once")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


@keras.saving.register_keras_serializable(package="noisy_gru")
class JoinSegments(keras.layers.Layer):
    """Put the decoded segments one after the other: [B * C * N, 1 or none, L * K] to [B, horizons, C * K].

    Args:
        positions: N, segments of a forecast; the last may be longer than the forecast.
        channels: C, sequences of each window.
        targets: K, targets of a sequence, of which each step has all.
        horizons: number of forecast steps.
    """

    def __init__(self, positions: int, channels: int, targets: int, horizons: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.positions, self.channels, self.targets, self.horizons = positions, channels, targets, horizons

    def call(self, decoded: Any) -> Any:
        length = decoded.shape[-1] // self.targets
        steps = self.positions * length
        by_channel = ops.reshape(decoded, (-1, self.channels, steps, self.targets))
        joined = ops.reshape(ops.transpose(by_channel, (0, 2, 1, 3)), (-1, steps, self.channels * self.targets))
        return joined[:, : self.horizons, :]

    def compute_output_spec(self, decoded: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, self.horizons, self.channels * self.targets), dtype=decoded.dtype)

    def get_config(self) -> dict[str, Any]:
        keys = ("positions", "channels", "targets", "horizons")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


@keras.saving.register_keras_serializable(package="noisy_gru")
class LastSteps(keras.layers.Layer):
    """The last `count` steps of some channels, in order: [B, T, F] to [B, len(channels), count].

    Steps before a sequence's first are 0.

    Call arguments:
        features: float tensor [B, T, F].
        past: int tensor [B], steps that count.
    """

    def __init__(self, count: int, channels: list[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.count, self.channels = count, channels

    def call(self, features: Any, past: Any) -> Any:
        places = past[:, None] - self.count + ops.arange(self.count, dtype=past.dtype)[None, :]
        taken = tf.gather(ops.take(features, self.channels, axis=2), ops.maximum(places, 0), batch_dims=1)
        return ops.transpose(ops.where((places >= 0)[:, :, None], taken, 0.0), (0, 2, 1))

    def compute_output_spec(self, features: Any, past: Any) -> keras.KerasTensor:
        return keras.KerasTensor((features.shape[0], len(self.channels), self.count), dtype=features.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "channels": self.channels}
