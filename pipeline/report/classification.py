"""What a classifier's answers come to: confusion matrix, curves by class, calibration, and the worst answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.pipeline.report.answers import Answers

MOST_CLASSES = 50
CURVES_SHOWN = 12
_CURVE_POINTS = 60
_BINS = 10


def classification(answers: Answers) -> dict[str, Any]:
    """Return `confusion`, `by_class`, and, where probabilities were recorded, `curves` and `calibration`."""
    label, candidate = (
        np.array([_text(each) for each in answers.columns[name]], dtype=object) for name in ("label", "candidate")
    )
    names = sorted({*label, *candidate})
    by_class = [hits_of(name, label == name, candidate == name) for name in names]
    found: dict[str, Any] = {"classes": len(names), "by_class": by_class[:MOST_CLASSES]}
    if len(names) <= MOST_CLASSES:
        place = {name: index for index, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, ([place[each] for each in label], [place[each] for each in candidate]), 1)
        found["confusion"] = {"classes": names, "counts": counts}
    if answers.probabilities is not None:
        true = label[:, None] == np.array(answers.classes, dtype=object)[None, :]
        found["curves"] = _curves(answers, true)
        found["calibration"] = calibration(answers.probabilities, true)
    return found


def worst(answers: Answers, count: int) -> list[dict[str, Any]]:
    """Return the sequences whose true class was given the least probability: id, true and answered class, loss."""
    losses = np.nan_to_num(answers.columns["candidate_loss"], nan=np.inf, posinf=np.inf)
    order = np.argsort(-losses, kind="stable")[:count]
    return [
        {
            "id": answers.ids[place],
            "label": _text(answers.columns["label"][place]),
            "answer": _text(answers.columns["candidate"][place]),
            "error": float(losses[place]),
        }
        for place in order
    ]


def _text(value: Any) -> str:
    if value is None:
        return "(no number)"
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def hits_of(name: str, is_label: np.ndarray, is_answer: np.ndarray) -> dict[str, Any]:
    """Return the row of a class or label in `by_class`; ``is_label`` and ``is_answer`` are bool [N]."""
    right, sequences, predicted = (int(np.sum(each)) for each in (is_label & is_answer, is_label, is_answer))
    return {
        "class": name,
        "sequences": sequences,
        "answered": predicted,
        "right": right,
        "recall": right / sequences if sequences else None,
        "precision": right / predicted if predicted else None,
        "f1": 2 * right / (sequences + predicted) if sequences + predicted else None,
    }


def _curves(answers: Answers, true: np.ndarray) -> list[dict[str, Any]]:
    """Return the curves of each class against the rest; of two classes only of the one that is looked for."""
    order = np.argsort(-true.sum(axis=0), kind="stable")
    chosen = [place for place in order if 0 < true[:, place].sum() < len(true)]
    if len(answers.classes) == 2:
        positive = getattr(answers.dataset.task, "positive", None)
        chosen = [answers.classes.index(positive) if positive in answers.classes else 1]
        chosen = [place for place in chosen if 0 < true[:, place].sum() < len(true)]
    return [
        {"class": answers.classes[place], **curves(answers.probabilities[:, place], true[:, place])}  # type: ignore[index]
        for place in chosen[:CURVES_SHOWN]
    ]


def curves(scores: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return ROC and precision-recall curves with the areas below them (the latter: average precision).

    Args:
        scores: float [N], of the class.
        true: bool [N], at least one of each.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(true[order])[ends]
    predicted = ends + 1
    positives, negatives = int(true.sum()), int((~true).sum())
    recall, fall_out = hits / positives, (predicted - hits) / negatives
    precision = hits / predicted
    roc_x, roc_y = np.append(0.0, fall_out), np.append(0.0, recall)
    average = float((np.diff(np.append(0.0, recall)) * precision).sum())
    thin_roc, thin_pr = _thinned(len(roc_x)), _thinned(len(recall))
    return {
        "roc_auc": float(np.trapezoid(roc_y, roc_x)),
        "average_precision": average,
        "roc": {"false_positive_rate": roc_x[thin_roc], "recall": roc_y[thin_roc]},
        "precision_recall": {"recall": recall[thin_pr], "precision": precision[thin_pr]},
    }


def _thinned(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(int))


def calibration(probabilities: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return how often answers of a confidence are right, in ten bins, and the expected calibration error.

    Args:
        probabilities: float [N, C].
        true: bool [N, C]; a row without a true class is one that train never showed.
    """
    chosen = probabilities.argmax(axis=1)
    rows = np.arange(len(chosen))
    confidence, right = probabilities[rows, chosen], true[rows, chosen]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found, error = [], 0.0
    for number in range(_BINS):
        inside = bins == number
        if not inside.any():
            continue
        mean, share = float(confidence[inside].mean()), float(right[inside].mean())
        error += abs(mean - share) * inside.mean()
        bounds = {"from": number / _BINS, "to": (number + 1) / _BINS}
        found.append({**bounds, "answers": int(inside.sum()), "confidence": mean, "right": share})
    return {"bins": found, "expected_calibration_error": float(error)}
