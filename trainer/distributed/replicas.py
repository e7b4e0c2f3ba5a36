"""The training loop for several replicas: `model.fit` with each batch split among them.

Keras 3's `fit` fails under MultiWorkerMirroredStrategy (keras#20585), and under MirroredStrategy it clips each
replica's gradient separately and gives every replica the same dropout. Here a step sees one global batch:

    gradient = sum over the replicas of d/dw (sum over its rows of the loss) / (rows of the global batch)

is all-reduced first, and then clipped and applied as on one device. The order of the sequences and the noise of each
sequence are those of one device, so the weights agree up to the rounding of sums. Each replica draws its own dropout.
Callbacks are Keras' own; every worker runs them on equal logs.
"""

# Keras' type hints give None for what a model or an operation returns; TensorFlow's know no tensors as arguments.

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.compat.keras import flatten_layers, take_gradients_as_summed
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.stddev_schedule import noisy_layers
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.inputs.dataset import SequenceData
from noisy_gru.trainer.layers.noise_seeds import per_replica_seed
from noisy_gru.trainer.loss_units import empty_outputs, without_uncounted


def fit_replicas(
    model: keras.Model,
    train: SequenceData,
    held_out: SequenceData,
    *,
    initial_epoch: int,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    average: WeightAverage | None = None,
) -> None:
    """Fit a model that was built and compiled in the scope of a strategy; see `model.fit`.

    Args:
        model: compiled, with its optimizer built.
        train: the train split, in the order of its `epoch`.
        held_out: the eval split, evaluated after each epoch; it may be empty.
        initial_epoch: number of finished epochs.
        epochs: most epochs, including the finished ones.
        callbacks: as for `fit`; batch hooks are not called.
        average: whose weights are evaluated.

    Raises:
        ConfigError: the workers don't resume from the same epoch.
    """
    strategy: Any = model.distribute_strategy
    with strategy.scope():
        if not agree(strategy, initial_epoch):
            raise ConfigError(
                f"The workers resume from different epochs; this one from epoch {initial_epoch}. They must all see the "
                "working_dir with the chief's checkpoint: mount one volume in all of them."
            )
        _build_metrics(model, train)
        draw_for_global_batch(model)
        # The gradients are summed before the optimizer sees them, because it would clip before it sums.
        take_gradients_as_summed(model.optimizer)
        fitting = _Pass(model, train, training=True)
        evaluating = _Pass(model, held_out, training=False) if len(held_out) else None
        listeners = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs, steps=train.steps)
        if average is not None:
            average.set_model(model)
        model.stop_training = False
        listeners.on_train_begin()
        logs: dict[str, float] = {}
        for epoch in range(initial_epoch, epochs):
            listeners.on_epoch_begin(epoch)
            logs = fitting.run()
            if average is not None:
                average.on_epoch_end(epoch)
            if evaluating is not None:
                logs |= {f"val_{name}": value for name, value in evaluating.run().items()}
            listeners.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        if average is not None:
            average.on_train_end()
        listeners.on_train_end(logs)


def draw_for_global_batch(model: keras.Model) -> None:
    """Give each sequence the noise that it has on one device, and each replica its own dropout.

    Args:
        model: called with equally many rows on each replica, those of replica 0 first in the batch.
    """
    for layer in noisy_layers(model):
        layer.noise_seed_generator.equal_shares = True
    for layer in flatten_layers(model):
        generator = getattr(layer, "seed_generator", None)
        if isinstance(generator, keras.random.SeedGenerator):
            generator.next = _per_replica(generator.next)


def local_strategy(choice: str) -> tf.distribute.Strategy | None:
    """Return the strategy that splits batches among the devices of this machine; None for a single device.

    Args:
        choice: `training.strategy`. Without a GPU, `mirrored` uses the CPU devices.
    """
    devices = tf.config.list_logical_devices("GPU") if choice in ("auto", "mirrored") else []
    if not devices and choice == "mirrored":
        devices = tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]) if len(devices) > 1 else None


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Return whether this process writes the outputs: the only process, or the first worker."""
    resolver = strategy.cluster_resolver if strategy is not None else None
    if resolver is None or resolver.task_type in (None, "chief"):
        return True
    return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().as_dict()


def agree(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Return whether all workers pass the same number, from 0 to 2**26. All must call it at the same point."""

    def of_replica() -> list[Any]:
        return [tf.constant([number, number * number], tf.float64)]

    numbers = tf.function(lambda: strategy.run(of_replica), autograph=False)
    gathered = _sum_of_replicas(strategy)(numbers())
    total, squares = strategy.experimental_local_results(gathered[0])[0].numpy()
    # Equal numbers, and no others, have n times the sum of squares equal to the square of the sum.
    return bool(strategy.num_replicas_in_sync * squares == total * total)


