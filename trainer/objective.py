"""Loss, metrics, learning rate schedule and optimizer of the configuration."""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from noisy_gru.trainer.class_balance import NO_SETTINGS, ClassSettings
from noisy_gru.trainer.class_losses import classification_loss, label_loss, step_loss
from noisy_gru.trainer.class_metrics import (
    BALANCED_ACCURACY,
    PR_AUC,
    AveragePrecision,
    BalancedAccuracy,
    LabelAccuracy,
    LabelAveragePrecision,
    StepAccuracy,
)
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.located_quantiles import law_of, likelihood_loss
from noisy_gru.trainer.learning_rate import learning_rate
from noisy_gru.trainer.loss_units import split_answer, use_logarithms, use_row_weights, use_window_units
from noisy_gru.trainer.training_config import TrainingConfig
from noisy_gru.trainer.transform_record import TransformRecord

# More steps in one call save nothing measurable.
_MOST_STEPS = 32
# Keras' loss of all targets, and the same of one absolute error.
_ERROR_LOSSES: dict[str, tuple[Any, Any]] = {
    "mse": (keras.losses.mean_squared_error, ops.square),
    "mae": (keras.losses.mean_absolute_error, lambda error: error),
    "huber": (keras.losses.huber, lambda error: ops.where(error <= 1, ops.square(error) / 2, error - 0.5)),
}


