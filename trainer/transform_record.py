"""Scales and vocabularies that Transform fitted: `transform.json` beside the Keras file, to compare trainings later.

>>> record = read_record(transform, layout)  # doctest: +SKIP
>>> record.numeric["temp"]  # doctest: +SKIP
Scale(centre=51.2, scale=8.4, fill=51.2)
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.trainer import features as names
from noisy_gru.trainer.export.artifact_files import TRANSFORM_FILE
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.vocabularies import read_vocabulary

_FORMAT = 1
# Beside such values a centre is negligible; the smaller ones are for scales under which larger ones overflow.
_LARGE = (1e24, 1e18, 1e12, 1e6)
# Of `scale: log1p`: far enough from 0, and the value itself is a float32.
_LARGE_LOGARITHM = 40.0


@dataclass(frozen=True)
class Scale:
    """scaled = (value - centre) / scale, and a missing value becomes `fill`; all in the units of the data.

    With `scale: log1p` the value is sign(x) log(1 + |x|), and so are these.
    """

    centre: float
    scale: float
    fill: float


@dataclass(frozen=True)
class TransformRecord:
    """The scales and vocabularies of a fitted Transform.

    Attributes:
        numeric: the scale of each numeric feature, static ones included.
        vocabularies: the values of each categorical feature, in the order of their ids; one more id is unknown's.
        labels: the classes, or several labels, in the order of the model's outputs; empty without classification.
        targets: the scale of each target; empty for classification.
    """

    numeric: Mapping[str, Scale]
    vocabularies: Mapping[str, list[str]]
    labels: list[str]
    targets: Mapping[str, Scale]

    def to_json(self) -> str:
        """Return the content of `transform.json`."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> TransformRecord:
        """Parse what `to_json` returned.

        Raises:
            ValueError, KeyError, TypeError: the text is no such record.
        """
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"expected the format {_FORMAT}, received {content['format']}")
        scales = {
            key: {name: Scale(**values) for name, values in content[key].items()} for key in ("numeric", "targets")
        }
        return cls(scales["numeric"], content["vocabularies"], content["labels"], scales["targets"])


def read_record(transform: tft.TFTransformOutput, layout: Layout) -> TransformRecord:
    """Read the scales and vocabularies out of a fitted Transform.

    Only the graph holds the scales, so they are measured: it transforms values so large that their quotient is the
    scale, then zero, then the centre computed from it, which rounding leaves next to the true one.
    """
    numeric = {}
    features = [*layout.numeric, *layout.static_numeric]
    if features:
        large = np.array([[value] * len(features) for value in _LARGE], np.float32)
        missing = np.full((1, len(features)), np.nan, np.float32)
        scaled = _scaled(transform, layout, np.concatenate([large, np.zeros_like(missing), missing]))
        usable = np.isfinite(scaled[: len(_LARGE)]).argmax(axis=0)
        columns = np.arange(len(features))
        scale = large[usable, columns].astype(np.float64) / scaled[usable, columns]
        near = (-scaled[-2] * scale).astype(np.float32)
        centre = near - _scaled(transform, layout, near[np.newaxis, :])[0] * scale
        fill = centre + scaled[-1] * scale
        logged = np.array([feature.scale == "log1p" for feature in features])
        if logged.any():
            at = np.full((1, len(features)), math.expm1(_LARGE_LOGARITHM), np.float32)
            of_zero, of_large, of_missing = scaled[-2], _scaled(transform, layout, at)[0], scaled[-1]
            logarithm_scale = _LARGE_LOGARITHM / (of_large - of_zero)
            scale = np.where(logged, logarithm_scale, scale)
            centre = np.where(logged, -of_zero * logarithm_scale, centre)
            fill = np.where(logged, centre + of_missing * logarithm_scale, fill)
        for index, feature in enumerate(features):
            numeric[feature.name] = Scale(*(float(values[index]) for values in (centre, scale, fill)))
    vocabularies = {
        feature.name: _vocabulary(transform, layout.vocabulary(index))
        for index, feature in enumerate(layout.categorical)
    }
    for index, feature in enumerate(layout.static_categorical):
        vocabularies[feature.name] = _vocabulary(transform, layout.static_vocabulary(index))
    labels = layout.targets if layout.is_multi_label else []
    if layout.is_classification:
        labels = _vocabulary(transform, names.LABEL_VOCABULARY)
    return TransformRecord(numeric, vocabularies, labels, _targets(transform, layout))


def save_record(record: TransformRecord, folder: str) -> None:
    """Write `transform.json`."""
    with tf.io.gfile.GFile(f"{folder}/{TRANSFORM_FILE}", "w") as file:
        file.write(record.to_json())


def _vocabulary(transform: tft.TFTransformOutput, vocabulary: str) -> list[str]:
    # Bytes that are not UTF-8 survive: the values are only compared.
    return [value.decode("utf-8", "surrogateescape") for value in read_vocabulary(transform, vocabulary)]


def _targets(transform: tft.TFTransformOutput, layout: Layout) -> dict[str, Scale]:
    if layout.is_classification:
        return {}
    width = len(layout.numeric) + len(layout.static_numeric)
    outputs = _transformed(transform, layout, np.zeros((1, width), np.float32))
    mean, scale = (outputs[key].numpy()[0] for key in (names.TARGET_MEAN, names.TARGET_SCALE))
    return {
        name: Scale(float(mean[place]), float(scale[place]), float(mean[place]))
        for place, name in enumerate(layout.targets)
    }


def _scaled(transform: tft.TFTransformOutput, layout: Layout, values: np.ndarray) -> np.ndarray:
    """Scale values, float32 [B, numeric], static ones last, by the fitted Transform: float64 [B, numeric]."""
    outputs = _transformed(transform, layout, values)
    parts = []
    if layout.numeric:
        parts.append(outputs[names.FEATURES].to_tensor().numpy()[:, : len(layout.numeric)])
    if layout.static_numeric:
        parts.append(outputs[names.STATIC].numpy()[:, : len(layout.static_numeric)])
    return np.concatenate(parts, axis=1).astype(np.float64)


def _transformed(transform: tft.TFTransformOutput, layout: Layout, values: np.ndarray) -> Mapping[str, Any]:
    """Return Transform's outputs for sequences of one past step with these values, float32 [B, numeric]."""
    spec = transform.raw_feature_spec()
    raw = {}
    numeric = [*layout.numeric, *layout.static_numeric]
    for index, feature in enumerate([*numeric, *layout.categorical, *layout.static_categorical]):
        fixed, given = isinstance(spec[feature.name], tf.io.FixedLenFeature), cast(Any, spec[feature.name])
        steps = given.shape[0] if fixed else 1 + (layout.future_steps if feature.known_in_advance else 0)
        column = values[:, index] if index < len(numeric) else np.full(len(values), b"", object)
        dense = tf.constant(np.repeat(column[:, np.newaxis], steps, axis=1))
        ragged = tf.RaggedTensor.from_tensor(dense)
        raw[feature.name] = dense if fixed else ragged if isinstance(given, tf.io.RaggedFeature) else ragged.to_sparse()
    return transform.transform_features_layer()(raw)
