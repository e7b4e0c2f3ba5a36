"""Checks of a NoisyGRU's arguments, and its masks in one form."""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

import math
import numbers
from typing import Any

import tensorflow as tf
from keras import ops

from noisy_gru.trainer.layers.initial_noise import CARRIED, SCALES


def bool_mask(mask: Any, sequences: Any) -> Any:
    """Convert any mask of Keras' GRU to bool (B, T), or (B, T, U) if it has one for each unit."""
    if isinstance(mask, (list, tuple)) and mask and (mask[0] is None or ops.is_tensor(mask[0])):
        # Keras gives a layer of several inputs their masks as a list.
        mask = mask[0]
    if mask is None:
        return None
    counts: Any = tf.cast(mask, tf.bool)
    if len(counts.shape) == 3 and counts.shape[-1] == 1:
        counts = tf.squeeze(counts, -1)
    steps, expected = counts.shape[1], sequences.shape[1]
    if steps is not None and expected is not None and steps != expected:
        raise ValueError(
            f"The mask of a NoisyGRU must have a step for each of its sequences'. Expected: {expected} steps. "
            f"Received: a mask of shape {tuple(counts.shape)} for sequences of shape {tuple(sequences.shape)}"
        )
    return counts


def check_scale(scale: str, noise: str, stddev: float, share: float, residual_momentum: float) -> None:
    """Check the arguments of a layer that say what its first states follow.

    Raises:
        ValueError: one is no such value, or they don't go together.
    """
    if not 0 < share <= 1:
        raise ValueError(f"Argument `share` must be a number above 0, at most 1. Received: share={share!r}")
    if not 0 <= residual_momentum < 1:
        raise ValueError(
            "Argument `residual_momentum` must be a number >= 0 and below 1. Received: "
            f"residual_momentum={residual_momentum!r}"
        )
    if scale not in SCALES:
        raise ValueError(f"Argument `scale` must be one of {SCALES}. Received: scale={scale!r}")
    if scale != "fixed" and noise == CARRIED:
        raise ValueError(
            f"Argument `scale={scale!r}` sets the scale of noise, and with `noise='carried'` there is none. Choose "
            "another law, or scale='fixed'"
        )
    if scale != "fixed" and not stddev:
        raise ValueError(f"Argument `scale={scale!r}` begins with `stddev`, which must be above 0. Received: stddev=0")


def checked_stddev(value: Any, name: str) -> float:
    """Return a standard deviation as a float; ValueError if it isn't a finite number >= 0."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueError(f"Argument `{name}` must be a finite number >= 0. Received: {name}={value!r}")
    return float(value)


def checked_mean(initial_mean: Any, units: int, dtype: str, other_start: str | None) -> Any:
    """Return the call argument `initial_mean` as a tensor (B, U); `other_start` names what sets the first state, too.

    Raises:
        ValueError: it has another shape, or something else sets the first state.
    """
    if other_start is not None:
        raise ValueError(
            f"A NoisyGRU takes no `initial_mean` with {other_start}, which is the first state already. Leave one of "
            "them out"
        )
    mean: Any = ops.cast(ops.convert_to_tensor(initial_mean), dtype)
    if len(mean.shape) != 2 or mean.shape[1] != units:
        raise ValueError(
            f"Argument `initial_mean` must have the shape (batch, units). Expected: (batch, {units}). "
            f"Received: {tuple(mean.shape)}"
        )
    return mean
