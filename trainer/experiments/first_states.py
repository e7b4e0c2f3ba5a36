"""A model's outputs on the eval split where its GRUs start from other states than their own.

    measured = measure_first_states(model, context, FirstStates(stddevs=(0.1, 0.05), noise_scales=(1.0, 10.0)), seed=0)
    measured["carried"]["accuracy"]

| start | first state of each GRU |
|---|---|
| `zero` | its own, as served: the mean, which is zero unless it is learned or a function of static features |
| `noise_x<s>` | its own plus s * stddev * e, e standard normal |
| `carried` | its last state after another sequence of the split |
| `burn_in_<k>` | its last state after the k steps before the middle of the sequence, read from its own first state |

With `burn_in_<k>` the model answers from the second half of each sequence, and never sees what is before the k steps.
"""

# TensorFlow's and Keras' type hints know neither tensors as arguments nor what a model returns.

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.compat.keras import run_through_graph
from noisy_gru.trainer import features as names
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.experiments.calibration import calibration
from noisy_gru.trainer.experiments.starts import CARRIED, OWN, FirstStates, burn_in_name, noise_name
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import SequenceData
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.training_context import TrainingContext

Metrics = dict[str, float]


class StartedModel:
    """Run a model of `build_model` from given first states, without noise.

    Args:
        model: with its final weights.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._grus = {layer.name: grus for layer in model.layers if (grus := _grus_of(layer))}

    @property
    def units(self) -> list[list[int]]:
        """Units of the GRUs of each layer, from the input up: one, or two that read in both directions."""
        return [[gru.units for gru in grus] for grus in self._grus.values()]

    def __call__(self, inputs: Any, states: Sequence[Any] | None = None, own: Any = 0.0) -> tuple[Any, list[Any]]:
        """Compute the outputs and the last state of each GRU.

        Args:
            inputs: of the model.
            states: float32 [B, U] of each GRU, in the order of `units`; None: their own.
            own: factor on the GRUs' own first states, which are added.

        Returns:
            The model's outputs, and a state [B, U] of each GRU; that of a sequence without steps is its first one.
        """
        given = iter(states or ())
        last: list[Any] = []

        def call(layer: Any, *args: Any, **arguments: Any) -> Any:
            if "training" in inspect.signature(layer.call).parameters:
                arguments["training"] = False
            grus = self._grus.get(layer.name)
            if grus is None or arguments.get("initial_state") is not None:
                return layer(*args, **arguments)
            mean = arguments.pop("initial_mean", None)
            first = _own_states(grus, args[0], mean)
            if states is not None:
                first = [own * each + next(given) for each in first]
            outputs = layer(*args, initial_state=first, **arguments)
            last.extend(_last_states(layer, grus, outputs, arguments.get("mask"), first))
            return outputs

        taken = {key: inputs[key] for key in self._model.input}
        return run_through_graph(self._model, taken, call), last


def measure_first_states(
    model: keras.Model, context: TrainingContext, starts: FirstStates | None, *, seed: int
) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Measure a model on the eval split from each start.

    Args:
        model: compiled, trained, with its final weights; its metrics are reset.
        context: of its training.
        starts: what to start from; None: the model's own first states alone.
        seed: of the noise, and of which sequence's state is carried to which.

    Returns:
        The loss and the metrics by start, for a classification `nll` and `ece` beside them; and for each start that
        can't be measured the reason.
    """
    return measure_starts(model, context.eval, context.custom_config.trainer.model, starts, seed=seed)


