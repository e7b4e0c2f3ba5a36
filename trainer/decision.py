"""The threshold from which a classifier of two classes answers the positive one, chosen on the eval split.

>>> choose_threshold(np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, False, False]), ThresholdTarget(recall=1))
(0.55, True)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import ClassificationConfig, ThresholdTarget
from noisy_gru.trainer.class_balance import require_label

_FORMAT = 1
# Of sums of counts, so that 0.9 is reached by 9 of 10.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Decision:
    """How a model of two classes answers: `positive` where its probability is `threshold` or more.

    Attributes:
        positive: `task.positive`.
        positive_id: its index among the model's outputs, 0 or 1.
        threshold: float32 as the served graph holds it.
        target: `task.threshold` as a mapping; None if that is a number.
        reached: whether the target was reached on eval; if not, the threshold comes closest.
        sequences: of eval; 0 if the threshold was not chosen there.
        positives: those of them that are of the positive class.
        precision: on eval at this threshold; None if no sequence was answered so.
        recall: on eval at this threshold; None without positives.
        unit: what was counted on eval: sequences, or steps (`task.per_step`).
    """

    positive: str
    positive_id: int
    threshold: float
    target: dict[str, Any] | None = None
    reached: bool = True
    sequences: int = 0
    positives: int = 0
    precision: float | None = None
    recall: float | None = None
    unit: str = "sequences"

    def class_ids(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the answers int64 [B, ...] for probabilities float32 [B, ..., 2]."""
        is_positive = probabilities[..., self.positive_id] >= np.float32(self.threshold)
        return np.where(is_positive, self.positive_id, 1 - self.positive_id)

    def to_json(self) -> str:
        """Return the content of `decision.json`."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Parse what `to_json` returned.

        Raises:
            ValueError: another version of the package wrote it.
        """
        content = json.loads(text)
        if (found := content.pop("format")) != _FORMAT:
            raise ValueError(f"expected the format {_FORMAT} of a decision, received {found}")
        return cls(**content)

    def __str__(self) -> str:
        text = f"{self.positive} is answered from a probability of {self.threshold:.4g}"
        if not self.sequences:
            return text
        shown = [
            f"{name} {'unknown' if value is None else format(value, '.4g')}"
            for name, value in (("precision", self.precision), ("recall", self.recall))
        ]
        return f"{text}: {', '.join(shown)} on {self.sequences} {self.unit} of eval, {self.positives} of them positive"

    @property
    def shortfall(self) -> str:
        """Why the target was not reached, with what to do; empty if it was."""
        if self.reached:
            return ""
        wanted = ", ".join(f"{name} {value:g}" for name, value in (self.target or {}).items())
        return (
            f"task.threshold: {wanted} can't be reached on eval by any threshold; the best is precision "
            f"{self.precision or 0:.4g} with recall {self.recall or 0:.4g}. Ask for less, or bring a better model or "
            f"more {self.unit} of {self.positive}"
        )


def choose_threshold(scores: np.ndarray, is_positive: np.ndarray, target: ThresholdTarget) -> tuple[float, bool]:
    """Return the threshold that meets a target best, half way between two scores, and whether it meets it.

    `precision`: the most recall with at least this precision. `recall`: the most precision with at least this recall.
    `cost`: the least cost. If no threshold has the precision, it is the one with the most.

    Args:
        scores: [N], probability of the positive class.
        is_positive: bool [N], with both values in it.
        target: what to choose by.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order].astype(np.float64)
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each score
    hits = np.cumsum(is_positive[order])[last]
    predicted = last + 1
    total = int(is_positive.sum())
    precision, recall = hits / predicted, hits / total
    uppers = falling[last]
    thresholds = [_between(*pair) for pair in zip(uppers, np.append(uppers[1:], 0.0), strict=True)]
    if target.cost is not None:
        false_positives, false_negatives = np.append(0, predicted - hits), np.append(total, total - hits)
        costs = target.cost.false_positive * false_positives + target.cost.false_negative * false_negatives
        best = int(np.argmin(costs))
        # Above all scores nobody is answered so.
        return [_above(uppers[0]), *thresholds][best], True
    if target.recall is not None:
        able, first, second = recall >= target.recall - _ROUNDING, precision, recall
    else:
        able, first, second = precision >= (target.precision or 0.0) - _ROUNDING, recall, precision
    if not able.any():
        return thresholds[_best(np.ones(len(last), bool), precision, recall)], False
    return thresholds[_best(able, first, second)], True


def _best(able: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """Return the index of the largest `first`, then the largest `second`, among those that are able."""
    return int(np.lexsort((second, first, able))[-1])


def _between(upper: float, lower: float) -> float:
    """Return a float32 above `lower` and at most `upper`, half way if float32 has such a number."""
    half = float(np.float32((upper + lower) / 2))
    return half if lower < half <= upper else float(np.float32(upper))


def _above(score: float) -> float:
    return float(np.float32((score + 1) / 2)) if score < 0.999999 else float(np.nextafter(np.float32(1), np.float32(2)))


def check_classes(task: ClassificationConfig, labels: list[str], class_ids: np.ndarray) -> int:
    """Check that a threshold can be chosen, and return the index of `task.positive`.

    Args:
        task: with `positive` and `threshold`.
        labels: the classes, in the order of the model's outputs.
        class_ids: int64 [N], the classes of eval's sequences.

    Raises:
        DataError: there are not two classes, or eval has no sequence of one of them to choose by.
        ConfigError: train has no sequence of `task.positive`.
    """
    place = require_label(str(task.positive), labels, "task.positive")
    if len(labels) != 2:
        raise DataError(
            f"task.threshold is about two classes, and column {task.label} has {len(labels)} in train: "
            f"{', '.join(labels)}. Leave task.threshold out, or bring the classes down to two."
        )
    for number, name in enumerate(labels):
        if isinstance(task.threshold, ThresholdTarget) and not (class_ids == number).any():
            raise DataError(
                f"task.threshold is chosen on the eval split, which has no sequence of the class {name}. Enlarge "
                "splits.eval (or eval_from_train), or set task.threshold to a number."
            )
    return place


def decide(task: ClassificationConfig, labels: list[str], scores: np.ndarray, class_ids: np.ndarray) -> Decision:
    """Return how a model answers, its threshold chosen on eval unless it is configured as a number.

    Args:
        task: with `positive` and `threshold`.
        labels: the classes, in the order of the model's outputs.
        scores: float32 [N, 2], probabilities of eval's sequences.
        class_ids: int64 [N], their true classes.

    Raises:
        DataError, ConfigError: as `check_classes`.
    """
    place = check_classes(task, labels, class_ids)
    is_positive = class_ids == place
    positives = int(is_positive.sum())
    if isinstance(task.threshold, ThresholdTarget):
        threshold, reached = choose_threshold(scores[:, place], is_positive, task.threshold)
        target = task.threshold.model_dump(exclude_none=True)
    else:
        threshold, reached, target = float(np.float32(task.threshold or 0.5)), True, None
    predicted = scores[:, place] >= np.float32(threshold)
    hits = int((predicted & is_positive).sum())
    return Decision(
        positive=labels[place],
        positive_id=place,
        threshold=threshold,
        target=target,
        reached=reached,
        sequences=len(class_ids),
        positives=positives,
        precision=hits / int(predicted.sum()) if predicted.any() else None,
        recall=hits / positives if positives else None,
        unit="steps" if task.per_step else "sequences",
    )
