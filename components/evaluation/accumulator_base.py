"""Accumulators of the metrics: sums over sequences, their merge, and the metrics of a sum.

Plain NumPy. The sums of a task are a dictionary of arrays; sums are merged by adding, moments by Chan's update.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.score_counts import merge_counts

Sums = dict[str, np.ndarray]
# How often each score was given (see score_counts.py).
CODES, CODE_COUNTS = "codes", "code_counts"
LEAST_PROBABILITY = 1e-7  # what log_loss takes a smaller probability for, as Keras does


def ratio(value: float, by: float) -> float:
    """``value / by``; for a perfect baseline 1 if the model is perfect as well, else infinity."""
    if by == 0:
        return 1.0 if value == 0 else float("inf")
    return value / by


class Accumulator:
    """Sums of one task."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """Return the sums of one sequence.

        Args:
            label: see the subclass.
            outputs: the model's answer for it, by name of the output.
            features: the naive forecasts, by key of the tf.Example.
        """
        raise NotImplementedError

    def merge(self, sums: Iterable[Sums]) -> Sums:
        """Return the sums of all."""
        total: Sums = {}
        for part in sums:
            for key, value in part.items():
                total[key] = total[key] + value if key in total else value
        return total

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the metrics by name."""
        raise NotImplementedError


class ScoreAccumulator(Accumulator):
    """Sums that hold counts of scores, too.

    Attributes:
        same: keys of what is the same for all sequences.
    """

    same: tuple[str, ...] = ()

    def merge(self, sums: Iterable[Sums]) -> Sums:
        parts = list(sums)
        if not parts:
            return {}
        separate = {CODES, CODE_COUNTS, *self.same}
        total = super().merge({key: value for key, value in part.items() if key not in separate} for part in parts)
        total |= {key: parts[0][key] for key in self.same}
        total[CODES], total[CODE_COUNTS] = merge_counts(
            *([part[key] for part in parts] for key in (CODES, CODE_COUNTS))
        )
        return total