def measure_starts(
    model: keras.Model,
    data: SequenceData,
    config: ModelConfig,
    starts: FirstStates | None,
    *,
    seed: int,
    decision: Decision | None = None,
) -> tuple[dict[str, Metrics], dict[str, str]]:
    """Measure a model on a split from each start; see `measure_first_states`.

    Args:
        model: compiled, with its final weights; its metrics are reset.
        data: the split.
        config: of the model.
        starts: what to start from; None: the model's own first states alone.
        seed: of the noise, and of which sequence's state is carried to which.
        decision: how a classification with `task.threshold` answers; `accuracy` is then that of these answers.
    """
    layout = data.layout
    started = StartedModel(model)
    measure = _Measure(model, started, data, layout, decision)
    measured = {OWN: measure()}
    if starts is None:
        return measured, {}
    units = started.units
    grus = [size for layer in units for size in layer]
    stddevs = [stddev for stddev, layer in zip(starts.stddevs, units, strict=True) for _ in layer]
    count, own_last = len(data), measure.last
    for scale in starts.noise_scales:
        random = np.random.default_rng([seed, 1])
        noise = [
            (scale * stddev * random.standard_normal((count, size))).astype(np.float32)
            for stddev, size in zip(stddevs, grus, strict=True)
        ]
        measured[noise_name(scale)] = measure(noise, own=1.0)
    refused = {}
    if count > 1:
        donors = other_sequences(count, seed)
        measured[CARRIED] = measure([state[donors] for state in own_last])
    else:
        refused[CARRIED] = f"the {data.split} split holds one sequence, so there is no other one"
    problems = burn_in_problems(config, layout)
    for steps in starts.burn_in:
        if problems:
            refused[burn_in_name(steps)] = "; ".join(problems)
            continue
        measure(part=lambda length, steps=steps: (np.maximum(length // 2 - steps, 0), length // 2))
        measured[burn_in_name(steps)] = measure(measure.last, part=lambda length: (length // 2, length))
    return measured, refused


def burn_in_problems(config: ModelConfig, layout: Layout) -> list[str]:
    """Return why a model can't go on in the middle of a sequence: what `model.serving_step` needs; empty if it can."""
    if layout.is_per_step:
        return ["a start in the middle leaves out the answers to the steps before it (task.per_step: true)"]
    if config.missing == "decay":
        return ["a start in the middle is measured without what was last observed, which model.missing: decay reads"]
    stepped = config.model_copy(update={"serving_step": True})
    problems = model_problems(stepped, layout.dataset)
    return ["a start in the middle needs what streams need: " + each for each in problems]


def other_sequences(count: int, seed: int) -> np.ndarray:
    """Return for each of at least two sequences another one, each once: int64 [count]."""
    order = np.random.default_rng([seed, 2]).permutation(count)
    others = np.empty(count, np.int64)
    # One cycle through all: so none is its own.
    others[order] = np.roll(order, 1)
    return others


class _Measure:
    """The loss and metrics of a split; `last` then holds the last states of its sequences, [N, U] of each GRU."""

    def __init__(
        self,
        model: keras.Model,
        started: StartedModel,
        data: SequenceData,
        layout: Layout,
        decision: Decision | None = None,
    ):
        self._model, self._data, self._layout, self._decision = model, data, layout, decision
        self._units = [units for layer in started.units for units in layer]
        self._batches = data.one_pass()
        self.last: list[np.ndarray] = []

        def step(batch: Any, given: Any, own: Any, start: Any, end: Any) -> Any:
            inputs, answer, *weights = batch
            if not layout.is_per_step:
                inputs = _cut(inputs, start, end, layout)
            predicted, last = started(inputs, given, own)
            update_metrics(model, inputs, answer, predicted, *weights)
            return predicted, last

        # One graph for all starts and for batches of all lengths.
        states = [tf.TensorSpec([None, units]) for units in self._units]
        steps = tf.TensorSpec([None], tf.int64)
        signature = (self._batches.element_spec, states, tf.TensorSpec([]), steps, steps)
        self._step = tf.function(step, input_signature=signature, autograph=False)

    def __call__(
        self,
        states: Sequence[np.ndarray] | None = None,
        *,
        own: float = 0.0,
        part: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> Metrics:
        """Measure.

        Args:
            states: float32 [N, U] of each GRU; None: their own.
            own: factor on their own, which are added.
            part: from the sequences' steps to the first step to read, and the one after the last; None: all.
        """
        self._model.reset_metrics()
        outputs, answers, last = [], [], []
        done = 0
        for batch in self._batches:
            length = batch[0][names.LENGTH].numpy()
            size = len(length)
            # Rows of weight 0 repeat the last one.
            real = int((batch[2].numpy() > 0).sum()) if len(batch) > 2 else size
            rows = np.minimum(np.arange(done, done + size), done + real - 1)
            done += real
            if states is None:
                given, factor = [np.zeros((size, units), np.float32) for units in self._units], 1.0
            else:
                given, factor = [state[rows] for state in states], own
            start, end = (np.zeros_like(length), length) if part is None else part(length)
            predicted, ended = self._step(
                batch, [tf.constant(each) for each in given], *map(tf.constant, (factor, start, end))
            )
            found, answer = predicted.numpy()[:real], batch[1].numpy()[:real]
            if self._layout.is_per_step and self._layout.is_classification:
                known = answer[..., 1] > 0
                found, answer = found[known], answer[..., 0][known].astype(np.int64)
            outputs.append(found)
            answers.append(answer)
            last.append([state.numpy()[:real] for state in ended])
        self.last = [np.concatenate(parts) for parts in zip(*last, strict=True)]
        metrics = {name: float(value) for name, value in self._model.get_metrics_result().items()}
        if self._layout.is_classification:
            logits, classes = np.concatenate(outputs), np.concatenate(answers)
            metrics |= calibration(logits, classes)
            if self._decision is not None:
                probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
                probabilities /= probabilities.sum(axis=1, keepdims=True)
                metrics["accuracy"] = float((self._decision.class_ids(probabilities) == classes).mean())
        return metrics


def update_metrics(model: keras.Model, inputs: Any, answer: Any, predicted: Any, weight: Any = None) -> None:
    """Add a batch to the loss and the metrics of a compiled model, as its own evaluation does.

    Args:
        model: of `compile_model`.
        inputs, answer: of the batch.
        predicted: for them, whatever made it.
        weight: float32 [B], 1 or 0, of batches that are padded to one size.
    """
    if weight is None:
        loss = model.compute_loss(inputs, answer, predicted, training=False)
        model.metrics[0].update_state(loss, sample_weight=tf.shape(answer)[0])
        model.compute_metrics(inputs, answer, predicted)
        return
    rows, counted = tf.cast(tf.shape(weight)[0], weight.dtype), tf.reduce_sum(weight)
    weight = tf.reshape(weight, [-1] + [1] * max(len(answer.shape) - 2, 0))
    loss = model.compute_loss(inputs, answer, predicted, sample_weight=weight, training=False) * rows / counted
    model.metrics[0].update_state(loss, sample_weight=counted)
    model.compute_metrics(inputs, answer, predicted, sample_weight=weight)


def _cut(inputs: Any, start: Any, end: Any, layout: Layout) -> Any:
    """Cut steps `start` to `end` - 1 of each sequence out of a batch of inputs."""
    length = end - start
    axis = tf.range(tf.maximum(tf.reduce_max(length), 1))
    last_step = tf.shape(inputs[names.FEATURES], tf.int64)[1] - 1
    places = tf.minimum(start[:, tf.newaxis] + axis, last_step)
    sequences = (names.FEATURES, *(layout.ids(index) for index in range(len(layout.categorical))))
    cut = {key: tf.gather(inputs[key], places, batch_dims=1) for key in sequences}
    return {**inputs, **cut, names.LENGTH: length}


def _grus_of(layer: Any) -> list[NoisyGRU]:
    if isinstance(layer, keras.layers.Bidirectional) and isinstance(layer.forward_layer, NoisyGRU):
        return [layer.forward_layer, layer.backward_layer]
    return [layer] if isinstance(layer, NoisyGRU) else []


def _own_states(grus: list[NoisyGRU], sequences: Any, mean: Any) -> list[Any]:
    rows = tf.shape(sequences)[0]
    means = [0.0] * len(grus) if mean is None else tf.split(mean, len(grus), axis=1)
    return [gru.get_initial_state(rows)[0] + each for gru, each in zip(grus, means, strict=True)]


def _last_states(layer: Any, grus: list[NoisyGRU], outputs: Any, mask: Any, first: list[Any]) -> list[Any]:
    """Return the state after the last step of each direction; the first one where a sequence has no step."""
    if layer.return_state:
        return list(outputs[1:])
    if not layer.return_sequences:
        ends = tf.split(outputs, len(grus), axis=1)
        places = None
    else:
        places = tf.reduce_sum(tf.cast(mask, tf.int64), axis=1) - 1
        # In the order of time, a backward GRU ends at the first step.
        steps = [tf.maximum(places, 0), tf.zeros_like(places)]
        directions = tf.split(outputs, len(grus), axis=2)
        ends = [tf.gather(each, step, batch_dims=1) for each, step in zip(directions, steps, strict=False)]
    has_steps = tf.reduce_any(mask, axis=1)[:, tf.newaxis]
    return [tf.where(has_steps, end, start) for end, start in zip(ends, first, strict=True)]
