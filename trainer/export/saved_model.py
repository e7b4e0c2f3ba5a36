"""Write the served model as a SavedModel and as a Keras file, and read the Keras file.

export_saved_model(ServedModel(model, transform, layout, config), folder)
served = load_for_parity(folder, transform_graph)  # the SavedModel's reference, in eager mode
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.saved_model.tensor_names import static_tensor_names, tensor_names
from noisy_gru.trainer import ensemble as _ensemble  # noqa: F401 (registers the layer of members)
from noisy_gru.trainer import features as names
from noisy_gru.trainer import model as _model  # noqa: F401 (registers the layers that a .keras file names)
from noisy_gru.trainer.conformal import Calibration
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.export.artifact_files import (
    CALIBRATION_FILE,
    DECISION_FILE,
    KERAS_FOLDER,
    MODEL_FILE,
    SCORES_FILE,
    SETTINGS_FILE,
)
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.label_decisions import LabelDecisions, decision_of

logger = logging.getLogger(__name__)


def export_saved_model(served: ServedModel, directory: str) -> None:
    """Write the SavedModel with the signatures of docs/architecture.md, and `evaluation_labels` for TFMA.

    Args:
        served: with a model that was built for serving.
        directory: of the SavedModel.
    """
    layout = served.layout
    tensors = {
        names.FEATURES: tf.TensorSpec([None, None, len(layout.numeric)], tf.float32, name=names.FEATURES),
        names.LENGTHS: tf.TensorSpec([None], tf.int64, name=names.LENGTHS),
    }
    for name in tensor_names(layout.dataset.data).values():
        tensors[name] = tf.TensorSpec([None, None], tf.string, name=name)
    if layout.static_numeric:
        tensors[names.STATIC] = tf.TensorSpec([None, len(layout.static_numeric)], tf.float32, name=names.STATIC)
    for name in static_tensor_names(layout.dataset.data).values():
        tensors[name] = tf.TensorSpec([None], tf.string, name=name)
    examples = tf.TensorSpec([None], tf.string, name=names.EXAMPLES)
    signatures = [
        (names.SERVING_DEFAULT, served.from_examples, examples),
        (names.SERVING_TENSORS, served.from_tensors, tensors),
        (names.EVALUATION_LABELS, served.labels_of, examples),
    ]
    if served.stepper is not None:
        state = tf.TensorSpec([None, served.stepper.state_size], tf.float32, name=names.STATE)
        signatures.append((names.SERVING_STEP, served.from_step, {**tensors, names.STATE: state}))
    # Traced here: Keras' ExportArchive traces each twice, once to find the variables, once to save.
    traced = {
        name: tf.function(answer, autograph=False).get_concrete_function(inputs) for name, answer, inputs in signatures
    }
    saved = tf.Module()
    # The functions' variables: a Keras model saved here would leave them out of a Session (TF Serving), and add its
    # seeds. Transform's layer would be traced in ways that nobody calls.
    saved.used = [*{id(each): each for function in traced.values() for each in function.variables}.values()]
    parts = tf.train.TrackableView(served.transform_layer).descendants()
    saved.tables = [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]
    tf.saved_model.save(saved, directory, signatures=traced)


def keras_folder(serving_model_dir: str) -> str:
    """Return the folder of a model's Keras file: beside the SavedModel's, the only one that TF Serving sees."""
    return f"{serving_model_dir.rstrip('/').rpartition('/')[0]}/{KERAS_FOLDER}"


def save_keras(model: keras.Model, custom_config: CustomConfig, folder: str) -> None:
    """Write the `.keras` file, for warm starts and comparison, and the configuration of its training."""
    tf.io.gfile.makedirs(folder)
    with tempfile.TemporaryDirectory() as local:
        file = Path(local) / MODEL_FILE
        model.save(file)
        tf.io.gfile.copy(str(file), f"{folder}/{MODEL_FILE}", overwrite=True)
    with tf.io.gfile.GFile(f"{folder}/{SETTINGS_FILE}", "w") as text:
        text.write(json.dumps(custom_config.to_dict(), indent=1))


def load_keras(folder: str) -> tuple[keras.Model, CustomConfig]:
    """Read the model and the configuration that `save_keras` wrote."""
    with tf.io.gfile.GFile(f"{folder}/{SETTINGS_FILE}") as text:
        custom_config = CustomConfig.parse(json.loads(text.read()))
    return load_model(folder), custom_config


def load_model(folder: str) -> keras.Model:
    """Read the Keras file that `save_keras` wrote."""
    with tempfile.TemporaryDirectory() as local:
        file = Path(local) / MODEL_FILE
        tf.io.gfile.copy(f"{folder}/{MODEL_FILE}", str(file))
        model: Any = keras.saving.load_model(file, compile=False)
    return model


def load_for_parity(serving_model_dir: str, transform_graph: str) -> ServedModel:
    """Load the Keras model and Transform in eager mode, as the reference of an exported model.

    Args:
        serving_model_dir: the SavedModel's folder in the model artifact (`<artifact>/Format-Serving`).
        transform_graph: Transform's output `transform_graph`.

    Returns:
        A served model whose `from_examples`, `from_tensors` and (with `serving_step`) `from_step` return what the
        export should, to rounding.
    """
    folder = keras_folder(serving_model_dir)
    model, custom_config = load_keras(folder)
    layout = Layout(custom_config.dataset)
    transform = tft.TFTransformOutput(transform_graph)
    return ServedModel(
        model,
        transform,
        layout,
        custom_config.trainer.model,
        decision=load_decision(folder),
        calibration=load_calibration(folder),
    )


def save_decision(decision: Decision | LabelDecisions, folder: str) -> None:
    """Write `decision.json` beside the Keras file."""
    with tf.io.gfile.GFile(f"{folder}/{DECISION_FILE}", "w") as file:
        file.write(decision.to_json())


def load_decision(folder: str) -> Decision | LabelDecisions | None:
    """Read what `save_decision` wrote; None where there is nothing."""
    text = _text_of(f"{folder}/{DECISION_FILE}")
    return None if text is None else decision_of(text)


def save_calibration(calibration: Calibration, folder: str) -> None:
    """Write `calibration.json` beside the Keras file."""
    with tf.io.gfile.GFile(f"{folder}/{CALIBRATION_FILE}", "w") as file:
        file.write(calibration.to_json())


def load_calibration(folder: str) -> Calibration | None:
    """Read what `save_calibration` wrote; None where there is nothing."""
    text = _text_of(f"{folder}/{CALIBRATION_FILE}")
    return None if text is None else Calibration.from_json(text)


def save_scores(scores: ConformalScores, folder: str) -> None:
    """Write `conformal_scores.json` beside the Keras file."""
    with tf.io.gfile.GFile(f"{folder}/{SCORES_FILE}", "w") as file:
        file.write(scores.to_json())


def _text_of(path: str) -> str | None:
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return file.read()


def target_scale(served: ServedModel) -> np.ndarray | None:
    """Return the scale of each target in the units of the data, float32 [K]; None for classes and labels."""
    if served.layout.is_classification or served.layout.is_multi_label:
        return None
    empty = tf.train.Example().SerializeToString()
    transformed = served.transform_layer(tf.io.parse_example([empty], served._inputs))
    return transformed[names.TARGET_SCALE].numpy()[0]
