"""Calibration of class probabilities."""

from __future__ import annotations

import numpy as np

_BINS = 15
_LEAST = 1e-12


def calibration(logits: np.ndarray, class_ids: np.ndarray) -> dict[str, float]:
    """Return the negative log-likelihood `nll` and the expected calibration error `ece` of a classification.

    `ece` is the mean over the sequences of |accuracy - mean probability| in each of 15 equal bins of the largest
    probability (Guo et al. 2017, "On Calibration of Modern Neural Networks", ICML).

    Args:
        logits: float [N, C].
        class_ids: int [N].
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    of_truth = probabilities[np.arange(len(class_ids)), class_ids]
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == class_ids
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=_BINS)
    return {
        "nll": float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        "ece": float(np.abs(gaps).sum() / len(class_ids)),
    }
