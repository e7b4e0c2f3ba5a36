"""The messages and methods of TF Serving's gRPC API that the client uses.

Those of tensorflow-serving-api import all of TensorFlow: 2 GB to install and seconds to load, for a client that needs a
dozen messages. They are described anew, with the field numbers of tensorflow_serving/apis and tensorflow/core.
"""

from __future__ import annotations

from typing import Any

from noisy_gru.saved_model.message_classes import SIGNATURE_MESSAGES, Fields, message_classes

_MESSAGES: dict[str, Fields] = {
    "ModelSpec": {
        "name": (1, "string", False),
        "version": (2, "Int64Value", False),
        "signature_name": (3, "string", False),
        "version_label": (4, "string", False),
    },
    "Int64Value": {"value": (1, "int64", False)},
    "PredictRequest": {"model_spec": (1, "ModelSpec", False), "inputs": (2, "map:TensorProto", True)},
    "PredictResponse": {"outputs": (1, "map:TensorProto", True), "model_spec": (2, "ModelSpec", False)},
    "GetModelMetadataRequest": {"model_spec": (1, "ModelSpec", False), "metadata_field": (2, "string", True)},
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec", False), "metadata": (2, "map:Any", True)},
    "Any": {"type_url": (1, "string", False), "value": (2, "bytes", False)},
    "SignatureDefMap": {"signature_def": (1, "map:SignatureDef", True)},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec", False)},
    "GetModelStatusResponse": {"model_version_status": (1, "ModelVersionStatus", True)},
    "ModelVersionStatus": {
        "version": (1, "int64", False),
        "state": (2, "int32", False),
        "status": (3, "StatusProto", False),
    },
    "StatusProto": {"error_code": (1, "int32", False), "error_message": (2, "string", False)},
    "TensorProto": {
        "dtype": (1, "int32", False),
        "tensor_shape": (2, "TensorShapeProto", False),
        "tensor_content": (4, "bytes", False),
        "float_val": (5, "float", True),
        "double_val": (6, "double", True),
        "int_val": (7, "int32", True),
        "string_val": (8, "bytes", True),
        "int64_val": (10, "int64", True),
        "bool_val": (11, "bool", True),
        "half_val": (13, "int32", True),
        "uint32_val": (16, "uint32", True),
        "uint64_val": (17, "uint64", True),
    },
    **SIGNATURE_MESSAGES,
}
MESSAGES = message_classes("noisy_gru.serving", _MESSAGES)

# tensorflow_serving.apis.get_model_status_pb2.ModelVersionStatus.State
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_SIGNATURES = "tensorflow.serving.SignatureDefMap"


def method(channel: Any, service: str, name: str, message: str) -> Any:
    """A channel's method.

    Args:
        channel: blocking, or of `grpc.aio`.
        service: `PredictionService` or `ModelService`.
        name: of the method.
        message: of its request and response, without that ending.
    """
    return channel.unary_unary(
        f"/tensorflow.serving.{service}/{name}",
        request_serializer=MESSAGES[f"{message}Request"].SerializeToString,
        response_deserializer=MESSAGES[f"{message}Response"].FromString,
    )


def signature_defs(response: Any) -> Any:
    """The ``SignatureDefMap`` in a ``GetModelMetadataResponse``; None where there is none.

    Raises:
        google.protobuf.message.DecodeError: it is damaged.
    """
    packed = response.metadata["signature_def"]
    if packed.type_url.rpartition("/")[2] != _SIGNATURES:
        return None
    return MESSAGES["SignatureDefMap"].FromString(packed.value)
