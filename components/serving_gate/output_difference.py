"""Difference of two outputs of a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.label_decisions import LabelDecisions, thresholds_of

TOLERANCE = 1e-5
# A number in the units of the data can't be closer than its own rounding.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def identical(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    """Return whether both are the same bit for bit."""
    return set(a) == set(b) and all(_same(a[name], b[name]) for name in a)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool((a == b).all()) if a.dtype == object else a.tobytes() == b.tobytes()


def largest_difference(
    a: Mapping[str, np.ndarray],
    b: Mapping[str, np.ndarray],
    scale: np.ndarray | float,
    decision: Decision | LabelDecisions | None = None,
    slack: float = 0.0,
    relative: np.ndarray | bool = False,
) -> float:
    """Return the largest difference of two outputs, relative to ``scale``.

    What is rounding of a large number counts as no more than the tolerance.

    Infinite if an output is missing, has another shape, is not a number in one alone, or names another class although
    the classes aren't tied, or the probability isn't that of the threshold; so of an answered label.

    Args:
        a: answers.
        b: the answers compared with.
        scale: of `predictions` and `quantiles`, float [K] or a number: what a difference of 1 means. Probabilities have
            the scale 1.
        decision: of a model with a threshold, or several.
        slack: how far apart numbers in the units of the data may be: of answers that are rounded.
        relative: bool [K] or one for all, whether a difference of predictions beyond ``scale`` is relative to itself,
            as rounding is where logarithms are forecast.
    """
    if set(a) != set(b):
        return float("inf")
    largest = 0.0
    for name, left in a.items():
        right = b[name]
        if left.shape != right.shape:
            return float("inf")
        if np.issubdtype(left.dtype, np.floating):
            of_name = {"predictions": scale, "quantiles": np.asarray(scale)[..., np.newaxis]}.get(name)
            free = 0.0 if of_name is None else slack
            by_itself = {"predictions": relative, "quantiles": np.asarray(relative)[..., np.newaxis]}.get(name, False)
            largest = max(largest, _difference(left, right, 1.0 if of_name is None else of_name, free, by_itself))
        elif name in ("class_id", "label_bytes", "answers"):
            differ = left != right
            if differ.any() and _margin(b, decision)[differ].max() > 2 * TOLERANCE:
                return float("inf")
        elif not _same(left, right):
            return float("inf")
    return largest


def _difference(
    a: np.ndarray, b: np.ndarray, scale: np.ndarray | float, slack: float, relative: np.ndarray | bool
) -> float:
    left, right = a.astype(np.float64), b.astype(np.float64)
    if (np.isfinite(left) != np.isfinite(right)).any():
        return float("inf")
    finite = np.isfinite(right)
    difference = np.maximum(np.abs(np.where(finite, left, 0.0) - np.where(finite, right, 0.0)) - slack, 0.0)
    size = np.abs(np.where(finite, right, 0.0))
    units = np.asarray(scale, np.float64)
    scaled = difference / np.where(relative, np.maximum(units, size), units)
    rounding = difference <= _ROUNDING * size
    return float(np.where(rounding, np.minimum(scaled, TOLERANCE), scaled).max(initial=0.0))


def _margin(answers: Mapping[str, np.ndarray], decision: Decision | LabelDecisions | None) -> np.ndarray:
    """Return the margin to another answer, [B, ...]: between probabilities, or twice that to the threshold."""
    if "answers" in answers:
        given = decision if isinstance(decision, LabelDecisions) else None
        return 2 * np.abs(answers["probabilities"] - thresholds_of(given, answers["probabilities"].shape[-1]))
    if isinstance(decision, Decision):
        return 2 * np.abs(answers["probabilities"][..., decision.positive_id] - decision.threshold)
    probabilities = np.sort(answers["probabilities"], axis=-1)
    if probabilities.shape[-1] < 2:
        return np.ones(probabilities.shape[:-1])
    return probabilities[..., -1] - probabilities[..., -2]
