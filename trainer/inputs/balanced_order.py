"""Balanced sampling: an order of an epoch in which each class has as many sequences as any other.

    rows = BalancedOrder(labels, seed=7)(epoch)  # int64 [N], indices of sequences

An epoch is as long as ever. Sequences of a rare class come several times, each as often as the others or once more; of
a frequent class some are left out, others in each epoch.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.trainer.inputs.transformed_files import permutation


class BalancedOrder:
    """Draw the sequences of an epoch; the draw depends on seed and epoch alone.

    Args:
        labels: int64 [N], the class of each sequence.
        seed: of the draws.
    """

    def __init__(self, labels: np.ndarray, *, seed: int):
        self._seed, self._count = seed, len(labels)
        by_class = np.argsort(labels, kind="stable")
        classes, counts = np.unique(labels, return_counts=True)
        ends = np.cumsum(counts)
        members, passes, chosen = [], [], []
        slots = rounds = 0
        for number, (count, end) in enumerate(zip(counts, ends, strict=True)):
            share = self._count // len(classes) + (number < self._count % len(classes))
            times = -(-share // count)
            members.append(np.tile(by_class[end - count : end], times))
            passes.append(rounds + np.repeat(np.arange(times), count))
            chosen.append(slots + np.arange(share))
            slots, rounds = slots + times * count, rounds + times
        # A slot is a sequence in a pass over its class; the first ones of each class are drawn, whole passes first.
        self._members, self._passes, self._chosen = (
            np.concatenate(each) if each else np.zeros(0, np.int64) for each in (members, passes, chosen)
        )

    def __call__(self, epoch: Any) -> tf.Tensor:
        """Return the indices of an epoch's sequences, int64 [N]."""
        order = permutation(len(self._members), self._seed, epoch, draw=3)
        order = tf.gather(order, tf.argsort(tf.gather(tf.constant(self._passes), order), stable=True))
        drawn = tf.gather(tf.constant(self._members), tf.gather(order, tf.constant(self._chosen)))
        return tf.gather(drawn, permutation(self._count, self._seed, epoch, draw=0))
