"""The served model: Transform, Keras model and named outputs in one graph, for each signature.

Behaviour on unusual input (docs/architecture.md has the names and shapes):

- an empty batch: outputs without rows;
- an empty sequence: the model's output for no steps, the same finite values for each;
- one step, or more steps than any sequence of train: like any other;
- NaN or infinity: missing, imputed as in training; a sequence of zeros is a sequence of zeros;
- an unknown or empty category: the one unknown category;
- a feature with another number of steps than the rest, or without its key: an error that names it; so a static one with
  more than one value, or without its key in a sequence with steps. The graph can't
  distinguish an example without any value from an empty sequence; `saved_model.example_validation`, the client and the
  local server refuse an example that names no feature of the model;
- `lengths` below 0 or beyond the time axis: an error;
- tensors of other shapes than the signature's, and a `state` that this version did not return: an error.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.saved_model.tensor_names import static_tensor_names, tensor_names
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.interval_config import OutputConfig
from noisy_gru.trainer import features as names
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.export.request_checks import checked_tensors, require
from noisy_gru.trainer.export.served_numbers import ServedNumbers
from noisy_gru.trainer.export.stream_step import Stepper
from noisy_gru.trainer.features import Layout, model_inputs
from noisy_gru.trainer.label_decisions import LabelDecisions, thresholds_of
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import read_record
from noisy_gru.trainer.vocabularies import read_vocabulary
from noisy_gru.trainer.window_scale import calibration_scale


class ServedModel:
    """From raw sequences to named outputs, in eager mode or traced into the SavedModel.

    Args:
        model: the Keras model.
        transform: Transform's output.
        layout: of the data set.
        config: of the model; None, or no `serving_step` in it: there is no `from_step`.
        predict: replaces the model's own call from its inputs to its outputs (`serving_function`).
        decision: from which probability the positive of two classes is answered, or each of several labels; None: the
            likelier class is, and a label from 0.5 on.
        calibration: of quantiles and intervals; None: as the model gives them.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        layout: Layout,
        config: ModelConfig | None = None,
        predict: Callable[[Mapping[str, Any]], Any] | None = None,
        decision: Decision | LabelDecisions | None = None,
        calibration: Calibration | None = None,
    ):
        self.model = model
        self.predict = predict or (lambda inputs: model(inputs, training=False))
        self.layout = layout
        self.decision = decision
        bounds = getattr(layout.dataset.task, "output", OutputConfig())
        by_window = calibration is not None and calibration.units == "window"
        scales = calibration_scale(model, layout, lambda: read_record(transform, layout)) if by_window else None
        self.numbers = ServedNumbers(layout, calibration, scales, bounds)
        self.transform_layer = transform.transform_features_layer()
        spec = transform.raw_feature_spec()
        self._inputs = {feature.name: spec[feature.name] for feature in layout.dataset.data.features}
        self._labels = {key: spec[key] for key in layout.raw_targets}
        self.label_names = read_vocabulary(transform, names.LABEL_VOCABULARY) if layout.is_classification else []
        self.stepper = Stepper(model, config, layout) if config is not None and config.serving_step else None
        # The signatures call these functions, so Transform's graph and the model's are in the SavedModel once.
        self._read = tf.function(self._read_eagerly, autograph=False)
        self._predict_raw = tf.function(self._predict_eagerly, autograph=False)

    def from_examples(self, examples: Any) -> dict[str, tf.Tensor]:
        """Predict serialized tf.Examples, string [B]."""
        return self._predict_raw(tf.io.parse_example(examples, self._inputs))

    def from_tensors(self, tensors: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Predict padded tensors: `features` float32 [B, T, F], `lengths` int64 [B], and strings [B, T]; of static
        features `static_features` float32 [B, S] and strings [B].
        """
        return self._predict_raw(self._raw(checked_tensors(tensors, self.layout)))

    def from_step(self, tensors: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Predict the new steps of streams.

        Args:
            tensors: those of `from_tensors`, with only the new steps, and `state` float32 [B, S]: returned by the last
                call for each stream, or zeros.

        Returns:
            The predictions for all steps so far, and `state` float32 [B, S], unchanged where `lengths` is 0.

        Raises:
            ConfigError: the model was not built with `serving_step`.
        """
        if self.stepper is None:
            raise ConfigError("The model has no serving_step. Set model.serving_step: true and train again.")
        checked = checked_tensors(tensors, self.layout, state_size=self.stepper.state_size)
        state = checked[names.STATE]
        known = self.stepper.is_known(state)
        message = (
            "`state` must be what this version of the model returned in the last call, or zeros for a new stream. It "
            "is not in these rows: "
        )
        with require(tf.reduce_all(known), [message, tf.where(~known)[:, 0]]):
            state = tf.identity(state)
        raw = self._raw(checked)
        observed = None
        if self.layout.observed_targets:
            channels = [feature.name for feature in self.layout.numeric]
            features = checked[names.FEATURES]
            values = tf.gather(features, [channels.index(name) for name in self.layout.targets], axis=2)
            counts = tf.sequence_mask(checked[names.LENGTHS], tf.shape(features)[1])[:, :, tf.newaxis]
            observed = tf.reduce_any(tf.math.is_finite(values) & counts, axis=1)
        inputs, units = self._read(raw)
        outputs, after = self.stepper(inputs, state, observed)
        return {**self._named_outputs(outputs, inputs, units), names.STATE: after}

    def labels_of(self, examples: Any) -> dict[str, tf.Tensor]:
        """Return the labels or targets of labelled tf.Examples, string [B], for an evaluation.

        Returns:
            `label` int64 [B], -1 for a class that is not in train, with `task.per_step` [B, T], -1 also where there is
            none; or `targets` float32 [B, K] or [B, H, K] (with `task.per_step` [B, T, K], NaN where there is none), in
            the units of the data, of several labels 0, 1 or NaN.
        """
        transformed = self.transformed(examples)
        if self.layout.is_per_step and not self.layout.is_classification:
            padded = transformed[names.TARGETS].to_tensor(default_value=float("nan"))
            by_step = tf.reshape(padded, [tf.shape(padded)[0], -1, *self.layout.target_shape])
            return {names.TARGETS: self._unscaled(by_step, transformed)}
        if self.layout.is_per_step:
            return {names.LABEL: transformed[names.LABEL].to_tensor(default_value=-1)}
        if self.layout.is_classification:
            return {names.LABEL: transformed[names.LABEL]}
        targets = tf.reshape(transformed[names.TARGETS], [-1, *self.layout.target_shape])
        return {names.TARGETS: self._unscaled(targets, transformed)}

    def transformed(self, examples: Any) -> dict[str, Any]:
        """Return Transform's outputs for labelled tf.Examples, string [B]."""
        return self.transform_layer(tf.io.parse_example(examples, {**self._inputs, **self._labels}))

    @property
    def _has_past(self) -> bool:
        return not all(feature.known_in_advance for feature in self.layout.dataset.data.features)

    def _raw(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Convert padded tensors to Transform's inputs, without the steps after `lengths`."""
        steps, features = tensors[names.LENGTHS], tensors[names.FEATURES]
        future = self.layout.future_steps
        message = (
            "`lengths` must be >= 0 and, with the furthest horizon, end within the time axis. Lengths, then steps: "
        )
        axis = tf.shape(features, tf.int64)[1]
        # A batch of empty sequences has no future either.
        whole = tf.where(steps > 0, steps + future, 0) if self._has_past else steps + future
        fits = tf.reduce_all((steps >= 0) & (whole <= axis))
        with require(fits, [message, steps, axis]):
            steps, whole = tf.identity(steps), tf.identity(whole)
        raw = {}
        for index, feature in enumerate(self.layout.numeric):
            raw[feature.name] = self._column(
                features[:, :, index], feature.name, whole if feature.known_in_advance else steps
            )
        inputs = tensor_names(self.layout.dataset.data)
        for feature in self.layout.categorical:
            text = tensors[inputs[feature.name]]
            raw[feature.name] = self._column(text, feature.name, whole if feature.known_in_advance else steps)
        once = tf.ones_like(steps)
        for index, feature in enumerate(self.layout.static_numeric):
            values = tensors[names.STATIC][:, index : index + 1]
            raw[feature.name] = self._column(values, feature.name, once)
        for name, tensor in static_tensor_names(self.layout.dataset.data).items():
            raw[name] = self._column(tensors[tensor][:, tf.newaxis], name, once)
        return raw

    def _column(self, padded: tf.Tensor, name: str, lengths: tf.Tensor) -> Any:
        """Convert a padded column [B, T] to the representation of the schema."""
        ragged = tf.RaggedTensor.from_tensor(padded, lengths=lengths)
        spec = self._inputs[name]
        if isinstance(spec, tf.io.RaggedFeature):
            return ragged
        if isinstance(spec, tf.io.FixedLenFeature):
            return ragged.to_tensor(shape=[None, *spec.shape])
        return ragged.to_sparse()

    def _read_eagerly(self, raw: Mapping[str, Any]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Return the model's inputs, and the scales from its outputs to the units of the data."""
        transformed = self.transform_layer(dict(raw))
        inputs = model_inputs(transformed, self.layout)
        units = {key: transformed[key] for key in (names.TARGET_SCALE, names.TARGET_MEAN) if key in transformed}
        return {key: inputs[key] for key in self._wanted}, units

    def _predict_eagerly(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        inputs, units = self._read(raw)
        return self._named_outputs(self.predict(inputs), inputs, units)

    def _named_outputs(self, outputs: Any, inputs: Mapping[str, Any], units: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Name the model's outputs."""
        if self.layout.is_multi_label:
            return self._labels_of_outputs(outputs)
        if not self.layout.is_classification:
            named = self.numbers(outputs, inputs, units)
            return _up_to_the_end(named, inputs[names.LENGTH]) if self.layout.is_per_step else named
        probabilities = tf.nn.softmax(outputs)
        if not isinstance(self.decision, Decision):
            class_id = tf.argmax(probabilities, axis=-1, output_type=tf.int64)
        else:
            place = tf.constant(self.decision.positive_id, tf.int64)
            is_positive = probabilities[..., self.decision.positive_id] >= np.float32(self.decision.threshold)
            class_id = tf.where(is_positive, place, 1 - place)
        labels = tf.constant(self.label_names)
        named = {
            names.PROBABILITIES: probabilities,
            names.CLASS_ID: class_id,
            names.LABEL_BYTES: tf.gather(labels, class_id),
            names.LABELS_BYTES: tf.tile(labels[tf.newaxis, :], [tf.shape(class_id)[0], 1]),
        }
        return _up_to_the_end(named, inputs[names.LENGTH]) if self.layout.is_per_step else named

    def _labels_of_outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        labels = self.layout.targets
        decisions = self.decision if isinstance(self.decision, LabelDecisions) else None
        probabilities = tf.nn.sigmoid(outputs)
        answers = tf.cast(probabilities >= thresholds_of(decisions, len(labels)), tf.int64)
        texts = tf.constant([[label.encode() for label in labels]])
        return {
            names.PROBABILITIES: probabilities,
            names.ANSWERS: answers,
            names.LABELS_BYTES: tf.tile(texts, [tf.shape(answers)[0], 1]),
        }

    @property
    def _wanted(self) -> list[str]:
        inputs: Any = self.model.input
        return list(inputs)

    def _unscaled(self, scaled: Any, transformed: Mapping[str, Any]) -> tf.Tensor:
        scale, mean = transformed[names.TARGET_SCALE], transformed[names.TARGET_MEAN]
        if len(self.layout.target_shape) == 2 or self.layout.is_per_step:
            scale, mean = scale[:, tf.newaxis, :], mean[:, tf.newaxis, :]
        return scaled * scale + mean


def _up_to_the_end(named: dict[str, Any], lengths: Any) -> dict[str, Any]:
    """Return the answers to steps [B, T, ...] without those after each sequence's end, and `lengths` int64 [B].

    There the probabilities and predictions are 0, the class is -1 and its name empty.
    """
    if names.PREDICTIONS in named:
        numbers = named[names.PREDICTIONS]
        there = tf.sequence_mask(lengths, tf.shape(numbers)[1])[:, :, tf.newaxis]
        return {names.PREDICTIONS: tf.where(there, numbers, 0.0), names.LENGTHS: tf.identity(lengths)}
    there = tf.sequence_mask(lengths, tf.shape(named[names.CLASS_ID])[1])
    return {
        names.PROBABILITIES: tf.where(there[:, :, tf.newaxis], named[names.PROBABILITIES], 0.0),
        names.CLASS_ID: tf.where(there, named[names.CLASS_ID], tf.constant(-1, tf.int64)),
        names.LABEL_BYTES: tf.where(there, named[names.LABEL_BYTES], ""),
        names.LABELS_BYTES: named[names.LABELS_BYTES],
        names.LENGTHS: tf.identity(lengths),
    }
