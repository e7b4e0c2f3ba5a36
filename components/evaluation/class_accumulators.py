"""Accumulators of classification: counts of classes and scores, of sequences or of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.components.evaluation.accumulator_base import (
    CODE_COUNTS,
    CODES,
    LEAST_PROBABILITY,
    ScoreAccumulator,
    Sums,
)
from noisy_gru.components.evaluation.metric_catalogue import (
    EXAMPLE_COUNT,
    PRECISION,
    RECALL,
)
from noisy_gru.components.evaluation.score_counts import (
    average_precisions,
    score_codes,
    score_codes_of,
)

_CLASSES = "classes"


def answered_class(outputs: dict[str, np.ndarray]) -> int | None:
    """Return the index of the predicted class; None if its probabilities aren't finite.

    The model's ``class_id`` decides, which follows `task.threshold`.
    """
    probabilities = np.asarray(outputs["probabilities"])
    if np.isnan(probabilities).any():
        return None
    return int(np.asarray(outputs["class_id"]).reshape(-1)[0]) if "class_id" in outputs else int(probabilities.argmax())


def class_loss(label: bytes, classes: list[bytes], probabilities: np.ndarray) -> float:
    """Return the negative log probability of the true class; NaN if the probabilities aren't finite."""
    if np.isnan(probabilities).any():
        return float("nan")
    chosen = probabilities[classes.index(label)] if label in classes else 0.0
    return float(-np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)))


class Classification(ScoreAccumulator):
    """Counts of true and predicted classes, and of scores; the last row is for classes unseen in training.

    Args:
        positive: `task.positive`, the class that PR-AUC is of where there are two; None: the rarer one in train.
    """

    same = (_CLASSES,)

    def __init__(self, positive: str | None = None) -> None:
        self._positive = None if positive is None else positive.encode()

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the class (bytes); ``outputs`` holds `probabilities` [C], `labels_bytes` [C] and `class_id`."""
        probabilities = np.asarray(outputs["probabilities"], np.float64)
        classes = [bytes(name) for name in outputs["labels_bytes"]]
        confusion = np.zeros((len(classes) + 1, len(classes)))
        true = classes.index(label) if label in classes else len(classes)
        predicted = answered_class(outputs)
        if predicted is not None:  # else no class is predicted, so the answer is wrong
            confusion[true, predicted] = 1
        codes = score_codes(probabilities, true)
        return {
            "confusion": confusion,
            "true": np.bincount([true], minlength=len(classes) + 1).astype(float),
            "loss": np.array(class_loss(label, classes, probabilities)),
            _CLASSES: np.array(classes, object),
            CODES: codes,
            CODE_COUNTS: np.ones(len(codes)),
        }

    def metrics(self, sums: Sums) -> dict[str, float]:
        confusion, true = sums["confusion"], sums["true"]
        count = true.sum()
        hits = np.diagonal(confusion)
        present = true > 0
        known = present[:-1]
        # A class that train never showed has a recall of 0.
        recalls = np.concatenate([hits[known] / true[:-1][known], np.zeros(int(present[-1]))])
        predicted = confusion.sum(axis=0)
        either = known | (predicted > 0)
        scores = 2 * hits[either] / (true[:-1][either] + predicted[either])
        scores = np.concatenate([scores, np.zeros(int(present[-1]))])
        accuracy = hits.sum() / count
        majority = true[0] / count
        return {
            EXAMPLE_COUNT: float(count),
            "accuracy": float(accuracy),
            "balanced_accuracy": float(recalls.mean()),
            "macro_f1": float(scores.mean()),
            "pr_auc": self._pr_auc(sums),
            "log_loss": float(sums["loss"] / count),
            "accuracy_majority": float(majority),
            "accuracy_gain_over_majority": float(accuracy - majority),
        }

    def by_class(self, sums: Sums) -> dict[str, float]:
        """Return recall of each class that occurs and precision of each predicted one; 0 if unseen in training."""
        confusion, true = sums["confusion"], sums["true"]
        hits, predicted = np.diagonal(confusion), confusion.sum(axis=0)
        found = {}
        for place, name in enumerate(sums[_CLASSES]):
            text = name.decode("utf-8", "replace")
            if true[place] > 0:
                found[f"{RECALL}{text}"] = float(hits[place] / true[place])
            if predicted[place] > 0:
                found[f"{PRECISION}{text}"] = float(hits[place] / predicted[place])
        return found

    def _pr_auc(self, sums: Sums) -> float:
        """NaN if an answer is no number, or no sequence has the class."""
        if np.isnan(sums["loss"]):
            return float("nan")
        classes = list(sums[_CLASSES])
        areas = average_precisions(sums[CODES], sums[CODE_COUNTS], len(classes))
        if len(classes) == 2:
            return float(areas[classes.index(self._positive) if self._positive in classes else 1])
        occurring = areas[~np.isnan(areas)].tolist() + [0.0] * bool(sums["true"][-1] > 0)
        return float(np.mean(occurring))


class StepClassification(Classification):
    """The sums of a classification over the steps of all sequences that have a label."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the class of each step, an array of bytes [T], empty where unknown.

        ``outputs`` holds `probabilities` [T, C], `labels_bytes` [C] and `class_id` [T], maybe of more steps.
        """
        classes = [bytes(name) for name in outputs["labels_bytes"]]
        names, probabilities, predicted = known_steps(label, outputs)
        place = {name: number for number, name in enumerate(classes)}
        true = np.array([place.get(name, len(classes)) for name in names], np.int64)
        whole = ~np.isnan(probabilities).any(axis=1)
        confusion = np.zeros((len(classes) + 1, len(classes)))
        np.add.at(confusion, (true[whole], predicted[whole]), 1)
        # A class that train never showed has no probability.
        chosen = np.pad(probabilities, [(0, 0), (0, 1)])[np.arange(len(true)), true]
        codes, counts = np.unique(score_codes_of(probabilities[whole], true[whole]), return_counts=True)
        return {
            "confusion": confusion,
            "true": np.bincount(true, minlength=len(classes) + 1).astype(float),
            "loss": np.array(-np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)).sum()),
            _CLASSES: np.array(classes, object),
            CODES: codes,
            CODE_COUNTS: counts.astype(float),
        }


def known_steps(label: Any, outputs: dict[str, np.ndarray]) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Return the labels [N] of the steps that have one, with probabilities float64 [N, C] and answered classes [N]."""
    places = [step for step, name in enumerate(label) if name]
    probabilities = np.asarray(outputs["probabilities"], np.float64)[places]
    predicted = np.asarray(outputs["class_id"])[places].astype(np.int64)
    return [bytes(label[step]) for step in places], probabilities, predicted
