"""Steps for batches filled up to one size, so that a compiler sees few shapes.

A batch is (inputs, answer, weight): rows of weight 0 fill it up and count for nothing, neither in the loss and its
gradient nor in what is logged. Keras would take a batch's mean over these rows, too.
"""

# Keras' type hints give None for what a model or an operation returns; TensorFlow's know no tensors as arguments.
# pyright: reportOptionalOperand=false, reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportOperatorIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalIterable=false

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def count_rows_by_weight(model: keras.Model) -> None:
    """Give a compiled model steps that take the mean over the rows whose weight is 1.

    Args:
        model: its steps must be given weights from now on.
    """

    def forward(data: Any, training: bool) -> tuple[Any, Any]:
        """The loss, and the metrics so far."""
        inputs, answer, weight = data
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
