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
        positive: index of the class that it is of, where C is 2.
    """

    def __init__(self, classes: int, positive: int):
        super().__init__(name=PR_AUC)
        self.chosen = [positive] if classes == 2 else list(range(classes))
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
        odds = ops.where(ops.isfinite(odds), ops.clip(odds, -_BOUND, _BOUND), -_BOUND)
        places = ops.cast(ops.round((odds + _BOUND) * _STEPS), "int64")
        is_class = ops.cast(ops.equal(labels[:, None], classes[None, :]), "int64")
        column = ops.expand_dims(ops.arange(len(self.chosen), dtype="int64"), 0)
        codes = (is_class * len(self.chosen) + column) * self._bins + places
        weights = ops.broadcast_to(ops.expand_dims(rows, 1), ops.shape(codes))
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
