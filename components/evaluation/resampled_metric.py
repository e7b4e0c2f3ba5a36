"""A metric as a function of sums over sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from noisy_gru.components.evaluation.metric_catalogue import higher_is_better

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ResampledMetric:
    """One metric.

    Attributes:
        metric: its name.
        columns: of answers and the model's name in them (`candidate`, `published`, a baseline's), float64 [N, Q].
        value: of sums [..., Q], float64 [...].
        ties: rows [2, 2 Q]: the sums of a pair of models of which only the first, or only the second, is right;
            None if a score isn't right or wrong.
    """

    metric: str
    columns: Callable[[Outputs, str], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    ties: np.ndarray | None = None

    def gain(self, totals: np.ndarray) -> np.ndarray:
        """Return the first model's gain, from both models' sums [..., 2 Q]."""
        first, second = np.split(totals, 2, axis=-1)
        sign = 1.0 if higher_is_better(self.metric) else -1.0
        return sign * (self.value(first) - self.value(second))


def mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """Return the first sum relative to the second, float64 [...] of [..., Q]."""
    return sums[..., 0] / sums[..., 1]
