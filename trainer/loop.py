"""The training loop of one process: `model.fit` without its overhead between steps and between epochs.

Keras' fit creates an iterator twice in each epoch, and once in each evaluation, which costs as much as many steps of a
small model. Here one iterator runs through all epochs, so the first batches of an epoch are ready when the last one
ends, and one call of TensorFlow runs many steps. Callbacks are Keras' own; their batch hooks are called after that many
steps, as with Keras' `steps_per_execution`.
"""

# Keras' type hints give None for what a model or an operation returns; TensorFlow's know no tensors as arguments.

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.compat.tensorflow import align_function_names
from noisy_gru.trainer.callbacks.progress import report
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.inputs.dataset import SequenceData
from noisy_gru.trainer.loss_units import empty_outputs


def run_epochs(
    model: keras.Model,
    train: SequenceData,
    held_out: SequenceData,
    *,
    initial_epoch: int,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    average: WeightAverage | None = None,
) -> dict[str, list[float]]:
    """Fit a model in the order of the sequences that each epoch's number determines; see `model.fit`.

    With `padded_lengths`, the steps are compiled for each of them first, which is logged.

    Args:
        model: compiled, with its optimizer built.
        train: the train split.
        held_out: the eval split, evaluated after each epoch; it may be empty.
        initial_epoch: number of finished epochs.
        epochs: most epochs, including the finished ones.
        callbacks: as for `fit`.
        average: whose weights are evaluated.

    Returns:
        The logs of each epoch, by name.
    """
    training = _Steps(model, model.train_step, train.steps)
    evaluating = _Evaluation(model, held_out) if len(held_out) else None
    if train.padded_lengths and initial_epoch < epochs:
        compile_ahead(model, [("training", train, training)] + (evaluating.parts if evaluating else []))
    model.train_function = training
    history = model.fit(
        # Keras reads a batch even if no epoch is left.
        train.epochs(initial_epoch, max(epochs, initial_epoch + 1)),
        steps_per_epoch=train.steps,
        initial_epoch=initial_epoch,
        epochs=epochs,
        callbacks=[*([average] if average else []), *([evaluating] if evaluating else []), *callbacks],
        shuffle=False,  # the data set has shuffled already
        verbose=0,
    )
    model.train_function = None
    return history.history


class _Steps:
    """Several steps in one call, on one iterator; a call never crosses the end of a pass.

    Args:
        model: compiled.
        step: of it, from a batch to the logs.
        per_pass: steps in a pass.
    """

    def __init__(self, model: keras.Model, step: Callable[[Any], Any], per_pass: int):
        once = tf.function(step, jit_compile=model.jit_compile, reduce_retracing=True, autograph=False)

        def several(batches: Any, count: Any) -> Any:
            logs = once(batches.get_next())
            # One after the other: a step reads the weights that the one before it wrote.
            return tf.while_loop(
                lambda done, _: done < count,
                lambda done, _: (done + 1, once(batches.get_next())),
                (tf.constant(1), logs),
                parallel_iterations=1,
            )[1]

        self.once = once
        self.several = tf.function(several, autograph=False)
        self.per_call = min(model.steps_per_execution, per_pass)
        self.per_pass = per_pass
        self._done = 0

    def __call__(self, batches: Any) -> Any:
        """Run the next steps of the pass, and return the logs of the last one."""
        count = min(self.per_call, self.per_pass - self._done)
        self._done = (self._done + count) % self.per_pass
        return self.several(batches, tf.constant(count))


class _Evaluation(keras.callbacks.Callback):
    """Add the metrics over a split to the logs of each epoch, as `val_<name>`. It must precede all that read them."""

    def __init__(self, model: keras.Model, data: SequenceData):
        super().__init__()
        self.steps = _Steps(model, model.test_step, data.steps)
        self.parts = [("evaluation", data, self.steps)]
        self._batches = iter(data.one_pass().repeat())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.reset_metrics()
        for _ in range(0, self.steps.per_pass, self.steps.per_call):
            self.steps(self._batches)
        logs.update({f"val_{name}": float(value) for name, value in sorted(self.model.get_metrics_result().items())})


def compile_ahead(
    model: keras.Model, parts: Sequence[tuple[str, SequenceData, Any]], *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Compile steps for every shape, and log the seconds; the model's variables don't change.

    Args:
        model: compiled, with its optimizer built.
        parts: the step's name, its data with `padded_lengths`, and its `_Steps`.
        clock: monotonic, in seconds.
    """
    align_function_names()
    inputs, answer, _ = next(iter(parts[0][1].one_of_each_shape()))
    # Keras creates the metrics' variables at the first batch, which a compiled step may not.
    model.compute_metrics(inputs, answer, empty_outputs(model, answer))
    variables = {id(each): each for each in [*model.variables, *model.optimizer.variables]}.values()
    before = [variable.numpy() for variable in variables]
    for name, data, steps in parts:
        for number, length in enumerate(data.padded_lengths):
            start = clock()
            steps.several(iter(data.one_of_each_shape().skip(number).take(1)), tf.constant(1))
            seconds = clock() - start
            report(
                f"XLA compiled the {name} step for {data.config.batch_size} sequences of {length} steps "
                f"({number + 1} of {len(data.padded_lengths)} shapes) in {seconds:.1f} s",
                kind="compiled",
                step=name,
                batch_size=data.config.batch_size,
                steps=length,
                seconds=seconds,
            )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    model.reset_metrics()
