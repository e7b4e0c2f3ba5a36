"""Conformal p-values of what came after a prediction, from the scores of the eval split: anomaly scores.

>>> eval_split = {"predictions": np.zeros((4, 1))}
>>> scores = ConformalScores.of(eval_split, np.array([[1.0], [-2.0], [3.0], [4.0]]), scale=[1.0])
>>> scores.p_values({"predictions": np.zeros((2, 1))}, np.array([[2.5], [-9.0]]))
array([[0.6],
       [0.2]])

A score says how strange a value y is beside the answer that a server gave:

    |y - prediction| / scale                   of a model without quantiles; `scale` is the target's
    max(lower - y, y - upper) / (upper - lower)     of one with some, from its outermost ones (Romano et al. 2019;
                                               divided by the width as in Sesia and Candès 2020, CQR-r)

With n scores of the eval split at a horizon and target, p = (1 + how many are as large or larger) / (n + 1): the
conformal p-value (Vovk et al. 2005). If y is exchangeable with those of eval, P(p <= a) <= a for each a, whatever the
model is. What is stranger than anything in eval has 1 / (n + 1), the smallest there is. p <= 1 - c says that y is
outside the served interval of coverage c, if that is the outermost one and calibrated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from noisy_gru.schema.errors import ModelError

_FORMAT = 1
# Kept scores: the largest ones all, then ranks that grow by this factor. In between a p-value is rounded up.
_EXACT, _GROWTH = 100, 1.02
# Answers and targets are float32, so equal ones may differ by a little of the scale: they count as equal.
_TOLERANCE = 1e-5
_ROUNDING = 1e-9  # of (n + 1) c
_LARGEST = float(np.finfo(np.float32).max)  # in place of infinity, which JSON has not


@dataclass(frozen=True)
class ConformalScores:
    """The scores of the eval split, by horizon and target.

    Attributes:
        of_what: `interval`, or `error` of a model without quantiles.
        scale: of each target in the units of the data, [K].
        counts: scores in each cell, int64 [H, K], or [K] of a regression.
        scores: of each cell, flattened: those of the ranks that ``kept_ranks`` returns, falling.
    """

    of_what: Literal["interval", "error"]
    scale: list[float]
    counts: np.ndarray
    scores: list[np.ndarray]

    @classmethod
    def of(cls, outputs: Mapping[str, np.ndarray], actual: np.ndarray, scale: Sequence[float]) -> ConformalScores:
        """Calibrate on the eval split.

        Args:
            outputs: a server's answers: `predictions` [N, H, K] or [N, K], and `quantiles` [..., Q] if it has some.
            actual: the targets in the units of the data, as the predictions; NaN where missing.
            scale: of each target, [K].
        """
        of_what: Literal["interval", "error"] = "interval" if "quantiles" in outputs else "error"
        scores = _scores(of_what, outputs, actual, np.array(scale, np.float64))
        flat = scores.reshape(len(scores), -1)
        known = [column[~np.isnan(column)] for column in flat.T]
        counts = np.array([len(each) for each in known], np.int64).reshape(scores.shape[1:])
        kept = [-np.sort(-each)[kept_ranks(len(each)) - 1] for each in known]
        return cls(of_what, [float(each) for each in scale], counts, kept)

    def p_values(self, outputs: Mapping[str, np.ndarray], actual: np.ndarray) -> np.ndarray:
        """Return the p-value of each value that came, float64 in the shape of ``actual``; NaN where that is missing.

        Args:
            outputs: the answers of the same version of the model, from before the values came.
            actual: what came, in the units of the data: [B, H, K] or [B, K]; NaN where it is missing, or not known yet.

        Raises:
            ModelError: the answers are not those of this model.
        """
        actual = np.asarray(actual, np.float64)
        shape = self.counts.shape
        needed = ["predictions", *(["quantiles"] if self.of_what == "interval" else [])]
        wrong = [name for name in needed if name not in outputs or outputs[name].shape[1 : 1 + len(shape)] != shape]
        if wrong or actual.shape != (len(outputs["predictions"]), *shape):
            had = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(outputs.items())) or "nothing"
            raise ModelError(
                f"p-values need {' and '.join(needed)} and what came of the shape [B, {', '.join(map(str, shape))}], "
                f"as this version was calibrated; received {had}, and what came of the shape {list(actual.shape)}"
            )
        scores = _scores(self.of_what, outputs, actual, np.array(self.scale)).reshape(len(actual), -1)
        found = np.full(scores.shape, np.nan)
        for place, (ranks, kept, count) in enumerate(zip(self._ranks, self.scores, self.counts.flat, strict=True)):
            known = ~np.isnan(scores[:, place])
            # From the first kept score that is smaller: all before it may be as large.
            as_large = np.searchsorted(-kept, -(scores[known, place] - _TOLERANCE), side="right")
            found[known, place] = ranks[as_large] / (count + 1)
        return found.reshape(actual.shape)

    def interval(
        self, outputs: Mapping[str, np.ndarray], coverage: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the values whose p-value is above 1 - coverage: lower and upper bounds, float64 as the predictions.

        Args:
            outputs: as of ``p_values``.
            coverage: of each horizon and target, [H, K], or one for all. From 1 on the interval holds everything, and
                so it does where eval has too few scores; down to 0 it holds nothing (its bounds are +inf and -inf).

        Raises:
            ModelError: the answers are not those of this model.
        """
        predictions = np.asarray(outputs["predictions"], np.float64)
        self.p_values(outputs, np.full(predictions.shape, np.nan))  # raises what is to be raised
        wanted = np.broadcast_to(np.asarray(coverage, np.float64), self.counts.shape).reshape(-1).tolist()
        reach = np.array([self._reach(place, each) for place, each in enumerate(wanted)]).reshape(self.counts.shape)
        unit = np.array(self.scale, np.float64)
        lower = upper = predictions
        if self.of_what == "interval":
            quantiles = np.asarray(outputs["quantiles"], np.float64)
            lower, upper = quantiles[..., 0], quantiles[..., -1]
            unit = np.maximum(upper - lower, _TOLERANCE * unit)
        with np.errstate(invalid="ignore"):
            low, high = lower - reach * unit, upper + reach * unit
        # Narrowed beyond its middle an interval holds the middle alone.
        crossed = (low > high) & np.isfinite(reach)
        low, high = (np.where(crossed, (lower + upper) / 2, each) for each in (low, high))
        return low, high

    def _reach(self, place: int, coverage: float) -> float:
        """Return the largest score of a cell that is inside; -inf: none is."""
        kept, count = self.scores[place], int(self.counts.flat[place])
        if coverage <= 0:
            return -math.inf
        rank = count + 1 - math.ceil((count + 1) * coverage - _ROUNDING)
        ranks = self._ranks[place][:-1]
        # The kept score at this rank, or the next larger one.
        at = int(np.searchsorted(ranks, rank, side="right")) - 1
        return math.inf if at < 0 else float(kept[at])

    @cached_property
    def _ranks(self) -> list[np.ndarray]:
        counts = self.counts.reshape(-1).tolist()
        return [np.append(kept_ranks(count), count + 1) for count in counts]

    def to_json(self) -> str:
        """Return the content of `conformal_scores.json`."""
        texts = [[float(f"{value:.9g}") for value in each.tolist()] for each in self.scores]
        return json.dumps(
            {
                "format": _FORMAT,
                "of_what": self.of_what,
                "scale": self.scale,
                "counts": self.counts.tolist(),
                "scores": texts,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> ConformalScores:
        """Parse what `to_json` returned.

        Raises:
            ModelError: another version of the package wrote it, or it is damaged.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"expected the format {_FORMAT}, received {content['format']}")
            counts = np.array(content["counts"], np.int64)
            scores = [np.array(each, np.float64) for each in content["scores"]]
            if [len(kept_ranks(count)) for count in counts.reshape(-1).tolist()] != [len(each) for each in scores]:
                raise ValueError("counts and scores don't match")
            return cls(content["of_what"], content["scale"], counts, scores)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"conformal_scores.json: can't be read: {error}. Train and publish the model again"
            ) from error


def kept_ranks(count: int) -> np.ndarray:
    """Return the ranks of the kept scores, from 1 (the largest), int64, rising; the last is ``count``."""
    ranks = list(range(1, min(count, _EXACT) + 1))
    while ranks and ranks[-1] < count:
        ranks.append(min(count, max(ranks[-1] + 1, int(ranks[-1] * _GROWTH))))
    return np.array(ranks, np.int64)


def _scores(of_what: str, outputs: Mapping[str, np.ndarray], actual: np.ndarray, scale: np.ndarray) -> np.ndarray:
    actual = np.asarray(actual, np.float64)
    if of_what == "error":
        return np.minimum(np.abs(actual - np.asarray(outputs["predictions"], np.float64)) / scale, _LARGEST)
    quantiles = np.asarray(outputs["quantiles"], np.float64)
    lower, upper = quantiles[..., 0], quantiles[..., -1]
    outside, width = np.maximum(lower - actual, actual - upper), upper - lower
    # An interval of one point (bounds, whole numbers) holds that alone.
    least = _TOLERANCE * scale
    of_a_point = np.where(outside > least, _LARGEST, np.where(np.isnan(outside), np.nan, 0.0))
    with np.errstate(over="ignore"):
        ratio = outside / np.maximum(width, least)
    return np.minimum(np.where(width > least, ratio, of_a_point), _LARGEST)
