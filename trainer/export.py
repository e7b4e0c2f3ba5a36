"""The served model: Transform, model and answers in one graph, written as a SavedModel and as a Keras file.

What it answers to odd input (docs/architecture.md has the names and shapes):

- an empty batch: answers with no rows;
- an empty sequence: what the model makes of no step at all, the same finite answer for each;
- one step, or more steps than any sequence of train: an answer like any other;
- NaN or infinity: missing, imputed as in training; a whole sequence of zeros is a sequence of zeros;
- a category that train never showed, or none: the unknown one;
- a feature with another number of steps than the rest, an absent key included: an error that names it. With no feature
  at all the example is an empty sequence;
- `lengths` below 0 or beyond the time axis: an error.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.trainer import features as names
from noisy_gru.trainer import model as _model  # noqa: F401 (registers the layers that a .keras file names)
from noisy_gru.trainer.features import Layout, model_inputs
from noisy_gru.trainer.settings import Settings
from noisy_gru.trainer.tensor_names import tensor_names

logger = logging.getLogger(__name__)

KERAS_FOLDER = "Format-Keras"
_KERAS_FILE = "model.keras"
_SETTINGS_FILE = "settings.json"


class ServedModel:
    """From raw sequences to answers: what a client gets, in eager mode or traced into the SavedModel.

    Args:
        model: the Keras model.
        transform: Transform's output.
        layout: of the data set.
    """

    def __init__(self, model: keras.Model, transform: tft.TFTransformOutput, layout: Layout):
        self.model = model
        self.layout = layout
        self.transform_layer = transform.transform_features_layer()
        spec = transform.raw_feature_spec()
        self._inputs = {feature.name: spec[feature.name] for feature in layout.dataset.data.features}
        self._labels = {key: spec[key] for key in layout.raw_targets}
        self.label_names = transform.vocabulary_by_name(names.LABEL_VOCABULARY) if layout.is_classification else []
        # Both signatures call this one function, so its graph is in the SavedModel once.
        self._answer = tf.function(self._answer_eagerly)

    def from_examples(self, examples: Any) -> dict[str, tf.Tensor]:
        """Answer serialized tf.Examples, string [B]."""
        return self._answer(tf.io.parse_example(examples, self._inputs))

    def from_tensors(self, tensors: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Answer padded tensors: `features` float32 [B, T, F], `lengths` int64 [B], and strings [B, T]."""
        steps = tf.cast(tf.convert_to_tensor(tensors[names.LENGTHS]), tf.int64)
        features = tf.convert_to_tensor(tensors[names.FEATURES])
        future = self.layout.future_steps
        message = (
            "`lengths` must be >= 0 and, with the furthest horizon, end within the time axis. Lengths, then steps: "
        )
        axis = tf.shape(features, tf.int64)[1]
        # A batch of empty sequences has no future either.
        whole = tf.where(steps > 0, steps + future, 0) if self._has_past else steps + future
        fits = tf.reduce_all((steps >= 0) & (whole <= axis))
        with tf.control_dependencies(
            [tf.raw_ops.Assert(condition=fits, data=[message, steps, axis], summarize=20)]
            if not tf.executing_eagerly()
            else [tf.debugging.Assert(fits, [message, steps, axis])]
        ):
            steps, whole = tf.identity(steps), tf.identity(whole)
        raw = {}
        for index, feature in enumerate(self.layout.numeric):
            raw[feature.name] = self._column(
                features[:, :, index], feature.name, whole if feature.known_in_advance else steps
            )
        inputs = tensor_names(self.layout.dataset.data)
        for feature in self.layout.categorical:
            text = tf.convert_to_tensor(tensors[inputs[feature.name]])
            raw[feature.name] = self._column(text, feature.name, whole if feature.known_in_advance else steps)
        return self._answer(raw)

    def labels_of(self, examples: Any) -> dict[str, tf.Tensor]:
        """The true answers of labelled tf.Examples, string [B], for an evaluation.

        Returns:
            `label` int64 [B], -1 for a class that train never showed; or `targets` float32 [B, 1] or [B, H, K], in the
            units of the data.
        """
        raw = tf.io.parse_example(examples, {**self._inputs, **self._labels})
        transformed = self.transform_layer(raw)
        if self.layout.is_classification:
            return {names.LABEL: transformed[names.LABEL]}
        targets = tf.reshape(transformed[names.TARGETS], [-1, *self.layout.target_shape])
        return {names.TARGETS: self._unscaled(targets, transformed)}

    @property
    def _has_past(self) -> bool:
        return not all(feature.known_in_advance for feature in self.layout.dataset.data.features)

    def _column(self, padded: tf.Tensor, name: str, lengths: tf.Tensor) -> Any:
        """A padded column [B, T] in the representation that the schema gives it."""
        ragged = tf.RaggedTensor.from_tensor(padded, lengths=lengths)
        spec = self._inputs[name]
        if isinstance(spec, tf.io.RaggedFeature):
            return ragged
        if isinstance(spec, tf.io.FixedLenFeature):
            return ragged.to_tensor(shape=[None, *spec.shape])
        return ragged.to_sparse()

    def _answer_eagerly(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        transformed = self.transform_layer(dict(raw))
        inputs = model_inputs(transformed, self.layout)
        outputs = self.model({key: inputs[key] for key in self._wanted}, training=False)
        if not self.layout.is_classification:
            return {names.PREDICTIONS: self._unscaled(outputs, transformed)}
        probabilities = tf.nn.softmax(outputs)
        class_id = tf.argmax(probabilities, axis=1, output_type=tf.int64)
        labels = tf.constant(self.label_names)
        return {
            names.PROBABILITIES: probabilities,
            names.CLASS_ID: class_id,
            names.LABEL_BYTES: tf.gather(labels, class_id),
            names.LABELS_BYTES: tf.tile(labels[tf.newaxis, :], [tf.shape(class_id)[0], 1]),
        }

    @property
    def _wanted(self) -> list[str]:
        inputs: Any = self.model.input
        return list(inputs)

    def _unscaled(self, scaled: Any, transformed: Mapping[str, Any]) -> tf.Tensor:
        scale, mean = transformed[names.TARGET_SCALE], transformed[names.TARGET_MEAN]
        if len(self.layout.target_shape) == 2:
            scale, mean = scale[:, tf.newaxis, :], mean[:, tf.newaxis, :]
        return scaled * scale + mean


def export(served: ServedModel, directory: str) -> None:
    """Write the SavedModel with the signatures of docs/architecture.md, and `evaluation_labels` for TFMA.

    Args:
        served: its model was built for serving.
        directory: of the SavedModel.
    """
    layout = served.layout
    tensors = {
        names.FEATURES: tf.TensorSpec([None, None, len(layout.numeric)], tf.float32, name=names.FEATURES),
        names.LENGTHS: tf.TensorSpec([None], tf.int64, name=names.LENGTHS),
    }
    for name in tensor_names(layout.dataset.data).values():
        tensors[name] = tf.TensorSpec([None, None], tf.string, name=name)
    examples = [tf.TensorSpec([None], tf.string, name=names.EXAMPLES)]
    archive = keras.export.ExportArchive()
    # The model is not tracked: its variables come with the signatures; tracking adds them again, and the seeds.
    archive.track(served.transform_layer)
    archive.add_endpoint(names.SERVING_DEFAULT, served.from_examples, input_signature=examples)
    archive.add_endpoint(names.SERVING_TENSORS, served.from_tensors, input_signature=[tensors])
    archive.add_endpoint(names.EVALUATION_LABELS, served.labels_of, input_signature=examples)
    archive.write_out(directory, verbose=False)


def keras_folder(serving_model_dir: str) -> str:
    """Where the Keras file of a model stands: beside the SavedModel's folder, which TF Serving sees alone."""
    return f"{serving_model_dir.rstrip('/').rpartition('/')[0]}/{KERAS_FOLDER}"


def save_keras(model: keras.Model, settings: Settings, folder: str) -> None:
    """Write the `.keras` file, for warm starts and for comparison, and the settings it was trained with."""
    tf.io.gfile.makedirs(folder)
    with tempfile.TemporaryDirectory() as local:
        file = Path(local) / _KERAS_FILE
        model.save(file)
        tf.io.gfile.copy(str(file), f"{folder}/{_KERAS_FILE}", overwrite=True)
    with tf.io.gfile.GFile(f"{folder}/{_SETTINGS_FILE}", "w") as text:
        text.write(json.dumps(settings.as_custom_config(), indent=1))


def load_keras(folder: str) -> tuple[keras.Model, Settings]:
    """Read what `save_keras` wrote."""
    with tf.io.gfile.GFile(f"{folder}/{_SETTINGS_FILE}") as text:
        settings = Settings.parse(json.loads(text.read()))
    with tempfile.TemporaryDirectory() as local:
        file = Path(local) / _KERAS_FILE
        tf.io.gfile.copy(f"{folder}/{_KERAS_FILE}", str(file))
        model: Any = keras.saving.load_model(file, compile=False)
    return model, settings


def load_for_parity(serving_model_dir: str, transform_graph: str) -> ServedModel:
    """The Keras model and Transform in eager mode, to compare an exported model with.

    Args:
        serving_model_dir: the SavedModel's folder in the model artifact (`<artifact>/Format-Serving`).
        transform_graph: Transform's output `transform_graph`.

    Returns:
        A served model whose `from_examples` and `from_tensors` answer as the export should, to rounding.
    """
    model, settings = load_keras(keras_folder(serving_model_dir))
    return ServedModel(model, tft.TFTransformOutput(transform_graph), Layout(settings.dataset))


def target_scale(served: ServedModel) -> np.ndarray | None:
    """The scale of each target in the units of the data, float32 [K]; None for classification."""
    if served.layout.is_classification:
        return None
    empty = tf.train.Example().SerializeToString()
    transformed = served.transform_layer(tf.io.parse_example([empty], served._inputs))
    return transformed[names.TARGET_SCALE].numpy()[0]
