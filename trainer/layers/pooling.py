"""Masks from lengths, and pooling over the steps that count."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PACKAGE = "noisy_gru"
LOWEST_SCORE = -1e30  # a score that softmax gives no weight; minus infinity would give NaN to a sequence without steps


@keras.saving.register_keras_serializable(package=PACKAGE)
class LengthMask(keras.layers.Layer):
    """Masks steps after the end: features [B, T, F] and lengths [B] to a bool mask [B, T], True where a step counts.

    The mask never follows from values: a real step may be all zeros.
    """

    def call(self, features: Any, lengths: Any) -> Any:
        steps = ops.arange(ops.shape(features)[1], dtype=lengths.dtype)
        return ops.expand_dims(steps, 0) < ops.expand_dims(lengths, 1)

    def compute_output_spec(self, features: Any, lengths: Any) -> keras.KerasTensor:
        return keras.KerasTensor(features.shape[:2], dtype="bool")


@keras.saving.register_keras_serializable(package=PACKAGE)
class AtEachStep(keras.layers.Layer):
    """Makes each step an answer of its own, without a mask: [B, T, U] stay; with vectors [B, S] beside, [B, T, U + S].

    Keras would weigh the losses of masked outputs by the mask once more.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, *_: Any) -> None:
        """The answers carry no mask."""

    def call(self, sequences: Any, vectors: Any = None) -> Any:
        if vectors is None:
            # A tensor of its own: the mask is an attribute of the one that came.
            return sequences + 0.0
        shape = (*ops.shape(sequences)[:2], vectors.shape[-1])
        repeated = ops.broadcast_to(ops.expand_dims(ops.cast(vectors, sequences.dtype), 1), shape)
        return ops.concatenate([sequences, repeated], axis=-1)

    def compute_output_spec(self, sequences: Any, vectors: Any = None) -> keras.KerasTensor:
        width = sequences.shape[-1] + (0 if vectors is None else vectors.shape[-1])
        return keras.KerasTensor((*sequences.shape[:2], width), dtype=sequences.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedPooling(keras.layers.Layer):
    """Mean or maximum over the steps that count: [B, T, U] and a mask [B, T] to [B, U]; zeros for an empty sequence."""

    def __init__(self, kind: str, **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in ("mean", "max"):
            raise ValueError(f"Argument `kind` must be 'mean' or 'max'. Received: kind={kind!r}")
        self.kind = kind
        self.supports_masking = True

    def compute_mask(self, *_: Any) -> None:
        """No steps are left to mask."""

    def call(self, sequences: Any, mask: Any) -> Any:
        counts = ops.expand_dims(mask, -1)
        if self.kind == "mean":
            steps = ops.maximum(ops.sum(ops.cast(counts, sequences.dtype), axis=1), 1)
            return ops.sum(ops.where(counts, sequences, 0.0), axis=1) / steps
        lowest = ops.max(ops.where(counts, sequences, -float("inf")), axis=1)
        return ops.where(ops.any(counts, axis=1), lowest, 0.0)

    def compute_output_spec(self, sequences: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor((sequences.shape[0], sequences.shape[2]), dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AttentionPooling(keras.layers.Layer):
    """Weighted mean over the steps that count, with learned weights (Yang et al. 2016):

        score[t] = context . tanh(x[t] W + c),   weight = softmax(score),   output = sum over t of weight[t] x[t]

    [B, T, U] and a bool mask [B, T] to [B, U]; zeros for an empty sequence. `context` starts from zeros, so that an
    untrained layer is the mean.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, sequences_shape: Any, mask_shape: Any = None) -> None:
        units = sequences_shape[-1]
        self.kernel = self.add_weight((units, units), "glorot_uniform", name="kernel")
        self.bias = self.add_weight((units,), "zeros", name="bias")
        self.context = self.add_weight((units,), "zeros", name="context")

    def compute_mask(self, *_: Any) -> None:
        """No steps are left to mask."""

    def call(self, sequences: Any, mask: Any) -> Any:
        scores = ops.sum(ops.tanh(ops.matmul(sequences, self.kernel) + self.bias) * self.context, axis=-1)
        weights = ops.where(mask, ops.softmax(ops.where(mask, scores, LOWEST_SCORE), axis=1), 0.0)
        return ops.sum(ops.where(mask[:, :, None], sequences, 0.0) * weights[:, :, None], axis=1)

    def compute_output_spec(self, sequences: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor((sequences.shape[0], sequences.shape[2]), dtype=sequences.dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdaptivePooling(keras.layers.Layer):
    """Average each sequence over time to at most `steps` steps, by its own length alone.

    A sequence of n steps becomes m = min(n, steps): step t is averaged into step t * m // n, so those of a shorter
    sequence stay as they are, and the padding of a batch changes nothing.

    Args:
        steps: most steps of an output.

    Call arguments:
        sequences: float tensor [B, T, C].
        lengths: int tensor [B], steps that count.

    Returns:
        [B, min(T, steps), C], zeros after the end, and the lengths [B].
    """

    def __init__(self, steps: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.steps = steps
        self.supports_masking = True

    def compute_mask(self, *_: Any) -> None:
        """The lengths say which steps count."""

    def call(self, sequences: Any, lengths: Any) -> Any:
        steps = ops.shape(sequences)[1]
        number = min(steps, self.steps) if isinstance(steps, int) else ops.minimum(steps, self.steps)
        pooled_lengths = ops.minimum(lengths, self.steps)
        places = ops.arange(steps, dtype=lengths.dtype)[None, :]
        bins = places * pooled_lengths[:, None] // ops.maximum(lengths, 1)[:, None]
        belongs = ops.logical_and(
            bins[:, None, :] == ops.arange(number, dtype=lengths.dtype)[None, :, None],
            (places < lengths[:, None])[:, None, :],
        )
        weights = ops.cast(belongs, sequences.dtype)
        counts = ops.maximum(ops.sum(weights, axis=2, keepdims=True), 1.0)
        # A step that doesn't count may hold anything, and 0 * NaN is NaN.
        counted = ops.where((places < lengths[:, None])[:, :, None], sequences, 0.0)
        return ops.matmul(weights / counts, counted), pooled_lengths

    def compute_output_spec(self, sequences: Any, lengths: Any) -> Any:
        steps = sequences.shape[1]
        shape = (sequences.shape[0], None if steps is None else min(steps, self.steps), sequences.shape[2])
        return keras.KerasTensor(shape, dtype=sequences.dtype), keras.KerasTensor(lengths.shape, dtype=lengths.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}
