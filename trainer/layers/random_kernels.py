"""Features of fixed random convolutions, for a linear head (MiniRocket, Dempster et al. 2021)."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from noisy_gru.trainer.layers.convolutions import over_replicas

TAPS = 9
# Thresholds in standard deviations of a kernel's output.
THRESHOLDS = (-1.5, -1.0, -0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6, 1.0, 1.5)
_RAMP = 0.1  # of the same; a step at the threshold would turn rounding into other answers
_FURTHEST = 5.0  # standard deviations of a feature
_EPSILON = 1e-4  # added to a feature's variance
# A linear head of many features learns a hundredfold faster than the rest of the model, at a tenth of this.
_GAIN = 10.0
_MOST_BATCHES = 1000


@keras.saving.register_keras_serializable(package="noisy_gru")
class RandomKernels(keras.layers.Layer):
    """Parts of each sequence in which fixed convolutions are above thresholds.

    The kernels are those of MiniRocket: the 84 ways to give three of nine taps the weight 2 and the others -1, at each
    dilation; each reads the sum of some channels drawn at random. With c[t] a kernel's output, s its root mean square
    over train and z a threshold, the feature is

        mean over t of ramp((c[t] / s - z) / 0.1),    ramp(x) = x + 1/2 within [0, 1]

    standardized by its mean and deviation over train, and divided by the square root of the number of features. The
    statistics are averages over the batches of training (of all replicas), so no pass over the data comes before it;
    nothing else is trained.

    Args:
        dilations: steps between the taps.
        seed: of the draw of channels.

    Call arguments:
        sequences: float32 [B, T, C].
        mask: bool [B, T], True where a step counts; others are zeros to the kernels.
        training: a Python value.

    Returns:
        float32 [B, 84 * dilations * 11]; zeros for an empty sequence, and before the first batch of training.
    """

    def __init__(self, dilations: Sequence[int], seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.dilations, self.seed = list(dilations), seed
        self.supports_masking = True

    def build(self, sequences_shape: Any, mask_shape: Any = None) -> None:
        kernels = random_kernels(sequences_shape[-1], len(self.dilations), self.seed)
        fixed: Any = {"trainable": False, "aggregation": "only_first_replica"}
        outputs = kernels.shape[0] * kernels.shape[2]
        self.kernels = self.add_weight(kernels.shape, lambda *_, **__: kernels, name="kernels", **fixed)
        self.power = self.add_weight((outputs,), "zeros", name="power", **fixed)
        size = (outputs * len(THRESHOLDS),)
        self.mean = self.add_weight(size, "zeros", name="mean", **fixed)
        self.square = self.add_weight(size, "zeros", name="square", **fixed)
        self.batches = self.add_weight((), "zeros", name="batches", **fixed)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No steps are left to mask."""

    def call(self, sequences: Any, mask: Any, training: bool = False) -> Any:
        counts = ops.cast(ops.expand_dims(mask, -1), sequences.dtype)
        outputs = self._convolved(ops.where(counts > 0, sequences, 0.0))
        lengths = ops.sum(counts, axis=1)
        steps = over_replicas(ops.sum(lengths)) if training else 0.0
        if training:
            self.batches.assign(ops.minimum(self.batches + ops.cast(steps > 0, "float32"), float(_MOST_BATCHES)))
            power = over_replicas(ops.sum(ops.square(outputs) * counts, axis=(0, 1))) / ops.maximum(steps, 1.0)
            self._average(self.power, power, steps)
        # A kernel that gave zeros alone stays below every threshold but those under zero.
        scaled = outputs / (ops.sqrt(self.power) * _RAMP + 1e-12)
        parts = [
            ops.sum(ops.clip(scaled + (0.5 - threshold / _RAMP), 0.0, 1.0) * counts, axis=1) for threshold in THRESHOLDS
        ]
        features = ops.concatenate(parts, axis=-1) / ops.maximum(lengths, 1.0)
        has_steps = ops.cast(lengths > 0, features.dtype)
        if training:
            rows = ops.maximum(over_replicas(ops.sum(has_steps)), 1.0)
            self._average(self.mean, over_replicas(ops.sum(features * has_steps, axis=0)) / rows, steps)
            self._average(self.square, over_replicas(ops.sum(ops.square(features) * has_steps, axis=0)) / rows, steps)
        deviation = ops.sqrt(ops.maximum(self.square - ops.square(self.mean), 0.0) + _EPSILON)
        standard = ops.clip((features - self.mean) / deviation, -_FURTHEST, _FURTHEST)
        # Without a batch there are no statistics. Serving reads the count, too, so that its file holds every weight.
        factor = ops.minimum(self.batches, 1.0) * (_GAIN / features.shape[-1] ** 0.5)
        return ops.stop_gradient(standard * has_steps * factor)

    def _convolved(self, sequences: Any) -> Any:
        """Apply the kernels of all dilations: [B, T, C] to [B, T, 84 * dilations]."""
        steps = ops.shape(sequences)[1]
        outputs = []
        for index, dilation in enumerate(self.dilations):
            reach = dilation * (TAPS // 2)
            padded = ops.pad(sequences, [[0, 0], [reach, reach], [0, 0]])
            taps = [padded[:, tap * dilation : tap * dilation + steps] for tap in range(TAPS)]
            outputs.append(ops.matmul(ops.concatenate(taps, axis=-1), self.kernels[index]))
        return ops.concatenate(outputs, axis=-1)

    def _average(self, variable: Any, value: Any, steps: Any) -> None:
        """Move a mean over the batches so far on to one more, of so many steps."""
        rate = ops.where(steps > 0, 1.0 / ops.maximum(self.batches, 1.0), 0.0)
        variable.assign(variable + rate * (value - variable))

    def compute_output_spec(self, sequences: Any, mask: Any, training: bool = False) -> keras.KerasTensor:
        size = 84 * len(self.dilations) * len(THRESHOLDS)
        return keras.KerasTensor((sequences.shape[0], size), dtype=sequences.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dilations": self.dilations, "seed": self.seed}


def random_kernels(channels: int, dilations: int, seed: int) -> np.ndarray:
    """Return the kernels, float32 [dilations, 9 * channels, 84], taps first.

    A kernel reads 1 to 9 channels, in number drawn uniformly on a scale of powers of two.
    """
    random = np.random.default_rng(seed)
    places = list(itertools.combinations(range(TAPS), 3))
    weights = np.full((TAPS, len(places)), -1.0)
    for index, three in enumerate(places):
        weights[list(three), index] = 2.0
    kernels = np.zeros((dilations, TAPS, channels, len(places)), np.float32)
    for dilation in range(dilations):
        for index in range(len(places)):
            count = int(2 ** random.uniform(0, np.log2(min(channels, TAPS) + 1)))
            chosen = random.choice(channels, size=count, replace=False)
            kernels[dilation, :, chosen, index] = weights[:, index]
    return kernels.reshape(dilations, TAPS * channels, len(places))
