"""Training and evaluation steps for batches of few shapes, which are compiled before the training begins.

A batch is (inputs, answer, weight): rows of weight 0 fill it up and count for nothing, neither in the loss and its
gradient nor in what is logged. Keras would take a batch's mean over these rows, too.
"""

# Keras' type hints give None for what a model or an operation returns; TensorFlow's know no tensors as arguments.
# pyright: reportOptionalOperand=false, reportOptionalSubscript=false, reportOptionalMemberAccess=false, reportOperatorIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalIterable=false, reportOptionalCall=false

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.trainer.dataset import SequenceData
from noisy_gru.trainer.progress import report


def count_rows_by_weight(model: keras.Model) -> None:
    """Give a compiled model steps that take the mean over the rows whose weight is 1.

    Args:
        model: `fit` and `evaluate` of it must be given weights from now on.
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


def compile_ahead(
    model: keras.Model,
    train: SequenceData,
    held_out: SequenceData,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Compile the steps for every shape there is, and say what it takes; the model stays as it was.

    Args:
        model: compiled, with its optimizer built.
        train: padded to few lengths; so is `held_out`, which may be empty.
        held_out: to evaluate.
        clock: seconds that never go back.
    """
    inputs, answer, _ = next(iter(train.one_of_each_shape()))
    # Keras makes the metrics' variables when it sees the first batch, and a compiled step may make none.
    model.compute_metrics(inputs, answer, tf.zeros([tf.shape(answer)[0], *model.output_shape[1:]]))
    variables = {id(each): each for each in [*model.variables, *model.optimizer.variables]}.values()
    before = [variable.numpy() for variable in variables]
    model.make_train_function()
    model.make_test_function()
    for name, data, function in (
        ("training", train, model.train_function),
        ("evaluation", held_out, model.test_function),
    ):
        for number, steps in enumerate(data.padded_lengths):
            began = clock()
            function(iter(data.one_of_each_shape().skip(number).take(1)))
            seconds = clock() - began
            report(
                f"XLA compiled the {name} step for {data.config.batch_size} sequences of {steps} steps "
                f"({number + 1} of {len(data.padded_lengths)} shapes) in {seconds:.1f} s",
                kind="compiled",
                step=name,
                batch_size=data.config.batch_size,
                steps=steps,
                seconds=seconds,
            )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    model.reset_metrics()
