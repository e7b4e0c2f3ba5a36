"""Areas below curves (average precision, ROC) from counts of scores, which can be added up in any order and grouping.

A model's score of a class is counted in steps of 1/256 of the log-odds, up to 20 on either side, with whether the class
was right: a code is (2 * class + right) * STEPS + step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

_BOUND, _FINENESS = 20.0, 256
STEPS = int(2 * _BOUND * _FINENESS) + 1


def score_codes(probabilities: np.ndarray, true: int) -> np.ndarray:
    """Return the code of each class for one answer, int64 [C]; none if the answer is no number.

    Args:
        probabilities: float64 [C].
        true: index of the right class; C for one that the model doesn't know.
    """
    if np.isnan(probabilities).any():
        return np.empty(0, np.int64)
    return score_codes_of(probabilities[np.newaxis], np.array([true]))


def score_codes_of(probabilities: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the codes of several answers, none of them NaN, int64 [N * C].

    Args:
        probabilities: float64 [N, C].
        true: int [N], indices of the right classes, as for `score_codes`.
    """
    count = probabilities.shape[1]
    # Of two classes the other's probability has more digits than 1 less this one's.
    others = probabilities[:, ::-1] if count == 2 else 1 - probabilities
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(probabilities) - np.log(np.maximum(others, 0.0)), -_BOUND, _BOUND)
    steps = np.rint((odds + _BOUND) * _FINENESS).astype(np.int64)
    places = np.arange(count)
    return ((2 * places + (places == true[:, np.newaxis])) * STEPS + steps).reshape(-1)


def label_codes(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the codes of the known ones of several labels, of those whose probability is a number, int64 [N].

    Args:
        probabilities: float64 [K], of each label by itself.
        truth: float64 [K], 0, 1 or NaN.
    """
    chosen = np.flatnonzero(~np.isnan(truth) & np.isfinite(probabilities))
    scores = probabilities[chosen]
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(scores) - np.log1p(-scores), -_BOUND, _BOUND)
    steps = np.rint((odds + _BOUND) * _FINENESS).astype(np.int64)
    return (2 * chosen + (truth[chosen] > 0)) * STEPS + steps


def merge_counts(codes: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct codes, rising, and how often each was counted: float64."""
    distinct, places = np.unique(np.concatenate(codes), return_inverse=True)
    return distinct, np.bincount(places, weights=np.concatenate(counts), minlength=len(distinct))


def average_precisions(codes: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the average precision of each class, float64 [C]; NaN for a class that was never right.

    The sum over the thresholds, falling, of (recall - recall before) * precision, as scikit-learn has it.

    Args:
        codes: distinct ones, with their
        counts.
        classes: C.
    """
    areas = np.full(classes, np.nan)
    for place, (own, others) in enumerate(_histograms(codes, counts, classes)):
        if total := own.sum():
            own, others = own[::-1], others[::-1]
            found = np.cumsum(own)
            predicted = found + np.cumsum(others)
            areas[place] = (own / total * np.divide(found, predicted, where=predicted > 0, out=np.zeros(STEPS))).sum()
    return areas


def roc_areas(codes: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the area below the ROC curve of each class, float64 [C]; NaN for one that is never, or always, right.

    The part of the pairs of a right and a wrong one of which the right one has the higher score; ties are half.

    Args:
        codes, counts, classes: as for `average_precisions`.
    """
    areas = np.full(classes, np.nan)
    for place, (own, others) in enumerate(_histograms(codes, counts, classes)):
        pairs = own.sum() * others.sum()
        if pairs:
            below = np.cumsum(others) - others
            areas[place] = (own * (below + others / 2)).sum() / pairs
    return areas


def _histograms(codes: np.ndarray, counts: np.ndarray, classes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each class how often each score was given where it was right, and where not, float64 [STEPS]."""
    group, steps = np.divmod(codes, STEPS)
    for place in range(classes):
        own, others = np.zeros(STEPS), np.zeros(STEPS)
        own[steps[group == 2 * place + 1]] = counts[group == 2 * place + 1]
        others[steps[group == 2 * place]] = counts[group == 2 * place]
        yield own, others
