"""A PredictRequest in, a PredictResponse out; the warm-up and the gRPC service share it."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers' classes are made when they are imported.

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import predict_pb2

from noisy_gru.saved_model.tensor_protos import TensorProtoError, make_ndarray, make_tensor_proto
from noisy_gru.serving.local_server.errors import invalid
from noisy_gru.serving.local_server.limits import Deadline
from noisy_gru.serving.local_server.loaded_version import DEFAULT_SIGNATURE, LoadedVersion


def answer_predict(loaded: LoadedVersion, request: Any, deadline: Deadline | None = None) -> Any:
    """The ``PredictResponse`` to a ``PredictRequest``; numbers in the typed fields, as TF Serving answers.

    Raises:
        RequestError: if the request doesn't fit, or TensorFlow fails while it runs.
    """
    if deadline is not None:
        deadline.check()
    signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    loaded.signature(signature_name)
    inputs = {}
    for name, proto in request.inputs.items():
        try:
            inputs[name] = make_ndarray(proto)
        except TensorProtoError as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from error
    outputs = loaded.predict(signature_name, inputs, list(request.output_filter), deadline)
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = loaded.version
    response.model_spec.signature_name = signature_name
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(make_tensor_proto(array, packed=False))
    return response
