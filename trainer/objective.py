"""Loss, metrics, learning rate schedule and optimizer of the configuration."""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from noisy_gru.trainer import features as names
from noisy_gru.trainer.class_balance import NO_SETTINGS, ClassSettings
from noisy_gru.trainer.class_losses import classification_loss, step_loss
from noisy_gru.trainer.class_metrics import (
    BALANCED_ACCURACY,
    PR_AUC,
    AveragePrecision,
    BalancedAccuracy,
    StepAccuracy,
)
from noisy_gru.trainer.convolution_stack import takes_batch_statistics
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.relative_forecast import FROM_LOGARITHMS
from noisy_gru.trainer.training_config import TrainingConfig
from noisy_gru.trainer.window_scale import window_scale

# More steps in one call save nothing measurable.
_MOST_STEPS = 32
# Keras' loss of all targets, and the same of one absolute error.
_ERROR_LOSSES: dict[str, tuple[Any, Any]] = {
    "mse": (keras.losses.mean_squared_error, ops.square),
    "mae": (keras.losses.mean_absolute_error, lambda error: error),
    "huber": (keras.losses.huber, lambda error: ops.where(error <= 1, ops.square(error) / 2, error - 0.5)),
}


@keras.saving.register_keras_serializable(package="noisy_gru")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly over the warm-up, stays at the peak for `hold_steps`, and then may fall.

    Step s of the warm-up (w steps) has peak * (s + 1) / w. After it and the hold, with p from 0 to 1 at the last step,
    `cosine` is peak * (f + (1 - f) (1 + cos(pi p)) / 2), `exponential` peak * f ** p, with f the `final_fraction`, and
    `step` peak * factor ** n in the n-th epoch, of `step_length` steps.
    """

    def __init__(
        self,
        kind: str,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        final_fraction: float,
        hold_steps: int = 0,
        factor: float = 1.0,
        step_length: int = 1,
    ):
        super().__init__()
        self.hold_steps = hold_steps
        self.factor = factor
        self.step_length = step_length
        self.kind = kind
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_fraction = final_fraction

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        begin = self.warmup_steps + self.hold_steps
        decay_steps = max(self.total_steps - begin - 1, 1)
        progress = ops.clip((step - begin) / decay_steps, 0.0, 1.0)
        if self.kind == "cosine":
            factor = self.final_fraction + (1 - self.final_fraction) * (1 + ops.cos(np.pi * progress)) / 2
        elif self.kind == "exponential":
            # A rate of exactly 0 has no exponential way to it.
            factor = ops.exp(progress * float(np.log(max(self.final_fraction, 1e-8))))
        elif self.kind == "step":
            epochs = ops.maximum(ops.floor((step - begin) / self.step_length) + 1, 0.0)
            factor = ops.exp(epochs * float(np.log(self.factor)))
        else:
            factor = ops.ones_like(step)
        rising = (step + 1) / max(self.warmup_steps, 1)
        return self.peak * ops.where(step < self.warmup_steps, rising, factor)

    def get_config(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "final_fraction": self.final_fraction,
            "hold_steps": self.hold_steps,
            "factor": self.factor,
            "step_length": self.step_length,
        }


def learning_rate(config: TrainingConfig, steps_per_epoch: int, epochs: int) -> float | WarmupSchedule:
    """Return the learning rate of the configuration: a number, or a schedule over the steps."""
    schedule = config.schedule
    if schedule.kind == "constant" and not schedule.warmup_epochs:
        return config.learning_rate
    return WarmupSchedule(
        kind=schedule.kind,
        peak=config.learning_rate,
        warmup_steps=round(schedule.warmup_epochs * steps_per_epoch),
        total_steps=epochs * steps_per_epoch,
        final_fraction=schedule.final_fraction,
        hold_steps=round(schedule.hold_epochs * steps_per_epoch),
        factor=schedule.factor,
        step_length=steps_per_epoch,
    )


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
    if config.loss_units == "window":
        use_window_units(model)
    if any(layout.logged_targets):
        use_logarithms(model)
    if xla:
        use_row_weights(model)


def use_window_units(model: keras.Model) -> None:
    """Make the loss that of errors in units of each window's own scale, so that series of any size count alike.

    Args:
        model: compiled, with `model.window_normalization`; its metrics stay in the units of the data.
    """
    scales: Any = window_scale(model)
    of_targets = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        scale = ops.expand_dims(scales(x), 1)
        targets, weights = split_answer(y, y_pred)
        answer = targets / scale if weights is None else ops.concatenate([targets / scale, weights], axis=-1)
        of_quantiles = len(y_pred.shape) > len(y.shape)
        return of_targets(x, answer, y_pred / (scale[..., None] if of_quantiles else scale), *args, **kwargs)

    model.compute_loss = compute_loss


def use_logarithms(model: keras.Model) -> None:
    """Make the loss that of logarithms, for targets with `scale: log1p`; metrics stay in the units of the data."""
    logarithms = model.get_layer(FROM_LOGARITHMS).logarithms
    inner = model.compute_loss

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        targets, weights = split_answer(y, y_pred)
        answer = logarithms(targets)
        answer = answer if weights is None else ops.concatenate([answer, weights], axis=-1)
        return inner(x, answer, logarithms(y_pred), *args, **kwargs)

    model.compute_loss = compute_loss


def use_row_weights(model: keras.Model) -> None:
    """Make a compiled model's steps average over the rows of weight 1, for batches padded to one size.

    A batch is (inputs, answer, weight): rows of weight 0 count for neither the loss and its gradient nor the logs.
    Keras would average over them, too.

    Args:
        model: its batches must bring weights from now on.
    """

    def forward(data: Any, training: bool) -> tuple[Any, Any]:
        """Return the loss, and the metrics so far."""
        inputs, answer, weight = data
        inputs = without_uncounted(model, inputs, weight)
        rows, counted = tf.cast(tf.shape(weight)[0], weight.dtype), tf.reduce_sum(weight)
        # One weight for all losses of a row: forecasting has one for each horizon.
        weight = tf.reshape(weight, [-1] + [1] * max(len(answer.shape) - 2, 0))
        predicted = model(inputs, training=training)
        loss = model.compute_loss(inputs, answer, predicted, sample_weight=weight, training=training) * rows / counted
        model.metrics[0].update_state(loss, sample_weight=counted)
        return loss, model.compute_metrics(inputs, answer, predicted, sample_weight=weight)

    def train_step(data: Any) -> Any:
        with tf.GradientTape() as tape:
            loss, logs = forward(data, training=True)
        trained = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, [variable.value for variable in trained]), trained)
        return logs

    model.train_step = train_step
    model.test_step = lambda data: forward(data, training=False)[1]


def without_uncounted(model: keras.Model, inputs: Any, weight: Any) -> Any:
    """Make the sequences of rows of weight 0 empty, where they would count in the statistics of a batch.

    Args:
        model: of the inputs.
        inputs: of a batch; others are left as they are.
        weight: float [B].
    """
    if not takes_batch_statistics(model):
        return inputs
    length = inputs[names.LENGTH]
    return {**inputs, names.LENGTH: ops.where(weight > 0, length, ops.zeros_like(length))}


def split_answer(answer: Any, predicted: Any) -> tuple[Any, Any]:
    """Split the answer of a batch (of `SequenceData`) to targets [B, ..., K] and their weights, None if all count.

    Args:
        answer: [B, ..., K] or [B, ..., 2 K].
        predicted: [B, ..., K], or quantiles [B, ..., K, Q].
    """
    width = predicted.shape[len(answer.shape) - 1]
    if answer.shape[-1] == width:
        return answer, None
    return answer[..., :width], answer[..., width:]


def empty_outputs(model: keras.Model, answer: Any) -> Any:
    """Return zeros in the shape of a model's outputs for a batch with this answer."""
    shape: Any = model.output_shape[1:]
    # Only the steps of a batch are free.
    return tf.zeros([tf.shape(answer)[0], *(tf.shape(answer)[1] if size is None else size for size in shape)])


def metric_name(layout: Layout) -> str:
    """Return the name of the task's metric, as logged: `accuracy`, or `mae` in the units of the data."""
    return "accuracy" if layout.is_classification else "mae"


def metric_names(layout: Layout) -> list[str]:
    """Return the names of all metrics of the task, as logged, that of `metric_name` first."""
    return [metric_name(layout), *([BALANCED_ACCURACY, PR_AUC] if layout.is_classification else [])]


def _loss(config: TrainingConfig, layout: Layout, classes: ClassSettings) -> Any:
    if layout.quantiles:
        return _pinball(layout.quantiles)
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

        return of_known
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


def _metrics(layout: Layout, target_scale: np.ndarray | None, classes: ClassSettings, width: int) -> list[Any]:
    metrics = [_metric(layout, target_scale)]
    if layout.is_classification:
        metrics += [BalancedAccuracy(width), AveragePrecision(width, classes.positive)]
    return metrics


def _metric(layout: Layout, target_scale: np.ndarray | None) -> keras.metrics.Metric:
    if layout.is_per_step:
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
        super().update_state(errors, sample_weight=known)
