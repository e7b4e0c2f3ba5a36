"""Adaptive conformal intervals: a served model's intervals that keep their coverage while the series changes.

>>> adaptive = AdaptiveIntervals(scores, coverage=0.9)  # doctest: +SKIP
>>> lower, upper = adaptive.interval(outputs)  # beside each answer of the server  # doctest: +SKIP
>>> adaptive.update(lower, upper, actual)  # when the values have come  # doctest: +SKIP

The graph stays as it is; what adapts is the level, by Gibbs and Candès (2021), "Adaptive Conformal Inference Under
Distribution Shift", NeurIPS, arXiv:2106.00193:

    alpha[t + 1] = alpha[t] + rate * (1 - coverage - missed[t])

for each horizon and target, where missed[t] is the part of the values of step t that were outside. Intervals at
alpha[t] are those of coverage 1 - alpha[t] on the eval split. After T steps, whatever came,

    |mean(missed) - (1 - coverage)| <= (max(alpha[1], 1 - alpha[1]) + rate) / (rate * T)

if each step's values are known before the next one is asked about (Proposition 4.1); values that come later, of
further horizons, are as good in the long run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.schema.errors import DataError


class AdaptiveIntervals:
    """Intervals of a coverage that follows what came.

    Args:
        scores: of the version of the model that answers.
        coverage: nominal, in (0, 1).
        rate: how fast the level moves: 0.005 follows changes within some hundred steps.

    Attributes:
        alpha: the part that intervals are to miss now, float64 [H, K], or [K] of a regression.

    Raises:
        DataError: coverage or rate is out of range.
    """

    def __init__(self, scores: ConformalScores, coverage: float = 0.9, rate: float = 0.005) -> None:
        if not 0 < coverage < 1 or not 0 < rate < 1:
            raise DataError(
                f"adaptive intervals: expected a coverage and a rate between 0 and 1. Received: coverage {coverage:g}, "
                f"rate {rate:g}"
            )
        self._scores, self.coverage, self.rate = scores, coverage, rate
        self.alpha = np.full(scores.counts.shape, 1 - coverage)

    def interval(self, outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds, float64 in the shape of the predictions; infinite where they must be.

        Raises:
            ModelError: the answers are not those of this model.
        """
        return self._scores.interval(outputs, 1 - self.alpha)

    def update(self, lower: np.ndarray, upper: np.ndarray, actual: np.ndarray) -> None:
        """Move the level after one step: of one series, or of several at the same time.

        Args:
            lower, upper: as ``interval`` returned them before the values came, [B, H, K] or [B, K].
            actual: what came; NaN where it is missing, or not known yet.

        Raises:
            DataError: the shapes differ.
        """
        shapes = [np.shape(each) for each in (lower, upper, actual)]
        if len(set(shapes)) > 1 or shapes[0][1:] != self.alpha.shape:
            expected = ["B", *self.alpha.shape]
            raise DataError(
                f"adaptive intervals: expected bounds and values of the shape [{', '.join(map(str, expected))}]. "
                f"Received: {', '.join(str(list(shape)) for shape in shapes)}"
            )
        known = ~np.isnan(actual)
        missed = known & ((actual < lower) | (actual > upper))
        counts = known.sum(axis=0)
        part = missed.sum(axis=0) / np.maximum(counts, 1)
        self.alpha = np.where(counts > 0, self.alpha + self.rate * (1 - self.coverage - part), self.alpha)

    def state_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, to go on after a restart."""
        return {"coverage": self.coverage, "rate": self.rate, "alpha": self.alpha.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned.

        Raises:
            DataError: it is of other intervals.
        """
        try:
            alpha = np.array(state["alpha"], np.float64)
            same = (state["coverage"], state["rate"]) == (self.coverage, self.rate) and alpha.shape == self.alpha.shape
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"adaptive intervals: expected what state_dict() returned, received {error!r}") from error
        if not same or not np.isfinite(alpha).all():
            raise DataError(
                f"adaptive intervals: expected a state of coverage {self.coverage:g}, rate {self.rate:g} and the shape "
                f"{list(self.alpha.shape)}. Received: coverage {state['coverage']}, rate {state['rate']}, shape "
                f"{list(alpha.shape)}. After a new training begin anew"
            )
        self.alpha = alpha