class _Pass:
    """Passes over a split: the steps, and the metrics over all rows of all replicas."""

    def __init__(self, model: keras.Model, data: SequenceData, *, training: bool):
        strategy: Any = model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        # TensorFlow's default, optional batches, would synchronize all workers before every step.
        strategy.extended.experimental_enable_get_next_as_optional = False

        def shards(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            return data.shards(shuffled=training, count=replicas, own=range(first, first + local))

        self.model = model
        self.steps = data.steps
        self.batches = strategy.distribute_datasets_from_function(shards)
        self.step = _step(model, training=training)
        self.zeros = _zeros(strategy, [variable.shape for variable in model.metrics_variables])
        self.total = _sum_of_replicas(strategy)

    def run(self) -> dict[str, float]:
        """Run all steps of a pass and return the logs."""
        strategy: Any = self.model.distribute_strategy
        metrics = self.model.metrics_variables
        sums = self.zeros()
        batches = iter(self.batches)
        for _ in range(self.steps):
            sums = self.step(batches, sums)
        totals = [strategy.experimental_local_results(each)[0] for each in self.total(sums)]
        for variable, total in zip(metrics, totals, strict=True):
            variable.assign(total)
        logs = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        self.model.reset_metrics()
        return logs


def _step(model: keras.Model, *, training: bool) -> Callable[[Any, Any], Any]:
    """Return a function from batches and the metrics' sums to the new sums; it fits the model if `training`."""
    strategy: Any = model.distribute_strategy
    trained = model.trainable_variables
    metrics = model.metrics_variables

    def of_replica(inputs: Any, answer: Any, weight: Any, total: Any, sums: Any) -> Any:
        rows, real = tf.cast(tf.shape(weight)[0], tf.float32), tf.reduce_sum(weight)
        inputs = without_uncounted(model, inputs, weight)
        # One weight for all losses of a row: forecasting has one for each horizon.
        weight = tf.reshape(weight, [-1] + [1] * max(len(answer.shape) - 2, 0))
        with tf.GradientTape(watch_accessed_variables=training) as tape:
            predicted = model(inputs, training=training)
            # Keras divides by the replicas, and by the rows that are here, those without weight included.
            loss = model.compute_loss(inputs, answer, predicted, sample_weight=weight, training=training)
            loss *= rows * strategy.num_replicas_in_sync
            objective = loss / total
        zeros = [(variable, tf.zeros(variable.shape, variable.dtype)) for variable in metrics]
        with keras.StatelessScope(state_mapping=zeros) as scope:
            model.metrics[0].update_state(tf.math.divide_no_nan(loss, real), sample_weight=real)
            model.compute_metrics(inputs, answer, predicted, sample_weight=weight)
        new: list[Any] = [scope.get_current_value(variable) for variable in metrics]
        sums = [known + tf.cast(value, tf.float64) for known, value in zip(sums, new, strict=True)]
        if not training:
            return sums
        gradients = tape.gradient(objective, [variable.value for variable in trained])
        # An embedding's gradient is sparse, which all-reduce would have to gather.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        context: Any = tf.distribute.get_replica_context()
        model.optimizer.apply(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients), trained)
        return sums

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batches: Any, sums: Any) -> Any:
        return strategy.run(of_replica, args=(*next(batches), sums))

    return step


def _zeros(strategy: Any, shapes: list[Any]) -> Callable[[], Any]:
    """Return a function that gives each replica float64 zeros of these shapes."""

    def of_replica() -> list[Any]:
        return [tf.zeros(shape, tf.float64) for shape in shapes]

    return tf.function(lambda: strategy.run(of_replica), autograph=False)


@functools.lru_cache(maxsize=1)
def _sum_of_replicas(strategy: Any) -> Callable[[Any], Any]:
    """Return a function from the replicas' values to their sum, on every replica."""

    def of_replica(values: Any) -> Any:
        context: Any = tf.distribute.get_replica_context()
        # An argument has no device yet, and the sum is placed with its value.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in values])

    return tf.function(lambda values: strategy.run(of_replica, args=(values,)), autograph=False)


def _build_metrics(model: keras.Model, data: SequenceData) -> None:
    """Create the metrics' variables, which Keras creates at the first batch."""
    inputs, answer = next(iter(data.one_pass()))
    model.compute_metrics(inputs, answer, empty_outputs(model, answer))
    model.reset_metrics()


def _per_replica(draw: Callable[..., Any]) -> Callable[..., Any]:
    return lambda ordered=True: per_replica_seed(draw(ordered))