def compile_model(
    model: keras.Model,
    config: TrainingConfig,
    layout: Layout,
    *,
    steps_per_epoch: int,
    epochs: int,
    target_scale: np.ndarray | None = None,
    classes: ClassSettings = NO_SETTINGS,
    xla: bool = False,
    record: TransformRecord | None = None,
) -> None:
    """Give the model its optimizer, loss and metrics.

    Args:
        model: of `build_model`.
        config: the training section.
        layout: of the data set.
        steps_per_epoch: batches in an epoch.
        epochs: that the schedule spans.
        target_scale: float [K], for the mean absolute error in the units of the data.
        classes: weights of the classes, and which is the positive one.
        xla: compile the steps; the batches then bring weights.
        record: fitted scales, for `loss_units` with `season`.
    """
    rate = learning_rate(config, steps_per_epoch, epochs)
    settings: dict[str, Any] = {"global_clipnorm": config.clip_norm}
    if config.weight_average is not None and config.weight_average.kind == "ema":
        settings |= {"use_ema": True, "ema_momentum": config.weight_average.decay}
    if config.weight_decay:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **settings)
        # Don't decay biases, scales and the mean of the initial state.
        optimizer.exclude_from_weight_decay(var_names=["bias", "initial_mean", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(rate, **settings)
    model.compile(
        optimizer=optimizer,
        loss=_loss(config, layout, classes),
        # Weighted, because a replica's share of a batch may hold rows that don't count.
        weighted_metrics=_metrics(layout, target_scale, classes, model.output_shape[-1]),
        jit_compile=xla,
        steps_per_execution=min(steps_per_epoch, _MOST_STEPS)
        if config.steps_per_execution == "auto"
        else config.steps_per_execution,
    )
    if config.unit_weights is not None:
        use_window_units(model, config.unit_weights, layout, record)
    if any(layout.logged_targets):
        use_logarithms(model)
    if xla:
        use_row_weights(model)


def metric_name(layout: Layout) -> str:
    """Return the name of the task's metric, as logged: `accuracy`, or `mae` in the units of the data."""
    return "accuracy" if layout.is_classification or layout.is_multi_label else "mae"


def metric_names(layout: Layout) -> list[str]:
    """Return the names of all metrics of the task, as logged, that of `metric_name` first."""
    if layout.is_multi_label:
        return [metric_name(layout), PR_AUC]
    return [metric_name(layout), *([BALANCED_ACCURACY, PR_AUC] if layout.is_classification else [])]


def _loss(config: TrainingConfig, layout: Layout, classes: ClassSettings) -> Any:
    law = law_of(layout.dataset.task)
    if law is not None:
        return _likelihood(law[0], layout.median, law[1])
    if layout.quantiles:
        return _pinball(layout.quantiles)
    if layout.is_multi_label:
        return label_loss(config, classes.weights)
    if not layout.is_classification:
        kind = str(config.loss)
        if kind == "auto":
            kind = "mse" if len(layout.target_shape) == 1 else "huber"
        whole, of_error = _ERROR_LOSSES[kind]

        def of_known(answer: Any, predicted: Any) -> Any:
            targets, weights = split_answer(answer, predicted)
            if weights is None:
                return whole(targets, predicted)
            return ops.mean(of_error(ops.abs(targets - predicted)) * weights, axis=-1)

        def of_steps(answer: Any, predicted: Any) -> Any:
            # Keras averages over the steps of a batch, however far it is padded: this makes it their sum.
            losses = of_known(answer, predicted)
            return losses * ops.cast(ops.shape(answer)[1], losses.dtype)

        return of_steps if layout.is_per_step else of_known
    return (step_loss if layout.is_per_step else classification_loss)(config, classes.weights)


def _pinball(levels: list[float]) -> Any:
    """Return twice the pinball loss, averaged over the quantiles: of the median alone it is the absolute error."""

    def of_known(answer: Any, predicted: Any) -> Any:
        targets, weights = split_answer(answer, predicted)
        errors = targets[..., None] - predicted
        level = ops.convert_to_tensor(levels, dtype=predicted.dtype)
        losses = 2 * ops.mean(ops.maximum(level * errors, (level - 1) * errors), axis=-1)
        return ops.mean(losses if weights is None else losses * weights, axis=-1)

    return of_known


def _likelihood(quantiles: list[float], median: int, degrees: float | None) -> Any:
    """Return the negative log-likelihood of the distribution that has these quantiles."""
    loss = likelihood_loss(quantiles, median, degrees)

    def of_known(answer: Any, predicted: Any) -> Any:
        targets, weights = split_answer(answer, predicted)
        losses = loss(targets, predicted)
        return ops.mean(losses if weights is None else losses * weights, axis=-1)

    return of_known


def _metrics(layout: Layout, target_scale: np.ndarray | None, classes: ClassSettings, width: int) -> list[Any]:
    if layout.is_multi_label:
        return [LabelAccuracy(name=metric_name(layout)), LabelAveragePrecision(width)]
    metrics = [_metric(layout, target_scale)]
    if layout.is_classification:
        metrics += [BalancedAccuracy(width), AveragePrecision(width, classes.positive)]
    return metrics


def _metric(layout: Layout, target_scale: np.ndarray | None) -> keras.metrics.Metric:
    if layout.is_per_step and layout.is_classification:
        return StepAccuracy(name=metric_name(layout))
    if layout.is_classification:
        return keras.metrics.SparseCategoricalAccuracy(name=metric_name(layout))
    scale = np.ones(1, np.float32) if target_scale is None else np.asarray(target_scale, np.float32)
    return _AbsoluteError(scale, name=metric_name(layout), median=layout.median)


class _AbsoluteError(keras.metrics.Mean):
    """Mean absolute error over the known targets, in the units of the data.

    Args:
        scale: float32 [K] or [1], of the targets.
        name: of the metric.
        median: place of the quantile that is the prediction, of those that have quantiles.
    """

    def __init__(self, scale: np.ndarray, name: str, median: int = 0):
        super().__init__(name=name)
        self.scale, self.median = scale, median

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        targets, weights = split_answer(y_true, y_pred)
        if len(y_pred.shape) > len(y_true.shape):
            y_pred = y_pred[..., self.median]
        errors = ops.abs(targets - y_pred) * self.scale
        if weights is None:
            super().update_state(ops.mean(errors, axis=-1), sample_weight=sample_weight)
            return
        known = ops.cast(weights > 0, errors.dtype)
        if sample_weight is not None:
            rows = ops.cast(sample_weight, errors.dtype)
            # One for each row, with or without axes of 1, or one for each target.
            while len(rows.shape) < len(errors.shape):
                rows = ops.expand_dims(rows, -1)
            known = known * rows
        # Flat: Keras weighs a batch by the part of its cells that is known, whatever number of steps it is padded to.
        super().update_state(ops.reshape(errors, (-1,)), sample_weight=ops.reshape(known, (-1,)))
