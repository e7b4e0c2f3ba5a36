"""Epochs of a fixed number of sequences, drawn without replacement: one pass over the data goes on in the next epoch.

    rows = PassOrder(1000, 64, seed=7)(epoch)  # int64 [64], indices of sequences

Epoch after epoch, one permutation of all sequences follows another. So after any number of epochs each sequence has
come as often as any other, or once more or less; an epoch may be shorter than a pass, or several passes long.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from typing import Any

import tensorflow as tf

from noisy_gru.trainer.inputs.transformed_files import permutation


class PassOrder:
    """Draw the sequences of an epoch; the draw depends on seed and epoch alone.

    Args:
        count: sequences there are.
        drawn: sequences in an epoch.
        seed: of the draws.
    """

    def __init__(self, count: int, drawn: int, *, seed: int):
        self._count, self._drawn, self._seed = count, drawn, seed
        # That an epoch may touch, wherever in a pass it begins.
        self._passes = (drawn + count - 2) // count + 1

    def __call__(self, epoch: Any) -> tf.Tensor:
        """Return the indices of an epoch's sequences, int64 [drawn]."""
        first = tf.cast(epoch, tf.int64) * self._drawn
        number = first // self._count
        passes = [permutation(self._count, self._seed, number + place, draw=2) for place in range(self._passes)]
        start = first % self._count
        return tf.concat(passes, axis=0)[start : start + self._drawn]
