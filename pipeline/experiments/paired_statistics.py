"""Confidence intervals of a difference between two variants that were trained with the same seeds.

>>> interval = paired_interval([0.95, 0.93, 0.96], [0.94, 0.93, 0.94])
>>> round(interval.mean, 4), round(interval.low, 4), round(interval.high, 4), interval.pairs
(0.01, -0.0148, 0.0348, 3)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
METHOD = "paired by seed, Student's t"


@dataclass(frozen=True)
class Interval:
    """A mean difference with its confidence interval; NaN bounds with fewer than two pairs.

    Attributes:
        mean: of the differences.
        low, high: bounds.
        pairs: their number.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference can be told from none."""
        return self.low > 0 or self.high < 0

    def times(self, factor: float) -> Interval:
        """Return the interval of the differences times a factor."""
        low, high = sorted((self.low * factor, self.high * factor)) if self.pairs > 1 else (math.nan, math.nan)
        return Interval(self.mean * factor, low, high, self.pairs)

    def to_dict(self) -> dict[str, float | int | None]:
        """Return JSON, with null for a bound that is unknown."""
        low, high = (None if math.isnan(value) else value for value in (self.low, self.high))
        return {"mean": self.mean, "low": low, "high": high, "pairs": self.pairs}


def paired_interval(values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of `values - others`, with its interval from Student's t over the pairs.

    Args:
        values, others: one for each seed, in the same order; at least one pair.
        confidence: of the interval.
    """
    differences = np.asarray(values, float) - np.asarray(others, float)
    count, mean = len(differences), float(differences.mean())
    if count < 2:
        return Interval(mean, math.nan, math.nan, count)
    from scipy import stats

    error = float(differences.std(ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return Interval(mean, mean - reach, mean + reach, count)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the standard deviation over the seeds; None for one seed."""
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
