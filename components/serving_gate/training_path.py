"""Training path as the reference of serving: raw sequences decoded by Transform, not by the server.

A server parses with `tf.io.parse_example` inside the graph. Training reads with tfx_bsl's decoder and the schema, then
Transform's own graph, and only then the model. Here the second way is gone, up to the answers, which NumPy words.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from noisy_gru.schema.interval_config import MEDIAN, levels_of
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.export.saved_model import ServedModel
from noisy_gru.trainer.export.served_numbers import ServedNumbers
from noisy_gru.trainer.label_decisions import LabelDecisions, thresholds_of


class TrainingPath:
    """Answers serialized tf.Examples through the decoder of training, Transform and the Keras model.

    Args:
        transform_graph: Transform's output `transform_graph`, with the schema of the raw data.
        served: gives the Keras model and the layout of its data set.
        predict: of the Keras model, as a `tf.function`; None: made here.
    """

    def __init__(self, transform_graph: str, served: ServedModel, predict: Callable[..., Any] | None = None) -> None:
        import tensorflow as tf
        import tensorflow_transform as tft
        from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
        from tfx_bsl.public import tfxio

        self._transform = tft.TFTransformOutput(transform_graph)
        model: Any = served.model
        self._wanted = list(model.input)
        # As a graph: step by step in Python a long sequence takes half a minute.
        self._predict: Any = predict or tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        self._layout, self._decision = served.layout, served.decision
        self._numbers = served.numbers
        schema = self._transform.raw_metadata.schema
        source = tfxio.TFExampleBeamRecord(
            physical_format="inmem", telemetry_descriptors=["noisy_gru", "ServingGate"], schema=schema
        )
        self._adapter = source.TensorAdapter()
        self._decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())

    def answer(self, examples: list[bytes]) -> dict[str, np.ndarray]:
        """Return the expected outputs of serving, by their names in the contract."""
        from noisy_gru.trainer import features as names
        from noisy_gru.trainer.features import model_inputs
        from noisy_gru.trainer.vocabularies import read_vocabulary

        raw = self._adapter.ToBatchTensors(self._decoder.DecodeBatch(examples))
        transformed = self._transform.transform_raw_features(raw)
        inputs = model_inputs(transformed, self._layout)
        outputs = np.asarray(self._predict({key: inputs[key] for key in self._wanted}))
        if self._layout.is_classification:
            found = _classes(outputs, read_vocabulary(self._transform, names.LABEL_VOCABULARY), self._decision)
            return _up_to_the_end(found, np.asarray(inputs[names.LENGTH])) if self._layout.is_per_step else found
        if self._layout.is_multi_label:
            return _labels(outputs, self._layout.targets, self._decision)
        scale, mean = (np.asarray(transformed[key]) for key in (names.TARGET_SCALE, names.TARGET_MEAN))
        between = 1 if self._layout.is_per_step else len(self._layout.target_shape) - 1
        shape = (len(examples), *[1] * between, -1)
        window = None if self._numbers.window is None else np.asarray(self._numbers.window(inputs)).reshape(shape)
        found = _numbers(outputs, scale.reshape(shape), mean.reshape(shape), window, self._numbers)
        if not self._layout.is_per_step:
            return found
        lengths = np.asarray(inputs[names.LENGTH])
        there = (np.arange(outputs.shape[1]) < lengths[:, np.newaxis])[..., np.newaxis]
        return {"predictions": np.where(there, found["predictions"], np.float32(0)), "lengths": lengths}


def _numbers(
    outputs: np.ndarray, scale: np.ndarray, mean: np.ndarray, window: np.ndarray | None, numbers: ServedNumbers
) -> dict[str, np.ndarray]:
    """Answers from scaled outputs [B, ..., K] or [B, ..., K, Q], in the units of the data, but not rounded."""
    bounds, calibration = numbers.bounds, numbers.calibration
    levels = levels_of(numbers.layout.dataset.task)

    def bounded(values: np.ndarray) -> np.ndarray:
        low = -np.inf if bounds.min is None else np.float32(bounds.min)
        high = np.inf if bounds.max is None else np.float32(bounds.max)
        return np.where(np.isfinite(values), np.clip(values, low, high), values)

    if not levels:
        return {"predictions": bounded(outputs * scale + mean)}
    if not numbers.layout.quantiles:
        outputs = np.stack([outputs] * len(levels), axis=-1)
    median = levels.index(MEDIAN)
    if calibration is not None:
        offsets = np.array(calibration.offsets, np.float32)
        outputs = outputs + (offsets if window is None else offsets * window[..., np.newaxis])
        below = np.minimum.accumulate(outputs[..., median::-1], axis=-1)[..., ::-1]
        outputs = np.concatenate([below, np.maximum.accumulate(outputs[..., median:], axis=-1)[..., 1:]], axis=-1)
    quantiles = bounded(outputs * scale[..., np.newaxis] + mean[..., np.newaxis])
    return {"predictions": quantiles[..., median], "quantiles": quantiles}


def _classes(
    logits: np.ndarray, labels: list[bytes], decision: Decision | LabelDecisions | None
) -> dict[str, np.ndarray]:
    """Return the outputs for logits, float32 [B, ..., C], and the C classes in order."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    class_id = (
        probabilities.argmax(axis=-1) if not isinstance(decision, Decision) else decision.class_ids(probabilities)
    )
    words = np.array(labels, dtype=object)
    return {
        "probabilities": probabilities,
        "class_id": class_id,
        "label_bytes": words[class_id],
        "labels_bytes": np.tile(words, (len(logits), 1)),
    }


def _labels(logits: np.ndarray, labels: list[str], decision: Decision | LabelDecisions | None) -> dict[str, np.ndarray]:
    """Return the outputs for logits, float32 [B, K], of the K labels in order."""
    # exp(-|x|) doesn't overflow.
    small = np.exp(-np.abs(logits))
    probabilities = np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
    thresholds = thresholds_of(decision if isinstance(decision, LabelDecisions) else None, len(labels))
    return {
        "probabilities": probabilities,
        "answers": (probabilities >= thresholds).astype(np.int64),
        "labels_bytes": np.tile(np.array([label.encode() for label in labels], dtype=object), (len(logits), 1)),
    }


def _up_to_the_end(found: dict[str, np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of steps [B, T, ...] without those after the end, and `lengths`; see docs/architecture.md."""
    there = np.arange(found["class_id"].shape[1]) < lengths[:, np.newaxis]
    words = np.full(there.shape, b"", dtype=object)
    words[there] = found["label_bytes"][there]
    return {
        **found,
        "probabilities": np.where(there[..., np.newaxis], found["probabilities"], np.float32(0)),
        "class_id": np.where(there, found["class_id"], -1),
        "label_bytes": words,
        "lengths": lengths,
    }
