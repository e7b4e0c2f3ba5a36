"""What a model of numbers answers: true against predicted, residuals, and the worst answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.pipeline.report.answers import Answers
from noisy_gru.schema.task_config import targets_of

_POINTS = 400
_BINS = 24


def regression(answers: Answers) -> dict[str, Any]:
    """Return `pairs` (a part of them, evenly over the sequences), `residuals`, predicted less true, and `interval`."""
    targets = targets_of(answers.dataset.task)
    true, predicted = (answers.columns[name].reshape(-1, len(targets)) for name in ("label", "candidate"))
    ends = answers.interval
    by_target = [
        {
            "target": name,
            "pairs": pairs(true[:, place], predicted[:, place]),
            "residuals": residuals(true[:, place], predicted[:, place]),
            "interval": interval(true[:, place], None if ends is None else ends[:, place], answers),
        }
        for place, name in enumerate(targets)
    ]
    return {"targets": by_target} if len(targets) > 1 else {k: v for k, v in by_target[0].items() if k != "target"}


def interval(true: np.ndarray, ends: np.ndarray | None, answers: Answers) -> dict[str, Any] | None:
    """Return the share of the numbers that is `covered`, what it should be (`coverage`), and the mean `width`.

    None where there are no intervals, or no number to compare with.

    Args:
        true: float [...].
        ends: of the interval, [..., 2].
        answers: that they are of.
    """
    if ends is None:
        return None
    known = np.isfinite(true) & np.isfinite(ends).all(axis=-1)
    if not known.any():
        return None
    low, high = ends[known][:, 0], ends[known][:, 1]
    inside = (true[known] >= low) & (true[known] <= high)
    found = {"covered": float(inside.mean()), "width": float((high - low).mean()), "answers": int(known.sum())}
    return {"coverage": answers.coverage, **found}


def pairs(true: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return at most 400 pairs of numbers."""
    known = np.flatnonzero(np.isfinite(true) & np.isfinite(predicted))
    chosen = known[spread(len(known), _POINTS)]
    return {"true": true[chosen], "predicted": predicted[chosen], "of": len(known)}


def residuals(true: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Return the histogram of predicted less true, and what it comes to."""
    error = predicted - true
    error = error[np.isfinite(error)]
    if not len(error):
        return {"count": 0}
    counts, edges = np.histogram(error, bins=_BINS)
    quantiles = {f"{part:g}": float(np.quantile(error, part)) for part in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return {
        "count": len(error),
        "mean": float(error.mean()),
        "mean_absolute": float(np.abs(error).mean()),
        "quantiles": quantiles,
        "edges": edges,
        "counts": counts,
    }


def worst(answers: Answers, count: int) -> list[dict[str, Any]]:
    """Return the sequences with the largest errors: id, true and predicted number, error."""
    targets = targets_of(answers.dataset.task)
    whole, predicted = (answers.columns[name].reshape(-1, len(targets)) for name in ("label", "candidate"))
    # Of several targets the errors are in parts of each one's mean error.
    errors = np.abs(predicted - whole)
    parts = errors / np.maximum(np.nanmean(errors, axis=0), np.finfo(float).tiny) if len(targets) > 1 else errors
    largest = np.argmax(np.nan_to_num(parts, nan=-1.0, posinf=np.inf), axis=1)
    rows = np.arange(len(largest))
    true, predicted, error = (each[rows, largest] for each in (whole, predicted, errors))
    order = np.argsort(-np.nan_to_num(parts[rows, largest], nan=-1.0, posinf=np.inf), kind="stable")[:count]
    return [
        {
            "id": answers.ids[place],
            "label": float(true[place]),
            "answer": float(predicted[place]),
            "error": float(error[place]),
            **({"target": targets[largest[place]]} if len(targets) > 1 else {}),
        }
        for place in order
        if error[place] >= 0
    ]


def spread(count: int, shown: int) -> np.ndarray:
    """Return at most ``shown`` places, evenly spread over ``count``."""
    return np.unique(np.linspace(0, count - 1, min(count, shown)).round().astype(int)) if count else np.zeros(0, int)
