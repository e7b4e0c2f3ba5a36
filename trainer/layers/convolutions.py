"""Layers of a masked convolution block: steps that don't count change neither its outputs nor its statistics."""

# Keras' type hints give None for what an operation returns; TensorFlow's know no tensors as arguments.

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

PACKAGE = "noisy_gru"


@keras.saving.register_keras_serializable(package=PACKAGE)
class ZeroMasked(keras.layers.Layer):
    """Set steps that don't count to zero: sequences [B, T, C] and a bool mask [B, T] to [B, T, C]."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Masks are passed on explicitly."""

    def call(self, sequences: Any, mask: Any) -> Any:
        return ops.where(ops.expand_dims(mask, -1), sequences, 0.0)

    def compute_output_spec(self, sequences: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor(sequences.shape, dtype=sequences.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBatchNormalization(keras.layers.Layer):
    """Batch normalization (Ioffe and Szegedy 2015) over the steps that count, of all replicas together.

    In training a channel is brought to mean beta and standard deviation gamma over the unmasked steps of the global
    batch, and the moving statistics follow by 1 - momentum; in inference they take the batch's place. A batch without a
    step that counts leaves them as they were.

    Args:
        momentum: part of the moving statistics that a batch leaves.
        epsilon: added to the variance.

    Call arguments:
        sequences: float tensor [B, T, C].
        mask: bool tensor [B, T], True where a step counts.
        training: a Python value.

    Returns:
        [B, T, C]; at masked steps values of no meaning.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon
        self.supports_masking = True

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Masks are passed on explicitly."""

    def build(self, sequences_shape: Any, mask_shape: Any = None) -> None:
        width = (sequences_shape[-1],)
        self.gamma = self.add_weight(width, "ones", name="gamma")
        self.beta = self.add_weight(width, "zeros", name="beta")
        # All replicas compute the same.
        moving: Any = {"trainable": False, "aggregation": "only_first_replica"}
        self.moving_mean = self.add_weight(width, "zeros", name="moving_mean", **moving)
        self.moving_variance = self.add_weight(width, "ones", name="moving_variance", **moving)

    def call(self, sequences: Any, mask: Any, training: bool = False) -> Any:
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance, count = self._moments(sequences, mask)
            kept = ops.where(count > 0, self.momentum, 1.0)
            self.moving_mean.assign(kept * self.moving_mean + (1 - kept) * mean)
            self.moving_variance.assign(kept * self.moving_variance + (1 - kept) * variance)
        factor = self.gamma * ops.rsqrt(variance + self.epsilon)
        return sequences * factor + (self.beta - mean * factor)

    def _moments(self, sequences: Any, mask: Any) -> tuple[Any, Any, Any]:
        counts = ops.expand_dims(mask, -1)
        count = over_replicas(ops.sum(ops.cast(counts, sequences.dtype)))
        divisor = ops.maximum(count, 1.0)
        mean = over_replicas(ops.sum(ops.where(counts, sequences, 0.0), axis=(0, 1))) / divisor
        squares = ops.square(ops.where(counts, sequences - mean, 0.0))
        return mean, over_replicas(ops.sum(squares, axis=(0, 1))) / divisor, count

    def compute_output_spec(self, sequences: Any, mask: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(sequences.shape, dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def over_replicas(value: Any) -> Any:
    """Sum over the replicas of a tf.distribute strategy; its gradient is summed over them, too."""
    context: Any = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync < 2:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
