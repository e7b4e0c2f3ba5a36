"""Losses of a classification: cross-entropy and focal loss, with a weight for each class; so of several labels."""

# Keras' type hints give None for what an operation returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from noisy_gru.trainer.training_config import FocalLossConfig, TrainingConfig

# Below it the gradient of (1 - p) ** gamma would be infinite for a gamma below 1.
_LEAST_ERROR = 1e-7


def step_loss(config: TrainingConfig, weights: np.ndarray | None) -> Any:
    """Return the loss of answers [B, T, 2] of `SequenceData` and logits [B, T, C]: of each step, to be averaged.

    Args:
        config, weights: as for `classification_loss`.
    """
    of_rows = _loss_of_rows(config, weights)

    def of_steps(answers: Any, logits: Any) -> Any:
        classes = logits.shape[-1]
        labels = ops.cast(ops.reshape(answers[..., 0], (-1,)), "int32")
        losses = ops.reshape(of_rows(labels, ops.reshape(logits, (-1, classes))), ops.shape(answers)[:2])
        # Keras averages over the steps of a batch, however far it is padded: this makes it their sum.
        return losses * answers[..., 1] * ops.cast(ops.shape(answers)[1], losses.dtype)

    return of_steps


def classification_loss(config: TrainingConfig, weights: np.ndarray | None) -> Any:
    """Return the loss of labels int64 [B] and logits float32 [B, C].

    Args:
        config: the training section.
        weights: float32 [C], factors on the loss of each class, as Keras' `class_weight`: the mean is over the rows,
            not over the weights. None: all count alike.
    """
    if weights is None and not config.label_smoothing and not isinstance(config.loss, FocalLossConfig):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _loss_of_rows(config, weights)


def label_loss(config: TrainingConfig, weights: np.ndarray | None) -> Any:
    """Return the loss of several labels: of each by itself, then averaged.

    Args:
        config: the training section.
        weights: float32 [2, K], factors on the loss of each label where it is 0, and where it is 1; None: all are 1.

    Returns:
        From answers [B, K], or [B, 2 K] with weights (of `SequenceData`), and logits [B, K] to losses [B].
    """

    def of_labels(answers: Any, logits: Any) -> Any:
        count = logits.shape[-1]
        truth = answers[:, :count]
        aims = truth
        if config.label_smoothing:
            aims = truth * (1 - config.label_smoothing) + config.label_smoothing / 2
        losses = ops.maximum(logits, 0.0) - logits * aims + ops.log1p(ops.exp(-ops.abs(logits)))
        if isinstance(config.loss, FocalLossConfig):
            losses = ops.maximum(-ops.expm1(-losses), _LEAST_ERROR) ** config.loss.focal.gamma * losses
        if weights is not None:
            negative, positive = ops.unstack(ops.convert_to_tensor(weights), num=2)
            losses = losses * ops.where(truth > 0, positive, negative)
        return ops.mean(losses if answers.shape[-1] == count else losses * answers[:, count:], axis=-1)

    return of_labels


def _loss_of_rows(config: TrainingConfig, weights: np.ndarray | None) -> Any:
    def of_rows(labels: Any, logits: Any) -> Any:
        # Keras gives a loss all answers as float32.
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        losses = _losses(config, labels, logits)
        return losses if weights is None else losses * ops.take(ops.convert_to_tensor(weights), labels)

    return of_rows


def _losses(config: TrainingConfig, labels: Any, logits: Any) -> Any:
    if config.label_smoothing:
        return keras.losses.categorical_crossentropy(
            ops.one_hot(labels, logits.shape[-1]), logits, from_logits=True, label_smoothing=config.label_smoothing
        )
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    if not isinstance(config.loss, FocalLossConfig):
        return losses
    # Lin et al. 2017, equation 4: -(1 - p) ** gamma * log(p), p being the probability of the true class.
    error = ops.maximum(-ops.expm1(-losses), _LEAST_ERROR)
    return error**config.loss.focal.gamma * losses
