"""Warm-up requests, which TF Serving sends to a version before serving it, from real sequences.

TF Serving loads no version of which one of these fails, so the gate reads them back and asks them first. They are in
``assets.extra/tf_serving_warmup_requests``: a TFRecord file of ``PredictionLog``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.serving_gate.probe import ProbeRequest
from noisy_gru.components.serving_gate.signature_contract import STATE
from noisy_gru.schema.errors import ModelError

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
# TF Serving's: with more, the version isn't loaded.
MOST_RECORDS = 1000


def stamp(model: Path, destination: Path, requests: Mapping[str, ProbeRequest], model_name: str) -> None:
    """Copy a SavedModel and add the warm-up requests to the copy; byte-identical for equal requests.

    Args:
        model: folder of the SavedModel.
        destination: folder of the copy, which isn't there yet.
        requests: the calls, in their order.
        model_name: what TF Serving calls the model.
    """
    import tensorflow as tf

    shutil.copytree(model, destination)
    file = destination / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for question in requests.values():
            writer.write(_log(question, model_name).SerializeToString(deterministic=True))


def _log(question: ProbeRequest, model_name: str) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    proto: Any = prediction_log_pb2
    log = proto.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = question.signature
    for name, values in question.inputs.items():
        dtype = tf.string if values.dtype == object else tf.as_dtype(values.dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype, values.shape))
    return log


def read_requests(model: Path) -> dict[str, ProbeRequest]:
    """Return the warm-up requests of a model, by a name that says which one it is.

    Raises:
        ModelError: the file isn't there, or TF Serving could not read it.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    file = model / WARMUP_FILE
    if not file.is_file():
        raise ModelError(f"{WARMUP_FILE} is missing, so the first requests to a server would wait")
    proto: Any = prediction_log_pb2
    found: dict[str, ProbeRequest] = {}
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator(), start=1):
            log = proto.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise ModelError(f"record {number} of {WARMUP_FILE} is no predict request")
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            signature = request.model_spec.signature_name
            rows = max((len(values) for values in inputs.values() if values.ndim), default=0)
            found[f"warm-up request {number} ({signature}, batch of {rows})"] = ProbeRequest(signature, inputs)
    except tf.errors.OpError as error:
        # Without the names that TensorFlow gives its own nodes.
        words = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", str(error.message)).strip()
        raise ModelError(f"{WARMUP_FILE} can't be read as TFRecords: {words}") from error
    except (DecodeError, TypeError, ValueError) as error:
        raise ModelError(f"{WARMUP_FILE} holds a record that is no PredictionLog: {error}") from error
    if len(found) > MOST_RECORDS:
        raise ModelError(f"{WARMUP_FILE} holds {len(found)} records; TF Serving takes {MOST_RECORDS} at the most")
    return found


def with_state(tensors: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Return the tensors of new streams: with a `state` of zeros, float32 [B, size]."""
    return {**tensors, STATE: np.zeros((len(tensors["lengths"]), size), np.float32)}
