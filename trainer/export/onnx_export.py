"""Write the ONNX file into a SavedModel's folder, where TensorFlow servers ignore it.

note = export_onnx(served, config, record, directory)  # how far it is from the model
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from noisy_gru.compat.extras import require
from noisy_gru.schema.config import FeatureConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import TransformRecord

ONNX_FILE = "assets.extra/onnx/model.onnx"
_TOLERANCE = 1e-5
_ROUNDINGS = 2
_SEQUENCES, _STEPS = 16, 12


def export_onnx(served: ServedModel, config: ModelConfig, record: TransformRecord, directory: str) -> str:
    """Write the ONNX file, after comparing its outputs with the model's if ONNX Runtime is installed.

    Args:
        served: the exported model.
        config: of the model, with `onnx`.
        record: Transform's scales and vocabularies.
        directory: of the SavedModel.

    Returns:
        A note: the largest difference, or that the file was not compared.

    Raises:
        ConfigError: as `onnx_model`.
        ModelError: the outputs differ.
    """
    require("onnx", "model.onnx: true")
    from noisy_gru.trainer.export.onnx_model import onnx_model

    content = onnx_model(served.model, served.layout, config, record, served.decision, served.numbers.calibration)
    note = "not compared with the model, because ONNX Runtime is not installed"
    if importlib.util.find_spec("onnxruntime"):
        difference = _difference(served, record, content)
        if not difference <= _TOLERANCE:
            raise ModelError(
                f"The ONNX file's outputs differ from the model's by {difference:.3g}; at most {_TOLERANCE:g} may be. "
                "Set model.onnx: false and report this."
            )
        note = f"within {difference:.1g} of the model"
    file = f"{directory.rstrip('/')}/{ONNX_FILE}"
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.gfile.GFile(file, "wb") as target:
        target.write(content)
    return note


def _difference(served: ServedModel, record: TransformRecord, content: bytes) -> float:
    """Return the largest difference of outputs, in units of the targets' scales, on random sequences of all lengths."""
    import onnxruntime

    random = np.random.default_rng(0)

    def values_of(features: Sequence[FeatureConfig], *shape: int) -> np.ndarray:
        scales = [record.numeric[feature.name] for feature in features]
        values = random.normal(size=(*shape, len(scales)))
        values = values * [scale.scale for scale in scales] + [scale.centre for scale in scales]
        values[random.random(values.shape) < 0.05] = np.nan
        return values.astype(np.float32)

    inputs = {
        names.FEATURES: values_of(served.layout.numeric, _SEQUENCES, _STEPS),
        names.LENGTHS: np.linspace(0, _STEPS, _SEQUENCES).astype(np.int64),
    }
    if served.layout.static_numeric:
        inputs[names.STATIC] = values_of(served.layout.static_numeric, _SEQUENCES)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = served.from_tensors(inputs)
    scale = np.array([record.targets[target].scale for target in served.layout.targets] or [1.0])
    scales = {names.PROBABILITIES: scale, names.PREDICTIONS: scale, names.QUANTILES: scale[:, np.newaxis]}
    compared = [name for name in scales if name in expected]
    # A number half way between two whole ones may be rounded either way.
    free = 1.0 if served.numbers.bounds.integer else 0.0
    largest = 0.0
    for name, outputs in zip(compared, session.run(compared, inputs), strict=True):
        numbers = expected[name].numpy()
        # Around a large mean, float32 has no digits for less.
        difference = np.maximum(np.abs(outputs - numbers) - _ROUNDINGS * np.spacing(np.abs(numbers)) - free, 0)
        largest = max(largest, float((difference / scales[name]).max()))
    return largest
