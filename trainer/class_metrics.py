"""Metrics of a classification for imbalanced classes, logged beside accuracy: balanced accuracy and PR-AUC.

Their states are sums over rows, so that replicas can add them up.
"""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

BALANCED_ACCURACY, PR_AUC = "balanced_accuracy", "pr_auc"
# Scores are counted in steps of 1/16 of the log-odds, of which float32 probabilities have few beyond 16.
_BOUND, _STEPS = 16.0, 16


class BalancedAccuracy(keras.metrics.Metric):
    """Recall, averaged over the classes that occur.

    Args:
        classes: C, of labels int [B] and logits [B, C].
    """

    def __init__(self, classes: int):
        super().__init__(name=BALANCED_ACCURACY)
        self.counts = self.add_weight(shape=(2, classes), initializer="zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred, sample_weight = of_all_steps(y_true, y_pred, sample_weight)
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int64")
        rows = _row_weights(labels, sample_weight)
        hits = ops.where(ops.argmax(y_pred, axis=-1) == ops.cast(labels, "int32"), rows, 0.0)
        true = ops.one_hot(labels, y_pred.shape[-1], dtype="float32")
        self.counts.assign_add(ops.matmul(ops.stack([hits, rows]), true))

    def result(self) -> Any:
        hits, rows = ops.unstack(ops.convert_to_tensor(self.counts), num=2)
        present = ops.cast(rows > 0, "float32")
        return ops.sum(hits / ops.maximum(rows, 1.0)) / ops.maximum(ops.sum(present), 1.0)


class AveragePrecision(keras.metrics.Metric):
    """Area under the precision-recall curve as average precision: of one class of two, else averaged over the classes.

    Args:
        classes: C, of labels int [B] and logits [B, C].
        positive: index of the class that it is of, where C is 2; None: of all.
    """

    def __init__(self, classes: int, positive: int | None):
        super().__init__(name=PR_AUC)
        self.chosen = [positive] if classes == 2 and positive is not None else list(range(classes))
        self._bins = int(2 * _BOUND * _STEPS) + 1
        shape = (2 * len(self.chosen) * self._bins,)
        self._size = shape[0]
        self.counts = self.add_weight(shape=shape, initializer="zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred, sample_weight = of_all_steps(y_true, y_pred, sample_weight)
        labels: Any = ops.cast(ops.reshape(y_true, (-1,)), "int64")
        rows = _row_weights(labels, sample_weight)
        classes: Any = ops.convert_to_tensor(self.chosen, "int64")
        logs = ops.take(ops.log_softmax(y_pred, axis=-1), classes, axis=-1)
        # log(p / (1 - p)); what is no number counts as the lowest score.
        odds = logs - ops.log(ops.maximum(-ops.expm1(logs), 1e-12))
        self._count(ops.equal(labels[:, None], classes[None, :]), odds, ops.expand_dims(rows, 1))

    def _count(self, is_class: Any, odds: Any, weights: Any) -> None:
        """Count scores [N, C] of what is of the class, bool [N, C], or not; weights are [N, C] or [N, 1]."""
        odds = ops.where(ops.isfinite(odds), ops.clip(odds, -_BOUND, _BOUND), -_BOUND)
        places = ops.cast(ops.round((odds + _BOUND) * _STEPS), "int64")
        column = ops.expand_dims(ops.arange(len(self.chosen), dtype="int64"), 0)
        codes = (ops.cast(is_class, "int64") * len(self.chosen) + column) * self._bins + places
        weights = ops.broadcast_to(weights, ops.shape(codes))
        sums = tf.math.unsorted_segment_sum(ops.reshape(weights, (-1,)), ops.reshape(codes, (-1,)), self._size)
        self.counts.assign_add(sums)

    def result(self) -> Any:
        counts = ops.reshape(ops.convert_to_tensor(self.counts), (2, len(self.chosen), self._bins))
        others, own = ops.unstack(ops.flip(counts, axis=-1), num=2)
        found = ops.cumsum(own, axis=-1)
        precision = found / ops.maximum(found + ops.cumsum(others, axis=-1), 1.0)
        total = ops.sum(own, axis=-1)
        areas = ops.sum(own * precision, axis=-1) / ops.maximum(total, 1.0)
        return ops.sum(areas) / ops.maximum(ops.sum(ops.cast(total > 0, "float32")), 1.0)


class LabelAccuracy(keras.metrics.Mean):
    """Fraction of the known labels that are answered right from a probability of 0.5 on; of logits [B, K].

    Answers are [B, K], or [B, 2 K] with weights (of `SequenceData`).
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth, known = _known_labels(y_true, y_pred, sample_weight)
        super().update_state(ops.cast(ops.equal(y_pred >= 0, truth), "float32"), sample_weight=known)


class LabelAveragePrecision(AveragePrecision):
    """Average precision of each label over the sequences of which it is known, averaged; answers as `LabelAccuracy`.

    Args:
        labels: K, of logits [B, K].
    """

    def __init__(self, labels: int):
        super().__init__(labels, None)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth, known = _known_labels(y_true, y_pred, sample_weight)
        self._count(truth, y_pred, known)


def _known_labels(answers: Any, logits: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return which labels are true, bool [B, K], and the weight of each, 0 where it is unknown."""
    count = logits.shape[-1]
    truth = answers[:, :count] > 0
    known = ops.ones_like(logits) if answers.shape[-1] == count else ops.cast(answers[:, count:] > 0, "float32")
    if sample_weight is not None:
        known = known * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
    return truth, known


class StepAccuracy(keras.metrics.Mean):
    """Fraction of the steps with a known label that get their class; of answers [B, T, 2] and logits [B, T, C]."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, logits, weights = of_all_steps(y_true, y_pred, sample_weight)
        hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int64"), labels), "float32")
        super().update_state(hits, sample_weight=weights)


def of_all_steps(answers: Any, logits: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Return labels [N], logits [N, C] and weights [N] of all steps, 0 where no label is known.

    Args:
        answers: of `SequenceData`, [B, T, 2]; labels [B] are returned as they are, with their weights.
        logits: [B, T, C].
        sample_weight: [B] or [B, 1], of the rows; None: all count.
    """
    if len(logits.shape) < 3:
        return answers, logits, sample_weight
    weights = ops.cast(answers[..., 1] > 0, "float32")
    if sample_weight is not None:
        weights = weights * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
    labels = ops.cast(ops.reshape(answers[..., 0], (-1,)), "int64")
    return labels, ops.reshape(logits, (-1, logits.shape[-1])), ops.reshape(weights, (-1,))


def _row_weights(labels: Any, sample_weight: Any) -> Any:
    if sample_weight is None:
        return ops.ones(ops.shape(labels), "float32")
    return ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
