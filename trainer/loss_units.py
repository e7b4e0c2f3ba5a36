"""Losses in other units or over fewer rows than the metrics: of a window's scale, of logarithms, of counted rows."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from noisy_gru.trainer import features as names
from noisy_gru.trainer.convolution_stack import takes_batch_statistics
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.relative_forecast import FROM_LOGARITHMS
from noisy_gru.trainer.training_config import LossUnitsConfig
from noisy_gru.trainer.transform_record import TransformRecord
from noisy_gru.trainer.window_scale import seasonal_scale, value_scale, window_scale


def use_window_units(
    model: keras.Model, weights: LossUnitsConfig, layout: Layout, record: TransformRecord | None
) -> None:
    """Make the loss that of errors in units of each window's own, so that series of any size count alike.

    Args:
        model: compiled, with `model.window_normalization` where the window's scale counts; its metrics stay in the
            units of the data.
        weights: of the window's scale w, of its seasonal differences s, and of the value v = (|target| + |forecast|) /
            2 in the units of the data: an error is divided by 1 / (window / w + season / s + value / v).
        layout: of the data set.
        record: fitted scales, which seasonal differences and values need.
    """
    scales: Any = window_scale(model) if weights.window else None
    differences: Any = seasonal_scale(layout, record) if weights.season else None
    sizes: Any = value_scale(layout, record) if weights.value else None
    of_targets = model.compute_loss

    def unit(x: Any, targets: Any, point: Any) -> Any:
        """Return the unit of each error, [B, 1 or H, K]."""
        parts = [
            weight / ops.expand_dims(of_window(x), 1)
            for weight, of_window in ((weights.window, scales), (weights.season, differences))
            if of_window is not None
        ]
        if sizes is not None:
            parts.append(weights.value / sizes(targets, point))
        return 1 / sum(parts)

    def compute_loss(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        targets, known = split_answer(y, y_pred)
        of_quantiles = len(y_pred.shape) > len(y.shape)
        # The other quantiles don't change the unit, so they must not be drawn by it.
        point = ops.stop_gradient(y_pred[..., layout.median]) if of_quantiles else y_pred
        scale = unit(x, targets, point)
        answer = targets / scale if known is None else ops.concatenate([targets / scale, known], axis=-1)
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
