"""Layers for a time axis that runs on to the furthest horizon: its past alone, and its steps that are predicted.

With L steps in a sequence, of which the last `future` are the horizon's, the past is steps 0 to L - future - 1, and the
target of horizon h is at step L - future + h - 1.
"""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

PACKAGE = "noisy_gru"


@keras.saving.register_keras_serializable(package=PACKAGE)
class PastSteps(keras.layers.Layer):
    """Cut the horizon's steps off a padded batch [B, T, D] of float32: [B, T - future, D], of one step at least."""

    def __init__(self, future: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.future = future

    def call(self, sequences: Any) -> Any:
        steps = ops.shape(sequences)[1]
        end = max(steps - self.future, 1) if isinstance(steps, int) else ops.maximum(steps - self.future, 1)
        return sequences[:, :end]

    def compute_output_spec(self, sequences: Any) -> keras.KerasTensor:
        return keras.KerasTensor((sequences.shape[0], None, sequences.shape[2]), dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "future": self.future}


@keras.saving.register_keras_serializable(package=PACKAGE)
class PastLength(keras.layers.Layer):
    """Subtract the horizon's steps from lengths int64 [B]; 0 for an empty sequence."""

    def __init__(self, future: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.future = future

    def call(self, lengths: Any) -> Any:
        return ops.maximum(lengths - self.future, 0)

    def compute_output_spec(self, lengths: Any) -> keras.KerasTensor:
        return keras.KerasTensor(lengths.shape, dtype=lengths.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "future": self.future}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Channels(keras.layers.Layer):
    """Choose channels of sequences: [B, T, F] to [B, T, len(indices)]."""

    def __init__(self, indices: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.indices = list(indices)

    def call(self, sequences: Any) -> Any:
        return ops.take(sequences, self.indices, axis=2)

    def compute_output_spec(self, sequences: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*sequences.shape[:2], len(self.indices)), dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "indices": self.indices}


@keras.saving.register_keras_serializable(package=PACKAGE)
class TargetSteps(keras.layers.Layer):
    """Gather the steps that are predicted: sequences [B, T, D] and lengths int64 [B] to [B, H, D].

    Args:
        horizons: steps after the past, 1 being the first.
        future: steps of each sequence after its past.
    """

    def __init__(self, horizons: Sequence[int], future: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.horizons = list(horizons)
        self.future = future

    def call(self, sequences: Any, lengths: Any) -> Any:
        after = ops.convert_to_tensor([horizon - 1 - self.future for horizon in self.horizons], dtype=lengths.dtype)
        # An empty sequence has no future either: its first step, padding, stands for it.
        places = ops.maximum(ops.expand_dims(lengths, 1) + ops.expand_dims(after, 0), 0)
        return ops.take_along_axis(sequences, ops.expand_dims(ops.cast(places, "int32"), 2), axis=1)

    def compute_output_spec(self, sequences: Any, lengths: Any) -> keras.KerasTensor:
        return keras.KerasTensor((sequences.shape[0], len(self.horizons), sequences.shape[2]), dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "horizons": self.horizons, "future": self.future}
